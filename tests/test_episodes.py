import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envs.episodes import DatasetError, Episode
from envs.episodes.formats.lerobot import CAMERA, finalize_dataset, read_dataset, shard_exists, write_shard
from envs.episodes.video import VideoCodec, decode_frames, encode_frames
from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec

SPEC = ActionSpec(POSE_NAMES, POSE_UNITS, (-0.1,) * 7, (0.1,) * 7, "base", 4.0)
LENGTHS = (5, 9, 7, 12)  # two shards of two episodes
SIZE = 64
BITS = 8


def paint_number(number: int) -> np.ndarray:
    """An image whose 16 blocks of 16 px spell a number in black and white, on a smooth coloured ground."""
    ramp = np.linspace(0, 255, SIZE, dtype=np.uint8)
    image = np.stack([np.tile(ramp, (SIZE, 1)), np.tile(ramp[:, None], (1, SIZE)), np.full((SIZE, SIZE), 90)], axis=-1)
    for bit in range(BITS):
        row, column = divmod(bit, 4)
        image[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = 255 * (number >> bit & 1)
    return image.astype(np.uint8)


def read_number(image: np.ndarray) -> int:
    centres = [image[row * 16 + 8, column * 16 + 8].mean() for row, column in (divmod(bit, 4) for bit in range(BITS))]
    return sum(int(centre > 127) << bit for bit, centre in enumerate(centres))


def make_episode(number: int) -> Episode:
    random = np.random.default_rng(number)
    start = sum(LENGTHS[:number])
    images = np.stack([paint_number(start + frame) for frame in range(LENGTHS[number])])
    poses = random.normal(size=(LENGTHS[number], 7)).astype(np.float32)
    task = ("reach", "push")[number % 2]
    return Episode(images, poses, np.diff(poses, axis=0), 4.0, SPEC, task, seed=100 + number, extra={"number": number})


def collect(root: Path) -> list[int]:
    """Writes the shards that are missing and returns which those were."""
    missing = [shard for shard in range(2) if not shard_exists(root, shard)]
    for shard in missing:
        write_shard(root, shard, [make_episode(2 * shard), make_episode(2 * shard + 1)])
    finalize_dataset(root, "panda")
    return missing


def files_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    collect(root)
    return root


@pytest.fixture
def dataset_root(finished, tmp_path) -> Path:
    """A copy of a finished dataset that a test may break."""
    for name, content in files_of(finished).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def edit_info(root: Path, **changes) -> None:
    path = root / "meta/info.json"
    info = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in info.items() if value is not None}))


def edit_data(root: Path, shard: int, change) -> None:
    path = root / f"data/chunk-000/file-{shard:03d}.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def test_dataset_returns_the_episodes_that_were_written(finished):
    dataset = read_dataset(finished)
    assert len(dataset) == 4
    assert dataset.lengths == LENGTHS
    assert dataset.spec == SPEC
    assert dataset.rate == 4.0
    assert dataset.image_shape == (SIZE, SIZE, 3)
    assert dataset.pose_size == 7
    assert dataset.robot_type == "panda"
    for number, episode in enumerate(dataset):
        written = make_episode(number)
        np.testing.assert_array_equal(episode.poses, written.poses)
        np.testing.assert_array_equal(episode.actions, written.actions)
        assert (episode.task, episode.seed, dict(episode.extra)) == (written.task, written.seed, dict(written.extra))


def test_frames_of_every_episode_are_decoded_exactly(finished):
    dataset = read_dataset(finished)
    numbers = [[read_number(image) for image in dataset[episode].images] for episode in (3, 0, 2, 1)]
    starts = {episode: sum(LENGTHS[:episode]) for episode in range(4)}
    assert numbers == [list(range(starts[e], starts[e] + LENGTHS[e])) for e in (3, 0, 2, 1)]


def test_images_come_back_nearly_unchanged(finished):
    difference = read_dataset(finished)[1].images.astype(float) - make_episode(1).images
    assert 10 * np.log10(255**2 / (difference**2).mean()) > 40  # dB
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 0.5  # no shift of any colour


def test_poses_and_actions_are_read_without_the_video(dataset_root):
    dataset = read_dataset(dataset_root)
    for video in dataset_root.rglob("*.mp4"):
        video.unlink()
    poses, actions = dataset.poses_actions(2)
    np.testing.assert_array_equal(poses, make_episode(2).poses)
    np.testing.assert_array_equal(actions, make_episode(2).actions)
    poses[:] = 0  # the caller's own: nobody else's copy changes
    np.testing.assert_array_equal(dataset.poses_actions(2)[0], make_episode(2).poses)
    with pytest.raises(DatasetError, match=r"file-001\.mp4 is missing"):
        dataset[2]


