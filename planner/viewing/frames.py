"""The frames of a run's video, and its poster."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw
from PIL.ImageFont import load_default  # Pillow's own, which no machine lacks

from planner.viewing.extent import Extent
from planner.viewing.shown import Picture, Shown, describe, describe_limits, latency

HEIGHT, MARGIN, HEADER, CURVE, FOOTER, SMALL = 360, 12, 34, 130, 36, 220
INK, GREY, PALE, PAPER = (30, 34, 42), (110, 114, 124), (200, 204, 212), (250, 250, 252)
FAINT, BLUE, ORANGE, RED, GREEN = (228, 230, 235), (46, 98, 200), (214, 110, 30), (190, 40, 40), (30, 140, 70)

WAYS = {"candidates": ((255, 255, 255, 70), 1), "elites": ((255, 150, 40, 190), 2), "plan": ((60, 130, 255, 255), 4)}
"""Colour and width of the ways of a search, in the order in which they are drawn."""

_LEGEND = "camera; ways tried, best tenth (orange), plan (blue)"


def draw_frames(steps: Sequence[Shown], title: str) -> list[Image.Image]:
    """Returns a picture a step: camera, imagined end if any step has one, goal; beneath them the curves."""
    width, columns = _panel_width(steps, HEIGHT), 3 if any(shown.imagined for shown in steps) else 2
    size = (columns * (width + MARGIN) + MARGIN, 2 * HEADER + HEIGHT + CURVE + FOOTER)
    curves, top = _curves(steps), 2 * HEADER + HEIGHT
    below = (size[0] - (len(curves) + 1) * MARGIN) // len(curves)
    frames = []
    for index, shown in enumerate(steps):
        frame = Image.new("RGB", size, PAPER)
        draw = ImageDraw.Draw(frame)
        camera = _with_ways(_fitted(shown.step.observation.image, width, HEIGHT), shown)
        panels = [
            (_camera_name(shown), camera),
            _imagined_panel(shown, width),
            ("goal", _fitted(shown.goal, width, HEIGHT)),
        ]
        for column, (name, picture) in enumerate(panels if columns == 3 else panels[::2]):
            x = MARGIN + column * (width + MARGIN)
            draw.text((x, 8), _shortened(name, width), INK, load_default(15))
            frame.paste(picture, (x, HEADER))
        for column, (name, values, colour) in enumerate(curves):
            x = MARGIN + column * (below + MARGIN)
            _draw_curve(draw, (x, top, x + below, top + CURVE - 8), name, values, colour, index, len(steps))
        caption = _shortened(f"{title}   step {index}{_away(shown)}   {describe(shown.step)}", size[0] - 2 * MARGIN)
        colour = RED if describe_limits(shown.step) else GREEN if shown.success else INK
        draw.text((MARGIN, size[1] - FOOTER + 8), caption, colour, load_default(15))
        frames.append(frame)
    return frames


def _curves(steps: Sequence[Shown]) -> list[tuple[str, list[float], tuple[int, int, int]]]:
    """Returns name, values and colour of what is drawn over the steps."""
    acting = [shown.step for shown in steps if shown.step.action is not None]
    found = [
        ("cost of the plan", [step.cost for step in acting], BLUE),
        ("time of a plan [s]", [latency(step) for step in acting], ORANGE),
    ]
    far = [1000 * shown.distance for shown in steps if shown.distance is not None]
    return [*found, ("distance [mm]", far, GREEN)] if far else found


def _away(shown: Shown) -> str:
    """Returns how far the goal is, for a caption; nothing where nobody measured it."""
    if shown.distance is None:
        return ""
    return f", {1000 * shown.distance:.0f} mm away{', at the goal' if shown.success else ''}"


def _camera_name(shown: Shown) -> str:
    """Returns what stands above the camera's image."""
    return _LEGEND if shown.ways is not None and shown.ways.pixels else "camera"


def _with_ways(picture: Image.Image, shown: Shown) -> Image.Image:
    """Returns the camera's image, in the size of its panel, with the ways that a search tried."""
    if shown.ways is None or not shown.ways.pixels:
        return picture
    draw = ImageDraw.Draw(picture, "RGBA")
    scale = np.array(picture.size) / shown.step.observation.image.shape[1::-1]
    for kind, (colour, width) in WAYS.items():
        for way in (shown.ways.pixels[kind] + 0.5) * scale:
            draw.line([tuple(place) for place in way.tolist()], colour, width)
    return picture


