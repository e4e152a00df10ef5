"""What is not a number is neither learnt, saved, loaded nor acted on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.arms.remote.client import PlanClient, ServerError
from envs.arms.remote.listen import ListenConfig
from envs.spec import Goal, Observation, SpecError
from planner.control.controller import Controller, ControllerConfig
from planner.control.plan_thread import PlanError, first_action
from planner.no_plan import NoPlanError
from planner.search.cem import CEMConfig
from planner.search.first_guess import FirstGuessConfig
from planner.search.gradient import GradientConfig
from planner.search.hybrid import HybridConfig
from planner.search.icem import ICEMConfig
from planner.search.mppi import MPPIConfig
from planner.search.official_cem import OfficialCEMConfig
from planner.search.planner_config import PlannerConfig, make_planner
from planner.search.predictive_sampling import PredictiveSamplingConfig
from planner.serving.server import Offer, PlanServer
from tests.background import running
from tests.moving_square import MovingSquare
from tests.small_models import small_compact, small_model
from tests.small_training import log_of, make_batches, make_config, make_encoder, run
from tests.test_pretrain import make_config as make_pretrain_config
from tests.test_train_compact import make_heads_config
from world_model.base import LatentGoal, LatentState
from world_model.checkpoints.checkpoint import CheckpointError, save_checkpoint
from world_model.checkpoints.weights_file import write_weights
from world_model.compact import CompactModel
from world_model.data.batches import Batch, RecordedWindows, WindowBatches
from world_model.data.latents import build_latents
from world_model.data.store import CacheError, build_frames
from world_model.encoders.folder import load_encoder, save_encoder
from world_model.encoders.vjepa2 import Encoder
from world_model.finite import DivergedError, not_finite, tensors_in
from world_model.predictors.compact import CompactDynamics, DynamicsConfig
from world_model.toy import TOY_ACTION_SPEC, ToyWorldModel
from world_model.training.heads import train_heads
from world_model.training.loop import STATE_FILE
from world_model.training.pretrain import pretrain
from world_model.training.run import run_steps
from world_model.training.run_config import RunConfig
from world_model.training.state import StateError, load_state, save_state
from world_model.vjepa2_ac import load_vjepa2_ac

NAN, INF = float("nan"), float("inf")
START, GOAL = np.array([0.4, 0, 0.3, np.pi, 0, 0, 0]), np.array([0.55, -0.12, 0.2, np.pi, 0, 0, 0.3])


def look(pose: np.ndarray, time: float = 0.0) -> Observation:
    return Observation(np.zeros((8, 8, 3), np.uint8), pose, time)


def want(pose: np.ndarray) -> Goal:
    return Goal(np.zeros((8, 8, 3), np.uint8), pose)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return make_encoder()


@pytest.fixture(scope="module")
def batches(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> WindowBatches:
    return make_batches(encoder, tmp_path_factory.mktemp("latents"))


class Spoilt(WindowBatches):
    """Windows whose tokens are not finite from the n-th time on that they are asked for."""

    def __init__(self, batches: WindowBatches, good: int, value: float = NAN) -> None:
        self.__dict__.update(batches.__dict__)
        self.left, self.value = good, value

    def gather(self, windows: Any, numbers: Any) -> Batch:
        batch = super().gather(windows, numbers)
        self.left -= 1
        if self.left < 0:
            batch.tokens[0, 0, 0, 0] = self.value
        return batch


def assert_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    ours, theirs = dict(tensors_in(one)), dict(tensors_in(other))
    assert ours.keys() == theirs.keys() and len(ours) > 10
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("changes", [{}, {"clip": 0.0}, {"accumulate": 2}, {"average": 0.9}])
def test_training_stops_at_the_first_loss_that_is_not_finite_and_keeps_the_state_before_it(
    changes: dict[str, Any], encoder: Encoder, batches: WindowBatches, tmp_path: Path
) -> None:
    good = make_config(tmp_path / "good", evaluate_every=100, **changes)
    assert run(good, encoder, batches, stop_after=4) is None
    config = make_config(tmp_path / "bad", evaluate_every=100, **changes)
    parts = changes.get("accumulate", 1)
    with pytest.raises(DivergedError, match=r"stopped at step 5 of 12: total is nan.*gradient's norm is nan.*step 4;"):
        run(config, encoder, Spoilt(batches, 5 * parts - 1))  # with two parts the second one is broken
    assert len(log_of(config.output)) == 4 and not config.checkpoint_directory.exists()
    kept, expected = (load_state(folder.output / STATE_FILE) for folder in (config, good))
    assert kept is not None and expected is not None and kept["step"] == 4
    assert_same(kept["trainer"], expected["trainer"])
    assert run(config, encoder, batches) is not None  # with whole data it goes on
    assert len(log_of(config.output)) == 12


def test_a_run_that_diverges_again_says_the_same_and_keeps_its_state(
    encoder: Encoder, batches: WindowBatches, tmp_path: Path
) -> None:
    config = make_config(tmp_path, learning_rate=1e30, save_every=1)
    expected = r"step 2 of 12: .* is as after step 1; .*dataset\.py inspect nowhere.*--learning-rate \(it is 1e\+30\)"
    with pytest.raises(DivergedError, match=expected):
        run(config, encoder, batches)
    before = (tmp_path / STATE_FILE).read_bytes()
    with pytest.raises(DivergedError, match=expected):
        run(config, encoder, batches)
    assert (tmp_path / STATE_FILE).read_bytes() == before
    state = load_state(tmp_path / STATE_FILE)
    assert state is not None and not not_finite(dict(tensors_in(state)))


def test_a_held_out_error_that_is_not_finite_stops_the_training(
    encoder: Encoder, batches: WindowBatches, tmp_path: Path
) -> None:
    config = make_config(tmp_path, save_every=2, evaluate_every=3)
    with pytest.raises(DivergedError, match=r"step 3 of 12: held_out/teacher_forcing is nan.* as after step 2;"):
        run(config, encoder, Spoilt(batches, 3, INF))
    assert len(log_of(tmp_path)) == 2


@dataclass(frozen=True, kw_only=True)
class Settings(RunConfig):
    data: Path = Path("somewhere")
    steps: int = 9
    save_every: int = 3
    learning_rate: float = 0.1


class Counter:
    """A trainer whose one weight counts its steps and becomes infinite in one of them."""

    def __init__(self, breaks: int, noticed: bool = False) -> None:
        self.weight, self.breaks, self.noticed = torch.zeros(1), breaks, noticed

    def step(self, step: int) -> dict[str, float]:
        if self.noticed and not self.weight.isfinite():
            raise DivergedError("loss is nan")
        self.weight += INF if step == self.breaks else 1
        return {"loss": 0.0}

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight = state["weight"]


@pytest.mark.parametrize(("noticed", "why"), [(False, "step 6 of 9: the weights"), (True, "step 6 of 9: loss is nan")])
def test_weights_that_a_finite_step_made_infinite_are_not_kept(noticed: bool, why: str, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=rf"{why}.*is as after step 3;"):
        run_steps(
            Counter(4 if noticed else 5, noticed), Settings(output=tmp_path), (), "data", lambda step, measured: None
        )
    state = load_state(tmp_path / STATE_FILE)
    assert state is not None and state["step"] == 3 and float(state["trainer"]["weight"]) == 3


def test_where_the_first_step_diverges_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"step 2 of 9: loss is nan\. no state was kept"):
        run_steps(Counter(0, noticed=True), Settings(output=tmp_path), (), "data", lambda step, measured: None)
    assert load_state(tmp_path / STATE_FILE) is None


def test_pretraining_stops_before_its_weights_are_poisoned(tmp_path: Path) -> None:
    frames = build_frames(MovingSquare((12,) * 8), tmp_path / "frames")
    config = make_pretrain_config(tmp_path / "run", learning_rate=1e30)
    with pytest.raises(DivergedError, match=r"step 2 of 20: .*no principal directions.* as after step 1;"):
        pretrain(config, frames, lambda step, measured: None)
    state = load_state(config.output / STATE_FILE)
    assert state is not None and state["step"] == 1


def test_training_of_heads_stops_before_their_weights_are_poisoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, recorded = small_compact(), RecordedWindows(MovingSquare((6,) * 20))
    spec, statistics = recorded.action_spec, recorded.statistics(range(20))
    dynamics = CompactDynamics(DynamicsConfig(10, 2, 2, width=8, depth=1))
    model = CompactModel(model.encoder, model.readout, dynamics, spec, statistics).freeze()
    save_checkpoint(tmp_path / "parent", model, training={})
    latents = [torch.randn(6, 10) for _ in range(20)]
    config = make_heads_config(
        tmp_path / "parent", tmp_path / "heads", learn=("inverse_dynamics",), steps=9, save_every=3
    )

    def report(step: int, measured: Mapping[str, float]) -> None:
        if step + 1 == 4:
            broken = torch.tensor(NAN, requires_grad=True)
            monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda *_, **__: broken)

    with pytest.raises(DivergedError, match=r"stopped at step 5 of 9: ways is nan.*4;"):
        train_heads(config, model, latents, recorded, "made up", report, {})
    state = load_state(config.output / STATE_FILE)
    assert state is not None and state["step"] == 4


def test_poses_that_are_not_finite_are_not_learnt_from(batches: WindowBatches) -> None:
    class Broken(MovingSquare):
        def poses_actions(self, episode: int) -> tuple[np.ndarray, np.ndarray]:
            poses, actions = super().poses_actions(episode)
            return poses, np.where(episode == 5, np.float32(INF), actions)

    broken = Broken((6,) * 24)
    with pytest.raises(ValueError, match="episode 5 has poses or actions that are not finite"):
        WindowBatches(broken, batches.latents)


def test_an_encoder_whose_tokens_are_not_finite_fills_no_cache(tmp_path: Path) -> None:
    encoder = make_encoder()
    with torch.no_grad():
        next(encoder.parameters()).view(-1)[0] = INF
    with pytest.raises(CacheError, match="tokens of the images that are not finite"):
        build_latents(MovingSquare((4, 4)), encoder, tmp_path)


def test_a_latent_cache_that_is_not_finite_is_refused_by_its_episode(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Encoder, images: np.ndarray) -> np.ndarray:
        tokens = np.zeros((len(images), encoder.tokens, encoder.width), np.uint16)
        tokens[-1, 0, 0] = 0x7FC0  # a NaN
        return tokens

    monkeypatch.setattr("world_model.data.latents.encode_images", broken)
    with pytest.raises(CacheError, match=r"latents of episode 1 in .* are not finite numbers: delete the folder"):
        build_latents(MovingSquare((4, 4)), encoder, tmp_path)


# Weights


def spoil(module: torch.nn.Module, value: float, number: int = 3) -> str:
    """Puts a number into one of a module's tensors and returns its name."""
    name, parameter = list(module.named_parameters())[number]
    with torch.no_grad():
        parameter.view(-1)[-1] = value
    return name


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("part", ["encoder", "predictor"])
def test_weights_that_are_not_finite_are_not_saved_and_what_is_there_stays(
    value: float, part: str, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "good", small_model(), training={"command": "before"})
    model = small_model()
    spoilt = model.encoder.get_submodule("model") if part == "encoder" else model.predictor
    name = spoil(spoilt, value)
    with pytest.raises(CheckpointError, match=f"not finite are not saved: {name}"):
        save_checkpoint(tmp_path / "good", model, training={})
    assert load_vjepa2_ac(tmp_path / "good") is not None and len(list(tmp_path.iterdir())) == 1


