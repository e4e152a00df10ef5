"""deploy.py from its command line: dry and live, with arms that are fake or simulated and the toy model's planner."""

from __future__ import annotations

import errno
import importlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
import yaml
from background import running, wait_until
from fake_arms import START, FakeArm
from PIL import Image
from plan_servers import SMALL, healthy, url

from envs.arms.base import OutOfReach
from envs.arms.limits import SafetyLimits
from envs.arms.remote.listen import ListenConfig
from envs.config import load_config
from envs.episodes.formats.lerobot import read_dataset
from envs.episodes.open import open_dataset
from envs.episodes.recorder import RecordedStep, Recorder, read_recording
from envs.episodes.recording_dataset import add_to_dataset
from envs.episodes.video import read_header
from envs.pose import difference
from envs.simulation.arm import arm_action_spec
from envs.spec import Goal, Observation
from planner.control.controller import Controller
from planner.control.executor import ExecutorConfig
from planner.search.cem import CEM
from planner.serving.server import Offer, PlanServer
from planner.viewing import frames
from planner.viewing.shown import Imagined, Shown
from planner.viewing.view import make_view
from tests.disks import contents
from tests.imagining import make_imagining_server
from tests.small_training import make_config, make_encoder, run
from world_model.base import LatentState
from world_model.data.batches import WindowBatches
from world_model.data.latents import build_latents
from world_model.toy import TOY_ACTION_SPEC, ToyWorldModel

__all__ = ["url"]  # a fixture
ROOT = Path(__file__).parent.parent
ARM_FILE = "arm: {kind: franka}\nrobot_type: fake\nfixed: [roll, pitch, yaw, gripper]\n"
WAY = np.array([0.05, -0.04, 0.03, 0.0, 0.0, 0.0, 0.0])  # from the start to the goal


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


def program(name: str = "planner.deployment.program") -> ModuleType:
    return importlib.import_module(name)


