"""An SO-101 teleoperated by LeRobot, in each unit that its recordings come in; arm, motions and pixels are invented.

The encoders count whole steps, as real ones do; the formulas are those of LeRobot's motors_bus.py, written out again.
The operator squeezes: while an object is held, the gripper's command goes on closing where the fingers stand still.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from envs.episodes.video import VideoCodec, encode_frames

MODEL = Path(__file__).parent / "fakes" / "so101.xml"
SITE = "gripper"
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
MOTORS = (*JOINTS, "gripper")
RANGES = {
    "shoulder_pan": (745, 3351),
    "shoulder_lift": (832, 3170),
    "elbow_flex": (870, 3081),
    "wrist_flex": (902, 3213),
    "wrist_roll": (0, 4095),
    "gripper": (2041, 3482),
}
CAMERA = "observation.images.front"
Unit = Literal["deg", "normalised", "rad", "old degrees"]


@dataclass(frozen=True)
class Recorded:
    """How somebody recorded.

    Attributes:
        unit: Of the joints.
        rate: Frames a second.
        lengths: Frames of each episode.
        robot: meta/info.json's robot_type.
        whole_steps: Whether positions are whole steps of an encoder, or smoothed.
        swing: How far the joints go, as a share of what they usually do.
        gripper_turned: Whether the gripper's motor is mounted the other way round: its 100 is closed.
        size: Height and width of the images.
    """

    unit: Unit = "deg"
    rate: float = 30.0
    lengths: tuple[int, ...] = (90, 75)
    robot: str = "so101_follower"
    whole_steps: bool = True
    swing: float = 1.0
    gripper_turned: bool = False
    size: tuple[int, int] = (48, 64)


def angles(recorded: Recorded, episode: int) -> np.ndarray:
    """True angles of the joints in the model, (T, 5) [rad], and the gripper's closedness: what should be read back."""
    time = np.arange(recorded.lengths[episode])[:, None] / recorded.rate
    random = np.random.default_rng(episode)
    rest = np.radians([5.0, -25.0, 45.0, 50.0, -10.0])
    swing = np.radians([50.0, 30.0, 25.0, 35.0, 60.0]) * recorded.swing
    joints = rest + swing * np.sin(random.uniform(0.8, 2.0, 5) * time + random.uniform(0, 6, 5))
    if recorded.unit == "old degrees":  # which had 4096 steps to a turn, and zeros at a step
        return np.round(joints * 2048 / np.pi) * np.pi / 2048
    return _steps_to_radians(np.round(_radians_to_steps(joints))) if recorded.whole_steps else joints


def closedness(recorded: Recorded, episode: int) -> tuple[np.ndarray, np.ndarray]:
    """The fingers' closedness and the one that is commanded: an object stops them half way."""
    share = np.arange(recorded.lengths[episode]) / recorded.lengths[episode]
    wanted = np.interp(share, [0.0, 0.25, 0.4, 0.75, 0.9, 1.0], [0.1, 0.1, 0.85, 0.85, 0.1, 0.1])
    return np.minimum(wanted, 0.55), wanted


