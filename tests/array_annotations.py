"""Checks jaxtyping's array annotations of the rooms' functions, and nothing else, while the tests run.

General checkers refuse plain protocols and `Self`; here an annotation that holds no array type is not looked at. A
letter means one size within a call, over arguments, fields and what is returned.
"""

from __future__ import annotations

import functools
import importlib.machinery
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from jaxtyping import AbstractArray, AnnotationError, jaxtyped

ROOMS = ("envs", "world_model", "planner")
ARRAY = re.compile(r"\b(Float|Float32|Int|Int64|UInt8|Bool|Num|Shaped)\[")
Test = Callable[[Any], bool]
allowed: list[str] = []
"""Why nothing is checked now; empty if it is."""


def install() -> None:
    """Checks the modules of the rooms that are imported from now on."""
    sys.meta_path.insert(0, _Finder())


def check_module(module: types.ModuleType) -> None:
    """Wraps the functions and methods that a module defines, where their annotations hold array types."""
    for holder, name, value in [*_defined(module)]:
        if isinstance(value, types.FunctionType):
            checked: Any = checks(value)
        elif isinstance(value, (staticmethod, classmethod)):
            checked = type(value)(checks(value.__func__))
        elif isinstance(value, property) and value.fget is not None:
            checked = property(checks(value.fget), value.fset, value.fdel, value.__doc__)
        else:
            continue
        setattr(holder, name, checked)


def _defined(module: types.ModuleType) -> Iterator[tuple[Any, str, Any]]:
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) == module.__name__:
            yield module, name, value
            if isinstance(value, type) and not getattr(value, "_is_protocol", False):
                yield from ((value, each, vars(value)[each]) for each in vars(value))


def checks(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function with its array annotations checked at every call."""
    if not any(ARRAY.search(str(text)) for text in function.__annotations__.values()):
        return function
    parameters = [*inspect.signature(function).parameters.values()]
    variadic = any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters)
    if variadic or inspect.isgeneratorfunction(function):
        return function
    names = [each.name for each in parameters]
    tests: dict[str, Test] = {}

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not tests:
            tests.update(_tests(function))
        result = function(*args, **kwargs)  # first: what it refuses itself needs no other word
        if not allowed:
            given = {**dict(zip(names, args, strict=False)), **kwargs, "return": result}
            with jaxtyped("context"):
                for name, test in tests.items():
                    if name in given and not _passes(test, given[name]):
                        raise TypeError(_tell(function, name, given))
        return result

    return checked


def _tests(function: Callable[..., Any]) -> dict[str, Test]:
    """Returns what is asked of each argument, and of "return"; at least one entry."""
    found: dict[str, Test] = {"": lambda _: True}
    for name, text in function.__annotations__.items():
        if ARRAY.search(str(text)) and "{" not in str(text):
            try:
                annotation = eval(text, function.__globals__) if isinstance(text, str) else text
            except (NameError, TypeError):  # imported for type checkers alone, or a class's own names
                continue
            test = _test(annotation)
            if test is not None:
                found[name] = test
    return found


def _test(annotation: Any) -> Test | None:
    """Returns what tells whether a value is what the annotation says; None where it holds no array type."""
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        return lambda value: isinstance(value, annotation)
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        tests = [_test(part) for part in parts]
        plain = tuple(typing.get_origin(part) or part for part, test in zip(parts, tests, strict=True) if test is None)
        arrays = [test for test in tests if test is not None]
        classes = tuple(each for each in plain if isinstance(each, type))
        if not arrays or len(classes) < len(plain):
            return None
        return lambda value: isinstance(value, classes) or any(test(value) for test in arrays)
    if origin is tuple and Ellipsis not in parts:
        tests = [_test(part) for part in parts]
        return lambda value: all(test is None or test(each) for test, each in zip(tests, value, strict=True))
    return None


def _passes(test: Test, value: Any) -> bool:
    try:
        return test(value)
    except (NameError, AnnotationError):  # T-1 where no T was seen before
        return True


def _tell(function: Callable[..., Any], name: str, given: dict[str, Any]) -> str:
    arrays = {each: f"{value.dtype} {tuple(value.shape)}" for each, value in given.items() if hasattr(value, "dtype")}
    where = f"{function.__module__}.{function.__qualname__}"
    value = arrays.get(name) or repr(given[name])[:200]
    return f"{where}: {name} is {value}, annotated {function.__annotations__[name]}; arrays of the call: {arrays}"


class _Finder:
    """Finds the rooms' modules as Python does, and has them checked once they are loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in ROOMS:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if isinstance(spec.loader, importlib.machinery.SourceFileLoader):
                    spec.loader = _Loader(spec.loader.name, spec.loader.path)
                return spec
        return None


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        check_module(module)
