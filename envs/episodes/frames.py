"""Which of the recorded frames make up an episode at the rate that a model learns at, and their images."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from envs.episodes.episode import DatasetError
from envs.episodes.reading import Reading

_TIE = 1e-3  # periods: of two frames equally near the earlier one is taken, whatever rounding does to their times
_OFF_GRID = 0.1  # frames: what a clock may be off the beat of evenly spaced frames where times are computed
_UNIT = 20.0  # times: by which no clock in seconds is off the stated rate
_LOST = 2.5  # periods between two frames: from here it is a gap, two frames or more are missing
_JITTER = 0.5  # frames: what a camera's own clock may be off the beat where no rate is asked for
OFF_RATE = 0.05  # share: what a clock's rate may be off the stated one before it is remarked, or refused without a rate
_EVENLY = "if the frames came evenly, `recorded_rate: HZ` in the Reading says so, and the clock is not read"
_SQUASH = 1.35  # width over height of what the official recipe squeezes to a square; taller than 4:3 stays whole
_STRETCH = 0.75
_GIVE_RATE = "give `rate` in the Reading, and frames are chosen by their times"


@dataclass(frozen=True)
class Clock:
    """When the frames of a recording were taken.

    Attributes:
        times: Of the frames [s], from the first one on.
        gaps: Indices of the frames after which frames are missing.
        period: Between frames, usually [s].
    """

    times: Float[np.ndarray, "T"]
    gaps: Int[np.ndarray, "G"]
    period: float


def read_clock(times: Float[np.ndarray, "T"], rate: float, exact: bool) -> Clock:
    """Returns a clock from what was recorded, whatever time it counts from.

    Args:
        times: As they were recorded [s].
        rate: Frames a second that the recording should have [Hz].
        exact: See `Rows.exact`.

    Raises:
        DatasetError: If it is no number, is in another unit, has too few digits, stands still or runs backwards.
    """
    advice = _EVENLY if exact else "leave the recording out"
    bad = np.flatnonzero(~np.isfinite(times))
    if len(bad):
        raise DatasetError(f"the timestamp of frame {bad[0]} is no number, nor are {len(bad) - 1} others; {advice}")
    largest = np.abs(times).max(initial=0.0).astype(np.float32)
    if np.spacing(largest) * rate > _OFF_GRID and np.array_equal(times, times.astype(np.float32)):
        raise DatasetError(
            f"the timestamps go to {largest:.0f} s and were stored as float32, which tells only times "
            f"{np.spacing(largest):g} s apart: when frames were taken is lost; {advice}"
        )
    check_forward(times)
    steps = np.diff(times)
    still = np.flatnonzero((steps[:-1] == 0) & (steps[1:] == 0)) if steps.any() or len(times) < 2 else np.zeros(1, int)
    if len(still):
        last = still[0] + 1 + int(np.argmax(np.append(steps[still[0] + 1 :] != 0, True)))
        raise DatasetError(
            f"the clock stands still: the frames {still[0]} to {last} were all taken at {times[still[0]]:.4f} s; "
            f"{advice}"
        )
    period = float(np.median(steps[steps > 0])) if len(steps) else 1 / rate
    if len(steps) and not 1 / _UNIT < period * rate < _UNIT:
        raise DatasetError(
            f"the timestamps are {period:g} s apart where {1 / rate:.4g} s are stated: they should be in seconds, are "
            f"they in another unit? {advice}"
        )
    return Clock(times - times[:1], np.flatnonzero(steps > _LOST * period), period)


def choose_parts(clock: Clock, header_rate: float, rate: float, reading: Reading, exact: bool) -> list[Part]:
    """Returns the frames of the episodes that a recording makes: one, or with gaps cut a part between each two.

    Args:
        clock: Of the recording.
        header_rate: What the video's header says [Hz].
        rate: What the recordings say [Hz].
        reading: Says the rate, whose clock counts and what to do with gaps.
        exact: See `Rows.exact`.

    Raises:
        DatasetError: If there are gaps that are not to be cut, or the clock has not the rate.
    """
    if reading.time_base == "vjepa2_compat":
        return [Part("", choose_frames(clock.times, header_rate, reading))]
    if len(clock.gaps) and reading.gaps == "refuse":
        first = clock.gaps[0]
        count = "a gap" if len(clock.gaps) == 1 else f"{len(clock.gaps)} gaps"
        lost = clock.times[first + 1] - clock.times[first]
        raise DatasetError(
            f"the clock has {count}: {lost:.3f} s after frame {first}, where "
            f"{clock.period:.3f} s is usual; `gaps: cut` in the Reading makes an episode of each part"
        )
    ends = [0, *(clock.gaps + 1).tolist(), len(clock.times)]
    parts = []
    for number, (start, end) in enumerate(itertools.pairwise(ends), start=1):
        times, name = clock.times[start:end], f", part {number}" if len(ends) > 2 else ""
        frames = _choose_part(times - times[:1], header_rate, rate, reading, exact)
        parts.append(Part(name, (frames + start).astype(np.int32)))
    return parts


@dataclass(frozen=True)
class Part:
    """Frames of a recording that make up an episode, and what is added to the recording's name."""

    name: str
    frames: Int[np.ndarray, "U"]


