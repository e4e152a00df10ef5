"""The map of the house: every file and folder that it and its drawings name is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/architecture.md"
DRAWINGS = re.findall(r"\((walk-\w+\.svg)\)", PAGE.read_text(encoding="utf-8"))
NAMED = re.compile(r"\b(?:envs|world_model|planner|scripts|tests)/[\w/]*(?:\.py)?")


def named(path: Path) -> list[str]:
    return [name for name in NAMED.findall(path.read_text(encoding="utf-8")) if name != "scripts/X.py"]


@pytest.mark.parametrize("name", ["architecture.md", *DRAWINGS])
def test_all_that_the_map_names_is_there(name: str) -> None:
    names = named(ROOT / "docs" / name)
    assert len(names) >= 10
    assert [each for each in names if not (ROOT / each).exists()] == []


def test_each_walk_has_a_drawing_and_names_its_files() -> None:
    assert len(DRAWINGS) == 3
    page = PAGE.read_text(encoding="utf-8")
    for drawing in DRAWINGS:
        start = page.index(drawing)
        walk = page[start : page.index("\n#", start)]
        assert [each for each in named(ROOT / "docs" / drawing) if each not in walk] == []
        assert walk.count("\n9. ") == 1 and (ROOT / "docs" / drawing).read_text().count(">9. ") == 1


def test_every_room_is_on_the_map() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rooms = {path.parent.name for house in ("envs", "world_model", "planner") for path in ROOT.glob(f"{house}/**/*.py")}
    assert [room for room in sorted(rooms - {"envs", "world_model", "planner"}) if room not in page] == []


def count(path: Path) -> tuple[int, int]:
    """Lines of code proper, and of comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    told: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            told.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    documentation = sum(number in told or line.startswith("#") for number, line in lines)
    return len(lines) - documentation, documentation


def test_the_page_says_how_large_the_rooms_are() -> None:
    rows = re.findall(r"^\| `([\w/]+)` \| ([\d ]+) \| ([\d ]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [room for room, *_ in rows if "/" not in room] == ["envs", "world_model", "planner", "scripts"]
    for room, *said in rows:
        found, share = [count(path) for path in (ROOT / room).rglob("*.py")], 0.15 if "/" not in room else 0.6
        for told, counted in zip(said, map(sum, zip(*found, strict=True)), strict=True):
            assert abs(int(told.replace(" ", "")) - counted) <= 50 + share * counted, (
                f"{room}: {told}, counted {counted}"
            )
