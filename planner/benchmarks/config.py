"""What each benchmark measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from envs.ranges import check_range
from planner.control.executor import ExecutorConfig
from planner.search.sampling_config import OfficialCEMConfig


@dataclass(frozen=True)
class Benchmark:
    """What all benchmarks have.

    Attributes:
        output: Folder for the results; results/benchmark-<part> if not given.
    """

    output: Path | None = None


@dataclass(frozen=True)
class PlanBenchmark(Benchmark):
    """Times one plan at equal samples, iterations and horizon against the official code.

    Attributes:
        official: Checkout of github.com/facebookresearch/vjepa2; without it ours is timed alone.
        sizes: Predictors to time: tiny (of franka-tiny), 100m, vitl, released.
        horizons: Planned steps.
        samples: Sequences an iteration; the paper's are 800. On a CPU and with a large predictor take few.
        iterations: Of the search; the paper's are 10.
        elites: Of the search.
        precisions: Types of the weights.
        device: cpu, cuda, mps or auto.
        repeats: Plans of each, in turns, after one of each that is reported apart.
        chunk: Sequences at a time in ours; None for what fits.
    """

    official: Path | None = None
    sizes: tuple[Literal["tiny", "100m", "vitl", "released"], ...] = ("tiny", "100m")
    horizons: tuple[int, ...] = (1, 2, 3, 8)
    samples: int = 16
    iterations: int = 2
    elites: int = 4
    precisions: tuple[Literal["fp32", "bf16"], ...] = ("fp32",)
    device: str = "cpu"
    repeats: int = 3
    chunk: int | None = None


@dataclass(frozen=True)
class EnergyBenchmark(Benchmark):
    """Times planners on held-out steps of a checkpoint: until they reach the official energy, and at equal time.

    Attributes:
        official: Checkout of github.com/facebookresearch/vjepa2; without it our own code of the official search stands
            for it.
        checkpoint: Name of a folder in checkpoints/, or its path.
        steps: Held-out steps of scripted play in simulation.
        seed: Of the first episode.
        ahead: Actions from an observation to the goal, and the planners' horizon.
        search: The official search.
        tolerance: Its energy is reached by one that exceeds it by at most this share. Searches that end in the same
            minimum differ by rounding: a share of 0 asks which of them rounds down.
        budgets: Times at which the energies of all planners are compared [s].
        device: cpu, cuda, mps or auto.
    """

    official: Path | None = None
    checkpoint: str = "franka-tiny"
    steps: int = 50
    seed: int = 10000
    ahead: int = 1
    search: OfficialCEMConfig = field(default_factory=OfficialCEMConfig)
    tolerance: float = 1e-4
    budgets: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    device: str = "cpu"


@dataclass(frozen=True)
class ParetoBenchmark(Benchmark):
    """Runs a simulated task with each planner, one after another.

    Attributes:
        config: Settings of the evaluation but the planner, as scripts/evaluate.py takes them.
        episodes: Of each planner.
        seed: Of the first episode.
        device: cpu, cuda, mps or auto.
    """

    config: Path = Path("scripts/configs/plan/reach.yaml")
    episodes: int = 40
    seed: int = 10000
    device: str = "cpu"


@dataclass(frozen=True)
class TrainBenchmark(Benchmark):
    """Times training against the official recipe on the same model, data and windows, in turns.

    Attributes:
        official: Checkout of github.com/facebookresearch/vjepa2, whose encoder and predictor then run the official
            recipe with the same weights; without it our modules do.
        data: Dataset of ours (scripts/collect.py).
        checkpoint: Model that is trained on.
        episodes: Of each kind of recording.
        recordings: "collected": the first episodes of the dataset, images as small as the model wants them, at the rate
            it learns at. "camera": play in simulation filmed anew as robots' cameras do, 1280 x 720 at 16 Hz, H.264,
            of which the model learns every fourth frame.
        batch: Windows a step.
        frames: Frames a window; the official recipe has 8.
        rollout_steps: Of the rollout loss; the official recipe has 2.
        steps: Steps a turn.
        turns: Turns of each.
        device: cpu, cuda, mps or auto.
    """

    official: Path | None = None
    data: Path = Path("data/franka-tiny")
    checkpoint: str = "franka-tiny"
    episodes: int = 8
    recordings: tuple[Literal["collected", "camera"], ...] = ("collected", "camera")
    batch: int = 16
    frames: int = 8
    rollout_steps: int = 2
    steps: int = 4
    turns: int = 5
    device: str = "cpu"


@dataclass(frozen=True)
class JitterBenchmark(Benchmark):
    """Times an executor's set-points beside a planner at full load.

    Attributes:
        seconds: How long.
        rate: Set-points a second [Hz].
        checkpoint: What plans.
        device: The planner's: cpu, cuda, mps or auto.
    """

    seconds: float = 600.0
    rate: float = 125.0
    checkpoint: str = "franka-tiny"
    device: str = "cpu"

    def __post_init__(self) -> None:
        ExecutorConfig(self.rate)
        check_range(self, "(0, inf)", "seconds", of="the benchmark's ")


Part = (
    Annotated[PlanBenchmark, tyro.conf.subcommand("plan")]
    | Annotated[EnergyBenchmark, tyro.conf.subcommand("energy")]
    | Annotated[ParetoBenchmark, tyro.conf.subcommand("pareto")]
    | Annotated[TrainBenchmark, tyro.conf.subcommand("train")]
    | Annotated[JitterBenchmark, tyro.conf.subcommand("jitter")]
)
