"""Checkpoints on disk: NAME/manifest.yaml and the files that a kind of world model writes beside it.

The manifest says everything that planning needs (kind, shapes of the parts, action spec, statistics, rate) and the
SHA-256 of each file. Loading is strict and reads nothing but YAML, JSON and safetensors; `world_model.load` does it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
import torch
import yaml
from jaxtyping import Float
from torch import Tensor, nn

from envs.config import dump_config, load_config
from envs.folders import replaced_folder
from envs.spec import ActionSpec, Goal, Observation
from world_model.base import LatentGoal, LatentState
from world_model.checkpoints.folder import MANIFEST, CheckpointError, find_checkpoint
from world_model.checkpoints.weights_file import DTYPES, CheckpointFiles, file_sha256, write_weights
from world_model.statistics import NormalisedModel, Statistics

FORMAT = 2


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint is and where it comes from.

    Attributes:
        format: Version of this layout.
        kind: Of world model, see `world_model.load.KINDS`.
        name: Of the folder it was written as.
        image_size: Side of the square images that it looks at [pixels].
        parts: Shape of each of its parts, plain values that the kind understands.
        action_spec: What its actions mean.
        fps: Frames a second of the training windows.
        context: Past frames that it makes use of, see `world_model.base.WorldModel`.
        statistics: What actions and poses are normalised with.
        weights: Precision of the stored weights.
        licence: Of the weights.
        parent: The checkpoint it was trained from, if any.
        training: How it was made: command, git_commit, data, metrics.
        heads: What else was learnt on its latents, by name, see `world_model.load.HEADS`; each one's shape.
        files: SHA-256 of each file.
    """

    format: int
    kind: str
    name: str
    image_size: int
    parts: dict[str, dict[str, Any]]
    action_spec: ActionSpec
    fps: float
    context: int
    statistics: Statistics
    weights: Literal["float32", "bfloat16"]
    licence: str
    parent: str | None
    training: dict[str, Any]
    heads: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.fps > 0 or self.image_size < 1:
            raise CheckpointError(f"fps and image_size must be positive, got {self.fps} and {self.image_size}")
        for name in self.files:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise CheckpointError(f"files must be exactly those in the checkpoint's folder, {name} is not in it")


class Head(nn.Module):
    """Something learnt on a world model's latents that travels with it.

    Attributes:
        config: Its shape, which its class is called with.
        Config: The dataclass of that.
    """

    Config: ClassVar[type]
    config: Any

    def check_fits(self, model: StoredModel) -> None:
        """Returns if it takes such a model's latents, poses and actions.

        Raises:
            ValueError: Naming the first two sizes that differ.
        """


H = TypeVar("H", bound=Head)


def encoding_of(model: object) -> object:
    """Returns what encodes: of simulated dynamics the model that they encode with, or else the model itself."""
    return getattr(model, "encoding", model)


def find_head(model: object, name: str, kind: type[H]) -> H | None:
    """Returns what was learnt on a model's latents under a name; None if it has none of this kind."""
    heads = getattr(model, "heads", {})
    head = heads[name] if name in heads else None
    return head if isinstance(head, kind) else None


class StoredModel(NormalisedModel, ABC):
    """A kind of world model that travels as a checkpoint; see `world_model.base.WorldModel` for what it does.

    Attributes:
        kind: Its name in `world_model.load.KINDS`.
        context: How many past frames are made use of at most, by `rollout` or by its heads.
        heads: What else was learnt on its latents, by name.
    """

    kind: ClassVar[str]
    context: int

    def __init__(self, action_spec: ActionSpec, statistics: Statistics) -> None:
        super().__init__(action_spec, statistics)
        self.heads = nn.ModuleDict()

    def add_head(self, name: str, head: Head) -> None:
        """Takes up what was learnt on its latents, under a name of `world_model.load.HEADS`.

        Raises:
            ValueError: If it was learnt on others.
        """
        head.check_fits(self)
        self.heads[name] = head

    def poses_of(self, seen: Sequence[Observation]) -> Float[Tensor, "1 T P"]:
        """Returns the poses of observations, where the model is."""
        return torch.from_numpy(np.stack([each.pose for each in seen])).to(self.action_mean)[None]

    def pose_of(self, goal: Goal) -> Float[Tensor, "P"] | None:
        """Returns a goal's pose, where the model is; None if it is open."""
        return None if goal.pose is None else torch.from_numpy(np.array(goal.pose)).to(self.action_mean)

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side of the square images that it looks at [pixels]."""

    @abstractmethod
    def encode(self, observations: Sequence[Observation]) -> LatentState:
        """See `WorldModel.encode`."""

    @abstractmethod
    def encode_goal(self, goal: Goal) -> LatentGoal:
        """See `WorldModel.encode_goal`."""

    @abstractmethod
    def rollout(self, state: LatentState, actions: Float[Tensor, "S H A"]) -> LatentState:
        """See `WorldModel.rollout`."""

    @abstractmethod
    def parts(self) -> dict[str, dict[str, Any]]:
        """Returns the shape of each part, plain values: what `load` makes it from."""

    @abstractmethod
    def save(self, folder: Path, dtype: torch.dtype) -> None:
        """Writes the parts' files, weights in that type; heads are none of them."""

    @classmethod
    @abstractmethod
    def load(cls, files: CheckpointFiles, manifest: Manifest, dtype: torch.dtype) -> Self:
        """Returns what `save` wrote, on the CPU.

        Args:
            files: To read.
            manifest: With the parts' shapes.
            dtype: Type of the networks' weights in memory.

        Raises:
            ValueError: If files and manifest do not fit together.
        """


