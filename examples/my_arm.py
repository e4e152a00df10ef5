"""Drives an arm of your own, with limits, in a dry run: prints what would be sent to it, and nothing moves.

Run `python examples/my_arm.py --output FOLDER`; it takes about 10 seconds. The arm is in memory and its camera is
simulated; for yours, replace what is in the methods (docs/bring-your-own-arm.md).
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from envs import Observation
from envs.arms.limits import SafetyLimits
from envs.simulation.arm import MujocoArm
from envs.tasks.reach import reach_action_spec
from planner.deployment.program import main as deploy


class MyArm:
    """An arm that is at once where it is sent."""

    action_spec = reach_action_spec()  # four times a second by 7.5 cm at most along each axis, without turning
    image_shape = (128, 128, 3)
    limits = SafetyLimits(workspace_low=(0.3, -0.25, 0.05), workspace_high=(0.7, 0.25, 0.4), max_speed=0.2)

    def connect(self) -> None:
        """Makes the arm ready; it does not move."""
        self.robot = MujocoArm()

    def observe(self) -> Observation:
        """Returns the newest image, the pose at that time, and the time."""
        return Observation(self.robot.render(128), self.robot.pose(), time.monotonic())

    def send(self, set_point: np.ndarray) -> None:
        """Takes the next pose to be at; a dry run never calls it."""
        self.robot.set_pose(set_point)

    def stop(self) -> None:
        """Holds the arm where it is."""

    def close(self) -> None:
        """Releases the arm."""


def make_arm() -> MyArm:
    """Returns the arm; the deployment calls it by its name."""
    return MyArm()


def main() -> int:
    """Takes a picture of the arm elsewhere as the goal, and runs `scripts/deploy.py`; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="folder for the results; a temporary one if not given")
    output = parser.parse_args().output or Path(tempfile.mkdtemp())
    output.mkdir(parents=True, exist_ok=True)
    arm, goal, results = f"{__file__}:make_arm", str(output / "goal.png"), str(output / "dry-run")

    elsewhere = make_arm()
    elsewhere.connect()
    elsewhere.send(np.array([0.6, 0.15, 0.2, np.pi, 0.0, 0.0, 0.0]))
    Image.fromarray(elsewhere.observe().image).save(goal)

    planning = ["--plan", "scripts/configs/plan/reach.yaml", "--max-steps", "3"]
    return deploy(["--arm", arm, "--goal", goal, *planning, "--view", "none", "--output", results])  # --live moves it


if __name__ == "__main__":
    sys.exit(main())
