"""OGBench's arm, cube tasks and scripted play as ours; needs the extra `benchmarks`."""

import builtins
import importlib
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from envs.arms.base import as_dict
from envs.episodes.formats.lerobot import read_dataset
from envs.pose import compose, difference
from envs.tasks import ogbench, ogbench_tasks
from envs.tasks.benchmark import BenchmarkError
from envs.tasks.ogbench import OgbenchArm
from envs.tasks.ogbench_play import OgbenchPlay, OgbenchScript, record_ogbench_play

ROOT = Path(__file__).parent.parent
SIZE = 32


@pytest.fixture(scope="module")
def arm():
    pytest.importorskip("ogbench")
    arm = OgbenchArm(image_size=SIZE)
    yield arm
    arm.close()


@pytest.fixture(scope="module")
def make():
    """Returns one of the tasks, by its name; each is made once."""
    pytest.importorskip("ogbench")
    made: dict[str, gymnasium.Env] = {}

    def make(name: str) -> ogbench_tasks.OgbenchEnv:
        if name not in made:
            made[name] = gymnasium.make(f"envs/{name}", image_size=SIZE, disable_env_checker=True)
        env = made[name].unwrapped
        assert isinstance(env, ogbench_tasks.OgbenchEnv)
        return env

    yield make
    for env in made.values():
        env.close()


@pytest.fixture(scope="module")
def episode(arm):
    """An episode in which a cube is lifted."""
    return record_ogbench_play(arm, OgbenchPlay(frames=21), seed=0)


def same(one, other) -> bool:
    return all(np.array_equal(one[key], other[key]) for key in ("image", "pose"))


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    found = builtins.__import__

    def missing(name, *arguments, **options):
        if name.partition(".")[0] == "ogbench":
            raise ModuleNotFoundError("No module named 'ogbench'", name="ogbench")
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(BenchmarkError, match=r"\.\[benchmarks\]"):
        OgbenchArm()


def test_a_reset_gives_what_a_controller_needs(make):
    env = make("CubeSingle-v0")
    seen, info = env.reset(seed=1)
    assert env.observation_space.contains(seen)
    (goal,) = info["goals"]
    assert env.observation_space.contains(as_dict(goal))
    assert not same(seen, as_dict(goal))
    assert info["distance"] >= 0 and isinstance(info["success"], bool)
    _, _, terminated, truncated, later = env.step(np.zeros(7))
    assert later["time"] - info["time"] == pytest.approx(env.action_spec.period)
    assert not terminated and not truncated


@pytest.mark.parametrize("name", ["CubeSingle-v0", "CubeSingleTasks-v0"])
def test_the_same_seed_is_the_same_episode(make, name):
    env = make(name)
    runs = []
    for seed in (3, 4, 3):
        seen, info = env.reset(seed=seed)
        runs.append((seen, as_dict(info["goals"][0]), env.step(env.action_spec.high)[0]))
    assert all(same(one, other) for one, other in zip(runs[0], runs[2], strict=True))
    assert not same(runs[0][0], runs[1][0])


@pytest.mark.parametrize("axis", [0, 1, 2, 5])
def test_a_commanded_step_is_the_measured_one(make, axis):
    env = make("CubeSingleTasks-v0")
    before = env.reset(seed=0, options={"task_id": 2})[0]["pose"]
    centre = np.array([0.425, 0.0, 0.275, 0.0, 0.0, 0.0])[axis]
    action = np.eye(7)[axis] * np.sign(centre - before[axis]) * (0.03 if axis < 3 else 0.2)
    measured = difference(before, env.step(action)[0]["pose"])
    np.testing.assert_allclose(measured[:3], action[:3], atol=0.006)
    np.testing.assert_allclose(measured[3:6], action[3:6], atol=0.05)


def test_the_gripper_closes_and_opens_as_commanded(make):
    env = make("CubeSingleTasks-v0")
    start = env.reset(seed=0)[0]["pose"][6]
    closed = env.step(0.5 * np.eye(7)[6])[0]["pose"][6]
    opened = env.step(-0.5 * np.eye(7)[6])[0]["pose"][6]
    assert closed - start == pytest.approx(0.5, abs=0.02)
    assert opened == pytest.approx(start, abs=0.06)  # it slows down at its end


def test_commands_stay_in_ogbenchs_workspace(make):
    env = make("CubeSingleTasks-v0")
    env.reset(seed=0)
    for _ in range(8):
        seen, *_ = env.step(np.array([0.1, 0.1, 0.1, 0, 0, 0, 0]))
    np.testing.assert_allclose(seen["pose"][:3], (0.60, 0.35, 0.35), atol=0.02)


@pytest.mark.parametrize("task", ["CubeSingleMoved-v0", "CubeSingle75-v0", "CubeSingleAcross-v0"])
def test_a_goal_is_what_is_seen_where_the_cube_is_at_its_target(make, task):
    env = make(task)
    for seed in (0, 1):
        _, info = env.reset(seed=seed)
        assert info["distance"] > 0.04 and not info["success"]
        arm = env.ogbench_arm
        cube = arm.env.data.joint("object_joint_0")
        cube.qpos[:3] = arm.goal().cubes[0, :3]
        _, *_, info = env.step(np.zeros(7))
        assert info["success"] == (info["distance"] <= 0.04)


def test_a_numbered_task_has_ogbenchs_goal(make):
    env = make("CubeSingleTasks-v0")
    env.reset(seed=5, options={"task_id": 4})
    np.testing.assert_allclose(env.ogbench_arm.goal().cubes[:, :3], [[0.50, 0.2, 0.02]])
    np.testing.assert_allclose(env.ogbench_arm.arrangement().cubes[:, :3], [[0.35, -0.2, 0.02]], atol=0.0101)


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_the_expert_brings_the_cube_to_its_goal(make, seed):
    env = make("CubeSingleAcross-v0")
    _, info = env.reset(seed=seed, options={"practice": True})
    assert not info["success"]
    for _, action in zip(range(40), env.finish(), strict=False):
        *_, info = env.step(action)
    assert info["success"]


