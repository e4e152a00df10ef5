"""Command lines into frozen dataclasses: every field a flag, a YAML file the defaults."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from envs.config import Choice, Dataclass, build_config, find_choice, override, read_values

T = TypeVar("T", bound=Dataclass)


def config_from_command_line(cls: type[T], description: str, arguments: Sequence[str] | None = None) -> T:
    """Returns `cls` from ``--config FILE.yaml`` and the flags that override single fields of it.

    Every field is a flag (nested ones as ``--encoder.width``); the file's values are the defaults that ``--help``
    shows. Of a `Choice` a flag such as ``--planner.algorithm mppi`` or ``--planner.algorithm mine.py:Mine`` takes
    another than the file's, with its own defaults: the file's settings of the one that it replaces are dropped. Where
    several may be chosen the flag takes several words. Prints the message and exits with status 2 if the file or such a
    flag is at fault, as for any wrong flag.

    Args:
        cls: A dataclass.
        description: What the program does, for ``--help``.
        arguments: The command line without the program's name; None takes the process's own.
    """
    import tyro  # only programs need it

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    file = parser.parse_known_args(arguments)[0].config
    try:
        values, origin = read_values(file)
        chosen, rest = _read_choices(parser, cls, values, arguments)
        for flag, word in chosen.items():
            values = _choose(values, flag.split("."), word)
        said = file is not None or bool(chosen)
        # else what must be said may be missing
        default = build_config(cls, {**_needed(cls, rest), **values}, origin, prefix="") if said else None
        concrete = _concrete(cls, default)
        for flag, choice in _find_choices(cls, values).items():
            description = f"{description} --{flag}: {', '.join(choice.registry.names)}."
        if not said:
            description = f"{description} --config FILE.yaml fills the flags below."
        start = {} if default is None else {"default": _as(concrete, default)}
        flat = (tyro.conf.AvoidSubcommands,)
        return _back(tyro.cli(concrete, args=rest, config=flat, description=description, **start))
    except ValueError as error:
        parser.exit(2, f"{error}\n")


def _read_choices(
    parser: argparse.ArgumentParser, cls: Any, values: Mapping[str, Any], arguments: Sequence[str] | None
) -> tuple[dict[str, str | list[str]], list[str]]:
    """Returns the words that the command line chooses by, outer before inner, and what it says beside."""
    chosen: dict[str, str | list[str]] = {}
    known: set[str] = set()
    while True:  # an outer choice may have inner ones
        for flag, word in chosen.items():
            values = _choose(values, flag.split("."), word)
        new = {flag: choice for flag, choice in _find_choices(cls, values).items() if flag not in known}
        if not new:
            rest = parser.parse_known_args(arguments)[1]
            return chosen | _chosen_in_vain(rest, {flag.rpartition(".")[2] for flag in known}), rest
        for flag in new:
            several = not flag.endswith(f".{new[flag].key}")
            parser.add_argument(f"--{flag}", nargs="*" if several else None)
        found = vars(parser.parse_known_args(arguments)[0])
        known |= set(new)
        chosen |= {flag: found[flag] for flag in new if found[flag] is not None}


def _needed(cls: Any, rest: Sequence[str]) -> dict[str, str]:
    """Returns what flags say of fields without a default, as a file would: no dataclass can be made without them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for field in dataclasses.fields(cls):
        if field.init and field.default is field.default_factory is dataclasses.MISSING:
            parser.add_argument(f"--{field.name.replace('_', '-')}", f"--{field.name}", dest=field.name)
    return {name: word for name, word in vars(parser.parse_known_args(rest)[0]).items() if word is not None}


def _chosen_in_vain(rest: Sequence[str], keys: set[str]) -> dict[str, str | list[str]]:
    """Returns flags that choose something inside of what has no such choice: building the config says what is wrong."""
    flags = [word.removeprefix("--").split("=")[0] for word in rest if word.startswith("--")]
    return {flag: "" for flag in flags if "." in flag and flag.rpartition(".")[2] in keys}


