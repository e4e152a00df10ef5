"""Which of the recorded frames make up an episode at the rate that a model learns at."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int

from envs.episodes.episode import DatasetError
from envs.episodes.reading import Reading

_TIE = 1e-3  # periods: of two frames equally near the earlier one is taken, whatever rounding does to their times
_OFF_GRID = 0.1  # frames: what a clock may be off the beat of evenly spaced frames


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


def check_even(times: Float[np.ndarray, "T"], rate: float, what: str) -> None:
    """Returns if frame k was taken at k / rate, to a tenth of a frame.

    Args:
        times: Of the frames [s].
        rate: That they should come at [Hz].
        what: Whose times they are, for the error.

    Raises:
        DatasetError: Naming the first frame that is elsewhere.
    """
    check_forward(times)
    expected = np.arange(len(times)) / rate
    bad = np.flatnonzero(~(np.abs(times - expected) * rate <= _OFF_GRID))
    if len(bad):
        raise DatasetError(
            f"the {what} of frame {bad[0]} is {times[bad[0]]:.4f} s, at {rate:g} Hz it should be "
            f"{expected[bad[0]]:.4f} s ({len(bad)} of {len(times)} frames are off)"
        )
