"""Rooms import only one way and without circles, each says what happens there, and programs are thin."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ("envs", "world_model", "planner")  # each may import itself and those before it
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for room in HOUSE
    for path in sorted((ROOT / room).rglob("*.py"))
}
PROGRAMS = sorted((ROOT / "scripts").glob("*.py"))
LONGEST_PROGRAM = 60  # lines
CORRIDORS = ("world_model.heads",)  # each head is a room, and none knows of another


def imported(path: Path, at_import: bool = False) -> set[str]:
    """Modules of the house that a file imports: anywhere, or only what runs when it is itself imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(executed(tree)) if at_import else list(ast.walk(tree))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if name in FILES else node.module or "" for name in whole]
    return {name for name in names if name in FILES}


def executed(node: ast.AST):
    """Statements that run at import: not those in functions, nor those for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from executed(child)


def room_of(module: str) -> str:
    """A sub-package, or a module that stands in none."""
    return ".".join(module.split(".")[: 3 if module.startswith(CORRIDORS) else 2])


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_its_own_house_and_those_before(module):
    allowed = HOUSE[: HOUSE.index(module.partition(".")[0]) + 1]
    assert {name for name in imported(FILES[module]) if name.partition(".")[0] not in allowed} == set()


def test_modules_import_without_circles():
    graph = {module: imported(path, at_import=True) - {module} for module, path in FILES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)  # CycleError names a circle


def test_rooms_import_without_circles():
    edges = {(module, name) for module, path in FILES.items() for name in imported(path) - set(HOUSE)}
    graph: dict[str, set[str]] = {}
    for module, name in edges:
        graph.setdefault(room_of(module), set()).update({room_of(name)} - {room_of(module)})
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("room", [module for module, path in FILES.items() if path.stem == "__init__"])
def test_a_room_says_what_happens_there(room):
    told = ast.get_docstring(ast.parse(FILES[room].read_text(encoding="utf-8")))
    assert told and told.splitlines()[0].endswith(".")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_a_program_is_thin(program):
    assert not program.name.startswith("_")
    assert len(program.read_text(encoding="utf-8").splitlines()) <= LONGEST_PROGRAM


@pytest.mark.parametrize("package", HOUSE)
def test_the_names_that_most_need_come_from_the_package_which_loads_no_torch(package):
    code = (
        f"import sys, {package} as it; assert 'torch' not in sys.modules and set(it.__all__) <= set(dir(it)); "
        "assert len(it.__all__) > 2 and all(getattr(it, name) is not None for name in it.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