def test_a_number_that_bfloat16_cannot_hold_is_not_saved_as_an_infinity(tmp_path: Path) -> None:
    model = small_model()
    name = spoil(model.predictor, 3.4e38)
    save_checkpoint(tmp_path / "exact", model, training={})
    with pytest.raises(CheckpointError, match=rf"not saved: {name} \(as torch\.bfloat16\)"):
        save_checkpoint(tmp_path / "rounded", model, training={}, weights="bfloat16")


def test_weights_that_are_not_finite_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    names = [spoil(model.predictor, NAN, number) for number in range(9)]
    with monkeypatch.context() as patch:
        patch.setattr("world_model.checkpoints.weights_file.not_finite", lambda _: [])
        save_checkpoint(tmp_path / "bad", model, training={})
    with pytest.raises(CheckpointError, match=rf"predictor\.safetensors: 9 of \d+ tensors.*{sorted(names)[0]}.*4 more"):
        load_vjepa2_ac(tmp_path / "bad")


def test_an_encoder_that_is_not_finite_is_neither_saved_nor_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_encoder()
    save_encoder(encoder, tmp_path / "encoder")
    name = spoil(encoder.model, INF)
    with pytest.raises(CheckpointError, match=f"not saved: {name}"):
        save_encoder(encoder, tmp_path / "encoder")
    assert load_encoder(tmp_path / "encoder") is not None
    with monkeypatch.context() as patch:
        patch.setattr("world_model.checkpoints.weights_file.not_finite", lambda _: [])
        save_encoder(encoder, tmp_path / "encoder")
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: 1 of \d+ tensors are not finite: {name}"):
        load_encoder(tmp_path / "encoder")


