"""Measures how fast planning is, beside the official code and planner by planner.

python scripts/benchmark.py plan --official path/to/vjepa2      # one plan at equal samples, iterations, horizon
python scripts/benchmark.py energy --official path/to/vjepa2    # time to the official planner's energy
python scripts/benchmark.py pareto                              # success against seconds an action
python scripts/benchmark.py train --official path/to/vjepa2     # training steps beside the official recipe
python scripts/benchmark.py jitter                              # set-points' lateness beside a planner at full load
"""

import sys

from planner.benchmarks.program import main

if __name__ == "__main__":
    sys.exit(main())