def save_checkpoint(
    directory: str | Path,
    model: StoredModel,
    *,
    training: Mapping[str, Any],
    fps: float | None = None,
    licence: str = "MIT",
    parent: str | None = None,
    weights: Literal["float32", "bfloat16"] = "float32",
) -> Manifest:
    """Writes a checkpoint and returns its manifest; one already there is replaced once all is written.

    Args:
        directory: Where to; its last part becomes the name.
        model: What to write.
        training: How it was made, plain values: command, git_commit, data, metrics.
        fps: Frames a second of the training windows; the action spec's rate if not given.
        licence: Of the weights.
        parent: The checkpoint it was trained from, if any.
        weights: Precision to store; bfloat16 rounds.

    Raises:
        CheckpointError: If the directory is there and is no checkpoint, or weights are not finite.
    """
    directory = Path(directory).resolve()
    if directory.exists() and not (directory / MANIFEST).is_file() and any(directory.iterdir()):
        raise CheckpointError(f"{directory} holds something that is no checkpoint; name another directory")
    with replaced_folder(directory) as partial:
        model.save(partial, DTYPES[weights])
        for name, head in model.heads.items():
            write_weights(partial / head_file(name), head.state_dict(), DTYPES[weights])
        files = sorted(path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file())
        manifest = Manifest(
            format=FORMAT,
            kind=model.kind,
            name=directory.name,
            image_size=model.image_size,
            parts=model.parts(),
            action_spec=model.action_spec,
            fps=float(model.action_spec.rate if fps is None else fps),
            context=model.context,
            statistics=model.statistics,
            weights=weights,
            licence=licence,
            parent=parent,
            training=dict(training),
            heads={name: dump_config(head.config) for name, head in model.heads.items() if isinstance(head, Head)},
            files={name: file_sha256(partial / name) for name in files},
        )
        dump_config(manifest, partial / MANIFEST)
    return manifest


def save_with_history(
    directory: str | Path, model: StoredModel, parent: str, part: str, made: Mapping[str, Any]
) -> Manifest:
    """Writes a parent's model of which a part has learnt, see `save_checkpoint`; the manifest tells how both were made.

    Args:
        directory: Where to.
        model: What to write.
        parent: The checkpoint it was trained from, by name or path.
        part: What has learnt, a key of the manifest's `training`.
        made: How, plain values; the parent's files are told beside, and, as "before", how the part learnt earlier.
    """
    known = read_manifest(parent)
    earlier = {"before": known.training[part]} if part in known.training else {}
    training = {**known.training, part: {**made, "parent_files": known.files, **earlier}}
    return save_checkpoint(directory, model, training=training, parent=parent)


def head_file(name: str) -> str:
    """Returns the file of a head's weights."""
    return f"{name}.safetensors"


def read_manifest(name_or_path: str | Path) -> Manifest:
    """Returns the manifest of a checkpoint without reading its weights.

    Raises:
        CheckpointError: If it is no valid manifest; an unknown key is named with the nearest known one.
    """
    path = find_checkpoint(name_or_path) / MANIFEST
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid YAML: {error}") from error
    version = values.get("format") if isinstance(values, dict) else None
    if version != FORMAT:
        newer = isinstance(version, int) and version > FORMAT
        advice = "a newer vjepa-planner may read it" if newer else "train or import it again with this version"
        raise CheckpointError(f"{path} must be of format {FORMAT}, got {version}; {advice}")
    try:
        return load_config(Manifest, values)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def open_files(folder: Path, manifest: Manifest) -> CheckpointFiles:
    """Returns a checkpoint's files, all of them there and as they were written.

    Raises:
        CheckpointError: If one is missing or is not the one that the manifest was written for.
    """
    for name, expected in manifest.files.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing, though {MANIFEST} names it")
        found = file_sha256(folder / name)
        if found != expected:
            raise CheckpointError(
                f"{folder / name} is damaged or was replaced: its SHA-256 is {found}, {MANIFEST} says {expected}"
            )
    return CheckpointFiles(folder, manifest.files, DTYPES[manifest.weights])
