"""The picture of what an evaluation's model makes of single actions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from envs.pose import motion_of
from planner.control.controller import Controller
from planner.diagnostics.landscape import energy_plane
from planner.evaluation.report import EpisodeRecord


def draw_landscape(controller: Controller, records: Sequence[EpisodeRecord], path: Path, title: str) -> None:
    """Writes the energy of single actions around two moments: a start, and one with the goal within reach of an action.

    The arrow is the true way to the goal, cut at the bounds, where the goal's pose is known; the cross is the lowest
    energy on the grid. Of several goals it is the first one's energy.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    record, near = _landscape_moments(records, reach=max(controller.spec.high[:3]))
    moments = [0] if near is None else [0, near]
    planes = [(0, other) for other in range(1, min(3, controller.spec.size))]
    size = (5 * len(planes), 4.3 * len(moments))
    figure, axes = plt.subplots(len(moments), len(planes), figsize=size, squeeze=False, layout="constrained")
    for row, moment in zip(axes, moments, strict=True):
        for axis, plane in zip(row, planes, strict=True):
            _draw_plane(axis, controller, record, moment, plane)
    figure.suptitle(
        f"{title}: energy of one action, the cost that plans are judged by\n"
        "red arrow: the true way to the goal, cut at the bounds; cross: lowest energy; other dimensions at zero",
        fontsize=11,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_plane(axis, controller: Controller, record: EpisodeRecord, moment: int, plane: tuple[int, int]) -> None:
    """Draws one plane of actions at one moment."""
    spec, state = controller.spec, controller.model.encode([record.shown[moment].step.observation])
    controller.reset(record.goals[:1], seed=0)
    xs, ys = (np.linspace(spec.low[i], spec.high[i], 21) for i in plane)
    still = state.poses.new_tensor(np.clip(np.zeros(spec.size), spec.low, spec.high))
    values = (still.new_tensor(xs), still.new_tensor(ys))
    costs = energy_plane(partial(controller.score, state), still, plane, values).cpu().numpy()
    filled = axis.contourf(1000 * xs, 1000 * ys, costs, levels=24, cmap="viridis")
    axis.figure.colorbar(filled, ax=axis)
    row, column = np.unravel_index(costs.argmin(), costs.shape)
    axis.plot(1000 * xs[column], 1000 * ys[row], "x", color="white", markersize=9, markeredgewidth=2, clip_on=False)
    pose = record.goals[0].pose
    if pose is not None:
        way = 1000 * motion_of(spec).difference(record.poses[moment], pose)[list(plane)]  # [mm]
        shown = way * min(1.0, *(np.array([1000 * xs[-1], 1000 * ys[-1]]) / np.maximum(np.abs(way), 1e-9)))
        arrow = {"arrowstyle": "-|>", "color": "tab:red", "linewidth": 2}
        axis.annotate("", xytext=(0, 0), xy=tuple(shown), arrowprops=arrow)
    names = [controller.spec.names[i] for i in plane]
    distance = 1000 * record.distances[moment]
    axis.set(xlabel=f"d{names[0]} [mm]", ylabel=f"d{names[1]} [mm]", aspect="equal")
    axis.set_title(f"seed {record.seed}, step {moment}: {distance:.0f} mm away", fontsize=10)


def _landscape_moments(records: Sequence[EpisodeRecord], reach: float) -> tuple[EpisodeRecord, int | None]:
    """Returns an episode and its first moment with the goal 0.4 to 0.9 reaches away in its largest direction."""
    for record in records:
        pose = record.goals[0].pose
        if pose is None:
            continue
        ways = np.abs(pose[:3] - record.poses[:, :3]).max(axis=1)
        near = np.flatnonzero((ways > 0.4 * reach) & (ways < 0.9 * reach))
        if len(near):
            return record, int(near[0])
    return records[0], None