def test_what_is_finite_is_told_of_every_type() -> None:
    good = {
        "f": torch.ones(3),
        "h": torch.ones(2).half(),
        "n": torch.arange(3),
        "none": torch.zeros(0),
        "b": torch.eye(2) > 0,
    }
    assert not_finite(good) == []
    bad = {"h": torch.tensor([1.0, INF]).half(), "b": torch.tensor([[NAN, 1.0]]).bfloat16(), "s": torch.tensor(-INF)}
    assert not_finite({**good, **bad}) == ["h", "b", "s"]


def test_a_file_of_weights_that_are_not_finite_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not saved: s"):
        write_weights(tmp_path / "w", {"s": torch.tensor(-INF)})
    assert not (tmp_path / "w").exists()


# States


def test_a_state_of_a_run_that_diverged_gives_way_to_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / STATE_FILE
    save_state(path, {"step": 3, "trainer": {"weights": torch.ones(4)}})
    save_state(path, {"step": 6, "trainer": {"weights": torch.full((4,), NAN)}})
    state = load_state(path)
    assert state is not None and state["step"] == 3
    (tmp_path / "state.previous.pt").unlink()
    with pytest.raises(StateError, match=r"diverged: 1 tensors are not finite: trainer\.weights.*delete it"):
        load_state(path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda state: state.update(format=7), "another version of this program .its format is 7, 1 is read"),
        (lambda state: state.pop("format"), "another version of this program .its format is None"),
        (lambda state: state["trainer"].pop("weight"), "does not fit what this version trains .KeyError: 'weight'"),
    ],
)
def test_a_state_of_another_version_is_refused_in_one_line(change: Any, why: str, tmp_path: Path) -> None:
    run_steps(Counter(99), Settings(output=tmp_path), (), "data", lambda step, measured: None)
    state = torch.load(tmp_path / STATE_FILE, weights_only=True)
    change(state)
    torch.save(state, tmp_path / STATE_FILE)
    with pytest.raises(StateError, match=why) as told:
        run_steps(Counter(99), Settings(output=tmp_path), (), "data", lambda step, measured: None)
    assert "\n" not in str(told.value)


