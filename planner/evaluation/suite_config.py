"""What a suite is: tasks as rows, planners as columns, and the episodes that fill its cells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from envs.config import ConfigError, dump_config, load_config
from planner.evaluation.config import EvaluateConfig
from world_model.checkpoints.folder import called
from world_model.choices import Precision

if TYPE_CHECKING:  # torch takes seconds
    from world_model.training.processes import Processes

FOLDER = Path("scripts/configs/suite")
BASELINES = {"zero": "zero action", "random": "random actions"}
"""What the baselines are called, by their actors."""

CHOICE_OF_EPISODES = {
    "checkpoint", "episodes", "seed", "output", "processes", "baselines", "view", "video_episodes", "device",
}  # fmt: skip
"""Settings that an episode of a seed does not depend on, or that are compared in another way."""


@dataclass(frozen=True)
class Row:
    """A task of a suite.

    Attributes:
        name: Of its row.
        plan: YAML file of an evaluation: task, max_steps, planner, objective and controller.
        changes: Settings that replace the plan's, such as another scene; see `Variant.changes`, which come after.
        for_variants: Further changes by a variant's name, which come last: what a task needs otherwise of a planner.
        columns: Further columns of its row, printed as they are, such as what somebody else reported.
        checkpoint: Another than the suite's, by name or path.
    """

    name: str
    plan: Path
    changes: dict[str, Any] = field(default_factory=dict)
    for_variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    checkpoint: str | None = None


@dataclass(frozen=True)
class Variant:
    """A planner of a suite: a change of every row's plan.

    Attributes:
        name: Of its column.
        changes: Settings that replace the plan's, keys dotted where they are nested, such as ``objective.pose_weight``.
        episodes: Only the first so many of the suite's, for a planner that is slow; None for all.

    Raises:
        ValueError: If there are to be no episodes.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    episodes: int | None = None

    def __post_init__(self) -> None:
        if self.episodes is not None and self.episodes < 1:
            raise ValueError(f"episodes of the variant {self.name!r} must be at least 1, got {self.episodes}")


N = TypeVar("N", Row, Variant)


@dataclass(frozen=True)
class SuiteConfig:
    """A suite, as its file describes it.

    Attributes:
        checkpoint: Name of a folder in checkpoints/, or its path; "toy" is the exact test model. Rows may have others.
        rows: The tasks.
        variants: The planners; the first is compared with each of the others, and its episodes are drawn.
        episodes: Of each task and planner.
        seed: Of the first episode; the others follow.

    Raises:
        ValueError: If a row or a variant is missing or two would share a file, or there are to be no episodes.
    """

    checkpoint: str
    rows: tuple[Row, ...]
    variants: tuple[Variant, ...]
    episodes: int = 200
    seed: int = 10000

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """What the rows are planned with, each once."""
        return tuple(dict.fromkeys(row.checkpoint or self.checkpoint for row in self.rows))

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"episodes must be at least 1, got {self.episodes}")
        for kind, names in (("rows", [row.name for row in self.rows]), ("variants", [v.name for v in self.variants])):
            files = [file_name(name) for name in names]
            if not names or not all(files) or len(set(files)) < len(files):
                raise ValueError(f"{kind} of a suite have names that differ in letters or digits, got {names}")


