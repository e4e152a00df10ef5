"""A table of tasks and planners: what is in it, how it goes on after an interruption, and on several processes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from envs.config import load_config

ROOT = Path(__file__).resolve().parent.parent
FAST = {"planner": {"samples": 16, "iterations": 2, "elites": 4}, "controller": {"subgoals": {"steps": [3]}}}
ACCELERATE = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module


def write_suite(folder: Path, **changes: Any) -> Path:
    """A suite of two toy tasks, with an able planner, one that may act once only, and one of few episodes."""
    for name, task, steps in (
        ("reach", "toy_reach:envs/ToyReach-v0", 8),
        ("stages", "toy_stages:envs/ToyStages-v0", 9),
    ):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"task": task, "max_steps": steps, **FAST}))
    content = {
        "checkpoint": "toy",
        "episodes": 4,
        "seed": 5,
        "rows": [
            {"name": "reach", "plan": str(folder / "reach.yaml"), "columns": {"paper": "100 %"}},
            {"name": "two stages", "plan": str(folder / "stages.yaml")},
        ],
        "variants": [
            {"name": "able"},
            {"name": "hasty", "changes": {"max_steps": 1}},
            {"name": "few", "episodes": 2, "changes": {"planner": {"algorithm": "mppi", "samples": 16}}},
        ],
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump({**content, **changes}))
    return folder / "suite.yaml"


def run(program: Callable[[str], ModuleType], suite: Path, output: Path, *flags: str) -> dict[str, Any]:
    program("planner.evaluation.program").main(["--suite", str(suite), "--output", str(output), "--drawn", "0", *flags])
    return json.loads((output / "results.json").read_text())


def episodes(output: Path) -> dict[str, list[dict[str, Any]]]:
    """All episodes on disk without their times, and what they are episodes of."""
    found = {}
    for path in sorted((output / "episodes").rglob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found[str(path.relative_to(output))] = [{**line, "seconds": None} for line in lines]
    return found


def without_times(results: dict[str, Any]) -> dict[str, Any]:
    for row in results["rows"].values():
        for cell in row["cells"].values():
            cell["summary"] = {key: value for key, value in cell["summary"].items() if not key.endswith("seconds")}
    return results


@pytest.fixture
def counted(program: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The jobs that were run; after as many as `limit` says, appended by the test, Ctrl-C is pressed."""
    module, jobs = program("planner.evaluation.episodes"), []
    original = module.run_job

    def run_job(config: Any, job: Any, *more: Any) -> Any:
        if jobs and isinstance(jobs[0], int) and len(jobs) > jobs[0]:
            raise KeyboardInterrupt
        jobs.append(job)
        return original(config, job, *more)

    monkeypatch.setattr(module, "run_job", run_job)
    return jobs


def test_a_suite_fills_its_table(program, tmp_path: Path, capsys) -> None:
    results = run(program, write_suite(tmp_path), tmp_path / "out")
    cells = results["rows"]["reach"]["cells"]
    counts = {name: (cell["summary"]["at_the_end"], cell["summary"]["n"]) for name, cell in cells.items()}
    assert counts == {"able": (4, 4), "hasty": (0, 4), "few": (2, 2), "zero action": (0, 4), "random actions": (0, 4)}
    assert cells["hasty"]["failed_seeds"] == [5, 6, 7, 8] and cells["able"]["failed_seeds"] == []
    comparisons = results["rows"]["reach"]["comparisons"]
    assert (comparisons["hasty"]["gained"], comparisons["hasty"]["difference"], comparisons["few"]["n"]) == (4, 1.0, 2)
    stages = results["rows"]["two stages"]["cells"]["able"]["summary"]["stages"]
    assert stages == {"near": {"at_the_end": 4, "ever": 4}, "never": {"at_the_end": 0, "ever": 0}}
    printed = capsys.readouterr().out
    assert "4/4 = 100% (51% to 100%)" in printed and "| 100 % |" in printed and "100% / 100%" in printed
    assert "able against hasty: no lower in any of 2 tasks (+100.0 to +100.0 points)" in printed
    assert printed.startswith((tmp_path / "out" / "results.md").read_text().rstrip())


def test_an_interrupted_suite_goes_on_where_it_stopped(program, counted, tmp_path: Path) -> None:
    suite = write_suite(tmp_path)
    whole = run(program, suite, tmp_path / "whole")
    every = len(counted)
    counted[:] = [7]
    with pytest.raises(SystemExit) as ended:
        run(program, suite, tmp_path / "broken")
    assert ended.value.code == 130 and not (tmp_path / "broken" / "results.json").exists()
    counted.clear()
    again = run(program, suite, tmp_path / "broken")
    assert len(counted) == every - 7
    assert without_times(again) == without_times(whole)
    assert episodes(tmp_path / "broken") == episodes(tmp_path / "whole")
    counted.clear()
    run(program, suite, tmp_path / "broken")
    assert not counted


