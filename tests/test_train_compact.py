"""Training of compact world models: the losses, resuming, the bank that goes with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from planner.objectives.objective import GoalDistance
from planner.objectives.objective_config import TemporalDistanceConfig, TransitionEnergyConfig
from planner.objectives.temporal_distance import TemporalDistanceCost
from planner.objectives.transition_energy import TransitionEnergyCost
from planner.proposals.config import InverseDynamicsConfig, RetrievalConfig
from planner.proposals.inverse_dynamics import InverseDynamicsProposer
from planner.proposals.retrieval import Retrieval
from planner.subgoals.generated import Generated, GeneratedConfig
from tests.moving_square import MovingSquare
from tests.small_training import measured_steps
from world_model.base import LatentGoal, LatentState
from world_model.checkpoints.checkpoint import StoredModel
from world_model.compact import CompactModel
from world_model.data.batches import RecordedWindows, join_recorded
from world_model.data.joined import JoinedFrames
from world_model.data.store import build_frames
from world_model.encoders.convolutions_config import ConvolutionsConfig
from world_model.encoders.vjepa2_config import EncoderConfig
from world_model.finite import DivergedError
from world_model.heads.bank import Bank
from world_model.heads.ways import APART, UNRELATED, InverseDynamics, Judge, Judged, TemporalDistance, quick
from world_model.heads.ways_config import InverseDynamicsConfig as WaysConfig
from world_model.heads.ways_config import (
    InverseDynamicsShape,
    JudgeShape,
    MacroDynamicsShape,
    SubgoalGeneratorShape,
    TemporalDistanceShape,
    TransitionEnergyShape,
)
from world_model.heads.ways_config import TemporalDistanceConfig as DistanceConfig
from world_model.load import load_world_model
from world_model.training.compact import (
    CompactTrainer,
    ImageBatches,
    encode_episode,
    jitter_colours,
    train_compact,
)
from world_model.training.compact_config import CompactConfig, DynamicsShape, LatentShape
from world_model.training.heads import HeadsTrainer, train_heads
from world_model.training.heads_config import HeadsConfig
from world_model.training.hindsight import HindsightPairs
from world_model.training.loop import STATE_FILE, Report
from world_model.training.state import StateError, load_state

EPISODES = (6,) * 20
HEADS = ("inverse_dynamics", "temporal_distance", "subgoals", "transition_energy")
JUDGE = JudgeShape(code=8, reader=16, longest=5, width=32, depth=1)


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> ImageBatches:
    data = MovingSquare(EPISODES)
    return ImageBatches(RecordedWindows(data), JoinedFrames([build_frames(data, tmp_path_factory.mktemp("frames"))]))


def make_config(output: Path, **changes: object) -> CompactConfig:
    config = CompactConfig(
        data=Path("nowhere"), output=output, encoder=ConvolutionsConfig(image_size=32, channels=(8, 8, 16)),
        latents=LatentShape(width=12, narrow=8, hidden=32), dynamics=DynamicsShape(width=32, depth=1), steps=12,
        furthest=4, inverse_dynamics=InverseDynamicsShape(JUDGE, modes=6),
        batch=16, warmup=3, save_every=5, evaluate_every=6, evaluate_horizon=3, minimum_rank=0.0, device="cpu",
        precision="fp32", held_out=0.2,
    )  # fmt: skip
    return replace(config, **changes)  # type: ignore[arg-type]


def run(config: CompactConfig, batches: ImageBatches, stop_after: int | None = None) -> list[dict[str, float]]:
    return measured_steps(lambda report: train_compact(config, batches, report, {"command": "made up"}), stop_after)


def test_a_resumed_run_takes_the_steps_of_an_unbroken_one(batches: ImageBatches, tmp_path: Path) -> None:
    whole = run(make_config(tmp_path / "whole"), batches)
    run(make_config(tmp_path / "broken"), batches, stop_after=8)
    rest = run(make_config(tmp_path / "broken"), batches)
    assert len(whole) == 12 and len(rest) == 7  # the state after step 5 was kept
    assert [each["total"] for each in rest] == [each["total"] for each in whole[5:]]
    kept, again = (load_world_model(tmp_path / name / "checkpoint").state_dict() for name in ("whole", "broken"))
    assert all(torch.equal(value, again[name]) for name, value in kept.items())
    with pytest.raises(StateError, match=r"regulariser: 1\.0 then, 2\.0 now"):
        train_compact(make_config(tmp_path / "whole", regulariser=2.0), batches, lambda *_: None, {})


@pytest.mark.parametrize(
    "trunk",
    [
        ConvolutionsConfig(image_size=32, channels=(8, 8, 16)),
        EncoderConfig(image_size=32, patch_size=16, width=12, depth=1, heads=2),
    ],
    ids=["convolutions", "vjepa2"],
)
def test_all_parts_learn_and_predict_better_than_copying(batches: ImageBatches, tmp_path: Path, trunk: object) -> None:
    trainer = CompactTrainer(make_config(tmp_path, encoder=trunk, steps=100, rollout_steps=2), batches)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    measured = [trainer.step(step) for step in range(100)]
    assert all((value != before[name]).any() for name, value in trainer.model.named_parameters())
    assert measured[-1]["regulariser"] < 0.5 * measured[0]["regulariser"]
    errors = trainer.evaluate()
    assert errors["rollout_1"] < errors["rollout_copy_1"] and errors["rank"] > 2
    assert errors["rollout_3"] < errors["rollout_shuffled_3"]


def test_latents_that_collapse_end_the_run_with_what_to_do(batches: ImageBatches, tmp_path: Path) -> None:
    config = make_config(tmp_path, regulariser=0.0, minimum_rank=11.9)
    with pytest.raises(DivergedError, match=r"collapsed: their effective rank is .* raise regulariser"):
        train_compact(config, batches, lambda *_: None, {})
    state = load_state(config.output / STATE_FILE)
    assert state is None or state["step"] < config.evaluate_every  # what collapsed is not gone on with


def test_frames_of_several_datasets_are_read_in_a_row(tmp_path: Path) -> None:
    datasets = MovingSquare((6,) * 3), MovingSquare((6,) * 2)
    frames = JoinedFrames([build_frames(data, tmp_path / f"{index}") for index, data in enumerate(datasets)])
    assert frames.lengths == (6,) * 5
    episodes, starts = np.array([4, 0, 3, 2]), np.array([1, 0, 2, 3])
    read = frames.windows(episodes, starts, 2, stride=2)
    for row, episode, start in zip(read, episodes, starts, strict=True):
        images = datasets[episode // 3][episode - 3 * (episode // 3)].images
        assert (row == images[start : start + 3 : 2]).all()


def test_a_run_goes_on_from_a_checkpoint_of_its_shape(batches: ImageBatches, tmp_path: Path) -> None:
    run(make_config(tmp_path / "first", bank_frames=50), batches)
    parent = str(tmp_path / "first" / "checkpoint")
    trainer = CompactTrainer(make_config(tmp_path, parent=parent), batches)
    before = load_world_model(parent)
    kept = {name: value for name, value in before.state_dict().items() if not name.startswith("heads")}
    assert all(torch.equal(value, kept[name]) for name, value in trainer.model.state_dict().items())
    trainer.step(5)
    assert all((value != kept[name]).any() for name, value in trainer.model.named_parameters())
    with pytest.raises(ValueError, match=r"has the dynamics .* set it alike"):
        CompactTrainer(make_config(tmp_path, parent=parent, dynamics=DynamicsShape(width=16, depth=1)), batches)


@pytest.mark.parametrize("pooling", ["grid", "attentive"])
def test_wider_latents_go_on_from_narrow_ones(
    pooling: Literal["grid", "attentive"], batches: ImageBatches, tmp_path: Path
) -> None:
    shape = replace(make_config(tmp_path).latents, latents=2, width=6, pooling=pooling, heads=1)
    run(make_config(tmp_path / "first", latents=shape), batches)
    parent = str(tmp_path / "first" / "checkpoint")
    before = load_world_model(parent)
    assert isinstance(before, CompactModel)
    config = make_config(tmp_path / "second", parent=parent, latents=replace(shape, width=9))
    trainer = CompactTrainer(config, batches)
    wide = trainer.model.eval()
    pixels = torch.rand(5, 3, wide.image_size, wide.image_size) * 2 - 1
    poses, actions = torch.randn(2, 5, 2)
    narrow, latents = before.latents(pixels), wide.latents(pixels)
    torch.testing.assert_close(latents[..., :6], narrow)
    assert (latents[..., 6:].std(0) > 0).all()
    predicted = wide.predict(latents.flatten(1), poses, actions).view(5, 2, 9)
    torch.testing.assert_close(predicted[..., :6].flatten(1), before.predict(narrow.flatten(1), poses, actions))
    torch.testing.assert_close(predicted[..., 6:], latents[..., 6:])
    trainer.model.train()
    trainer.step(5)
    assert (trainer.model.state_dict()["dynamics.leave.1.weight"].view(2, 9, -1)[:, 6:] != 0).any()
    with pytest.raises(ValueError, match=r"has the readout .*'width': 6.* set it alike"):
        CompactTrainer(make_config(tmp_path, parent=parent, latents=replace(shape, width=5)), batches)


def test_colours_change_and_what_is_grey_stays_grey() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(6, 3, 4, 4, generator=generator) * 2 - 1
    assert jitter_colours(pixels, 0.0, generator) is pixels
    changed = jitter_colours(pixels, 0.6, generator)
    assert ((changed - pixels).abs().amax((1, 2, 3)) > 0.1).all()
    grey = jitter_colours(pixels[:, :1].expand(-1, 3, -1, -1), 0.6, generator)
    torch.testing.assert_close(grey.amax(1), grey.amin(1))
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(200, 3, 1, 1)
    strongest = jitter_colours(red, 0.9, generator).flatten(1).argmax(1)
    assert strongest.unique().tolist() == [0, 1, 2]  # hues turn


def test_colours_change_only_once_objects_are_found(batches: ImageBatches, tmp_path: Path) -> None:
    plain, jittered = (CompactTrainer(make_config(tmp_path, jitter=jitter), batches) for jitter in (0.0, 0.9))
    differ = []
    for step in (0, 2, 3, 5):  # of 12, a quarter of them without
        batch = batches.gather(plain.windows, np.arange(16), np.full(16, 2))
        differ.append([trainer.losses(batch, step).prediction.item() for trainer in (plain, jittered)])
    assert [one == other for one, other in differ] == [True, True, False, False]


def test_the_bank_gives_what_led_from_here_to_the_goal(batches: ImageBatches, tmp_path: Path) -> None:
    run(make_config(tmp_path / "run", bank_frames=10_000), batches)
    model = load_world_model(tmp_path / "run/checkpoint", precision="bf16")
    bank = model.heads["bank"]
    assert isinstance(model, CompactModel) and isinstance(bank, Bank)
    assert bank.codes.dtype == torch.int8 and bank.config.frames == 16 * 6  # the training episodes
    latents, actions = bank.latents, bank.actions
    found = bank.leading(latents, latents[9], count=30, longest=5)
    assert found.frames[:3].sort().values.tolist() == [6, 7, 8] and (found.distances[:3] < 1e-6).all()
    assert (found.distances.diff() >= 0).all() and len(found.frames) == 30
    spec = replace(model.action_spec, low=(-9.0, -9.0), high=(9.0, 9.0))
    proposer = Retrieval(RetrievalConfig(longest=5, leading=3, neighbours=3), model, spec)
    state, goal = LatentState(latents[6].view(1, 1, 1, -1), torch.zeros(1, 1, 2)), LatentGoal(latents[9:10])
    ways = proposer.propose(state, goal, 4, 40, torch.Generator().manual_seed(0))
    assert ways.shape == (40, 4, 2)
    assert torch.equal(ways[0, 0], actions[6])  # the nearest; the others draw among the three
    assert {tuple(each) for each in ways.flatten(0, 1).tolist()} == {tuple(each) for each in actions[6:9].tolist()}


def test_no_stretch_of_the_bank_leaves_its_episode() -> None:
    latents = [torch.tensor([[0.0], [1.0]]), torch.tensor([[5.0], [6.0], [7.0]])]
    bank = Bank.of(latents, [torch.tensor([[1.0]]), torch.tensor([[2.0], [3.0]])])
    found = bank.leading(bank.latents, torch.tensor([5.0]), count=9, longest=9)
    assert sorted(found.frames.tolist()) == [0, 2, 3]  # the last frame of an episode begins none
    assert found.distances[found.frames == 0].tolist() == [pytest.approx(16.0, rel=0.05)]  # ends at 1, not at 5
    with pytest.raises(ValueError, match=r"the bank's 5 frames are compared by keys"):
        bank.leading(bank.latents, torch.zeros(2), 1, 1)


def test_a_model_without_a_bank_says_so(batches: ImageBatches, tmp_path: Path) -> None:
    run(make_config(tmp_path / "run"), batches)
    model = load_world_model(tmp_path / "run/checkpoint")
    with pytest.raises(ValueError, match="no bank of recordings: train one with bank_frames over 0"):
        Retrieval(RetrievalConfig(), model, model.action_spec)


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    for changes, message in {
        ("frames", 3): "a window of 3 frames has no 3 predictions fed back",
        ("batch", 8): "batch must be at least 16",
        ("regulariser", -1.0): "regulariser must be at least 0",
        ("steps", 0): "steps must be positive",
        ("jitter", 1.0): "jitter must be at least 0 and under 1",
        ("jitter_from", 0.6): "jitter_from must be in 0..0.5",
    }.items():
        with pytest.raises(ValueError, match=message):
            make_config(tmp_path, **dict([changes]))


def make_heads_config(parent: Path, output: Path, **changes: object) -> HeadsConfig:
    config = HeadsConfig(
        parent=str(parent), data=Path("nowhere"), output=output, steps=40, batch=64, warmup=5, save_every=10,
        evaluate_every=20, furthest=4, held_out=0.2, device="cpu", rollout_steps=3, rollouts=32, precision="fp32",
        inverse_dynamics=InverseDynamicsShape(JUDGE, modes=6),
        temporal_distance=TemporalDistanceShape(JUDGE), subgoals=SubgoalGeneratorShape(JUDGE, width=32, depth=1),
        transition_energy=TransitionEnergyShape(JUDGE), contrasted=48,
        macros=MacroDynamicsShape(actions=2, numbers=2, encoder=8, width=32, depth=1),
        learn=("dynamics", "inverse_dynamics", "temporal_distance", "subgoals", "transition_energy", "macros"),
    )  # fmt: skip
    return replace(config, **changes)  # type: ignore[arg-type]


def test_heads_learn_the_way_to_a_goal_and_go_on_where_they_stopped(batches: ImageBatches, tmp_path: Path) -> None:
    run(make_config(tmp_path / "run", steps=100, bank_frames=10_000), batches)
    parent = tmp_path / "run/checkpoint"

    def train(config: HeadsConfig, report: Report = lambda *_: None) -> None:
        model = load_world_model(config.parent)
        assert isinstance(model, CompactModel)
        latents = [encode_episode(model, batches.frames, episode, 6) for episode in range(20)]
        assert train_heads(config, model, latents, batches.recorded, "made up", report, {}) is not None

    def stop(step: int, measured: object) -> None:
        if step == 25:
            raise KeyboardInterrupt

    measured: dict[int, dict[str, float]] = {}
    train(
        make_heads_config(parent, tmp_path / "whole", steps=200),
        lambda step, each: measured.update({step: {**each}}),
    )
    assert measured[199]["ways"] < 0.8 * measured[0]["ways"]
    assert measured[199]["held_out/offset"] < measured[19]["held_out/offset"]
    assert measured[199]["held_out/flow"] < measured[19]["held_out/flow"]
    assert 0 <= measured[199]["held_out/mistaken"] < measured[19]["held_out/mistaken"]
    assert measured[199]["energy"] < 0.9 * measured[0]["energy"]
    assert measured[199]["held_out/contrast"] > 0 and 0 <= measured[199]["held_out/told"] <= 1
    assert measured[199]["distance"] < 0.8 * measured[0]["distance"]
    assert measured[199]["held_out/macro"] < 0.8 * measured[199]["held_out/macro_copy"]
    assert measured[199]["held_out/rollout"] < measured[19]["held_out/rollout"]
    assert measured[199]["held_out/rollout"] < 0.7 * measured[199]["held_out/rollout_copy"]
    with pytest.raises(KeyboardInterrupt):
        train(make_heads_config(parent, tmp_path / "broken", steps=40), stop)
    train(make_heads_config(parent, tmp_path / "broken", steps=40))
    train(make_heads_config(parent, tmp_path / "unbroken", steps=40))
    again, whole = (load_world_model(tmp_path / name / "checkpoint") for name in ("broken", "unbroken"))
    first = load_world_model(parent).state_dict()
    assert (whole.state_dict()["dynamics.enter.weight"] != first["dynamics.enter.weight"]).any()
    assert torch.equal(whole.state_dict()["readout.head.0.weight"], first["readout.head.0.weight"])
    learnt = {"inverse_dynamics", "temporal_distance", "subgoal_generator", "transition_energy", "macro_dynamics"}
    assert set(whole.heads) == {"bank", *learnt}
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())
    check_plans(load_world_model(tmp_path / "whole/checkpoint", precision="bf16"))
    train(make_heads_config(tmp_path / "whole/checkpoint", tmp_path / "tried", learn=("dynamics",)))
    tried, kept = (load_world_model(tmp_path / name / "checkpoint").state_dict() for name in ("tried", "whole"))
    changed = {name.split(".")[0] for name, value in kept.items() if not torch.equal(value, tried[name])}
    assert changed == {"dynamics"}
    check_heads_begin_with_what_is_known(batches, tmp_path / "whole/checkpoint")
    check_retrieval(load_world_model(tmp_path / "whole/checkpoint"))


def check_heads_begin_with_what_is_known(batches: ImageBatches, parent: Path) -> None:
    """With the parent's of the same shape, or with how its inverse dynamics compare, or with nothing."""
    model = load_world_model(parent)
    assert isinstance(model, CompactModel)
    latents = [encode_episode(model, batches.frames, episode, 6) for episode in range(20)]
    same = make_heads_config(parent, parent.parent / "subgoals", learn=("subgoals",))
    wider = replace(same, subgoals=replace(same.subgoals, width=48))
    other = replace(same, subgoals=replace(same.subgoals, judge=replace(JUDGE, width=16)))
    heads = {
        name: model.heads[name].state_dict()["judge.read.0.weight"]
        for name in ("subgoal_generator", "inverse_dynamics")
    }
    for config, known in ((same, "subgoal_generator"), (wider, "inverse_dynamics"), (other, None)):
        begun = HeadsTrainer(config, model, latents, batches.recorded).heads["subgoal_generator"].state_dict()
        found = [name for name, read in heads.items() if torch.equal(begun["judge.read.0.weight"], read)]
        assert found == [known] * (known is not None)
    for shape, known in ((JUDGE, "transition_energy"), (replace(JUDGE, dropout=0.2), None)):
        config = replace(same, learn=("transition_energy",), transition_energy=TransitionEnergyShape(shape))
        begun = HeadsTrainer(config, model, latents, batches.recorded).heads["transition_energy"].state_dict()
        theirs = model.heads["transition_energy"].state_dict()
        assert torch.equal(begun["before.weight"], theirs["before.weight"]) == (known is not None)
    model.action_spec = replace(model.action_spec, low=(-0.1, 0.0), high=(0.1, 0.0))
    held = HeadsTrainer(replace(same, learn=tuple(HEADS)), model, latents, batches.recorded).heads
    for head in held.values():
        judges = [part for part in head.modules() if isinstance(part, Judge)]
        assert judges and all(judge.used.tolist() == [1, 0] for judge in judges)
    inverse = held["inverse_dynamics"]
    assert isinstance(inverse, InverseDynamics) and inverse.free.tolist() == [1, 0]
    assert not inverse.first.centres[:, 1].any() and inverse.first.centres[:, 0].any()
    model.action_spec = replace(model.action_spec, low=(-0.1, -0.1), high=(0.1, 0.1))
    for name in ("inverse_dynamics", "temporal_distance"):
        trainer = HeadsTrainer(replace(same, learn=(name,)), model, latents, batches.recorded)
        begun, theirs = (each.heads[name].state_dict() for each in (trainer, model))
        assert all(torch.equal(value, theirs[key]) for key, value in begun.items())


