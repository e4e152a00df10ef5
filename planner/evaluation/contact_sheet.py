"""The contact sheet of a suite: successes and failures of each task, a line an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from planner.evaluation.report import EpisodeRecord
from planner.viewing.frames import GREEN, INK, ORANGE, PAPER

LABEL, CELL, LINE, HEADING, GAP = 1.45, 1.43, 1.62, 0.36, 0.12  # [inch]
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # of an episode, at which it is shown


def draw_contact_sheet(sections: Mapping[str, Sequence[EpisodeRecord]], path: Path, title: str) -> None:
    """Writes episodes of several tasks, one line each: the start, the goal images in turn, moments in time, the end.

    Args:
        sections: Episodes with images, by the name of the task.
        path: Of the picture.
        title: What is to be known of all.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    records = [record for found in sections.values() for record in found]
    counts = [max(map(len, groups)) for groups in zip(*map(_sheet_groups, records), strict=True)]
    size = (LABEL + CELL * sum(counts) + GAP * len(counts), 0.5 + HEADING * len(sections) + LINE * len(records))
    figure = plt.figure(figsize=size, facecolor=_rgb(PAPER))
    _write(figure, 0.12, size[1] - 0.32, title, INK, fontsize=13)
    top = size[1] - 0.5
    for name, found in sections.items():
        _write(figure, 0.12, top - 0.24, name, INK, fontsize=12, weight="bold")
        top -= HEADING
        for record in found:
            _draw_line(figure, record, counts, top)
            top -= LINE
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_line(figure, record: EpisodeRecord, counts: Sequence[int], top: float) -> None:
    """Draws an episode's line of a contact sheet, its upper edge at `top` [inch]."""
    width, height = figure.get_size_inches()
    colour, label = _sheet_label(record)
    _write(figure, 0.12, top - 0.08, label, colour, fontsize=8.5, verticalalignment="top")
    left, side = LABEL, 0.94 * CELL
    for group, count in zip(_sheet_groups(record), counts, strict=True):
        for place, (image, caption, reached) in enumerate(group):
            box = ((left + CELL * place) / width, (top - side) / height, side / width, side / height)
            axis = figure.add_axes(box, xticks=[], yticks=[])
            axis.imshow(image)
            axis.set_xlabel(caption, fontsize=8, labelpad=2, color=_rgb(GREEN if reached else INK))
        left += CELL * count + GAP


def _write(figure, x: float, y: float, text: str, colour: tuple[int, int, int], **style: Any) -> None:
    """Writes on a figure at a place [inch] from its lower left corner."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, color=_rgb(colour), **style)


def _sheet_label(record: EpisodeRecord) -> tuple[tuple[int, int, int], str]:
    """Returns the colour and the text beside an episode's line."""
    end = "success" if record.successes[-1] else "failure"
    lines = [end, f"seed {record.seed}", f"{1000 * record.distances[-1]:.0f} mm at the end"]
    if not record.successes[-1] and any(record.successes):
        lines.append("a success before")
    lines += [f"{name}: {_when(moments)}" for name, moments in record.stages.items()]
    return GREEN if record.successes[-1] else ORANGE, "\n".join(lines)


def _when(moments: Sequence[bool]) -> str:
    """Returns when something first held and whether it does at the end."""
    if not any(moments):
        return "never"
    return f"step {list(moments).index(True)}" + ("" if moments[-1] else ", lost")


def _sheet_groups(record: EpisodeRecord) -> tuple[list[tuple[UInt8[np.ndarray, "h w 3"], str, bool]], ...]:
    """Returns an episode's pictures with caption and success in three groups: start, goals, and moments to the end."""
    goals, count = [goal.image for goal in record.goals], len(record.goals)
    names = ["goal"] if count == 1 else [f"goal {number} of {count}" for number in range(1, count + 1)]
    images, last = record.images, len(record.images) - 1
    moments = sorted({round(last * share) for share in SHARES})
    seen = [
        (images[i], f"{'end' if i == last else f'step {i}'}: {1000 * record.distances[i]:.0f} mm", at)
        for i, at in ((i, record.successes[i]) for i in moments)
    ]
    return seen[:1], [(goal, name, False) for goal, name in zip(goals, names, strict=True)], seen[1:]


def _rgb(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    """Returns a colour as matplotlib takes it."""
    red, green, blue = (channel / 255 for channel in colour)
    return red, green, blue
