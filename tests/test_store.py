"""The store of frames on disk: one build by many processes, killed ones, damaged files, full disks."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.episodes import DatasetError
from tests.moving_square import MovingSquare
from world_model.data import store, store_shard
from world_model.data.store import FrameStore, build_frames, build_store, frame_layout, verify_store
from world_model.data.store_layout import Layout, shard_path
from world_model.data.store_shard import CacheError, claim, part_path
from world_model.encoders.pixels import shrink, to_pixels

HALF = (0.5, 0.5, 0.5)
LENGTHS = (0, 7, 5, 0, 0, 9, *([6, 4] * 12), 0)
LAYOUT = Layout.plan("some key", LENGTHS, (3, 5), "uint16", shard_bytes=15 * 3 * 5 * 2)


@dataclass(frozen=True)
class Numbers:
    """Makes each episode's array from its number; slowly, and noting which ones, where asked to."""

    pause: float = 0.0
    notes: Path | None = None
    broken: int | None = None

    def __call__(self, episodes: Sequence[int]) -> Iterator[np.ndarray]:
        for episode in episodes:
            if episode == self.broken:
                raise DatasetError(f"the video of episode {episode} is broken")
            if self.notes:
                with self.notes.open("a") as file:
                    file.write(f"{episode}\n")
            time.sleep(self.pause)
            yield array_of(episode)


def array_of(episode: int) -> np.ndarray:
    shape = (LENGTHS[episode], *LAYOUT.item_shape)
    return np.random.default_rng(episode).integers(0, 2**16, shape, dtype=np.uint16)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(build_store(tmp_path_factory.mktemp("undisturbed"), LAYOUT, Numbers()).directory)


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def build_interruptibly(*arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    build_store(*arguments)


def start_builder(directory: Path, source: Numbers, processes: int = 1) -> SpawnProcess:
    context = multiprocessing.get_context("spawn")
    builder = context.Process(target=build_interruptibly, args=(directory, LAYOUT, source, int, processes))
    builder.start()
    return builder


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_windows_and_frames_are_the_episodes_arrays(tmp_path: Path) -> None:
    built = build_store(tmp_path, LAYOUT, Numbers())
    assert LAYOUT.shard_count > 5 and built.frames == sum(LENGTHS)
    np.testing.assert_array_equal(built.windows(np.array([5, 1]), np.array([2, 0]), 3, stride=3)[0], array_of(5)[2::3])
    numbers = built.frame_numbers([5, 0, 2])
    np.testing.assert_array_equal(built.gather(numbers), np.concatenate([array_of(5), array_of(2)]))


def test_a_window_of_an_episode_that_was_left_out_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IndexError, match=r"episodes of \[0\] frames"):
        build_store(tmp_path, LAYOUT, Numbers()).windows(np.array([3]), np.array([0]), 1)


def test_a_dataset_without_frames_is_an_error() -> None:
    with pytest.raises(CacheError, match="2 episodes have no frames"):
        Layout.plan("some key", (0, 0), (3, 5), "uint16")


def test_a_huge_store_has_few_shards() -> None:
    layout = Layout.plan("some key", (100,) * 50_000, (256, 1024), "uint16")
    assert layout.bytes > 2e12 and 250 <= layout.shard_count <= 260


