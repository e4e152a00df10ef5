"""Records OGBench's scripted play with cubes as a LeRobot v3.0 dataset (extra `benchmarks`).

python scripts/collect_ogbench.py --config scripts/configs/cube-single/collect.yaml

With ``--practice CHECKPOINT`` its critic acts first, towards goals as the protocol's tasks have them, and the script
goes on from where that leads (docs/manipulation.md says what for). Interrupted, the same command goes on where it
stopped. Episode i has seed ``seed + i``, whatever the processes.
"""

import sys

from planner.collecting.ogbench import main

if __name__ == "__main__":
    sys.exit(main())
