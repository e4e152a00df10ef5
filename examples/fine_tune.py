"""Collects a little play in a changed scene, fine-tunes the bundled checkpoint on it and compares the held-out error.

Run `python examples/fine_tune.py --output FOLDER`; it takes about 40 seconds. So short a run shows how it is done, not
how good it gets: docs/fine-tuning.md has a full one, after which the planner reaches its goals again.
"""

import argparse
import json
import tempfile
from pathlib import Path

from envs.tasks.collect import main as collect
from planner.training.program import main as train


def main() -> None:
    """Runs the two programs, as on the command line, and prints what the report says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="folder for data and run; a temporary one if not given")
    parser.add_argument("--episodes", type=int, default=12, help="of play to collect")
    parser.add_argument("--steps", type=int, default=40, help="of the optimizer")
    options = parser.parse_args()
    output = options.output or Path(tempfile.mkdtemp())
    data, run = str(output / "play"), str(output / "run")

    scene = ["--scene.camera-position", "1.504", "-0.289", "0.78"]  # moved by 50 degrees: the model is lost there
    episodes = ["--episodes", str(options.episodes), "--processes", "1", "--seed", "0"]
    collect(["--output", data, *episodes, *scene, "--play.frames", "9"])

    windows = ["--context", "1", "--frames", "3", "--evaluate-horizon", "3", "--held-out", "0.15"]
    learning = ["--steps", str(options.steps), "--batch", "16", "--learning-rate", "1e-3", "--warmup", "10"]
    train(["--parent", "franka-tiny", "--data", data, "--output", run, *windows, *learning, "--seed", "0"])

    report = json.loads((output / "run/report/report.json").read_text(encoding="utf-8"))
    before, after = (report["judged"][kind]["mean_errors"] for kind in ("before", "after"))
    print("held-out error of the latents predicted three steps ahead:")
    print(f"  before fine-tuning     {before['rollout_3']:.3f}")
    print(f"  after fine-tuning      {after['rollout_3']:.3f}")
    print(f"  copying what is seen   {after['rollout_copy_3']:.3f}")
    print(f"more is in {output / 'run/report/report.md'}")


if __name__ == "__main__":
    main()