@pytest.mark.slow
def test_two_cubes_have_two_targets(make):
    env = make("CubeDouble-v0")
    _, info = env.reset(seed=0)
    now, goal = env.ogbench_arm.arrangement(), env.ogbench_arm.goal()
    distances = np.linalg.norm(now.cubes[:, :3] - goal.cubes[:, :3], axis=1)
    assert distances.shape == (2,) and info["distance"] == pytest.approx(distances.max())
    _, info = env.reset(seed=4, options={"practice": True})
    for _, action in zip(range(60), env.finish(), strict=False):
        *_, info = env.step(action)
    assert info["success"]


def test_play_lifts_a_cube_and_its_actions_are_measured(episode):
    assert episode.extra["lifts"] >= 1
    np.testing.assert_allclose(compose(episode.poses[:-1], episode.actions)[:, :3], episode.poses[1:, :3], atol=1e-5)
    assert np.abs(episode.actions[:, 3:5]).max() < 0.2  # the gripper points down


def test_play_is_the_same_for_the_same_seed_and_leaves_numpys_generator_alone(arm, episode):
    np.random.seed(7)
    expected = np.random.random(3)
    np.random.seed(7)
    again = record_ogbench_play(arm, OgbenchPlay(frames=21), seed=0)
    np.testing.assert_array_equal(np.random.random(3), expected)
    np.testing.assert_array_equal(again.poses, episode.poses)
    np.testing.assert_array_equal(again.images, episode.images)


def test_a_look_ahead_puts_the_simulation_back(arm):
    script = OgbenchScript(arm, OgbenchPlay(driven=0.0), seed=0)
    before, seen = arm.state(), arm.observe()
    goal, there = script.ahead()
    assert np.array_equal(arm.state(), before) and np.array_equal(arm.observe().image, seen.image)
    assert not np.array_equal(goal.image, seen.image) and there.cubes.shape == (1, 7)


@pytest.mark.parametrize(("task", "seeds"), [("CubeSingle75-v0", (0, 1)), ("CubeSingleAcross-v0", (0, 3))])
def test_the_script_brings_a_cube_and_the_hand_to_where_a_goal_has_them(make, task, seeds):
    env = make(task)
    for seed in seeds:
        _, info = env.reset(seed=seed, options={"practice": True})
        assert not info["success"]
        for action in env.finish():
            seen, *_, info = env.step(action)
        (goal,) = env.reset(seed=seed, options={"practice": True})[1]["goals"]
        assert info["distance"] < 0.025
        assert np.linalg.norm(seen["pose"][:3] - goal.pose[:3]) < 0.06


def test_what_follows_the_goal_is_play_with_another_target(make):
    env = make("CubeSingle-v0")
    env.reset(seed=0, options={"practice": True})
    before = env.ogbench_arm.goal().cubes[:, :3]
    steps = env.play(np.random.default_rng(0))
    cubes = []
    for _ in range(25):
        env.step(next(steps))
        cubes.append(env.ogbench_arm.arrangement().cubes[0, :3])
    assert np.linalg.norm(env.ogbench_arm.goal().cubes[:, :3] - before) > 0.03
    assert np.linalg.norm(np.ptp(cubes, axis=0)) > 0.05  # it is moved


def test_led_in_episodes_begin_where_the_20_hz_script_is(arm):
    starts = []
    for seed in range(4):
        led = record_ogbench_play(arm, OgbenchPlay(frames=2, lead_in=60), seed)
        script = OgbenchScript(arm, OgbenchPlay(lead_in=60), seed)
        assert script.driven and np.allclose(arm.pose(), led.poses[0])
        starts.append(np.linalg.norm(led.poses[0] - record_ogbench_play(arm, OgbenchPlay(frames=2), seed).poses[0]))
    assert np.median(starts) > 0.05


def test_replaying_recorded_actions_reaches_the_goal(make):
    """From where they were recorded, measured differences bring the cube to where the script brought it."""
    env = make("CubeSingle-v0")
    arm, config = env.ogbench_arm, OgbenchPlay(frames=13, noise=0.0)
    actions = record_ogbench_play(arm, config, seed=1).actions
    goal = arm.arrangement()
    record_ogbench_play(arm, OgbenchPlay(frames=2, noise=0.0), seed=1)
    arm.set_goal(goal)
    solved = [arm.successes()]
    for action in actions[1:]:
        target = compose(env.arm.observe().pose, action.astype(np.float64))
        env.arm.command(target[:6], float(target[6]), env.action_spec.period)
        solved.append(arm.successes())
    assert solved[0] == [False] and solved[-1] == [True]


def test_seeds_for_evaluation_are_refused_for_training(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    collect = importlib.import_module("envs.tasks.collect_benchmark")
    with pytest.raises(ValueError, match="held out"):
        collect.CollectConfig(episodes=11, seed=9_990)


@pytest.mark.slow
def test_it_is_recorded_like_every_benchmark(tmp_path, capsys):
    pytest.importorskip("ogbench")
    flags = "--play.kind ogbench --play.frames 3 --episodes 2 --episodes-per-shard 1 --image-size 16".split()
    importlib.import_module("envs.tasks.collect_benchmark").main([*flags, "--output", str(tmp_path / "data")])
    dataset = read_dataset(tmp_path / "data")
    assert len(dataset) == 2 and dataset.spec == ogbench.ogbench_action_spec()
    assert "2 episodes, 6 frames at 4 Hz" in capsys.readouterr().out
