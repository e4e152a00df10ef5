"""The simulated arm, its scene and its tasks. Renders through EGL on Linux unless MUJOCO_GL names another way."""

import os
import sys

if sys.platform.startswith("linux"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is first imported
