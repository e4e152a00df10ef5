"""Folders that programs write into, and what they say where they may not write."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envs.episodes import DatasetError
from envs.episodes.formats.lerobot import finalize_dataset, write_shard
from envs.episodes.formats.lerobot_write import shard_exists
from envs.folders import (
    FolderError,
    begin_cache,
    begin_folder,
    check_folder,
    explained,
    write_bytes,
    writing,
)
from tests.disks import contents, small_disk


def test_an_empty_an_absent_and_the_own_folder_are_free(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "deep" / "er"):
        begin_folder(folder, "collect", "--output")
        (folder / "data").write_text("mine")
        begin_folder(folder, "collect", "--output")
        assert (folder / "data").read_text() == "mine"


def test_what_systems_leave_in_empty_folders_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / ".DS_Store").write_text("")
    begin_folder(tmp_path, "train", "--output")


@pytest.mark.parametrize("name", ["photo.jpg", ".hidden", "collect.yaml", "meta"])
def test_a_folder_with_anything_else_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("theirs")
    before = contents(tmp_path)
    with pytest.raises(FolderError, match=f"holds something else \\({name}\\): nothing was written.*another --output"):
        begin_folder(tmp_path, "collect", "--output")
    assert contents(tmp_path) == before


def test_a_folder_that_another_program_began_is_named_so(tmp_path: Path) -> None:
    begin_folder(tmp_path, "train", "--output")
    with pytest.raises(FolderError, match="was begun by 'train', not by 'collect'"):
        check_folder(tmp_path, "collect", "--output")


@pytest.mark.parametrize("below", [".", "runs/mine"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("theirs")
    with pytest.raises(FolderError, match="file is a file, not a folder; name another --record"):
        check_folder(tmp_path / "file" / below, "record", "--record")


def test_checking_makes_no_folder(tmp_path: Path) -> None:
    check_folder(tmp_path / "none", "collect", "--output")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "No space left on device; make room there or name another --output"),
        (errno.EROFS, "Read-only file system; name another --output, where you may write"),
        (errno.EACCES, "Permission denied; name another --output, where you may write"),
        (errno.ENAMETOOLONG, "File name too long; name a shorter --output"),
    ],
)
def test_what_the_system_refuses_is_one_line_with_the_option_that_helps(number: int, said: str) -> None:
    with pytest.raises(FolderError) as raised, explained(data=Path("data"), output=Path("runs/a")):
        raise OSError(number, os.strerror(number), "runs/a/state.pt")
    assert str(raised.value) == f"runs/a/state.pt: {said}. What is complete is kept, and the same command goes on"


def test_a_refusal_without_a_path_gets_that_of_the_folder_it_was_written_to() -> None:
    with pytest.raises(FolderError, match=r"^runs/a: No space left.*another --output"):
        with explained(output=Path("runs/a"), cache=Path("cache")), writing(Path("runs/a")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FolderError, match=r"No space left .*, writing into runs/a \(--output\) or c \(--cache\)"):
        with explained(output=Path("runs/a"), cache=Path("c"), checkpoint=None):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_errors_of_other_kinds_and_places_are_not_blamed_on_the_output() -> None:
    with pytest.raises(FileNotFoundError), explained(output=Path("runs/a")):
        raise FileNotFoundError(errno.ENOENT, "No such file", "goal.png")
    with pytest.raises(FolderError, match=r"^/etc/shadow: Permission denied$"), explained(output=Path("runs/a")):
        raise PermissionError(errno.EACCES, "Permission denied", "/etc/shadow")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    yield from small_disk(tmp_path / "disk")


def test_a_file_that_does_not_fit_leaves_the_one_before_and_takes_no_room(disk: Callable[..., Path]) -> None:
    folder = disk("64k")
    write_bytes(folder / "results.json", b"before")
    with pytest.raises(OSError, match="No space left") as raised:
        write_bytes(folder / "results.json", bytes(200_000))
    assert raised.value.filename == str(folder / "results.json")
    assert contents(folder) == {"results.json": b"before"}


def test_a_read_only_folder_is_noticed_before_any_work_but_serves_as_a_full_cache(disk: Callable[..., Path]) -> None:
    folder = disk("64k")
    begin_folder(folder / "out", "train", "--output")
    begin_cache(folder / "cache")
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    begin_cache(folder / "cache")
    with pytest.raises(FolderError, match="another --output, where you may write"), explained(output=folder / "out"):
        begin_folder(folder / "out", "train", "--output")
    with pytest.raises(FolderError, match="another --cache, where you may write"), explained(cache=folder / "new"):
        begin_cache(folder / "new")


def write_foreign_dataset(root: Path) -> None:
    """As LeRobot 0.4 lays it out, with nothing of ours."""
    for name, table in {
        "data/chunk-000/file-000.parquet": pa.table({"index": [0, 1], "episode_index": [0, 0], "task_index": [0, 0]}),
        "meta/episodes/chunk-000/file-000.parquet": pa.table(
            {"tasks": [["pick"]], "length": [2], "data/chunk_index": [0], "episode_index": [0]}
        ),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, root / name)
    (root / "meta/info.json").write_text(json.dumps({"codebase_version": "v3.0", "total_episodes": 1}))


@pytest.mark.parametrize("without", ["nothing", "meta/info.json", "data/chunk-000/file-000.parquet", "meta/episodes"])
def test_finalizing_another_programs_dataset_changes_nothing(tmp_path: Path, without: str) -> None:
    write_foreign_dataset(tmp_path)
    for path in sorted((tmp_path / without).rglob("*.parquet")) or [tmp_path / without]:
        path.unlink(missing_ok=True)
    before = contents(tmp_path)
    with pytest.raises(DatasetError, match="nothing was written"):
        finalize_dataset(tmp_path, "franka")
    assert contents(tmp_path) == before


def test_a_shard_is_not_written_into_another_programs_dataset(tmp_path: Path) -> None:
    from tests.test_episodes import make_episode

    write_foreign_dataset(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(DatasetError, match="dataset of another program"):
        write_shard(tmp_path, 7, [make_episode(0)])
    assert contents(tmp_path) == before and not shard_exists(tmp_path, 7)


@pytest.mark.parametrize("damage", ["rows", "shard"])
def test_a_dataset_that_cannot_be_finalized_keeps_its_index(tmp_path: Path, damage: str) -> None:
    from tests.test_episodes import make_episode

    for shard in range(2):
        write_shard(tmp_path, shard, [make_episode(shard)])
    finalize_dataset(tmp_path, "panda")
    path = tmp_path / "data/chunk-000/file-001.parquet"
    if damage == "rows":
        table = pq.read_table(path)
        pq.write_table(table.take(np.arange(len(table) - 1)), path)
    else:
        path.unlink()
    before = contents(tmp_path)
    with pytest.raises(DatasetError):
        finalize_dataset(tmp_path, "panda")
    assert contents(tmp_path) == before
