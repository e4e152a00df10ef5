"""Serves plans to robots, so that the model may run on another machine than the arm.

    python scripts/serve.py --checkpoint franka-tiny --plan scripts/configs/plan/reach.yaml
    python scripts/serve.py --checkpoint NAME --device cuda --address 0.0.0.0 --token SECRET   # to other machines
    python scripts/serve.py --imagine data/franka-tiny          # shows, as a stored frame, what a plan should lead to

Listens on ws://127.0.0.1:8000 until Ctrl-C; any other address needs a token. The robot's side is
envs/arms/remote/client.py; docs/remote.md has the messages and how openpi's clients are understood.
"""

import sys

from planner.serving.program import main

if __name__ == "__main__":
    sys.exit(main())
