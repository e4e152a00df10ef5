"""Checks a robot set-up against what a checkpoint was trained on, before anyone trusts it.

    python scripts/doctor.py --checkpoint franka-tiny --arm simulated           # moves the simulated arm at random
    python scripts/doctor.py --checkpoint NAME --arm my-arm.yaml                # a real one, by 2 cm, after asking
    python scripts/doctor.py --checkpoint NAME --dataset data/mine --episode 3  # a recorded episode

Looks for poses in degrees, quaternions taken for angles, wrong scales, signs, rates, image sizes, colours and camera
views. Each finding says what is wrong and what to change. --store FILE adds the fitted camera correction to a planning
configuration (controller.camera_rotation), for a camera that can't be moved.
"""

import sys

from planner.diagnostics.doctor_program import main

if __name__ == "__main__":
    sys.exit(main())
