"""The latent cache: every frame of a dataset through the frozen encoder once, kept as bfloat16 on disk."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import BFloat16, Int, UInt8, UInt16
from torch import Tensor

from envs.episodes import EpisodeSource
from world_model.encoder import IMAGE_MEAN, IMAGE_STD, Encoder
from world_model.store import SHARD_BYTES, FrameStore, Layout, build_store


class LatentCache:
    """The tokens of every frame of a dataset, memory-mapped.

    Args:
        store: Token bits, (N, D) uint16 a frame.
    """

    def __init__(self, store: FrameStore) -> None:
        self.store = store

    @property
    def key(self) -> str:
        """Hash of encoder, preprocessing and dataset."""
        return self.store.layout.key

    def windows(
        self, episodes: Int[np.ndarray, " B"], starts: Int[np.ndarray, " B"], frames: int, stride: int = 1
    ) -> BFloat16[Tensor, "B T N D"]:
        """Returns the tokens of windows of frames; see `clips.Windows.locate` for where they start."""
        bits = self.store.windows(episodes, starts, frames, stride)
        return torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)


def latent_layout(dataset: EpisodeSource, encoder: Encoder, shard_bytes: int = SHARD_BYTES) -> Layout:
    """Returns what the cache of a dataset and an encoder holds; `Layout.bytes` is the disk that it takes.

    Its key hashes the encoder's shape and weights, the preprocessing (its constants and its code) and the dataset's
    fingerprint: a change of any of them makes another cache.
    """
    digest = hashlib.sha256()
    preprocessing = (IMAGE_MEAN, IMAGE_STD, inspect.getsource(Encoder.preprocess))
    digest.update(repr((encoder.config, preprocessing, dataset.fingerprint)).encode())
    for name, value in sorted(encoder.model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    shape = (encoder.tokens, encoder.width)
    return Layout.plan(digest.hexdigest(), dataset.lengths, shape, "uint16", shard_bytes)


def build_latents(
    dataset: EpisodeSource,
    encoder: Encoder,
    directory: Path,
    *,
    batch: int = 64,
    layout: Layout | None = None,
    report: Callable[[int], object] = int,
) -> LatentCache:
    """Returns the latent cache of a dataset, encoding what is not there yet; see `store.build_store`.

    Args:
        dataset: Gives the images.
        encoder: Frozen; runs on the device it is on.
        directory: Caches of different encoders and datasets lie side by side in it.
        batch: Images a pass.
        layout: From `latent_layout`, where the caller has it.
        report: Called with the number of frames that each episode added.

    Raises:
        CacheError: If what is on disk is damaged or an episode is not as its dataset says.
    """
    layout = layout or latent_layout(dataset, encoder)

    def tokens(episode: int) -> UInt16[np.ndarray, "T N D"]:
        return encode_images(encoder, dataset[episode].images, batch)

    return LatentCache(build_store(directory / f"latents-{layout.key[:12]}", layout, tokens, report))


@torch.no_grad()
def encode_images(
    encoder: Encoder, images: UInt8[np.ndarray, "T h w 3"], batch: int = 64
) -> UInt16[np.ndarray, "T N D"]:
    """Returns the bits of the images' tokens in bfloat16."""
    device = encoder.rotary.tables.device
    parts = []
    for first in range(0, len(images), batch):
        pixels = encoder.preprocess(torch.from_numpy(np.ascontiguousarray(images[first : first + batch])).to(device))
        parts.append(encoder(pixels).to(torch.bfloat16).cpu())
    return torch.cat(parts).view(torch.int16).numpy().view(np.uint16)
