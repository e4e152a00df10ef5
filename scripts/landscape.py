"""Shows whether a checkpoint's energy singles out the action that was really taken.

    python scripts/landscape.py --checkpoint franka-tiny                                # fresh play in simulation
    python scripts/landscape.py --checkpoint NAME --dataset data/mine --steps 100       # recorded episodes
    python scripts/landscape.py --checkpoint NAME --npz franka_example_traj.npz         # as the official notebook's
    python scripts/landscape.py --checkpoint NAME --images now.png after.png --poses 0.4 0 0.3 3.14 0 0 0  0.45 ...

For each step from one observation to a later one, the later one is the goal. Writes landscape.png (the energy over a
grid of actions, the true one marked), results.json and, of several steps, their distribution.
"""

import sys

from planner.diagnostics.landscape_program import main

if __name__ == "__main__":
    sys.exit(main())
