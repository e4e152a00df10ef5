"""The critic: what it is trained on, what it learns on a toy, and that it travels with a checkpoint."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from planner.control.controller import Controller, ControllerConfig
from planner.objectives.objective import make_objective
from planner.objectives.objective_config import ActionsLeftConfig, SumConfig, TermConfig
from planner.proposals.config import GoalPolicyConfig
from planner.search.cem import CEM
from tests.small_models import ACTIONS, random_actions, random_state, small_model
from tests.small_training import DATA, make_batches, make_config, make_encoder, run
from world_model.base import LatentState
from world_model.checkpoints.checkpoint import CheckpointError, read_manifest
from world_model.data.batches import WindowBatches, join_batches
from world_model.heads.action_modes import ActionModes
from world_model.heads.goal_policy.config import ArmEnd
from world_model.heads.goal_policy.critic import OPEN, Critic, CriticConfig
from world_model.heads.goal_policy.frame_table import FrameTable
from world_model.heads.goal_policy.goal_policy import GoalPolicy
from world_model.heads.goal_policy.grips import held_frames, lying_places, taking_height
from world_model.heads.goal_policy.sight import Keypoints, Sight
from world_model.heads.goal_policy.training import CriticTrainer, TrainCriticConfig, evenly, train_critic
from world_model.toy import ToyWorldModel
from world_model.training.loop import RunLog
from world_model.vjepa2_ac import load_vjepa2_ac

SHAPE = CriticConfig(
    grid_height=2, grid_width=2, token_width=12, look_width=16, width=32, depth=1, most_actions=6, modes=3
)


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
        data=Path("nowhere"), parent=str(parent), output=output, look_width=8, width=16, depth=1, most_actions=4,
        modes=4, imagined=2, look_steps=4, look_batch=8, judge_steps=5, pairs=16, warmup=2, evaluate_every=4,
        save_every=3,
    )  # fmt: skip
    return replace(config, **changes)


def critic_model() -> Any:
    model = small_model()
    torch.manual_seed(0)
    model.heads["goal_policy"] = Critic(SHAPE).eval()
    return model.requires_grad_(False)


def test_the_table_has_every_frame_as_it_was_recorded(trained: tuple[Path, WindowBatches]) -> None:
    checkpoint, batches = trained
    model = load_vjepa2_ac(checkpoint)
    table = FrameTable(model, batches)
    assert len(table) == sum(batches.lengths)
    for episode in (0, 3, 9):
        rows = np.flatnonzero(table.of([episode]))
        recorded = batches.latents.windows(np.array([episode]), np.array([0]), len(rows))[0].float()
        torch.testing.assert_close(table.tokens(rows), recorded)
        assert list(table.left[rows]) == list(range(len(rows) - 1, -1, -1))
        poses = model.normalise_poses(torch.from_numpy(batches.poses[episode]))
        torch.testing.assert_close(table.poses[rows], poses)
        actions = model.normalise_actions(torch.from_numpy(batches.actions[episode]))
        torch.testing.assert_close(table.actions[rows[:-1]], actions)
    assert not table.moves[table.left == 0].any()


def test_with_a_stride_frames_are_further_apart_and_actions_lead_from_one_to_the_next(
    trained: tuple[Path, WindowBatches],
) -> None:
    checkpoint, batches = trained
    model, batches = load_vjepa2_ac(checkpoint), WindowBatches(DATA, batches.latents, stride=2)
    table = FrameTable(model, batches)
    rows = np.flatnonzero(table.of([2]))
    assert len(rows) == (batches.lengths[2] + 1) // 2
    recorded = batches.latents.windows(np.array([2]), np.array([0]), len(rows), 2)[0].float()
    torch.testing.assert_close(table.tokens(rows), recorded)
    moved = table.poses[rows].diff(dim=0) * model.pose_std
    done = table.actions[rows[:-1]] * model.action_std + model.action_mean
    torch.testing.assert_close(moved[:, :3], done[:, :3], atol=1e-5, rtol=1e-4)


def test_imagined_frames_are_the_models_rollouts_from_just_before(trained: tuple[Path, WindowBatches]) -> None:
    checkpoint, batches = trained
    model = load_vjepa2_ac(checkpoint)
    table = FrameTable(model, batches)
    rows = np.flatnonzero(table.of([4]))[[0, 1, 2, 4]]
    imagined = table.imagined(rows, before=2)
    torch.testing.assert_close(imagined[:2], table.tokens(rows[:2]))  # nothing is recorded two actions earlier
    for row, tokens in zip(rows[2:], imagined[2:], strict=True):
        start = int(row - rows[0]) - 2
        before = batches.latents.windows(np.array([4]), np.array([start]), 1).float()
        pose, actions = (torch.from_numpy(kind[4]) for kind in (batches.poses, batches.actions))
        state = LatentState(before, pose[None, start : start + 1])
        predicted = model.follow(before, actions[None, start : start + 2], pose[None, start : start + 2])
        torch.testing.assert_close(tokens, predicted[0, -1], atol=1e-5, rtol=1e-4)
        first = model.rollout(state, actions[None, start : start + 1]).tokens[0, 0]
        torch.testing.assert_close(first, predicted[0, 0], atol=1e-5, rtol=1e-4)


def test_frames_are_drawn_evenly_however_many_are_alike() -> None:
    parts = np.array([0, 0, 0, 1, 3, 3])  # none in the third
    np.testing.assert_allclose(evenly(parts), [1 / 9, 1 / 9, 1 / 9, 1 / 3, 1 / 6, 1 / 6])
    np.testing.assert_allclose(evenly(parts, few=2), [2 / 15, 2 / 15, 2 / 15, 1 / 5, 1 / 5, 1 / 5])


def test_more_recordings_are_learnt_from_as_more_episodes(trained: tuple[Path, WindowBatches]) -> None:
    checkpoint, batches = trained
    model, more = load_vjepa2_ac(checkpoint), copy.copy(batches)
    more.poses = [poses + 1.0 for poses in batches.poses]
    table, alone = FrameTable(model, join_batches([batches, more])), FrameTable(model, batches)
    assert len(table) == 2 * len(alone)
    rows = np.array([3, len(alone) + 5, len(alone) - 1, 2 * len(alone) - 1])
    torch.testing.assert_close(table.tokens(rows), alone.tokens(rows % len(alone)))
    moved = (table.poses[rows] - alone.poses[rows % len(alone)]) * model.pose_std
    torch.testing.assert_close(moved[:, 0], torch.tensor([0.0, 1.0, 0.0, 1.0]))


def test_episodes_of_one_frame_are_an_error(trained: tuple[Path, WindowBatches], tmp_path: Path) -> None:
    checkpoint, batches = trained
    short = copy.copy(batches)
    short.lengths, short.poses = (1,) * len(batches.lengths), [poses[:1] for poses in batches.poses]
    short.actions = [actions[:1] for actions in batches.actions]
    with pytest.raises(ValueError, match="no training episode has two frames: record longer ones"):
        CriticTrainer(make_critic_config(checkpoint, tmp_path), load_vjepa2_ac(checkpoint), short)


def test_sight_learns_what_lies_where_and_whether_it_is_held() -> None:
    """Of four patches one says that the thing is there, another that it is held."""
    torch.manual_seed(0)
    sight, corners = Sight((2, 2), 12, 2, 3, 16), torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    optimizer, (thing, mark) = torch.optim.Adam(sight.parameters(), 1e-2), torch.randn(2, 12)

    def errors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        where, held = torch.randint(0, 4, (64,)), torch.randint(0, 2, (64,))
        tokens = 0.1 * torch.randn(64, 4, 12)
        tokens[torch.arange(64), where] += thing
        tokens[:, 0] += held[:, None] * mark
        wrong = (sight.held(tokens) > 0) != (held > 0)
        missed = (sight.place(tokens) - corners[where]).abs().mean()
        learnt = missed + binary_cross_entropy_with_logits(sight.held(tokens), held.float())
        assert sight(tokens).shape == (64, sight.size) == (64, 6)
        return missed, wrong.float().mean(), learnt

    for _ in range(200):
        loss = errors()[2]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    missed, wrong, _ = errors()
    assert missed.item() < 0.05 and wrong.item() < 0.05


@pytest.mark.parametrize(("depth", "learns"), [(0, False), (1, True)])
def test_what_lies_on_the_border_of_two_patches_is_seen_with_neighbours(depth: int, learns: bool) -> None:
    """Two halves that lie side by side are one thing, those that do not are none."""
    torch.manual_seed(0)
    points = Keypoints((1, 4), 6, 16, points=1, values=1, depth=depth)
    optimizer, (left, right) = torch.optim.Adam(points.parameters(), 1e-2), torch.randn(2, 6)
    layouts = torch.tensor([[0, 1, 1.0], [1, 2, 1.0], [2, 3, 1.0], [0, 2, 0.0], [0, 3, 0.0], [1, 3, 0.0]])
    tokens = torch.zeros(6, 4, 6)
    for row, (one, other, _) in enumerate(layouts.long().tolist()):
        tokens[row, one], tokens[row, other] = left, right
    for _ in range(300):
        missed = (points(tokens)[:, 0, 0] - layouts[:, 2]).abs().mean()
        optimizer.zero_grad()
        missed.backward()
        optimizer.step()
    assert (missed.item() < 0.05) == learns


def test_a_critic_learns_how_far_a_goal_is_and_the_way_there() -> None:
    """Frames are places 0 .. 5 on a line; an action is the step that gets there in the number of actions given."""
    torch.manual_seed(0)
    critic, looks = Critic(replace(SHAPE, action_size=1)), torch.randn(6, 4, 12)  # read as it learns to compare
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)

    def errors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        here, there = torch.randint(0, 6, (2, 128))
        counts = (there - here).abs()
        given = torch.minimum(counts.clamp_min(1), torch.randint(1, 6, (128,)))
        seen, wanted = critic.sight.thing(looks[here]), critic.sight(looks[there])
        logits, compared = critic.compare(seen, torch.zeros(128, 7), wanted)
        told, steps = critic.pursue(compared, given), ((there - here) / given)[:, None]
        missed = (critic.action_head(told) - steps).abs().mean()
        learnt = cross_entropy(logits, counts) + torch.stack(critic.action_head.errors(told, steps)).sum()
        return (critic.mean_count(logits) - counts).abs().mean(), learnt, missed

    critic.action_head.fit(torch.linspace(-1, 1, 30)[:, None], seed=0)
    for _ in range(300):
        _, loss, _ = errors()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        count_error, _, action_error = errors()
    assert float(count_error) < 0.3 and float(action_error) < 0.3


def test_of_two_ways_round_one_is_taken_and_not_the_mean() -> None:
    torch.manual_seed(0)
    head, x = ActionModes(4, 2, 2), torch.ones(64, 4)
    actions = torch.tensor([[1.0, 0.2], [-1.0, 0.2]]).repeat(32, 1) + 0.01 * torch.randn(64, 2)
    head.fit(actions, seed=0)
    optimizer = torch.optim.Adam(head.parameters(), 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        chosen, missed = head.errors(x, actions)
        (chosen + missed).backward()
        optimizer.step()
    taken = head(x)[0]
    torch.testing.assert_close(taken.abs(), torch.tensor([1.0, 0.2]), atol=0.05, rtol=0)
    with pytest.raises(ValueError, match="1 different recorded actions have no 2 modes: set modes lower"):
        head.fit(actions[:1], seed=0)


def test_of_many_ways_one_is_taken_though_to_stay_is_likelier_than_any() -> None:
    head = ActionModes(1, 2, 3)
    head.centres.copy_(torch.tensor([[0.05, -0.05], [1.0, 0.0], [-1.0, 0.0]]))
    with torch.no_grad():
        for parameter in (head.logits.weight, head.offsets.weight, head.offsets.bias):
            parameter.zero_()
        head.logits.bias.copy_(torch.tensor([0.4, 0.25, 0.35]).log())
    torch.testing.assert_close(head(torch.ones(1, 1)), head.centres[2:])


def test_an_interrupted_run_ends_as_an_unbroken_one_and_its_checkpoint_plans(
    trained: tuple[Path, WindowBatches], tmp_path: Path
) -> None:
    checkpoint, batches = trained
    whole = make_critic_config(checkpoint, tmp_path / "whole")
    train_logged(whole, load_vjepa2_ac(checkpoint), batches)
    broken = make_critic_config(checkpoint, tmp_path / "broken")
    assert train_logged(broken, load_vjepa2_ac(checkpoint), batches, stop_after=4) is None
    manifest = train_logged(broken, load_vjepa2_ac(checkpoint), batches)
    assert manifest is not None
    first, second = (load_vjepa2_ac(config.checkpoint_directory) for config in (whole, broken))
    for one, other in zip(GoalPolicy(first).critic.parameters(), GoalPolicy(second).critic.parameters(), strict=True):
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
    model, goal = critic_model(), random_state(1, seed=3).as_goal()
    predicted = model.rollout(random_state(2), random_actions(3, 2))
    config = SumConfig(terms=(TermConfig(ActionsLeftConfig(), 2.0),))
    objective = make_objective(goal, config, ACTIONS, model)
    costs = objective(predicted, random_actions(3, 2))
    one = LatentState(predicted.tokens[1:2], predicted.poses[1:2])
    torch.testing.assert_close(objective(one, random_actions(1, 2))[0], costs[1])
    torch.testing.assert_close(costs, 2.0 * GoalPolicy(model).count_actions(predicted, goal).mean(1))
    last = make_objective(goal, SumConfig(terms=(TermConfig(ActionsLeftConfig(frames="last"), 2.0),)), ACTIONS, model)
    torch.testing.assert_close(
        last(predicted, random_actions(3, 2)), 2.0 * GoalPolicy(model).count_actions(predicted, goal)[:, -1]
    )


def test_the_goals_pose_does_not_matter_to_the_critic() -> None:
    model, state, goal = critic_model(), random_state(2), random_state(1, seed=3).as_goal()
    elsewhere = replace(goal, pose=random_state(1, seed=3).poses[0, 0] + 1.0)
    torch.testing.assert_close(
        GoalPolicy(model).count_actions(state, goal), GoalPolicy(model).count_actions(state, elsewhere), rtol=0, atol=0
    )


def test_the_goals_pose_matters_to_proposals_that_are_told_it() -> None:
    model, state, goal = critic_model(), random_state(2), random_state(1, seed=3).as_goal()
    elsewhere = replace(goal, pose=random_state(1, seed=3).poses[0, 0] + 1.0)
    read, told = (GoalPolicy(model).propose(state, goal, 1, pose=pose) for pose in ("seen", "told"))
    assert bool((GoalPolicy(model).propose(state, elsewhere, 1) == read).all())
    assert bool((GoalPolicy(model).propose(state, elsewhere, 1, pose="told") != told).any())
    opened = replace(goal, pose=None)
    assert bool((GoalPolicy(model).propose(state, opened, 1) == read).all())
    with pytest.raises(ValueError, match="take the arm to the goal's pose, which is open"):
        GoalPolicy(model).propose(state, opened, 1, pose="told")


def test_a_masked_goal_is_refused_by_a_critic_that_looks_at_all_of_it() -> None:
    goal = replace(random_state(1).as_goal(), mask=torch.ones(4))
    with pytest.raises(ValueError, match="looks at the whole goal image: leave the goal's mask out"):
        make_objective(goal, ActionsLeftConfig(), ACTIONS, critic_model())


def test_where_the_goals_pose_is_open_it_does_not_matter_what_is_seen_of_it() -> None:
    model, state, goal = critic_model(), random_state(2), random_state(1, seed=3).as_goal()
    with pytest.raises(ValueError, match="has not learnt goals whose pose is open: train one with open_goals above 0"):
        Controller(model, CEM(), ACTIONS, ControllerConfig(proposers=(GoalPolicyConfig(pace=0.1, pose="open"),)))
    model.heads["goal_policy"].config = replace(SHAPE, open_goals=True)
    first, seen = GoalPolicy(model).propose(state, goal, 1, pose="open"), GoalPolicy(model).propose(state, goal, 1)
    model.heads["goal_policy"].sight.pose_head[-1].bias += 1.0
    torch.testing.assert_close(GoalPolicy(model).propose(state, goal, 1, pose="open"), first, rtol=0, atol=0)
    assert bool((GoalPolicy(model).propose(state, goal, 1) != seen).any())


def test_where_the_thing_is_kept_it_does_not_matter_where_the_goal_image_has_it() -> None:
    model, state, goal = critic_model(), random_state(2), random_state(1, seed=3).as_goal()
    other = replace(goal, tokens=random_state(1, seed=4).tokens[0, 0])
    kept, seen = (
        [GoalPolicy(model).propose(state, image, 2, pose="told", thing=thing) for image in (goal, other)]
        for thing in ("kept", "seen")
    )
    torch.testing.assert_close(kept[0], kept[1], rtol=0, atol=0)
    assert bool((seen[0] != seen[1]).any())


@pytest.mark.parametrize("pose", ["seen", "told", "open"])
def test_in_bfloat16_proposals_are_nearly_the_same(pose: ArmEnd) -> None:
    model, state, goal = critic_model(), random_state(2), random_state(1, seed=3).as_goal()
    model.heads["goal_policy"] = Critic(replace(SHAPE, open_goals=True)).eval()
    exact = GoalPolicy(model).propose(state, goal, 1, pose=pose)
    model.heads["goal_policy"].to(torch.bfloat16)
    torch.testing.assert_close(GoalPolicy(model).propose(state, goal, 1, pose=pose), exact, atol=0.02, rtol=0.1)


def test_where_the_goals_pose_is_open_nothing_is_left_to_do_once_the_thing_is_there(
    trained: tuple[Path, WindowBatches], tmp_path: Path
) -> None:
    """In every episode the thing comes to its place with the second action, and the arm goes on."""
    checkpoint, batches = trained
    model, table = load_vjepa2_ac(checkpoint), FrameTable(load_vjepa2_ac(checkpoint), batches)
    nth = np.concatenate([np.arange(length) for length in batches.lengths])
    config = make_critic_config(checkpoint, tmp_path, imagined=0, blur=(0.001,) * 4, open_goals=0.5, pairs=256)
    trainer = CriticTrainer(replace(config, learning_rate=1e-2, judge_steps=150, warmup=1), model, batches)
    things = trainer.critic.config.place_size + 1
    trainer._seen = torch.cat([torch.zeros(len(table), things), table.poses], dim=1)[None]
    trainer._seen[0, :, 0] = torch.from_numpy(nth >= 2)
    for step in range(150):
        trainer.step(config.look_steps + step)
    rows = np.flatnonzero((nth == 2) & (table.left >= 3))
    thing, goals = trainer._seen[0, rows, :things], trainer._seen[0, rows + 2]
    open_goals = goals.clone()
    open_goals[:, things:] = OPEN
    with torch.no_grad():
        compared = [trainer.critic.compare(thing, table.poses[rows], wanted)[0] for wanted in (goals, open_goals)]
        left = [trainer.critic.mean_count(logits) for logits in compared]
    assert left[0].mean() > 1.0 > 0.2 > left[1].mean()


def test_proposals_are_within_the_bounds_and_the_first_guess() -> None:
    model, state, goal = critic_model(), random_state(2), random_state(1, seed=3).as_goal()
    actions = GoalPolicy(model).propose(state, goal, 3)
    assert actions.shape == (1, 3, 7)
    assert bool((actions.abs() <= 0.1 + 1e-6).all())
    controller = Controller(model, CEM(), ACTIONS, ControllerConfig(proposers=(GoalPolicyConfig(pace=0.1),)))
    controller._goal, controller._generator = goal, torch.Generator()
    guesses = controller._guesses(state)
    torch.testing.assert_close(guesses[0], GoalPolicy(model).propose(state, goal, 1)[0])
    assert bool((guesses[-1] == 0).all())


def test_a_model_without_a_critic_is_refused_with_what_to_do() -> None:
    goal = random_state(1).as_goal()
    with pytest.raises(ValueError, match=r"no critic: train one with scripts/train_critic.py"):
        make_objective(goal, ActionsLeftConfig(), ACTIONS, small_model())
    with pytest.raises(ValueError, match=r"no critic: train one with"):
        Controller(small_model(), CEM(), ACTIONS, ControllerConfig(proposers=(GoalPolicyConfig(pace=0.1),)))
    with pytest.raises(ValueError, match="ToyWorldModel has no critic"):
        make_objective(goal, ActionsLeftConfig(), ACTIONS, ToyWorldModel())


def test_a_critic_of_another_shape_is_refused() -> None:
    model, other = small_model(), Critic(replace(SHAPE, grid_height=3, grid_width=3))
    with pytest.raises(ValueError, match="tokens a frame of encoder and critic differ: 4 and 9"):
        model.add_head("goal_policy", other)
    with pytest.raises(ValueError, match="a critic's depth must be positive, got 0"):
        replace(SHAPE, depth=0)


def test_a_quick_count_is_a_quantile_of_what_is_under_way() -> None:
    critic = Critic(SHAPE)
    logits = torch.tensor([[0.4, 0.3, 0.1, 0.1, 0.05, 0.03, 0.02]]).log()
    assert [int(critic.quick_count(logits, share)) for share in (0.01, 0.49, 0.51, 0.7, 0.99)] == [1, 1, 2, 3, 6]


def test_it_is_there_already_where_that_is_likelier_than_not() -> None:
    critic = Critic(SHAPE)
    logits = torch.tensor([[0.6, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0]]).log()
    assert int(critic.quick_count(logits, 0.99)) == 0


def test_who_is_there_already_proposes_to_stay() -> None:
    model, state, goal = critic_model(), random_state(2), random_state(1, seed=3).as_goal()
    with torch.no_grad():
        model.heads["goal_policy"].count_head[1].bias[0] = 50.0
    assert bool((GoalPolicy(model).propose(state, goal, 2) == 0).all())
    with torch.no_grad():
        model.heads["goal_policy"].count_head[1].bias[:] = torch.tensor([0.0, 0.0, 50.0, 0.0, 0.0, 0.0, 0.0])
    assert bool((GoalPolicy(model).propose(state, goal, 2) != 0).any())


def test_things_lie_where_they_were_taken_and_let_go_until_a_closed_hand_comes_near() -> None:
    poses = np.zeros((40, 7))
    poses[:, 0] = 20.0 + 0.06 * (np.arange(40.0) - 20.0)
    poses[17:20, 0] = 20.0
    poses[:20, 6], poses[18:20, 6] = 1.0, 0.0
    poses[20:24, 6] = 0.4  # held
    poses[24, 0], poses[24:, 2] = poses[23, 0], 0.1
    poses[30:35, 6] = np.linspace(0.25, 0.65, 5)  # closing on nothing
    poses[35:, 6] = 1.0
    places, known = lying_places(poses, gripper=6)
    # 17: opens beside it; 24 to 29: open and over it; 35 on: closed, but far from it by then
    assert list(np.flatnonzero(known)) == [18, 19, *range(24, 30), *range(35, 40)]
    assert set(places[18:20, 0]) == {20.0} and len(set(places[24:, 0][known[24:]])) == 1
    poses[10:19, 2] = 0.2
    assert lying_places(poses, gripper=6)[1][:20].all()  # over it, it pushes nothing


def test_a_thing_lies_where_the_gripper_began_to_close_and_beside_a_closed_hand_that_goes_away() -> None:
    poses = np.zeros((12, 7))
    poses[:, 6] = [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.4, 0.4, 0.4, 0.4, 0.4]
    poses[:, 0] = [-0.2, -0.09, -0.04, -0.04, -0.04, 0.0, 0.0, 0.05, 0.1, 0.1, 0.1, 0.1]
    poses[4:6, 2] = 0.1  # up, then open and over it
    places, known = lying_places(poses, gripper=6)
    assert list(np.flatnonzero(known)) == [2, 3, 4, 5, 6]  # 1 to 2: it was pushed
    assert set(places[known, 0]) == {0.0}  # and not 0.05: the hand moved while it closed
    poses[4, 2] = 0.0  # the fingers open beside it, and push it
    assert list(np.flatnonzero(lying_places(poses, gripper=6)[1])) == [5, 6]


def test_what_seems_to_be_taken_in_the_air_is_not() -> None:
    low, high = np.zeros((12, 7)), np.zeros((12, 7))
    low[4:8, 6] = high[4:8, 6] = 0.4
    low[:, 2], high[:, 2] = 0.03, 0.2
    highest = taking_height([low, low, high], gripper=6)
    assert highest == pytest.approx(0.06)
    assert lying_places(low, 6, highest)[1].any() and not lying_places(high, 6, highest)[1].any()
    assert held_frames(low, 6, highest)[0].any() and not held_frames(high, 6, highest)[0].any()
    assert taking_height([np.zeros((5, 7))], gripper=6) == np.inf


def test_a_gripper_that_is_stopped_for_two_frames_holds_nothing() -> None:
    poses = np.zeros((10, 7))
    poses[4:6, 6] = 0.4
    assert not lying_places(poses, gripper=6)[1].any()


def test_an_arm_that_never_held_anything_teaches_nothing_about_things() -> None:
    places, known = lying_places(np.zeros((30, 7)), gripper=6)
    assert places.shape == (30, 3) and not known.any()


def test_held_is_where_the_gripper_is_stopped_and_unknown_where_it_stays_half_open_for_a_moment() -> None:
    poses = np.zeros((12, 7))
    poses[:, 6] = [0.0, 0.3, 0.4, 0.4, 0.41, 0.1, 0.0, 0.5, 1.0, 0.95, 0.8, 0.0]
    held, known = held_frames(poses, gripper=6)
    assert list(np.flatnonzero(held)) == [2, 3, 4]
    assert list(np.flatnonzero(~known)) == [1, 7, 10]


def test_a_pace_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="pace must be in"):
        GoalPolicyConfig(pace=0.0)


def test_a_checkpoint_whose_critic_is_missing_is_refused(trained: tuple[Path, WindowBatches], tmp_path: Path) -> None:
    checkpoint, batches = trained
    config = make_critic_config(checkpoint, tmp_path, look_steps=1, judge_steps=1)
    train_logged(config, load_vjepa2_ac(checkpoint), batches)
    (config.checkpoint_directory / "goal_policy.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"goal_policy.safetensors is missing"):
        load_vjepa2_ac(config.checkpoint_directory)