def check_retrieval(model: StoredModel) -> None:
    """Stored frames are found by what the inverse dynamics read from them."""
    bank, inverse = model.heads["bank"], model.heads["inverse_dynamics"]
    assert isinstance(bank, Bank) and isinstance(inverse, InverseDynamics)
    proposer = Retrieval(RetrievalConfig(longest=5), model, model.action_spec)
    state = LatentState(bank.latents[6].view(1, 1, 1, -1), torch.zeros(1, 1, len(model.statistics.pose_mean)))
    ways = proposer.propose(state, LatentGoal(bank.latents[9:10]), 4, 5, torch.Generator())
    bound = torch.tensor(model.action_spec.high)
    assert torch.allclose(ways[0, 0], bank.actions[6].clamp(-bound, bound)) and len(ways) == 5
    with torch.no_grad():
        for value in inverse.judge.code.parameters():
            value.zero_()
    blind = Retrieval(RetrievalConfig(longest=5), model, model.action_spec)
    assert not torch.equal(blind.propose(state, LatentGoal(bank.latents[9:10]), 4, 5, torch.Generator()), ways)


def check_plans(model: StoredModel) -> None:
    """The heads propose and judge as asked."""
    pose_size, spec = len(model.statistics.pose_mean), model.action_spec
    state, goal = LatentState(torch.randn(1, 1, 1, 12), torch.rand(1, 1, pose_size)), LatentGoal(torch.randn(1, 12))
    proposer = InverseDynamicsProposer(InverseDynamicsConfig(), model, spec)
    ways = proposer.propose(state, goal, 6, 5, torch.Generator().manual_seed(0))
    assert ways.shape == (5, 6, spec.size)
    low, high = torch.tensor(spec.low), torch.tensor(spec.high)
    assert ((ways >= low - 1e-6) & (ways <= high + 1e-6)).all()
    assert torch.equal(ways, proposer.propose(state, goal, 6, 5, torch.Generator().manual_seed(0)))
    alone = proposer.propose(state, goal, 3, 1, torch.Generator().manual_seed(1))
    assert torch.allclose(alone[0], ways[0, :3], atol=1e-5)  # the likeliest is always the first
    assert (ways[1:] - ways[0]).abs().amax() > 1e-4  # the others are drawn
    check_memory(model, state, goal)
    here = LatentGoal(state.tokens[0, -1])
    head = model.heads["inverse_dynamics"]
    assert isinstance(head, InverseDynamics)
    for name, value in head.judge.count.named_parameters():
        if name == "1.bias":
            value[0] += 100.0  # it takes itself for there
    assert not proposer.propose(state, here, 6, 5, torch.Generator()).any()
    cost = TemporalDistanceCost(TemporalDistanceConfig(), goal, spec, model)
    predicted = model.rollout(state, ways)
    costs = cost(predicted, ways)
    assert costs.shape == (5,) and ((costs >= 0) & (costs <= 5)).all()
    every = TemporalDistanceCost(TemporalDistanceConfig(frames="all"), goal, spec, model)
    assert not torch.equal(every(predicted, ways), costs)
    energies = TransitionEnergyCost(TransitionEnergyConfig(), goal, spec, model)(replace(predicted, start=state), ways)
    assert energies.shape == (5,) and energies.isfinite().all() and not torch.equal(energies, costs)
    subgoals = Generated(GeneratedConfig(), model, spec, GoalDistance)
    subgoals.reset([goal])
    found = subgoals.next(state, torch.Generator())
    assert found is not None and found.tokens.shape == goal.tokens.shape and found.tokens.isfinite().all()
    check_doubts(model, state, here)