def test_an_episode_that_a_kill_cut_short_is_run_again(program, counted, tmp_path: Path) -> None:
    suite, output = write_suite(tmp_path), tmp_path / "out"
    counted[:] = [3]
    with pytest.raises(SystemExit):
        run(program, suite, output)
    part = output / "episodes/reach/able.0.jsonl"
    part.write_text(part.read_text()[:-20])
    counted.clear()
    run(program, suite, output)
    assert [job.seed for job in counted[:2]] == [7, 8]
    assert not part.exists()
    assert [line.get("seed") for line in episodes(output)["episodes/reach/able.jsonl"]] == [None, 5, 6, 7, 8]


def test_more_episodes_go_on_with_those_that_are_there(program, counted, tmp_path: Path) -> None:
    suite = write_suite(tmp_path)
    run(program, suite, tmp_path / "out")
    counted.clear()
    results = run(program, suite, tmp_path / "out", "--episodes", "5")
    assert {job.seed for job in counted} == {9} and len(counted) == 8  # the variant of 2 episodes has its own
    assert results["rows"]["reach"]["cells"]["able"]["summary"]["n"] == 5


def test_episodes_of_other_settings_are_refused_before_anything_runs(program, counted, tmp_path: Path) -> None:
    suite = write_suite(tmp_path)
    run(program, suite, tmp_path / "out")
    counted.clear()
    plan = {"task": "toy_stages:envs/ToyStages-v0", "max_steps": 9, **FAST, "objective": {"pose_weight": 0.5}}
    (tmp_path / "stages.yaml").write_text(yaml.safe_dump(plan))
    with pytest.raises(
        SystemExit,
        match=r"two-stages/able.jsonl has episodes of other settings: objective.pose_weight: 0.0 then, 0.5 now",
    ):
        run(program, suite, tmp_path / "out")
    assert not counted


def test_a_planner_that_cannot_plan_ends_the_suite_before_anything_runs(program, counted, tmp_path: Path) -> None:
    for changes in (
        {"controller.proposers": [{"kind": "inverse_dynamics"}]},
        {"objective": {"kind": "temporal_distance"}},
        {"controller.subgoals": {"kind": "generated"}},
    ):
        variants = [{"name": "able"}, {"name": "learnt", "changes": changes}]
        suite = write_suite(tmp_path, variants=variants)
        with pytest.raises(
            SystemExit, match=r"row 'reach', 'learnt' of the suite: .*can have no .*; --rows and --variants run"
        ):
            run(program, suite, tmp_path / "out")
        assert not counted
    assert len(run(program, suite, tmp_path / "out", "--variants", "able")["rows"]) == 2


def test_episodes_of_another_checkpoint_are_refused(program, tmp_path: Path, monkeypatch) -> None:
    suite = write_suite(tmp_path)
    run(program, suite, tmp_path / "out")
    monkeypatch.setattr(program("planner.evaluation.episodes"), "checkpoint_hash", lambda checkpoint, heads: "another")
    with pytest.raises(SystemExit, match=r"able.jsonl has .* checkpoint_sha256: None then, 'another' now"):
        run(program, suite, tmp_path / "out")


def test_episodes_that_asked_no_head_stay_where_only_heads_are_others(program, tmp_path: Path) -> None:
    manifest = yaml.safe_load((ROOT / "checkpoints/franka/manifest.yaml").read_text())
    folders = [tmp_path / name for name in ("trained", "again", "other")]
    for folder, changed in zip(folders, (None, "inverse_dynamics.safetensors", "dynamics.safetensors"), strict=True):
        folder.mkdir()
        changes = {} if changed is None else {changed: "0" * 64}
        now = {**manifest, "files": {**manifest["files"], **changes}, "training": {"by": folder.name}}
        (folder / "manifest.yaml").write_text(yaml.safe_dump(now))

    def identities(**settings: dict[str, Any]) -> list[str]:
        config, block = (
            program("planner.evaluation.episodes").EvaluateConfig,
            program("planner.evaluation.suite_config").Block,
        )
        plan = tmp_path / "plan.yaml"
        plan.write_text(yaml.safe_dump({"task": "envs/FrankaReachObject-v0", "max_steps": 3, **settings}))
        made = [load_config(config, plan, {"checkpoint": str(folder)}) for folder in folders]
        return [block("reach", "able", "planner", each).identity()["checkpoint_sha256"] for each in made]

    first, again, other = identities()
    assert first == again != other
    assert len(set(identities(controller={"proposers": [{"kind": "inverse_dynamics", "pace": 0.2}]}))) == 3
    assert len(set(identities(objective={"kind": "temporal_distance"}))) == 3


