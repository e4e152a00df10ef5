"""scripts/dataset.py on recordings in every layout: what it says, proposes, draws, writes and refuses."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.spatial.transform import Rotation

from envs.config import dump_config, load_config
from envs.episodes import DatasetError, Episode
from envs.episodes.episode import cut_into_runs
from envs.episodes.formats import lerobot_write
from envs.episodes.formats.lerobot import read_dataset
from envs.episodes.open import describe_recordings, open_dataset
from envs.episodes.reading import Joints, Reading
from envs.episodes.recordings import Contents
from envs.inspection import convert as conversion
from envs.inspection import propose as proposing
from envs.inspection import remarks, sheet
from envs.inspection import survey as surveying
from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec
from tests import recordings
from tests.recordings import LENGTHS, LOSSLESS, TABLE_POSITION, TABLE_TURN, read_counter, trajectories
from world_model.data import program

ROOT = Path(__file__).parent.parent
V3 = """
pose:
  kind: end_effector
  position: {key: observation.state, indices: [0, 1, 2], unit: mm}
  rotation: {key: observation.state, kind: quaternion_xyzw, indices: [3, 4, 5, 6]}
  gripper: {key: observation.state, indices: [7], open: 100, closed: 0}
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    for layout in ("v3", "v21", "droid", "robomimic"):
        getattr(recordings, f"write_{layout}")(root / layout)
    (root / "v3.yaml").write_text(V3)
    return root


@pytest.fixture
def broken(whole: Path, tmp_path: Path) -> Path:
    """DROID recordings whose second video was cut off."""
    shutil.copytree(whole / "droid", tmp_path / "droid")
    video = tmp_path / "droid/success/2023-07-02/run/recordings/MP4/22222222.mp4"
    video.write_bytes(video.read_bytes()[:2000])
    return tmp_path / "droid"


def files_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# inspect


