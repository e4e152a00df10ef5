"""Says whether a training run was worth it: a report of text and pictures.

    python scripts/report.py --run runs/mine
    python scripts/report.py --run runs/mine --plan scripts/configs/plan/reach.yaml --episodes 50 --seed 5000

Writes runs/mine/report/report.md with pictures beside it, and report.json with every number: errors of held-out
rollouts against copying the last frame, shuffled actions and the parent checkpoint; the energy around held-out actions
before and after; the stored frames that look most like what was imagined; and, with --task or --plan, success in
simulation before and after on the same seeds.
"""

import sys

from planner.training.report_program import main

if __name__ == "__main__":
    sys.exit(main())