@dataclass(frozen=True)
class SuiteOptions:
    """Command line of a suite.

    Attributes:
        suite: Name of a file in scripts/configs/suite, or a YAML file.
        rows: Only these tasks, by name; none for all.
        variants: Only these planners, by name; none for all.
        checkpoint: Another than the suite's; rows that have their own keep it.
        episodes: Another number than the suite's. More later go on with those that are there.
        seed: Of the first episode, another than the suite's.
        output: Folder for the results; results/suite-<suite>-<checkpoint> if not given.
        processes: How many share out the episodes, in each process of `accelerate launch`. Times an action are
            comparable only at 1.
        drawn: So many successes and so many failures of each task are drawn; 0 writes no contact sheet.
        device: Where the model runs: cpu, cuda, mps or auto.
        precision: Of the model: fp32, bf16, or auto for bf16 where the hardware is faster in it.
    """

    suite: str
    rows: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    checkpoint: str | None = None
    episodes: int | None = None
    seed: int | None = None
    output: Path | None = None
    processes: int = 1
    drawn: int = 3
    device: str = "cpu"
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        for name, least in (("processes", 1), ("drawn", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def open(self) -> SuiteConfig:
        """Returns the suite with this command line's changes.

        Raises:
            ValueError: If there is no such file, it is not a suite or has no row or variant of a name.
        """
        path = Path(self.suite) if self.suite.endswith((".yaml", ".yml")) else FOLDER / f"{self.suite}.yaml"
        given = {name: getattr(self, name) for name in ("checkpoint", "episodes", "seed")}
        suite = load_config(SuiteConfig, path, {name: value for name, value in given.items() if value is not None})
        for row in suite.rows:
            chosen("variants", tuple(row.for_variants), suite.variants)
        rows, variants = chosen("rows", self.rows, suite.rows), chosen("variants", self.variants, suite.variants)
        return replace(suite, rows=rows, variants=variants)

    def folder(self, suite: SuiteConfig) -> Path:
        """Returns the folder for the results."""
        names = "-".join(map(called, suite.checkpoints))
        return self.output or Path("results") / f"suite-{Path(self.suite).stem}-{names}"


def chosen(what: str, names: tuple[str, ...], there: tuple[N, ...]) -> tuple[N, ...]:
    """Returns those of a suite's rows or variants that are named, in the suite's order; without names all.

    Raises:
        ValueError: If one is not there.
    """
    known = [each.name for each in there]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"the suite has no {what} {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
    return tuple(each for each in there if not names or each.name in names)


@dataclass(frozen=True)
class Block:
    """The episodes of one cell of the table.

    Attributes:
        row: Name of the task.
        column: Name of the planner, or of a baseline.
        actor: "planner", "zero" or "random".
        config: Settings of the evaluation.
    """

    row: str
    column: str
    actor: Literal["planner", "zero", "random"]
    config: EvaluateConfig

    @property
    def seeds(self) -> range:
        """Seeds of the episodes."""
        return range(self.config.seed, self.config.seed + self.config.episodes)

    def identity(self) -> dict[str, Any]:
        """Returns all that an episode of a seed depends on, for JSON: episodes of another identity are others."""
        settings = {name: value for name, value in dump_config(self.config).items() if name not in CHOICE_OF_EPISODES}
        from planner.evaluation.episodes import checkpoint_hash, code_hash

        if self.actor != "planner":
            return {**{name: settings[name] for name in ("task", "scene", "max_steps")}, "code_sha256": code_hash()}
        sha, device = checkpoint_hash(self.config.checkpoint, self.config.asks_heads), self.config.device.split(":")[0]
        return {**settings, "device": device, "checkpoint_sha256": sha, "code_sha256": code_hash()}


def make_blocks(suite: SuiteConfig, options: SuiteOptions, processes: Processes) -> Iterator[Block]:
    """Yields all blocks, row by row: the planners', then the baselines'.

    Raises:
        ValueError: If a row's plan or a change of it is wrong.
    """
    here = {
        "seed": suite.seed,
        "processes": options.processes,
        "precision": options.precision,
        "device": str(processes.device),
        "video_episodes": 0,
    }
    for row in suite.rows:
        configs = []
        for variant in suite.variants:
            episodes = min(variant.episodes or suite.episodes, suite.episodes)
            try:
                checkpoint = row.checkpoint or suite.checkpoint
                own, last = row.for_variants.get(variant.name, {}), {"checkpoint": checkpoint, "episodes": episodes}
                changes = _in_turn(row.changes, variant.changes, own, here, last)
                config = load_config(EvaluateConfig, row.plan, changes)
            except ConfigError as error:
                raise ConfigError(f"row {row.name!r}, variant {variant.name!r} of the suite: {error}") from error
            configs.append(config)
            yield Block(row.name, variant.name, "planner", config)
        everywhere = replace(configs[0], episodes=suite.episodes)
        yield Block(row.name, BASELINES["zero"], "zero", everywhere)
        yield Block(row.name, BASELINES["random"], "random", everywhere)


def _in_turn(*changes: dict[str, Any]) -> dict[str, Any]:
    """Returns changes one after another: of a setting that several change, the last is also applied last."""
    merged: dict[str, Any] = {}
    for each in changes:
        for name, value in each.items():
            merged.pop(name, None)
            merged[name] = value
    return merged


def file_name(name: str) -> str:
    """Returns the letters and digits of a name, for a file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
