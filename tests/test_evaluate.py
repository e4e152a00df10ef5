"""The evaluation from its command line to its pictures, with the toy model in a toy task; and its arithmetic."""

from __future__ import annotations

import importlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from planner.evaluation.config import EvaluateConfig
from planner.evaluation.episodes import workplace
from planner.objectives.objective_config import ObjectiveConfig
from tests.disks import contents, small_disk

ROOT = Path(__file__).parent.parent
TOY = ["--checkpoint", "toy", "--task", "toy_reach:envs/ToyReach-v0"]
PICTURES = {"video.mp4", "video.gif", "poster.png", "landscape.png"}


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("planner.evaluation.program")


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("planner.evaluation.report")


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 20, 0.0, 0.1611), (8, 10, 0.4902, 0.9433), (95, 100, 0.8882, 0.9785), (20, 20, 0.8389, 1.0)],
)
def test_wilson_interval_has_the_known_values(report: ModuleType, successes, n, low, high) -> None:
    assert report.wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_evaluation_writes_results_and_pictures(evaluate: ModuleType, tmp_path: Path, capsys) -> None:
    flags = ["--episodes", "3", "--seed", "5", "--max-steps", "10", "--video-episodes", "2", "--output", str(tmp_path)]
    evaluate.main([*TOY, *flags, "--planner.samples", "48"])
    results = json.loads((tmp_path / "results.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == PICTURES | {
        ".vjepa-planner-evaluate",
        "config.yaml",
        "report.html",
        "results.json",
        "results.md",
    }
    assert results["config"]["planner"]["samples"] == 48
    assert [episode["seed"] for episode in results["episodes"]["planner"]] == [5, 6, 7]
    assert results["summaries"]["planner"]["at_the_end"] == 3
    assert results["summaries"]["zero"]["at_the_end"] == results["summaries"]["zero"]["at_the_start"] == 0
    for name in ("poster.png", "landscape.png"):
        assert np.asarray(Image.open(tmp_path / name).convert("L")).std() > 5
    printed = capsys.readouterr().out
    assert "3/3 = 100%" in printed and "44% to 100%" in printed and "seeds 5..7" in printed
    assert "reads poses, not images" in printed


def test_a_task_with_subgoals_and_stages_is_drawn_and_its_stages_counted(evaluate, tmp_path: Path, capsys) -> None:
    flags = ["--checkpoint", "toy", "--task", "toy_stages:envs/ToyStages-v0", "--episodes", "1", "--max-steps", "9"]
    schedule = ["--controller.subgoals.steps", "3", "4"]  # of two goals, so that no single one will do
    evaluate.main([*flags, *schedule, "--video-episodes", "1", "--output", str(tmp_path)])
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["summaries"]["planner"]["stages"]["near"] == {"at_the_end": 1, "ever": 1}
    assert len(results["episodes"]["planner"][0]["stages"]["near"]) == 10
    assert "| planner (toy)     | 100% / 100% | 0% / 0% |" in capsys.readouterr().out
    assert PICTURES <= {path.name for path in tmp_path.iterdir()}


def test_one_photograph_is_the_last_of_a_tasks_goals() -> None:
    settings = EvaluateConfig(checkpoint="toy", task="FrankaPickPlace-v0", objective=ObjectiveConfig(pose_weight=1.0))
    (listed, _), (photograph, _) = (workplace(replace(settings, goals=goals)) for goals in ("all", "last"))
    every, one = (env.reset(seed=3)[1]["goals"] for env in (listed, photograph))
    assert len(every) == 3 and len(one) == 1
    np.testing.assert_array_equal(one[0].image, every[-1].image)
    workplace.cache_clear()


def test_a_record_is_read_back_from_its_json(evaluate: ModuleType, report: ModuleType) -> None:
    config = evaluate.EvaluateConfig("toy", "toy_stages:envs/ToyStages-v0", 1, 3, 4, baselines=False, video_episodes=0)
    record = importlib.import_module("planner.evaluation.episodes").evaluate(config)["planner"][0]
    values = json.loads(json.dumps(record.to_dict()))
    again = report.EpisodeRecord.from_dict("planner", values)
    assert again.to_dict() == values
    assert report.summarise([again]).stages == report.summarise([record]).stages
    assert report.summarise([again]).mean_error == pytest.approx(report.summarise([record]).mean_error, abs=1e-5)


def test_same_seeds_give_the_same_episodes(evaluate: ModuleType, tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        flags = ["--episodes", "2", "--max-steps", "3", "--video-episodes", "0", "--output", str(tmp_path / name)]
        evaluate.main([*TOY, *flags])
        found.append(json.loads((tmp_path / name / "results.json").read_text())["episodes"])
        assert not PICTURES & {path.name for path in (tmp_path / name).iterdir()}
    for actor in ("planner", "zero", "random"):
        assert [e["poses"] for e in found[0][actor]] == [e["poses"] for e in found[1][actor]]


@pytest.mark.parametrize("path", sorted((ROOT / "scripts/configs/plan").rglob("*.yaml")), ids=lambda path: path.stem)
def test_plan_configs_load_and_use_no_goal_pose(evaluate: ModuleType, path: Path) -> None:
    from envs.config import load_config

    assert not load_config(evaluate.EvaluateConfig, path).takes_goal_pose


def test_an_unknown_key_names_the_nearest_known_one(evaluate: ModuleType, tmp_path: Path, capsys) -> None:
    (tmp_path / "plan.yaml").write_text("planner: {sampels: 3}\n")
    with pytest.raises(SystemExit):
        evaluate.main(["--config", str(tmp_path / "plan.yaml")])
    assert "planner.samples" in capsys.readouterr().err


def test_an_unknown_task_lists_the_tasks(evaluate: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"error: there is no task 'FrankaRech-v0'; there are: .*FrankaReach-v0"):
        evaluate.main(["--checkpoint", "toy", "--task", "FrankaRech-v0"])


def test_an_unknown_task_module_or_device_is_one_line(evaluate: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"error: .*No module named 'no_such_module'"):
        evaluate.main(["--checkpoint", "toy", "--task", "no_such_module:envs/Reach-v0"])
    with pytest.raises(SystemExit, match=r"error: there is no device 'cuda:99' here; there are: cpu"):
        evaluate.main([*TOY[2:], "--checkpoint", "any", "--device", "cuda:99"])


def test_an_unknown_checkpoint_is_one_line(evaluate: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"error: .*no-such-checkpoint"):
        evaluate.main([*TOY[2:], "--checkpoint", "no-such-checkpoint"])


@pytest.mark.parametrize("program", ["evaluate", "landscape", "doctor"])
def test_results_are_not_written_into_somebody_elses_folder(monkeypatch, tmp_path: Path, program: str) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    (tmp_path / "results.json").write_text("theirs")
    before = contents(tmp_path)
    flags = {"evaluate": TOY, "landscape": [], "doctor": ["--arm", "simulated"]}[program]
    with pytest.raises(SystemExit, match=r"holds something else .results.json.: nothing was written"):
        importlib.import_module(program).main([*flags, "--output", str(tmp_path)])
    assert contents(tmp_path) == before


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(evaluate: ModuleType, tmp_path: Path, capsys) -> None:
    flags = [
        *TOY,
        "--episodes",
        "1",
        "--max-steps",
        "3",
        "--video-episodes",
        "0",
        "--output",
        str(tmp_path / "disk/out"),
    ]
    for disk in small_disk(tmp_path / "disk"):
        folder = disk("4k")
        with pytest.raises(SystemExit, match=r"disk/out.*No space left on device; make room .*another --output"):
            evaluate.main(flags)
        assert "success at the end" in capsys.readouterr().out  # what took long is not lost
        subprocess.run(["mount", "-o", "remount,size=1m", folder], check=True)
        evaluate.main(flags)
        assert json.loads((folder / "out/results.json").read_text())["summaries"]["planner"]["n"] == 1
