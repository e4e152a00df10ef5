"""Records play in a public benchmark as a LeRobot v3.0 dataset (extra `benchmarks`).

python scripts/collect_benchmark.py --config scripts/configs/benchmark/collect.yaml --play.task Push

Interrupted, the same command goes on where it stopped. Episode i has seed ``seed + i``, whatever the processes.
`play.kind` says which benchmark; one of your own is a file, `--play.kind mine.py:MyPlay` (`envs.tasks.benchmark_play`).
"""

import sys

from envs.tasks.collect_benchmark import main

if __name__ == "__main__":
    sys.exit(main())
