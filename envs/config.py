"""YAML files and command lines into frozen dataclasses, and back: one place, one set of error messages."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union

import yaml

from envs.folders import write_text


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


T = TypeVar("T", bound=Dataclass)


class ConfigError(ValueError):
    """A configuration has an unknown key, lacks a field or has a value of the wrong kind."""


def load_config(
    cls: type[T], source: str | Path | Mapping[str, Any] | None = None, overrides: Mapping[str, Any] | None = None
) -> T:
    """Returns `cls` filled from a YAML file or a mapping, then from `overrides`.

    Nested dataclasses are nested mappings; an override's key may be dotted, such as ``{"encoder.width": 192}``.
    Lists become tuples where the field is a tuple, and 1e-3, which YAML 1.1 reads as a word, becomes a float where
    the field is one.

    Args:
        cls: A dataclass; its own __post_init__ validates values.
        source: Path of a YAML file, an already loaded mapping, or None for the defaults.
        overrides: Values that win over the source's.

    Raises:
        ConfigError: Unknown key (the nearest known one is named), missing field or wrong kind of value.
    """
    values, origin = _read(source)
    for key, value in (overrides or {}).items():
        values = _override(values, key.split("."), value)
    return _build(cls, values, origin, prefix="")


def dump_config(config: Any, path: str | Path | None = None) -> dict[str, Any]:
    """Returns a config as plain dicts, lists, strings and numbers; also writes it as YAML where a path is given.

    `load_config` of the result gives an equal config.
    """
    plain = _to_plain(config)
    if path is not None:
        write_text(Path(path), yaml.safe_dump(plain, sort_keys=False, width=120))
    return plain


def config_from_command_line(cls: type[T], description: str, arguments: Sequence[str] | None = None) -> T:
    """Returns `cls` from ``--config FILE.yaml`` and the flags that override single fields of it.

    Every field is a flag (nested ones as ``--encoder.width``); the file's values are the defaults that ``--help``
    shows. Of a choice between dataclasses a flag such as ``--planner.algorithm mppi`` takes another than the file's,
    with its own defaults: the file's settings of the one that it replaces are dropped. Prints the message and exits
    with status 2 if the file or such a flag is at fault, as for any wrong flag.

    Args:
        cls: A dataclass.
        description: What the program does, for ``--help``.
        arguments: The command line without the program's name; None takes the process's own.
    """
    import tyro  # only programs need it

    flat = tyro.conf.AvoidSubcommands  # of a choice between dataclasses the default's is taken

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    choices = _find_choices(cls)
    for flag, words in choices.items():
        parser.add_argument(f"--{flag}", help=", ".join(words))
        description = f"{description} --{flag}: {', '.join(words)}."
    known, rest = parser.parse_known_args(arguments)
    chosen = {flag: word for flag in choices if (word := getattr(known, flag)) is not None}
    if known.config is None and not chosen:
        description = f"{description} --config FILE.yaml fills the flags below."
        return tyro.cli(cls, args=rest, config=(flat,), description=description)
    try:
        values, origin = _read(known.config)
        for flag, word in chosen.items():
            values = _choose(values, flag.split("."), word)
        default = _build(cls, values, origin, prefix="")
        return tyro.cli(cls, args=rest, default=default, config=(flat,), description=description)
    except ConfigError as error:
        parser.exit(2, f"{error}\n")


def _find_choices(cls: Any, prefix: str = "") -> dict[str, list[str]]:
    """Returns the flags that choose between dataclasses, such as planner.algorithm, with their words, outer first."""
    found: dict[str, list[str]] = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        options = typing.get_args(hints[field.name]) or (hints[field.name],)
        classes = [option for option in options if dataclasses.is_dataclass(option)]
        if len(classes) > 1:
            key, words = _name_classes(classes)
            found[f"{prefix}{field.name}.{key}"] = list(words)
        for option in classes:
            found |= _find_choices(option, f"{prefix}{field.name}.")
    return found


def _choose(values: Mapping[str, Any], keys: Sequence[str], word: str) -> dict[str, Any]:
    """Returns `values` with the mapping that the last of the nested `keys` is in replaced, if it names another word."""
    inner: Any = values
    for key in keys[:-1]:
        inner = inner.get(key) if isinstance(inner, Mapping) else None
    if isinstance(inner, Mapping) and inner.get(keys[-1]) == word:
        return dict(values)
    return _override(values, keys[:-1], {keys[-1]: word})


def _read(source: str | Path | Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
    """Returns the mapping that a source holds and what to call it in errors."""
    if source is None:
        return {}, "the configuration"
    if isinstance(source, Mapping):
        return dict(source), "the configuration"
    path = Path(source)
    if not path.is_file():
        there = sorted(str(other) for other in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(f"there is no configuration file {path}; YAML files beside it: {there or 'none'}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of names to values, got a {type(values).__name__}")
    return values or {}, str(path)


def _override(values: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """Returns `values` with the entry at the nested `keys` replaced."""
    result = dict(values)
    if len(keys) == 1:
        result[keys[0]] = value
    else:
        inner = result.get(keys[0])
        result[keys[0]] = _override(inner if isinstance(inner, Mapping) else {}, keys[1:], value)
    return result


def _build(cls: type[T], values: Mapping[str, Any], origin: str, prefix: str) -> T:
    """Returns the dataclass `cls` from a mapping, checking keys and kinds."""
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.5)
            hint = f"did you mean {prefix + near[0]!r}?" if near else "no known key is near it."
            raise ConfigError(f"unknown key {prefix + str(key)!r} in {origin}: {hint} Known: {', '.join(fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"{origin} lacks {prefix + name!r}, which {cls.__name__} needs")
    hints = typing.get_type_hints(cls)
    converted = {key: _convert(hints[key], value, origin, prefix + str(key)) for key, value in values.items()}
    try:
        return cls(**converted)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{origin}{f' ({prefix[:-1]})' if prefix else ''}: {error}") from error


def _convert(hint: Any, value: Any, origin: str, name: str) -> Any:
    """Returns a YAML value as the kind of thing the field `name` is declared to be."""
    outer, inner = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if isinstance(value, Mapping):
            return _build(hint, value, origin, prefix=f"{name}.")
    elif outer in {Union, types.UnionType}:
        return _convert_union(inner, value, origin, name)
    elif outer is Literal:
        if value in inner:
            return value
    elif outer in {tuple, list} or hint in {tuple, list}:
        if isinstance(value, list | tuple):
            return _convert_sequence(hint, value, origin, name)
    elif outer in {dict, Mapping} or hint is dict:
        if isinstance(value, Mapping):
            item = inner[1] if inner else Any
            return {key: _convert(item, entry, origin, f"{name}.{key}") for key, entry in value.items()}
    else:
        return _convert_scalar(hint, value, origin, name)
    raise _wrong(hint, value, origin, name)


def _convert_union(options: Sequence[Any], value: Any, origin: str, name: str) -> Any:
    """Returns the value as the first of the options that fits; None first where it is one.

    Of several dataclasses a mapping names its own by a word that the others do not take, such as ``algorithm: cem``;
    without the word it is the first.
    """
    if value is None and types.NoneType in options:
        return None
    classes = [option for option in options if dataclasses.is_dataclass(option)]
    if len(classes) > 1 and isinstance(value, Mapping):
        return _build(_named_class(classes, value, origin, name), value, origin, prefix=f"{name}.")
    errors: list[ConfigError] = []
    for option in options:
        if option is types.NoneType:
            continue
        try:
            return _convert(option, value, origin, name)
        except ConfigError as error:
            errors.append(error)
    raise errors[-1]


def _named_class(classes: Sequence[Any], value: Mapping[str, Any], origin: str, name: str) -> Any:
    """Returns the dataclass whose first field, a Literal, has the value given, or the first dataclass."""
    key, words = _name_classes(classes)
    word = value.get(key, next(iter(words)))
    if word not in words:
        near = difflib.get_close_matches(str(word), words, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"unknown {name}.{key} {word!r} in {origin}: {hint}Known: {', '.join(words)}")
    return words[word]


def _name_classes(classes: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """Returns the name of the first field of some dataclasses, and each dataclass by its own word there."""
    key = dataclasses.fields(classes[0])[0].name
    return key, {typing.get_args(typing.get_type_hints(cls)[key])[0]: cls for cls in classes}


def _convert_sequence(hint: Any, value: Sequence[Any], origin: str, name: str) -> Any:
    """Returns a list or tuple with every entry converted."""
    inner = typing.get_args(hint)
    kind = typing.get_origin(hint) or hint
    if not inner:
        return kind(value)
    if kind is list or inner[-1] is Ellipsis:
        return kind(_convert(inner[0], entry, origin, f"{name}[{i}]") for i, entry in enumerate(value))
    if len(inner) != len(value):
        raise _wrong(hint, value, origin, name)
    pairs = zip(inner, value, strict=True)
    return kind(_convert(item, entry, origin, f"{name}[{i}]") for i, (item, entry) in enumerate(pairs))


def _convert_scalar(hint: Any, value: Any, origin: str, name: str) -> Any:
    """Returns a number, word, truth value or path; refuses what would have to be guessed."""
    if hint is Any:
        return value
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and (number or isinstance(value, str)):
        try:
            return float(value)
        except ValueError:
            raise _wrong(hint, value, origin, name) from None
    if hint is int and number and value == int(value):
        return int(value)
    if hint in {bool, str} and isinstance(value, hint):
        return value
    raise _wrong(hint, value, origin, name)


def _wrong(hint: Any, value: Any, origin: str, name: str) -> ConfigError:
    """Returns the error that says what was expected at `name` and what came."""
    expected = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    return ConfigError(f"{name!r} in {origin} must be {expected}, got {value!r} ({type(value).__name__})")


def _to_plain(value: Any) -> Any:
    """Returns nested dataclasses, tuples and paths as dicts, lists and strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _to_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
