"""The manipulation tasks: objects, experts, goals, what counts as success, and play with an object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest

import envs.tasks  # noqa: F401 (registers them)
from envs.arms.base import ArmEnv
from envs.simulation.arm import DOWN, MujocoArm, MujocoArmConfig
from envs.simulation.objects import HELD_OUT_OBJECTS, TRAINING_OBJECTS, ObjectInstance
from envs.simulation.scene import SceneConfig, look_like
from envs.simulation.scene_config import MANIPULATION_SCENE
from envs.simulation.variation import Variation, turned_camera, vary
from envs.simulation.varying import VaryingArm
from envs.tasks.events import Watch, positions_of
from envs.tasks.expert import act, carry, lift, look, perform, place, push
from envs.tasks.manipulation import place_at_random
from envs.tasks.play import PlayConfig, record_episode

TASKS = ("FrankaPush-v0", "FrankaGrasp-v0", "FrankaReachWithObject-v0", "FrankaPickPlace-v0", "FrankaStack-v0")
BOX, CUP = TRAINING_OBJECTS[0], TRAINING_OBJECTS[-512]


@pytest.fixture(scope="module")
def arm() -> Iterator[MujocoArm]:
    arm = MujocoArm(MujocoArmConfig(MANIPULATION_SCENE, 48))
    yield arm
    arm.close()


@pytest.fixture(scope="module")
def tasks() -> Iterator[dict[str, Any]]:
    made = {task: gymnasium.make(f"envs/{task}", disable_env_checker=True, image_size=48) for task in TASKS}
    yield made
    for env in made.values():
        env.close()


def put(arm: MujocoArm, instance: ObjectInstance, x: float = 0.5, y: float = 0.0) -> None:
    arm.reset()
    arm.set_pose(np.array([0.45, 0.1, 0.25, *DOWN, 0.0]))
    arm.objects[0].place(instance, np.array([x, y, instance.height / 2]))


@pytest.mark.parametrize("instance", [BOX, CUP, HELD_OUT_OBJECTS[0], HELD_OUT_OBJECTS[-1]], ids=lambda i: i.name)
def test_an_object_lies_where_it_was_put(arm: MujocoArm, instance: ObjectInstance) -> None:
    put(arm, instance)
    before = arm.objects[0].position
    for _ in range(4):
        act(arm, np.zeros(7))
    np.testing.assert_allclose(arm.objects[0].position, before, atol=1e-3)


@pytest.mark.parametrize("instance", [BOX, CUP], ids=lambda i: i.name)
def test_the_expert_lifts_carries_and_places(arm: MujocoArm, instance: ObjectInstance) -> None:
    put(arm, instance)
    up, over, down = np.array([0.5, 0.0, 0.15]), np.array([0.58, 0.1, 0.12]), np.array([0.58, 0.1, 0.0])
    perform(arm, lift, up)
    assert arm.held()
    np.testing.assert_allclose(arm.objects[0].position, up, atol=0.015)
    perform(arm, carry, over)
    assert arm.held()
    perform(arm, place, down)
    assert not arm.gripping()
    np.testing.assert_allclose(arm.objects[0].position[:2], down[:2], atol=0.015)


@pytest.mark.parametrize("instance", [BOX, CUP], ids=lambda i: i.name)
def test_the_expert_pushes(arm: MujocoArm, instance: ObjectInstance) -> None:
    put(arm, instance)
    perform(arm, push, np.array([0.58, -0.12, 0.0]))
    np.testing.assert_allclose(arm.objects[0].position[:2], (0.58, -0.12), atol=0.015)
    assert look(arm).thing[2] == pytest.approx(instance.height / 2, abs=0.003)


def test_the_expert_puts_down_what_it_is_to_push(arm: MujocoArm) -> None:
    put(arm, BOX)
    perform(arm, lift, np.array([0.5, 0.0, 0.12]))
    assert arm.held()
    perform(arm, push, np.array([0.55, 0.1, 0.0]))
    np.testing.assert_allclose(arm.objects[0].position[:2], [0.55, 0.1], atol=0.01)


def test_a_grip_outlasts_actions_of_zero_and_ends_when_told_to(arm: MujocoArm) -> None:
    put(arm, CUP)
    perform(arm, lift, np.array([0.5, 0.0, 0.15]))
    closedness = arm.pose()[6]
    for _ in range(8):
        act(arm, np.array([0.0, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0]))
    assert arm.held()
    assert arm.pose()[6] == pytest.approx(closedness, abs=0.05)
    act(arm, np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.5]))
    act(arm, np.zeros(7))
    assert not arm.gripping()
    assert arm.objects[0].position[2] < 0.05


def test_an_action_of_what_was_measured_grips_as_the_full_command_did(arm: MujocoArm) -> None:
    """A recorded action is the difference of measured poses: fingers that an object stopped have not closed fully."""
    put(arm, BOX)
    arm.set_pose(np.array([0.5, 0.0, 0.028, *DOWN, 0.0]))
    start = arm.snapshot()
    act(arm, np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]))
    measured = arm.pose()[6]
    assert 0.3 < measured < 0.7
    arm.restore(start)
    act(arm, np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, measured]))
    for _ in range(3):
        act(arm, np.array([0.0, 0.0, 0.05, 0.0, 0.0, 0.0, 0.0]))
    assert arm.held()


@pytest.mark.parametrize("task", TASKS)
def test_goals_are_brought_about_by_the_expert_and_the_start_is_put_back(tasks: dict[str, Any], task: str) -> None:
    env = tasks[task]
    for seed in range(2):
        seen, info = env.reset(seed=seed)
        again, same = env.reset(seed=seed)
        np.testing.assert_array_equal(seen["image"], again["image"])
        np.testing.assert_array_equal(seen["pose"], again["pose"])
        assert info["distance"] == same["distance"] >= 0.08
        assert not info["success"]
        goals = info["goals"]
        assert len(goals) == (3 if "PickPlace" in task else 1)
        assert all(np.any(goal.image != seen["image"]) for goal in goals)
        assert env.unwrapped.mujoco_arm.objects[0].instance in HELD_OUT_OBJECTS


@pytest.mark.parametrize("attempts", [0, 5])
@pytest.mark.parametrize("task", TASKS)
def test_the_expert_succeeds_through_the_environment_wherever_an_attempt_has_led(
    tasks: dict[str, Any], task: str, attempts: int
) -> None:
    env, generator = tasks[task], np.random.default_rng(1)
    _, info = env.reset(seed=11)
    for _ in range(attempts):
        *_, info = env.step(generator.uniform(env.action_space.low, env.action_space.high))
    reached = set()
    for action in env.unwrapped.finish():
        *_, info = env.step(action)
        reached |= {name for name, so in info["stages"].items() if so}
    assert info["success"]
    assert info["distance"] < 0.02
    assert reached == set(info["stages"])  # at some moment; in the end nothing is held that was placed
    assert not list(env.unwrapped.finish())  # nothing is left to do


def test_success_of_a_grasp_needs_the_object_in_the_hand(tasks: dict[str, Any]) -> None:
    env = tasks["FrankaGrasp-v0"]
    env.reset(seed=3)
    arm = env.unwrapped.mujoco_arm
    arm.objects[0].place(arm.objects[0].instance, env.unwrapped.goal_position)
    arm.data.qvel[:] = 0
    assert env.unwrapped._report(None)["distance"] < 1e-3
    assert not env.unwrapped._report(None)["success"]


def test_random_actions_push_nothing_to_its_goal(tasks: dict[str, Any]) -> None:
    env = tasks["FrankaPush-v0"]
    env.reset(seed=0)
    generator = np.random.default_rng(0)
    for _ in range(10):
        *_, info = env.step(generator.uniform(env.action_space.low, env.action_space.high))
    assert not info["success"]


def test_objects_that_are_held_out_are_no_training_objects() -> None:
    seen = {(one.kind, one.width, one.height) for one in TRAINING_OBJECTS}
    assert not seen & {(one.kind, one.width, one.height) for one in HELD_OUT_OBJECTS}
    assert {one.kind for one in HELD_OUT_OBJECTS} == {"box", "cup"}
    known = np.array(sorted({one.colour for one in TRAINING_OBJECTS}))
    nearest = [np.linalg.norm(known - colour, axis=1).min() for colour in {one.colour for one in HELD_OUT_OBJECTS}]
    assert len(known) == 512 and sorted(np.greater(nearest, 0.15)) == [False, False, True, True]
    with pytest.raises(ValueError, match="fit into the gripper"):
        ObjectInstance("box", 0.06, 0.05, BOX.colour)


def test_a_scene_without_an_object_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs 1 object\(s\) to grasp, the scene has 0: set scene.objects to 1"):
        gymnasium.make("envs/FrankaPush-v0", disable_env_checker=True, scene=SceneConfig())
    with pytest.raises(ValueError, match="chain and fumble need an object"):
        record_episode(MujocoArm(MujocoArmConfig(SceneConfig(), 32)), PlayConfig(chain=1.0), seed=0)
    with pytest.raises(ValueError, match=r"push needs a block: set scene\.blocks"):
        record_episode(MujocoArm(MujocoArmConfig(SceneConfig(blocks=0), 32)), PlayConfig(push=1.0), seed=0)


def test_a_wall_stands_in_the_way(arm: MujocoArm) -> None:
    walled = MujocoArm(MujocoArmConfig(replace(MANIPULATION_SCENE, wall=0.1), 48))
    for each in (arm, walled):
        put(each, BOX, 0.5, -0.1)
        perform(each, push, np.array([0.5, 0.12, 0.0]), max_steps=15)
    assert arm.objects[0].position[1] > 0.1
    assert walled.objects[0].position[1] < 0.0
    walled.close()


def test_play_with_an_object_grasps_carries_pushes_and_lets_go(arm: MujocoArm) -> None:
    watch = Watch()
    config = PlayConfig(frames=33, wander=0, visit=0, push=0, chain=0.8, fumble=0.2)
    for seed in range(6):
        episode = record_episode(arm, config, seed, watch)
        np.testing.assert_array_equal(episode.actions[:, 3:6].round(1), 0.0)
    events = watch.events
    assert events.frames == 6 * 33
    assert events.grasps >= 2 and events.releases >= 1 and events.moved >= 5
    assert events.held < events.touched < events.frames


def test_an_episode_of_play_is_the_same_for_the_same_seed(arm: MujocoArm) -> None:
    config = PlayConfig(frames=8, wander=0, visit=0, push=0, chain=1.0)
    first, again = (record_episode(arm, config, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.poses, again.poses)


def test_skills_are_drawn_by_their_odds_and_odds_of_nothing_on_the_table_are_refused(arm: MujocoArm) -> None:
    watch = Watch()
    odds = {"push": 1.0, "place": 1.0}
    record_episode(arm, PlayConfig(frames=33, wander=0, visit=0, push=0, chain=1.0, odds=odds, held=0.0), 0, watch)
    assert watch.events.moved and not watch.events.grasps  # pushes alone
    with pytest.raises(ValueError, match="odds are weights >= 0 of push, lift, reach, not all of them 0"):
        PlayConfig(odds={"push": 1.0})


def test_an_expert_that_slips_goes_astray_and_does_it_all_the_same(arm: MujocoArm) -> None:
    steady, slipping = (
        PlayConfig(frames=33, wander=0, visit=0, push=0, chain=1.0, held=0.0, shaky=(0.0,), slips=slips)
        for slips in (0.0, 0.15)
    )
    watch = Watch()
    for seed in range(4):
        exact, astray = record_episode(arm, steady, seed), record_episode(arm, slipping, seed, watch)
        assert np.abs(exact.poses - astray.poses).max() > 0.01
    assert watch.events.grasps > 0
    with pytest.raises(ValueError, match=r"slips is a share, in \[0, 1\], got 1.5"):
        PlayConfig(slips=1.5)


def test_a_start_is_over_the_table_with_the_gripper_above_the_object(arm: MujocoArm) -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        place_at_random(arm, [CUP], generator)
        assert arm.pose()[2] > CUP.height + 0.05
        assert arm.objects[0].position[2] == pytest.approx(CUP.height / 2)


def test_the_tasks_are_arm_environments(tasks: dict[str, Any]) -> None:
    for env in tasks.values():
        assert isinstance(env.unwrapped, ArmEnv)
        assert env.unwrapped.action_spec.low[3:6] == (0.0, 0.0, 0.0)
        assert env.unwrapped.action_spec.high[6] == 1.0


def test_after_a_task_the_object_is_taken_from_above_and_play_goes_on(tasks: dict[str, Any]) -> None:
    env = tasks["FrankaPush-v0"]
    env.reset(seed=4)
    arm, steps, held = env.unwrapped.mujoco_arm, env.unwrapped.play(np.random.default_rng(0)), []
    height = arm.pose()[2]
    env.step(next(steps))
    assert arm.pose()[2] > height + 0.02
    for _ in range(40):
        env.step(next(steps))
        held.append(arm.held() is arm.objects[0])
    assert any(held)


def test_two_objects_are_brought_to_their_places_and_further_ones_stay(tasks: dict[str, Any]) -> None:
    scene = replace(MANIPULATION_SCENE, objects=3, blocks=1)
    env: Any = gymnasium.make("envs/FrankaTwoObjects-v0", disable_env_checker=True, image_size=48, scene=scene)
    _, info = env.reset(seed=4)
    arm = env.unwrapped.mujoco_arm
    goals, third = env.unwrapped._goal_positions.copy(), arm.objects[2].position
    assert np.linalg.norm(goals[2] - third) < 0.01
    assert min(np.linalg.norm(goals[:2] - positions_of(arm)[:2], axis=1)) >= 0.08
    seen = []
    for action in env.unwrapped.finish():
        *_, info = env.step(action)
        seen.append(info["success"])
    assert info["success"] and info["stages"] == {"grasped": False, "one placed": True, "both placed": True}
    assert not any(seen[: len(seen) // 2])  # one in its place is not both
    np.testing.assert_allclose(arm.objects[2].position, third, atol=0.01)
    env.close()
    with pytest.raises(ValueError, match=r"needs 2 object\(s\) to grasp, the scene has 1: set scene.objects to 2"):
        gymnasium.make("envs/FrankaTwoObjects-v0", disable_env_checker=True, scene=MANIPULATION_SCENE)


def test_an_object_beside_the_other_is_not_stacked(tasks: dict[str, Any]) -> None:
    env = tasks["FrankaStack-v0"]
    env.reset(seed=4)
    (upper, lower), goal = env.unwrapped.mujoco_arm.objects, env.unwrapped.goal_position
    top = lower.position[2] + lower.instance.height / 2
    assert goal[2] == pytest.approx(top + upper.instance.height / 2, abs=1e-3)
    upper.place(upper.instance, np.array([*goal[:2] + 0.035, upper.instance.height / 2]))
    assert not env.unwrapped.judge().success
    upper.place(upper.instance, goal)
    *_, info = env.step(np.zeros(7))
    assert info["success"]
    assert info["stages"] == {"grasped": False, "over": False, "stacked": True}


def test_goals_of_play_are_reached_by_the_expert_in_the_hand_and_on_the_table() -> None:
    env: Any = gymnasium.make("envs/FrankaPlay25-v0", disable_env_checker=True, image_size=48)
    held = set()
    for seed in range(1, 5):
        seen, info = env.reset(seed=seed)
        again, same = env.reset(seed=seed)
        np.testing.assert_array_equal(seen["image"], again["image"])
        np.testing.assert_array_equal(info["goals"][0].image, same["goals"][0].image)
        assert not info["success"] and info["distance"] >= 0.08 and len(info["goals"]) == 1
        held.add(env.unwrapped._goal_held)
        for action in env.unwrapped.finish():
            *_, info = env.step(action)
        assert info["success"]
    assert held == {True, False}
    with pytest.raises(ValueError, match="at least 1 action to it, got 0"):
        gymnasium.make("envs/FrankaPlay25-v0", disable_env_checker=True, steps=0)


def test_the_object_that_a_goal_moves_is_the_first_whatever_else_lies_about() -> None:
    scene = replace(MANIPULATION_SCENE, objects=2, blocks=1)
    env: Any = gymnasium.make("envs/FrankaPush-v0", disable_env_checker=True, image_size=48, scene=scene)
    for seed in range(3):
        env.reset(seed=seed)
        arm = env.unwrapped.mujoco_arm
        places = [*positions_of(arm), arm.block_position(0)]
        apart = [np.linalg.norm((a - b)[:2]) for i, a in enumerate(places) for b in places[:i]]
        assert min(apart) >= 0.1
        moved = np.linalg.norm(env.unwrapped._goal_positions - positions_of(arm), axis=1)
        assert moved[0] >= 0.08 and moved[1] < 0.01
    env.close()


def test_play_takes_each_of_several_objects() -> None:
    arm = MujocoArm(MujocoArmConfig(replace(MANIPULATION_SCENE, objects=3), 48))
    taken = set()

    class Hands(Watch):
        def look(self, arm: MujocoArm) -> None:
            super().look(arm)
            held = arm.held()
            taken.update(() if held is None else (held.id,))

    watch = Hands()
    config = PlayConfig(frames=33, wander=0, visit=0, push=0, chain=1.0, held=0.5)
    for seed in range(6):
        record_episode(arm, config, seed, watch)
    assert taken == {0, 1, 2}
    assert watch.events.grasps >= 3
    arm.close()


def test_play_stacks_where_there_are_two_objects_and_else_places() -> None:
    odds = {"lift": 1.0, "stack": 1.0, "push": 0.0, "reach": 0.0, "carry": 0.0, "place": 0.0, "drop": 0.0}
    config, highest = PlayConfig(frames=60, wander=0, visit=0, push=0, chain=1.0, held=0.0, odds=odds), {}

    class Heights(Watch):
        def look(self, arm: MujocoArm) -> None:
            super().look(arm)
            for thing in () if arm.gripping() else arm.objects:
                highest[count] = max(highest.get(count, 0.0), thing.position[2])

    for count in (1, 2):
        arm, watch = MujocoArm(MujocoArmConfig(replace(MANIPULATION_SCENE, objects=count), 48)), Heights()
        record_episode(arm, config, 0, watch)
        assert watch.events.releases >= 2
        arm.close()
    assert highest[1] < 0.035 < 0.06 < highest[2]


def test_scenes_vary_within_their_ranges_and_the_same_seed_gives_the_same() -> None:
    variation = Variation(
        camera_turn=8.0, camera_distance=0.05, brightness=0.3, objects=(1.0, 1.0, 1.0), blocks=(1.0, 1.0)
    )
    target = np.array(MANIPULATION_SCENE.camera_target)
    arm = np.array(MANIPULATION_SCENE.camera_position) - target
    scenes = [vary(MANIPULATION_SCENE, variation, np.random.default_rng(seed)) for seed in range(60)]
    for scene in scenes:
        other = np.array(scene.camera_position) - target
        share = np.linalg.norm(other) / np.linalg.norm(arm)
        assert 0.95 <= share <= 1.05
        assert np.degrees(np.arccos(other @ arm / np.linalg.norm(other) / np.linalg.norm(arm))) < 8.0 * np.sqrt(2.0)
        assert 0.7 <= scene.brightness <= 1.3
        assert scene.table_colour == MANIPULATION_SCENE.table_colour
    assert {scene.objects for scene in scenes} == {1, 2, 3} and {scene.blocks for scene in scenes} == {0, 1}
    assert vary(MANIPULATION_SCENE, variation, np.random.default_rng(7)) == scenes[7]
    still = vary(MANIPULATION_SCENE, Variation(), np.random.default_rng(0))
    np.testing.assert_allclose(still.camera_position, MANIPULATION_SCENE.camera_position, atol=1e-12)
    with pytest.raises(ValueError, match="weights are at least 0 and not all 0"):
        Variation(objects=(0.0,))


def test_a_scene_takes_the_looks_of_another_to_the_pixel_and_keeps_its_physics() -> None:
    variation = Variation(
        camera_turn=8.0, camera_distance=0.05, camera_target=0.02, light_turn=12.0, brightness=0.3, table_colour=0.2
    )
    other = vary(MANIPULATION_SCENE, variation, np.random.default_rng(0))
    there, here = (MujocoArm(MujocoArmConfig(scene, 64)) for scene in (other, MANIPULATION_SCENE))
    before, state = here.render(64), here.snapshot()
    look_like(here.model, here.data, other)
    np.testing.assert_array_equal(here.render(64), there.render(64))
    np.testing.assert_array_equal(here.snapshot(), state)
    look_like(here.model, here.data, MANIPULATION_SCENE)
    np.testing.assert_array_equal(here.render(64), before)
    for arm in (there, here):
        arm.close()


def test_pictures_vary_with_cubes_that_touch_nothing() -> None:
    variation = Variation(brightness=0.2, blocks=(0.0, 0.0, 1.0))
    arm = VaryingArm(MujocoArmConfig(MANIPULATION_SCENE, 64), variation, seed=3)
    place_at_random(arm, [TRAINING_OBJECTS[0]], np.random.default_rng(0))
    state, plain = arm.snapshot(), MujocoArm(MujocoArmConfig(MANIPULATION_SCENE, 64))
    seen = [arm.observe() for _ in range(4)]
    np.testing.assert_array_equal(arm.snapshot(), state)
    assert len({one.image.tobytes() for one in seen}) == 4
    assert len(arm.cubes) == 2
    for cube in arm.cubes:
        assert np.linalg.norm(cube.position[:2] - arm.objects[0].position[:2]) > 0.08
    red = (plain.render(64)[..., 0].astype(int) - plain.render(64)[..., 1] > 90).sum()
    assert (seen[-1].image[..., 0].astype(int) - seen[-1].image[..., 1] > 90).sum() > red  # the first cube is red
    with pytest.raises(ValueError, match="nothing can vary that is moved"):
        VaryingArm(MujocoArmConfig(MANIPULATION_SCENE, 64), Variation(objects=(1.0, 1.0)), seed=3)
    arm.close()
    plain.close()


def test_a_camera_turns_around_its_target() -> None:
    turned = turned_camera(MANIPULATION_SCENE, azimuth=5.0, elevation=0.0)
    target = np.array(turned.camera_target)
    before, after = (np.array(scene.camera_position) - target for scene in (MANIPULATION_SCENE, turned))
    assert after[2] == pytest.approx(before[2])
    angle = np.degrees(np.arctan2(after[1], after[0]) - np.arctan2(before[1], before[0]))
    assert angle == pytest.approx(5.0)
