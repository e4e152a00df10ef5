"""What a world model imagines, as pictures: a decoder for people alone, nothing plans with it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from envs.bar import progress
from planner.reporting import figure
from world_model.base import LatentState, WorldModel

SIZE = 64  # of the pictures [pixels]
_ROWS, _COLUMNS = 4, 6
_FEW = 4  # tokens at most that are read as one vector, and not as a grid


class Played(Protocol):
    """Frames of an episode as a model sees them; see `planner.diagnostics.probe.Labelled`."""

    @property
    def seen(self) -> LatentState:
        """Latents and poses, (T, 1, N, D)."""
        ...

    @property
    def actions(self) -> Float[np.ndarray, "T-1 A"]:
        """What led from each frame to the next."""
        ...

    @property
    def objects(self) -> Float[np.ndarray, "T K 2"]:
        """Where objects were [m]."""
        ...

    @property
    def images(self) -> UInt8[np.ndarray, "T s s 3"]:
        """Small images."""
        ...


class Decoder(nn.Module):
    """Draws small images from a frame's latents."""

    mean: Tensor

    def __init__(self, tokens: int, width: int, mean: Float[Tensor, "3 s s"]) -> None:
        """Takes N and D, more than a few tokens being a square grid, and the image to begin at."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.grid = isqrt(tokens) if tokens > _FEW else 4
        enter = nn.Conv2d(width, 128, 1) if tokens > _FEW else nn.Linear(tokens * width, 128 * self.grid**2)
        self.few, self.enter = tokens <= _FEW, enter
        steps = [layer for given, made in ((128, 96), (96, 64), (64, 48)) for layer in _grow(given, made)]
        self.draw = nn.Sequential(*steps, nn.Upsample((SIZE, SIZE)), nn.Conv2d(48, 32, 3, padding=1), nn.GELU())
        self.leave = nn.Conv2d(32, 3, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B 3 s s"]:
        """Returns images, 0..1 where they are good."""
        if self.few:
            x = self.enter(tokens.flatten(1)).unflatten(1, (128, self.grid, self.grid))
        else:
            x = self.enter(tokens.transpose(1, 2).unflatten(2, (self.grid, self.grid)))
        return self.mean + self.leave(self.draw(x))


def _grow(given: int, made: int) -> list[nn.Module]:
    """Returns layers that double an image's side."""
    return [nn.Upsample(scale_factor=2), nn.Conv2d(given, made, 3, padding=1), nn.GroupNorm(8, made), nn.GELU()]


def shrink(images: UInt8[np.ndarray, "T h w 3"]) -> UInt8[np.ndarray, "T s s 3"]:
    """Returns images of `SIZE`."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    return functional.interpolate(pixels, (SIZE, SIZE), mode="area").byte().permute(0, 2, 3, 1).numpy()


def learn_decoder(known: Sequence[Played], steps: int, seed: int) -> Decoder:
    """Returns a decoder that learnt to draw what is seen; what differs from the mean image counts most."""
    torch.manual_seed(seed)
    tokens = torch.cat([each.seen.tokens[:, 0] for each in known])
    images = torch.from_numpy(np.concatenate([each.images for each in known])).permute(0, 3, 1, 2)
    mean = torch.stack([part.float().mean(0) for part in images.split(1024)]).mean(0) / 255
    decoder = Decoder(tokens.shape[1], tokens.shape[2], mean)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.05)
    for _ in progress(range(steps), desc="decoder", unit="step"):
        chosen = torch.randint(len(tokens), (48,))
        wanted = images[chosen].float() / 255
        weight = 1 + 10 * (wanted - mean).abs().amax(1, keepdim=True)
        loss = (weight * (decoder(tokens[chosen]) - wanted).abs()).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return decoder.eval().requires_grad_(False)


@torch.no_grad()
def imagine(model: WorldModel, played: Played, at: int, ahead: int) -> LatentState:
    """Returns what is predicted of so many actions of an episode from a frame on, (1, ahead, N, D)."""
    seen = played.seen
    start = LatentState(seen.tokens[at : at + 1], seen.poses[at : at + 1])
    return model.rollout(start, torch.from_numpy(played.actions[None, at : at + ahead]))


@torch.no_grad()
def draw_imagined(decoder: Decoder, model: WorldModel, judged: Sequence[Played], ahead: int, path: Path) -> None:
    """Writes what happened, and below what was imagined of it from the first picture on.

    Args:
        decoder: Draws.
        model: Predicts.
        judged: Episodes that nothing has learnt from; the stretches are drawn in which objects moved most.
        ahead: Actions of a stretch.
        path: Where to.
    """
    moves = []
    for each in judged:
        ways = np.linalg.norm(each.objects[ahead:] - each.objects[:-ahead], axis=-1).max(-1)
        moves.append((float(ways.max()), int(ways.argmax())))
    chosen = sorted(range(len(judged)), key=lambda index: -moves[index][0])[:_ROWS]
    columns = np.unique(np.linspace(0, ahead, _COLUMNS).round().astype(int)).tolist()
    path.parent.mkdir(parents=True, exist_ok=True)
    with figure(path, 2 * len(chosen), len(columns), (1.7 * len(columns), 3.5 * len(chosen)), legends=False) as drawn:
        for row, index in enumerate(chosen):
            each, at = judged[index], moves[index][1]
            imagined = torch.cat([each.seen.tokens[at], imagine(model, each, at, ahead).tokens[0].float()])
            pictures = decoder(imagined).clamp(0, 1).permute(0, 2, 3, 1).numpy()
            for column, step in enumerate(columns):
                happened, seen = (drawn[1][(2 * row + part) * len(columns) + column] for part in (0, 1))
                happened.imshow(each.images[at + step])
                seen.imshow(pictures[step])
                happened.set_title(f"+{step}" if step else "now", fontsize=8)
                for axis, name in ((happened, "happened"), (seen, "imagined")):
                    axis.set(xticks=[], yticks=[])
                    if column == 0:
                        axis.set_ylabel(name, fontsize=8)