def test_two_processes_of_accelerate_have_the_episodes_of_one(program, tmp_path: Path) -> None:
    suite = write_suite(tmp_path, episodes=3, rows=[{"name": "reach", "plan": str(tmp_path / "reach.yaml")}])
    alone = run(program, suite, tmp_path / "alone")
    flags = ["--suite", str(suite), "--output", str(tmp_path / "two"), "--drawn", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, *ACCELERATE, "scripts/evaluate.py", *flags]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr[-6000:]
    assert found.stdout.count("able against hasty") == 1
    assert (tmp_path / "two" / "contact-sheet.png").is_file()
    assert without_times(json.loads((tmp_path / "two/results.json").read_text())) == without_times(alone)
    assert episodes(tmp_path / "two") == episodes(tmp_path / "alone")


def test_the_contact_sheet_shows_successes_failures_and_all_goals(program, tmp_path: Path, monkeypatch) -> None:
    module, drawn = program("planner.evaluation.suite"), {}

    def draw(sections: dict[str, Any], path: Path, title: str) -> None:
        drawn.update(sections)
        program("planner.evaluation.contact_sheet").draw_contact_sheet(sections, path, title)

    monkeypatch.setattr(module, "draw_contact_sheet", draw)
    plan = {"task": "toy_stages:envs/ToyStages-v0", "max_steps": 6, **FAST}  # enough for some seeds only
    suite = write_suite(tmp_path, episodes=12)
    (tmp_path / "stages.yaml").write_text(yaml.safe_dump(plan))
    program("planner.evaluation.program").main(
        ["--suite", str(suite), "--output", str(tmp_path / "out"), "--drawn", "2"]
    )
    assert np.asarray(Image.open(tmp_path / "out/contact-sheet.png").convert("L")).std() > 5
    assert [record.successes[-1] for record in drawn["reach"]] == [True, True]
    assert [record.successes[-1] for record in drawn["two stages"]] == [True, True, False, False]
    assert all(len(record.goals) == 2 and np.shape(record.images) == (7, 32, 32, 3) for record in drawn["two stages"])
    failed = json.loads((tmp_path / "out/results.json").read_text())["rows"]["two stages"]["cells"]["able"]
    assert [record.seed for record in drawn["two stages"][2:]] == failed["failed_seeds"][:2]