class Workshop:
    """A fake arm that deploy.py drives as if it were a real one, and a person who answers."""

    def __init__(self, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arm, self.answers, self.folder = FakeArm(time, image_size=32), ["yes"], folder
        (folder / "arm.yaml").write_text(ARM_FILE)
        program("planner.deployment.goals").keep_goal(Goal(self.arm.observe().image, START + WAY), folder / "goal.png")
        self._flags = ["--arm", str(folder / "arm.yaml"), "--goal", str(folder / "goal.png"), "--server", url]
        monkeypatch.setattr(program(), "make_driver", lambda config: self.arm)
        for module in ("planner.deployment.program", "planner.deployment.goals", "planner.deployment.drive"):
            monkeypatch.setattr(program(module), "ask", self._answer)

    def _answer(self, prompt: str, given_up=lambda: False) -> str | None:
        print(prompt)
        return self.answers.pop(0) if self.answers else None

    def deploy(self, *flags: str) -> int:
        return program().main([*self._flags, "--view", "none", "--output", str(self.folder / "results"), *flags])


@pytest.fixture
def workshop(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    return Workshop(tmp_path, url, monkeypatch)


def test_a_dry_run_commands_nothing_and_says_what_it_would_do(workshop: Workshop, monkeypatch, capsys) -> None:
    def forbidden(*arguments) -> None:
        pytest.fail("a dry run commanded the arm")

    monkeypatch.setattr(workshop.arm, "send", forbidden)
    monkeypatch.setattr(workshop.arm, "stop", forbidden)
    assert workshop.deploy("--max-steps", "2") == 0
    assert capsys.readouterr().out.count("would") == 2
    assert workshop.arm.closes


def test_a_live_run_reaches_the_goal_and_what_it_recorded_is_trained_on(workshop: Workshop, tmp_path: Path) -> None:
    assert workshop.deploy("--live", "--max-steps", "5", "--record", str(tmp_path / "mine")) == 0
    assert np.linalg.norm(workshop.arm.pose - START - WAY) < 0.6 * np.linalg.norm(WAY)  # a planner of 16 samples
    assert not difference(START, workshop.arm.pose)[3:].any()  # the file fixes them
    assert workshop.arm.stops and workshop.arm.closes
    (file,) = (tmp_path / "mine/recordings").iterdir()
    recorded = read_recording(file)
    dataset = read_dataset(tmp_path / "mine")
    assert len(dataset) == 1 and len(open_dataset(tmp_path / "mine")[0]) == len(recorded.steps) == 6
    poses = np.stack([step.observation.pose for step in recorded.steps])
    np.testing.assert_allclose(dataset[0].actions, difference(poses[:-1], poses[1:]), atol=1e-6)
    for _ in range(5):  # a person would run it again
        add_to_dataset(file, tmp_path / "mine", "fake")
    encoder, dataset = make_encoder(), open_dataset(tmp_path / "mine")
    batches = WindowBatches(dataset, build_latents(dataset, encoder, tmp_path / "latents"))
    assert (
        run(make_config(tmp_path / "run", steps=3, batch=2, warmup=1, evaluate_every=3), encoder, batches) is not None
    )


def test_nothing_moves_without_a_typed_yes(workshop: Workshop, capsys) -> None:
    workshop.answers = ["y"]
    assert workshop.deploy("--live") == 1
    assert not workshop.arm.sent
    printed = capsys.readouterr()
    assert "workspace" in printed.out and "goal.png" in printed.out and "not confirmed" in printed.err


def test_a_real_arm_takes_no_answer_in_advance_unless_its_file_says_so(workshop: Workshop, capsys) -> None:
    assert workshop.deploy("--live", "--yes") == 1
    assert "someone must look at it" in capsys.readouterr().err and not workshop.arm.sent
    (workshop.folder / "arm.yaml").write_text(ARM_FILE + "unattended: true\n")
    workshop.answers = []
    assert workshop.deploy("--live", "--yes", "--max-steps", "1") == 0
    again = yaml.safe_load((workshop.folder / "results/config.yaml").read_text())
    assert again["max_steps"] == 1 and again["live"] and not again["yes"]  # who does it again is asked again


def test_each_action_waits_for_enter_and_anything_else_ends_the_run(workshop: Workshop, capsys) -> None:
    workshop.answers = ["yes", "", "q"]
    assert workshop.deploy("--live", "--step") == 130
    printed = capsys.readouterr()
    assert printed.out.count("next:") == 2 and "1 actions" in printed.out and "not confirmed" in printed.err


def test_a_stop_by_the_safety_filter_has_its_own_status(workshop: Workshop, monkeypatch, capsys) -> None:
    def refuse(set_point: np.ndarray) -> None:
        raise OutOfReach("no joint angles")

    monkeypatch.setattr(workshop.arm, "send", refuse)
    assert workshop.deploy("--live") == 3
    assert "in a row were refused" in capsys.readouterr().err


def test_an_interrupted_run_stops_the_arm_and_keeps_what_was_recorded(workshop: Workshop, tmp_path: Path) -> None:
    def interrupt() -> None:
        assert wait_until(lambda: len(workshop.arm.sent) > 20)
        os.kill(os.getpid(), signal.SIGINT)

    person = threading.Thread(target=interrupt)
    person.start()
    assert workshop.deploy("--live", "--record", str(tmp_path / "mine")) == 130
    person.join()
    assert workshop.arm.stops and workshop.arm.closes
    (run,) = json.loads((tmp_path / "results/results.json").read_text())["runs"]
    assert run["stopped"] == "SIGINT" and len(run["costs"]) < 20


def test_a_planner_that_fails_ends_the_run_as_an_error_and_leaves_no_empty_recording(tmp_path: Path) -> None:
    class Broken:
        def infer(self, observation, committed=None, deadline=None) -> dict:
            raise RuntimeError("out of order")

    driving, arm = program("planner.deployment.drive"), FakeArm(time)
    watched = program("envs.arm_file").WatchedArm(arm)
    source = driving.PlanNotes(Broken(), np.zeros((8, 8, 3), np.uint8))
    manner = driving.Manner(program().RuntimeConfig(), 3, record=tmp_path)
    outcome = driving.drive(watched, source, manner, program("planner.viewing.view").NoView(), verbose=False)
    assert outcome.status == 1 and "out of order" in outcome.reason and arm.stops
    assert outcome.recording is None and not list((tmp_path / "recordings").iterdir())


def test_each_step_is_shown_with_the_goal_that_it_pursued_and_what_its_plan_was_to_lead_to() -> None:
    class Scheduled:
        def infer(self, observation, committed=None, deadline=None) -> dict:
            if observation.time < 0.1:
                return {"goal": 0, "goal_image": first}
            return {"goal": 1, "imagined": np.full((2, 2, 3), 7, np.uint8), "imagined_distance": 0.5}

    first, second = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)
    notes, steps = program("planner.deployment.drive").PlanNotes(Scheduled(), second), make_steps(3)
    for step in steps[:-1]:
        notes.infer(step.observation)
    before, after, end = (notes.shown(step) for step in steps)
    assert before.goal is first and before.imagined is None
    assert after.goal is end.goal is second and after.imagined is end.imagined
    assert after.imagined.distance == 0.5 and after.imagined.picture.shape == (2, 2, 3)


def test_a_subgoals_picture_is_shown_until_the_next_one_and_without_one_the_goal() -> None:
    pictures = [np.full((4, 4, 3), level, np.uint8) for level in range(3)]
    told = [
        {"goal": 0, "goal_image": pictures[0]}, {"goal": 0}, {"goal": 1, "goal_image": pictures[1]}, {"goal": 1},
        {"goal": 2}, {"goal": 2},
    ]  # fmt: skip

    class Planning:
        def infer(self, observation, committed=None, deadline=None) -> dict:
            return told.pop(0)

    notes, steps = program("planner.deployment.drive").PlanNotes(Planning(), pictures[2]), make_steps(7)
    for step in steps[:-1]:
        notes.infer(step.observation)
    shown = [notes.shown(step).goal for step in steps[:-1]]
    assert all(one is pictures[which] for one, which in zip(shown, (0, 0, 1, 1, 2, 2), strict=True))


@pytest.mark.parametrize("picture", [np.zeros((2, 2, 3)), np.zeros((2, 2), np.uint8), np.zeros((0, 2, 3), np.uint8), 3])
def test_what_is_no_picture_is_no_imagined_end(picture: object) -> None:
    with pytest.raises(ValueError, match="no picture"):
        program("planner.deployment.drive").read_imagined({"imagined": picture, "imagined_distance": 0.5})
    with pytest.raises(ValueError, match="goal_image is no picture"):
        program("planner.deployment.drive").read_picture({"goal_image": picture}, "goal_image")


def test_the_imagined_end_stands_between_camera_and_goal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(make_imagining_server().run) as url:
        workshop, margin = Workshop(tmp_path, url, monkeypatch), program("planner.viewing.frames").MARGIN
        assert workshop.deploy("--max-steps", "2", "--view", "video", "--live") == 0
    assert read_header(tmp_path / "results/video.mp4").width == 3 * 360 + 4 * margin


def test_the_simulated_arm_is_recorded_and_does_the_same_again(url: str, tmp_path: Path, capsys) -> None:
    deploy, flags = program(), ["--live", "--yes", "--view", "none", "--output", str(tmp_path / "results")]
    assert deploy.main([*flags, "--server", url, "--max-steps", "3", "--record", str(tmp_path / "mine")]) == 0
    results = json.loads((tmp_path / "results/results.json").read_text())
    assert results["summary"]["n"] == 1 and results["episodes"][0]["distances_m"][-1] < 0.1
    (file,) = (tmp_path / "mine/recordings").iterdir()
    capsys.readouterr()
    assert deploy.main([*flags, "--replay", str(file)]) == 0
    away = float(capsys.readouterr().out.rpartition(" mm at the end")[0].rpartition(" ")[2])
    assert away < 5.0


def test_a_recording_is_listed_and_drawn_without_motion(tmp_path: Path, capsys) -> None:
    with Recorder(tmp_path, arm_action_spec()) as recorder:
        for step in make_steps(3):
            recorder.record(step)
    assert program().main(["--replay", str(recorder.path), "--output", str(tmp_path / "results")]) == 0
    assert capsys.readouterr().out.count("step ") == 2
    assert (tmp_path / "results/video.mp4").is_file() and (tmp_path / "results/poster.png").is_file()


def test_no_torch_is_imported_while_an_arm_may_move(url: str, tmp_path: Path) -> None:
    flags = ["--server", url, "--live", "--yes", "--max-steps", "1", "--view", "none", "--output", str(tmp_path)]
    code = f"""
import sys
import planner.deployment.program as deploy, planner.deployment.results as results
driven = results.Results.add
def add(*arguments):
    assert "torch" not in sys.modules
    driven(*arguments)
results.Results.add = add
sys.exit(deploy.main({flags!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "scripts", timeout=60, check=False)
    assert done.returncode == 0


def test_the_plan_server_ends_with_a_killed_parent(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from planner.deployment.server import plan_server
with plan_server(["--checkpoint", "toy"], Path({str(tmp_path / "log")!r})) as url:
    print(url, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT / "scripts", stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        address = parent.stdout.readline().decode().strip()
        assert healthy(address)
        parent.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not answers(address))


def answers(address: str) -> bool:
    try:
        return healthy(address)
    except OSError:
        return False


@pytest.mark.parametrize(
    ("flags", "what", "why"),
    [
        (["--plan", "nowhere.yaml"], "there is no file of planning settings", "nowhere.yaml"),
        (["--imagine", "data"], "the plan server did not start", "the toy model looks at no images"),
    ],
)
def test_a_plan_server_that_does_not_start_is_named_in_one_line(flags, what, why, tmp_path: Path, capsys) -> None:
    assert program().main(["--checkpoint", "toy", *flags, "--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert what in error and why in error and "Traceback" not in error


def make_steps(count: int, height: int = 24, width: int = 32) -> list[RecordedStep]:
    image = np.zeros((height, width, 3), np.uint8)
    step = np.array([0.03, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    poses = [START + index * step for index in range(count)]
    acting = [
        RecordedStep(Observation(image, pose, 0.25 * i), step, pose + step, pose + step, (), 0.5 - 0.1 * i, 0.1)
        for i, pose in enumerate(poses[:-1])
    ]
    return [*acting, RecordedStep(Observation(image, poses[-1], 9.0))]


def test_a_video_has_a_frame_for_each_step_of_a_camera_of_any_shape(tmp_path: Path) -> None:
    shown = [Shown(step, np.full((30, 40, 3), 200, np.uint8)) for step in make_steps(3)]
    make_view("video", tmp_path).finish({"a run": shown}, tmp_path)
    footage = read_header(tmp_path / "video.mp4")
    assert footage.frames == 3 + 4  # the last one stays for a second
    assert footage.width == 2 * 480 + 3 * frames.MARGIN
    with Image.open(tmp_path / "poster.png") as poster:
        assert poster.width > poster.height


def test_a_video_shows_a_plain_panel_where_there_was_no_time_to_imagine() -> None:
    first, second = make_steps(2, height=32)
    goal, imagined = np.zeros((8, 8, 3), np.uint8), Imagined(np.full((8, 8, 3), 250, np.uint8), 0.25)
    steps = [Shown(first, goal), Shown(second, goal, imagined)]
    middle = (frames.HEADER + frames.HEIGHT // 2, frames.MARGIN + 360 + frames.MARGIN + 180)
    colours = [tuple(np.asarray(frame)[middle].tolist()) for frame in frames.draw_frames(steps, "a run")]
    assert colours == [frames.PALE, (250, 250, 250)]


def test_rerun_gets_every_step_and_its_absence_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    logged = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ImportError, match="pip install"):
        make_view("rerun", tmp_path)
    fake = MagicMock()
    fake.set_time.side_effect = lambda name, sequence: logged.append(sequence)
    fake.log.side_effect = lambda path, value: logged.append(path)
    monkeypatch.setitem(sys.modules, "rerun", fake)
    monkeypatch.setitem(sys.modules, "rerun.blueprint", fake.blueprint)
    viewer = make_view("rerun", tmp_path)
    picture = np.zeros((4, 4, 3), np.uint8)
    for step, imagined in zip(make_steps(2), (Imagined(picture, 0.5), None), strict=True):
        viewer.show(Shown(step, picture, imagined))
    told = ["camera", "goal", "imagined", "imagined_distance", "cost", "latency"]
    assert logged == [0, *told, 1, "camera", "goal"]


def test_a_rehearsal_says_what_the_safety_filter_would(monkeypatch: pytest.MonkeyPatch) -> None:
    dry, limits = program("planner.deployment.dry"), SafetyLimits()
    seen = Observation(np.zeros((4, 4, 3), np.uint8), START, 5.0)
    near, beyond = START.copy(), START.copy()
    near[0] += 0.01
    beyond[2] = 0.6  # above the workspace
    done = dry.rehearse(seen, near, arm_action_spec(), limits, ExecutorConfig())
    np.testing.assert_allclose(done.sent, near, atol=1e-4)
    assert done.reasons == () and done.stop is None
    high = dry.rehearse(seen, beyond, arm_action_spec(), limits, ExecutorConfig())
    assert high.sent[2] <= limits.workspace_high[2]
    assert any("workspace" in reason or "jump" in reason for reason in high.reasons)
    outside = Observation(seen.image, START - [0.4, 0, 0, 0, 0, 0, 0], 5.0)
    refused = dry.rehearse(outside, outside.pose + WAY, arm_action_spec(), limits, ExecutorConfig())
    assert any("stands outside" in reason for reason in refused.reasons)


NARROW = """limits:
  workspace_low: [0.48, -0.32, 0.2]
  workspace_high: [0.52, 0.32, 0.27]
  max_speed: 0.05
  hold_limit: 10
"""


def test_a_dry_run_says_which_limit_changes_each_step_and_sums_that_up(workshop: Workshop, capsys) -> None:
    (workshop.folder / "arm.yaml").write_text(ARM_FILE + NARROW)
    assert workshop.deploy("--max-steps", "3") == 0
    *lines, summary, first, second, third = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith(("step", "3 steps", "  "))
    ]
    assert len(lines) == 3
    for line in lines:
        assert " sent " in line and " mm short: " in line and "slowed to max_speed or max_acceleration" in line
    assert summary == "3 steps, 0 as planned, 3 changed by the safety filter, of which 0 refused"
    told = " ".join((first, second, third))
    assert "3  slowed to max_speed or max_acceleration" in told and "outside of the workspace in" in told


def test_a_dry_run_says_where_a_live_run_ends(workshop: Workshop, capsys) -> None:
    (workshop.folder / "arm.yaml").write_text(ARM_FILE + NARROW.replace("0.48", "0.51"))
    assert workshop.deploy("--max-steps", "2") == 0
    told = capsys.readouterr().out
    assert told.count("stands outside of its limits") >= 2
    assert "of which 2 refused" in told and "live, this run ends at step 0: 10 set-points in a row were refused" in told


def test_goals_keep_their_pose_and_bad_photographs_are_named(tmp_path: Path) -> None:
    goals = program("planner.deployment.goals")
    seen = Goal(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), START)
    kept = goals.keep_goal(seen, tmp_path / "goal.png")
    np.testing.assert_array_equal(kept.goal.image, seen.image)
    np.testing.assert_array_equal(kept.goal.pose, START)
    assert goals.for_planner([kept], pose_needed=False)[0].pose is None
    assert goals.for_planner([kept], pose_needed=True) == [kept.goal]
    assert goals.keep_goal(Goal(seen.image), tmp_path / "open.png").goal.pose is None
    Image.fromarray(np.zeros((8, 16, 3), np.uint8)).save(tmp_path / "photo.jpg")
    photo = goals.read_goal(tmp_path / "photo.jpg")
    with pytest.raises(ValueError, match="does not tell"):
        goals.for_planner([photo], pose_needed=True)
    with pytest.raises(ValueError, match="16 x 8 pixels"):
        goals.check_aspect(photo, (128, 128, 3))
    (tmp_path / "cut.png").write_bytes((tmp_path / "goal.png").read_bytes()[:60])
    for name in ("cut.png", "none.png"):
        with pytest.raises(ValueError, match=name):
            goals.read_goal(tmp_path / name)


def test_a_goal_is_taken_with_the_arms_camera_before_it_goes_back(workshop: Workshop, monkeypatch, capsys) -> None:
    workshop.answers, connect, left = ["", "", ""], workshop.arm.connect, []
    monkeypatch.setattr(workshop.arm, "connect", lambda: (left.append(len(workshop.answers)), connect()))
    assert workshop.deploy("--goal", "camera", "--max-steps", "1") == 0
    assert left[0] == 2, "an arm that is guided by hand is not connected"
    kept = program("planner.deployment.goals").read_goal(workshop.folder / "results/goal-0.png")
    np.testing.assert_array_equal(kept.goal.pose, START)
    workshop.answers = []
    assert workshop.deploy("--goal", "camera") == 1
    assert "nobody pressed Enter" in capsys.readouterr().err and not workshop.arm.sent


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal as standard input; yields the end that a person types at."""
    try:
        person, program_end = pty.openpty()
    except OSError as error:
        pytest.skip(f"this system has no pseudo-terminals: {error}")
    with os.fdopen(program_end) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield person
    os.close(person)


def test_the_space_bar_must_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = program("envs.keys")
    with terminal(monkeypatch) as person:
        before = keys.termios.tcgetattr(sys.stdin)
        with keys.Deadman() as deadman:
            assert not deadman.held()
            os.write(person, b"x ")
            assert wait_until(deadman.held)
            assert wait_until(lambda: not deadman.held())
        assert keys.termios.tcgetattr(sys.stdin) == before
        os.write(person, b"typed too early\n")
        typist = threading.Timer(0.2, lambda: os.write(person, b" \n"))
        typist.start()
        assert keys.ask("") == " ", "only what is typed after the question, and all of it"
        typist.join()
        assert keys.ask("", given_up=lambda: True) is None


def test_answers_may_come_from_a_pipe_one_after_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("first\nsecond\n")
    with (tmp_path / "answers").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert [program("envs.keys").ask("") for _ in range(3)] == ["first", "second", None]


def test_a_plan_server_is_found_whatever_else_it_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = program("planner.deployment.server")
    code = "print('loading my planner'); print('serving plans on ws://127.0.0.1:9', flush=True); input()"
    starts = subprocess.Popen
    monkeypatch.setattr(
        server.subprocess, "Popen", lambda command, **given: starts([sys.executable, "-c", code], **given)
    )
    with server.plan_server([], tmp_path / "server.log") as address:
        assert address == "ws://127.0.0.1:9"
    with pytest.raises(ValueError, match=r"did not start, .*loading my planner"):
        code = "print('loading my planner')"
        with server.plan_server([], tmp_path / "server.log"):
            pass


def test_a_space_bar_needs_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "empty").open("w+") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert program("envs.keys").ask("") is None
        with pytest.raises(ValueError, match="terminal"), program("envs.keys").Deadman():
            pass