def test_a_finished_store_is_opened_without_writing_or_building(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    build_store(tmp_path, LAYOUT, Numbers())
    tmp_path.chmod(0o555)
    added: list[int] = []
    build_store(tmp_path, LAYOUT, Numbers(broken=1), added.append)
    tmp_path.chmod(0o755)
    assert files_of(tmp_path) == undisturbed and sum(added) == sum(LENGTHS)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_a_source_raises_comes_as_it_is_and_what_is_finished_stays(
    processes: int, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    with pytest.raises(DatasetError, match=r"^the video of episode 20 is broken$"):
        build_store(tmp_path, LAYOUT, Numbers(broken=20), processes=processes)
    assert not list(tmp_path.glob("*.part")) or processes > 1
    notes = tmp_path.parent / "notes"
    finished = {path.name for path in tmp_path.glob("*.npy")}
    assert finished
    build_store(tmp_path, LAYOUT, Numbers(notes=notes))
    assert files_of(tmp_path) == undisturbed
    rebuilt = {int(line) for line in notes.read_text().split()}
    kept = {
        e for s in range(LAYOUT.shard_count) if shard_path(tmp_path, s).name in finished for e in LAYOUT.episodes(s)
    }
    assert rebuilt == set(range(len(LENGTHS))) - kept


def test_independent_builders_share_the_work_and_all_see_the_end(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    directory, notes, added = tmp_path / "store", tmp_path / "notes", []
    others = [start_builder(directory, Numbers(0.02, notes)) for _ in range(2)]
    wait_until(lambda: any(directory.glob("shard-*.part")))
    build_store(directory, LAYOUT, Numbers(0.02, notes), added.append)
    for other in others:
        other.join()
        assert other.exitcode == 0
    assert files_of(directory) == undisturbed
    assert sorted(map(int, notes.read_text().split())) == list(range(len(LENGTHS)))
    assert sum(added) == sum(LENGTHS)


def kill_and_finish(directory: Path, chance: random.Random, kills: int) -> dict[str, bytes]:
    """Returns what two builders leave that are killed and started again, after one that is not has finished."""
    for _ in range(kills):
        builders = [start_builder(directory, Numbers(0.01)) for _ in range(2)]
        wait_until(lambda: any(directory.glob("shard-*")))
        for builder in builders:
            time.sleep(chance.uniform(0, 0.15))
            builder.kill()
        for builder in builders:
            builder.join()
    build_store(directory, LAYOUT, Numbers())
    return files_of(directory)


def test_killed_builds_are_finished_as_if_undisturbed(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    chance = random.Random(0)
    for number in range(5):
        assert kill_and_finish(tmp_path / str(number), chance, kills=1) == undisturbed


@pytest.mark.slow
def test_often_killed_builds_are_finished_as_if_undisturbed(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    chance = random.Random(1)
    for number in range(20):
        assert kill_and_finish(tmp_path / str(number), chance, kills=2) == undisturbed


def kill_workers(directory: Path, count: int) -> threading.Thread:
    """Returns a started thread that kills some worker processes of this one when the build has begun."""

    def kill() -> None:
        wait_until(lambda: any(directory.glob("shard-*.part")))
        for process in multiprocessing.active_children()[:count]:
            process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_the_other_workers_make_up_for_a_killed_one(
    tmp_path: Path, undisturbed: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    killer, added = kill_workers(tmp_path, 1), []
    build_store(tmp_path, LAYOUT, Numbers(0.05), added.append, processes=2)
    killer.join()
    assert files_of(tmp_path) == undisturbed and sum(added) == sum(LENGTHS)
    assert "killed (signal 9)" in caplog.text


def test_killing_all_workers_is_a_clear_error(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    killer = kill_workers(tmp_path, 2)
    with pytest.raises(CacheError, match="all 2 worker processes were killed"):
        build_store(tmp_path, LAYOUT, Numbers(0.05), processes=2)
    killer.join()
    build_store(tmp_path, LAYOUT, Numbers())
    assert files_of(tmp_path) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(number: signal.Signals, tmp_path: Path) -> None:
    parent = start_builder(tmp_path, Numbers(0.3), processes=2)
    wait_until(lambda: any(tmp_path.glob("shard-*.part")))
    assert parent.pid is not None
    os.kill(parent.pid, number)
    parent.join()
    last = shard_path(tmp_path, LAYOUT.shard_count - 1)
    assert not last.exists()

    def all_are_free() -> bool:
        for shard in range(LAYOUT.shard_count - 1):
            with claim(shard_path(tmp_path, shard)) as file:
                if file is None and not shard_path(tmp_path, shard).exists():
                    return False
        return True

    wait_until(all_are_free)
    count = len(list(tmp_path.glob("*.npy")))
    time.sleep(0.7)
    assert len(list(tmp_path.glob("*.npy"))) == count


def test_a_flipped_byte_is_named_and_the_shard_alone_is_built_again(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    build_store(tmp_path, LAYOUT, Numbers())
    path = shard_path(tmp_path, 3)
    for place in (3, 100, path.stat().st_size - 1):
        flip(path, place)
        with pytest.raises(CacheError, match=rf"{path.name} .*delete .*{path.name} and build again"):
            build_store(tmp_path, LAYOUT, Numbers())
        assert [path.name in problem for problem in verify_store(tmp_path)] == [True]
        path.unlink()
        build_store(tmp_path, LAYOUT, Numbers())
        assert files_of(tmp_path) == undisturbed and not verify_store(tmp_path)


def test_a_large_store_is_opened_by_blocks_and_verified_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_shard, "BLOCK_BYTES", 32)
    build_store(tmp_path, LAYOUT, Numbers())
    monkeypatch.setattr(store, "CHECKED_BYTES", LAYOUT.bytes // 2)
    caught = []
    frames, *_ = LAYOUT.shard(tmp_path, 3).shape
    places = range(128, 128 + frames * LAYOUT.item_bytes, 32)  # between the header and the checksums
    for place in places:
        flip(shard_path(tmp_path, 3), place)
        try:
            FrameStore(tmp_path, LAYOUT)
        except CacheError:
            caught.append(place)
        assert len(verify_store(tmp_path)) == 1
        flip(shard_path(tmp_path, 3), place)
    assert abs(len(caught) - len(places) / 2) <= 1


def damage_checksums(directory: Path) -> None:
    flip(shard_path(directory, 2), -2)


def remove_checksums(directory: Path) -> None:
    path = shard_path(directory, 2)
    os.truncate(path, path.stat().st_size - 4)


def swap_shards(directory: Path) -> None:
    shard_path(directory, 2).write_bytes(shard_path(directory, 1).read_bytes())


def truncate(directory: Path) -> None:
    os.truncate(shard_path(directory, 2), 40)


@pytest.mark.parametrize("damage", [damage_checksums, remove_checksums, swap_shards, truncate])
def test_a_damaged_shard_is_named(damage: Callable[[Path], None], tmp_path: Path) -> None:
    build_store(tmp_path, LAYOUT, Numbers())
    damage(tmp_path)
    with pytest.raises(CacheError, match=r"shard-00002.*delete .*shard-00002\.npy and build again"):
        build_store(tmp_path, LAYOUT, Numbers())


def test_a_shard_of_the_same_size_in_anothers_place_is_named(tmp_path: Path) -> None:
    build_store(tmp_path, LAYOUT, Numbers())
    last = shard_path(tmp_path, LAYOUT.shard_count - 1)
    before = shard_path(tmp_path, LAYOUT.shard_count - 2)
    assert last.stat().st_size == before.stat().st_size
    last.write_bytes(before.read_bytes())
    with pytest.raises(CacheError, match=f"{last.name} is damaged"):
        build_store(tmp_path, LAYOUT, Numbers())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"key": "some key"}', "format 1, this version reads 3; delete it and build again"),
        ("[1, 2", "damaged"),
        ("[1, 2]", "damaged"),
        ('{"format": 3, "key": "some key"}', "damaged"),
    ],
)
def test_an_index_that_is_old_or_damaged_is_named(content: str, expected: str, tmp_path: Path) -> None:
    build_store(tmp_path, LAYOUT, Numbers())
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(CacheError, match=expected) as raised:
        build_store(tmp_path, LAYOUT, Numbers())
    assert str(tmp_path) in str(raised.value) and verify_store(tmp_path) == [str(raised.value)]


def test_an_unfinished_store_says_which_shards_are_missing(tmp_path: Path) -> None:
    build_store(tmp_path, LAYOUT, Numbers())
    shard_path(tmp_path, 4).unlink()
    assert ["shard-00004.npy is missing" in problem for problem in verify_store(tmp_path)] == [True]


def test_a_disk_without_the_room_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = (10**9, 10**9, LAYOUT.bytes - 1)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: store.shutil._ntuple_diskusage(*usage))
    with pytest.raises(CacheError, match=r"needs .* GB more disk, but .* GB are free there; make room"):
        build_store(tmp_path, LAYOUT, Numbers())
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


def test_the_disk_it_takes_is_said_before_it_starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(DatasetError):
        build_store(tmp_path, LAYOUT, Numbers(broken=1))
    assert f"{tmp_path} takes {LAYOUT.bytes / 1e9:.2f} GB of disk" in caplog.text


def test_a_disk_that_fills_up_meanwhile_is_a_clear_error(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    build_store(tmp_path, LAYOUT, Numbers())
    shard_path(tmp_path, 2).unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))  # the same to a writer as a full disk
    try:
        with pytest.raises(CacheError, match=r"shard-00002\.npy.* can't be written .* build again when it can"):
            build_store(tmp_path, LAYOUT, Numbers())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not part_path(shard_path(tmp_path, 2)).exists()
    build_store(tmp_path, LAYOUT, Numbers())
    assert files_of(tmp_path) == undisturbed


def test_a_file_system_without_locks_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(store_shard.fcntl, "flock", refuse)
    with pytest.raises(CacheError, match=r"can't be locked .*No locks available.*another file system"):
        build_store(tmp_path, LAYOUT, Numbers())


def test_images_are_each_episodes_own(tmp_path: Path) -> None:
    dataset = MovingSquare((4, 3, 5))
    frames = build_frames(dataset, tmp_path)
    np.testing.assert_array_equal(frames.windows(np.array([2]), np.array([1]), 4)[0], dataset[2].images[1:])


def test_images_are_kept_as_large_as_an_encoder_looks_at_them(tmp_path: Path) -> None:
    dataset = MovingSquare((4, 3))  # 32 x 32
    small, same = (build_frames(dataset, tmp_path, size=size) for size in (16, 48))
    assert small.layout.item_shape == (16, 16, 3) and same.layout.item_shape == (32, 32, 3)
    seen = to_pixels(torch.from_numpy(dataset[1].images), 16, HALF, HALF)
    kept = to_pixels(torch.from_numpy(small.windows(np.array([1]), np.array([0]), 3)[0]), 16, HALF, HALF)
    torch.testing.assert_close(kept, seen, atol=1.01 / 255, rtol=0)
    assert small.directory != same.directory != build_frames(dataset, tmp_path).directory


def test_a_wide_image_is_kept_as_its_middle_square() -> None:
    images = torch.zeros(2, 20, 30, 3, dtype=torch.uint8)
    images[:, :, 5:25] = 200
    assert shrink(images, 10).shape == (2, 10, 10, 3) and bool((shrink(images, 10) == 200).all())
    assert torch.equal(shrink(images, 20), images[:, :, 5:25])


def test_an_episode_of_another_length_than_its_table_says_is_named(tmp_path: Path) -> None:
    class Shorter(MovingSquare):
        def __getitem__(self, episode: int):
            return MovingSquare((4, 3))[episode]

    with pytest.raises(DatasetError, match=r"episode 1 gave images \(3, 32, 32, 3\), its dataset says \(5,"):
        build_frames(Shorter((4, 5)), tmp_path)
    assert frame_layout(Shorter((4, 5))).lengths == (4, 5)
