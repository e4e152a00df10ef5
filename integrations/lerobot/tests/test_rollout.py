"""The policy on robots, driven by LeRobot's own command lerobot-rollout; needs lerobot 0.6 or newer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

pytest.importorskip("lerobot.rollout", reason="runs in LeRobot's environment")

from lerobot.robots import Robot, RobotConfig
from lerobot.scripts import lerobot_rollout
from lerobot_policy_vjepa_planner import __main__ as program
from lerobot_policy_vjepa_planner import modeling_vjepa_planner
from PIL import Image

MOTORS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
REST = np.array([2.0, -98.0, 95.0, 60.0, 0.0, 40.0])  # degrees, and a gripper from 0 closed to 100 open
ACTIONS = 12
CHANGE = np.array([0.1, 0.0, -0.2, 0.0, 0.0, 0.5])  # rad, and closedness


class FakeClient:
    """Stands for the plan server of a checkpoint in an SO-101's joint space."""

    metadata: ClassVar[dict[str, Any]] = {
        "checkpoint": "fake",
        "action_spec": {
            "names": list(MOTORS),
            "units": ["rad"] * 5 + ["1"],
            "low": [-1.0] * 6,
            "high": [1.0] * 6,
            "frame": "joints",
            "rate": 4.0,
        },
        "goal_pose": False,
    }
    poses: ClassVar[list[np.ndarray]] = []

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        FakeClient.poses.clear()

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def reset(self, goals: list[Any], seed: int) -> None: ...

    def infer(self, observation: Any) -> dict[str, Any]:
        FakeClient.poses.append(observation.pose)
        return {"actions": CHANGE[None]}


class Still(Robot):
    """What LeRobot asks of any robot, for those of these tests."""

    is_calibrated = True  # type: ignore[assignment] (a property of LeRobot's)
    is_connected = True  # type: ignore[assignment]
    cameras: ClassVar[dict[str, Any]] = {}

    @property
    def observation_features(self) -> dict[str, Any]:
        return {**self.action_features, "front": (48, 64, 3)}

    def connect(self, calibrate: bool = True) -> None: ...

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def disconnect(self) -> None: ...


@RobotConfig.register_subclass("fake_so101")
@dataclass
class FakeSO101Config(RobotConfig):
    """An SO-101 that does at once what it is told."""


class FakeSO101(Still):
    config_class, name = FakeSO101Config, "fake_so101"
    sent: ClassVar[list[np.ndarray]] = []

    def __init__(self, config: FakeSO101Config) -> None:
        super().__init__(config)
        self.state = REST
        FakeSO101.sent.clear()

    @property
    def action_features(self) -> dict[str, Any]:
        return {f"{motor}.pos": float for motor in MOTORS}

    def get_observation(self) -> dict[str, Any]:
        return {**dict(zip(self.action_features, self.state, strict=True)), "front": np.zeros((48, 64, 3), np.uint8)}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        self.state = np.array([action[name] for name in self.action_features])
        FakeSO101.sent.append(self.state)
        return action


@RobotConfig.register_subclass("simulated_franka")
@dataclass
class SimulatedFrankaConfig(RobotConfig):
    """The simulated arm of FrankaReach-v0, whose positions are its hand's pose.

    Attributes:
        seed: Of its start.
    """

    seed: int = 10_001


class SimulatedFranka(Still):
    config_class, name = SimulatedFrankaConfig, "simulated_franka"
    distances: ClassVar[list[float]] = []

    def __init__(self, config: SimulatedFrankaConfig) -> None:
        super().__init__(config)
        self.env, self.seen, info = reach(config.seed)
        SimulatedFranka.distances[:] = [info["distance"]]

    @property
    def action_features(self) -> dict[str, Any]:
        return {f"{name}.pos": float for name in self.env.unwrapped.action_spec.names}

    @property
    def observation_features(self) -> dict[str, Any]:
        return {**self.action_features, "front": self.seen["image"].shape}

    def get_observation(self) -> dict[str, Any]:
        return {**dict(zip(self.action_features, self.seen["pose"], strict=True)), "front": self.seen["image"]}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        from envs.pose import difference

        target = np.array([action[name] for name in self.action_features])
        self.seen, _, _, _, info = self.env.step(difference(self.seen["pose"], target))
        SimulatedFranka.distances.append(info["distance"])
        if len(SimulatedFranka.distances) > ACTIONS:
            raise KeyboardInterrupt  # as a person ends it
        return action


def reach(seed: int) -> tuple[Any, dict[str, np.ndarray], dict[str, Any]]:
    """Returns a reach at its start, what is seen and what is told."""
    import gymnasium

    import envs.tasks  # noqa: F401 (registers them)

    env = gymnasium.make("envs/FrankaReach-v0")
    return env, *env.reset(seed=seed)


@pytest.fixture(autouse=True)
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real" not in request.node.name:
        for module in (program, modeling_vjepa_planner):
            monkeypatch.setattr(module, "PlanClient", FakeClient)


def roll_out(monkeypatch: pytest.MonkeyPatch, folder: Path, robot: str, fps: int, duration: float, *made: str) -> None:
    """Makes the folder of a policy and runs lerobot-rollout with it."""
    if not (folder / "goal.png").exists():
        Image.fromarray(np.full((48, 64, 3), 9, np.uint8)).save(folder / "goal.png")
    program.main([str(folder), f"--goals=[{folder}/goal.png]", "--camera=observation.images.front", *made])
    run = [f"--robot.type={robot}", f"--policy.path={folder}", f"--fps={fps}", f"--duration={duration}"]
    monkeypatch.setattr("sys.argv", ["lerobot-rollout", *run, "--return_to_initial_position=false"])
    lerobot_rollout.main()


SO101 = ("--degrees=true", "--gripper=[100, 0]")


def test_a_rollout_moves_motors_in_their_own_units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    roll_out(monkeypatch, tmp_path, "fake_so101", 4, 0.6, *SO101)
    np.testing.assert_allclose(FakeClient.poses[0], [*np.radians(REST[:5]), 0.6], rtol=1e-5)
    wanted = [*(REST[:5] + np.degrees(CHANGE[:5])), 0.0]  # closed: 0.6 and 0.5 more
    np.testing.assert_allclose(FakeSO101.sent[0], wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("made", "fps", "sent", "why"),
    [
        (("--gripper=[100, 0]",), 4, 0, r"shoulder_lift is at -98, .*--policy\.degrees=false"),
        (("--degrees=true",), 4, 0, r"gripper is at 40, .*open at 0 and closed at 1: --policy\.gripper"),
        (SO101, 30, 1, r"acts every 0\.25 s, .*--fps=4"),
    ],
)
def test_a_rollout_in_wrong_units_or_too_fast_is_refused(
    made: tuple[str, ...], fps: int, sent: int, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=why):
        roll_out(monkeypatch, tmp_path, "fake_so101", fps, 2.0, *made)
    assert len(FakeSO101.sent) == sent


@pytest.mark.skipif("VJEPA_REACH_URL" not in os.environ, reason="needs a plan server of franka-tiny, reaching")
def test_a_real_server_drives_a_simulated_arm_to_a_photograph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, _, info = reach(SimulatedFrankaConfig.seed)
    Image.fromarray(info["goals"][0].image).save(tmp_path / "goal.png")
    roll_out(monkeypatch, tmp_path, "simulated_franka", 4, 0.0, f"--url={os.environ['VJEPA_REACH_URL']}")
    assert SimulatedFranka.distances[0] > 0.08 and SimulatedFranka.distances[-1] < 0.04
