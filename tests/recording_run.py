"""A run that records itself: `python -m tests.recording_run FOLDER` writes twelve steps, then makes them an episode."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from envs.episodes.recorder import Recorder
from envs.episodes.recording_dataset import add_missing
from envs.folders import FolderError, explained
from envs.simulation.arm import arm_action_spec
from tests.test_recorder import make_steps

STEPS = 12


def main() -> None:
    folder = Path(sys.argv[1])
    try:
        with explained(record=folder):
            with Recorder(folder, arm_action_spec(), "reach") as recorder:
                for step in make_steps(STEPS, size=64):
                    recorder.record(step)
                    time.sleep(0.02)
            add_missing(folder, "panda")
    except FolderError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
