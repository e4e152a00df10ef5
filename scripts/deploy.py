"""Drives an arm to goal photographs: a dry run unless --live is given.

    python scripts/deploy.py --plan scripts/configs/plan/reach.yaml                      # shows what it would do
    python scripts/deploy.py --plan scripts/configs/plan/reach.yaml --live --yes --episodes 10      # simulated arm
    python scripts/deploy.py --arm my-arm.yaml --goal goal.png --live --step --record data/mine     # a real one
    python scripts/deploy.py --arm my_arm.py:make_arm --goal goal.png     # a driver of your own, with its limits
    python scripts/deploy.py --replay data/mine/recordings/NAME.recording --live --yes

This process has the arm, its safety filter and the recorder, and no model: that is in a plan server, which is started
for the run and ends with it, or already stands elsewhere (--server). docs/deploy.md has it all. The safety filter does
not replace the hardware emergency stop.

Exit status: 0 the run finished, 1 an error, 3 the safety filter stopped the arm, 130 interrupted.
"""

import sys

from planner.deployment.program import main

if __name__ == "__main__":
    sys.exit(main())
