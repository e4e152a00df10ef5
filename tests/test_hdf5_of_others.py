"""HDF5 demonstrations as Isaac Lab, LIBERO and people write them: the certain comes in, the rest says what to do."""

import json
import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_recordings import ROBOMIMIC, paint, write_demonstrations
from readings import counters
from scipy.spatial.transform import Rotation

from envs.config import load_config
from envs.episodes import DatasetError
from envs.episodes.open import describe_recordings, find_format, open_dataset
from envs.episodes.reading import Reading

READINGS = Path(__file__).parent.parent / "scripts/configs/reading"
ISAAC_LAB = {"env_name": "Isaac-Stack-Cube-Franka-v0", "type": 2}
LENGTH = 20


def hand(length: int = LENGTH, seed: int = 0) -> tuple[np.ndarray, Rotation, np.ndarray]:
    """Positions, orientations and a finger's travel."""
    time = np.arange(length)[:, None] / 10
    random = np.random.default_rng(seed)
    position = np.array((0.4, 0.0, 0.3)) + 0.1 * np.sin(random.uniform(1, 2, 3) * time)
    return position, Rotation.from_rotvec(0.3 * np.sin(time) * (1, 2, 3)), 0.02 + 0.02 * np.cos(time)


def isaac_lab(length: int = LENGTH, seed: int = 0) -> dict[str, np.ndarray]:
    position, turn, travel = hand(length, seed)
    columns = {"eef_pos": position, "eef_quat": turn.as_quat(scalar_first=True), "gripper_pos": travel}
    return {key: values.astype(np.float32) for key, values in columns.items()}


def reading(**changes) -> Reading:
    pose = {
        "kind": "end_effector",
        "position": {"key": "eef_pos"},
        "rotation": {"key": "eef_quat", "kind": "quaternion_wxyz"},
        "gripper": {"key": "gripper_pos", "open": 0.04, "closed": 0.0},
    }
    return load_config(Reading, {"pose": pose} | changes)


def check(source, episode: int = 0, seed: int = 0, step: int = 1) -> None:
    """Compares an episode with what was recorded."""
    position, turn, travel = hand(LENGTH, seed)
    true = np.column_stack([position, turn.as_euler("xyz"), 1 - travel / 0.04])[::step]
    np.testing.assert_allclose(source.poses_actions(episode)[0], true, atol=1e-5)


def test_isaac_lab_is_read_at_the_rate_that_the_reading_says(tmp_path):
    write_demonstrations(tmp_path / "d.hdf5", [isaac_lab(), isaac_lab(seed=1)], env_args=json.dumps(ISAAC_LAB))
    assert describe_recordings(tmp_path).rate is None
    with pytest.raises(DatasetError, match=r"d\.hdf5 does not say how many frames a second.*recorded_rate: 20"):
        open_dataset(tmp_path, reading(rate=5))
    source = open_dataset(tmp_path, reading(rate=5, recorded_rate=10))
    check(source, step=2)
    assert source.spec.rate == 5
    assert counters(source[0].images) == list(range(0, LENGTH, 2))


@pytest.mark.parametrize("env_args", [None, "", "no JSON", "null", json.dumps({"env_kwargs": {"control_freq": 0}})])
def test_attributes_that_say_nothing_of_the_rate_leave_it_to_the_reading(tmp_path, env_args):
    write_demonstrations(tmp_path / "d.hdf5", [isaac_lab()], env_args=env_args)
    check(open_dataset(tmp_path, reading(recorded_rate=10)))


def test_the_steps_of_isaac_labs_simulation_say_the_rate(tmp_path):
    steps = {"sim_args": {"dt": 0.01, "decimation": 5, "render_interval": 2, "num_envs": 4}}
    write_demonstrations(tmp_path / "d.hdf5", [isaac_lab()], env_args=json.dumps(ISAAC_LAB | steps))
    source = open_dataset(tmp_path, reading())
    assert source.spec.rate == pytest.approx(20)
    with pytest.raises(DatasetError, match="says 20 Hz, the Reading's recorded_rate 10"):
        open_dataset(tmp_path, reading(recorded_rate=10))


def test_of_several_files_one_that_says_no_rate_is_named(tmp_path):
    write_demonstrations(tmp_path / "a.hdf5", [isaac_lab()])
    write_demonstrations(tmp_path / "b.hdf5", [isaac_lab()], env_args=None)
    with pytest.raises(DatasetError, match=r"b\.hdf5 does not say"):
        open_dataset(tmp_path, reading())
    assert len(open_dataset(tmp_path, reading(recorded_rate=10))) == 2


def test_libero_is_read_with_the_reading_that_comes_along(tmp_path):
    position, turn, travel = hand()
    columns = {"ee_pos": position, "ee_ori": turn.as_rotvec(), "gripper_states": np.hstack([travel, -travel])}
    libero = {"type": 1, "env_name": "Libero_Kitchen", "env_kwargs": {"control_freq": 20}}
    args = ([columns], [paint(LENGTH)[:, ::-1]], json.dumps(libero))
    write_demonstrations(tmp_path / "task_demo.hdf5", *args, camera="agentview_rgb")
    source = open_dataset(tmp_path, load_config(Reading, READINGS / "libero.yaml"))
    check(source, step=5)
    assert counters(source[0].images) == [0, 5, 10, 15]


