"""A run's page holds the numbers of its results, takes no name for HTML, can be made again and says what is missing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.deployment.page import write_page as write_deployment_page
from planner.evaluation.page import write_page
from planner.evaluation.program import main
from planner.viewing.page import Line, charts

HOSTILE = "<script>alert('x')</script>&\"'"
TOY = ["--checkpoint", "toy", "--task", "toy_reach:envs/ToyReach-v0", "--episodes", "2", "--max-steps", "4"]


class Page(HTMLParser):
    """The words of a page, the cells of its tables and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words, self.loaded, self.tags = "", [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.words += f" {data}"


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an evaluation without pictures."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))
    main([*TOY, "--seed", "5", "--video-episodes", "0", "--output", str(tmp_path / "run")])
    return tmp_path / "run"


def deployment(**changes: Any) -> dict[str, Any]:
    run = {
        "name": "run", "seed": 3, "folder": ".", "status": 3, "stopped": "it left the workspace", "recording": None,
        "set_points_late_s": [0.001, 0.004], "costs": [0.5, float("nan")], "latencies_s": [0.25, 0.35],
        "limited": [[], ["slowed"]],
    }  # fmt: skip
    return {"config": {"arm": "arm.yaml", "live": True, "videos": 1}, "checkpoint": "mine", "runs": [run | changes]}


def test_an_evaluations_page_holds_the_numbers_of_its_results(evaluated: Path) -> None:
    page, results = Page((evaluated / "report.html").read_text()), json.loads((evaluated / "results.json").read_text())
    summary = results["summaries"]["planner"]
    assert f"{summary['at_the_end']} of 2 episodes ended in success" in page.words
    assert "zero action" in page.words and "random actions" in page.words and "seeds 5..6" in page.words
    for episode in results["episodes"]["planner"]:
        assert f"{1000 * episode['distances_m'][-1]:.1f} mm" in page.words
    assert "search by cem from noise" in page.words and "samples: 32" in page.words
    assert page.tags.count("polyline") == 3 * 2  # cost, distance and time of two episodes


def test_the_command_of_a_page_does_the_same_again(evaluated: Path, tmp_path: Path) -> None:
    (command,) = [word for word in (evaluated / "report.html").read_text().split("\n") if "scripts/evaluate.py" in word]
    assert f"--config {evaluated}/config.yaml --output {evaluated}-again" in command
    main(["--config", str(evaluated / "config.yaml"), "--output", str(tmp_path / "again")])
    first, again = (json.loads((folder / "results.json").read_text()) for folder in (evaluated, tmp_path / "again"))
    assert first["episodes"]["planner"][1]["poses"] == again["episodes"]["planner"][1]["poses"]


def test_a_page_is_made_again_and_says_that_there_is_no_video(evaluated: Path) -> None:
    before = (evaluated / "report.html").read_text()
    (evaluated / "report.html").unlink()
    assert write_page(evaluated).read_text() == before
    assert "There is no video.mp4 in this folder." in Page(before).words and not Page(before).loaded
    (evaluated / "video.mp4").touch()
    page = Page(write_page(evaluated).read_text())
    assert "There is no video" not in page.words and page.loaded == ["video.mp4#t=0.1"]


def test_names_are_words_and_never_html(evaluated: Path) -> None:
    results = json.loads((evaluated / "results.json").read_text())
    results["config"] |= {"checkpoint": HOSTILE, "task": HOSTILE, HOSTILE: HOSTILE}
    (evaluated / "results.json").write_text(json.dumps(results | {"who": HOSTILE, "caption": HOSTILE}))
    page = Page(write_page(evaluated).read_text())
    assert "script" not in page.tags and HOSTILE in page.words


def test_a_deployments_page_says_how_runs_ended_and_escapes_their_names(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").touch()
    (tmp_path / "results.json").write_text(json.dumps(deployment(name=HOSTILE)))
    page = Page(write_deployment_page(tmp_path).read_text())
    assert "1 stopped by the safety filter" in page.words and "it left the workspace" in page.words
    assert "1.0 / 4.0 ms" in page.words and "0.30 s" in page.words and "Nobody measured success" in page.words
    assert "script" not in page.tags and HOSTILE in page.words and page.loaded == ["video.mp4#t=0.1"]
    assert yaml.safe_dump(deployment()["config"], sort_keys=False).strip() in page.words


def test_what_is_no_run_is_said_in_one_line(tmp_path: Path) -> None:
    for content in (None, "{"):
        if content is not None:
            (tmp_path / "results.json").write_text(content)
        with pytest.raises(ValueError, match=r"holds no whole results\.json: name the --output of a run of evaluate"):
            write_page(tmp_path)


def test_a_chart_leaves_out_what_is_not_finite() -> None:
    drawn = charts({"cost": [Line("a", [float("nan"), 1.0, float("inf"), 0.5])], "none": [Line("b", [])]})
    assert drawn.count("<svg") == 1 and "nan" not in drawn and "inf" not in drawn and "top 1<" in drawn


def test_a_chart_of_costs_below_zero_is_drawn_within_it() -> None:
    drawn = charts({"cost": [Line("a", [-15.0, -3.0, 0.0, 0.5, float("-inf")])]})
    assert "-15 to 0.5<" in drawn
    (points,) = re.findall(r'points="([^"]+)"', drawn)
    heights = [float(place.split(",")[1]) for place in points.split()]
    assert heights == sorted(heights, reverse=True) and heights[0] - heights[-1] > 50
    assert f"M8 {heights[2]}H" in drawn  # the line of zero
    assert "top 2<" in charts({"cost": [Line("a", [2.0, 1.0])]})
