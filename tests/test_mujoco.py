"""The simulated arm, its tasks and scripted play."""

import itertools

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.arms.safety import SafeArm
from envs.pose import compose, difference
from envs.simulation.arm import DOWN, MujocoArm, MujocoArmConfig, arm_action_spec
from envs.simulation.scene import TABLE_HIGH, TABLE_LOW, SceneConfig, build_scene
from envs.tasks import reach as tasks
from envs.tasks.play import PlayConfig, record_episode


@pytest.fixture(scope="module")
def arm():
    arm = MujocoArm(MujocoArmConfig(image_size=32))
    yield arm
    arm.close()


@pytest.fixture(scope="module")
def env():
    env = gymnasium.make("envs/FrankaReach-v0", image_size=32)
    yield env
    env.close()


def test_free_space_tracking_is_within_two_millimetres_at_the_end_of_each_step(arm):
    generator = np.random.default_rng(0)
    arm.reset()
    arm.set_block(0, np.array([0.66, 0.22]))
    errors = []
    for _ in range(10):
        arm.set_pose(np.array([*generator.uniform(tasks.WORKSPACE_LOW, tasks.WORKSPACE_HIGH), *DOWN, 0.0]))
        for _ in range(10):
            action = np.append(generator.uniform(-0.075, 0.075, 3), np.zeros(4))
            target = compose(arm.pose(), action)
            target[:3] = np.clip(target[:3], tasks.WORKSPACE_LOW, tasks.WORKSPACE_HIGH)
            arm.command(target[:6], 0.0, 0.25)
            errors.append(np.linalg.norm(arm.pose()[:3] - target[:3]))
    assert max(errors) < 2e-3


def test_the_solver_factorises_densely_however_many_things_there_are():
    """MuJoCo 4.0.0 has a wrong sparse factor (its issue 3767), and takes sparse matrices by itself from 60 on."""
    model = build_scene(SceneConfig(blocks=5, objects=6))
    assert model.nv > 60
    assert not mujoco.mj_isSparse(model)
    assert model.opt.solver == mujoco.mjtSolver.mjSOL_NEWTON


def test_kinematics_are_the_pandas(arm):
    """At Franka's ready pose the flange, 0.1034 m above the tool centre point, is at (0.5545, 0, 0.6245)."""
    arm.data.qpos[:7] = (0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4)
    mujoco.mj_forward(arm.model, arm.data)
    np.testing.assert_allclose(arm.pose()[:3], (0.30689, 0.0, 0.59027 - 0.1034), atol=2e-3)
    arm.reset()


def test_every_corner_of_the_workspace_is_reached_upright(arm):
    for corner in itertools.product(*zip(tasks.WORKSPACE_LOW, tasks.WORKSPACE_HIGH, strict=True)):
        pose = np.array([*corner, *DOWN, 0.0])
        arm.set_pose(pose)
        assert np.abs(difference(arm.pose(), pose)[:6]).max() < 1e-3
    arm.reset()


def test_a_pose_looks_the_same_however_the_arm_got_there(arm):
    arm.reset()
    goal = np.array([0.55, 0.1, 0.15, *DOWN, 0.0])
    arm.set_pose(goal)
    placed = arm.render(64).astype(int)
    arm.set_pose(np.array([0.36, -0.2, 0.34, *DOWN, 0.0]))
    for _ in range(12):
        step = np.clip(goal[:3] - arm.pose()[:3], -0.075, 0.075)
        arm.command(np.array([*(arm.pose()[:3] + step), *DOWN]), 0.0, 0.25)
    assert np.abs(arm.render(64).astype(int) - placed).mean() < 1.0


def test_an_unreachable_command_holds_the_arm(arm):
    arm.reset()
    before = arm.pose()
    arm.command(np.array([1.5, 0.0, 0.2, *DOWN]), 0.0, 0.25)
    np.testing.assert_allclose(arm.pose()[:3], before[:3], atol=2e-3)


def test_the_environment_passes_gymnasiums_checker(env):
    with pytest.warns(UserWarning, match="maximum and minimum values are equal"):  # fixed dimensions are meant
        check_env(env.unwrapped, skip_render_check=True)


