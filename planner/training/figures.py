"""The pictures of the report on a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from envs.episodes import EpisodeSource
from planner.diagnostics.landscape import draw_plane
from planner.reporting import figure
from planner.training.measures import PLANES, HeldOut, Judged, Strip, pictures

COLOURS = {"after": "tab:blue", "before": "tab:orange", "copy": "tab:gray", "shuffled": "tab:red"}
ROUND = 50  # parts of a run that its loss is averaged over


def draw_training(log: Sequence[Mapping[str, float]], start: Mapping[str, float], step: int, path: Path) -> None:
    """Writes the training loss and the held-out rollout error over the optimiser steps.

    Args:
        log: Lines of losses.jsonl.
        start: The parent's errors on the same windows, or none.
        step: Which step of the rollouts to show.
        path: Where to.
    """
    with figure(path, 1, 2, (11, 4)) as (_, (left, right)):
        steps, losses = [line["step"] + 1 for line in log], np.array([line["total"] for line in log])
        left.plot(steps, losses, color=COLOURS["after"], alpha=0.25, linewidth=0.8, label="each step")
        length = max(1, len(losses) // ROUND)
        means = np.convolve(losses, np.full(length, 1 / length), mode="valid")
        left.plot(steps[length - 1 :], means, color=COLOURS["after"], label=f"mean of {length} steps")
        left.set(xlabel="optimiser step", ylabel="loss", title="training loss")
        judged = [line for line in log if f"held_out/rollout_{step}" in line]
        curves = (
            ("after", "", "model"),
            ("copy", "_copy", "copying the last frame"),
            ("shuffled", "_shuffled", "shuffled actions"),
        )
        for kind, suffix, label in curves:
            key = f"rollout{suffix}_{step}"
            points = [(line["step"] + 1, line[f"held_out/{key}"]) for line in judged]
            points = [(0, start[key]), *points] if key in start else points
            right.plot(*zip(*points, strict=True), "o-" if kind == "after" else "--", color=COLOURS[kind], label=label)
        if start:
            right.plot(
                0, start[f"rollout_{step}"], "o", color=COLOURS["before"], markersize=9, zorder=3, label="parent"
            )
        right.set(xlabel="optimiser step", ylabel="mean absolute error", title=f"held-out rollout error, step {step}")
        right.set_ylim(bottom=0)


def draw_errors(curves: Mapping[str, tuple[str, Sequence[float]]], path: Path) -> None:
    """Writes the rollout error over the horizon.

    Args:
        curves: Of "after", "before", "copy" and "shuffled", what to call it and its error at each step.
        path: Where to.
    """
    with figure(path, size=(7.5, 4.5)) as (_, (axes,)):
        for kind, (name, values) in curves.items():
            style = "o-" if kind in {"after", "before"} else "o--"
            axes.plot(range(1, len(values) + 1), values, style, color=COLOURS[kind], label=name)
        axes.set(xlabel="imagined steps", ylabel="mean absolute error of the latents", ylim=(0, None))
        axes.set_xticks(range(1, len(next(iter(curves.values()))[1]) + 1))


def draw_landscapes(judged: Mapping[str, Judged], names: Mapping[str, str], held_out: HeldOut, path: Path) -> None:
    """Writes the energy of single actions around held-out steps, side by side: the same colour is the same energy."""
    from matplotlib.colors import BoundaryNorm

    kinds, rows = list(names), len(held_out.drawn)
    columns = len(PLANES) * len(kinds)
    size = (3.3 * columns + 1, 3.3 * rows + 0.7)
    with figure(path, rows, columns, size, legends=False) as (drawn, axes):
        for row, index in enumerate(held_out.drawn):
            action = held_out.step(index).actions[0, 0]
            values = held_out.grid(action)
            for number, plane in enumerate(PLANES):
                costs = {kind: judged[kind].planes[row][number] for kind in kinds}
                levels = _levels(np.concatenate(list(costs.values())))
                norm = BoundaryNorm(levels, 256)
                first = row * columns + number * len(kinds)
                pair = axes[first : first + len(kinds)]
                for axis, kind in zip(pair, kinds, strict=True):
                    filled = draw_plane(axis, values, costs[kind], action, plane, levels=levels, norm=norm)
                    rank = 100 * judged[kind].diagnoses[index].rank
                    axis.set_title(f"{names[kind]}: {rank:.0f} % look better", fontsize=9)
                drawn.colorbar(filled, ax=list(pair), shrink=0.9, spacing="uniform", ticks=levels[::6], format="%.4g")
        drawn.suptitle(
            "energy of one action, with what was seen after it as the goal; each row is one held-out step\n"
            "red star: the true action; white cross: lowest energy on the grid\n"
            "other dimensions as in the true action",
            fontsize=10,
        )


def _levels(costs: Float[np.ndarray, "m n"]) -> Float[np.ndarray, "l"]:
    """Returns rising levels that share out the grid points equally, so that flat parts show their shape too."""
    levels = np.unique(np.quantile(costs.astype(np.float64), np.linspace(0, 1, 25)))
    return levels if len(levels) > 1 else levels[0] + np.array([-1e-6, 1e-6])


def draw_strip(strip: Strip, names: Mapping[str, str], dataset: EpisodeSource, path: Path) -> None:
    """Writes the true frames of a window above the stored frames that look most like what was imagined."""
    rows = {"seen": "what was\nreally seen", **{kind: f"what\n{name}\nimagined" for kind, name in names.items()}}
    columns = len(strip.seen)
    size = (2.1 * columns, 2.35 * (1 + len(rows)))
    with figure(path, 1 + len(rows), columns, size, legends=False) as (drawn, axes):
        for axis in axes:
            axis.set(xticks=[], yticks=[], frame_on=False)
        for column, image in enumerate(pictures(dataset, strip.seen)):
            axes[column].imshow(image)
            axes[column].set_title("start" if column == 0 else f"really seen, {column}", fontsize=9)
        for row, (kind, name) in enumerate(rows.items(), start=1):
            label, *shown = axes[row * columns : (row + 1) * columns]
            label.text(0.95, 0.5, f"stored frames\nnearest to\n{name}", ha="right", va="center", fontsize=9)
            for column, image in enumerate(pictures(dataset, strip.found[kind])):
                shown[column].imshow(image)
                apart = f"{1000 * strip.apart[kind][column]:.0f} mm off, " if strip.apart[kind] else ""
                shown[column].set_xlabel(f"{apart}latent {strip.distances[kind][column]:.3f}", fontsize=8)
        drawn.suptitle(strip.name, fontsize=10)