def test_files_are_those_of_lerobot_v3(finished):
    assert sorted(files_of(finished)) == sorted(
        [f"{folder}/chunk-000/file-{shard:03d}.parquet" for folder in ("data", "meta/episodes") for shard in (0, 1)]
        + [f"videos/{CAMERA}/chunk-000/file-{shard:03d}.mp4" for shard in (0, 1)]
        + ["meta/info.json", "meta/stats.json", "meta/tasks.parquet"]
    )
    info = json.loads((finished / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (4, sum(LENGTHS), 2)
    assert (info["fps"], info["splits"], info["chunks_size"]) == (4, {"train": "0:4"}, 1000)
    assert info["features"][CAMERA]["dtype"] == "video"
    assert info["features"][CAMERA]["shape"] == [SIZE, SIZE, 3]
    assert info["features"]["observation.state"]["names"] == list(POSE_NAMES)
    stats = json.loads((finished / "meta/stats.json").read_text())
    assert set(stats) == set(info["features"])
    assert all(set(values) == {"min", "max", "mean", "std", "count"} for values in stats.values())


def test_data_columns_are_those_of_lerobot_v3(finished):
    tables = [pq.read_table(finished / f"data/chunk-000/file-00{shard}.parquet") for shard in (0, 1)]
    vector, integer = pa.list_(pa.float32(), 7), pa.int64()
    assert dict(zip(tables[0].schema.names, tables[0].schema.types, strict=True)) == {
        "observation.state": vector,
        "action": vector,
        "timestamp": pa.float32(),
        **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), integer),
    }
    rows = pa.concat_tables(tables).to_pydict()
    assert rows["index"] == list(range(sum(LENGTHS)))
    assert rows["episode_index"] == [episode for episode, length in enumerate(LENGTHS) for _ in range(length)]
    assert rows["frame_index"] == [frame for length in LENGTHS for frame in range(length)]
    assert rows["timestamp"] == [frame / 4 for length in LENGTHS for frame in range(length)]  # restart each episode
    tasks = pandas.read_parquet(finished / "meta/tasks.parquet")
    assert [tasks.iloc[row].name for row in rows["task_index"][:6]] == ["reach"] * 5 + ["push"]
    assert rows["action"][LENGTHS[0] - 1] == [0.0] * 7  # the last frame's action leads nowhere


def test_episode_index_says_where_data_and_video_lie(finished):
    tables = [pq.read_table(finished / f"meta/episodes/chunk-000/file-00{shard}.parquet") for shard in (0, 1)]
    rows = pa.concat_tables(tables).to_pydict()
    assert rows["episode_index"] == [0, 1, 2, 3]
    assert rows["tasks"] == [["reach"], ["push"]] * 2
    assert rows["length"] == list(LENGTHS)
    assert rows["dataset_from_index"] == [0, 5, 14, 21]
    assert rows["dataset_to_index"] == [5, 14, 21, 33]
    for kind in ("data", "meta/episodes", f"videos/{CAMERA}"):
        assert rows[f"{kind}/chunk_index"] == [0] * 4
        assert rows[f"{kind}/file_index"] == [0, 0, 1, 1]
    assert rows[f"videos/{CAMERA}/from_timestamp"] == [0.0, 1.25, 0.0, 1.75]
    assert rows[f"videos/{CAMERA}/to_timestamp"] == [1.25, 3.5, 1.75, 4.75]