def test_a_state_of_another_shape_is_refused_in_one_line(
    encoder: Encoder, batches: WindowBatches, tmp_path: Path
) -> None:
    config = make_config(tmp_path)
    run(config, encoder, batches, stop_after=2)
    state = torch.load(tmp_path / STATE_FILE, weights_only=True)
    state["trainer"]["predictor"] = {f"new.{name}": value for name, value in state["trainer"]["predictor"].items()}
    torch.save(state, tmp_path / STATE_FILE)
    with pytest.raises(StateError, match="does not fit what this version trains") as told:
        run(config, encoder, batches)
    assert "\n" not in str(told.value)


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / STATE_FILE)
    with pytest.raises(StateError, match="it holds a list, no state of a run"):
        load_state(tmp_path / STATE_FILE)


# Observations


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pose": np.full(7, NAN)}, "pose must be a vector of finite numbers"),
        ({"pose": np.array([0, 0, INF])}, "pose must be a vector of finite numbers"),
        ({"pose": np.array(["a", "b"])}, "pose must be a vector of finite numbers"),
        ({"image": np.zeros((4, 4, 3), np.float32)}, r"\(height, width, 3\) uint8 RGB, got .* float32"),
        ({"image": np.zeros((4, 4, 3), np.uint16)}, "uint8 RGB, got .* uint16"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, r"uint8 RGB, got \(0, 4, 3\)"),
        ({"image": [[0, 0, 0]]}, "uint8 RGB, got a list"),
        ({"time": NAN}, "time must be a finite number of seconds, got nan"),
    ],
)
def test_an_observation_that_is_not_finite_or_of_the_wrong_type_is_refused(changes: dict, why: str) -> None:
    good = Observation(np.zeros((4, 4, 3), np.uint8), np.zeros(7), 0.0)
    with pytest.raises(SpecError, match=why):
        dataclasses.replace(good, **changes)


