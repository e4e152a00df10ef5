"""Things by their name: built in, of an installed package, or in somebody's own file."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from envs.own import load_file

T = TypeVar("T")


class RegistryError(ValueError):
    """Nothing has that name, or what has it is not what was asked for."""


class Registry(Generic[T]):
    """Finds things of one kind by name.

    A name is a short word for what is built in or what an installed package declares as an entry point of the group
    ``vjepa_planner.KIND``; or ``module.py:Name`` for something in a file, or ``package.module:Name`` for something that
    can be imported. Nothing is imported before it is asked for.

    Attributes:
        kind: What the things are, in the singular, such as "planner".
    """

    def __init__(self, kind: str, builtin: Mapping[str, str]) -> None:
        """Takes what is built in.

        Args:
            kind: In the singular.
            builtin: "package.module:Name" of each by its short word.
        """
        self.kind = kind
        self._builtin = dict(builtin)

    @property
    def names(self) -> tuple[str, ...]:
        """The short words that there are, of installed packages too."""
        return (*self._builtin, *(name for name in self._declared() if name not in self._builtin))

    def is_builtin(self, name: str) -> bool:
        """Returns whether a name is the short word of something that is built in."""
        return name in self._builtin

    def find(self, name: str) -> T:
        """Returns what has a name.

        Raises:
            RegistryError: If nothing has it, naming the nearest word and all words, or it can't be imported.
        """
        place = self._builtin.get(name) or self._declared().get(name) or (name if ":" in name else None)
        if place is None:
            near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise RegistryError(
                f"there is no {self.kind} {name!r}: {hint}Known: {', '.join(self.names)}; one of your own is "
                "module.py:Name or package.module:Name"
            )
        return find_object(place, self.kind)

    def _declared(self) -> dict[str, str]:
        """Returns the entry points of installed packages, by name."""
        return {point.name: point.value for point in entry_points(group=f"vjepa_planner.{self.kind.replace(' ', '_')}")}


def find_object(place: str, kind: str = "object") -> Any:
    """Returns what ``module.py:Name`` or ``package.module:Name`` names.

    Args:
        place: Where it is.
        kind: What to call it in errors.

    Raises:
        RegistryError: If there is no such file, module or name in it.
    """
    module_name, _, name = place.rpartition(":")
    if not module_name or not name:
        raise RegistryError(f"a {kind} is named as module.py:Name or package.module:Name, got {place!r}")
    module = load_module(module_name, kind)
    try:
        return getattr(module, name)
    except AttributeError:
        public = [each for each in vars(module) if not each.startswith("_")]
        near = difflib.get_close_matches(name, public, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(public[:10]) or 'nothing'}"
        raise RegistryError(f"{module_name} has no {name}{hint}") from None


def load_module(module: str, kind: str) -> ModuleType:
    """Returns what ``module.py`` or ``package.module`` names.

    Args:
        module: Where it is.
        kind: What to call what is looked for in it.

    Raises:
        RegistryError: If there is no such file or module.
    """
    if module.endswith(".py"):
        if not Path(module).is_file():
            raise RegistryError(f"the {kind} is to be in {module}, but there is no such file here ({Path.cwd()})")
        return load_file(Path(module))
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not (module == error.name or module.startswith(f"{error.name}.")):
            raise  # it is there, and what it imports itself is not: that error says what is missing
        raise RegistryError(
            f"the {kind} in {module!r} can't be imported ({error}): there is no module {error.name}; install its "
            "package, set PYTHONPATH, or name a file, module.py:Name"
        ) from error
