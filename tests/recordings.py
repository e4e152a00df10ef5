"""The same trajectories written in every layout that is read, each with conventions of its own.

Written from the formats' descriptions, without the code under test (but for our own format). A counter in binary is
burnt into the frames, which are compressed without loss.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import h5py
import mujoco
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.spatial.transform import Rotation

from envs.episodes import Episode
from envs.episodes.formats.lerobot import finalize_dataset, write_shard
from envs.episodes.video import VideoCodec, encode_frames
from envs.pose import difference
from envs.simulation.scene import _add_arm
from envs.spec import POSE_NAMES, POSE_UNITS, ActionSpec

LENGTHS = (24, 17, 31)
RATE = 15.0
HEIGHT, WIDTH = 48, 80
LOSSLESS = VideoCodec("libx264rgb", "bgr24", quality=0)
EXTRINSICS = (0.3, -0.4, 0.5, -1.9, 0.1, -0.7)
CAMERA = "observation.images.front"
STATE, JOINTS, GRIPPER = "observation.state", "observation.state.joint_position", "observation.state.gripper_position"
VECTOR, MATRIX = "observation.state.rotation_vector", "observation.state.matrix"
TABLE_TURN, TABLE_POSITION = Rotation.from_euler("xyz", (0.1, -0.2, 0.7)), np.array((0.3, -0.1, 0.05))
"""Frame that the v2.1 layout's poses are in, seen from the robot's base."""

_SERIALS = {"wrist": "11111111", "ext1": "22222222", "ext2": "33333333"}


@dataclass(frozen=True)
class Trajectory:
    """What every layout tells of: joint angles [rad], the hand's pose [m, rotation], closedness, frames."""

    joints: np.ndarray
    position: np.ndarray
    rotation: Rotation
    closedness: np.ndarray
    images: np.ndarray

    @property
    def poses(self) -> np.ndarray:
        return np.column_stack([self.position, self.rotation.as_euler("xyz"), self.closedness])


def paint_counter(number: int) -> np.ndarray:
    """An image with 12 bits in black and white, in the middle of a coloured ground without any symmetry."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([5 * rows, 3 * columns, (rows * columns) % 256], axis=-1).astype(np.uint8)
    for bit in range(12):
        row, column = divmod(bit, 4)
        image[12 + 8 * row : 20 + 8 * row, 24 + 8 * column : 32 + 8 * column] = 255 * (number >> bit & 1)
    return image


def read_counter(image: np.ndarray) -> int:
    """The number that `paint_counter` burnt into the middle square of an image, whatever its size now is."""
    size = image.shape[0] / HEIGHT
    left = (image.shape[1] - 32 * size) / 2
    centres = ((int((16 + 8 * (bit // 4)) * size), int(left + (4 + 8 * (bit % 4)) * size)) for bit in range(12))
    return sum(int(image[place].mean() > 127) << bit for bit, place in enumerate(centres))


@cache
def arm_xml() -> str:
    """The project's own arm as MJCF."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.compiler.boundmass, spec.compiler.boundinertia = 0.01, 0.001  # masses are not saved; poses need none
    _add_arm(spec)
    spec.compile()
    return spec.to_xml()


@cache
def trajectories() -> tuple[Trajectory, ...]:
    return tuple(_make(number) for number in range(len(LENGTHS)))


def _make(number: int) -> Trajectory:
    length, random = LENGTHS[number], np.random.default_rng(number)
    time = np.arange(length)[:, None] / RATE
    rest = np.array((0.2, 0.1, -0.1, -1.6, 0.6, 1.4, 0.3))
    joints = rest + random.uniform(0.05, 0.15, 7) * np.sin(random.uniform(1, 3, 7) * time + random.uniform(0, 6, 7))
    model = mujoco.MjModel.from_xml_string(arm_xml())
    data, positions, matrices = mujoco.MjData(model), [], []
    for row in joints:
        data.qpos[:7] = row
        mujoco.mj_forward(model, data)
        positions.append(data.site("tcp").xpos.copy())
        matrices.append(data.site("tcp").xmat.reshape(3, 3).copy())
    closedness = 0.5 + 0.5 * np.sin(2 * time[:, 0] + number)
    images = np.stack([paint_counter(sum(LENGTHS[:number]) + frame) for frame in range(length)])
    return Trajectory(joints, np.array(positions), Rotation.from_matrix(np.array(matrices)), closedness, images)


