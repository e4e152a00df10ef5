"""Plans in a task and says how often that reaches the goal image. See scripts/evaluate.py."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import tyro

from envs.command_line import config_from_command_line
from envs.program import program
from planner.evaluation.config import EvaluateConfig

DESCRIPTION = "Plans in a task and says how often it succeeds. --suite NAME takes several tasks and planners instead."


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what a user can get wrong ends it in one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if any(word.split("=")[0] == "--suite" for word in words):
        from planner.evaluation.suite_config import SuiteOptions

        options = tyro.cli(SuiteOptions, args=words, description="Fills a table of tasks and planners.")
        from planner.evaluation.suite import evaluate_suite

        evaluate_suite(options)
        return
    config = config_from_command_line(EvaluateConfig, DESCRIPTION, words)
    from planner.evaluation.evaluate import evaluate_task  # torch and MuJoCo take seconds

    evaluate_task(config)
