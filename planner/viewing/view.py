"""Where runs are looked at: nowhere, in a video and a poster, or in rerun's viewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from planner.viewing.shown import Shown

Kind = Literal["video", "rerun", "none"]

_RATE = 4.0  # steps a second of a video, near to that of the arms [Hz]


class View(Protocol):
    """Somewhere to look at runs."""

    def show(self, shown: Shown) -> None:
        """Shows a step while the run goes on."""
        ...

    def finish(self, runs: Mapping[str, Sequence[Shown]], folder: Path) -> None:
        """Shows runs that are over, by their titles; no arm moves."""
        ...


def make_view(kind: Kind, folder: Path) -> View:
    """Returns the view of a kind.

    Args:
        kind: Which.
        folder: Of the program's results.

    Raises:
        ImportError: If rerun is asked for and not installed.
    """
    if kind == "rerun":
        from planner.viewing.rerun_view import RerunView  # an extra

        return RerunView(folder)
    return VideoView() if kind == "video" else NoView()


class NoView:
    """Nothing but the terminal."""

    def show(self, shown: Shown) -> None:
        """See `View.show`."""

    def finish(self, runs: Mapping[str, Sequence[Shown]], folder: Path) -> None:
        """See `View.finish`."""


class VideoView:
    """Writes video.mp4, a smaller video.gif and poster.png of runs that are over, one after another."""

    def show(self, shown: Shown) -> None:
        """See `View.show`."""

    def finish(self, runs: Mapping[str, Sequence[Shown]], folder: Path) -> None:
        """See `View.finish`."""
        runs = {title: steps for title, steps in runs.items() if steps}
        if not runs:
            return
        from envs.episodes.video import VideoCodec, encode_frames  # imports torch: only when no arm moves
        from planner.viewing.frames import draw_frames, draw_poster

        frames: list[Image.Image] = []
        for title, steps in runs.items():
            drawn = draw_frames(steps, title)
            frames += drawn + [drawn[-1]] * round(_RATE)  # the last one stays for a second
        codec = VideoCodec(pixel_format="yuv420p", quality=20, keyframe_interval=20)  # what browsers play
        (folder / "video.mp4").write_bytes(encode_frames(np.stack([np.asarray(each) for each in frames]), _RATE, codec))
        _write_gif(frames, folder / "video.gif")
        draw_poster(runs).save(folder / "poster.png", optimize=True)


def _write_gif(frames: Sequence[Image.Image], path: Path) -> None:
    """Writes frames at two thirds of their size."""
    small = [frame.resize((frame.width * 2 // 3, frame.height * 2 // 3), Image.Resampling.LANCZOS) for frame in frames]
    first, *rest = [frame.quantize(128, dither=Image.Dither.NONE) for frame in small]
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / _RATE), loop=0)
