"""The contact sheet: frames over time with their poses under them, one block an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw
from PIL.ImageFont import load_default  # Pillow's own, which no machine lacks

from envs.episodes import Episode
from envs.spec import ActionSpec

HEIGHT, WIDEST, NARROWEST, SHEET = 176, 320, 188, 1600  # pixels: of a picture, and of the sheet, seen whole on a screen
MARGIN, LINE, HEADING, GAP = 10, 17, 24, 18
INK, GREY, PAPER = (30, 34, 42), (110, 114, 124), (250, 250, 252)
TITLE_SIZE, TEXT_SIZE = 15, 13
SMALLEST = 0.75  # of its size that a picture is shown at so that all frames stand in one row


@dataclass(frozen=True)
class _Layout:
    """How a sheet is laid out, the same for all its episodes.

    Attributes:
        cell: Width of a frame with what is below it [pixels].
        picture: Height of the highest picture [pixels].
        entry: Width of a number with its name [pixels].
        lines: Of numbers in a cell, which may have several columns of them.
        frames: In a row; an episode with more has several rows.
        rows: Of an episode.
    """

    cell: int
    picture: int
    entry: int
    lines: int
    frames: int
    rows: int

    @property
    def row_height(self) -> int:
        """Of a row of frames with what is below it [pixels]."""
        return self.picture + (1 + self.lines) * LINE + 2 * MARGIN

    @property
    def block_height(self) -> int:
        """Of an episode [pixels]."""
        return HEADING + self.rows * self.row_height

    @property
    def width(self) -> int:
        """Of the sheet [pixels]."""
        return MARGIN + self.frames * (self.cell + MARGIN)


def draw_contact_sheet(episodes: Sequence[tuple[str, Episode]], frames: int, path: Path) -> None:
    """Writes a picture: a block an episode, so many frames of it from the first to the last, their poses below.

    A sheet is at most as wide as a screen: frames that do not fit side by side go on in the next row.

    Args:
        episodes: With what each is called.
        frames: Frames an episode.
        path: Of the picture.
    """
    layout = _lay_out([episode for _, episode in episodes], frames)
    sheet = Image.new("RGB", (layout.width, MARGIN + len(episodes) * layout.block_height), PAPER)
    for number, (name, episode) in enumerate(episodes):
        title = f"{name}: {len(episode)} frames at {episode.rate:g} Hz   {episode.task}"
        _draw_episode(sheet, layout, episode, frames, title, MARGIN + number * layout.block_height)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def pose_texts(spec: ActionSpec, pose: Float32[np.ndarray, "P"]) -> list[tuple[str, str]]:
    """Returns the pose's numbers with their names; lengths to the millimetre."""
    return [
        (name, f"{value:+.{3 if unit == 'm' else 2}f}")
        for name, unit, value in zip(spec.names, spec.units, pose, strict=True)
    ]


def shorten(text: str, width: float, size: int) -> str:
    """Returns a text that is at most so wide [pixels] at a size of the font: of a longer one beginning and end."""
    font = load_default(size)
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shown = f"{text[: kept // 2].rstrip()}...{text[len(text) - (kept - kept // 2) :].lstrip()}"
        if font.getlength(shown) <= width:
            return shown
    return "..."


def _lay_out(episodes: Sequence[Episode], frames: int) -> _Layout:
    """Returns where things go: frames side by side, a quarter smaller if that is what it takes, or in several rows."""
    cell = max(NARROWEST, *(_shown(episode, WIDEST)[0] for episode in episodes))
    all_fit = (SHEET - MARGIN) // frames - MARGIN
    if max(NARROWEST, SMALLEST * cell) <= all_fit < cell:
        cell = all_fit
    rows = -(-frames // max(1, (SHEET - MARGIN) // (cell + MARGIN)))
    entry = min(cell, round(max(_entry_width(episode) for episode in episodes)))
    columns = (cell + GAP) // (entry + GAP)
    lines = max(-(-episode.spec.size // columns) for episode in episodes)
    picture = max(_shown(episode, cell)[1] for episode in episodes)
    return _Layout(cell, picture, entry, lines, -(-frames // rows), rows)


def _entry_width(episode: Episode) -> float:
    """Returns the width of a number with its name, the widest [pixels]."""
    font = load_default(TEXT_SIZE)
    return max(font.getlength(name) for name in episode.spec.names) + font.getlength("  +00.000")


def _shown(episode: Episode, widest: int) -> tuple[int, int]:
    """Returns width and height of an episode's pictures on the sheet [pixels]."""
    height, width = episode.images.shape[1:3]
    scale = min(HEIGHT / height, widest / width)
    return max(1, round(scale * width)), max(1, round(scale * height))


def _draw_episode(sheet: Image.Image, layout: _Layout, episode: Episode, frames: int, title: str, top: int) -> None:
    """Draws one episode's block."""
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, top), shorten(title, layout.width - 2 * MARGIN, TITLE_SIZE), INK, load_default(TITLE_SIZE))
    for place, frame in enumerate(np.linspace(0, len(episode) - 1, frames).round().astype(int)):
        row, column = divmod(place, layout.frames)
        left, upper = MARGIN + column * (layout.cell + MARGIN), top + HEADING + row * layout.row_height
        picture = Image.fromarray(episode.images[frame]).resize(_shown(episode, layout.cell), Image.Resampling.BICUBIC)
        sheet.paste(picture, (left, upper))
        below = upper + layout.picture + 3
        pen.text((left, below), f"frame {frame}  {frame / episode.rate:.2f} s", GREY, load_default(TEXT_SIZE))
        _draw_numbers(pen, layout, pose_texts(episode.spec, episode.poses[frame]), left, below + LINE)


def _draw_numbers(pen: ImageDraw.ImageDraw, layout: _Layout, texts: list[tuple[str, str]], left: int, top: int) -> None:
    """Draws names and numbers in columns, down each one first: names on its left, numbers on its right."""
    font = load_default(TEXT_SIZE)
    for place, (name, value) in enumerate(texts):
        column, line = divmod(place, layout.lines)
        start, height, long = left + column * (layout.entry + GAP), top + line * LINE, font.getlength(value)
        pen.text((start, height), shorten(name, layout.entry - long - 6, TEXT_SIZE), GREY, font)
        pen.text((start + layout.entry - long, height), value, INK, font)
