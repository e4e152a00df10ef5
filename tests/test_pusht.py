"""gym-pusht's Push-T and play in it; needs the extra `benchmarks`."""

import gymnasium
import gymnasium.utils.seeding
import numpy as np
import pytest

from envs.arms.base import as_dict
from envs.tasks import pusht_tasks
from envs.tasks.contract import check_task
from envs.tasks.pusht import LONGEST, PushT
from envs.tasks.pusht_play import Pusher, PushTPlay, Ways, record_pusht_play
from envs.tasks.pusht_tasks import PushTEnv

SIZE = 32


@pytest.fixture(scope="module")
def env():
    pytest.importorskip("gym_pusht", reason="gym-pusht is not installed (extra `benchmarks`)")
    made = gymnasium.make("envs/PushT25-v0", image_size=SIZE, disable_env_checker=True)
    env = made.unwrapped
    assert isinstance(env, PushTEnv)
    yield env
    made.close()


def test_it_is_a_task(env):
    check_task(env, "PushT25-v0")


def test_a_seed_is_a_start_and_a_goal(env):
    (seen, info), other = env.reset(seed=1), env.reset(seed=2)[0]
    again, told = env.reset(seed=1)
    assert np.array_equal(seen["image"], again["image"]) and np.array_equal(seen["pose"], again["pose"])
    assert np.array_equal(info["goals"][0].image, told["goals"][0].image)
    assert not np.array_equal(seen["image"], other["image"])
    assert env.observation_space.contains(as_dict(info["goals"][0]))


def test_the_play_that_a_goal_is_of_leads_to_it(env):
    for seed in range(3):
        env.reset(seed=seed)
        episode, begin = replay(seed)
        pusher = Pusher(env.pusht, None, episode)
        for _ in range(begin):
            env.pusht.command(pusher.action())
        for _ in range(5):
            info = env.step(pusher.action())[-1]
        assert info["success"] and info["distance"] < 1e-6 and info["stages"]["T covered by 95 %"]


def replay(seed: int) -> tuple[int, int]:
    """Returns the episode that a seed's start is of, and how many actions had been done in it."""
    generator = gymnasium.utils.seeding.np_random(seed)[0]
    return int(generator.integers(10_000, 2**31)), int(generator.integers(40 - 5))


def test_success_counts_the_disc_as_the_peers_do(env):
    env.reset(seed=3)
    env._goal = env.pusht.places()
    assert env._tell()["success"]
    env._goal = env.pusht.places() + np.array([15.0, 0.0, 15.0, 0.0, 0.0])  # 21 mm together
    told = env._tell()
    assert not told["success"] and told["stages"]["T"]
    env._goal = env.pusht.places() + np.array([0.0, 0.0, 0.0, 0.0, 2 * np.pi - 0.3])  # turned by 17 degrees
    assert env._tell()["success"]
    env._goal = env.pusht.places() + np.array([0.0, 0.0, 0.0, 0.0, 0.4])
    assert not env._tell()["success"]


def test_the_disc_goes_where_an_action_says(env):
    seen, _ = env.reset(seed=4)
    way = 0.05 * np.sign(0.256 - seen["pose"])  # towards the middle
    after = env.step(way)[0]
    assert np.allclose(after["pose"] - seen["pose"], way, atol=0.006)
    with pytest.raises(ValueError, match="2 finite numbers"):
        env.step(np.array([0.0, np.nan]))


def test_steps_are_whole_actions():
    with pytest.raises(ValueError, match="multiple of 5"):
        PushTEnv(steps=12)


def test_play_pushes_the_t_and_a_seed_is_an_episode(env):
    pusht, moved = PushT(SIZE), []
    for seed in range(4):
        episode = record_pusht_play(pusht, PushTPlay(frames=25), seed)
        end = pusht.block()
        pusht.reset(int(np.random.default_rng(seed).integers(2**31)))
        moved.append(np.linalg.norm(end[:2] - pusht.block()[:2]))
    again = record_pusht_play(pusht, PushTPlay(frames=25), 3)
    assert np.array_equal(again.images, episode.images)
    assert sum(way > 20.0 for way in moved) >= 3
    assert np.abs(episode.actions).max() <= LONGEST + 0.02 and episode.actions.shape == (24, 2)


def test_the_expert_brings_t_and_disc_to_their_places_and_then_plays_on(env, monkeypatch):
    seeds, pusher = [], pusht_tasks.Pusher
    monkeypatch.setattr(pusht_tasks, "Pusher", lambda *given: seeds.append(given[-1]) or pusher(*given))
    for seed in range(2):
        env.reset(seed=seed, options={"practice": True})
        assert not env.step(np.zeros(2))[-1]["success"]
        shown = [action for action in env.finish() if env.pusht.command(action) is None]
        told = env._tell()
        assert told["success"] and told["stages"]["T"] and told["distance"] < 0.015
    assert 0 <= min(seeds) and max(seeds) < 10_000
    assert len(shown) < 60 and np.abs(shown).max() <= LONGEST * 1.5
    steps = env.play(np.random.default_rng(0))
    seen = env.drive(lambda _: next(steps), 5)
    assert len(seen) == 5 and not np.array_equal(seen[-1].pose, seen[0].pose)


def test_what_the_expert_tries_elsewhere_is_what_happens(env):
    env.reset(seed=6)
    tried = PushT(SIZE)
    tried.reset(0)
    contact = next(filter(None, (Ways(env.pusht).contact(np.random.default_rng(each)) for each in range(20))))
    begin, inward = Ways(env.pusht).beside(contact)
    env.pusht.put(np.concatenate([begin, env.pusht.block()]))
    tried.put(env.pusht.places())
    np.testing.assert_allclose(tried.places(), env.pusht.places(), atol=1e-9)
    for simulation in (env.pusht, tried):
        for _ in range(3):
            simulation.command(0.03 * inward)
    np.testing.assert_allclose(tried.places(), env.pusht.places(), atol=0.01)