def test_what_a_task_needs_otherwise_of_a_planner_comes_last(program, tmp_path: Path) -> None:
    plan = {"task": "toy_reach:envs/ToyReach-v0", "max_steps": 8, "objective": {"kind": "goal_distance"}, **FAST}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    row = {
        "plan": str(tmp_path / "plan.yaml"),
        "changes": {"objective.pose_weight": 3.0, "max_steps": 7},
    }
    own = {"searches": {"objective.pose_weight": 0.5}}
    suite = write_suite(
        tmp_path,
        rows=[{"name": "own", "for_variants": own, **row}, {"name": "as it is", **row}],
        variants=[{"name": "searches", "changes": {"objective": {"norm": "l2"}, "max_steps": 6}}, {"name": "plan's"}],
    )
    suites = program("planner.evaluation.suite_config")
    processes = program("world_model.training.processes").find_processes("cpu")
    options = suites.SuiteOptions(str(suite))
    told = {
        (block.row, block.column): (
            block.config.objective.norm,
            block.config.objective.pose_weight,
            block.config.max_steps,
        )
        for block in suites.make_blocks(options.open(), options, processes)
        if block.actor == "planner"
    }
    default = program("planner.objectives.objective_config").GoalDistanceConfig()
    assert told == {
        ("own", "searches"): ("l2", 0.5, 6),
        ("own", "plan's"): (default.norm, 3.0, 7),
        ("as it is", "searches"): ("l2", default.pose_weight, 6),
        ("as it is", "plan's"): (default.norm, 3.0, 7),
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"variants": [{"name": "a", "changes": {"planner.sampels": 3}}]},
            r"row 'reach', variant 'a'.*planner.samples",
        ),
        ({"variants": [{"name": "A b"}, {"name": "a-B"}]}, r"variants of a suite have names that differ"),
        ({"rows": [{"name": "r", "plan": "no-such-plan.yaml"}]}, r"row 'r'.* no configuration file no-such-plan.yaml"),
        ({"epsiodes": 3}, r"unknown key 'epsiodes' .* did you mean 'episodes'"),
        (
            {"rows": [{"name": "r", "plan": "p.yaml", "for_variants": {"hastily": {}}}]},
            "the suite has no variants 'hastily'; it has able, hasty, few",
        ),
        ({"variants": [{"name": "a", "changes": {"task": "NoTask-v0"}}]}, r"there is no task 'NoTask-v0'; there are: "),
    ],
)
def test_what_is_wrong_with_a_suite_is_one_line(program, tmp_path: Path, changes, message: str) -> None:
    with pytest.raises(SystemExit, match=rf"error: .*{message}"):
        run(program, write_suite(tmp_path, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_suites_of_franka_plan_every_task_from_images_alone_and_searches_from_noise_ask_nobody(program) -> None:
    suites = program("planner.evaluation.suite_config")
    processes = program("world_model.training.processes").find_processes("cpu")
    for name in ("franka", "franka-shifts"):
        options = suites.SuiteOptions(name)
        blocks = [block for block in suites.make_blocks(options.open(), options, processes) if block.actor == "planner"]
        assert len(blocks) == len(options.open().rows) * len(options.open().variants)
        assert not any(block.config.takes_goal_pose for block in blocks)
        for block in blocks:
            searches = block.config.planner.algorithm != "first_guess"
            assert searches == block.column.startswith("search")
            assert bool(block.config.controller.proposers) == (block.column != "search from noise")


def test_a_row_may_be_planned_with_a_checkpoint_of_its_own(program, tmp_path: Path) -> None:
    rows = yaml.safe_load(write_suite(tmp_path).read_text())["rows"]
    rows[1]["checkpoint"] = "franka-tiny"
    suites = program("planner.evaluation.suite_config")
    options = suites.SuiteOptions(str(write_suite(tmp_path, rows=rows)))
    suite = options.open()
    assert suite.checkpoints == ("toy", "franka-tiny")
    processes = program("world_model.training.processes").find_processes("cpu")
    blocks = list(suites.make_blocks(suite, options, processes))
    assert {(block.row, block.config.checkpoint) for block in blocks} == {
        ("reach", "toy"),
        ("two stages", "franka-tiny"),
    }


def test_rows_and_planners_may_be_chosen_by_name_and_the_rest_added_later(program, counted, tmp_path: Path) -> None:
    suite, output = write_suite(tmp_path), tmp_path / "out"
    results = run(program, suite, output, "--rows", "two stages", "--variants", "few", "able")
    assert {row: list(told["cells"]) for row, told in results["rows"].items()} == {
        "two stages": ["able", "few", "zero action", "random actions"]
    }
    there = len(counted)
    assert len(run(program, suite, output)["rows"]) == 2
    assert there == 4 + 2 + 4 + 4 and len(counted) - there == (4 + 4 + 2 + 4 + 4) + 4  # only what was missing
    with pytest.raises(SystemExit, match=r"the suite has no rows 'walk'; it has reach, two stages"):
        run(program, suite, output, "--rows", "walk")


@pytest.mark.parametrize(
    ("gained", "lost", "n", "low", "high"),
    [(86, 150, 1600, -0.0587, -0.0212), (0, 0, 200, -0.0097, 0.0097), (4, 0, 4, 0.1677, 1.0)],
)
def test_paired_interval_has_the_known_values(program, gained: int, lost: int, n: int, low: float, high: float) -> None:
    """The first is the example of Agresti and Min's papers: -0.04, Wald's interval -0.059 to -0.021."""
    assert program("planner.evaluation.paired").paired_interval(gained, lost, n) == pytest.approx((low, high), abs=2e-4)


def test_paired_interval_covers_the_difference_as_often_as_it_says(program) -> None:
    generator, shares = np.random.default_rng(0), [0.75, 0.12, 0.05, 0.08]
    cells = generator.multinomial(200, shares, size=2000)
    bounds = np.array(
        [program("planner.evaluation.paired").paired_interval(gained, lost, 200) for _, gained, lost, _ in cells]
    )
    assert 0.94 < np.mean((bounds[:, 0] <= 0.07) & (bounds[:, 1] >= 0.07)) < 0.97


def test_results_are_called_after_the_suite_and_its_checkpoints(program, tmp_path: Path) -> None:
    suites = program("planner.evaluation.suite_config")
    options = suites.SuiteOptions(str(write_suite(tmp_path)))
    suite = options.open()
    assert options.folder(suite).name == "suite-suite-toy"
    other = replace(suite.rows[0], name="other", checkpoint="runs/mine/checkpoint")
    assert options.folder(replace(suite, rows=(suite.rows[0], other))).name == "suite-suite-toy-mine"