def write_ours(root: Path, rate: float = RATE) -> Path:
    """Two shards of our own format, as scripts/collect.py writes them."""
    spec = ActionSpec(POSE_NAMES, POSE_UNITS, (-0.5,) * 7, (0.5,) * 7, "base", rate)
    episodes = [
        Episode(seen.images, seen.poses, difference(seen.poses[:-1], seen.poses[1:]), rate, spec, f"task {number}")
        for number, seen in enumerate(trajectories())
    ]
    write_shard(root, 0, episodes[:2], codec=LOSSLESS)
    write_shard(root, 1, episodes[2:], codec=LOSSLESS)
    finalize_dataset(root, "panda")
    return root


def write_v3(root: Path, rate: float = RATE, video_rate: float | None = None) -> Path:
    """LeRobot v3.0: all in one MP4 and one parquet. mm, quaternions, an inverted gripper; joints in degrees."""
    parts = [_v3_columns(seen) for seen in trajectories()]
    columns = {key: _fixed_lists(np.concatenate([part[key] for part in parts])) for key in parts[0]}
    _write_parquet(root / "data/chunk-000/file-000.parquet", columns | _counters(range(len(LENGTHS)), rate))
    ends = np.cumsum(LENGTHS)
    starts = ends - LENGTHS
    _write_parquet(
        root / "meta/episodes/chunk-000/file-000.parquet",
        {
            "episode_index": np.arange(len(LENGTHS)),
            "tasks": [[f"task {number}"] for number in range(len(LENGTHS))],
            "length": np.array(LENGTHS),
            "dataset_from_index": starts,
            "dataset_to_index": ends,
            f"videos/{CAMERA}/from_timestamp": starts / rate,
            f"videos/{CAMERA}/to_timestamp": ends / rate,
            "stats/observation.state/mean": [[0.0] * 8] * len(LENGTHS),
        }
        | {
            f"{kind}/{index}": np.zeros(len(LENGTHS), np.int64)
            for kind in ("data", "meta/episodes", f"videos/{CAMERA}")
            for index in ("chunk_index", "file_index")
        },
    )
    images = np.concatenate([seen.images for seen in trajectories()])
    _write(root / f"videos/{CAMERA}/chunk-000/file-000.mp4", encode_frames(images, video_rate or rate, LOSSLESS))
    features = {key: {"dtype": "float32", "shape": [part.shape[1]], "names": None} for key, part in parts[0].items()}
    features[STATE]["names"] = {"axes": ["x", "y", "z", "qx", "qy", "qz", "qw", "gripper"]}
    features[CAMERA] = {"dtype": "video", "shape": [3, HEIGHT, WIDTH], "names": ["channels", "height", "width"]}
    _write_info(
        root,
        "v3.0",
        rate,
        features,
        "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    )
    return root


def _v3_columns(seen: Trajectory) -> dict[str, np.ndarray]:
    gripper = 100 - 100 * seen.closedness
    return {
        STATE: np.column_stack([1000 * seen.position, seen.rotation.as_quat(), gripper]),
        JOINTS: np.rad2deg(seen.joints),
        VECTOR: seen.rotation.as_rotvec(),
        MATRIX: seen.rotation.as_matrix().reshape(-1, 9),
        "camera_extrinsics.front": np.tile(EXTRINSICS, (len(gripper), 1)),
    }


def write_v21(root: Path, rate: float = RATE) -> Path:
    """LeRobot v2.1: a file an episode. cm and turning-axes degrees in another frame, lists of any length, a scalar."""
    lines = []
    for episode, seen in enumerate(trajectories()):
        position = (seen.position - TABLE_POSITION) @ TABLE_TURN.as_matrix()
        euler = (TABLE_TURN.inv() * seen.rotation).as_euler("ZYX", degrees=True)
        columns = {
            STATE: pa.array(np.column_stack([euler, 100 * position]).tolist(), pa.list_(pa.float64())),
            GRIPPER: pa.array(seen.closedness * 0.08 + 0.01, pa.float64()),  # grows when closing
        }
        path = root / f"data/chunk-000/episode_{episode:06d}.parquet"
        _write_parquet(path, columns | _counters([episode], rate))
        film = root / f"videos/chunk-000/{CAMERA}/episode_{episode:06d}.mp4"
        _write(film, encode_frames(seen.images, rate, LOSSLESS))
        lines.append({"episode_index": episode, "tasks": [f"task {episode}"], "length": LENGTHS[episode]})
    _write(root / "meta/episodes.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    names = ["rz", "ry", "rx", "x", "y", "z"]
    features = {
        STATE: {"dtype": "float64", "shape": [6], "names": names},
        GRIPPER: {"dtype": "float64", "shape": [1], "names": None},
        CAMERA: {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": ["height", "width", "channel"]},
    }
    _write_info(
        root,
        "v2.1",
        rate,
        features,
        "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    )
    return root


def write_droid(root: Path) -> Path:
    """Raw DROID: headers of 60 Hz, the second video a frame short of its h5, the third camera's clock missing."""
    for number, seen in enumerate(trajectories()):
        folder = root / f"success/2023-07-0{number + 1}/run"
        extra = 1 if number == 1 else 0
        poses = np.pad(seen.poses, ((0, extra), (0, 0)), mode="edge")
        videos = {key: f"success/elsewhere/recordings/MP4/{serial}.mp4" for key, serial in _SERIALS.items()}
        videos |= {"left": videos["ext1"], "right": videos["ext2"]}
        metadata = {f"{key}_mp4_path": path for key, path in videos.items()} | {"current_task": f"task {number}"}
        _write(folder / "metadata_run.json", json.dumps(metadata).encode())
        for camera, serial in _SERIALS.items():
            shown = seen.images if camera == "ext1" else seen.images[:, ::-1]
            _write(folder / f"recordings/MP4/{serial}.mp4", encode_frames(shown, 60.0, LOSSLESS))
        with h5py.File(folder / "trajectory.h5", "w") as file:
            file["observation/robot_state/cartesian_position"] = poses[:, :6]
            file["observation/robot_state/gripper_position"] = poses[:, 6]
            for serial in _SERIALS.values():
                file[f"observation/camera_extrinsics/{serial}_left"] = np.tile(EXTRINSICS, (len(poses), 1))
                jitter = np.random.default_rng(number).uniform(-4, 4, len(poses))
                if number < 2:
                    clock = 1_688_700_000_000 + 1000 / RATE * np.arange(len(poses)) + jitter
                    file[f"observation/timestamp/cameras/{serial}_estimated_capture"] = clock.astype(np.int64)
    return root


def write_robomimic(root: Path) -> Path:
    """robomimic: one file, images upside down, two fingers, demonstrations numbered beyond nine."""
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "image.hdf5", "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": {"control_freq": RATE}})
        for number, seen in zip((2, 9, 10), trajectories(), strict=True):
            obs = data.create_group(f"demo_{number}/obs")
            travel = 0.04 * (1 - seen.closedness)
            obs["robot0_eef_pos"] = seen.position
            obs["robot0_eef_quat"] = seen.rotation.as_quat()
            obs["robot0_gripper_qpos"] = np.column_stack([travel, -travel])
            obs["agentview_image"] = seen.images[:, ::-1]
    return root


def _counters(episodes: range | list[int], rate: float) -> dict[str, np.ndarray]:
    lengths = [LENGTHS[episode] for episode in episodes]
    frames = np.concatenate([np.arange(length) for length in lengths])
    return {
        "timestamp": (frames / rate).astype(np.float32),
        "frame_index": frames,
        "episode_index": np.repeat(list(episodes), lengths),
        "index": np.arange(sum(lengths)),
        "task_index": np.zeros(sum(lengths), np.int64),
    }


def _fixed_lists(values: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).reshape(-1)), values.shape[1])


def _write_info(root: Path, version: str, rate: float, features: dict, data_path: str, video_path: str) -> None:
    info = {
        "codebase_version": version,
        "robot_type": "panda",
        "fps": rate,
        "total_episodes": len(LENGTHS),
        "total_frames": sum(LENGTHS),
        "chunks_size": 1000,
        "data_path": data_path,
        "video_path": video_path,
        "features": features | {"timestamp": {"dtype": "float32", "shape": [1], "names": None}},
    }
    _write(root / "meta/info.json", json.dumps(info).encode())


def _write_parquet(path: Path, columns: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