def _find_choices(cls: Any, values: Mapping[str, Any], prefix: str = "") -> dict[str, Choice]:
    """Returns the flags that choose, such as planner.algorithm, outer first, given what has been chosen.

    Of several things at once, ``tuple[Annotated[..., Choice], ...]``, the flag is the field's own name.
    """
    found: dict[str, Choice] = {}
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        name, inner = f"{prefix}{field.name}", values.get(field.name)
        choice, hint = find_choice(hints[field.name])
        each = typing.get_args(hint)[:1] if typing.get_origin(hint) is tuple else ()
        if choice is not None:
            found[f"{name}.{choice.key}"] = choice
            settings = _settings_of(choice, inner, field)
            if settings is not None:
                found |= _find_choices(settings, inner if isinstance(inner, Mapping) else {}, f"{name}.")
        elif each and (several := find_choice(each[0])[0]) is not None:
            found[name] = several
        elif isinstance(hint, type) and dataclasses.is_dataclass(hint):
            found |= _find_choices(hint, inner if isinstance(inner, Mapping) else {}, f"{name}.")
    return found


def _settings_of(choice: Choice, value: Any, field: dataclasses.Field[Any]) -> type | None:
    """Returns the dataclass that a field's value, or else its default, is of; None where it has none."""
    word = value.get(choice.key) if isinstance(value, Mapping) else value if isinstance(value, str) else None
    if isinstance(word, str):
        return choice.settings(word)
    default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    return type(default) if dataclasses.is_dataclass(default) and not isinstance(default, type) else None


def _choose(values: Mapping[str, Any], keys: Sequence[str], word: str | list[str]) -> dict[str, Any]:
    """Returns `values` with the mapping that the last of the nested `keys` is in replaced, if it names another word."""
    if isinstance(word, list):
        return override(values, keys, word)
    inner: Any = values
    for key in keys[:-1]:
        inner = inner.get(key) if isinstance(inner, Mapping) else None
    if isinstance(inner, Mapping) and inner.get(keys[-1]) == word:
        return dict(values)
    return override(values, keys[:-1], {keys[-1]: word})


def _concrete(cls: Any, default: Any) -> Any:
    """Returns a dataclass like `cls` in which what can be chosen is of the kind that `default` has."""
    import tyro

    hints, changed = typing.get_type_hints(cls, include_extras=True), {}
    for field in dataclasses.fields(cls):
        choice, hint = find_choice(hints[field.name])
        value = _value(field, default)
        each = typing.get_args(hint)[:1] if typing.get_origin(hint) is tuple else ()
        if choice is not None:
            changed[field.name] = Any if value is None else _concrete(type(value), value)
        elif each and find_choice(each[0])[0] is not None:
            changed[field.name] = Annotated[Any, tyro.conf.Suppress]  # its flag takes words, see `_read_choices`
        elif isinstance(hint, type) and dataclasses.is_dataclass(hint):
            inner = _concrete(hint, value)
            if inner is not hint:
                changed[field.name] = inner
    if not changed:
        return cls
    fields = [
        (f.name, changed[f.name], _copy(f, changed[f.name])) for f in dataclasses.fields(cls) if f.name in changed
    ]
    space = {
        "changed": changed,
        "__doc__": cls.__doc__,
        "__post_init__": lambda self: None,
        "__module__": cls.__module__,
    }
    return dataclasses.make_dataclass(cls.__name__, fields, bases=(cls,), frozen=True, kw_only=True, namespace=space)


def _copy(field: dataclasses.Field[Any], concrete: Any) -> Any:
    """Returns a field with the same default, as one of `_concrete`'s."""
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return dataclasses.field()
    return dataclasses.field(default_factory=lambda: _as(concrete, _value(field, None)))


def _value(field: dataclasses.Field[Any], default: Any) -> Any:
    """Returns a field's value in a dataclass, or its own default where there is none."""
    if default is not None:
        return getattr(default, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _as(concrete: Any, config: Any) -> Any:
    """Returns a dataclass's values as one of `_concrete`'s; what is none as it is."""
    if not (isinstance(concrete, type) and "changed" in vars(concrete)):
        return config
    changed = vars(concrete)["changed"]
    return concrete(**{f.name: _as(changed.get(f.name), getattr(config, f.name)) for f in dataclasses.fields(concrete)})


def _back(value: Any) -> Any:
    """Returns what `_as` was made of, with the values that the flags gave."""
    if not (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return value
    made = "changed" in vars(type(value))
    cls = type(value).__base__ if made else type(value)
    assert cls is not None
    return cls(**{field.name: _back(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init})
