"""Drives a LeRobot robot for `envs.arms.drivers.lerobot`; run by the Python of the environment that LeRobot lives in.

Needs nothing but LeRobot: no package of this project. One JSON object a line comes in and one goes out:

    {"module": ..., "robot": ..., "options": {...}}  ->  {"positions": {"shoulder_pan.pos": 1.5, ...}}
    {"goal": {...} or null}                          ->  {"positions": {...}, "sent": {...} or null}

An error ends the process, its last line on stderr says why; the motors then keep their last goal. When the input ends,
the robot is disconnected as its own options say.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Connects the robot that the first line names, then answers until the input ends."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != here]  # its lerobot.py is not LeRobot
    requests, answers = os.fdopen(os.dup(0), "r", encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a question to the user, such as to calibrate, is an error
    os.dup2(2, 1)  # what LeRobot prints must not come among the answers
    robot = _make(json.loads(requests.readline()))
    robot.connect(calibrate=False)
    if not robot.is_calibrated:
        raise SystemExit("the robot is not calibrated: run lerobot-calibrate in its environment first")
    _answer(answers, robot, None)
    for line in requests:
        goal = json.loads(line)["goal"]
        _answer(answers, robot, None if goal is None else robot.send_action(goal))
    robot.disconnect()  # not after an error: it may let the arm fall


def _make(request: dict[str, Any]) -> Any:
    """Returns the robot whose module, registered type and options are named."""
    importlib.import_module(request["module"])  # registers the type
    config = importlib.import_module("lerobot.robots").RobotConfig.get_choice_class(request["robot"])
    return importlib.import_module("lerobot.robots.utils").make_robot_from_config(config(**request["options"]))


def _answer(answers: Any, robot: Any, sent: dict[str, float] | None) -> None:
    """Writes where the motors are, and what they were sent."""
    observation = robot.get_observation()
    positions = {name: float(observation[name]) for name in robot.action_features}
    sent = None if sent is None else {name: float(value) for name, value in sent.items()}
    answers.write(json.dumps({"positions": positions, "sent": sent}) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
