"""Tells how well a frozen encoder's tokens say where the object and the gripper are, in the simulated scene.

    python scripts/probe.py --checkpoint franka-manipulation
    python scripts/probe.py --encoder runs/franka-manipulation/pretrain/encoder

A planner can't move what the encoder does not see. A small head (a network a token, then a weighted mean over patches)
learns positions from images of random scenes, with the simulator's own positions as labels; the encoder stays as it
is. Judged by images that it has not learnt from. About 3 minutes on 2 cores.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _probe_config import ProbeConfig
from _program import program

from envs.command_line import config_from_command_line


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    config = config_from_command_line(ProbeConfig, "Tells what a frozen encoder sees.", arguments)
    from _probe import look  # torch takes seconds

    look(config)


if __name__ == "__main__":
    main()