def check_memory(model: StoredModel, state: LatentState, goal: LatentGoal) -> None:
    """Earlier frames say how far a way is, and nothing where all is forgotten."""
    past = LatentState(torch.randn(1, 3, *state.tokens.shape[2:]), torch.rand(1, 3, state.poses.shape[2]))
    longer = LatentState(torch.cat([past.tokens, state.tokens], 1), torch.cat([past.poses, state.poses], 1))
    assert model.context > 1
    unbounded = replace(model.action_spec, low=(-9.0,) * model.action_spec.size, high=(9.0,) * model.action_spec.size)
    for forget in (0.01, 1.0):
        proposer = InverseDynamicsProposer(InverseDynamicsConfig(forget=forget, pace=0.5), model, unbounded)
        ways, once = (proposer.propose(each, goal, 2, 5, torch.Generator().manual_seed(0)) for each in (longer, state))
        assert ways.shape == once.shape and torch.allclose(ways, once, atol=1e-3) == (forget == 1.0)
        energy = TransitionEnergyCost(TransitionEnergyConfig(forget=forget), goal, model.action_spec, model)
        predicted = model.rollout(state, ways)
        costs, alone = (energy(replace(predicted, start=each), ways) for each in (longer, state))
        assert costs.shape == (5,) and costs.isfinite().all()
        assert forget < 1.0 or torch.allclose(costs, alone, atol=1e-4)