def test_statistics_are_those_of_all_frames(finished):
    stats = json.loads((finished / "meta/stats.json").read_text())
    images = np.concatenate([make_episode(number).images for number in range(4)]) / 255
    poses = np.concatenate([make_episode(number).poses for number in range(4)])
    np.testing.assert_allclose(np.ravel(stats[CAMERA]["mean"]), images.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(np.ravel(stats[CAMERA]["std"]), images.std(axis=(0, 1, 2)))
    np.testing.assert_allclose(stats["observation.state"]["std"], poses.std(axis=0), rtol=1e-5)
    assert stats[CAMERA]["count"] == stats["action"]["count"] == [sum(LENGTHS)]


def test_collection_resumes_with_the_missing_shards_and_gives_the_same_files(finished, tmp_path):
    write_shard(tmp_path, 1, [make_episode(2), make_episode(3)])  # in any order, by any process
    with pytest.raises(DatasetError, match=r"shards \[0\] .* missing or incomplete"):
        finalize_dataset(tmp_path, "panda")
    with pytest.raises(DatasetError, match="interrupted collection"):
        read_dataset(tmp_path)
    assert collect(tmp_path) == [0]
    assert files_of(tmp_path) == files_of(finished)
    assert collect(tmp_path) == []
    assert files_of(tmp_path) == files_of(finished)
    assert read_dataset(tmp_path).fingerprint == read_dataset(finished).fingerprint


def test_shard_without_its_last_file_does_not_exist(dataset_root):
    (dataset_root / "meta/episodes/chunk-000/file-001.parquet").unlink()
    assert shard_exists(dataset_root, 0)
    assert not shard_exists(dataset_root, 1)
    with pytest.raises(DatasetError, match=r"shards \[1\]"):
        finalize_dataset(dataset_root, "panda")


def test_dataset_is_unfinished_from_the_moment_a_shard_is_replaced(dataset_root):
    fingerprint = read_dataset(dataset_root).fingerprint
    write_shard(dataset_root, 1, [make_episode(3), make_episode(2)])
    with pytest.raises(DatasetError, match="no finished LeRobot dataset"):
        read_dataset(dataset_root)
    finalize_dataset(dataset_root, "panda")
    assert read_dataset(dataset_root).lengths == (5, 9, 12, 7)
    assert read_dataset(dataset_root).fingerprint != fingerprint


class Killed(BaseException):
    """Stands for kill -9: nothing in the code under test may catch it."""


@pytest.mark.parametrize("survivors", range(12))  # 2 shards of 3 files, 3 of them renumbered, 3 in meta/
def test_collection_killed_at_any_file_is_completed_by_running_it_again(finished, tmp_path, monkeypatch, survivors):
    replace, done = os.replace, []

    def replace_or_die(source, target):
        if len(done) == survivors:
            Path(source).write_bytes(Path(source).read_bytes()[:-9])  # killed in the middle of writing
            raise Killed
        done.append(replace(source, target))

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "replace", replace_or_die)
        collect(tmp_path)
    for path in tmp_path.rglob("file-*.parquet"):
        pq.read_table(path)
    with pytest.raises(DatasetError, match="no finished LeRobot dataset"):
        read_dataset(tmp_path)
    collect(tmp_path)
    assert files_of(tmp_path) == files_of(finished)


def test_shards_of_different_settings_are_not_mixed(dataset_root):
    images, poses = np.zeros((4, 32, 48, 3), np.uint8), np.zeros((4, 7), np.float32)
    write_shard(dataset_root, 1, [Episode(images, poses, poses[1:], 4.0, SPEC)])
    with pytest.raises(DatasetError, match="shard 1 was recorded with other settings than shard 0"):
        finalize_dataset(dataset_root, "panda")
    with pytest.raises(DatasetError, match="share their image size"):
        write_shard(dataset_root, 2, [make_episode(0), Episode(images, poses, poses[1:], 4.0, SPEC)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((5, 8, 8), np.uint8)}, r"\(T, height, width, 3\) uint8"),
        ({"images": np.zeros((5, 8, 8, 3), np.float32)}, "float32"),
        ({"poses": np.zeros((4, 7))}, "poses must be a table of 5 rows"),
        ({"actions": np.zeros((5, 7))}, "actions must be a table of 4 rows"),
        ({"actions": np.zeros((4, 6))}, "names 7 action dimensions"),
        ({"poses": np.full((5, 7), np.nan)}, "poses must be finite numbers; row 0"),
        ({"rate": 15.0}, "15.0 Hz, its ActionSpec's 4.0 Hz"),
    ],
)
def test_episode_that_does_not_fit_together_is_refused(change, message):
    whole = make_episode(0)
    fields = {"images": whole.images, "poses": whole.poses, "actions": whole.actions, "rate": 4.0, "spec": SPEC}
    with pytest.raises(DatasetError, match=message):
        Episode(**(fields | change))


def test_pose_that_is_not_a_number_is_reported_with_its_episode_and_file(dataset_root):
    def spoil(table: pa.Table) -> pa.Table:
        values = np.array(table["observation.state"].combine_chunks().flatten())
        values[7 * 6 + 2] = np.nan
        column = pa.FixedSizeListArray.from_arrays(pa.array(values, from_pandas=False), 7)
        return table.set_column(table.column_names.index("observation.state"), "observation.state", column)

    edit_data(dataset_root, 1, spoil)
    dataset = read_dataset(dataset_root)
    with pytest.raises(DatasetError, match=r"episode 2 in .*file-001\.parquet: .*poses must be finite numbers; row 6"):
        dataset.poses_actions(2)
    dataset.poses_actions(3)  # its neighbour is whole