# Plans


class Doubtful(ToyWorldModel):
    """The toy model, whose predictions, or latents of what is seen, become something that is not finite."""

    def __init__(self, value: float = NAN, seen: bool = False) -> None:
        super().__init__()
        self.value, self.seen, self.broken = value, seen, True

    def encode(self, observations: Sequence[Observation]) -> LatentState:
        state = super().encode(observations)
        if not (self.seen and self.broken):
            return state
        return LatentState(torch.full_like(state.tokens, self.value), state.poses)

    def encode_goal(self, goal: Goal) -> LatentGoal:
        encoded = super().encode_goal(goal)
        if not (self.seen and self.broken):
            return encoded
        return dataclasses.replace(encoded, tokens=torch.full_like(encoded.tokens, self.value))

    def rollout(self, state: LatentState, actions: torch.Tensor) -> LatentState:
        predicted = super().rollout(state, actions)
        spoilt = 0 * state.tokens.mean() if self.seen or not self.broken else self.value
        return LatentState(predicted.tokens + spoilt, predicted.poses)


def controlled(model: ToyWorldModel, planner: PlannerConfig | None = None, **changes: Any) -> Controller:
    searching = make_planner(planner or CEMConfig(samples=16, iterations=2, elites=4, kept_elites=2))
    return Controller(model, searching, TOY_ACTION_SPEC, ControllerConfig(**changes))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(
    "planner",
    [
        CEMConfig(samples=16), ICEMConfig(), MPPIConfig(), PredictiveSamplingConfig(), GradientConfig(), HybridConfig(),
        GradientConfig(optimizer="lbfgs"), OfficialCEMConfig(samples=16), FirstGuessConfig(),
    ],
    ids=lambda value: f"{getattr(value, 'algorithm', value)}",
)  # fmt: skip
def test_no_planners_plan_is_acted_on_where_no_cost_is_finite(planner: PlannerConfig, value: float) -> None:
    model = Doubtful(value)
    controller = controlled(model, planner)
    controller.reset([want(GOAL)], seed=0)
    with pytest.raises(NoPlanError, match=r"no plan: of \d+ action sequences .* not finite are the predicted latents"):
        controller.step(look(START))
    model.broken = False
    action, plan = controller.step(look(START, time=1.0))  # and the next one is made afresh
    assert np.isfinite(action).all() and np.isfinite(plan.cost)


def test_latents_that_are_not_finite_are_named_and_forgotten() -> None:
    model = Doubtful(seen=True)
    model.broken = False
    controller = controlled(model)
    controller.reset([want(GOAL)], seed=0)
    model.broken = True
    with pytest.raises(NoPlanError, match="not finite are the latents of what was seen, the predicted latents"):
        controller.step(look(START))
    with pytest.raises(NoPlanError, match="latents of goal 0 are not finite"):
        controller.reset([want(GOAL)], seed=0)
    model.broken = False
    assert np.isfinite(controller.step(look(START))[1].cost)


