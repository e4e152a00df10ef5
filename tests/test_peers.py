"""LeWM and its solver behind our adapter, with a stand-in for the peer's package, and its own code where it is there.

PYTHONPATH=path/to/stable-worldmodel python -m pytest tests/test_peers.py   # a checkout beside what it needs itself
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from envs.config import CONFIGS, load_config
from envs.spec import ActionSpec, Goal, Observation
from planner.benchmarks.peers.code import PeerMissingError, peer_module
from planner.benchmarks.peers.lewm import PeerLeWM, make_lewm
from planner.benchmarks.peers.lewm_config import LeWMShape, TrainLeWMConfig
from planner.benchmarks.peers.lewm_training import LeWMTrainer, train_lewm
from planner.benchmarks.peers.solver import PeerSolver, PeerSolverConfig
from planner.benchmarks.peers.train_lewm import main
from planner.evaluation.config import EvaluateConfig
from tests.moving_square import MovingSquare
from tests.small_models import small_model, small_predictor
from tests.small_training import measured_steps
from world_model.checkpoints.checkpoint import save_checkpoint
from world_model.data.batches import RecordedWindows
from world_model.data.joined import JoinedFrames
from world_model.data.store import build_frames
from world_model.load import load_world_model
from world_model.statistics import Statistics
from world_model.training.compact import ImageBatches
from world_model.vjepa2_ac import VJEPA2AC

SHAPE = LeWMShape(image_size=16, patch_size=8, width=12, history=2, depth=1, heads=2, head_width=6, hidden=16)
TINY = replace(SHAPE, width=192)  # as wide as the smallest of the peer's encoders
SPEC = ActionSpec(("x", "y", "z"), ("m", "m", "m"), (-0.1, 0.0, -0.2), (0.1, 0.0, 0.2), "base", 4.0)
STATISTICS = Statistics((0.01,) * 3, (0.1,) * 3, (0.0,) * 3, (1.0,) * 3)
EVALUATIONS = 128 * 9 + 1  # of a search
MODULES = (
    "stable_pretraining.backbone.utils",
    "stable_worldmodel.planning.solver.cem",
    "stable_worldmodel.planning.solver.mppi",
    "stable_worldmodel.solver.cem",
    "stable_worldmodel.solver.mppi",
    "stable_worldmodel.wm.lewm",
    "stable_worldmodel.wm.lewm.lewm",
    "stable_worldmodel.wm.lewm.module",
    "stable_worldmodel.wm.loss",
)


class Layers(nn.Module):
    """Stands for every network of the peer's: a layer to what is asked for, whatever else is said."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.layer = nn.Linear(given, made)

    def forward(self, values: Tensor, others: Tensor | None = None) -> Tensor:
        return self.layer(values if others is None else values + others)


class StandIn(nn.Module):
    """Stands for the peer's LeWM: a frame's latent and what follows, without looking at the history."""

    def __init__(
        self, encoder: nn.Module, predictor: nn.Module, action_encoder: nn.Module, **others: nn.Module
    ) -> None:
        super().__init__()
        self.encoder, self.predictor, self.action_encoder = encoder, predictor, action_encoder
        self.others = nn.ModuleDict(others)

    def encode(self, info: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**info, "emb": self.encoder(info["pixels"].flatten(2))}

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        return self.predictor(latents, actions)

    def rollout(self, info: dict[str, Tensor], actions: Tensor) -> dict[str, Tensor]:
        assert info["pixels"].shape[2] == 1
        frames = [info["emb"][0, :, 0]]
        for action in actions[0].unbind(dim=1):
            frames.append(self.predict(frames[-1], self.action_encoder(action)))
        return {**info, "predicted_emb": torch.stack(frames, dim=1)[None]}


