"""Where latents, seen and predicted, say that objects and hand are: privileged labels judge them, nothing learns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from envs.bar import progress
from envs.program import FAILED
from envs.simulation.arm import MujocoArm
from envs.simulation.objects import HELD_OUT_OBJECTS, TRAINING_OBJECTS, ObjectInstance
from envs.simulation.variation import vary
from envs.spec import Observation
from envs.tasks.events import Watch, positions_of
from envs.tasks.play import make_play_arm, record_episode
from planner.diagnostics.imagined import draw_imagined, imagine, learn_decoder, shrink
from planner.diagnostics.probe_program import Gates, ProbeConfig
from world_model.base import LatentState, WorldModel
from world_model.compact import CompactModel
from world_model.data.gripper import told_actions
from world_model.encoders.folder import load_encoder
from world_model.load import load_world_model

MOVED = 0.03
"""An object has moved that lies farther than this from where it lay [m]."""

_JUDGED_SEED = 500_000  # play to judge by is of other seeds than play to learn from
_STARTS = 3  # predictions begin at every third frame


@dataclass(frozen=True, eq=False)
class Labelled:
    """An episode of play with where things were and what a model sees of it.

    Attributes:
        seen: Latents and poses of its frames, one after another.
        actions: As the model was trained on them.
        objects: Places on the table [m].
        hands: [m].
        held: Whether something was held.
        images: Small ones, for a decoder.
    """

    seen: LatentState  # (T, 1, N, D)
    actions: Float[np.ndarray, "T-1 A"]
    objects: Float[np.ndarray, "T K 2"]
    hands: Float[np.ndarray, "T 3"]
    held: Bool[np.ndarray, "T"]
    images: UInt8[np.ndarray, "T s s 3"]

    @property
    def tokens(self) -> Float[Tensor, "T N D"]:
        """Latents of its frames."""
        return self.seen.tokens[:, 0]

    @property
    def places(self) -> Float[np.ndarray, "T P"]:
        """Places of the objects, and then of the hand [m]."""
        return np.concatenate([self.objects.reshape(len(self.objects), -1), self.hands], axis=1)


@dataclass(frozen=True)
class Finding:
    """What a probe reads, of held-out objects; lengths in mm.

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
    read, model = _reader(config)
    told = isinstance(model, CompactModel)  # which learns what a gripper was told
    known = _play(config, config.episodes, config.seed, TRAINING_OBJECTS, read, told, "play to learn from")
    judged_seed = config.seed + _JUDGED_SEED
    judged = _play(config, config.judged, judged_seed, HELD_OUT_OBJECTS, read, told, "play to judge by")
    findings = probe(config, model, known, judged)
    print(table(config, findings))
    if config.pictures is not None and model is not None:
        draw_imagined(
            learn_decoder(known, config.steps, config.seed), model, judged, max(config.ahead), config.pictures
        )
        print(f"imagined beside what happened: {config.pictures}")
    missed = misses(config.gates, findings["network"])
    for miss in missed:
        print(f"error: {miss}", file=sys.stderr)
    return FAILED if missed else 0