def check_doubts(model: StoredModel, state: LatentState, here: LatentGoal) -> None:
    """Inverse dynamics that take themselves for there go on where the distance knows better, and stop where it does."""
    distance = model.heads["temporal_distance"]
    assert isinstance(distance, TemporalDistance)
    config = InverseDynamicsConfig(doubt=4.0)
    for count, moves in ((-1, True), (0, False)):
        for name, value in distance.named_parameters():
            if name.endswith("count.1.bias"):
                value[count] += 1000.0 if moves else 2000.0
        proposer = InverseDynamicsProposer(config, model, model.action_spec)
        assert proposer.propose(state, here, 1, 5, torch.Generator()).any() == moves
    del model.heads["temporal_distance"]
    with pytest.raises(ValueError, match="set doubt to null"):
        InverseDynamicsProposer(config, model, model.action_spec)


def test_a_model_without_heads_says_so(batches: ImageBatches, tmp_path: Path) -> None:
    run(make_config(tmp_path / "run"), batches)
    model = load_world_model(tmp_path / "run/checkpoint")
    goal = LatentGoal(torch.zeros(1, 12))
    with pytest.raises(ValueError, match="no inverse dynamics: train them with"):
        InverseDynamicsProposer(InverseDynamicsConfig(), model, model.action_spec)
    with pytest.raises(ValueError, match="no temporal distance: train one with"):
        TemporalDistanceCost(TemporalDistanceConfig(), goal, model.action_spec, model)