def test_inspect_says_what_there_is_and_what_is_suspicious_about_it(whole, tmp_path, capsys):
    assert program.main(["inspect", str(whole / "v3"), "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for text in (
        "codebase_version v3.0",
        "camera observation.images.front: 80 x 48",
        "positions up to 568.2, over 10: mm or cm?",
        "numbers 3..6 have unit norm: a quaternion",
        "a gripper of 0 .. 100; which end is open is to be confirmed",
        "angles up to 99.96, over 2 pi: degrees",
        "never changes",
        "format lerobot v3.0: 3 episodes at 15 Hz",
        "contact-sheet.png",
    ):
        assert text in said
    assert Image.open(tmp_path / "contact-sheet.png").width > 1000


def proposed(whole: Path, layout: str) -> tuple[Reading, str]:
    """The proposed Reading, at the recorded rate."""
    found = surveying.survey(whole / layout)
    text = proposing.propose(found, describe_recordings(whole / layout))
    assert text is not None
    return load_config(Reading, yaml.safe_load(text), {"rate": None}), text


def test_the_proposed_reading_of_v3_gives_the_true_poses_but_for_the_guessed_gripper(whole):
    reading, text = proposed(whole, "v3")
    for number, seen in enumerate(trajectories()):
        poses = open_dataset(whole / "v3", reading).poses_actions(number)[0]
        np.testing.assert_allclose(poses[:, :3], seen.position, atol=1e-6)
        np.testing.assert_allclose(poses[:, 3:6], seen.rotation.as_euler("xyz"), atol=1e-6)
        np.testing.assert_allclose(poses[:, 6], 1 - seen.closedness, atol=1e-6)
    assert [line for line in text.splitlines() if "gripper" in line and "(?)" in line]


def test_the_proposed_reading_of_v21_has_its_units_and_axes(whole):
    reading, _ = proposed(whole, "v21")
    pose = dump_config(reading)["pose"]
    assert (pose["position"]["indices"], pose["position"]["unit"]) == ([3, 4, 5], "cm")
    assert (pose["rotation"]["indices"], pose["rotation"]["axes"], pose["rotation"]["unit"]) == (
        [0, 1, 2],
        "zyx",
        "deg",
    )
    poses, seen = open_dataset(whole / "v21", reading).poses_actions(2)[0], trajectories()[2]
    position = TABLE_TURN.apply(poses[:, :3]) + TABLE_POSITION
    np.testing.assert_allclose(position, seen.position, atol=1e-6)


@pytest.mark.parametrize("layout", ["droid", "robomimic"])
def test_formats_that_say_their_poses_need_no_pose_in_a_reading(whole, layout):
    reading, _ = proposed(whole, layout)
    assert reading.pose is None
    poses = open_dataset(whole / layout, reading).poses_actions(0)[0]
    np.testing.assert_allclose(poses[:, :3], trajectories()[0].position[: len(poses)], atol=1e-6)


def test_trajectories_behind_links_are_looked_at(whole, tmp_path):
    (tmp_path / "some").mkdir()
    for number, run in enumerate(sorted((whole / "droid").glob("success/*/run"))[:2]):
        (tmp_path / "some" / f"{number}").symlink_to(run)
    (tmp_path / "some/round").symlink_to(tmp_path / "some")
    found = surveying.survey(tmp_path / "some")
    assert found.looked_at == ("0/trajectory.h5", "1/trajectory.h5")
    assert (found.files[".h5"], found.files[".mp4"]) == (2, 6)


def test_droids_header_is_told_from_its_clock(whole):
    said = remarks.camera_remarks(surveying.survey(whole / "droid"))
    assert any("header says 60 frames a second" in text and "15.0" in text for text in said)


def column(key: str, values, names: tuple[str, ...] = ()):
    values = np.asarray(values, float)
    return surveying.Column(key, names, (values.reshape(len(values), -1),))


RANDOM = np.random.default_rng(0)
SO101 = ("shoulder_pan.pos", "shoulder_lift.pos", "elbow_flex.pos", "wrist_flex.pos", "wrist_roll.pos", "gripper.pos")


@pytest.mark.parametrize(
    ("key", "values", "names", "expected"),
    [
        ("observation.state", RANDOM.uniform(-90, 90, (50, 6)), SO101, "over 2 pi: degrees"),
        ("eef_euler", RANDOM.uniform(-170, 170, (50, 3)), (), "over 2 pi: degrees"),
        ("tcp_pos", RANDOM.uniform(200, 600, (50, 3)), (), "over 10: mm or cm?"),
        ("gripper_position", np.linspace(0, 255, 50), (), "a gripper of 0 .. 255; which end is open"),
        ("gripper_position", np.linspace(3, 98, 50), (), "a gripper of 0 .. 100; which end is open"),
        ("a", Rotation.from_rotvec(RANDOM.uniform(-1, 1, (50, 3))).as_quat(), (), "numbers 0..3 have unit norm"),
        ("state", np.tile([1.0, 2.0], (50, 1)), (), "never changes"),
        ("state", np.column_stack([np.arange(50), np.ones(50)]), ("x", "y"), "never change: y"),
        ("state", np.where(np.arange(50) < 7, np.nan, 1), (), "7 of 50 rows are not finite"),
    ],
)
def test_suspicious_numbers_are_said_in_words(key, values, names, expected):
    assert any(expected in text for text in remarks.suspicions(column(key, values, names)))


def test_numbers_in_si_units_raise_no_suspicion():
    poses = np.column_stack([RANDOM.uniform(-0.5, 0.5, (50, 3)), RANDOM.uniform(-3, 3, (50, 3))])
    assert remarks.suspicions(column("cartesian_position", poses)) == []
    assert remarks.suspicions(column("joint_velocity", RANDOM.normal(size=(50, 7)) * 20)) == []


@pytest.mark.parametrize(
    ("times", "fps", "expected"),
    [
        (np.arange(40) / 15, 30, "says 15 frames a second, the header 30"),
        (np.arange(40) / 15 * 1e9, 30, "says 15 frames a second, the header 30"),
        (np.arange(40) / 30 + (np.arange(40) > 20) * 0.5, 30, "has gaps, the longest 0.533 s (1 of 39 steps)"),
        (np.where(np.arange(40) == 20, 0.1, np.arange(40) / 30), 30, "runs backwards (1 of 39 steps)"),
        (np.arange(40) // 2 * 2 / 30 + 0.0, 30, "no clock that moves on"),
        (np.arange(40) / 30, 30, None),
    ],
)
def test_a_clock_that_is_not_the_stated_rate_s_is_said_in_words(times, fps, expected):
    survey = surveying.Survey(Path(), {}, {"fps": fps}, (), {"timestamp": column("timestamp", times)}, {}, ())
    said = remarks.clock_remarks(survey)
    assert (said == []) if expected is None else any(expected in text for text in said)


def test_joint_recordings_get_a_reading_in_joint_space(whole):
    contents = Contents("lerobot v3.0", 1, 30.0, {"front": None}, {})
    degrees = np.column_stack([RANDOM.uniform(-90, 90, (50, 5)), RANDOM.uniform(0, 99, 50)])
    columns = {"observation.state": column("observation.state", degrees, SO101)}
    survey = surveying.Survey(Path(), {}, {}, (), columns, {}, ())
    pose = load_config(Reading, yaml.safe_load(proposing.propose(survey, contents) or "")).pose
    assert isinstance(pose, Joints) and pose.gripper is not None
    assert pose.joints.names == ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
    assert (pose.joints.unit, pose.gripper.indices, pose.gripper.open, pose.gripper.closed) == ("deg", (5,), 0, 100)


def test_a_folder_of_something_else_is_said_to_be_none(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(SystemExit, match=r"holds no recordings known here .*\.txt"):
        program.main(["inspect", str(tmp_path)])
    with pytest.raises(SystemExit, match="there is no folder"):
        program.main(["inspect", str(tmp_path / "nowhere")])


def test_a_damaged_layout_is_described_as_far_as_it_can_be_read(whole, tmp_path, capsys):
    shutil.copytree(whole / "v21", tmp_path / "v21")
    (tmp_path / "v21/meta/info.json").unlink()
    (tmp_path / "v21/data/chunk-000/episode_000000.parquet").write_bytes(b"")
    assert program.main(["inspect", str(tmp_path / "v21")]) == 0
    said = capsys.readouterr().out
    assert "episode_000000.parquet (0 bytes) cannot be read" in said
    assert "observation.state (6)" in said and "no layout that can be opened" in said


def test_a_proposal_is_written_and_can_be_read_but_never_over_another_file(whole, tmp_path, capsys):
    file = tmp_path / "proposal.yaml"
    command = ["inspect", str(whole / "v21"), "--propose", str(file), "--output", str(tmp_path)]
    assert program.main(command) == 0
    assert len(open_dataset(whole / "v21", load_config(Reading, file))) == 3
    before = file.read_bytes()
    with pytest.raises(SystemExit):
        program.main(command)
    assert "is there already; name another file" in " ".join(capsys.readouterr().err.split())
    assert file.read_bytes() == before


SPEC = ActionSpec(POSE_NAMES, POSE_UNITS, (-1,) * 7, (1,) * 7, "base", 4.0)


def moving(change: Callable[[np.ndarray, np.ndarray], object] = lambda images, poses: None) -> list[str]:
    """What is said of an episode that moves plausibly, after a change."""
    poses = np.zeros((20, 7))
    poses[:, 0] = np.linspace(0, 0.5, 20)
    images = np.random.default_rng(0).integers(0, 255, (20, 16, 16, 3)).astype(np.uint8)
    change(images, poses)
    return remarks.implausible(Episode(images, poses, np.zeros((19, 7)), 4.0, SPEC))


def change(rows: slice, columns: int | slice, value: object, of: str = "poses") -> Callable:
    def apply(images: np.ndarray, poses: np.ndarray) -> None:
        array = images if of == "images" else poses
        array[rows, columns] = value

    return apply


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (change(slice(10, None), 0, 3.0), "the position jumps 2.7"),
        (change(slice(10, None), 5, 2.5), "the rotation jumps 2.50 rad at frame 9"),
        (change(slice(3, None), 6, 1.3), "gripper is 0 .. 1.3, closedness is 0 .. 1"),
        (change(slice(5, None), slice(None), 0, "images"), "15 of 20 images are black"),
        (change(slice(5, None), slice(None), 90, "images"), "14 of 19 steps move the arm but not the image"),
        (change(slice(None), 0, 0.0), "the images change while the pose never does"),
    ],
)
def test_what_no_arm_and_camera_would_record_is_said_in_words(changed, expected):
    assert any(expected in text for text in moving(changed))


def test_a_plausible_episode_and_one_that_turns_past_pi_raise_no_suspicion():
    assert moving() == []
    assert moving(change(slice(None), 5, (np.linspace(2.5, 4, 20) + np.pi) % (2 * np.pi) - np.pi)) == []


def test_the_contact_sheet_shows_the_frames_in_order(tmp_path):
    images = np.stack([np.full((20, 30, 3), 10 * frame, np.uint8) for frame in range(20)])
    episode = Episode(images, np.zeros((20, 7)), np.zeros((19, 7)), 4.0, SPEC)
    sheet.draw_contact_sheet([("a", episode), ("b", episode)], 3, tmp_path / "sheet.png")
    drawn = np.asarray(Image.open(tmp_path / "sheet.png"))
    row = drawn[sheet.HEADING + 60, :, 0].astype(int)
    shown = [value for value, count in zip(*np.unique(row, return_counts=True), strict=True) if count > 100]
    assert shown == [0, 100, 190]
    assert drawn.shape[0] > 2 * sheet.HEIGHT


# convert


def convert(folder: Path, output: Path, *flags: str) -> int:
    return program.main(["convert", str(folder), str(output), "--processes", "1", *flags])


def test_converted_recordings_are_those_of_the_reading_at_the_size_and_rate_asked_for(whole, tmp_path, capsys):
    flags = ("--reading", str(whole / "v3.yaml"), "--rate", "5", "--image-size", "48")
    assert convert(whole / "v3", tmp_path / "out", *flags) == 0
    assert "3 episodes, 25 frames at 5 Hz, images (48, 48, 3)" in capsys.readouterr().out
    written = read_dataset(tmp_path / "out")
    for number, (episode, seen) in enumerate(zip(written, trajectories(), strict=True)):
        frames = np.arange(0, LENGTHS[number], 3)
        np.testing.assert_allclose(episode.poses[:, :6], seen.poses[frames, :6], atol=1e-6)
        np.testing.assert_allclose(episode.poses[:, 6], seen.closedness[frames], atol=1e-6)
        np.testing.assert_allclose(episode.actions[:, :3], np.diff(seen.position[frames], axis=0), atol=1e-6)
        assert [read_counter(image) for image in episode.images] == (sum(LENGTHS[:number]) + frames).tolist()
        assert episode.extra["recording"] == f"data/chunk-000/file-000.parquet episode {number}"
        assert episode.task == f"task {number}"


def test_a_conversion_goes_on_where_it_stopped_and_gives_the_same_files(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(conversion, "SHARD_BYTES", 1)  # an episode a shard
    monkeypatch.setattr(lerobot_write, "VideoCodec", lambda: LOSSLESS)  # x264's lossy bytes vary now and then
    convert(whole / "droid", tmp_path / "unbroken", "--image-size", "16")
    write, written = conversion.write_shard, []

    def stop_at_the_second(output, shard, episodes):
        if written:
            raise KeyboardInterrupt
        written.append(shard)
        write(output, shard, episodes)

    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="interrupted; the same command goes on"):
        patch.setattr(conversion, "write_shard", stop_at_the_second)
        convert(whole / "droid", tmp_path / "out", "--image-size", "16")
    with pytest.raises(DatasetError, match="no finished LeRobot dataset"):
        read_dataset(tmp_path / "out")
    monkeypatch.setattr(conversion, "write_shard", lambda *work: written.append(work[1]) or write(*work))
    convert(whole / "droid", tmp_path / "out", "--image-size", "16")
    assert written == [0, 1, 2]
    assert files_of(tmp_path / "out") == files_of(tmp_path / "unbroken")


@pytest.mark.slow
def test_several_processes_give_the_same_files_as_one(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "SHARD_BYTES", 1)
    for processes in ("1", "2"):
        flags = ("--image-size", "16", "--processes", processes)
        program.main(["convert", str(whole / "droid"), str(tmp_path / processes), *flags])
    one, two = (files_of(tmp_path / processes) for processes in ("1", "2"))
    assert set(one) == set(two)
    differing = [name for name, content in one.items() if content != two[name] and not name.endswith(".mp4")]
    assert not differing
    for ours, theirs in zip(read_dataset(tmp_path / "1"), read_dataset(tmp_path / "2"), strict=True):
        assert np.array_equal(ours.images, theirs.images)  # x264's bytes vary now and then, the frames do not


def test_a_folder_begun_with_other_settings_is_refused(whole, tmp_path):
    convert(whole / "droid", tmp_path / "out", "--image-size", "16")
    before = files_of(tmp_path / "out")
    with pytest.raises(SystemExit, match="begun with another Reading or from other recordings"):
        convert(whole / "droid", tmp_path / "out", "--image-size", "32")
    assert files_of(tmp_path / "out") == before


def test_a_folder_of_something_else_is_not_converted_into(whole):
    before = files_of(whole / "v3")
    for folder, flags in (("droid", ()), ("v3", ("--reading", str(whole / "v3.yaml")))):
        with pytest.raises(SystemExit, match="v3 holds something else"):
            convert(whole / folder, whole / "v3", *flags)
    assert files_of(whole / "v3") == before


def test_broken_recordings_are_refused_before_anything_is_written(broken, tmp_path):
    with pytest.raises(
        SystemExit, match=r"1 of 3 episodes are broken.*\n.*2023-07-02/run/trajectory\.h5.*22222222\.mp4"
    ):
        convert(broken, tmp_path / "out", "--image-size", "16")
    assert set(files_of(tmp_path / "out")) == {".vjepa-planner-convert", "checked.json", "convert.yaml"}


def test_skipped_recordings_are_listed_and_recorded(broken, tmp_path, caplog, capsys):
    assert convert(broken, tmp_path / "out", "--image-size", "16", "--broken", "skip") == 0
    assert "left out success/2023-07-02/run/trajectory.h5: the video" in caplog.text
    assert "2 episodes" in capsys.readouterr().out
    recorded = json.loads((tmp_path / "out/checked.json").read_text())["problems"]
    assert [problem["name"] for problem in recorded] == ["success/2023-07-02/run/trajectory.h5"]
    names = [episode.extra["recording"] for episode in read_dataset(tmp_path / "out")]
    assert names == [f"success/2023-07-0{day}/run/trajectory.h5" for day in (1, 3)]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ((4, 4, 4, 4), [(0, 2), (2, 4)]),
        ((9, 1, 20, 3, 4), [(0, 1), (1, 2), (2, 3), (3, 5)]),
        ((8,), [(0, 1)]),
    ],
)
def test_a_shard_holds_as_many_episodes_in_a_row_as_fit(lengths, expected):
    assert [(shard.start, shard.stop) for shard in cut_into_runs(lengths, frames=8)] == expected


