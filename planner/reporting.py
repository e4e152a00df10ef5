"""Tables and pictures of results, alike in all programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Row = TypeVar("Row")


def table(rows: Iterable[Row], columns: Mapping[str, Callable[[Row], str]]) -> str:
    """Returns a Markdown table: under each name what it makes of each row."""
    return markdown(list(columns), [[tell(row) for tell in columns.values()] for row in rows])


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table, aligned for reading as it stands."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


@contextmanager
def figure(
    path: Path,
    rows: int = 1,
    columns: int = 1,
    size: tuple[float, float] = (8, 5),
    legends: bool = True,
    **settings: Any,
) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Gives a figure and its axes, row by row, to draw in without a screen, and writes it.

    Args:
        path: Of the picture.
        rows: Of axes.
        columns: Of axes.
        size: Width and height [inches].
        legends: Whether axes get legend and grid.
        settings: Of pyplot.subplots.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **settings)
    try:
        yield drawn, tuple(axes.flat)
        for axis in axes.flat if legends else ():
            axis.legend(fontsize=8, loc="best")
            axis.grid(alpha=0.3)
        drawn.savefig(path, dpi=110)
    finally:
        pyplot.close(drawn)
