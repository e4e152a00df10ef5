"""Runs in rerun's viewer, live."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from planner.viewing.frames import BLUE, ORANGE
from planner.viewing.shown import Shown, Ways, latency

FILE = "view.rrd"
"""Where there is no screen: what `rerun FILE` shows on a machine that has one."""

_COLOURS = {"candidates": (170, 170, 170), "elites": ORANGE, "plan": BLUE}


class RerunView:
    """Sends each step to rerun's viewer, which it opens, or where there is no screen into a file."""

    def __init__(self, folder: Path) -> None:
        """Opens the viewer, or the file in a folder.

        Raises:
            ImportError: If rerun is not installed.
        """
        try:
            import rerun  # type: ignore[import-not-found]
            import rerun.blueprint  # type: ignore[import-not-found]
        except ImportError as error:
            raise ImportError("--view rerun needs rerun 0.23 or newer: pip install 'rerun-sdk>=0.23'") from error
        self._rerun: Any = rerun
        self._steps = 0
        self._drawn: set[str] = set()  # paths at which ways stand
        screen = _has_screen()
        rerun.init("vjepa-planner", spawn=screen)
        if not screen:
            rerun.save(folder / FILE)
            print(f"there is no screen: writing {folder / FILE}, which `rerun FILE` shows", flush=True)
        rerun.send_blueprint(_layout(rerun.blueprint))

    def show(self, shown: Shown) -> None:
        """See `View.show`."""
        rerun, step = self._rerun, shown.step
        rerun.set_time("step", sequence=self._steps)
        self._steps += 1
        rerun.log("camera", rerun.Image(step.observation.image))
        rerun.log("goal", rerun.Image(shown.goal))
        if shown.imagined is not None:
            rerun.log("imagined", rerun.Image(shown.imagined.picture))
            rerun.log("imagined_distance", rerun.Scalars(shown.imagined.distance))
        if shown.ways is not None:
            self._show_ways(shown.ways)
        else:
            for path in self._drawn:
                rerun.log(path, rerun.Clear(recursive=False))  # else the last step's ways would stay
            self._drawn.clear()
        if step.action is not None:
            rerun.log("cost", rerun.Scalars(step.cost))
            rerun.log("latency", rerun.Scalars(latency(step)))
        if shown.distance is not None:
            rerun.log("distance", rerun.Scalars(shown.distance))
        for reason in step.reasons:
            rerun.log("safety", rerun.TextLog(reason))

    def _show_ways(self, ways: Ways) -> None:
        """Logs ways as line strips, in space and over the camera's image."""
        rerun = self._rerun
        for order, (kind, colour) in enumerate(_COLOURS.items()):
            points = -0.5 - 0.5 * order  # below zero: of a screen, not metres
            style: dict[str, Any] = {"colors": [colour], "radii": [points]}
            strips = {f"ways/{kind}": rerun.LineStrips3D(ways.places[kind], **style)}
            if kind in ways.pixels:
                strips[f"camera/{kind}"] = rerun.LineStrips2D(ways.pixels[kind], draw_order=30.0 + order, **style)
            for path, strip in strips.items():
                rerun.log(path, strip)
                self._drawn.add(path)

    def finish(self, runs: Mapping[str, Sequence[Shown]], folder: Path) -> None:
        """See `View.finish`: all has been shown."""


def _layout(blueprint: Any) -> Any:
    """Returns where what stands in the viewer: pictures above, curves below."""
    camera, goal, imagined = (
        blueprint.Spatial2DView(origin=name, name=name) for name in ("camera", "goal", "imagined")
    )
    ways = blueprint.Spatial3DView(origin="ways", name="ways of the hand")
    beside = blueprint.Tabs(ways, imagined, blueprint.TextLogView(origin="safety", name="safety"))
    names = {"cost": "cost of the plan", "latency": "time of a plan [s]", "distance": "distance [m]"}
    curves = [blueprint.TimeSeriesView(origin=origin, name=name) for origin, name in names.items()]
    rows = blueprint.Horizontal(camera, goal, beside), blueprint.Horizontal(*curves)
    return blueprint.Blueprint(blueprint.Vertical(*rows, row_shares=[2, 1]), collapse_panels=True)


def _has_screen() -> bool:
    """Returns whether a window can be opened."""
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