class StandInSolver:
    """Stands for the peer's solver, of which it keeps what the adapter relies on."""

    def __init__(self, cost: Any, **settings: Any) -> None:
        self.cost, self.settings = cost, settings

    def configure(self, *, action_space: Any, n_envs: int, config: Any) -> None:
        assert n_envs == 1
        self.shape = (config.horizon, config.action_block * action_space.shape[1])

    def solve(self, info: dict[str, Tensor]) -> dict[str, Tensor]:
        generator, settings = torch.Generator().manual_seed(self.settings["seed"]), self.settings
        mean, std = torch.zeros(self.shape), torch.full(self.shape, settings["var_scale"])
        for _ in range(settings["n_steps"]):
            drawn = mean + std * torch.randn(settings["num_samples"], *self.shape, generator=generator)
            costs, chosen = self.cost.get_cost(info, drawn[None])[0].topk(settings["topk"], largest=False)
            best = drawn[chosen]
            if "temperature" in settings:
                weights = torch.softmax(-costs / settings["temperature"], dim=0)
                mean = (weights[:, None, None] * best).sum(dim=0)
            else:
                mean, std = best.mean(dim=0), best.std(dim=0)
        print("what it prints is not ours")
        return {"actions": mean[None]}


class Spread(nn.Module):
    """Stands for SIGReg: each number of the latents should have deviation 1."""

    def __init__(self, knots: int, projections: int) -> None:
        super().__init__()

    def forward(self, latents: Tensor) -> Tensor:
        return (latents.std(dim=1) - 1).square().mean()


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(**things: object) -> ModuleType:
        module = ModuleType("stand-in")
        vars(module).update(things)
        return module

    def predictor(input_dim: int, **_: object) -> nn.Module:
        return Layers(input_dim, input_dim)

    def embedder(input_dim: int, emb_dim: int) -> nn.Module:
        return Layers(input_dim, emb_dim)

    def mlp(given: int, hidden: int, made: int, norm_fn: Callable[[int], nn.Module]) -> nn.Module:
        return nn.Sequential(Layers(given, hidden), norm_fn(hidden), Layers(hidden, made))

    def vit(size: str, image_size: int, **_: object) -> nn.Module:
        return Layers(3 * image_size**2, SHAPE.width)

    stand_ins = {
        "stable_pretraining.backbone.utils": of(vit_hf=vit),
        "stable_worldmodel.planning.solver.cem": of(CEMSolver=StandInSolver),
        "stable_worldmodel.planning.solver.mppi": of(MPPISolver=StandInSolver),
        "stable_worldmodel.wm.lewm.lewm": of(LeWM=StandIn),
        "stable_worldmodel.wm.lewm.module": of(MLP=mlp, Predictor=predictor, Embedder=embedder),
        "stable_worldmodel.wm.loss": of(SIGReg=Spread),
    }
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def no_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> ImageBatches:
    data = MovingSquare((6,) * 20)
    return ImageBatches(RecordedWindows(data), JoinedFrames([build_frames(data, tmp_path_factory.mktemp("frames"))]))


def make_config(output: Path, **changes: Any) -> TrainLeWMConfig:
    config = TrainLeWMConfig(
        data=Path("nowhere"), output=output, shape=SHAPE, steps=30, batch=16, learning_rate=1e-2, evaluate_every=30,
        evaluate_horizon=3, save_every=10, held_out=0.2,
    )  # fmt: skip
    return replace(config, **changes)


def train(config: TrainLeWMConfig, batches: ImageBatches, stop_after: int | None = None) -> list[dict[str, float]]:
    return measured_steps(lambda report: train_lewm(config, batches, report, {"command": "made up"}), stop_after)


@pytest.mark.usefixtures("peer")
def test_the_peer_learns_on_our_recordings_and_goes_on_where_it_stopped(batches: ImageBatches, tmp_path: Path) -> None:
    whole = train(make_config(tmp_path / "whole"), batches)
    assert whole[-1]["held_out/loss_total"] < whole[0]["total"]
    train(make_config(tmp_path / "broken"), batches, stop_after=18)
    rest = train(make_config(tmp_path / "broken"), batches)
    assert [each["total"] for each in rest] == [each["total"] for each in whole[10:]]
    assert rest[-1]["minutes"] > rest[0]["minutes"] > 0


@pytest.mark.usefixtures("peer")
def test_a_run_ends_when_its_time_is_over_and_is_judged_once_more(batches: ImageBatches, tmp_path: Path) -> None:
    measured = train(make_config(tmp_path, minutes=1e-6, steps=1000), batches)
    assert len(measured) == 1 and "held_out/rollout_3" in measured[0]
    assert (tmp_path / "checkpoint/manifest.yaml").is_file()


