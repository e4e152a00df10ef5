"""Plans in a task and says how often that reaches the goal image.

    python scripts/evaluate.py --checkpoint franka-tiny --task FrankaReach-v0 --episodes 20 --seed 10000

Episode i is the task's reset with seed + i. The zero-action and random-action baselines run on the same seeds. Prints a
table; writes results.json, results.md, video.mp4, video.gif, poster.png and landscape.png to --output. Every setting of
planner, objective and controller is a flag; --config scripts/configs/plan/reach.yaml fills them from a file.

    python scripts/evaluate.py --suite manipulation

Several tasks and several planners: the table of scripts/configs/suite/manipulation.yaml, see docs/evaluation.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # torch's threads yield: 5 times faster beside another program

import logging
import sys
from collections.abc import Sequence

import tyro
from _evaluation_config import EvaluateConfig
from _program import program

from envs.command_line import config_from_command_line

DESCRIPTION = "Plans in a task and says how often it succeeds. --suite NAME takes several tasks and planners instead."


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if any(word.split("=")[0] == "--suite" for word in words):
        from _suite_config import SuiteOptions

        options = tyro.cli(SuiteOptions, args=words, description="Fills a table of tasks and planners.")
        from _suite import evaluate_suite

        evaluate_suite(options)
        return
    config = config_from_command_line(EvaluateConfig, DESCRIPTION, words)
    from _evaluate import evaluate_task  # torch and MuJoCo take seconds

    evaluate_task(config)


if __name__ == "__main__":
    main()
