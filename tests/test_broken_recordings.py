"""A broken episode is told by name and reason, whatever layout it is in; the others are read."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import recordings as fixtures
import torch
from readings import edit_h5, open_layout, write_all
from recordings import CAMERA, GRIPPER, LENGTHS, LOSSLESS, STATE, trajectories

from envs.episodes import DatasetError
from envs.episodes.video import _torchcodec, encode_frames


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_all(tmp_path_factory.mktemp("written"))


@pytest.fixture
def copied(written, tmp_path) -> Path:
    """A copy that a test may break."""
    return shutil.copytree(written, tmp_path / "copied")


def edit_parquet(path: Path, key: str, change) -> None:
    table = pq.read_table(path)
    values = np.array(table[key].to_pylist())
    column = change(values)
    index = table.column_names.index(key)
    table = table.drop_columns([key]) if column is None else table.set_column(index, key, pa.array(column.tolist()))
    pq.write_table(table, path)


def put(row: int, value: float):
    """Returns a change that puts a number into a row."""

    def change(values: np.ndarray) -> np.ndarray:
        values[row] = value
        return values

    return change


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shorten(path: Path, frames: int, rate: float) -> None:
    path.write_bytes(encode_frames(trajectories()[1].images[:frames], rate, LOSSLESS))


V21 = "v2.1/data/chunk-000/episode_000001.parquet"
V21_VIDEO = f"v2.1/videos/chunk-000/{CAMERA}/episode_000001.mp4"
RUN = "droid/success/2023-07-02/run"
DROID_VIDEO = f"{RUN}/recordings/MP4/22222222.mp4"
DROID_CLOCK = "observation/timestamp/cameras/22222222_estimated_capture"
HDF5 = "robomimic/image.hdf5"
BROKEN = {
    "a truncated video": ("v2.1", lambda at: halve(at / V21_VIDEO), r"episode_000001\.mp4 .*truncated"),
    "a missing video": ("v2.1", lambda at: (at / V21_VIDEO).unlink(), r"episode_000001\.mp4 is missing"),
    "a truncated table": ("v2.1", lambda at: halve(at / V21), r"episode_000001\.parquet .*truncated"),
    "a missing table": ("v2.1", lambda at: (at / V21).unlink(), r"episode_000001\.parquet is missing"),
    "a missing column": (
        "v2.1",
        lambda at: edit_parquet(at / V21, GRIPPER, lambda values: None),
        r"episode_000001\.parquet lacks the columns \['observation.state.gripper_position'\]",
    ),
    "a pose that is no number": (
        "v2.1",
        lambda at: edit_parquet(at / V21, STATE, put(5, np.nan)),
        "row 5 of 'observation.state' is not finite",
    ),
    "a gripper out of its range": (
        "v2.1",
        lambda at: edit_parquet(at / V21, GRIPPER, put(5, 0.2)),
        r"row 5 of 'observation.state.gripper_position' is \[0.2\], but a gripper open at 0.01 and closed at 0.09",
    ),
    "too few rows": (
        "v2.1",
        lambda at: pq.write_table(pq.read_table(at / V21).slice(0, 16), at / V21),
        "has 16 rows of episode 1, the index in meta says 17",
    ),
    "too few frames": (
        "v2.1",
        lambda at: shorten(at / V21_VIDEO, 15, 15),
        r"17 rows of numbers and 15 video frames \(1 row more is usual\): lengths do not match",
    ),
    "a clock that runs backwards": (
        "v2.1",
        lambda at: edit_parquet(at / V21, "timestamp", put(5, 0.1)),
        "clock runs backwards: frame 4 .* 0.2667 s, the next at 0.1000 s",
    ),
    "times off the frame grid": (
        "v2.1",
        lambda at: edit_parquet(at / V21, "timestamp", put(5, 0.3433)),
        r"timestamp of frame 5 is 0.3433 s, at 15 Hz it should be 0.3333 s \(1 of 17",
    ),
    "a quaternion of no length": (
        "robomimic",
        lambda at: edit_h5(at / HDF5, "data/demo_9/obs/robot0_eef_quat", put(5, 0.0)),
        "row 5 of 'robot0_eef_quat' is no quaternion xyzw",
    ),
    "images of another number": (
        "robomimic",
        lambda at: edit_h5(at / HDF5, "data/demo_9/obs/agentview_image", lambda images: images[:-2]),
        "17 rows of numbers and 15 video frames",
    ),
    "images of another size": (
        "robomimic",
        lambda at: edit_h5(at / HDF5, "data/demo_9/obs/agentview_image", lambda images: images[:, 2:]),
        r"images are \(46, 80, 3\), most others' \(48, 80, 3\)",
    ),
    "no images": (
        "robomimic",
        lambda at: edit_h5(at / HDF5, "data/demo_9/obs/agentview_image", lambda images: None),
        "demo_9 lacks the images 'agentview_image'",
    ),
    "a missing dataset": (
        "droid",
        lambda at: edit_h5(at / RUN / "trajectory.h5", "observation/robot_state/gripper_position", lambda values: None),
        "lacks 'observation/robot_state/gripper_position'; it has .*cartesian_position",
    ),
    "a truncated trajectory": ("droid", lambda at: halve(at / RUN / "trajectory.h5"), r"trajectory\.h5 .*truncated"),
    "two frames fewer than rows": (
        "droid",
        lambda at: shorten(at / DROID_VIDEO, 16, 60),
        r"18 rows of numbers and 16 video frames \(1 row more is usual\)",
    ),
    "more frames than rows": (
        "droid",
        lambda at: (at / DROID_VIDEO).write_bytes(encode_frames(trajectories()[0].images, 60, LOSSLESS)),
        "18 rows of numbers and 24 video frames",
    ),
    "a camera's clock that runs backwards": (
        "droid",
        lambda at: edit_h5(at / RUN / "trajectory.h5", DROID_CLOCK, put(5, 1_688_700_000_000)),
        "clock runs backwards: frame 4",
    ),
    "no metadata": (
        "droid",
        lambda at: (at / RUN / "metadata_run.json").unlink(),
        "the metadata JSON in .*2023-07-02/run lacks left_mp4_path",
    ),
    "damaged metadata": ("droid", lambda at: halve(at / RUN / "metadata_run.json"), r"metadata_run\.json is not JSON"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_episode_is_named_with_its_reason_and_the_others_are_read(copied, broken):
    layout, spoil, reason = BROKEN[broken]
    spoil(copied)
    source = open_layout(copied, layout)
    assert list(source.problems) == [1]
    assert source.lengths == (LENGTHS[0], 0, LENGTHS[2])
    for read in (source.poses_actions, source.__getitem__):
        with pytest.raises(DatasetError, match=reason) as raised:
            read(1)
        assert str(raised.value).startswith(source.names[1])
    np.testing.assert_array_equal(source[2].images, trajectories()[2].images)


def test_a_video_that_breaks_off_behind_a_whole_header_is_named_when_it_is_read(tmp_path):
    film = fixtures.write_v3(tmp_path / "v3.0") / f"videos/{CAMERA}/chunk-000/file-000.mp4"
    images = np.concatenate([seen.images for seen in trajectories()]).transpose(0, 3, 1, 2)
    encoder = _torchcodec("encoders").VideoEncoder(torch.from_numpy(np.ascontiguousarray(images)), frame_rate=15)
    options = {"movflags": "faststart", "g": 5, "bf": 0}
    encoder.to_file(film, codec=LOSSLESS.name, pixel_format=LOSSLESS.pixel_format, crf=0, extra_options=options)
    halve(film)
    source = open_layout(tmp_path, "quaternion")
    np.testing.assert_array_equal(source[0].images, trajectories()[0].images)
    with pytest.raises(DatasetError, match=r"file-000\.parquet episode 2: the video .*file-000\.mp4 has \d\d frames"):
        source[2]


def test_a_video_of_another_rate_than_its_columns_is_named(tmp_path):
    fixtures.write_v3(tmp_path / "v3.0", video_rate=16.0)
    source = open_layout(tmp_path, "quaternion")
    with pytest.raises(DatasetError, match=r"file-000\.mp4 shows frame 24 at .* has another rate than 15 Hz"):
        source[1]


def test_the_first_episode_does_not_decide_for_the_others_what_size_images_have(copied):
    edit_h5(copied / HDF5, "data/demo_2/obs/agentview_image", lambda images: images[:, 2:])
    assert list(open_layout(copied, "robomimic").problems) == [0]
    assert not open_layout(copied, "robomimic", crop="square", image_size=32).problems


def test_nothing_that_can_be_read_says_why(copied):
    for path in (copied / "v2.1").rglob("*.mp4"):
        halve(path)
    with pytest.raises(DatasetError, match=r"none of 3 episodes can be read\. data/.*_000000\.parquet: the video"):
        open_layout(copied, "v2.1")
