"""OGBench's scene, with a cube, a drawer, a window and two buttons, as ours; needs the extra `benchmarks`."""

from collections.abc import Callable
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from envs.arms.base import as_dict
from envs.tasks import ogbench_play, ogbench_tasks
from envs.tasks.ogbench import SCENE_PARTS, Arrangement, OgbenchArm
from envs.tasks.ogbench_play import OgbenchPlay, OgbenchScript, record_ogbench_play
from envs.tasks.ogbench_tasks import OgbenchEnv

SIZE = 32
PLAY = OgbenchPlay(variant="scene", frames=21)
PRACTICE = {"practice": True}


@pytest.fixture(scope="module")
def arm():
    pytest.importorskip("ogbench")
    arm = OgbenchArm("scene", image_size=SIZE)
    yield arm
    arm.close()


@pytest.fixture
def make(arm: OgbenchArm, monkeypatch: pytest.MonkeyPatch) -> Callable[..., OgbenchEnv]:
    """Returns a task of the scene by its settings; all have one simulation, which takes long to build."""
    monkeypatch.setattr(ogbench_tasks, "OgbenchArm", lambda *_: arm)
    return lambda **settings: OgbenchEnv("scene", **settings)


def arrange(arm: OgbenchArm, there: Arrangement) -> None:
    """Puts everything somewhere."""
    data, env = arm.env.data, arm.env
    data.joint("object_joint_0").qpos[:] = there.cubes[0]
    data.joint("drawer_slide").qpos[0], data.joint("window_slide").qpos[0] = there.slides
    env._cur_button_states = there.buttons.copy()
    env._apply_button_states()


def same(one: Arrangement, other: Arrangement) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("cubes", "buttons", "slides"))


def test_a_state_has_the_buttons_and_what_they_lock(arm: OgbenchArm) -> None:
    OgbenchScript(arm, PLAY, seed=0)
    arrange(arm, replace(arm.arrangement(), buttons=np.array([0, 1])))
    state, there, seen = arm.state(), arm.arrangement(), arm.observe()
    arrange(arm, replace(there, buttons=np.array([1, 0]), slides=there.slides + np.array([-0.01, 0.01])))
    assert not np.array_equal(arm.observe().image, seen.image)
    arm.restore(state)
    assert same(arm.arrangement(), there) and np.array_equal(arm.observe().image, seen.image)
    assert np.array_equal(arm.state(), state)
    drawer, window = (arm.env.model.joint(f"{slide}_slide").damping[0] for slide in ("drawer", "window"))
    assert drawer > 1e3 * window


def test_success_is_of_every_part_and_no_goal_is_seen(make: Callable[..., OgbenchEnv]) -> None:
    env = make()
    seen, _ = env.reset(seed=0)
    arm = env.ogbench_arm
    there = arm.arrangement()
    elsewhere = {
        "cube": replace(there, cubes=there.cubes + np.array([0.05, 0, 0, 0, 0, 0, 0])),
        "drawer lock": replace(there, buttons=there.buttons ^ np.array([1, 0])),
        "window lock": replace(there, buttons=there.buttons ^ np.array([0, 1])),
        "drawer": replace(there, slides=there.slides + np.array([0.05, 0.0])),
        "window": replace(there, slides=there.slides + np.array([0.0, 0.05])),
    }
    for part, goal in elsewhere.items():
        arm.set_goal(goal)
        told = env._report(arm.observe())
        assert not told["success"] and told["distance"] == pytest.approx(0.1 if "lock" in part else 0.05)
        assert [name for name, reached in told["stages"].items() if not reached] == [part]
        assert np.array_equal(arm.observe().image, seen["image"])
    assert list(told["stages"]) == list(SCENE_PARTS)
    arm.set_goal(there)
    assert env._report(arm.observe())["success"]


@pytest.mark.parametrize("settings", [{}, {"across": True}], ids=["ahead", "across"])
def test_the_same_seed_is_the_same_episode(make: Callable[..., OgbenchEnv], settings: dict[str, bool]) -> None:
    env, runs = make(**settings), []
    for seed in (3, 4, 3):
        seen, info = env.reset(seed=seed)
        runs.append([seen, as_dict(info["goals"][0]), env.step(np.zeros(7))[0]])
    for one, again, other in zip(runs[0], runs[2], runs[1], strict=True):
        assert np.array_equal(one["image"], again["image"]) and np.array_equal(one["pose"], again["pose"])
        assert not np.array_equal(one["pose"], other["pose"])