def test_truncated_files_are_named(dataset_root):
    dataset = read_dataset(dataset_root)
    for path, episode in ((next(dataset_root.rglob("file-000.mp4")), 0), (dataset.places[3].data_file, 3)):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DatasetError, match=rf"{path.name} .*truncated"):
            dataset[episode]


def test_video_with_too_few_frames_is_named(dataset_root):
    dataset = read_dataset(dataset_root)
    dataset.places[1].image_file.write_bytes(encode_frames(make_episode(0).images, 4.0))
    with pytest.raises(DatasetError, match=r"file-000\.mp4 has 5 frames, but frames 5 to 13 were asked for"):
        dataset[1]


def test_missing_column_is_named(dataset_root):
    edit_data(dataset_root, 0, lambda table: table.drop_columns(["action"]))
    with pytest.raises(DatasetError, match=r"file-000\.parquet lacks the columns \['action'\]; it has .*timestamp"):
        read_dataset(dataset_root)[0]


def test_missing_rows_are_reported(dataset_root):
    edit_data(dataset_root, 0, lambda table: table.slice(0, len(table) - 1))
    with pytest.raises(DatasetError, match="has 8 rows of episode 1, meta/episodes says 9"):
        read_dataset(dataset_root)[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebase_version": "v1.6"}, r"older than is read here: v1\.6; read are v2\.0, v2\.1, v3\.0"),
        ({"vjepa_planner": None}, r"carries no ActionSpec .* it has .*features"),
        ({"vjepa_planner": {"action_spec": {"names": ["x"]}}}, "ActionSpec in .* is broken"),
        ({"fps": 15}, "15.0 frames a second, but its ActionSpec 4.0"),
        ({"features": {}}, r"lacks the features \['observation.state', 'action'\]"),
        ({"total_frames": 999}, "33 frames, its meta/info.json says 4 with 999"),
        ({"data_path": None}, r"lacks \['data_path'\]"),
    ],
)
def test_description_that_does_not_fit_is_refused(dataset_root, changes, message):
    edit_info(dataset_root, **changes)
    with pytest.raises(DatasetError, match=message):
        read_dataset(dataset_root)


def test_missing_file_or_camera_is_named(dataset_root):
    with pytest.raises(DatasetError, match=f"has the cameras .*{CAMERA}.*got 'wrist'"):
        read_dataset(dataset_root, camera="wrist")
    next(dataset_root.rglob("file-001.mp4")).unlink()
    dataset = read_dataset(dataset_root)
    assert list(dataset.problems) == [2, 3]
    assert "file-001.mp4 is missing" in dataset.problems[2]
    assert dataset.names[2] == "data/chunk-000/file-001.parquet episode 2"
    assert len(dataset[1]) == LENGTHS[1]
    next(dataset_root.rglob("file-000.mp4")).unlink()
    with pytest.raises(DatasetError, match=r"no episode of .* can be read: .*file-000\.mp4 is missing"):
        read_dataset(dataset_root)
    with pytest.raises(DatasetError, match=r"info\.json is missing"):
        read_dataset(dataset_root / "nowhere")


def test_video_of_odd_size_and_rate_keeps_every_frame(tmp_path):
    images = np.stack([np.full((33, 47, 3), 20 * frame, np.uint8) for frame in range(12)])
    (tmp_path / "odd.mp4").write_bytes(encode_frames(images, 14.985))
    decoded = decode_frames(tmp_path / "odd.mp4", 3, 7)
    assert np.abs(decoded.astype(int) - images[3:10]).max() <= 2


def test_codec_that_ffmpeg_lacks_is_named():
    with pytest.raises(DatasetError, match=r"could not encode .*nosuchcodec"):
        encode_frames(make_episode(0).images, 4.0, VideoCodec(name="nosuchcodec"))


def test_importing_an_episode_imports_neither_torch_nor_pyarrow():
    command = "import sys, envs.episodes; print({'torch', 'torchcodec', 'pyarrow'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "set()"


def test_missing_torchcodec_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec.encoders", None)
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    with pytest.raises(ImportError, match=r"torchcodec >= 0\.13 .*ffmpeg"):
        encode_frames(make_episode(0).images, 4.0)
