"""Checks a robot set-up against what a checkpoint was trained on, before anyone trusts it.

    python scripts/doctor.py --checkpoint franka-tiny --arm simulated           # moves the simulated arm at random
    python scripts/doctor.py --checkpoint NAME --arm my-arm.yaml                # a real one, by 2 cm, after asking
    python scripts/doctor.py --checkpoint NAME --dataset data/mine --episode 3  # a recorded episode

Looks for poses in degrees, quaternions taken for angles, wrong scales, signs, rates, image sizes, colours and camera
views. Each finding says what is wrong and what to change. --store FILE adds the fitted camera correction to a planning
configuration (controller.camera_rotation), for a camera that can't be moved.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from _doctor_config import DoctorConfig
from _program import program

from envs.command_line import config_from_command_line


@program()
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 1 if something is wrong with the set-up."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = config_from_command_line(DoctorConfig, "Checks a robot set-up.", arguments)
    from _doctor import consult  # torch takes seconds

    return consult(config)


if __name__ == "__main__":
    sys.exit(main())
