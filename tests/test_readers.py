"""Everybody's recordings, read: the same trajectories in every layout are the same episodes."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import recordings as fixtures
import torch
from readings import JOINT_ANGLES, LAYOUTS, V21_POSE, counters, edit_h5, end_effector, open_layout, write_all
from recordings import CAMERA, EXTRINSICS, GRIPPER, JOINTS, LENGTHS, MATRIX, STATE, VECTOR, trajectories
from torch.nn import functional

from envs.config import load_config
from envs.episodes import DatasetError
from envs.episodes.formats.lerobot import EpisodeDataset
from envs.episodes.frames import choose_frames
from envs.episodes.open import describe_recordings, find_format, open_dataset
from envs.episodes.reading import Reading
from envs.episodes.video import encode_frames
from envs.pose import difference
from envs.spec import POSE_NAMES
from world_model.encoders.vjepa2 import Encoder, EncoderConfig

HDF5 = "robomimic/image.hdf5"
READINGS = Path(__file__).parent.parent / "scripts/configs/reading"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_all(tmp_path_factory.mktemp("written"))


@pytest.fixture
def copied(written, tmp_path) -> Path:
    """A copy that a test may break."""
    return shutil.copytree(written, tmp_path / "copied")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_episodes(written, layout):
    source = open_layout(written, layout)
    assert (len(source), source.lengths, dict(source.problems)) == (len(LENGTHS), LENGTHS, {})
    assert (source.spec.names, source.spec.frame, source.spec.rate) == (POSE_NAMES, "base", 15.0)
    assert source.image_shape == (fixtures.HEIGHT, fixtures.WIDTH, 3)
    for number, seen in enumerate(trajectories()):
        episode = source[number]
        np.testing.assert_allclose(episode.poses, seen.poses, atol=1e-6)
        np.testing.assert_allclose(episode.actions, difference(seen.poses[:-1], seen.poses[1:]), atol=1e-6)
        np.testing.assert_array_equal(episode.images, seen.images)
        assert counters(episode.images) == list(range(sum(LENGTHS[:number]), sum(LENGTHS[: number + 1])))
        poses, actions = source.poses_actions(number)
        np.testing.assert_array_equal(poses, episode.poses)
        np.testing.assert_array_equal(actions, episode.actions)
        assert episode.task == ("" if layout == "robomimic" else f"task {number}")
        if layout in ("quaternion", "droid"):
            np.testing.assert_allclose(episode.extra["camera_extrinsics"], EXTRINSICS, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_episodes_at_a_lower_rate(written, layout):
    source = open_layout(written, layout, rate=5, crop="square", image_size=36)
    small = open_layout(written, "ours", crop="square", image_size=36)
    assert source.spec.rate == 5.0
    assert source.lengths == (8, 6, 11)
    for number, seen in enumerate(trajectories()):
        episode = source[number]
        np.testing.assert_allclose(episode.poses, seen.poses[::3], atol=1e-6)
        np.testing.assert_allclose(episode.actions, difference(seen.poses[:-3:3], seen.poses[3::3]), atol=1e-6)
        assert counters(episode.images) == [sum(LENGTHS[:number]) + frame for frame in range(0, LENGTHS[number], 3)]
        np.testing.assert_array_equal(episode.images, small[number].images[::3])


def test_every_layout_tells_its_format_and_what_it_holds(written):
    folders = ("ours", "v3.0", "v2.1", "droid", "robomimic")
    formats = ["ours", "lerobot v3.0", "lerobot v2.1", "droid", "robomimic"]
    assert [find_format(written / folder) for folder in folders] == formats
    contents = [describe_recordings(written / folder) for folder in folders]
    assert [each.format for each in contents] == formats
    assert all((each.episodes, each.rate) == (3, 15.0) for each in contents)
    size = (fixtures.HEIGHT, fixtures.WIDTH)
    assert dict(contents[1].cameras) == {CAMERA: size}
    assert dict(contents[3].cameras) == dict.fromkeys(("left", "right", "wrist"), size)
    assert dict(contents[4].cameras) == {"agentview_image": size}
    assert contents[1].columns[STATE] == ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")
    assert contents[2].columns[STATE] == ("rz", "ry", "rx", "x", "y", "z")
    assert len(contents[4].columns["robot0_gripper_qpos"]) == 2


def test_one_hdf5_file_is_opened_alone(written):
    assert open_dataset(written / "robomimic/image.hdf5").names == tuple(f"image.hdf5 demo_{i}" for i in (2, 9, 10))


def test_names_say_which_file_an_episode_is_in(written):
    assert open_layout(written, "quaternion").names[1] == "data/chunk-000/file-000.parquet episode 1"
    assert open_layout(written, "ours").names[2] == "data/chunk-000/file-001.parquet episode 2"
    assert open_layout(written, "v2.1").names[2] == "data/chunk-000/episode_000002.parquet"
    assert open_layout(written, "droid").names[0] == "success/2023-07-01/run/trajectory.h5"


def test_poses_are_read_without_the_videos_and_in_another_process(copied):
    source = open_layout(copied, "v2.1", rate=5)
    for video in copied.rglob("*.mp4"):
        video.unlink()
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_allclose(again.poses_actions(1)[0], trajectories()[1].poses[::3], atol=1e-6)
    with pytest.raises(DatasetError, match=r"episode_000001\.mp4 is missing"):
        again[1]


def test_metadata_are_the_json_that_names_the_cameras_video(copied):
    run = copied / "droid/success/2023-07-01/run"
    for stray, content in (
        ("a.json", "[]"),
        ("b.json", "{"),
        ("ba.json", '{"left_mp4_path": null}'),
        ("c.json", '{"left_mp4_path": "x/22222222.mp4"}'),
    ):
        (run / stray).write_text(content)
    (run / "._metadata_run.json").write_bytes(b"\0\5\x16\7")
    np.testing.assert_array_equal(open_layout(copied, "droid", camera="wrist")[0].images[:, ::-1], seen_images(0))
    (run / "metadata_run.json").unlink()
    np.testing.assert_array_equal(open_layout(copied, "droid")[0].images, seen_images(0))
    problem = open_layout(copied, "droid", camera="right").problems[0]
    assert "is not JSON" in problem or "should be a mapping" in problem
    for stray in ("a.json", "b.json", "ba.json"):
        (run / stray).unlink()
    problem = open_layout(copied, "droid", camera="right").problems[0]
    assert "lacks right_mp4_path; it has ['left_mp4_path']" in problem
    assert "serial number" in problem


def seen_images(number: int) -> np.ndarray:
    return trajectories()[number].images


def test_droids_videos_without_a_trajectory_and_hidden_folders_are_passed_over(copied, caplog):
    runs = sorted((copied / "droid/success").glob("*/run"))
    (runs[1] / "trajectory.h5").unlink()
    shutil.copytree(runs[2], runs[2].parent / ".run")
    source = open_layout(copied, "droid")
    assert source.names == ("success/2023-07-01/run/trajectory.h5", "success/2023-07-03/run/trajectory.h5")
    assert f"{runs[1]} has recordings/MP4 but no trajectory.h5; it is passed over" in caplog.text


def test_a_row_or_a_frame_left_over_at_the_end_is_left_out_and_that_is_said(copied, caplog):
    video = copied / "droid/success/2023-07-01/run/recordings/MP4/22222222.mp4"
    video.write_bytes(encode_frames(np.concatenate([seen_images(0), seen_images(0)[-1:]]), 60.0, fixtures.LOSSLESS))
    edit_h5(copied / HDF5, "data/demo_9/obs/agentview_image", lambda images: images[:-1])
    edit_h5(copied / HDF5, "data/demo_10/obs/agentview_image", lambda images: np.concatenate([images, images[-1:]]))
    droid, robomimic = (open_layout(copied, layout) for layout in ("droid", "robomimic"))
    assert (droid.lengths, robomimic.lengths) == (LENGTHS, (LENGTHS[0], LENGTHS[1] - 1, LENGTHS[2]))
    np.testing.assert_array_equal(droid[0].images, seen_images(0))
    np.testing.assert_array_equal(robomimic[1].images, seen_images(1)[:-1])
    np.testing.assert_allclose(robomimic[1].poses, trajectories()[1].poses[:-1], atol=1e-6)
    assert caplog.text.count("it ends with a frame without a row, which is left out") == 2
    assert caplog.text.count("demo_9: it ends with a row without a frame, which is left out") == 1


def test_joint_space_keeps_names_and_units(written):
    grippers = {"key": STATE, "indices": [7, 7], "open": 100, "closed": 0}
    source = open_layout(written, "quaternion", pose={"kind": "joints", "joints": JOINT_ANGLES, "gripper": grippers})
    assert source.spec.names == (*JOINT_ANGLES["names"], "gripper_0", "gripper_1")
    assert (source.spec.units, source.spec.frame) == (("rad",) * 7 + ("1",) * 2, "joints")
    poses, actions = source.poses_actions(2)
    seen = trajectories()[2]
    np.testing.assert_allclose(poses, np.column_stack([seen.joints, seen.closedness, seen.closedness]), atol=1e-6)
    np.testing.assert_allclose(actions, np.diff(poses, axis=0), atol=1e-6)
    one = open_layout(written, "quaternion", pose={"kind": "joints", "joints": JOINT_ANGLES})
    assert one.spec.names == tuple(JOINT_ANGLES["names"])


def test_bounds_are_the_largest_that_was_measured_or_those_that_are_stated(written):
    source = open_layout(written, "droid")
    actions = np.concatenate([source.poses_actions(number)[1] for number in range(3)])
    np.testing.assert_allclose(source.spec.high, np.abs(actions).max(axis=0))
    assert source.spec.low == tuple(-bound for bound in source.spec.high)
    stated = open_layout(written, "droid", action_bounds={"low": [-0.1] * 7, "high": [0.2] * 7})
    assert (stated.spec.low, stated.spec.high) == ((-0.1,) * 7, (0.2,) * 7)
    assert open_layout(written, "ours", rate=5).spec.high == pytest.approx((1.5,) * 7)  # 3 actions of at most 0.5


def test_our_own_datasets_need_no_reading(written):
    assert isinstance(open_dataset(written / "ours"), EpisodeDataset)


def test_official_time_base_believes_the_header(written):
    source = open_layout(written, "droid", rate=4, time_base="vjepa2_compat")
    assert source.spec.rate == 4.0
    assert source.lengths == (2, 2, 3)  # every 15th frame: 60 in the header, 4 asked for
    assert counters(source[2].images) == [41, 56, 71]
    np.testing.assert_allclose(source[2].poses, trajectories()[2].poses[::15], atol=1e-6)
    assert counters(open_layout(written, "droid", rate=4)[2].images)[:5] == [41, 45, 48, 52, 56]


@pytest.mark.parametrize("camera", ["right", "33333333"])
def test_another_camera_of_droid_is_named_or_numbered(written, camera):
    images = open_layout(written, "droid", camera=camera)[0].images
    np.testing.assert_array_equal(images, trajectories()[0].images[:, ::-1])


@pytest.mark.parametrize("size", [16, 64])
def test_images_are_what_the_encoder_would_see(written, size):
    encoder = Encoder(EncoderConfig(image_size=size, width=24, depth=1, heads=2))
    given = open_layout(written, "robomimic", crop="square", image_size=size)[0].images
    recorded = encoder.preprocess(torch.from_numpy(trajectories()[0].images))
    rounding = 0.5 / 255 / 0.224 + 1e-4
    assert (encoder.preprocess(torch.from_numpy(given)) - recorded).abs().max() <= rounding


def test_official_squash_is_the_centre_of_1_35_times_the_height(written):
    given = open_layout(written, "ours", crop="official_squash", image_size=32)[0].images
    centre = torch.from_numpy(trajectories()[0].images[:, :, 7:72]).permute(0, 3, 1, 2).float()  # 65 = 1.35 * 48
    squashed = functional.interpolate(centre, (32, 32), mode="bilinear", align_corners=False)
    np.testing.assert_array_equal(given, squashed.round().byte().permute(0, 2, 3, 1).numpy())
    assert open_layout(written, "ours", crop="official_squash").image_shape == (48, 48, 3)


def test_fingerprint_changes_with_the_reading_and_with_the_recordings_only(written, copied):
    source = open_layout(written, "joint angles")
    assert open_layout(copied, "joint angles").fingerprint == source.fingerprint
    readings = ({"rate": 5}, {"crop": "square"}, {"flip": "vertical"}, {"extrinsics": None})
    prints = {open_layout(written, "joint angles", **reading).fingerprint for reading in readings}
    (copied / "arm.xml").write_text(fixtures.arm_xml().replace("0.1034", "0.1534"))
    prints.add(open_layout(copied, "joint angles").fingerprint)
    assert len(prints | {source.fingerprint}) == 6
    for layout, pattern in (("v2.1", "episode_000001.mp4"), ("droid", "22222222.mp4"), ("ours", "file-001.mp4")):
        before = open_layout(copied, layout).fingerprint
        video = next((copied / layout).rglob(pattern))
        video.write_bytes(video.read_bytes() + b"\0")
        assert open_layout(copied, layout).fingerprint != before
    before = open_layout(copied, "robomimic").fingerprint
    edit_h5(copied / HDF5, "data/demo_9/obs/robot0_eef_pos", lambda values: values + 1e-4)
    assert open_layout(copied, "robomimic").fingerprint != before


def test_a_reading_that_is_needed_is_asked_for_with_the_keys_that_there_are(written):
    with pytest.raises(
        DatasetError, match=rf"must name the pose\. It has the columns .*{JOINTS}.*scripts/dataset.py inspect"
    ):
        open_dataset(written / "v3.0")


@pytest.mark.parametrize(
    ("layout", "changes", "message"),
    [
        ("quaternion", {"camera": "wrist"}, rf"cameras \['{CAMERA}'\].*got 'wrist'"),
        ("quaternion", {"extrinsics": "nowhere"}, r"lacks \['nowhere'\], which the Reading names"),
        ("quaternion", {"pose": V21_POSE}, rf"lacks \['{GRIPPER}'\].*columns"),
        ("quaternion", {"rate": 30}, "15 frames a second, a rate of 30"),
        ("quaternion", {"rate": 4, "time_base": "vjepa2_compat"}, "is for raw DROID only"),
        ("quaternion", {"pose": end_effector(key=VECTOR, kind="matrix")}, "has 3 numbers a frame where 9 are needed"),
        ("quaternion", {"pose": end_effector(key=MATRIX, kind="euler", indices=[7, 8, 9])}, "indices 0 to 8"),
        ("matrix", {"pose": end_effector(key=STATE, kind="quaternion_wxyz", indices=[4, 5, 6, 7])}, "no quaternion"),
        ("robomimic", {"camera": "wrist"}, r"cameras \['agentview_image'\] in obs.*got 'wrist'"),
        ("droid", {"camera": "44444444"}, r"44444444\.mp4 is missing"),
        ("droid", {"extrinsics": "observation/camera_extrinsics/11111111_left"}, "need no naming"),
    ],
)  # fmt: skip
def test_a_reading_of_what_is_not_there_is_refused(written, layout, changes, message):
    with pytest.raises(DatasetError, match=message):
        open_layout(written, layout, **changes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 0}, "rate must be a positive"),
        ({"image_size": 64}, "crop must say how"),
        ({"time_base": "vjepa2_compat"}, "needs a rate"),
        ({"pose": end_effector(key="a", kind="euler", axes="xxz")}, "three of xyz"),
        ({"pose": end_effector(key="a", kind="euler", indices=[1, 2])}, "has 3 indices"),
        ({"pose": {**V21_POSE, "gripper": {"key": "a", "open": 1, "closed": 1}}}, "must differ"),
        ({"pose": {**V21_POSE, "gripper": {"key": "a", "open": 1, "closed": 0, "indices": [1, 2]}}}, "one gripper"),
        ({"pose": {"kind": "joints", "joints": {"key": "a", "names": ["b", "b"]}}}, "all different"),
    ],
)
def test_a_reading_that_means_nothing_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        load_config(Reading, values)


def test_a_folder_of_something_else_says_what_was_found(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DatasetError, match=r"none of the formats .*\['notes\.txt'\]"):
        find_format(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        find_format(tmp_path / "nowhere")


def test_without_h5py_it_says_what_to_install(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"need h5py: pip install -e '\.\[data\]'"):
        open_dataset(written / "droid")


def test_robomimic_without_a_rate_is_named(copied):
    with h5py.File(copied / HDF5, "r+") as file:
        file["data"].attrs["env_args"] = json.dumps({"env_name": "Lift"})
    with pytest.raises(DatasetError, match=r"image\.hdf5 does not say how many frames a second"):
        open_dataset(copied / "robomimic")


@pytest.mark.parametrize("path", sorted(READINGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_readings_that_come_along_are_whole(path):
    reading = load_config(Reading, path)
    assert reading.rate is not None
    assert (reading.pose is None) == (path.stem in ("droid", "robomimic"))


def choose(times, rate: float) -> list[int]:
    return choose_frames(np.asarray(times, float), 60.0, Reading(rate=rate)).tolist()


def test_frames_nearest_in_time_are_chosen_and_of_two_the_earlier():
    assert choose(np.arange(16) / 15, 4) == [0, 4, 7, 11, 15]
    assert choose((np.arange(16) / 15).astype(np.float32), 4) == [0, 4, 7, 11, 15]
    assert choose(np.arange(12) / 15 + 7e8, 4) == [0, 4, 7, 11]  # 0.733 s is the nearest that there is to 0.75 s
    assert choose([0.0, 0.09, 0.21, 0.28, 0.42], 5) == [0, 2, 4]


def test_a_gap_is_reported_not_bridged():
    times = np.delete(np.arange(30) / 15, range(10, 18))
    with pytest.raises(DatasetError, match=r"no frame was taken near 0\.800 s, as 5 Hz need; .* gap"):
        choose(times, 5)
