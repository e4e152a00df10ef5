"""The simulated arm, its scene and objects, and its twin in real time. Renders by EGL on Linux."""

import os
import sys

if sys.platform.startswith("linux"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is first imported
