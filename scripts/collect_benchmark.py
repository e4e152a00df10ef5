"""Records play in a public benchmark as a LeRobot v3.0 dataset (extra `benchmarks`).

python scripts/collect_benchmark.py --config scripts/configs/benchmark/collect.yaml --benchmark FetchPush

Interrupted, the same command goes on where it stopped. Episode i has seed ``seed + i``, whatever the processes.
OGBench has a program of its own, collect_ogbench.py: its play is its own script.
"""

import sys

from envs.tasks.collect_benchmark import main

if __name__ == "__main__":
    sys.exit(main())
