"""The pictures of benchmark.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw_plans(results: dict[str, Any], path: Path) -> None:
    """Draws how many times faster ours is, over the horizon."""
    figure, axes = start_figure()
    groups = sorted({(row["size"], row["precision"]) for row in results["rows"]})
    for size, precision in groups:
        rows = [row for row in results["rows"] if (row["size"], row["precision"]) == (size, precision)]
        horizons = [row["horizon"] for row in rows]
        if "ratio" in rows[0]:
            spread = [[abs(row["ratio"] - row["ratio_range"][i]) for row in rows] for i in (0, 1)]
            axes.errorbar(horizons, [r["ratio"] for r in rows], spread, marker="o", label=f"{size}, {precision}")
            axes.set(ylabel="times faster than the official planner")
        else:
            axes.plot(horizons, [row["seconds"] for row in rows], marker="o", label=f"{size}, {precision}")
            axes.set(ylabel="seconds a plan")
    axes.axhline(1, color="gray", linewidth=0.8)
    axes.set(xlabel="horizon", ylim=(0, None))
    finish_figure(figure, axes, path)


def draw_energy(results: dict[str, Any], path: Path) -> None:
    """Draws the energies at equal time."""
    figure, axes = start_figure()
    for name in [row["planner"] for row in results["rows"]]:
        rows = [row for row in results["equal_time"] if row["planner"] == name]
        above = [100 * (row["median_energy_over_official"] - 1) for row in rows]
        budgets = [1000 * row["budget_seconds"] for row in rows]
        axes.plot(budgets, above, marker="o", label=name)
        axes.set_xscale("log")
        axes.set_xticks(budgets, [f"{budget:g}" for budget in budgets], minor=False)
    axes.minorticks_off()
    axes.set_yscale("symlog", linthresh=0.01)
    axes.set_ylim(bottom=min(-0.01, 1.1 * axes.dataLim.y0))
    axes.set(
        xlabel="time for planning [ms]",
        ylabel="median energy above the official planner's [%]",
        title=f"official planner: {results['official_evaluations']} evaluations in "
        f"{results['official_median_seconds']:.1f} s",
    )
    finish_figure(figure, axes, path)


def draw_pareto(results: dict[str, Any], path: Path) -> None:
    """Draws each planner's success, with its interval, beside its time, the quickest on top."""
    from matplotlib import pyplot

    rows = sorted(results["rows"], key=lambda row: -row["median_seconds"])
    figure, (success, seconds) = pyplot.subplots(
        1, 2, figsize=(8, 1 + 0.3 * len(rows)), layout="constrained", sharey=True
    )
    for height, row in enumerate(rows):
        share, (low, high) = row["at_the_end"] / row["n"], row["interval"]
        spread = [[max(0, share - low)], [max(0, high - share)]]
        success.errorbar(share, height, xerr=spread, marker="o", capsize=3, color="C0")
        seconds.barh(height, 1000 * row["median_seconds"], height=0.6, color="C0")
    success.set_yticks(range(len(rows)), [row["planner"] for row in rows])
    success.set(xlabel=f"success at the end (n = {rows[0]['n']})", xlim=(None, 1.01))
    seconds.set(xlabel="median time of an action [ms]")
    for axes in (success, seconds):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw_training(results: dict[str, Any], path: Path) -> None:
    """Draws where a step's time goes."""
    figure, axes = start_figure()
    names = [row["recordings"] for row in results["rows"]]
    left = [0.0] * len(names)
    for part in ("decode", "encode", "learn"):
        seconds = [row["official_seconds"][part] for row in results["rows"]]
        axes.barh([f"{name}\nofficial recipe" for name in names], seconds, left=left, label=part)
        left = [a + b for a, b in zip(left, seconds, strict=True)]
    axes.barh([f"{name}\ncached" for name in names], [row["seconds"] for row in results["rows"]], color="black")
    axes.set(xlabel="seconds an optimiser step")
    finish_figure(figure, axes, path)


def draw_jitter(results: dict[str, Any], path: Path) -> None:
    """Draws how late set-points were, at three shares of them and at worst."""
    figure, axes = start_figure()
    names = ("median", "p99", "p999", "worst")
    for role in ("executor", "floor"):
        axes.plot(["half", "99 %", "99.9 %", "all"], [1000 * results[role][name] for name in names], "o-", label=role)
    axes.axhline(5, color="gray", linewidth=0.8)
    axes.set(xlabel="of the set-points", ylabel="at most so late [ms]", yscale="log")
    finish_figure(figure, axes, path)


def start_figure() -> tuple[Any, Any]:
    """Returns an empty figure and its axes."""
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(8, 5), layout="constrained")


def finish_figure(figure: Any, axes: Any, path: Path) -> None:
    """Adds legend and grid and writes the file."""
    from matplotlib import pyplot

    axes.legend(fontsize=8, loc="best")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