def test_what_recordings_hold_fixed_tells_nothing_and_is_never_moved() -> None:
    torch.manual_seed(0)
    head = InverseDynamics(WaysConfig(6, 3, 3, InverseDynamicsShape(JUDGE, modes=4))).eval()
    actions = torch.randn(200, 3)
    held = torch.tensor([1.0, 1.0, 0.0])
    head.restrict(held, held)
    head.fit(actions, seed=0)
    now, goal, poses = torch.randn(5, 6), torch.randn(5, 6), torch.randn(5, 3)
    turned, lifted = (poses + torch.eye(3)[axis] for axis in (2, 0))
    judged = head.judge(now, goal, poses)
    assert torch.equal(judged.logits, head.judge(now, goal, turned).logits)
    assert not torch.equal(judged.logits, head.judge(now, goal, lifted).logits)
    assert not judged.poses[..., 2].any() and not head.first.centres[:, 2].any()


def test_the_first_action_to_a_goal_of_another_episode_is_not_asked_for() -> None:
    torch.manual_seed(0)
    head = InverseDynamics(WaysConfig(6, 3, 3, InverseDynamicsShape(JUDGE, modes=4))).eval()
    now, goal, poses, actions = torch.randn(8, 6), torch.randn(8, 6), torch.randn(2, 8, 3), torch.randn(8, 3)
    counts = torch.tensor([1, 2, 3, 4] * 2)
    rest = torch.zeros(3)
    both = head.errors(now, goal, poses, counts.index_fill(0, torch.arange(4, 8), UNRELATED), actions, rest)
    alone = head.errors(now[:4], goal[:4], poses[:, :4], counts[:4], actions[:4], rest)
    assert both.mode.item() == pytest.approx(alone.mode.item()) and both.count.item() != alone.count.item()
    unknown = head.errors(now, goal, poses, torch.full_like(counts, UNRELATED), actions, rest)
    assert unknown.mode == unknown.offset == 0 and unknown.count > 0
    pausing = head.errors(now, goal, poses, counts, actions[:1].expand(8, -1), actions[0])
    assert pausing.mode == pausing.offset == 0