def _imagined_panel(shown: Shown, width: int) -> tuple[str, Image.Image]:
    """Returns the name and the picture of what a plan is predicted to lead to; a plain one where there is none."""
    if shown.imagined is None:
        return "imagined end: no time for it", Image.new("RGB", (width, HEIGHT), PALE)
    name = f"imagined end (stored frame, {shown.imagined.distance:.2f} off)"
    return name, _fitted(shown.imagined.picture, width, HEIGHT)


def draw_poster(runs: Mapping[str, Sequence[Shown]], most: int = 5) -> Image.Image:
    """Returns a row a run: telling moments from the first to the last, then the goal."""
    width, row_height = max(_panel_width(steps, SMALL) for steps in runs.values()), 2 * HEADER + SMALL
    moments = {title: _moments(steps, most) for title, steps in runs.items()}
    columns = max(map(len, moments.values()))
    sheet = Image.new("RGB", ((columns + 1) * (width + MARGIN) + 2 * MARGIN, len(runs) * row_height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, (title, steps) in enumerate(runs.items()):
        top = row * row_height
        draw.text((MARGIN, top + 8), title, INK, load_default(15))
        panels = [(steps[i].step.observation.image, _moment(steps[i], i), steps[i].success) for i in moments[title]]
        for column, (picture, name, success) in enumerate([*panels, (steps[-1].goal, "goal", False)]):
            x = MARGIN + column * (width + MARGIN)
            if column == len(panels):  # the goals stand below each other
                x = 2 * MARGIN + columns * (width + MARGIN)
            sheet.paste(_fitted(picture, width, SMALL), (x, top + HEADER))
            draw.text((x, top + HEADER + SMALL + 6), name, GREEN if success else INK, load_default(15))
    return sheet


def _moments(steps: Sequence[Shown], count: int) -> list[int]:
    """Returns the first and the last step and between them those at which the distance first fell to equal shares.

    Where nobody measured it, steps at equal times.
    """
    last = len(steps) - 1
    even = sorted({round(i * last / (count - 1)) for i in range(count)})
    falling = np.minimum.accumulate([math.inf if shown.distance is None else shown.distance for shown in steps])
    if not np.isfinite(falling).all():
        return even
    levels = np.linspace(falling[0], falling[-1], count)[1:-1]
    moments = {0, last, *(int(np.argmax(falling <= level)) for level in levels)}
    spare = [step for step in range(last) if step not in moments]
    return sorted([*moments, *spare[: max(0, count - len(moments))]])


def _moment(shown: Shown, index: int) -> str:
    """Returns a step's number, and how far the goal is or what the plan costs."""
    if shown.distance is not None:
        return f"step {index}: {1000 * shown.distance:.0f} mm"
    return f"step {index}" + ("" if shown.step.action is None else f": cost {shown.step.cost:.3f}")


def _draw_curve(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    title: str,
    values: Sequence[float],
    colour: tuple[int, int, int],
    now: int,
    steps: int,
) -> None:
    """Draws a curve and the line of zero: what is past in colour, what is to come pale."""
    x0, y0, x1, y1 = box
    extent = Extent.of(values)
    zero, *heights = (y1 - (y1 - y0 - 6) * extent.share(value) for value in (0.0, *values))
    points = [(x0 + (x1 - x0) * i / max(1, steps - 1), y) for i, y in enumerate(heights)]
    draw.text((x0, y0 - 24), title, INK, load_default(15))
    draw.text((x1, y0 - 22), str(extent), GREY, load_default(13), anchor="ra")
    draw.line([(x0, y0), (x0, y1)], PALE, 2)
    draw.line([(x0, zero), (x1, zero)], PALE, 2)
    if len(points) > 1:
        draw.line(points, FAINT, 2)
    if len(points[: now + 1]) > 1:
        draw.line(points[: now + 1], colour, 3)
    if now < len(points):
        x, y = points[now]
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)


def _panel_width(steps: Sequence[Shown], tall: int) -> int:
    """Returns the even width of a camera panel of a height, as wide as the camera's shape asks."""
    height, width = steps[0].step.observation.image.shape[:2]
    return 2 * round(tall * width / height / 2)


def _fitted(picture: Picture, width: int, height: int) -> Image.Image:
    """Returns a picture of a size; small ones are enlarged smoothly."""
    return Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)


def _shortened(text: str, width: int) -> str:
    """Returns as much of a text as a width [pixels] has room for."""
    while len(text) > 1 and load_default(15).getlength(text) > width:
        text = text[:-2] + "…"
    return text
