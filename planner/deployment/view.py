"""What deploy.py shows: a line a step in the terminal, a video and a poster, or rerun's viewer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from PIL.ImageFont import load_default  # Pillow's own, which no machine lacks

from envs.episodes.recorder import RecordedStep
from envs.pose import difference

HEIGHT, MARGIN, HEADER, CURVE, FOOTER = 360, 12, 34, 130, 36
INK, GREY, PALE, PAPER = (30, 34, 42), (110, 114, 124), (200, 204, 212), (250, 250, 252)
FAINT, BLUE, ORANGE, RED = (228, 230, 235), (46, 98, 200), (214, 110, 30), (190, 40, 40)

THERE = 2e-3  # m, rad, 1: nearer than this counts as got there

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Imagined:
    """What a plan was predicted to lead to, as the nearest of the plan server's stored frames.

    Attributes:
        picture: That frame.
        distance: Mean absolute distance of its latents from the predicted ones.
    """

    picture: Picture
    distance: float


@dataclass(frozen=True)
class Shown:
    """A step and what it was meant to reach.

    Attributes:
        step: What was seen and done.
        goal: The goal that was pursued then.
        imagined: What the plan was to lead to; None where nobody imagined it.
    """

    step: RecordedStep
    goal: Picture
    imagined: Imagined | None = None


class View(Protocol):
    """Somewhere to look at runs."""

    def show(self, shown: Shown) -> None:
        """Shows a step while the run goes on."""
        ...

    def finish(self, steps: Sequence[Shown], title: str, folder: Path) -> None:
        """Shows a run that is over; no arm moves."""
        ...


def make_view(kind: Literal["video", "rerun", "none"]) -> View:
    """Returns the view of a kind.

    Raises:
        ImportError: If rerun is asked for and not installed.
    """
    return {"video": VideoView, "rerun": RerunView, "none": NoView}[kind]()


class NoView:
    """Nothing but the terminal."""

    def show(self, shown: Shown) -> None:
        """See `View.show`."""

    def finish(self, steps: Sequence[Shown], title: str, folder: Path) -> None:
        """See `View.finish`."""


class VideoView:
    """Writes view.mp4 and poster.png of each run when it is over."""

    def show(self, shown: Shown) -> None:
        """See `View.show`."""

    def finish(self, steps: Sequence[Shown], title: str, folder: Path) -> None:
        """See `View.finish`."""
        if not steps:
            return
        from envs.episodes.video import VideoCodec, encode_frames  # imports torch: only when no arm moves

        drawn = [np.asarray(frame) for frame in draw_frames(steps, title)]
        codec = VideoCodec(pixel_format="yuv420p", quality=20, keyframe_interval=20)  # what browsers play
        rate = 4.0
        (folder / "view.mp4").write_bytes(encode_frames(np.stack(drawn + [drawn[-1]] * round(rate)), rate, codec))
        draw_poster(steps, title).save(folder / "poster.png", optimize=True)


class RerunView:
    """Sends each step to rerun's viewer, which it opens."""

    def __init__(self) -> None:
        try:
            import rerun  # type: ignore[import-not-found]
        except ImportError as error:
            raise ImportError("--view rerun needs rerun 0.23 or newer: pip install 'rerun-sdk>=0.23'") from error
        self._rerun: Any = rerun
        self._steps = 0
        rerun.init("vjepa-planner", spawn=True)

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
        if step.action is not None:
            rerun.log("cost", rerun.Scalars(step.cost))
            rerun.log("latency", rerun.Scalars(latency(step)))
        for reason in step.reasons:
            rerun.log("safety", rerun.TextLog(reason))

    def finish(self, steps: Sequence[Shown], title: str, folder: Path) -> None:
        """See `View.finish`."""


def latency(step: RecordedStep) -> float:
    """Returns how long the planner's answer took, the way there and back included [s]."""
    return step.timings.get("waited", math.nan)


def describe(step: RecordedStep) -> str:
    """Returns an action, its cost, its time and what the safety filter made of it."""
    if step.action is None:
        return "the end"
    move, turn = 1000.0 * step.action[:3], np.degrees(step.action[3:6])
    text = f"{move[0]:+4.0f} {move[1]:+4.0f} {move[2]:+4.0f} mm"
    if np.abs(turn).max() >= 0.5:
        text += f"  {turn[0]:+3.0f} {turn[1]:+3.0f} {turn[2]:+3.0f} deg"
    if abs(step.action[6]) >= 0.005:
        text += f"  gripper {step.action[6]:+.2f}"
    text += f"  cost {step.cost:.4f}  {latency(step):.2f} s"
    return f"{text}  {limited}" if (limited := describe_limits(step)) else text


def describe_limits(step: RecordedStep) -> str:
    """Returns what was sent instead of what was commanded, how far off that is, and why; nothing if it got there."""
    if step.commanded is None or not step.reasons:
        return ""
    why = "; ".join(step.reasons)
    if step.sent is None:
        return f"not sent: {why}"
    short = difference(step.sent, step.commanded)
    if np.abs(short).max() < THERE:
        return ""  # smoothed on the way
    move = 1000.0 * difference(step.observation.pose, step.sent)[:3]
    distance, rest = 1000.0 * float(np.linalg.norm(short[:3])), np.abs(short[3:]).max()
    sent = f"sent {move[0]:+.0f} {move[1]:+.0f} {move[2]:+.0f} mm"
    return f"{sent}, {distance:.0f} mm{f' and {rest:.2f} rad or closedness' if rest > THERE else ''} short: {why}"


