"""Things by name: built in, declared by installed packages, in files and in modules."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from envs import registry
from envs.registry import Registry, RegistryError, find_object

THINGS: Registry[type] = Registry("test thing", {"path": "pathlib:Path", "fraction": "fractions:Fraction"})


def test_a_short_word_finds_what_is_built_in() -> None:
    assert THINGS.find("path") is Path
    with pytest.raises(
        RegistryError, match=r"no test thing 'fractoin': did you mean 'fraction'\? Known: path, fraction"
    ):
        THINGS.find("fractoin")


def test_a_file_of_ones_own_is_loaded_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Mine:\n    size: int = 3\n")
    found = THINGS.find(f"{file}:Mine")
    assert found().size == 3
    assert THINGS.find(f"{file}:Mine") is found
    with pytest.raises(RegistryError, match=r"mine.py has no Mime; did you mean Mine\?"):
        THINGS.find(f"{file}:Mime")
    with pytest.raises(RegistryError, match="there is no such file here"):
        THINGS.find(f"{tmp_path / 'yours.py'}:Mine")


def test_a_file_with_an_error_tells_its_own_error_each_time(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("import a_module_that_is_not_installed\n")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_installed"):
            THINGS.find(f"{file}:Mine")


def test_a_module_is_imported_by_its_name() -> None:
    assert THINGS.find("collections:OrderedDict").__name__ == "OrderedDict"
    with pytest.raises(RegistryError, match="there is no module not_there; install its package, set PYTHONPATH"):
        THINGS.find("not_there.inside:Thing")
    with pytest.raises(RegistryError, match=r"named as module.py:Name or package.module:Name, got ':Thing'"):
        find_object(":Thing", "thing")


def test_installed_packages_declare_things_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(group: str) -> list[EntryPoint]:
        found = [EntryPoint("counter", "collections:Counter", group), EntryPoint("path", "posixpath:join", group)]
        return found if group == "vjepa_planner.test_thing" else []

    monkeypatch.setattr(registry, "entry_points", points)
    assert THINGS.names == ("path", "fraction", "counter")
    assert THINGS.find("counter").__name__ == "Counter"
    assert THINGS.find("path") is Path  # what is built in stays what it is
