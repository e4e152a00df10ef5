"""Which stored frames look like an imagined latent: a way to see what a model without a decoder imagines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from envs.episodes import DatasetError, EpisodeSource
from world_model.base import Encoder
from world_model.data.decode import DecodedImages, rebatch
from world_model.data.latents import LatentCache, encode_images

CHUNK_BYTES = 64 * 1024 * 1024  # of float32 tokens in memory at a time
CACHED_BYTES = 4 * 1024 * 1024  # likewise, where they come from memory: no more than a processor keeps at hand
BATCH = 64  # images that are encoded at a time

GALLERY_EPISODES, GALLERY_FRAMES = 90, 1500  # at most
GALLERY_BYTES = 2**30  # of images


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
    chosen = _spread(len(all_indices), limit)
    return Frames(all_episodes[chosen], all_indices[chosen])


def _spread(count: int, limit: int) -> Int[np.ndarray, " L"]:
    """Returns at most `limit` of the numbers below `count`, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(limit, count)).round().astype(np.int64))


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
    rows = max(1, CHUNK_BYTES // (4 * queries[0].numel()))

    def parts() -> Iterator[Tensor]:
        for first in range(0, len(frames), rows):
            part = frames[first : first + rows]
            yield latents.windows(part.episodes, part.indices, frames=1).flatten(1)
            report(len(part))

    found, distances = _search(queries.flatten(1).float(), parts())
    return frames[found.cpu().numpy()], distances.double().cpu().numpy()


def _search(
    queries: Float[Tensor, "Q M"], parts: Iterable[Float[Tensor, "F M"]]
) -> tuple[Int[Tensor, " Q"], Float[Tensor, " Q"]]:
    """Returns, for each query, which row of the parts is nearest, counted through them, and its mean distance."""
    best = queries.new_full((len(queries),), torch.inf)
    found = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    first = 0
    for part in parts:
        distances, nearest = torch.cdist(queries, part.to(queries.device).float(), p=1).min(dim=1)
        nearer = distances < best
        best, found = torch.where(nearer, distances, best), torch.where(nearer, first + nearest, found)
        first += len(part)
    return found, best / queries.shape[1]


def gallery_frames(dataset: EpisodeSource) -> Frames:
    """Returns the frames that a `Gallery` of a dataset shows: of readable episodes, evenly spread.

    Raises:
        DatasetError: If no episode can be read.
    """
    lengths, problems = dataset.lengths, dataset.problems
    readable = np.array([e for e, length in enumerate(lengths) if length and e not in problems], np.int64)
    if not len(readable):
        raise DatasetError(f"none of the {len(dataset)} episodes can be read: {next(iter(problems.values()), 'empty')}")
    limit = max(1, min(GALLERY_FRAMES, GALLERY_BYTES // math.prod(dataset.image_shape)))
    return spread_frames(lengths, readable[_spread(len(readable), GALLERY_EPISODES)].tolist(), limit)


class Gallery:
    """Frames of a dataset with their tokens, in memory: what an imagined latent looks like, in milliseconds."""

    def __init__(
        self, dataset: EpisodeSource, frames: Frames, encoder: Encoder, report: Callable[[int], object] = int
    ) -> None:
        """Decodes and encodes the frames.

        Args:
            dataset: Gives the images.
            frames: Which, at least one, such as `gallery_frames` gives them.
            encoder: The world model's own; the search runs on the device that it is on.
            report: Called with the number of frames that were added.

        Raises:
            DatasetError: If an episode can't be read or is not as its dataset says.
        """
        episodes = np.unique(frames.episodes).tolist()
        decoded = zip(episodes, DecodedImages(dataset)(episodes), strict=True)
        chosen = (images[frames.indices[frames.episodes == episode]] for episode, images in decoded)
        self._images = np.empty((len(frames), *dataset.image_shape), np.uint8)
        parts, first = [], 0
        for images in rebatch(chosen, BATCH):
            self._images[first : first + len(images)] = images
            bits = torch.from_numpy(encode_images(encoder, images).view(np.int16))
            parts.append(bits.view(torch.bfloat16).flatten(1))
            first += len(images)
            report(len(images))
        self._tokens = torch.cat(parts).to(encoder.device)  # (F, N D)

    @torch.no_grad()
    def nearest(self, tokens: Float[Tensor, "1 N D"]) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
        """Returns the image with the nearest tokens and their mean absolute distance; the search is exact."""
        query = tokens.flatten(1).to(self._tokens.device).float()
        rows = max(1, CACHED_BYTES // (4 * query.shape[1]))
        found, distance = _search(query, self._tokens.split(rows))
        return self._images[int(found)], float(distance)