def _choose_part(
    times: Float[np.ndarray, "T"], header_rate: float, rate: float, reading: Reading, exact: bool
) -> Int[np.ndarray, "U"]:
    """Returns the frames of a stretch without gaps, which begins at 0 s."""
    beat = np.arange(len(times)) / rate
    if exact and not len(_off_beat(times, beat, rate, _OFF_GRID)):
        times = beat  # rounding of stored times decides nothing
    elif reading.rate is None and exact:
        check_forward(times)
        bad = _off_beat(times, beat, rate, _OFF_GRID)
        raise DatasetError(
            f"the timestamp of frame {bad[0]} is {times[bad[0]]:.4f} s, at {rate:g} Hz it should be {beat[bad[0]]:.4f} "
            f"s ({len(bad)} of {len(times)} frames are off by over {_OFF_GRID:g} frames); {_GIVE_RATE}"
        )
    elif reading.rate is None and len(times) > 2:
        own = (len(times) - 1) / times[-1]
        if abs(own / rate - 1) > OFF_RATE or len(_off_beat(times, np.arange(len(times)) / own, own, _JITTER)):
            raise DatasetError(
                f"the clock shows {own:.4g} frames a second where {rate:g} are usual, or is off their beat by over "
                f"{_JITTER:g} frames; {_GIVE_RATE}"
            )
    return choose_frames(times, header_rate, reading)


def _off_beat(
    times: Float[np.ndarray, "T"], beat: Float[np.ndarray, "T"], rate: float, tolerance: float
) -> Int[np.ndarray, "n"]:
    """Returns which frames were taken off a beat by more than a tolerance [frames]."""
    return np.flatnonzero(~(np.abs(times - beat) * rate <= tolerance))


def choose_frames(times: Float[np.ndarray, "T"], header_rate: float, reading: Reading) -> Int[np.ndarray, "U"]:
    """Returns the indices of the frames that make up an episode.

    Args:
        times: When each recorded frame was taken [s].
        header_rate: What the video's header says [Hz].
        reading: Says the rate and whose clock counts.

    Raises:
        DatasetError: If the clock runs backwards or a stretch without frames is longer than the rate allows.
    """
    if reading.time_base == "vjepa2_compat":
        assert reading.rate is not None, "Reading has one"
        return np.arange(0, len(times), math.ceil(round(header_rate / reading.rate, 6)), dtype=np.int32)
    check_forward(times)
    if reading.rate is None or len(times) < 2:
        return np.arange(len(times), dtype=np.int32)
    period = 1 / reading.rate
    end = times[-1] + 0.5 * np.median(np.diff(times))  # the last frame is the nearest until then
    wanted = times[0] + period * np.arange(math.floor((end - times[0]) / period + _TIE) + 1)
    later = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    before, after = wanted - times[later - 1], times[later] - wanted
    chosen = np.where(before <= after + _TIE * period, later - 1, later)
    bad = np.flatnonzero((np.abs(times[chosen] - wanted) > (0.5 + _TIE) * period) | (np.diff(chosen, prepend=-1) < 1))
    if len(bad):
        raise DatasetError(
            f"no frame was taken near {wanted[bad[0]] - times[0]:.3f} s, as {reading.rate:g} Hz need; the nearest is "
            f"at {times[chosen[bad[0]]] - times[0]:.3f} s: there is a gap, or fewer frames a second were recorded"
        )
    return chosen.astype(np.int32)


def check_forward(times: Float[np.ndarray, "T"]) -> None:
    """Returns if a clock never runs backwards; raises DatasetError naming the frame where it does."""
    bad = np.flatnonzero(~(np.diff(times) >= 0))
    if len(bad):
        frame = bad[0]
        raise DatasetError(
            f"the clock runs backwards: frame {frame} was taken at {times[frame]:.4f} s, the next at "
            f"{times[frame + 1]:.4f} s"
        )


def prepare_images(images: UInt8[np.ndarray, "n h w 3"], reading: Reading) -> UInt8[np.ndarray, "n H W 3"]:
    """Returns images as a Reading wants them.

    Resized as `world_model.encoders.vjepa2.Encoder.preprocess` does it, bilinearly without antialias, and rounded.
    """
    if reading.flip == "vertical":
        images = images[:, ::-1]
    top, left, height, width = _crop_box(images.shape[1], images.shape[2], reading)
    images = images[:, top : top + height, left : left + width]
    side = prepared_shape(images.shape[1:3], reading)[:2]
    if images.shape[1:3] == side:
        return np.ascontiguousarray(images)
    import torch
    from torch.nn import functional

    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float()  # (n, 3, h, w)
    resized = functional.interpolate(pixels, side, mode="bilinear", align_corners=False, antialias=False)
    return np.ascontiguousarray(resized.round().clamp(0, 255).byte().numpy().transpose(0, 2, 3, 1))


def prepared_shape(size: tuple[int, int], reading: Reading) -> tuple[int, int, int]:
    """Returns the shape (H, W, 3) that recorded images of a size (h, w) get."""
    _, _, height, width = _crop_box(*size, reading)
    if reading.crop == "none":
        return height, width, 3
    side = reading.image_size or min(height, width)
    return side, side, 3


def _crop_box(height: int, width: int, reading: Reading) -> tuple[int, int, int, int]:
    """Returns top, left, height and width of what is kept."""
    if reading.crop == "none":
        return 0, 0, height, width
    if reading.crop == "square":
        rows = columns = min(height, width)
    else:
        rows, columns = min(height, round(width / _STRETCH)), min(width, round(height * _SQUASH))
    return (height - rows) // 2, (width - columns) // 2, rows, columns