def test_the_example_files_are_arms_and_the_twins_is_the_default() -> None:
    arms = program("envs.arm_file")
    files = {path.stem: load_config(arms.ArmFile, path) for path in (ROOT / "scripts/configs/deploy").glob("*.yaml")}
    assert {name: file.arm.kind for name, file in files.items()} == {
        "twin": "twin",
        "twin-pick-place": "twin",
        "franka": "franka",
        "ur": "ur",
        "so101": "lerobot",
    }
    assert files["twin"] == arms.read_arm("twin")
    assert {name for name, file in files.items() if file.unattended} == {"twin", "twin-pick-place"}
    assert arms.read_arm("ws://robot:8001").arm.url == "ws://robot:8001"
    narrow = files["ur"].narrowed(arm_action_spec())
    assert narrow.high[3:6] == (0.0, 0.0, 0.0) and narrow.high[6] == 1.0


@pytest.mark.parametrize(
    "flags",
    [
        ["--record", "data"],
        ["--yes"],
        ["--live", "--step", "--deadman"],
        ["--live", "--step", "--runtime.mode", "overlapping"],
        ["--goal", "a.png", "--episodes", "2"],
        ["--replay", "x", "--goal", "a.png"],
        ["--imagine", "data", "--server", "ws://127.0.0.1:9"],
        ["--imagine", "data", "--replay", "x"],
        ["--plan", "mine.yaml", "--server", "ws://127.0.0.1:9"],
        ["--checkpoint", "franka", "--server", "ws://127.0.0.1:9"],
        ["--device", "cuda", "--replay", "x"],
        ["--arm", str(ROOT / "scripts/configs/deploy/franka.yaml")],
        ["--arm", "nowhere.yaml", "--goal", "a.png"],
        ["--max-steps", "0"],
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(flags: list[str], tmp_path: Path, capsys) -> None:
    try:
        status = program().main([*flags, "--output", str(tmp_path)])
    except SystemExit as ended:  # the command line's own
        status = ended.code
    assert status in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("live", [False, True])
def test_a_plan_whose_cost_is_no_number_moves_nothing_and_ends_the_run_with_the_reason(
    live: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    class Doubtful(ToyWorldModel):
        def rollout(self, state: LatentState, actions: torch.Tensor) -> LatentState:
            return LatentState(super().rollout(state, actions).tokens * float("nan"), state.poses)

    offer = Offer("toy", TOY_ACTION_SPEC, 1, None, goal_pose=True)
    server = PlanServer(lambda spec: Controller(Doubtful(), CEM(SMALL), spec), offer, ListenConfig(port=0))
    with running(server.run) as url:
        workshop = Workshop(tmp_path, url, monkeypatch)
        before = workshop.arm.pose.copy()
        assert workshop.deploy(*(["--live"] if live else [])) == 1
    assert "there is no plan: of" in (told := capsys.readouterr().err) and "predicted latents" in told
    assert workshop.arm.closes and (workshop.arm.stops or not live)
    np.testing.assert_allclose(workshop.arm.pose, before, atol=1e-9)
    (run,) = json.loads((tmp_path / "results/results.json").read_text())["runs"]
    assert "there is no plan" in run["stopped"] and run["costs"] == []


def test_a_full_disk_stops_the_arm_and_what_was_recorded_is_kept(
    workshop: Workshop, tmp_path: Path, monkeypatch, capsys
):
    write = Recorder.record

    def record(recorder: Recorder, step: RecordedStep) -> None:
        if recorder.steps == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(recorder.path))
        write(recorder, step)

    monkeypatch.setattr(Recorder, "record", record)
    assert workshop.deploy("--live", "--max-steps", "9", "--record", str(tmp_path / "mine")) == 1
    said = capsys.readouterr().err
    assert "stopped: the recording can't be written, its 2 steps are kept" in said and "No space left on device" in said
    assert workshop.arm.stops and workshop.arm.closes
    (file,) = (tmp_path / "mine/recordings").iterdir()
    assert len(read_recording(file).steps) == len(open_dataset(tmp_path / "mine")[0]) == 2


@pytest.mark.parametrize("option", ["--record", "--output"])
def test_somebody_elses_folder_is_refused_before_the_arm_is_touched(workshop, tmp_path: Path, capsys, option) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/info.json").write_text("{}")
    workshop.arm.connect = lambda: pytest.fail("the arm was connected")
    assert workshop.deploy("--live", option, str(tmp_path / "theirs")) == 1
    said = capsys.readouterr().err
    assert f"error: {option} {tmp_path}/theirs holds something else (info.json): nothing was written" in said
    assert contents(tmp_path / "theirs") == {"info.json": b"{}"}
