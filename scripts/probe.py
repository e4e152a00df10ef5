"""Tells how well a frozen encoder's tokens say where the object and the gripper are, in the simulated scene.

    python scripts/probe.py --checkpoint franka-manipulation
    python scripts/probe.py --encoder runs/franka-manipulation/pretrain/encoder

A planner can't move what the encoder does not see. A small head (a network a token, then a weighted mean over patches)
learns positions from images of random scenes, with the simulator's own positions as labels; the encoder stays as it
is. Judged by images that it has not learnt from. About 3 minutes on 2 cores.
"""

import sys

from planner.diagnostics.probe_program import main

if __name__ == "__main__":
    sys.exit(main())
