"""Tells where a checkpoint's latents, seen and predicted, say that objects and hand are, in simulated play.

    python scripts/probe.py --checkpoint franka
    python scripts/probe.py --config scripts/configs/franka/probe.yaml
    python scripts/probe.py --encoder runs/franka-tiny/pretrain/encoder

A planner can't move what latents do not tell. A linear probe and a small network learn places from play with training
objects, with the simulator's own places as labels; what is probed stays as it is. Judged by play with held-out objects.
`gates` say what must be found, and the program fails otherwise.
"""

import sys

from planner.diagnostics.probe_program import main

if __name__ == "__main__":
    sys.exit(main())
