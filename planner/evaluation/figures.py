"""The pictures of evaluate.py: video, poster and energy landscape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from PIL.ImageFont import load_default  # Pillow's own, which no machine lacks

from envs.episodes.video import VideoCodec, encode_frames
from envs.pose import difference
from envs.spec import Observation
from planner.control.controller import Controller
from planner.diagnostics.landscape import energy_plane
from planner.evaluation.report import EpisodeRecord

PANEL, MARGIN, HEADER, FOOTER = 384, 12, 34, 40
INK, GREY, PALE, PAPER = (30, 34, 42), (110, 114, 124), (200, 204, 212), (250, 250, 252)
FAINT, BLUE, ORANGE, GREEN = (228, 230, 235), (46, 98, 200), (214, 110, 30), (30, 140, 70)


def save_video(records: Sequence[EpisodeRecord], output: Path, rate: float) -> None:
    """Writes video.mp4 and a smaller video.gif: camera, goal and curves side by side, episode after episode.

    Args:
        records: Episodes with images.
        output: Folder.
        rate: Moments a second [Hz]; each episode's last one stays for a second.
    """
    frames: list[Image.Image] = []
    for record in records:
        moments = list(episode_frames(record, f"episode {record.seed}"))
        frames += moments + [moments[-1]] * round(rate)
    stacked = np.stack([np.asarray(frame) for frame in frames])
    codec = VideoCodec(pixel_format="yuv420p", quality=20, keyframe_interval=20)  # what browsers play
    (output / "video.mp4").write_bytes(encode_frames(stacked, rate, codec))
    small = [frame.resize((frame.width * 2 // 3, frame.height * 2 // 3), Image.Resampling.LANCZOS) for frame in frames]
    palettes = [frame.quantize(128, dither=Image.Dither.NONE) for frame in small]
    palettes[0].save(
        output / "video.gif", save_all=True, append_images=palettes[1:], duration=round(1000 / rate), loop=0
    )


def episode_frames(record: EpisodeRecord, name: str) -> Iterator[Image.Image]:
    """Yields one drawn frame for each moment of an episode."""
    assert record.images is not None
    goal = _enlarged(record.goals[-1].image, PANEL)
    width, height = 3 * PANEL + 4 * MARGIN, HEADER + PANEL + FOOTER
    for moment, image in enumerate(record.images):
        frame = Image.new("RGB", (width, height), PAPER)
        draw = ImageDraw.Draw(frame)
        left = [MARGIN + i * (PANEL + MARGIN) for i in range(3)]
        frame.paste(_enlarged(image, PANEL), (left[0], HEADER))
        frame.paste(goal, (left[1], HEADER))
        for x, title in zip(left, ("camera", "goal", ""), strict=True):
            draw.text((x, 8), title, INK, load_default(17))
        half = (PANEL - 56) // 2
        box = (left[2] + 8, HEADER + 20, left[2] + PANEL - 8, HEADER + 20 + half)
        _curve(draw, box, "plan cost (what is minimised)", record.costs, moment, len(record.images), BLUE)
        box = (box[0], box[3] + 36, box[2], box[3] + 36 + half)
        errors = [1000 * distance for distance in record.distances]
        _curve(draw, box, "distance [mm] (for you, not for the planner)", errors, moment, len(errors), ORANGE)
        draw.text((MARGIN, HEADER + PANEL + 9), f"{name}   {moment_caption(record, moment)}", INK, load_default(18))
        if record.successes[moment]:
            draw.text((left[2] + PANEL - 8, HEADER + PANEL + 9), "at the goal", GREEN, load_default(18), anchor="ra")
        yield frame


def moment_caption(record: EpisodeRecord, moment: int) -> str:
    """Returns the step, the distance and the plan's cost at a moment."""
    cost = f"   plan cost {record.costs[moment]:.4f}" if moment < len(record.costs) else ""
    return f"step {moment}   {1000 * record.distances[moment]:.0f} mm{cost}"


