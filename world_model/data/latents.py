"""The latent cache: every frame of a dataset through the frozen encoder once, kept as bfloat16 on disk."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import BFloat16, Int, UInt8, UInt16
from torch import Tensor

from envs.episodes import EpisodeSource
from envs.folders import begin_cache
from world_model.base import Encoder
from world_model.data.decode import DecodedImages, rebatch
from world_model.data.store import CHECKED_BYTES, FrameStore, build_store, verify_store
from world_model.data.store_layout import SHARD_BYTES, Layout
from world_model.data.store_shard import CacheError
from world_model.finite import not_finite


class LatentCache:
    """The tokens of every frame of a dataset, memory-mapped.

    Opening looks for tokens that are not finite in what `FrameStore` compares with checksums: all of it up to 1 GiB.

    Args:
        store: Token bits, (N, D) uint16 a frame.

    Raises:
        CacheError: If tokens are not finite.
    """

    def __init__(self, store: FrameStore) -> None:
        self.store = store
        for episode in store.spread_episodes(CHECKED_BYTES):
            frames = store.layout.lengths[episode]
            if frames and not_finite({"tokens": self.windows(np.array([episode]), np.array([0]), frames)}):
                raise CacheError(
                    f"the cached latents of episode {episode} in {store.directory} are not finite numbers: delete the "
                    "folder and encode again, with an encoder whose weights are"
                )

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

    Its key hashes the fingerprints of encoder and dataset: a change of either makes another cache.
    """
    key = hashlib.sha256(f"{encoder.fingerprint} {dataset.fingerprint}".encode()).hexdigest()
    shape = (encoder.tokens, encoder.width)
    return Layout.plan(key, dataset.lengths, shape, "uint16", shard_bytes)


def build_latents(
    dataset: EpisodeSource,
    encoder: Encoder,
    directory: Path,
    *,
    batch: int = 64,
    processes: int = 1,
    layout: Layout | None = None,
    report: Callable[[int], object] = int,
) -> LatentCache:
    """Returns the latent cache of a dataset, encoding what is not there yet; see `store.build_store`.

    The ranks of a distributed run, each with the encoder on its own device, may all call this at once.

    Args:
        dataset: Gives the images.
        encoder: Frozen; runs on the device it is on.
        directory: Caches of different encoders and datasets lie side by side in it.
        batch: Images a pass.
        processes: Worker processes to encode with, 1 for this one; they share out its torch threads, and the device.
        layout: From `latent_layout`, where the caller has it.
        report: Called with the number of frames that were added on disk.

    Raises:
        CacheError: If what is on disk is damaged or there is too little room.
        FolderError: If the directory holds something else.
        DatasetError: If an episode can't be read or is not as its dataset says; what is finished is kept.
    """
    begin_cache(directory)
    layout = layout or latent_layout(dataset, encoder)
    threads = max(1, torch.get_num_threads() // processes)
    source = EncodedImages(dataset, encoder, batch, threads)
    return LatentCache(build_store(directory / f"latents-{layout.key[:12]}", layout, source, report, processes))


def verify_cache(directory: Path) -> list[str]:
    """Returns what is wrong with the caches in a directory after reading all of them; nothing if they are good.

    Args:
        directory: What was given to `build_latents` or `build_frames`, or one of the caches in it.
    """
    stores = sorted(path for kind in ("frames-*", "latents-*") for path in directory.glob(kind) if path.is_dir())
    return [problem for store in stores or [directory] for problem in verify_store(store)]


class EncodedImages:
    """Gives the bits of the tokens in bfloat16 of some episodes' images, in batches across episodes.

    Args:
        dataset: Gives the images.
        encoder: Frozen; runs on the device it is on. Pickled as its weights, as a device's memory can't be sent.
        batch: Images a pass.
        threads: Torch's threads in another process that this is sent to.
    """

    def __init__(self, dataset: EpisodeSource, encoder: Encoder, batch: int, threads: int) -> None:
        self.dataset, self.encoder, self.batch, self.threads = dataset, encoder, batch, threads

    def __call__(self, episodes: Sequence[int]) -> Iterator[UInt16[np.ndarray, "B N D"]]:
        """Yields the tokens of the episodes' frames, encoding while the next ones are decoded."""
        for images in rebatch(DecodedImages(self.dataset)(episodes), self.batch):
            yield encode_images(self.encoder, images)

    def __reduce__(self) -> tuple[Any, ...]:
        """Returns what `_in_worker` makes this of again."""
        encoder = pickle.dumps(copy.deepcopy(self.encoder).to("cpu"))
        return _in_worker, (self.dataset, encoder, self.encoder.device, self.batch, self.threads)


def _in_worker(dataset: EpisodeSource, encoder: bytes, device: torch.device, batch: int, threads: int) -> EncodedImages:
    """Returns the same in a worker process, with its share of the threads."""
    torch.set_num_threads(threads)
    return EncodedImages(dataset, pickle.loads(encoder).to(device), batch, threads)


@torch.no_grad()
def encode_images(encoder: Encoder, images: UInt8[np.ndarray, "B h w 3"]) -> UInt16[np.ndarray, "B N D"]:
    """Returns the bits of the images' tokens in bfloat16.

    Raises:
        CacheError: If tokens are not finite.
    """
    pixels = encoder.preprocess(torch.from_numpy(np.ascontiguousarray(images)).to(encoder.device))
    tokens = encoder(pixels).to(torch.bfloat16)
    if not_finite({"tokens": tokens}):
        raise CacheError(
            "the encoder makes tokens of the images that are not finite numbers: take another encoder, or its weights "
            "in fp32"
        )
    return tokens.cpu().view(torch.int16).numpy().view(np.uint16)
