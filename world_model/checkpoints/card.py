"""The model card of a checkpoint: what its manifest says, as the hub shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from world_model.checkpoints.checkpoint import Manifest

CARD = "README.md"
"""The card's file in a repository on the hub."""

TAGS = ("robotics", "world-model", "vjepa-planner")

_LICENCES = {
    *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "mpl-2.0", "cc0-1.0"),
    *("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "cc-by-nd-4.0"),
}
_LIMITS = """\
- It predicts what it was trained on: the arm, the camera, the scene and the rate of the recordings named below. Another
  camera or arm has to be measured first (`vjepa-planner doctor`), and often to be trained on.
- It is no safety device. Every motion that is planned with it has to pass the limits of the arm and be within reach of
  a hardware emergency stop, and its predictions are no reason to move an arm beside people.
- It makes no pictures or videos, and the metrics below are no promise for other data."""


def write_card(manifest: Manifest, repo_id: str, sizes: Mapping[str, int]) -> str:
    """Returns the card, Markdown with YAML front matter; it holds no fact that the manifest does not.

    Args:
        manifest: Of the checkpoint.
        repo_id: Its repository on the hub, OWNER/NAME.
        sizes: Of its files by name [bytes].
    """
    front = yaml.safe_dump(_front_matter(manifest), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{front}---", f"# {manifest.name}", *_tell_what(manifest, sizes), *_tell_use(repo_id)]
    parts += ["## What it is not for", _LIMITS]
    for title, section in _sections("Training", manifest.training):
        parts += [f"## {title}", *_tell_training(section)]
    return "\n\n".join(parts) + "\n"


def _front_matter(manifest: Manifest) -> dict[str, Any]:
    """Returns what the hub reads of a card."""
    licence = manifest.licence.lower()
    named = {"license": licence}
    if licence not in _LICENCES:
        named = {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", licence).strip("-") or "unknown"}
    return {**named, "library_name": "vjepa-planner", "tags": list(TAGS)}


def _tell_what(manifest: Manifest, sizes: Mapping[str, int]) -> list[str]:
    """Returns kind, sizes, actions and shapes."""
    spec = manifest.action_spec
    actions = zip(spec.names, spec.units, spec.low, spec.high, strict=True)
    facts = {
        "kind": manifest.kind,
        "images": f"{manifest.image_size} x {manifest.image_size} pixels",
        "frames a second": f"{manifest.fps:g}",
        "past frames that it uses": manifest.context,
        "files": f"{sum(sizes.values()) / 1e6:.1f} MB, weights in {manifest.weights}",
        "learnt on its latents": ", ".join(manifest.heads) or "nothing",
        "licence of the weights": manifest.licence,
        "trained from": manifest.parent or "nothing",
        "format": manifest.format,
    }
    bounds = [(name, unit, f"{low:g} to {high:g}") for name, unit, low, high in actions]
    shapes = {"parts": manifest.parts} | ({"heads": manifest.heads} if manifest.heads else {})
    return [
        "An action-conditioned world model for `vjepa-planner`: it turns camera images into latents and rolls them "
        "forward under candidate actions, so that a planner can choose among these.",
        _table(("", ""), facts.items()),
        f"An action, {spec.rate:g} times a second, is the difference of two poses in the {spec.frame} frame:",
        _table(("name", "unit", "range"), bounds),
        "The shapes of its parts:",
        _fenced("yaml", yaml.safe_dump(shapes, sort_keys=False)),
    ]


def _tell_use(repo_id: str) -> list[str]:
    """Returns how it is had and loaded."""
    name = repo_id.rpartition("/")[2]
    python = f'from world_model import load_world_model\n\nmodel = load_world_model("{name}")'
    return ["## How to use it", _fenced("bash", f"vjepa-planner pull {repo_id}"), _fenced("python", python)]


def _sections(title: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Returns what one command made, and what later ones did: entries of it that have a command of their own."""
    yield title, {name: value for name, value in values.items() if not _has_command(value)}
    for name, value in values.items():
        if _has_command(value):
            yield from _sections(f"{title}: {name}", value)


def _has_command(value: Any) -> bool:
    """Returns whether an entry says how something was made."""
    return isinstance(value, Mapping) and "command" in value


def _tell_training(values: Mapping[str, Any]) -> list[str]:
    """Returns command, commit, data and settings, and the metrics, of one step."""
    told = [_fenced("bash", str(values["command"]))] if "command" in values else []
    told += [f"At commit `{values['git_commit']}`."] if values.get("git_commit") else []
    rest = {name: value for name, value in values.items() if name not in ("command", "git_commit", "metrics")}
    told += [_fenced("yaml", yaml.safe_dump(rest, sort_keys=False, allow_unicode=True))] if rest else []
    metrics = list(_flatten(values.get("metrics") or {}))
    if metrics:
        told += ["What this training measured; these are no success rates of planning:"]
        told += [_table(("metric", "value"), metrics)]
    return told or ["The manifest does not say how it was made."]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Returns metrics by dotted names, to four digits."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: tuple[str, ...], rows: Any) -> str:
    """Returns a table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def _fenced(language: str, text: str) -> str:
    """Returns a block of code, whatever backticks are in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
