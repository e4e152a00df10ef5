"""Pages of results say what the results beside them say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from planner.evaluation.results_page import filled, main

PAGES = sorted((Path(__file__).parent.parent / "docs/results").glob("*.md"))
MEASURED = [page for page in PAGES if "<!-- results:" in page.read_text(encoding="utf-8")]
PAGE = "# Results\n\n<!-- results: some.json -->\nwhatever\n<!-- end of results -->\n\nMore.\n"


def summary(ever: int, at_the_end: int) -> dict[str, object]:
    return {"n": 50, "ever": ever, "at_the_end": at_the_end, "at_the_start": 2, "median_seconds": 0.0314}


def results(ever: int) -> dict[str, object]:
    cells = {"policy": {"summary": summary(ever, 30)}, "zero action": {"summary": summary(2, 2)}}
    return {
        "suite": {"seed": 10000, "episodes": 50},
        "checkpoints": {"runs/some": "0123456789abcdef"},
        "torch": "2.13.0",
        "rows": {"FetchPush": {"cells": cells}},
    }


@pytest.mark.parametrize("page", MEASURED, ids=lambda page: page.stem)
def test_a_page_is_what_its_results_say(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == filled(page), f"run python -m planner.evaluation.results_page {page}"


def test_a_table_is_written_anew_and_the_rest_of_the_page_is_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    (tmp_path / "some.json").write_text(json.dumps(results(ever=41)))
    main([str(page)])
    told = page.read_text()
    assert (
        "41/50 = 82% (69% to 90%)" in told
        and "2/50" in told
        and "0.031" in told
        and "`runs/some` (0123456789ab)" in told
        and "10000..10049" in told
    )
    assert told.startswith("# Results\n") and told.endswith("\n\nMore.\n") and "whatever" not in told
    (tmp_path / "some.json").write_text(json.dumps(results(ever=40)))
    assert filled(page) != told


def test_a_page_without_a_place_for_results_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Results\n")
    with pytest.raises(ValueError, match="no place for results"):
        filled(page)
