"""The parts of a run's page, report.html: one file without scripts, which shows what lies beside it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import yaml

from envs.folders import write_text
from planner.viewing.extent import Extent

PAGE, CONFIG = "report.html", "config.yaml"
"""Names of a run's page and of the settings beside it."""

_VIDEOS = {".mp4"}
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 420, 220, 8, 22, 26  # of a chart [its own units]
_SHEET = Template(
    """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { --ink: #1e222a; --grey: #5f636d; --pale: #d8dbe2; --paper: #fafafc; --good: #1e8c46; --bad: #c2560f;
  --blue: #2e62c8 }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 74rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .4rem; overflow-wrap: anywhere }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--pale) }
p { margin: .3rem 0; max-width: 60rem; overflow-wrap: anywhere }
.result { font-size: 1.25rem; font-weight: 600 }
.remark, figcaption { color: var(--grey); font-size: .9rem }
.gallery { display: grid; gap: 1rem }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)) }
figure { margin: 0; min-width: 0 }
.gallery img, .gallery video { display: block; max-width: 100%; max-height: 85vh; border: 1px solid var(--pale) }
.scroll { overflow: auto; max-height: 30rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; white-space: nowrap }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid var(--pale) }
th { position: sticky; top: 0; background: var(--paper); color: var(--grey); font-weight: 600 }
pre { margin: .5rem 0; padding: .7rem .9rem; background: #eff1f5; overflow: auto; max-height: 40rem;
  font: .85rem/1.45 ui-monospace, monospace }
.command { white-space: pre-wrap; overflow-wrap: anywhere }
svg { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--pale) }
svg text { font: 13px system-ui, sans-serif; fill: var(--grey) }
svg .title { fill: var(--ink) }
svg .axis { stroke: var(--pale); fill: none }
svg .line { fill: none; stroke: var(--blue); stroke-width: 1.8; stroke-linejoin: round }
svg .good { stroke: var(--good) }
svg .bad { stroke: var(--bad) }
</style>
<body>
<h1>$title</h1>
$body
</body>
</html>
"""
)


@dataclass(frozen=True)
class Line:
    """Numbers of one episode, one each step.

    Attributes:
        name: Of the episode.
        values: What is not finite is left out.
        success: Whether the episode ended in success; None where nobody knows.
    """

    name: str
    values: Sequence[float]
    success: bool | None = None


@dataclass(frozen=True)
class Media:
    """A video (mp4) or a picture of a run.

    Attributes:
        path: In the folder of the page, with forward slashes.
        caption: What it shows.
    """

    path: str
    caption: str


def write_page(folder: Path, title: str, result: str, remarks: Sequence[str], sections: Mapping[str, str]) -> Path:
    """Writes a run's page and returns its path.

    Args:
        folder: Of the run.
        title: What was done.
        result: What came of it, in a line.
        remarks: What a reader must know of that, a paragraph each.
        sections: HTML made by the functions below, by heading; those that are empty are left out.
    """
    parts = [f'<p class="result">{escape(result)}</p>']
    parts += [f'<p class="remark">{escape(remark)}</p>' for remark in remarks]
    parts += [f"<h2>{escape(heading)}</h2>\n{section}" for heading, section in sections.items() if section]
    write_text(folder / PAGE, _SHEET.substitute(title=escape(title), body="\n".join(parts)))
    return folder / PAGE


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table; empty without rows."""
    if not rows:
        return ""
    lines = [("th", header), *(("td", row) for row in rows)]
    told = ["".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in line) for kind, line in lines]
    return '<div class="scroll"><table>{}\n</table></div>'.format("".join(f"\n<tr>{row}</tr>" for row in told))


def gallery(folder: Path, media: Sequence[Media], absent: str) -> str:
    """Returns the videos and pictures that are in a folder, and in words which video is not.

    Args:
        folder: Of the page.
        media: What may be there.
        absent: Why a video may not be there, a sentence.
    """
    there = [each for each in media if (folder / each.path).is_file()]
    missing = [each for each in media if each not in there and Path(each.path).suffix in _VIDEOS]
    told = ""
    if missing or not media:
        named = ", ".join(each.path for each in missing)
        told = f'<p class="remark">There is no {escape(named or "video")} in this folder. {escape(absent)}</p>\n'
    return f'{told}<div class="gallery">{"".join(map(_figure, there))}</div>'


def _figure(media: Media) -> str:
    """Returns one video or picture with its caption."""
    source, caption = quote(media.path), escape(media.caption)
    if Path(media.path).suffix in _VIDEOS:
        # The fragment makes browsers show a frame before it is played.
        shown = f'<video controls muted loop playsinline preload="auto" src="{source}#t=0.1"></video>'
    else:
        shown = f'<img src="{source}" alt="{caption}" loading="lazy">'
    return f"\n<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def charts(curves: Mapping[str, Sequence[Line]]) -> str:
    """Returns a chart of each title's lines over the steps, zero being in it; none without any."""
    drawn = [_chart(title, lines) for title, lines in curves.items() if any(map(_points, lines))]
    return f'<div class="charts">{"".join(drawn)}</div>' if drawn else ""


def _points(line: Line) -> list[tuple[int, float]]:
    """Returns the finite values of a line and their steps."""
    return [(step, value) for step, value in enumerate(line.values) if math.isfinite(value)]


def _chart(title: str, lines: Sequence[Line]) -> str:
    """Returns one chart: success green, failure orange, unknown blue."""
    found = [(line, _points(line)) for line in lines]
    extent = Extent.of(value for _, points in found for _, value in points)
    last = max(1, *(step for _, points in found for step, _ in points))
    width, height = _WIDTH - 2 * _LEFT, _HEIGHT - _TOP - _BOTTOM
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _LEFT
    opacity = max(0.15, min(1.0, 4.0 / len(lines)))
    drawn = []
    for line, points in found:
        places = [f"{_LEFT + width * x / last:.1f},{bottom - height * extent.share(y):.1f}" for x, y in points]
        kind = {None: "line", True: "line good", False: "line bad"}[line.success]
        drawn.append(
            f'<polyline class="{kind}" points="{" ".join(places)}"><title>{escape(line.name)}</title></polyline>'
        )
    zero = bottom - height * extent.share(0.0)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<text class="title" x="{_LEFT}" y="15">{escape(title)}</text>'
        f'<text x="{right}" y="15" text-anchor="end">{extent}</text>'
        f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}M{_LEFT} {zero:.1f}H{right}"/>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">step 0</text>'
        f'<text x="{right}" y="{_HEIGHT - 8}" text-anchor="end">{last}</text>'
        f'<g opacity="{opacity:.2f}">{"".join(drawn)}</g></svg>'
    )


def settings(values: Mapping[str, Any]) -> str:
    """Returns settings as YAML."""
    return f"<pre>{escape(yaml.safe_dump(dict(values), sort_keys=False, width=100))}</pre>"


def repeat(folder: Path, program: str, flag: str, *more: str) -> str:
    """Returns the command that does a run again from the settings beside its page, into another folder."""
    words = ["python", f"scripts/{program}.py", flag, str(folder / CONFIG), *more]
    command = shlex.join([*words, "--output", f"{folder}-again"])
    told = f"From the root of the checkout, with the settings below, which are in {CONFIG}:"
    return f'<p>{told}</p><pre class="command">{escape(command)}</pre>'