def write_so101(root: Path, recorded: Recorded | None = None) -> Path:
    """Writes a LeRobot v2.1 dataset and returns its folder."""
    recorded = recorded or Recorded()
    lines = []
    for episode, length in enumerate(recorded.lengths):
        state, action = _columns(recorded, episode)
        path = root / f"data/chunk-000/episode_{episode:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {
            "action": _lists(action),
            "observation.state": _lists(state),
            "timestamp": (np.arange(length) / recorded.rate).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, episode),
            "index": np.arange(length) + sum(recorded.lengths[:episode]),
            "task_index": np.zeros(length, np.int64),
        }
        pq.write_table(pa.table(columns), path)
        film = root / f"videos/chunk-000/{CAMERA}/episode_{episode:06d}.mp4"
        film.parent.mkdir(parents=True, exist_ok=True)
        codec = VideoCodec("libx264rgb", "bgr24", quality=0)
        film.write_bytes(encode_frames(_film(recorded, episode), recorded.rate, codec))
        lines.append({"episode_index": episode, "tasks": ["Put the block into the bin"], "length": length})
    (root / "meta").mkdir(exist_ok=True)
    (root / "meta/episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (root / "meta/info.json").write_text(json.dumps(_info(recorded)))
    return root


def write_calibration(path: Path, ranges: dict[str, tuple[int, int]] | None = None) -> Path:
    """Writes LeRobot's calibration file of the arm."""
    motors = {
        name: {"id": number, "drive_mode": 0, "homing_offset": 17 * number, "range_min": low, "range_max": high}
        for number, (name, (low, high)) in enumerate((ranges or RANGES).items(), start=1)
    }
    path.write_text(json.dumps(motors, indent=4))
    return path


def names(recorded: Recorded) -> list[str]:
    """What LeRobot calls the numbers."""
    old = recorded.unit == "old degrees"
    return [f"main_{motor}" if old else f"{motor}.pos" for motor in MOTORS]


def _columns(recorded: Recorded, episode: int) -> tuple[np.ndarray, np.ndarray]:
    """What is recorded of state and action, (T, 6) each."""
    joints = angles(recorded, episode)
    fingers = [100 * (each if recorded.gripper_turned else 1 - each) for each in closedness(recorded, episode)]
    if recorded.unit == "rad":
        fingers = [each / 100 for each in fingers]
    state = np.column_stack([_numbers(joints, recorded.unit), fingers[0]])
    ahead = np.concatenate([joints[2:], joints[-1:], joints[-1:]])  # the leader is a little ahead
    return state, np.column_stack([_numbers(ahead, recorded.unit), fingers[1]])


def _numbers(joints: np.ndarray, unit: Unit) -> np.ndarray:
    low, high = (np.array([RANGES[joint][end] for joint in JOINTS]) for end in (0, 1))
    match unit:
        case "rad":
            return joints
        case "deg":
            return np.degrees(joints)
        case "normalised":
            return np.clip((_radians_to_steps(joints) - low) / (high - low) * 200 - 100, -100, 100)
    numbers = np.degrees(joints)
    numbers[:, 1], numbers[:, 2] = 90 - numbers[:, 1], numbers[:, 2] + 90
    return numbers


def _radians_to_steps(joints: np.ndarray) -> np.ndarray:
    middle = np.array([sum(RANGES[joint]) / 2 for joint in JOINTS])
    return np.degrees(joints) * 4095 / 360 + middle


def _steps_to_radians(steps: np.ndarray) -> np.ndarray:
    middle = np.array([sum(RANGES[joint]) / 2 for joint in JOINTS])
    return np.radians((steps - middle) * 360 / 4095)


def _film(recorded: Recorded, episode: int) -> np.ndarray:
    """Frames on which a square goes where the joints do, as if the arm were seen."""
    height, width = recorded.size
    joints = angles(replace(recorded, whole_steps=False), episode)
    rows, columns = np.mgrid[:height, :width]
    ground = np.stack([rows * 3, columns * 2, 90 + rows], axis=-1).astype(np.uint8)
    frames = np.repeat(ground[None], len(joints), axis=0)
    for frame, (pan, lift, *_) in zip(frames, joints, strict=True):
        row = int(np.clip(height * (0.45 + 0.5 * lift), 4, height - 8))
        column = int(np.clip(width * (0.5 + 0.4 * pan), 4, width - 8))
        frame[row - 4 : row + 6, column - 4 : column + 6] = (240, 200, 20)
    return frames


def _lists(values: np.ndarray) -> pa.Array:
    return pa.array(values.astype(np.float32).tolist(), pa.list_(pa.float32()))


def _info(recorded: Recorded) -> dict:
    height, width = recorded.size
    vector = {"dtype": "float32", "shape": [6], "names": names(recorded)}
    return {
        "codebase_version": "v2.1",
        "robot_type": recorded.robot,
        "fps": recorded.rate,
        "total_episodes": len(recorded.lengths),
        "total_frames": sum(recorded.lengths),
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {
            "action": vector,
            "observation.state": vector,
            CAMERA: {"dtype": "video", "shape": [height, width, 3], "names": ["height", "width", "channels"]},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        },
    }
