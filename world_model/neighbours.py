"""Which stored frames look like an imagined latent: a way to see what a model without a decoder imagines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from world_model.latents import LatentCache

CHUNK_BYTES = 64 * 1024 * 1024  # of float32 tokens in memory at a time


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of a dataset by their places.

    Attributes:
        episodes: Episode of each.
        indices: Index of each in its episode.
    """

    episodes: Int[np.ndarray, " F"]
    indices: Int[np.ndarray, " F"]

    def __len__(self) -> int:
        """Returns the number of frames."""
        return len(self.episodes)

    def __getitem__(self, chosen: slice | Int[np.ndarray, " G"]) -> Frames:
        """Returns some of the frames."""
        return Frames(self.episodes[chosen], self.indices[chosen])


def spread_frames(lengths: Sequence[int], episodes: Sequence[int], limit: int) -> Frames:
    """Returns at most `limit` frames of some episodes, evenly spread over them.

    Args:
        lengths: Frames of every episode of the dataset.
        episodes: The episodes to take frames from.
        limit: Frames to take at most, at least 1.
    """
    sizes = [lengths[episode] for episode in episodes]
    all_episodes = np.repeat(np.asarray(episodes, np.int64), sizes)
    all_indices = np.concatenate([np.arange(size) for size in sizes])
    chosen = np.unique(np.linspace(0, len(all_indices) - 1, min(limit, len(all_indices))).round().astype(np.int64))
    return Frames(all_episodes[chosen], all_indices[chosen])


@torch.no_grad()
def nearest_frames(
    latents: LatentCache,
    frames: Frames,
    queries: Float[Tensor, "Q N D"],
    report: Callable[[int], object] = int,
) -> tuple[Frames, Float[np.ndarray, " Q"]]:
    """Returns, for each query, the frame with the nearest tokens and its mean absolute distance.

    The search is exact. Tokens are read from disk part by part, so the cache may be larger than the memory; of equally
    near frames the first is taken.

    Args:
        latents: Of the dataset that the frames are of.
        frames: Where to look, at least one.
        queries: Tokens of single frames; the search runs on their device.
        report: Called with the number of frames that each part added.
    """
    queries = queries.flatten(1).float()  # (Q, N D)
    best = queries.new_full((len(queries),), torch.inf)
    found = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    rows = max(1, CHUNK_BYTES // (4 * queries.shape[1]))
    for first in range(0, len(frames), rows):
        part = frames[first : first + rows]
        stored = latents.windows(part.episodes, part.indices, frames=1).flatten(1).to(queries.device).float()
        distances, nearest = torch.cdist(queries, stored, p=1).min(dim=1)
        nearer = distances < best
        best, found = torch.where(nearer, distances, best), torch.where(nearer, first + nearest, found)
        report(len(part))
    return frames[found.cpu().numpy()], (best / queries.shape[1]).double().cpu().numpy()