def test_the_same_seed_gives_the_same_episode(env):
    first, first_info = env.reset(seed=7)
    again, again_info = env.reset(seed=7)
    np.testing.assert_array_equal(first["image"], again["image"])
    np.testing.assert_array_equal(first["pose"], again["pose"])
    np.testing.assert_array_equal(first_info["goals"][0].image, again_info["goals"][0].image)


def test_starts_and_goals_fill_the_workspace_and_keep_their_distance():
    generator = np.random.default_rng(0)
    starts, goals = np.array([tasks.sample_start_and_goal(generator) for _ in range(2000)]).transpose(1, 0, 2)
    assert np.linalg.norm(starts - goals, axis=-1).min() >= 0.08
    for positions in (starts, goals):
        assert np.all(np.ptp(positions, axis=0) > (0.335, 0.434, 0.276))


def test_success_is_the_end_effector_within_four_centimetres(env):
    _, info = env.reset(seed=3)
    goal = info["goals"][0].pose[:3]
    while info["distance"] > 0.005:
        step = np.clip(goal - env.unwrapped.mujoco_arm.pose()[:3], -0.05, 0.05)
        _, _, _, _, info = env.step(np.append(step, np.zeros(4)))
        assert info["success"] == (info["distance"] < 0.04)
    assert info["success"]


def test_a_step_before_a_reset_or_with_a_bad_action_is_refused(env):
    fresh = tasks.FrankaReachEnv(image_size=16)
    with pytest.raises(ValueError, match="reset"):
        fresh.step(np.zeros(7))
    fresh.reset(seed=0)
    with pytest.raises(ValueError, match="7 finite numbers"):
        fresh.step(np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        fresh.step(np.full(7, np.nan))
    fresh.close()


@pytest.mark.parametrize("change", [{"blocks": 9}, {"block_size": 0.2}])
def test_an_impossible_scene_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        SceneConfig(**change)


@pytest.mark.slow
def test_no_body_leaves_the_workspace_in_ten_thousand_random_steps(arm):
    check_blocks_stay(arm, steps=10_000)


def test_no_body_leaves_the_workspace_in_five_hundred_random_steps(arm):
    check_blocks_stay(arm, steps=500)


def check_blocks_stay(arm, steps):
    """Half of the commands chase the block to push, press and squeeze it; all dimensions move."""
    generator = np.random.default_rng(0)
    driver = SafeArm(arm)
    spec = arm_action_spec()
    low, high = (np.array([*corner, height]) for corner, height in ((TABLE_LOW, 0.0), (TABLE_HIGH, 0.7)))
    for step in range(steps):
        if step % 40 == 0:
            arm.reset()
            arm.set_block(0, *tasks.sample_block(generator))
            driver.connect()
        pose = arm.pose()
        action = generator.uniform(spec.low, spec.high)
        action[3:6] = difference(pose, np.array([*np.zeros(3), *DOWN, 0.0]))[3:6] * generator.uniform(0, 1)
        if generator.random() < 0.5:
            chase = arm.block_position(0) + generator.normal(0, 0.02, 3) - pose[:3]
            action[:3] = np.clip(chase, -0.075, 0.075)
        target = compose(pose, np.clip(action, spec.low, spec.high))
        target[:3] = np.clip(target[:3], driver.limits.workspace_low, driver.limits.workspace_high)
        arm.command(target[:6], target[6], 0.1)
        block = arm.block_position(0)
        assert np.all((block > low) & (block < high)), f"the block is at {block} after {step} steps"
        assert np.all(np.isfinite(arm.data.qpos))


def test_play_is_seeded_and_its_actions_are_differences_of_measured_poses(arm):
    config = PlayConfig(frames=6)
    first, again = (record_episode(arm, config, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.poses, again.poses)
    poses = first.poses.astype(np.float64)
    np.testing.assert_allclose(first.actions, difference(poses[:-1], poses[1:]), atol=1e-5)


def test_every_behaviour_moves_and_pushing_moves_the_block(arm):
    moved = 0
    for seed in range(4):
        episode = record_episode(arm, PlayConfig(frames=17, wander=0, visit=0, push=1), seed)
        moved += np.abs(episode.poses[-1, :3] - episode.poses[0, :3]).max() > 0.02
    assert moved == 4
    for wander, visit in ((1, 0), (0, 1)):
        episode = record_episode(arm, PlayConfig(frames=6, wander=wander, visit=visit, push=0), seed=1)
        assert np.ptp(episode.poses[:, :3], axis=0).max() > 0.005