def draw_poster(records: Sequence[EpisodeRecord], path: Path, columns: int = 5, size: int = 220) -> None:
    """Writes a contact sheet: one row an episode, moments from the start to the end, then the goal."""
    row_height = size + 30
    sheet = Image.new("RGB", ((columns + 1) * (size + MARGIN) + 2 * MARGIN, HEADER + len(records) * row_height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, record in enumerate(records):
        assert record.images is not None
        top = HEADER + row * row_height
        for column, moment in enumerate(_telling_moments(record, columns)):
            x = MARGIN + column * (size + MARGIN)
            sheet.paste(_enlarged(record.images[moment], size), (x, top))
            colour = GREEN if record.successes[moment] else INK
            draw.text(
                (x, top + size + 4),
                f"step {moment}: {1000 * record.distances[moment]:.0f} mm",
                colour,
                load_default(15),
            )
        x = 2 * MARGIN + columns * (size + MARGIN)
        sheet.paste(_enlarged(record.goals[-1].image, size), (x, top))
        draw.text((x, top + size + 4), f"goal, seed {record.seed}", INK, load_default(15))
    draw.text((MARGIN, 8), "camera", INK, load_default(17))
    draw.text((2 * MARGIN + columns * (size + MARGIN), 8), "goal image", INK, load_default(17))
    sheet.save(path, optimize=True)


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
    figure, axes = plt.subplots(len(moments), 2, figsize=(10, 4.3 * len(moments)), squeeze=False, layout="constrained")
    for row, moment in zip(axes, moments, strict=True):
        for axis, plane in zip(row, ((0, 1), (0, 2)), strict=True):
            _draw_plane(axis, controller, record, moment, plane)
    figure.suptitle(
        f"{title}: energy of one action (distance of the predicted latent to the goal's)\n"
        "red arrow: the true way to the goal, cut at the bounds; cross: lowest energy; other dimensions at zero",
        fontsize=11,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_plane(axis, controller: Controller, record: EpisodeRecord, moment: int, plane: tuple[int, int]) -> None:
    """Draws one plane of actions at one moment."""
    assert record.images is not None
    observation = Observation(record.images[moment], record.poses[moment], 0.0)
    spec, state = controller.spec, controller.model.encode([observation])
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
        way = 1000 * difference(record.poses[moment], pose)[list(plane)]  # [mm]
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


def _telling_moments(record: EpisodeRecord, count: int) -> list[int]:
    """Returns the start, the moments at which the distance first fell to equal shares of its range, and the end."""
    last = len(record.distances) - 1
    falling = np.minimum.accumulate(record.distances)
    levels = np.linspace(falling[0], falling[-1], count)[1:-1]
    middle = [int(np.argmax(falling <= level)) for level in levels]
    moments = sorted({0, *middle, last})
    spare = [moment for moment in range(last) if moment not in moments]
    return sorted(moments + spare[: max(0, count - len(moments))])


def _curve(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    title: str,
    values: Sequence[float],
    moment: int,
    moments: int,
    colour: tuple[int, int, int],
) -> None:
    """Draws a curve up to a moment, from zero to the largest value of the whole episode."""
    x0, y0, x1, y1 = box
    top = max([*values, 1e-9])
    points = [
        (x0 + (x1 - x0) * i / max(1, moments - 1), y1 - (y1 - y0 - 20) * value / top) for i, value in enumerate(values)
    ]
    draw.text((x0, y0 - 24), title, INK, load_default(15))
    draw.text((x0 + 6, y0 + 2), f"{top:.3g}", GREY, load_default(13))
    draw.line([(x0, y0), (x0, y1), (x1, y1)], PALE, 2)
    seen = points[: moment + 1]
    if len(seen) > 1:
        draw.line(points, FAINT, 2)
        draw.line(seen, colour, 3)
    if moment < len(points):
        x, y = points[moment]
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)


def _enlarged(image: UInt8[np.ndarray, "h w 3"], size: int) -> Image.Image:
    """Returns a picture of `size` pixels in height and width."""
    return Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
