"""Set before anything imports mujoco: rendering without a display."""

import os
import sys

if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")