def draw_frames(steps: Sequence[Shown], title: str) -> list[Image.Image]:
    """Returns a picture a step: camera, imagined end if any step has one, goal; beneath them cost and latency."""
    width, columns = _panel_width(steps), 3 if any(shown.imagined for shown in steps) else 2
    size = (columns * (width + MARGIN) + MARGIN, 2 * HEADER + HEIGHT + CURVE + FOOTER)
    below, top = (size[0] - 3 * MARGIN) // 2, 2 * HEADER + HEIGHT
    curves = (
        ("plan cost (what is minimised)", [shown.step.cost for shown in steps if shown.step.action is not None], BLUE),
        ("latency of a plan [s]", [latency(shown.step) for shown in steps if shown.step.action is not None], ORANGE),
    )
    frames = []
    for index, shown in enumerate(steps):
        frame = Image.new("RGB", size, PAPER)
        draw = ImageDraw.Draw(frame)
        panels = [("camera", shown.step.observation.image), _imagined_panel(shown), ("goal", shown.goal)]
        for column, (name, picture) in enumerate(panels if columns == 3 else panels[::2]):
            x = MARGIN + column * (width + MARGIN)
            draw.text((x, 8), name, INK, load_default(17))
            frame.paste(_fitted(picture, width, HEIGHT), (x, HEADER))
        for column, curve in enumerate(curves):
            x = MARGIN + column * (below + MARGIN)
            _draw_curve(draw, (x, top, x + below, top + CURVE - 8), *curve, index, len(steps))
        caption = _shortened(f"{title}   step {index}   {describe(shown.step)}", size[0] - 2 * MARGIN)
        draw.text(
            (MARGIN, size[1] - FOOTER + 8), caption, RED if describe_limits(shown.step) else INK, load_default(15)
        )
        frames.append(frame)
    return frames


def _imagined_panel(shown: Shown) -> tuple[str, Picture]:
    """Returns the name and the picture of what a plan is predicted to lead to; a plain one where there is none."""
    if shown.imagined is None:
        return "imagined end: no time for it", np.full((1, 1, 3), PALE, np.uint8)
    return f"imagined end (stored frame, {shown.imagined.distance:.2f} off)", shown.imagined.picture


def draw_poster(steps: Sequence[Shown], title: str, columns: int = 5) -> Image.Image:
    """Returns a row of moments, evenly from the first to the last, then the goal."""
    height = 220
    width = _panel_width(steps) * height // HEIGHT
    chosen = sorted({round(i * (len(steps) - 1) / (columns - 1)) for i in range(columns)})
    sheet = Image.new("RGB", ((len(chosen) + 1) * (width + MARGIN) + 2 * MARGIN, 2 * HEADER + height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 8), title, INK, load_default(17))
    panels = [(f"step {i}{_cost(steps[i].step)}", steps[i].step.observation.image) for i in chosen]
    for column, (name, picture) in enumerate([*panels, ("goal", steps[-1].goal)]):
        x = MARGIN + column * (width + MARGIN) + (MARGIN if column == len(panels) else 0)
        sheet.paste(_fitted(picture, width, height), (x, HEADER))
        draw.text((x, HEADER + height + 6), name, INK, load_default(15))
    return sheet


def _cost(step: RecordedStep) -> str:
    """Returns a plan's cost for a caption; nothing at the end of a run."""
    return "" if step.action is None else f": cost {step.cost:.3f}"


def _draw_curve(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    title: str,
    values: Sequence[float],
    colour: tuple[int, int, int],
    now: int,
    steps: int,
) -> None:
    """Draws a curve from zero to its largest value: what is past in colour, what is to come pale."""
    x0, y0, x1, y1 = box
    known = [value for value in values if math.isfinite(value)]
    top = max([*known, 1e-9])
    points = [
        (x0 + (x1 - x0) * i / max(1, steps - 1), y1 - (y1 - y0 - 6) * (value if math.isfinite(value) else 0.0) / top)
        for i, value in enumerate(values)
    ]
    draw.text((x0, y0 - 24), title, INK, load_default(15))
    draw.text((x1, y0 - 22), f"top {top:.3g}", GREY, load_default(13), anchor="ra")
    draw.line([(x0, y0), (x0, y1), (x1, y1)], PALE, 2)
    if len(points) > 1:
        draw.line(points, FAINT, 2)
    if len(points[: now + 1]) > 1:
        draw.line(points[: now + 1], colour, 3)
    if now < len(points):
        x, y = points[now]
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)


def _panel_width(steps: Sequence[Shown]) -> int:
    """Returns the even width of a camera panel, as wide as the camera's shape asks."""
    height, width = steps[0].step.observation.image.shape[:2]
    return 2 * round(HEIGHT * width / height / 2)


def _fitted(picture: Picture, width: int, height: int) -> Image.Image:
    """Returns a picture of a size; small ones are enlarged smoothly."""
    return Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)


def _shortened(text: str, width: int) -> str:
    """Returns as much of a text as a width [pixels] has room for."""
    while len(text) > 1 and load_default(15).getlength(text) > width:
        text = text[:-2] + "…"
    return text
