"""gymnasium-robotics' Fetch as an arm, its tasks and play; needs the extra `benchmarks`."""

import builtins

import gymnasium
import numpy as np
import pytest

from envs.arms.base import as_dict
from envs.arms.safety import SafeArm
from envs.pose import compose, difference
from envs.spec import HELD_OUT
from envs.tasks.benchmark import BenchmarkError
from envs.tasks.fetch import FetchArm, fetch_limits
from envs.tasks.fetch_play import FetchPlay, expert, record_fetch_play
from envs.tasks.fetch_tasks import FetchEnv

SIZE = 32
TASKS = ("Reach", "Push", "PickAndPlace")
ACTIONS = 25  # of ours in an episode of the benchmark, 50 of its steps


@pytest.fixture(scope="module")
def make():
    """Returns one of the tasks, by its name; each is made once."""
    pytest.importorskip("gymnasium_robotics", reason="gymnasium-robotics is not installed (extra `benchmarks`)")
    made: dict[str, gymnasium.Env] = {}

    def make(task: str) -> FetchEnv:
        if task not in made:
            made[task] = gymnasium.make(f"envs/Fetch{task}-v0", image_size=SIZE)
        env = made[task].unwrapped
        assert isinstance(env, FetchEnv)
        return env

    yield make
    for env in made.values():
        env.close()


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    found = builtins.__import__

    def missing(name, *arguments, **options):
        if name.partition(".")[0] == "gymnasium_robotics":
            raise ModuleNotFoundError("No module named 'gymnasium_robotics'", name="gymnasium_robotics")
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.setattr("envs.tasks.fetch.import_module", missing)
    with pytest.raises(BenchmarkError, match=r"\.\[benchmarks\]"):
        FetchArm()


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_gives_the_same_start_and_goal_and_another_a_different_one(make, task):
    env = make(task)
    seen, info = env.reset(seed=1)
    (goal,), place = info["goals"], env.fetch_arm.goal()
    assert env.observation_space.contains(seen) and env.observation_space.contains(as_dict(goal))
    other, again = env.reset(seed=2)[1]["goals"][0], env.reset(seed=1)[1]["goals"][0]
    assert np.array_equal(goal.image, again.image) and np.array_equal(env.fetch_arm.goal(), place)
    assert not np.array_equal(goal.image, other.image)


@pytest.mark.parametrize("task", TASKS)
def test_the_goal_image_is_of_the_goal_and_nothing_is_left_of_how_it_came_about(make, task):
    env = make(task)
    _, info = env.reset(seed=3)
    arm, (goal,) = env.fetch_arm, info["goals"]
    start = arm.state()
    assert not info["success"]
    for _ in range(2 * ACTIONS):
        action = expert(arm, arm.goal())
        if action is None:
            break
        arm.act(action)
    assert arm.success() and np.allclose(arm.pose(), goal.pose, atol=1e-3)
    arm.restore(start)
    assert np.array_equal(env.reset(seed=3)[0]["image"], arm.observe().image)


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_succeeds_within_an_episode_of_the_benchmark(make, task):
    env = make(task)
    arm, reached = env.fetch_arm, 0
    for seed in range(4):
        env.reset(seed=seed)
        for _ in range(ACTIONS):
            action = expert(arm, arm.goal())
            info = env.step(np.zeros(7) if action is None else np.clip(action, *bounds(env)))[-1]
        reached += info["success"]
    assert reached >= 3


def bounds(env):
    return env.action_space.low, env.action_space.high


@pytest.mark.parametrize("task", TASKS)
def test_success_is_the_benchmarks_own(make, task):
    env = make(task)
    _, info = env.reset(seed=4)
    for _ in range(6):
        theirs = env.fetch_arm.env._get_obs()
        assert np.isclose(info["distance"], np.linalg.norm(theirs["achieved_goal"] - theirs["desired_goal"]), atol=1e-6)
        assert info["success"] == (info["distance"] < 0.05)
        info = env.step(env.action_space.low)[-1]


def test_the_goal_is_not_drawn_into_what_is_seen(make):
    env = make("Push")
    seen, _ = env.reset(seed=5)
    env.fetch_arm.env.goal = env.fetch_arm.goal() + 0.1
    env.fetch_arm.env._render_callback()
    assert np.array_equal(env.fetch_arm.observe().image, seen["image"])


def test_the_hand_goes_where_an_action_says_and_pointing_down_is_no_rotation(make):
    env = make("Push")
    seen, _ = env.reset(seed=6)
    assert np.allclose(seen["pose"][3:6], 0.0, atol=0.05)
    action = np.array([0.03, -0.02, 0.04, 0.0, 0.0, 0.0, 0.0])
    after = env.step(action)[0]
    assert np.allclose(difference(seen["pose"], after["pose"])[:3], action[:3], atol=0.008)
    assert np.allclose(after["pose"][3:6], 0.0, atol=0.15)


@pytest.mark.parametrize("asked", [0.15, -0.15, -0.3])
def test_the_fingers_go_as_far_as_an_action_asks(make, asked):
    env = make("PickAndPlace")
    env.reset(seed=11)
    arm = env.fetch_arm
    for _ in range(3):  # half closed, above the block, and at rest
        arm.act(np.array([0.0, 0.0, 0.05, 0.0, 0.0, 0.0, 0.5 - arm.pose()[6]]))
    before = arm.pose()[6]
    arm.act(np.array([0.0] * 6 + [asked]))
    assert np.isclose(arm.pose()[6] - before, asked, atol=0.02)
    arm.act(np.zeros(7))
    assert np.isclose(arm.pose()[6] - before, asked, atol=0.03)  # at rest


def test_what_is_held_stays_held_until_an_action_opens_the_fingers(make):
    env = make("PickAndPlace")
    env.reset(seed=7)
    arm, place = env.fetch_arm, np.array([1.34, 0.75, 0.55])
    for _ in range(ACTIONS):
        action = expert(arm, place)
        if action is None:
            break
        arm.act(action)
    assert arm.sight().held
    for _ in range(5):  # measured differences are 0 while something is held
        arm.act(np.zeros(7))
    assert arm.sight().held
    arm.act(np.array([0.0] * 6 + [-1.0]))
    arm.act(np.zeros(7))
    assert not arm.gripping()


def test_play_moves_the_block_and_a_seed_is_an_episode(make):
    arm, config = make("Push").fetch_arm, FetchPlay(frames=17)
    arm.reset(0)
    episode = record_fetch_play(arm, config, seed=8)
    again = record_fetch_play(arm, config, seed=8)
    assert np.array_equal(episode.images, again.images) and np.array_equal(episode.actions, again.actions)
    assert episode.rate == 12.5 and len(episode.images) == 17 and episode.seed == 8 < HELD_OUT
    # what was done is what was measured
    assert np.allclose(compose(episode.poses[3], episode.actions[3]), episode.poses[4], atol=1e-5)
    before = arm.block()
    record_fetch_play(arm, FetchPlay(frames=33), seed=9)
    assert np.linalg.norm(arm.block() - before) > 0.02


def test_no_command_leaves_the_workspace(make):
    env = make("Reach")
    env.reset(seed=10)
    driver, low = SafeArm(env.fetch_arm, fetch_limits()), fetch_limits().workspace_low
    for _ in range(8):
        seen = driver.observe()
        driver.command(seen.pose[:6] - np.array([0.1, 0.1, 0.1, 0.0, 0.0, 0.0]), 1.0, 0.08)
    assert (env.fetch_arm.pose()[:3] > np.array(low) - 0.02).all()
