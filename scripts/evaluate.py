"""Plans in a task and says how often that reaches the goal image.

    python scripts/evaluate.py --checkpoint franka-tiny --task FrankaReach-v0 --episodes 20 --seed 10000

Episode i is the task's reset with seed + i. The zero-action and random-action baselines run on the same seeds. Prints a
table; writes report.html, results.json, results.md, config.yaml and pictures to --output. Every setting of
planner, objective and controller is a flag; --config scripts/configs/plan/reach.yaml fills them from a file.

    python scripts/evaluate.py --suite franka

Several tasks and several planners: the table of scripts/configs/suite/franka.yaml, see docs/evaluation.md.
"""

import sys

from planner.evaluation.program import main

if __name__ == "__main__":
    sys.exit(main())
