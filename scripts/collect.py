"""Records scripted play as a LeRobot v3.0 dataset.

python scripts/collect.py --config scripts/configs/franka-tiny/collect.yaml

Interrupted, the same command goes on where it stopped. Episode i has seed ``seed + i``, whatever the processes.
"""

import sys

from envs.tasks.collect import main

if __name__ == "__main__":
    sys.exit(main())
