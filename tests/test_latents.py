"""The latent cache: what the encoder says of every frame, whoever encodes it."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.episodes import DatasetError, Episode
from tests.moving_square import MovingSquare
from world_model.data.decode import DecodedImages, rebatch
from world_model.data.latents import EncodedImages, build_latents, latent_layout, verify_cache
from world_model.data.store import build_frames
from world_model.data.store_layout import shard_path
from world_model.encoders.vjepa2 import Encoder, EncoderConfig

SHAPE = EncoderConfig(image_size=32, patch_size=8, width=24, depth=1, heads=2)
DATA = MovingSquare((6, 3, 9, 5) * 6)


@dataclass(frozen=True)
class WithBroken(MovingSquare):
    """The same with an episode that was found broken and left out, and one that breaks when it is read."""

    left_out: int = 4
    broken: int = -1

    def __getitem__(self, episode: int) -> Episode:
        assert episode != self.left_out
        if episode == self.broken:
            raise DatasetError(f"the video some/where/episode-{episode}.mp4 is truncated")
        return super().__getitem__(episode)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the workers: other numbers of threads round otherwise
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(SHAPE).requires_grad_(False).eval()


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.slow
def test_worker_processes_make_the_same_bytes(encoder: Encoder, tmp_path: Path) -> None:
    layout = latent_layout(DATA, encoder, shard_bytes=20 * 16 * 24 * 2)
    assert layout.shard_count > 4
    added: list[int] = []
    alone = build_latents(DATA, encoder, tmp_path / "alone", layout=layout, batch=8)
    shared = build_latents(DATA, encoder, tmp_path / "shared", layout=layout, batch=8, processes=2, report=added.append)
    assert files_of(alone.store.directory) == files_of(shared.store.directory)
    assert sum(added) == sum(DATA.lengths)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_worker_is_sent_makes_the_same_bytes(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    encoder = Encoder(SHAPE).requires_grad_(False).eval()
    (encoder.model.bfloat16 if dtype == torch.bfloat16 else encoder.model.float)()
    here = EncodedImages(DATA, encoder, batch=8, threads=1)
    there = pickle.loads(pickle.dumps(here))
    for ours, theirs in zip(here(range(5)), there(range(5)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_latents_do_not_depend_on_the_other_frames_of_a_batch(encoder: Encoder, tmp_path: Path) -> None:
    cache = build_latents(DATA, encoder, tmp_path, batch=16)
    for episode in (0, 2, 23):
        cached = cache.windows(np.array([episode]), np.array([0]), DATA.lengths[episode])[0]
        expected = encoder(encoder.preprocess(torch.from_numpy(DATA[episode].images))).to(torch.bfloat16)
        torch.testing.assert_close(cached, expected, atol=2e-2, rtol=1e-2)


def test_episodes_that_were_left_out_take_no_frames(encoder: Encoder, tmp_path: Path) -> None:
    data = WithBroken((6, 3, 9, 5, 0, 4))
    cache = build_latents(data, encoder, tmp_path)
    assert cache.store.frames == 27
    cached = cache.windows(np.array([5]), np.array([0]), 4)[0]
    torch.testing.assert_close(cached, encoder(encoder.preprocess(torch.from_numpy(data[5].images))).bfloat16(),
                               atol=2e-2, rtol=1e-2)  # fmt: skip


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_episode_that_breaks_is_named_and_the_cache_is_resumed(
    processes: int, encoder: Encoder, tmp_path: Path
) -> None:
    good, broken = (WithBroken((6, 3, 9, 5, 0, 4, 6, 3), broken=episode) for episode in (-1, 6))
    layout = latent_layout(good, encoder, shard_bytes=10 * 16 * 24 * 2)
    with pytest.raises(DatasetError, match=r"^the video some/where/episode-6\.mp4 is truncated$"):
        build_latents(broken, encoder, tmp_path / "resumed", layout=layout, processes=processes)
    resumed = build_latents(good, encoder, tmp_path / "resumed", layout=layout)
    unbroken = build_latents(good, encoder, tmp_path / "unbroken", layout=layout)
    assert files_of(resumed.store.directory) == files_of(unbroken.store.directory)


def test_all_caches_of_a_directory_are_verified(encoder: Encoder, tmp_path: Path) -> None:
    cache, frames = build_latents(DATA, encoder, tmp_path), build_frames(DATA, tmp_path)
    assert verify_cache(tmp_path) == verify_cache(cache.store.directory) == []
    for directory in (cache.store.directory, frames.directory):
        with shard_path(directory, 0).open("r+b") as file:
            file.seek(200)
            file.write(b"changed")
    problems = verify_cache(tmp_path)
    assert len(problems) == 2 and "frames-" in problems[0] and "latents-" in problems[1]
    assert "no cache index" in verify_cache(tmp_path / "elsewhere")[0]


def test_batches_are_cut_across_arrays() -> None:
    rows = np.arange(23)
    cut = list(rebatch(np.split(rows, [3, 3, 5, 17]), 4))
    assert [len(part) for part in cut] == [4, 4, 4, 4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(cut), rows)


def test_decoding_runs_ahead_but_not_far(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Counting(MovingSquare):
        def __getitem__(self, episode: int) -> Episode:
            asked.append(episode)
            return super().__getitem__(episode)

    images = DecodedImages(Counting((20,) * 40))(range(40))
    for _ in range(3):
        next(images)
    del images
    assert set(range(3)) <= set(asked) <= set(range(3 + 4))
