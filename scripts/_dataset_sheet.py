"""The contact sheet: frames over time with their poses under them, one row an episode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw, ImageFont

from envs.episodes import Episode
from envs.folders import writing
from envs.spec import ActionSpec

HEIGHT, MARGIN, LINE, HEADING = 176, 10, 16, 22
INK, GREY, PAPER = (30, 34, 42), (110, 114, 124), (250, 250, 252)


def draw_contact_sheet(episodes: Sequence[tuple[str, Episode]], frames: int, path: Path) -> None:
    """Writes a picture: a row an episode, so many frames of it from the first to the last, their poses below.

    Args:
        episodes: With what each is called.
        frames: Frames a row.
        path: Of the picture.
    """
    width = max(round(HEIGHT * episode.images.shape[2] / episode.images.shape[1]) for _, episode in episodes)
    width = max(width, 188)  # for the numbers
    lines = max(len(pose_lines(episode.spec, episode.poses[0])) for _, episode in episodes)
    row_height = HEADING + HEIGHT + (1 + lines) * LINE + 2 * MARGIN
    sheet = Image.new("RGB", (MARGIN + frames * (width + MARGIN), MARGIN + len(episodes) * row_height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for row, (name, episode) in enumerate(episodes):
        top = MARGIN + row * row_height
        title = f"{name}: {len(episode)} frames at {episode.rate:g} Hz   {episode.task}"
        pen.text((MARGIN, top), title, INK, _font(14))
        for column, frame in enumerate(np.linspace(0, len(episode) - 1, frames).round().astype(int)):
            left = MARGIN + column * (width + MARGIN)
            picture = Image.fromarray(episode.images[frame])
            shown = (round(HEIGHT * picture.width / picture.height), HEIGHT)
            sheet.paste(picture.resize(shown, Image.Resampling.BICUBIC), (left, top + HEADING))
            texts = [f"frame {frame}  {frame / episode.rate:.2f} s"]
            texts += pose_lines(episode.spec, episode.poses[frame])
            for i, text in enumerate(texts):
                pen.text((left, top + HEADING + HEIGHT + 3 + i * LINE), text, INK if i else GREY, _font(12))
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path):
        sheet.save(path)


def pose_lines(spec: ActionSpec, pose: Float32[np.ndarray, "P"]) -> list[str]:
    """Returns the pose's numbers with their names, three a line; lengths to the millimetre."""
    numbers = [
        f"{name[:10]} {value:+.{3 if unit == 'm' else 2}f}"
        for name, unit, value in zip(spec.names, spec.units, pose, strict=True)
    ]
    return ["  ".join(numbers[i : i + 3]) for i in range(0, len(numbers), 3)]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns Pillow's own font, so that no machine lacks it."""
    return ImageFont.load_default(size)