def test_columns_of_another_robot_ask_for_a_pose(tmp_path):
    write_demonstrations(tmp_path / "d.hdf5", [isaac_lab()])
    with pytest.raises(DatasetError, match=r"lacks \['robot0_eef_pos'.*a Reading must name the pose.*'eef_pos'"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images,
        lambda images: images.transpose(0, 3, 1, 2),
        lambda images: np.concatenate([images, np.full_like(images[..., :1], 7)], axis=-1),
        lambda images: np.concatenate([images, images[..., :1]], axis=-1).transpose(0, 3, 1, 2),
        lambda images: (images / 255).astype(np.float32),
        lambda images: (images / 255).transpose(0, 3, 1, 2),
    ],
    ids=["uint8", "channels first", "RGBA", "RGBA first", "float", "float first"],
)
@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "chunks": True}], ids=["plain", "compressed"])
def test_images_come_in_however_their_numbers_lie(tmp_path, change, options):
    write_demonstrations(tmp_path / "d.hdf5", [isaac_lab()], [change(paint(LENGTH))], **options)
    assert describe_recordings(tmp_path).cameras == {"front": paint(1).shape[1:3]}
    np.testing.assert_array_equal(open_dataset(tmp_path, reading())[0].images, paint(LENGTH))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (paint(LENGTH).astype(np.float32), r"float32 from 0 to 255, 0\.\.1 is read: scale them"),
        (paint(LENGTH) / 127.5 - 1, r"float64 from -1 to 1, 0\.\.1 is read"),
        (np.full((LENGTH, 8, 8, 3), np.nan, np.float32), "from nan to nan"),
        (paint(LENGTH).astype(np.uint16) * 257, r"are images of uint16, uint8 is read.*divide them"),
    ],
    ids=["float 0..255", "float -1..1", "nan", "16 bit"],
)
def test_images_whose_white_is_not_known_are_refused_with_what_to_do(tmp_path, images, message):
    args = ([isaac_lab(), isaac_lab()], [paint(LENGTH), images])
    write_demonstrations(tmp_path / "d.hdf5", *args)
    source = open_dataset(tmp_path, reading())
    assert list(source.problems) == [1]
    with pytest.raises(DatasetError, match=rf"demo_1: 'front'.*{message}"):
        source[1]


def test_depth_and_masks_are_no_cameras(tmp_path):
    path = write_demonstrations(tmp_path / "d.hdf5", [isaac_lab()])
    with h5py.File(path, "r+") as file:
        file["data/demo_0/obs/depth"] = np.zeros((LENGTH, 8, 8, 1), np.float32)
        file["mask/train"] = np.array([b"demo_0"])
    assert list(describe_recordings(tmp_path).cameras) == ["front"]
    check(open_dataset(tmp_path, reading()))


def test_stray_files_and_groups_are_passed_over_and_numbers_may_be_missing(tmp_path, caplog):
    names = ("demo_2", "demo_10", "demo_7")
    path = write_demonstrations(tmp_path / "d.hdf5", [isaac_lab(seed=seed) for seed in range(3)], names=names)
    with h5py.File(path, "r+") as file:
        file["data/statistics"] = np.zeros(3)
        file.create_group("data/demo_x/obs")
        file["notes"] = np.arange(4)
    for stray in ("._d.hdf5", ".DS_Store", ".hidden.h5"):
        (tmp_path / stray).write_bytes(b"\0\5\x16\7")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    with caplog.at_level(logging.WARNING):
        source = open_dataset(tmp_path, reading())
    assert source.names == ("d.hdf5 demo_2", "d.hdf5 demo_7", "d.hdf5 demo_10")
    check(source, episode=1, seed=2)
    assert "other.h5 has no data/demo_0" in caplog.text
    assert find_format(tmp_path) == "robomimic"


def test_only_demonstrations_that_lack_something_are_broken(tmp_path):
    path = write_demonstrations(tmp_path / "d.hdf5", [isaac_lab(seed=seed) for seed in range(5)])
    with h5py.File(path, "r+") as file:
        del file["data/demo_0/obs"]
        del file["data/demo_1/obs/eef_quat"]
        del file["data/demo_2/obs/front"]
        del file["data/demo_3/obs/gripper_pos"]
        file["data/demo_3/obs/gripper_pos"] = np.zeros((LENGTH - 4, 1))
    source = open_dataset(tmp_path, reading())
    reasons = ("lacks data/demo_0/obs", "lacks 'eef_quat'", "lacks the images 'front'", "different lengths")
    assert list(source.problems) == [0, 1, 2, 3]
    assert all(reason in source.problems[episode] for episode, reason in enumerate(reasons))
    check(source, episode=4, seed=4)


def test_a_demonstration_of_nothing_is_broken_alone(tmp_path):
    nothing = {key: values[:0] for key, values in isaac_lab().items()}
    write_demonstrations(tmp_path / "d.hdf5", [nothing, isaac_lab()], [paint(1)[:0], paint(LENGTH)])
    source = open_dataset(tmp_path, reading())
    assert source.problems[0].startswith("it has 0 frames")
    check(source, episode=1)


def test_a_bad_row_says_whether_rows_are_counted_over_all_or_over_chosen_frames(tmp_path):
    columns = isaac_lab()
    columns["eef_quat"][8] = 0
    write_demonstrations(tmp_path / "d.hdf5", [isaac_lab(), columns])
    assert open_dataset(tmp_path, reading()).problems[1].startswith("row 8 of 'eef_quat' is no quaternion")
    chosen = open_dataset(tmp_path, reading(rate=5)).problems[1]
    assert chosen.startswith("row 4 of 'eef_quat'")
    assert chosen.endswith("(rows are counted over the 10 frames that were chosen)")


def test_robomimics_own_attribute_is_still_the_rate(tmp_path):
    write_demonstrations(tmp_path / "d.hdf5", [isaac_lab()], env_args=ROBOMIMIC)
    assert open_dataset(tmp_path, reading()).spec.rate == 10