def probe(
    config: ProbeConfig, model: WorldModel | None, known: Sequence[Labelled], judged: Sequence[Labelled]
) -> dict[str, Finding]:
    """Returns what a linear probe and a small network find in latents of play that neither has learnt from.

    Args:
        config: Settings.
        model: Predicts; None for an encoder alone.
        known: Play to learn from.
        judged: Play to judge by.
    """
    predicted = {} if model is None else {ahead: _predict(model, judged, ahead) for ahead in config.ahead}
    findings = {}
    for name, hidden in (("linear", 0), ("network", 256)):
        reader = Probe(known, hidden)
        reader.learn(config.steps, config.seed)
        findings[name] = _judge(reader, judged, predicted)
    return findings


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
        self.objects = (outputs - 4) // 2
        self.network = (
            nn.Sequential(
                nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
                nn.Linear(hidden, 2 * outputs),
            )
            if hidden
            else nn.Linear(width, 2 * outputs)
        )  # fmt: skip
        self.places = nn.Parameter(torch.zeros(count, outputs))
        self.bias = nn.Parameter(torch.zeros(count, outputs))

    def forward(self, tokens: Float[Tensor, "B N D"]) -> tuple[Float[Tensor, "B P"], Float[Tensor, "B"]]:
        """Returns the places [m], and how likely something is held, a logit."""
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
            wanted = assign(self._targets[chosen], places, self.objects)
            loss = ((places - wanted) / self._spread).abs().mean()
            loss = loss + 0.2 * functional.binary_cross_entropy_with_logits(held, self._held[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        self.eval().requires_grad_(False)


def assign(wanted: Float[Tensor, "B P"], places: Float[Tensor, "B P"], objects: int) -> Float[Tensor, "B P"]:
    """Returns what is wanted with the objects, first of all places, in the order that is nearest to what is said."""
    if objects == 1:
        return wanted
    there, said = (each[:, : 2 * objects].unflatten(1, (objects, 2)) for each in (wanted, places))
    orders = torch.stack([there[:, list(order)] for order in permutations(range(objects))])  # (O, B, K, 2)
    best = (orders - said).norm(dim=-1).sum(-1).argmin(0)
    ordered = orders[best, torch.arange(len(wanted))].flatten(1)
    return torch.cat([ordered, wanted[:, 2 * objects :]], dim=1)


class _Labels(Watch):
    """Notes where things are after every action."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: list[Float[np.ndarray, "K 2"]] = []
        self.held: list[bool] = []

    def start(self, arm: MujocoArm) -> None:
        """See `Watch.start`."""
        self.objects, self.held = [], []
        self._note(arm)

    def look(self, arm: MujocoArm) -> None:
        """See `Watch.look`."""
        self._note(arm)

    def _note(self, arm: MujocoArm) -> None:
        self.objects.append(positions_of(arm)[:, :2])
        self.held.append(arm.held() is not None)


def _play(
    config: ProbeConfig,
    count: int,
    seed: int,
    objects: Sequence[ObjectInstance],
    read: Callable[[Observation], LatentState],
    told: bool,
    what: str,
) -> list[Labelled]:
    """Returns labelled episodes as a model sees them."""
    episodes = []
    for number in progress(range(seed, seed + count), desc=what, unit="episode"):
        scene = vary(config.scene, config.variation, np.random.default_rng((number, 1)))
        with closing(make_play_arm(config.image_size, scene)) as arm:
            labels = _Labels()
            episode = record_episode(arm, config.play, number, labels, objects)
        frames = zip(episode.images, episode.poses, strict=True)
        parts = [read(Observation(image, pose, 0.0)) for image, pose in frames]
        seen = LatentState(*(torch.cat(each).float() for each in zip(*map(_both, parts), strict=True)))
        actions, gripper = episode.actions, episode.spec.gripper
        if told and gripper is not None:
            actions = told_actions(episode.poses, actions, gripper)
        places, held, hands = np.array(labels.objects), np.array(labels.held), episode.poses[:, :3].astype(np.float64)
        episodes.append(Labelled(seen, actions, places, hands, held, shrink(episode.images)))
    return episodes


def _both(state: LatentState) -> tuple[Tensor, Tensor]:
    """Returns a state's latents and poses."""
    return state.tokens, state.poses


def _reader(config: ProbeConfig) -> tuple[Callable[[Observation], LatentState], WorldModel | None]:
    """Returns what gives a frame's latents, and the model if there is one."""
    if config.checkpoint is not None:
        model = load_world_model(config.checkpoint)
        return lambda seen: model.encode([seen]), model
    assert config.encoder is not None
    encoder = load_encoder(config.encoder).eval()

    @torch.no_grad()
    def read(seen: Observation) -> LatentState:
        tokens = encoder(encoder.preprocess(torch.from_numpy(seen.image[None])))
        return LatentState(tokens[None], torch.from_numpy(np.array(seen.pose))[None, None])

    return read, None


@torch.no_grad()
def _predict(model: WorldModel, judged: Sequence[Labelled], ahead: int) -> list[Float[Tensor, "S N D"]]:
    """Returns, for every third frame of each episode, the latents that are predicted so many actions later."""
    predicted = []
    for each in judged:
        starts = range(0, len(each.actions) - ahead + 1, _STARTS)
        rolled = [imagine(model, each, at, ahead).tokens[:, -1] for at in starts]
        predicted.append(torch.cat(rolled).float())
    return predicted


@torch.no_grad()
def _judge(reader: Probe, judged: Sequence[Labelled], predicted: dict[int, list[Float[Tensor, "S N D"]]]) -> Finding:
    """Returns how wrong a probe is of other play."""
    count = reader.objects
    wanted = torch.from_numpy(np.concatenate([each.places for each in judged])).float()
    places, held = reader(torch.cat([each.tokens for each in judged]))
    errors = _object_errors(places, wanted, count)
    hand = (places - wanted)[:, 2 * count :].norm(dim=-1)
    told = (held > 0).numpy() == np.concatenate([each.held for each in judged])
    ahead = {}
    for actions, parts in predicted.items():
        starts = [_STARTS * np.arange(len(part)) for part in parts]
        before, after = (
            torch.cat([torch.from_numpy(each.places[at + k]) for each, at in zip(judged, starts, strict=True)]).float()
            for k in (0, actions)
        )
        way = (after - before)[:, : 2 * count].unflatten(1, (count, 2)).norm(dim=-1)
        wrong = _object_errors(reader(torch.cat(parts))[0], after, count)
        moved = way > MOVED
        ahead[actions] = (_mm(wrong[moved], 0.5), _mm(way[moved], 0.5), _mm(wrong[~moved], 0.5))
    return Finding(_mm(errors, 0.5), _mm(errors, 0.9), _mm(hand, 0.5), float(told.mean()), ahead)


def _object_errors(places: Float[Tensor, "B P"], wanted: Float[Tensor, "B P"], objects: int) -> Float[Tensor, "B K"]:
    """Returns how far each object is from the place that is said of it [m], objects in the wanted order."""
    said = assign(places, wanted, objects)
    return (said - wanted)[:, : 2 * objects].unflatten(1, (objects, 2)).norm(dim=-1)


def _mm(lengths: Float[Tensor, "..."], quantile: float) -> float:
    """Returns a quantile of lengths, in millimetres; not a number of none."""
    return 1e3 * lengths.flatten().quantile(quantile).item() if lengths.numel() else float("nan")