def test_another_episodes_goal_is_not_near_and_nothing_more_is_learnt_of_how_far_it_is() -> None:
    torch.manual_seed(0)
    judge = Judge(6, 3, replace(JUDGE, longest=8)).eval()
    now, goal, poses = torch.randn(5, 6), torch.randn(5, 6), torch.randn(2, 5, 3)
    loss, _, _ = judge.errors(now, goal, poses, torch.full((5,), UNRELATED))
    likely = judge(now, goal, poses[0]).logits.softmax(-1)
    torch.testing.assert_close(loss, -likely[:, APART:].sum(1).log().mean())
    counted, _, _ = judge.errors(now, goal, poses, torch.tensor([0, 3, 4, 8, 11]))
    torch.testing.assert_close(counted, -likely[torch.arange(5), [0, 3, 4, 8, 8]].log().mean())


def test_a_frame_is_read_as_the_goal_that_it_is_while_training() -> None:
    torch.manual_seed(0)
    judge = Judge(6, 3, replace(JUDGE, dropout=0.5)).train()
    now = torch.randn(32, 6)
    poses = judge(now, now, None).poses
    assert torch.equal(poses[0], poses[1]) and not torch.equal(poses, judge(now, now, None).poses)


def test_goals_of_other_episodes_are_of_others_and_two_thirds_of_them_alike(
    batches: ImageBatches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("world_model.training.hindsight._NEAREST", 9)  # of 78 frames
    run(make_config(tmp_path / "run"), batches)
    model = load_world_model(tmp_path / "run/checkpoint")
    assert isinstance(model, CompactModel)
    monkeypatch.setattr(model, "predict", lambda latents, poses, actions: latents)  # nothing moves but the hand
    latents = [torch.full((6, 12), float(episode)) for episode in range(20)]
    drawn = HindsightPairs(model, latents, batches.recorded, [3, *range(8, 20)], furthest=4)
    pairs = drawn.draw(200, np.random.default_rng(0))
    far = drawn.unrelated(pairs, 200, np.random.default_rng(1))
    assert (far.now[:, 0] == far.episodes).all() and (far.goals[:, 0] != far.episodes).all()
    assert (far.counts == UNRELATED).all() and set(far.goals[:, 0].int().tolist()) == {3, *range(8, 20)}
    anywhere, alike, there = ((far.poses[1] - far.poses[0]).norm(dim=1)[kind::3].median() for kind in range(3))
    assert max(alike, there) < 0.5 * anywhere
    _, alike, there = ((far.goals[:, 0] - far.now[:, 0])[kind::3].square().median() for kind in range(3))
    assert there < 0.5 * alike  # of the nearest poses, what looks more like the frame
    frames = np.flatnonzero(drawn.left >= 3)
    pairs = drawn.pairs(frames, np.full_like(frames, 3))
    far = drawn.unrelated(pairs, 30, np.random.default_rng(1))
    row = (far.poses[0][:, None] - pairs.poses[0]).norm(dim=2).argmin(1)  # which each is of
    short, long = ((far.poses[1] - pairs.poses[side, row]).norm(dim=1)[2::3].median() for side in (1, 0))
    assert short < 0.7 * long  # the third kind is where the near goal has the hand, three actions on
    same = HindsightPairs(model, [0.1 * each for each in latents], batches.recorded, [8, 9, 15], furthest=4)
    far = same.unrelated(same.draw(200, np.random.default_rng(0)), 200, np.random.default_rng(1))
    assert ((far.goals - far.now).abs() > 0.3).all()  # the neighbour's frames look the same
    alone = HindsightPairs(model, latents, batches.recorded, [3], furthest=4)
    assert not len(alone.unrelated(alone.draw(10, np.random.default_rng(0)), 10, np.random.default_rng(1)).now)


def test_what_was_done_in_like_poses_is_of_other_episodes_and_goes_on_as_recorded(
    batches: ImageBatches, tmp_path: Path
) -> None:
    run(make_config(tmp_path / "run"), batches)
    model = load_world_model(tmp_path / "run/checkpoint")
    assert isinstance(model, CompactModel)
    latents = [torch.zeros(len(poses), 12) for poses in batches.recorded.poses]
    drawn = HindsightPairs(model, latents, batches.recorded, range(len(latents)), furthest=4, first=2)
    pairs = drawn.draw(100, np.random.default_rng(0))
    done = drawn.alike(pairs.poses[0], pairs.episodes, np.random.default_rng(1))
    assert done.shape == (100, 3, 2, pairs.actions.shape[2])
    recorded = [torch.from_numpy(actions).to(done) for actions in batches.recorded.actions]
    for row, episode in zip(done, pairs.episodes.tolist(), strict=True):
        for way in row:
            found = [index for index, actions in enumerate(recorded) if (actions == way[0]).all(1).any()]
            assert found and episode not in found
            [frame] = (recorded[found[0]] == way[0]).all(1).nonzero()[:1, 0].tolist()
            assert torch.equal(way[1], recorded[found[0]][min(frame + 1, len(recorded[found[0]]) - 1)])


def test_how_far_a_gripper_is_closed_is_read_from_the_frame() -> None:
    torch.manual_seed(0)
    head = InverseDynamics(WaysConfig(6, 3, 3, InverseDynamicsShape(JUDGE, modes=4))).eval()
    head.restrict(torch.ones(3), torch.ones(3), 2)
    head.fit(torch.randn(200, 3), seed=0)
    now, goal, poses = torch.randn(5, 6), torch.randn(5, 6), torch.randn(5, 3)
    judged, closed = (head.judge(now, goal, each) for each in (poses, poses + torch.eye(3)[2]))
    assert torch.equal(judged.logits, closed.logits) and judged.poses[..., 2].any()


def test_the_quickest_of_several_ways_is_expected_sooner_than_one() -> None:
    head = TemporalDistance(DistanceConfig(6, 3, TemporalDistanceShape(JUDGE, members=1)))
    shares = torch.tensor([[0.1, 0.2, 0.0, 0.3, 0.4, 0.0]])
    head.members[0].forward = lambda *_: Judged(shares.log(), shares, shares)  # type: ignore[method-assign]
    nothing = torch.zeros(1, 6)
    assert head.actions(nothing, nothing, nothing).item() == pytest.approx(0.2 + 0.9 + 1.6)
    drawn = torch.multinomial(shares[0], 80_000, replacement=True).view(-1, 4).amin(1).float().mean().item()
    assert head.actions(nothing, nothing, nothing, quickest_of=4).item() == pytest.approx(drawn, abs=0.05)


def test_a_quick_way_is_shorter_than_a_usual_one_and_there_is_there() -> None:
    shares = torch.tensor([[0.1, 0.05, 0.25, 0.3, 0.2, 0.1], [0.6, 0.4, 0.0, 0.0, 0.0, 0.0]])
    assert quick(shares.log(), pace=0.05).tolist() == [1, 0]
    assert quick(shares.log(), pace=0.5).tolist() == [3, 0]
    assert quick(shares.log(), pace=1.0).tolist() == [5, 0]


def test_recordings_in_a_row_are_those_of_each() -> None:
    parts = [RecordedWindows(MovingSquare((6,) * 2, seed=seed)) for seed in (0, 1)]
    joined = join_recorded(parts)
    assert joined.lengths == (6,) * 4 and np.array_equal(joined.poses[2], parts[1].poses[0])
    assert len(parts[0].poses) == 2
    other = MovingSquare((6,), spec=replace(MovingSquare((6,)).spec, names=("y", "x")))
    with pytest.raises(ValueError, match="y"):
        join_recorded([parts[0], RecordedWindows(other)])


def test_what_bounds_hold_is_no_motion_unless_other_recordings_move_it() -> None:
    spec = MovingSquare((6,)).spec
    held = MovingSquare((6,), spec=replace(spec, low=(spec.low[0], 0.0), high=(spec.high[0], 0.0)))
    moving = MovingSquare((6,), seed=1)
    still = RecordedWindows(held)
    assert held.poses_actions(0)[1][:, 1].any() and not still.actions[0][:, 1].any()
    for parts in ((held, moving), (moving, held)):
        joined = join_recorded([RecordedWindows(part) for part in parts])
        assert (joined.action_spec.low, joined.action_spec.high) == (spec.low, spec.high)
