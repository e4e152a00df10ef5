"""Where latents, seen and predicted, say that objects and hand are; privileged, for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from envs.bar import progress
from envs.program import FAILED
from envs.simulation.objects import HELD_OUT_OBJECTS, TRAINING_OBJECTS
from planner.diagnostics.imagined import Stretch, draw_stretches
from planner.diagnostics.labelled import Labelled, Viewer, play
from planner.diagnostics.probe_program import Gates, ProbeConfig
from world_model.base import WorldModel

MOVED = 0.03
"""An object has moved that lies farther than this from where it lay [m]."""

_JUDGED_SEED = 500_000  # play to judge by is of other seeds than play to learn from
_STARTS = 3  # predictions begin at every third frame
_ROWS, _COLUMNS = 4, 6  # of the pictures


@dataclass(frozen=True)
class Finding:
    """What a probe reads, of held-out objects; lengths in mm, of objects in the table's plane.

    Attributes:
        object: Median error of objects' places.
        object_90: Nine of ten errors are smaller.
        hand: Median error of the hand's place.
        held: Share of frames in which it is told whether something is held.
        ahead: By number of predicted actions: median error of objects that moved, how far these did, and median error
            of those that lay still.
    """

    object: float
    object_90: float
    hand: float
    held: float
    ahead: dict[int, tuple[float, float, float]]


def run(config: ProbeConfig) -> int:
    """Probes, prints what is found and returns the exit status: not 0 if a gate is missed.

    Raises:
        ValueError: If there is no such checkpoint or encoder.
    """
    viewer = Viewer(config.checkpoint, None if config.encoder is None else str(config.encoder))
    known = play(
        config, viewer, range(config.seed, config.seed + config.episodes), TRAINING_OBJECTS, False, "play to learn from"
    )
    first, draws = config.seed + _JUDGED_SEED, config.pictures is not None
    judged = play(config, viewer, range(first, first + config.judged), HELD_OUT_OBJECTS, draws, "play to judge by")
    probes = {name: Probe(known, hidden) for name, hidden in (("linear", 0), ("network", 256))}
    for each in probes.values():
        each.learn(config.steps, config.seed)
    findings = {name: judge(each, viewer.model, judged, config.ahead) for name, each in probes.items()}
    print(table(config, findings))
    if config.pictures is not None and viewer.model is not None:
        draw_imagined(probes["network"], viewer.model, judged, max(config.ahead), config.pictures)
        print(f"imagined beside what happened: {config.pictures}")
    missed = misses(config.gates, findings["network"])
    for miss in missed:
        print(f"error: {miss}", file=sys.stderr)
    return FAILED if missed else 0


def misses(gates: Gates, finding: Finding) -> list[str]:
    """Returns a sentence for each gate that a finding misses."""
    last = max(finding.ahead, default=None)
    predicted = np.inf if last is None else finding.ahead[last][0]
    said = {
        "object": (finding.object, "mm off, the median of objects", 1.0),
        "hand": (finding.hand, "mm off, the median of the hand", 1.0),
        "held": (finding.held, "of the frames told held or not", -1.0),
        "predicted": (predicted, f"mm off after {last} predicted actions, the median of objects that moved", 1.0),
    }
    return [
        f"the gate {name!r} is missed: {value:.3g} {words}, wanted {getattr(gates, name):.3g}"
        for name, (value, words, sign) in said.items()
        if getattr(gates, name) is not None and not sign * value <= sign * getattr(gates, name)
    ]


def table(config: ProbeConfig, findings: dict[str, Finding]) -> str:
    """Returns the findings for people."""
    lines = [
        f"{config.checkpoint or config.encoder}: probes learnt from {config.episodes} episodes, judged by "
        f"{config.judged} with held-out objects [mm]",
        f"{'':9}{'object':>8}{'90 %':>7}{'hand':>7}{'held or not':>13}",
    ]
    for name, each in findings.items():
        lines.append(f"{name:9}{each.object:8.1f}{each.object_90:7.0f}{each.hand:7.1f}{100 * each.held:12.1f}%")
    for name, each in findings.items():
        for ahead, (moved, way, still) in each.ahead.items():
            lines.append(
                f"{name}, after {ahead} predicted actions: objects that moved {moved:.1f} (by {way:.0f}), that lay "
                f"still {still:.1f}"
            )
    return "\n".join(lines)


class Probe(nn.Module):
    """Reads places of objects and hand, and whether something is held, from a frame's tokens.

    Sums of what each token says, weighted by how much it has to say; tokens are standardised first, one by one.

    Attributes:
        objects: Whose places it reads, K.
    """

    def __init__(self, known: Sequence[Labelled], hidden: int) -> None:
        """Takes what to learn from, and the network's width, 0 for a linear one."""
        super().__init__()
        tokens = torch.cat([each.tokens for each in known])
        self._targets = torch.from_numpy(np.concatenate([each.places for each in known])).float()
        self._held = torch.from_numpy(np.concatenate([each.held for each in known])).float()
        self._mean, self._std = tokens.mean(0), tokens.std(0)
        self._middle, self._spread = self._targets.mean(0), self._targets.std(0) + 1e-6
        self._tokens, outputs, (count, width) = tokens, self._targets.shape[1] + 1, tokens.shape[1:]
        self.objects = self._targets.shape[1] // 3 - 1
        inner = [nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()] if hidden else []
        self.network = nn.Sequential(*inner, nn.Linear(hidden or width, 2 * outputs))
        self.places = nn.Parameter(torch.zeros(count, outputs))
        self.bias = nn.Parameter(torch.zeros(count, outputs))

    def forward(self, tokens: Float[Tensor, "B N D"]) -> tuple[Float[Tensor, "B P"], Float[Tensor, "B"]]:
        """Returns the places, objects first, and how likely something is held, a logit."""
        floor = 0.1 * self._std.mean()
        weight, offset = self.network(((tokens - self._mean) / (self._std + floor)).clamp(-8, 8)).chunk(2, dim=-1)
        said = ((3.0 * weight + self.bias).softmax(dim=1) * (self.places + offset)).sum(dim=1)
        return said[:, :-1] * self._spread + self._middle, said[:, -1]

    def learn(self, steps: int, seed: int) -> None:
        """Takes optimiser steps; of several objects each is compared with the one that fits best."""
        torch.manual_seed(seed)
        optimizer = torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.05)
        for _ in progress(range(steps), desc="probe", unit="step"):
            chosen = torch.randint(len(self._tokens), (512,))
            places, held = self(self._tokens[chosen])
            wanted = assign(self._targets[chosen], places)
            loss = ((places - wanted) / self._spread).abs().mean()
            loss = loss + 0.2 * functional.binary_cross_entropy_with_logits(held, self._held[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        self.eval().requires_grad_(False)


def assign(wanted: Float[Tensor, "B P"], places: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
    """Returns what is wanted with the objects, all but the last place, in the order that is nearest to what is said."""
    there, said = (each.unflatten(1, (-1, 3)) for each in (wanted, places))
    count = there.shape[1] - 1
    if count == 1:
        return wanted
    orders = torch.stack([there[:, [*order, count]] for order in permutations(range(count))])  # (O, B, K + 1, 3)
    best = (orders - said).norm(dim=-1).sum(-1).argmin(0)
    return orders[best, torch.arange(len(wanted))].flatten(1)


def judge(probe: Probe, model: WorldModel | None, judged: Sequence[Labelled], ahead: Sequence[int]) -> Finding:
    """Returns how wrong a probe is of play that it has not learnt from, and of what is predicted of it.

    Args:
        probe: Reads.
        model: Predicts; None for an encoder alone.
        judged: The play.
        ahead: Numbers of predicted actions.
    """
    wanted = torch.from_numpy(np.concatenate([each.places for each in judged])).float()
    places, held = probe(torch.cat([each.tokens for each in judged]))
    hand = (places - wanted)[:, -3:].norm(dim=-1)
    told = (held > 0).numpy() == np.concatenate([each.held for each in judged])
    errors = object_errors(places, wanted)
    later = {} if model is None else {actions: _judge_ahead(probe, model, judged, actions) for actions in ahead}
    return Finding(_mm(errors, 0.5), _mm(errors, 0.9), _mm(hand, 0.5), float(told.mean()), later)


def _judge_ahead(
    probe: Probe, model: WorldModel, judged: Sequence[Labelled], actions: int
) -> tuple[float, float, float]:
    """Returns `Finding.ahead` for a number of actions."""
    imagined, before, after = [], [], []
    for each in judged:
        for at in range(0, len(each.actions) - actions + 1, _STARTS):
            imagined.append(each.imagine(model, at, actions)[-1])
            before.append(each.places[at])
            after.append(each.places[at + actions])
    was, wanted = (torch.from_numpy(np.array(each)).float() for each in (before, after))
    way = (wanted - was)[:, :-3].unflatten(1, (-1, 3))[..., :2].norm(dim=-1)
    wrong, moved = object_errors(probe(torch.stack(imagined))[0], wanted), way > MOVED
    return _mm(wrong[moved], 0.5), _mm(way[moved], 0.5), _mm(wrong[~moved], 0.5)


def object_errors(places: Float[Tensor, "B P"], wanted: Float[Tensor, "B P"]) -> Float[Tensor, "B K"]:
    """Returns how far in the plane each object is from the place that is said of it [m], in the wanted order."""
    return (assign(places, wanted) - wanted)[:, :-3].unflatten(1, (-1, 3))[..., :2].norm(dim=-1)


def draw_imagined(probe: Probe, model: WorldModel, judged: Sequence[Labelled], ahead: int, path: Path) -> None:
    """Writes the stretches in which objects moved most, with where a probe reads them from what is imagined.

    Args:
        probe: Reads.
        model: Predicts.
        judged: Play with its images.
        ahead: Actions of a stretch.
        path: Where to.
    """
    moves = []
    for each in judged:
        ways = np.linalg.norm((each.places[ahead:] - each.places[:-ahead])[:, :2], axis=1)
        moves.append((float(ways.max()), int(ways.argmax())))
    steps = np.unique(np.linspace(0, ahead, _COLUMNS).round().astype(int)).tolist()
    stretches = []
    for index in sorted(range(len(judged)), key=lambda index: -moves[index][0])[:_ROWS]:
        each, at = judged[index], moves[index][1]
        read, _ = probe(torch.cat([each.tokens[at : at + 1], each.imagine(model, at, ahead)])[steps])
        wanted = torch.from_numpy(each.places[[at + step for step in steps]]).float()
        errors = object_errors(read, wanted).amax(1).numpy()
        images = [each.images[at + step] for step in steps]
        stretches.append(Stretch(images, steps, read.numpy(), errors, each.scene))
    draw_stretches(stretches, path)


def _mm(lengths: Float[Tensor, "..."], quantile: float) -> float:
    """Returns a quantile of lengths, in millimetres; not a number of none."""
    return 1e3 * lengths.flatten().quantile(quantile).item() if lengths.numel() else float("nan")