def test_where_staying_has_no_finite_cost_the_plan_is_not_given_up_for_it() -> None:
    class StayingIsNone(ToyWorldModel):
        def rollout(self, state: LatentState, actions: torch.Tensor) -> LatentState:
            predicted = super().rollout(state, actions)
            still = (actions == 0).all(dim=2).all(dim=1)
            return LatentState(torch.where(still[:, None, None, None], NAN, predicted.tokens), predicted.poses)

    controller = controlled(StayingIsNone(), rather="stay", min_improvement=0.99)
    controller.reset([want(GOAL)], seed=0)
    action, plan = controller.step(look(START))
    assert np.isfinite(plan.cost) and np.abs(action).max() > 0


@pytest.mark.parametrize(
    "config",
    [CEMConfig, ICEMConfig, MPPIConfig, PredictiveSamplingConfig, GradientConfig, HybridConfig, OfficialCEMConfig],
)
def test_a_cost_of_minus_infinity_loses(config: type) -> None:
    def score(actions: torch.Tensor) -> torch.Tensor:
        cost = (actions - 0.02).square().sum(dim=(1, 2))
        return torch.where(actions[:, 0, 0] > 0.03, -INF, cost)

    generator = torch.Generator().manual_seed(0)
    plan = make_planner(config()).plan(score, TOY_ACTION_SPEC, torch.zeros(1, 1, 7), generator)
    assert np.isfinite(plan.cost) and plan.actions[0, 0] <= 0.03


@pytest.mark.parametrize("cost", [NAN, INF, -INF])
def test_an_answer_whose_cost_is_not_finite_is_no_action(cost: float) -> None:
    with pytest.raises(PlanError, match=f"the plan's cost is {cost}: .* not acted on"):
        first_action({"actions": np.zeros((1, 7)), "cost": cost, "seconds": 0.1}, TOY_ACTION_SPEC)
    assert np.isnan(first_action({"actions": np.zeros((1, 7))}, TOY_ACTION_SPEC)[1])  # of a server that tells none


def test_a_plan_server_answers_with_one_line_and_goes_on() -> None:
    model = Doubtful()
    offer = Offer("toy", TOY_ACTION_SPEC, 1, None, goal_pose=True)
    server = PlanServer(lambda spec: controlled(model), offer, ListenConfig(port=0))
    with running(server.run) as url, PlanClient(url) as client:
        client.reset([want(GOAL)], seed=0)
        with pytest.raises(ServerError, match=r"there is no plan: of .* not finite are the predicted latents"):
            client.infer(look(START))
        model.broken = False
        assert np.isfinite(client.infer(look(START))["cost"])


def test_damaged_lines_of_the_log_are_left_out_and_the_run_goes_on(
    encoder: Encoder, batches: WindowBatches, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(tmp_path)
    run(config, encoder, batches, stop_after=7)
    path = tmp_path / "losses.jsonl"
    lines = path.read_bytes().split(b"\n")
    lines[1], lines[3], lines[4] = lines[1][:20], b"\0\0\xff\xfe", b"[1, 2]"
    path.write_bytes(b"\n".join(lines))
    assert run(config, encoder, batches) is not None
    assert [line["step"] for line in log_of(tmp_path)] == [0, 2, 5, 6, 7, 8, 9, 10, 11]
    assert "losses.jsonl: damaged lines are left out: 2, 4, 5" in caplog.text


def test_a_damaged_state_is_refused_or_gives_way_wherever_its_damage_is(tmp_path: Path) -> None:
    path, generator = tmp_path / STATE_FILE, np.random.default_rng(0)
    save_state(path, {"format": 1, "step": 3, "trainer": {"weights": torch.ones(40), "names": ["a", "b"]}})
    whole = path.read_bytes()
    for place in generator.integers(len(whole), size=300):
        broken = bytearray(whole)
        broken[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(bytes(broken))
        try:
            state = load_state(path)
        except StateError as error:
            assert "\n" not in str(error)
        else:  # a bit that means nothing
            assert state is not None and torch.equal(state["trainer"]["weights"], torch.ones(40))
