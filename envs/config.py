"""YAML files into frozen dataclasses, and back: one place, one set of error messages."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union

import yaml

from envs.folders import write_text
from envs.registry import Registry, RegistryError, find_object

_INSTALLED = Path(__file__).resolve().parent / "_configs"

CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "scripts/configs"
"""The YAML files that the project ships: in an installed package, or in a checkout."""


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


T = TypeVar("T", bound=Dataclass)


class ConfigError(ValueError):
    """A configuration has an unknown key, lacks a field or has a value of the wrong kind."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """Marks a field that holds settings of one of several things: ``Annotated[Settings, Choice("kind", THINGS)]``.

    In YAML it is a mapping in which a word says which: ``kind: mine.py:Mine``, with that thing's settings beside it.
    What the registry finds is a dataclass, the settings themselves, whose class variable ``makes`` names what is made
    of them (so that settings are read without importing it), or a class that is made of its own dataclass ``Config``.
    Either has the word in a field, the first. Where functions may be chosen, too, one of no arguments has no settings,
    and another is called with its first parameter's dataclass.

    Attributes:
        key: Name of that field.
        registry: Finds things by the word; its first name is the default.
        functions: Whether what makes a thing may be a function.
    """

    key: str
    registry: Registry[Any]
    functions: bool = False

    def settings(self, word: str) -> type:
        """Returns the dataclass of a thing's settings.

        Raises:
            ConfigError: If there is no such thing, or it has no settings in which its word could stand.
        """
        try:
            found = self.registry.find(word)
        except RegistryError as error:
            raise ConfigError(str(error)) from error
        settings = found if dataclasses.is_dataclass(found) else getattr(found, "Config", None)
        if settings is None and self.functions and inspect.isfunction(found):
            settings = _settings_of(found)
        if not (isinstance(settings, type) and dataclasses.is_dataclass(settings)):
            function = "; a function takes its settings, annotated, or nothing" if self.functions else ""
            raise ConfigError(f"the {self.registry.kind} {word!r} must have a dataclass Config, its settings{function}")
        if self.key not in {field.name for field in dataclasses.fields(settings)}:
            raise ConfigError(f"the settings of {word!r} must have a field {self.key}: str, which holds that word")
        return settings

    def make(self, settings: Any, *arguments: Any) -> Any:
        """Returns the thing that settings describe, made of them and further arguments."""
        found = self.registry.find(getattr(settings, self.key))
        maker = find_object(getattr(found, "makes")) if dataclasses.is_dataclass(found) else found  # noqa: B009
        return maker(*arguments) if isinstance(settings, NoSettings) else maker(settings, *arguments)


class KindSettings(Protocol):
    """Settings of one of several things, a frozen dataclass whose field ``kind`` says of which; see `Choice`."""

    @property
    def kind(self) -> str:
        """Names the thing."""
        ...


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """The settings of what a function of no arguments makes.

    Attributes:
        kind: Names the function.
    """

    kind: str


def _settings_of(function: Callable[..., Any]) -> type | None:
    """Returns the dataclass that a function takes first; `NoSettings` of one without parameters."""
    parameters = list(inspect.signature(function).parameters)
    return typing.get_type_hints(function).get(parameters[0]) if parameters else NoSettings


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
    values, origin = read_values(source)
    for key, value in (overrides or {}).items():
        values = override(values, key.split("."), value)
    return build_config(cls, values, origin, prefix="")


def dump_config(config: Any, path: str | Path | None = None) -> dict[str, Any]:
    """Returns a config as plain dicts, lists, strings and numbers; also writes it as YAML where a path is given.

    `load_config` of the result gives an equal config.
    """
    plain = _to_plain(config)
    if path is not None:
        write_text(Path(path), yaml.safe_dump(plain, sort_keys=False, width=120))
    return plain


def find_config(name: str | Path) -> Path:
    """Returns the YAML file of a path, or of its place among those that the project ships.

    Wherever a program runs, plan/reach.yaml and scripts/configs/plan/reach.yaml are the shipped file, unless there is
    one of that name.
    """
    path = Path(name)
    inside = path.relative_to("scripts/configs") if path.is_relative_to("scripts/configs") else path
    shipped = CONFIGS / inside
    return shipped if not path.is_file() and shipped.is_file() else path


def read_values(source: str | Path | Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
    """Returns the mapping that a source holds and what to call it in errors."""
    if source is None:
        return {}, "the configuration"
    if isinstance(source, Mapping):
        return dict(source), "the configuration"
    path = find_config(source)
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


def override(values: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """Returns `values` with the entry at the nested `keys` replaced; a number is a place in a list that is there."""
    return _replaced(dict(values), keys, value)


def _replaced(values: Any, keys: Sequence[str], value: Any) -> Any:
    """Returns a mapping or list with a nested entry replaced; mappings that are not there are made."""
    if not keys:
        return value
    if isinstance(values, list) and keys[0].isdigit() and int(keys[0]) < len(values):
        place = int(keys[0])
        return [*values[:place], _replaced(values[place], keys[1:], value), *values[place + 1 :]]
    inner = dict(values) if isinstance(values, Mapping) else {}
    return {**inner, keys[0]: _replaced(inner.get(keys[0]), keys[1:], value)}


def build_config(cls: type[T], values: Mapping[str, Any], origin: str, prefix: str) -> T:
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
    hints = typing.get_type_hints(cls, include_extras=True)
    converted = {key: _convert(hints[key], value, origin, prefix + str(key)) for key, value in values.items()}
    try:
        return cls(**converted)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{origin}{f' ({prefix[:-1]})' if prefix else ''}: {error}") from error


def _convert(hint: Any, value: Any, origin: str, name: str) -> Any:
    """Returns a YAML value as the kind of thing the field `name` is declared to be."""
    choice, hint = find_choice(hint)
    if choice is not None and value is not None:
        return _convert_choice(choice, value, origin, name)
    outer, inner = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if isinstance(value, Mapping):
            return build_config(hint, value, origin, prefix=f"{name}.")
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
    """Returns the value as the first of the options that fits; None first where it is one."""
    if value is None and types.NoneType in options:
        return None
    errors: list[ConfigError] = []
    for option in options:
        if option is types.NoneType:
            continue
        try:
            return _convert(option, value, origin, name)
        except ConfigError as error:
            errors.append(error)
    raise errors[-1]


def find_choice(hint: Any) -> tuple[Choice | None, Any]:
    """Returns the `Choice` that a field is marked with, if it is, and what it is declared to be."""
    if typing.get_origin(hint) is not typing.Annotated:
        return None, hint
    inner, *marks = typing.get_args(hint)
    return next((mark for mark in marks if isinstance(mark, Choice)), None), inner


def _convert_choice(choice: Choice, value: Any, origin: str, name: str) -> Any:
    """Returns the settings of what a mapping, or a word alone, names; without a word it is the registry's first."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return value
    values = {choice.key: value} if isinstance(value, str) else value
    if not isinstance(values, Mapping):
        raise ConfigError(f"{name!r} in {origin} must be a mapping with {choice.key}, got {value!r}")
    word = values.get(choice.key, choice.registry.names[0])
    if not isinstance(word, str):
        raise ConfigError(f"{name + '.' + choice.key!r} in {origin} must be a word, got {word!r}")
    try:
        settings = choice.settings(word)
    except ConfigError as error:
        raise ConfigError(f"{name} in {origin}: {error}") from error
    return build_config(settings, {choice.key: word, **values}, origin, prefix=f"{name}.")


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