@pytest.mark.usefixtures("peer")
def test_the_learning_rate_falls_with_time_or_steps(batches: ImageBatches, tmp_path: Path) -> None:
    trainer = LeWMTrainer(make_config(tmp_path, minutes=1.0, steps=100), batches)
    assert trainer.share_done(10) == 0.1
    trainer.processor_seconds = 30.0
    assert trainer.share_done(10) == 0.5 and trainer.share_done(80) == 0.8 and not trainer.finished
    trainer.processor_seconds = 90.0
    assert trainer.share_done(10) == 1.0 and trainer.finished


def check_plans(model: PeerLeWM, folder: Path) -> None:
    """The model is as it was before it was saved, and rolls out as its predictor says, step by step."""
    save_checkpoint(folder, model.eval(), training={})
    loaded = load_world_model(folder)
    assert isinstance(loaded, PeerLeWM) and loaded.shape == model.shape
    generator = np.random.default_rng(0)
    seen = Observation(generator.integers(0, 255, (24, 24, 3), np.uint8), np.array([0.1, 0.2, 0.3]), 0.0)
    state, goal = loaded.encode([seen]), loaded.encode_goal(Goal(seen.image))
    width = model.shape.width
    assert state.tokens.shape == (1, 1, 1, width) and goal.tokens.shape == (1, width) and goal.pose is None
    torch.testing.assert_close(state.tokens, model.encode([seen]).tokens)
    torch.testing.assert_close(state.tokens[0, 0], goal.tokens)
    actions = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(0)) / 10
    found = loaded.rollout(state, actions)
    frames = state.tokens[:, :, 0].expand(4, 1, width)
    for step in range(3):
        first = max(0, step + 1 - model.shape.history)
        following = loaded.predict(frames[:, first:], actions[:, first : step + 1])[:, -1:]
        frames = torch.cat([frames, following], dim=1)
    torch.testing.assert_close(found.tokens[:, :, 0], frames[:, 1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.poses[:, -1], state.poses[0] + actions.sum(dim=1))
    with pytest.raises(ValueError, match="none of it can be masked"):
        loaded.encode_goal(Goal(seen.image, mask=np.ones((24, 24), np.uint8)))


def make_model(shape: LeWMShape) -> PeerLeWM:
    spec = replace(SPEC, low=(-0.1,) * 3, high=(0.1,) * 3)
    return PeerLeWM(make_lewm(shape, spec.size), shape, spec, STATISTICS)


@pytest.mark.usefixtures("peer")
def test_the_peer_is_a_world_model_that_a_checkpoint_holds(tmp_path: Path) -> None:
    check_plans(make_model(SHAPE), tmp_path / "checkpoint")


def make_solver(tmp_path: Path, **changes: Any) -> PeerSolver:
    predictor = small_predictor(grid_height=2, grid_width=2, action_size=3, pose_size=3)
    trained = VJEPA2AC(small_model().encoder, predictor, SPEC, STATISTICS, 1)
    save_checkpoint(tmp_path / "statistics", trained, training={})
    config = PeerSolverConfig(
        statistics=str(tmp_path / "statistics"), horizon=4, executed=3, samples=128, iterations=9, elites=16
    )
    return PeerSolver(replace(config, **changes))


class Score:
    """How far a sequence is from one that is partly out of bounds; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, actions: Tensor) -> Tensor:
        self.asked += len(actions)
        assert (actions.abs() <= torch.tensor(SPEC.high) + 1e-7).all()
        return (actions - torch.tensor([0.05, 0.3, -0.4])).square().sum(dim=(1, 2))


def check_search(solver: PeerSolver, capsys: pytest.CaptureFixture[str]) -> None:
    score, generator = Score(), torch.Generator().manual_seed(0)
    staying = torch.zeros(1, 4, 3)
    plan = solver.plan(score, SPEC, staying, generator)
    assert capsys.readouterr().out == ""
    torch.testing.assert_close(plan.actions, torch.tensor([0.05, 0.0, -0.2]).expand(4, 3), atol=0.02, rtol=0.0)
    assert plan.evaluations == score.asked == EVALUATIONS and len(plan.costs) == 9
    assert plan.costs.diff().le(0).all()

    following = plan
    for step in (1, 2):  # carried out, not searched
        guesses = torch.cat([torch.cat([following.actions[1:], torch.zeros(1, 3)])[None], staying])
        following = solver.plan(score, SPEC, guesses, generator)
        assert score.asked == EVALUATIONS and following.evaluations == 0
        torch.testing.assert_close(following.actions[0], plan.actions[step])
    guesses = torch.cat([torch.cat([following.actions[1:], torch.zeros(1, 3)])[None], staying])
    anew = solver.plan(score, SPEC, guesses, generator)
    assert score.asked == 2 * (EVALUATIONS)

    other = solver.plan(score, SPEC, staying, generator)  # of another episode
    assert score.asked == 3 * (EVALUATIONS) and not torch.equal(other.actions, anew.actions)


@pytest.mark.usefixtures("peer")
def test_the_peers_solver_searches_within_bounds_and_its_plan_is_carried_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_search(make_solver(tmp_path), capsys)


def check_mppi(tmp_path: Path) -> None:
    score = Score()
    solver = make_solver(tmp_path, solver="mppi", temperature=0.01, executed=1)
    plan = solver.plan(score, SPEC, torch.zeros(1, 4, 3), torch.Generator().manual_seed(0))
    torch.testing.assert_close(plan.actions, torch.tensor([0.05, 0.0, -0.2]).expand(4, 3), atol=0.08, rtol=0.0)
    assert plan.evaluations == score.asked == EVALUATIONS and len(plan.costs) == 9


@pytest.mark.usefixtures("peer")
def test_the_peers_mppi_searches_by_its_temperature(tmp_path: Path) -> None:
    check_mppi(tmp_path)


@pytest.mark.usefixtures("peer")
def test_a_search_needs_statistics_of_such_actions(tmp_path: Path) -> None:
    arguments = Score(), SPEC, torch.zeros(1, 4, 3), torch.Generator()
    with pytest.raises(ValueError, match=r"needs planner\.statistics"):
        make_solver(tmp_path, statistics="").plan(*arguments)
    wider = ActionSpec(2 * SPEC.names, 2 * SPEC.units, 2 * SPEC.low, 2 * SPEC.high, "base", 4.0)
    with pytest.raises(ValueError, match="actions of 3 numbers, these have 6"):
        make_solver(tmp_path).plan(Score(), wider, torch.zeros(1, 4, 6), torch.Generator())


@pytest.mark.usefixtures("no_peer")
def test_a_missing_peer_is_one_clear_error(batches: ImageBatches, tmp_path: Path) -> None:
    with pytest.raises(
        PeerMissingError, match=r"own code can't be imported .*pip install 'stable-worldmodel\[train\]'"
    ):
        LeWMTrainer(make_config(tmp_path), batches)


@pytest.mark.usefixtures("no_peer")
def test_the_program_says_in_one_line_that_the_peer_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "planner.benchmarks.peers.lewm_run.open_recordings", lambda *_: [SimpleNamespace(spec=SPEC, lengths=(3,))]
    )
    with pytest.raises(SystemExit, match="error: the peer's own code can't be imported"):
        main(["--data", str(tmp_path / "nowhere"), "--output", str(tmp_path / "run")])


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fill an image"):
        LeWMShape(image_size=100)
    with pytest.raises(ValueError, match="minutes must be positive"):
        make_config(Path("run"), minutes=0.0)
    with pytest.raises(ValueError, match=r"executed must be in \[1, 5\]"):
        PeerSolverConfig(executed=6)


def test_the_plan_has_the_peers_settings_and_needs_no_peer_to_be_read() -> None:
    planner = load_config(EvaluateConfig, CONFIGS / "plan/benchmark/lewm.yaml").planner
    assert isinstance(planner, PeerSolverConfig)
    assert (planner.horizon, planner.executed, planner.samples, planner.elites) == (5, 5, 300, 30)


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"the peer's {', '.join(missing)} is not installed")


@needs("stable_worldmodel")
def test_the_peers_own_solvers_do_the_same(tmp_path: Path, capsys: Any) -> None:
    solver = make_solver(tmp_path)
    capsys.readouterr()
    check_search(solver, capsys)
    check_mppi(tmp_path)


@needs("stable_worldmodel", "stable_pretraining")
def test_the_peers_own_model_does_the_same(batches: ImageBatches, tmp_path: Path) -> None:
    check_plans(make_model(TINY), tmp_path / "checkpoint")
    trainer = LeWMTrainer(make_config(tmp_path, shape=TINY), batches)
    loss = peer_module("stable_worldmodel.wm.loss").SIGReg(17, 1024)
    assert type(trainer.sigreg) is type(loss) and trainer.step(0)["regulariser"] > 0
