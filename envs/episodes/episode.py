"""One recorded trajectory, the same type whatever it was read from. NumPy only, imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from jaxtyping import Float32, UInt8

from envs.pose import motion_of
from envs.spec import ActionSpec, Observation


class DatasetError(ValueError):
    """A trajectory or a dataset on disk is not what it should be."""


@dataclass(frozen=True, eq=False)
class Episode:
    """What was seen and done from one reset to the next.

    Image t and pose t belong to the same instant; action t leads from pose t to pose t + 1, so there is one action
    fewer than there are images.

    Attributes:
        images: RGB frames, (T, h, w, 3) uint8, T >= 2.
        poses: Measured end-effector poses in the units of `envs.spec.POSE_UNITS`, (T, P); kept as float32.
        actions: What an ActionSpec describes, in its units, (T-1, A); kept as float32.
        rate: Frames, and actions, a second [Hz].
        spec: Meaning of the actions.
        task: What was being done, in words.
        seed: The seed the episode was made from, if it was made from one.
        extra: Anything small and JSON-able that a reader may want.

    Raises:
        DatasetError: If shapes, lengths or rates do not fit together or a number is not finite.
    """

    images: UInt8[np.ndarray, "T h w 3"]
    poses: Float32[np.ndarray, "T P"]
    actions: Float32[np.ndarray, "T-1 A"]
    rate: float
    spec: ActionSpec
    task: str = ""
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        images = np.asarray(self.images)
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise DatasetError(
                f"an episode's images must be (T, height, width, 3) uint8 RGB, got {images.shape} {images.dtype}"
            )
        if len(images) < 2:
            raise DatasetError(f"an episode needs at least 2 frames (one action), got {len(images)}")
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "poses", check_rows("poses", self.poses, len(images)))
        object.__setattr__(self, "actions", check_rows("actions", self.actions, len(images) - 1))
        self._check_spec()

    @classmethod
    def from_observations(
        cls,
        observations: Sequence[Observation],
        spec: ActionSpec,
        task: str,
        seed: int,
        extra: Mapping[str, Any] | None = None,
    ) -> Self:
        """Returns the episode of what was seen once an action: actions are the differences of the *measured* poses."""
        poses = np.stack([observation.pose for observation in observations])
        images = np.stack([observation.image for observation in observations])
        actions = motion_of(spec).difference(poses[:-1], poses[1:])
        return cls(images, poses, actions, spec.rate, spec, task, seed, extra or {})

    def _check_spec(self) -> None:
        """Returns if the actions have the spec's width and last as long as the spec says."""
        if self.actions.shape[1] != self.spec.size:
            raise DatasetError(
                f"the ActionSpec names {self.spec.size} action dimensions {self.spec.names}, but the episode's actions "
                f"have {self.actions.shape[1]}"
            )
        if not np.isclose(self.rate, self.spec.rate):
            raise DatasetError(
                f"an action leads from one frame to the next, so both come at the same rate: the episode's is "
                f"{self.rate} Hz, its ActionSpec's {self.spec.rate} Hz. Resample the episode, or give the spec its "
                "rate."
            )

    def __len__(self) -> int:
        """Returns the number of frames, T."""
        return len(self.images)


class EpisodeSource(Protocol):
    """Numbered episodes of one kind that a model can learn from, such as `lerobot.EpisodeDataset`."""

    @property
    def spec(self) -> ActionSpec:
        """Meaning of the actions."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, 3) of the images."""
        ...

    @property
    def lengths(self) -> tuple[int, ...]:
        """Frames of each episode."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """What each episode is called for people, such as "success/Mon/trajectory.h5"."""
        ...

    @property
    def problems(self) -> Mapping[int, str]:
        """Episodes found broken when opening, with the reason; reading one raises DatasetError.

        Their length is what could be found out, 0 if nothing.
        """
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the episodes do."""
        ...

    def __len__(self) -> int:
        """Returns the number of episodes."""
        ...

    def __getitem__(self, episode: int) -> Episode:
        """Returns an episode with its images."""
        ...

    def poses_actions(self, episode: int) -> tuple[Float32[np.ndarray, "T P"], Float32[np.ndarray, "T-1 A"]]:
        """Returns an episode's poses and actions without the work of decoding its images."""
        ...


def cut_into_runs(lengths: Sequence[int], frames: int) -> list[range]:
    """Returns all episodes in runs of at most so many frames, of at least one episode each.

    Args:
        lengths: Frames of every episode.
        frames: Of a run, at most.
    """
    starts, filled = [0], 0
    for episode, length in enumerate(lengths):
        if filled and filled + length > frames:
            starts.append(episode)
            filled = 0
        filled += length
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(lengths)], strict=True)]


def check_rows(name: str, values: np.ndarray, rows: int) -> Float32[np.ndarray, "T D"]:
    """Returns the values as float32 after checking that they are ``rows`` rows of finite numbers.

    Raises:
        DatasetError: If they are not.
    """
    values = np.asarray(values, dtype=np.float32)
    if values.ndim != 2 or len(values) != rows:
        raise DatasetError(
            f"an episode's {name} must be a table of {rows} rows (poses: one a frame; actions: one fewer), got shape "
            f"{values.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise DatasetError(
            f"an episode's {name} must be finite numbers; row {bad[0]} is {values[bad[0]].tolist()} "
            f"({len(bad)} bad of {rows}). Cut the recording there or leave it out."
        )
    return values
