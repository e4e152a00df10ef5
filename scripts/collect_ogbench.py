"""Records OGBench's scripted play with cubes, or its scene, as a LeRobot v3.0 dataset (extra `benchmarks`).

python scripts/collect_ogbench.py --config scripts/configs/cube-single/collect.yaml

Interrupted, the same command goes on where it stopped. Episode i has seed ``seed + i``, whatever the processes.
"""

import sys

from envs.tasks.collect_ogbench import main

if __name__ == "__main__":
    sys.exit(main())