@pytest.mark.parametrize("settings", [{"moved": True}, {"across": True}], ids=["moved", "across"])
def test_where_everything_is_at_its_goal_the_task_is_solved(
    make: Callable[..., OgbenchEnv], settings: dict[str, bool]
) -> None:
    env = make(**settings)
    _, info = env.reset(seed=1)
    assert not info["success"] and info["distance"] > 0.04
    arm = env.ogbench_arm
    arrange(arm, arm.goal())
    *_, info = env.step(np.zeros(7))
    assert info["success"] and all(info["stages"].values()) and info["distance"] <= 0.04


def test_play_presses_buttons_and_moves_what_they_let_go(arm: OgbenchArm) -> None:
    episode, again = (record_ogbench_play(arm, replace(PLAY, frames=frames), seed=0) for frames in (31, 11))
    assert episode.extra["presses"] >= 1 and max(episode.extra["drawer"], episode.extra["window"]) > 0.1
    assert np.array_equal(episode.images[:11], again.images) and np.array_equal(episode.poses[:11], again.poses)
    assert np.abs(episode.actions[:, 3:5]).max() < 0.2  # the gripper points down
    assert episode.task == "OGBench scene, driven"


def test_an_episode_that_loses_its_cube_is_played_anew(arm: OgbenchArm, monkeypatch: pytest.MonkeyPatch) -> None:
    played, seeds = ogbench_play._play, []

    def lose(arm: OgbenchArm, config: OgbenchPlay, seed: int):
        observations, there, driven = played(arm, config, seed)
        seeds.append(seed)
        lost = replace(there[-1], cubes=np.array([[0.4, 0.32, 0.02, 1, 0, 0, 0]]))
        return observations, [*there, lost] if len(seeds) == 1 else there, driven

    monkeypatch.setattr(ogbench_play, "_play", lose)
    assert len(record_ogbench_play(arm, replace(PLAY, frames=3), seed=5)) == 3
    assert seeds[0] == 5 and len(seeds) == 2 and seeds[1] > 2**31


@pytest.mark.parametrize("place", [(0.33, -0.356, 0.066), (0.4, 0.1, 0.02), (0.4, -0.25, 0.3)])
def test_a_cube_in_the_drawer_or_on_the_floor_is_not_out_of_sight(place: tuple[float, ...]) -> None:
    there = Arrangement(np.array([[*place, 1, 0, 0, 0]]), np.zeros(2, int), np.zeros(2))
    assert not there.hides_a_cube()
    hidden = replace(there, cubes=np.array([[0.4, -0.31, 0.02, 1, 0, 0, 0]]))
    assert hidden.hides_a_cube()


@pytest.mark.parametrize(("settings", "seed", "steps"), [({"moved": True}, 3, 10), ({"across": True}, 3, 45)])
def test_the_expert_brings_everything_to_its_goal(
    make: Callable[..., OgbenchEnv], settings: dict[str, bool], seed: int, steps: int
) -> None:
    env = make(**settings)
    _, info = env.reset(seed=seed, options=PRACTICE)
    assert not info["success"]
    for _, action in zip(range(steps), env.finish(), strict=False):
        *_, info = env.step(action)
    assert info["success"]
    played = env.play(np.random.default_rng(0))
    moved = [env.step(next(played))[0]["pose"] for _ in range(3)]
    assert np.linalg.norm(moved[-1][:3] - moved[0][:3]) > 0.01


def test_a_numbered_task_has_ogbenchs_goal_and_is_not_practised() -> None:
    pytest.importorskip("ogbench")
    env = gymnasium.make("envs/SceneTasks-v0", image_size=SIZE, disable_env_checker=True).unwrapped
    assert isinstance(env, OgbenchEnv)
    _, info = env.reset(seed=5, options={"task_id": 4})  # into the drawer, which is then shut
    goal, now = env.ogbench_arm.goal(), env.ogbench_arm.arrangement()
    np.testing.assert_allclose(goal.cubes[0, :3], (0.33, -0.356, 0.065986))
    assert goal.buttons.tolist() == [1, 0] and np.array_equal(goal.slides, (0.0, 0.0))
    assert now.buttons.tolist() == [0, 0] and not info["success"]
    np.testing.assert_allclose(now.cubes[0, :3], (0.35, 0.05, 0.02), atol=0.0101)
    assert not info["stages"]["cube"] and not info["stages"]["drawer lock"] and info["stages"]["window lock"]
    with pytest.raises(ValueError, match="for evaluation alone"):
        env.reset(seed=5, options=PRACTICE)
    env.close()


def test_the_scene_has_its_tasks() -> None:
    names = {name for name in gymnasium.registry if name.startswith("envs/Scene")}
    assert names == {f"envs/Scene{kind}-v0" for kind in ("", "Moved", "50", "75", "Across", "Tasks")}
