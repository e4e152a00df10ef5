"""The critic: what it is trained on, what it learns on a toy, and that it travels with a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from planner.cem import CEM
from planner.controller import Controller, ControllerConfig
from planner.objective import ObjectiveConfig, make_objective
from tests.small_models import ACTIONS, random_actions, random_state, small_model
from tests.small_training import make_batches, make_config, make_encoder, run
from world_model.base import LatentState
from world_model.batches import WindowBatches
from world_model.checkpoint import CheckpointError, load_checkpoint, read_manifest
from world_model.critic import Critic, CriticConfig
from world_model.loop import RunLog
from world_model.toy import ToyWorldModel
from world_model.train_critic import CriticTrainer, Pairs, TrainCriticConfig, train_critic

SHAPE = CriticConfig(tokens=4, token_width=12, width=16, depth=2, heads=2, most_actions=6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WindowBatches]:
    """A checkpoint without a critic and the windows it was trained on."""
    folder = tmp_path_factory.mktemp("critic")
    encoder = make_encoder()
    batches = make_batches(encoder, folder)
    run(make_config(folder / "run"), encoder, batches)
    return folder / "run" / "checkpoint", batches


def make_critic_config(parent: Path, output: Path, **changes: Any) -> TrainCriticConfig:
    config = TrainCriticConfig(
        Path("nowhere"), str(parent), output, width=16, depth=1, heads=2, most_actions=4, imagined=1, steps=8,
        batch=8, warmup=2, evaluate_every=4, evaluate_windows=16, save_every=3,
    )  # fmt: skip
    return replace(config, **changes)


def critic_model() -> Any:
    model = small_model()
    torch.manual_seed(0)
    model.critic = Critic(SHAPE).eval()
    return model.requires_grad_(False)


def test_frames_are_labelled_with_the_actions_left_to_their_goals(trained: tuple[Path, WindowBatches]) -> None:
    checkpoint, batches = trained
    model = load_checkpoint(checkpoint)
    trainer = CriticTrainer(make_critic_config(checkpoint, Path("nowhere"), imagined=2, most_actions=9), model, batches)
    numbers = np.arange(6)
    pairs = trainer.pairs(trainer.windows, numbers, (0, 0))
    episodes, starts = trainer.windows.locate(numbers)
    counts = pairs.counts.unflatten(0, (6, 4)).numpy()
    for row, (episode, start) in enumerate(zip(episodes, starts, strict=True)):
        goal = int(start) + int(counts[row, 0])  # from the window's first frame
        expected = batches.latents.windows(np.array([episode]), np.array([goal]), 1)[0, 0].float()
        torch.testing.assert_close(pairs.goals.unflatten(0, (6, 4))[row, 0], expected)
        assert list(counts[row]) == [counts[row, 0], counts[row, 0] - 1, counts[row, 0] - 2, counts[row, 0] - 2]
        assert goal < batches.lengths[episode]
    last = pairs.tokens.unflatten(0, (6, 4))[:, 3]
    torch.testing.assert_close(last, batches.gather(trainer.windows, numbers).tokens[:, 2].float())


def test_a_critic_learns_how_far_a_goal_is_and_the_way_there(trained: tuple[Path, WindowBatches]) -> None:
    """Frames are places 0 .. 5 on a line, an action is a step of 1 towards the goal."""
    checkpoint, batches = trained
    trainer = CriticTrainer(make_critic_config(checkpoint, Path("nowhere")), load_checkpoint(checkpoint), batches)
    torch.manual_seed(0)
    critic, looks = Critic(replace(SHAPE, action_size=1)), torch.randn(6, 4, 12)
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)

    def draw() -> Pairs:
        here, there = torch.randint(0, 6, (2, 64))
        way = (there - here)[:, None].sign().float()
        return Pairs(looks[here], torch.zeros(64, 7), looks[there], (there - here).abs(), way)

    for _ in range(150):
        count_loss, action_loss = trainer.losses(critic, draw())
        optimizer.zero_grad()
        (count_loss + action_loss).backward()
        optimizer.step()
    pairs = draw()
    with torch.no_grad():
        logits, actions = critic(pairs.tokens, pairs.poses, pairs.goals)
    assert float((critic.mean_count(logits) - pairs.counts).abs().mean()) < 0.3
    assert float((actions - pairs.actions).abs()[pairs.counts > 0].mean()) < 0.3


def test_an_interrupted_run_ends_as_an_unbroken_one_and_its_checkpoint_plans(
    trained: tuple[Path, WindowBatches], tmp_path: Path
) -> None:
    checkpoint, batches = trained
    whole = make_critic_config(checkpoint, tmp_path / "whole")
    train_logged(whole, load_checkpoint(checkpoint), batches)
    broken = make_critic_config(checkpoint, tmp_path / "broken")
    assert train_logged(broken, load_checkpoint(checkpoint), batches, stop_after=4) is None
    manifest = train_logged(broken, load_checkpoint(checkpoint), batches)
    assert manifest is not None
    first, second = (load_checkpoint(config.checkpoint_directory) for config in (whole, broken))
    for one, other in zip(first.require_critic().parameters(), second.require_critic().parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    before, after = read_manifest(checkpoint).files, manifest.files
    assert {name: after[name] for name in before} == before
    assert manifest.training["critic"]["metrics"]["count_error"] > 0


def train_logged(config: TrainCriticConfig, model: Any, batches: WindowBatches, stop_after: int | None = None) -> Any:
    import signal

    with RunLog(config.output) as log:

        def report(step: int, measured: Any) -> None:
            log(step, measured)
            if step + 1 == stop_after:
                signal.raise_signal(signal.SIGINT)

        return train_critic(config, model, batches, report, {"command": "a test"})


def test_the_mean_of_the_low_end_is_below_the_mean_and_above_the_least() -> None:
    critic = Critic(SHAPE)
    logits = torch.tensor([[0.0, 1.0, 2.0, 0.0, 1.0, 0.0, 0.5]])
    shares = logits.softmax(-1)
    mean = (shares * torch.arange(7.0)).sum()
    torch.testing.assert_close(critic.mean_count(logits)[0], mean)
    first, second = float(shares[0, 0]), float(shares[0, 1])
    share = first + 0.5 * second  # all of the lowest bin and half of the next
    low = critic.mean_count(logits, share)[0]
    assert low < mean
    torch.testing.assert_close(low, torch.tensor(0.5 * second / share))


def test_the_objective_judges_each_sample_alone_and_last_looks_at_the_last_frame() -> None:
    model, goal = critic_model(), random_state(1, seed=3)
    predicted = model.rollout(random_state(2), random_actions(3, 2))
    config = ObjectiveConfig(image_weight=0.0, critic_weight=2.0)
    objective = make_objective(goal, config, ACTIONS, model)
    costs = objective(predicted, random_actions(3, 2))
    one = LatentState(predicted.tokens[1:2], predicted.poses[1:2])
    torch.testing.assert_close(objective(one, random_actions(1, 2))[0], costs[1])
    torch.testing.assert_close(costs, 2.0 * model.count_actions(predicted, goal).mean(1))
    last = make_objective(goal, replace(config, frames="last"), ACTIONS, model)
    torch.testing.assert_close(last(predicted, random_actions(3, 2)), 2.0 * model.count_actions(predicted, goal)[:, -1])


def test_the_goals_pose_does_not_matter_to_the_critic() -> None:
    model, state, goal = critic_model(), random_state(2), random_state(1, seed=3)
    elsewhere = LatentState(goal.tokens, goal.poses + 1.0)
    torch.testing.assert_close(model.count_actions(state, goal), model.count_actions(state, elsewhere), rtol=0, atol=0)


def test_proposals_are_within_the_bounds_and_the_first_guess() -> None:
    model, state, goal = critic_model(), random_state(2), random_state(1, seed=3)
    actions = model.propose(state, goal, 3)
    assert actions.shape == (1, 3, 7)
    assert bool((actions.abs() <= 0.1 + 1e-6).all())
    controller = Controller(model, CEM(), ACTIONS, ControllerConfig(propose=True))
    controller._goals = [goal]
    guesses = controller._guesses(state)
    torch.testing.assert_close(guesses[0], model.propose(state, goal, 1)[0])
    assert bool((guesses[-1] == 0).all())


def test_a_model_without_a_critic_is_refused_with_what_to_do() -> None:
    goal = random_state(1)
    with pytest.raises(ValueError, match=r"no critic: train one with scripts/train_critic.py"):
        make_objective(goal, ObjectiveConfig(critic_weight=1.0), ACTIONS, small_model())
    with pytest.raises(ValueError, match=r"no critic: train one with"):
        Controller(small_model(), CEM(), ACTIONS, ControllerConfig(propose=True))
    with pytest.raises(ValueError, match="ToyWorldModel has no critic"):
        make_objective(goal, ObjectiveConfig(critic_weight=1.0), ACTIONS, ToyWorldModel())


def test_a_critic_of_another_shape_is_refused() -> None:
    model = small_model()
    with pytest.raises(ValueError, match="tokens a frame of encoder and critic differ: 4 and 9"):
        type(model)(
            model.encoder, model.predictor, model.action_spec, model.statistics, 1, Critic(replace(SHAPE, tokens=9))
        )
    with pytest.raises(ValueError, match="heads must divide its width"):
        replace(SHAPE, width=15)


def test_a_checkpoint_whose_critic_is_missing_is_refused(trained: tuple[Path, WindowBatches], tmp_path: Path) -> None:
    checkpoint, batches = trained
    config = make_critic_config(checkpoint, tmp_path, steps=2)
    train_logged(config, load_checkpoint(checkpoint), batches)
    (config.checkpoint_directory / "critic.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"critic.safetensors is missing"):
        load_checkpoint(config.checkpoint_directory)