@pytest.mark.slow
def test_ctrl_c_ends_a_conversion_in_one_line_and_leaves_no_process(whole, tmp_path):
    command = [sys.executable, str(ROOT / "scripts/dataset.py"), "convert", str(whole / "droid"), str(tmp_path / "out")]
    for delay in (3.0, 4.0, 5.0, 6.0):
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(delay)
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=30)[1]
        assert running.returncode in (0, 130) and "Traceback" not in said
        assert running.returncode == 0 or "interrupted; the same command goes on from here" in said
    assert subprocess.run(command, capture_output=True, check=True) and len(read_dataset(tmp_path / "out")) == 3


# validate


def test_validate_names_each_broken_episode_and_says_so_to_the_shell(whole, broken, capsys):
    assert program.main(["validate", str(whole / "droid"), "--processes", "1"]) == 0
    assert "3 of 3 episodes can be read in full" in capsys.readouterr().out
    assert program.main(["validate", str(broken), "--processes", "1"]) == 1
    for processes in ("0", "-1"):
        with pytest.raises(SystemExit):
            program.main(["validate", str(broken), "--processes", processes])
    said = capsys.readouterr().out
    assert said.startswith("success/2023-07-02/run/trajectory.h5: the video") and "22222222.mp4" in said
    assert "2 of 3 episodes can be read in full" in said


def test_validate_reads_latent_caches_in_full(whole, tmp_path, capsys):
    from world_model.data.store import build_frames

    build_frames(open_dataset(whole / "droid"), tmp_path)
    command = ["validate", str(whole / "droid"), "--processes", "1", "--cache", str(tmp_path)]
    assert program.main(command) == 0
    shard = next(tmp_path.rglob("shard-00000.npy"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert program.main(command) == 1
    assert str(shard) in capsys.readouterr().out
