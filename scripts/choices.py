"""Tells which part of a planner fails: what it proposes, its cost, or what is predicted.

    python scripts/choices.py --plan scripts/configs/plan/franka/search.yaml --task FrankaPush-v0

At some places in episodes all proposed ways are done in the simulation and undone. A table says how good the way is
that is chosen by the truth, by the cost of the frames that then really came, by the cost of those that were predicted,
and without choice. The truth is how many actions a scripted expert needs from where a way led. Privileged, and no
result of a checkpoint's.
"""

import sys

from planner.evaluation.choices_program import main

if __name__ == "__main__":
    sys.exit(main())
