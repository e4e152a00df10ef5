"""Records practice: a checkpoint's own attempts at tasks, each shown to its end by the task's scripted expert.

python scripts/collect_practice.py --config scripts/configs/franka/practice.yaml

What has only seen an expert does not know what to do where its own mistakes lead. Here a checkpoint acts, by its
policy or a search, towards a goal image; after some actions the expert takes over from there. Tasks are the Franka's,
Fetch's, OGBench's, or somebody's own that has an expert (docs/plugins.md).
Source: dataset aggregation (arXiv 1011.0686) by intervention (arXiv 1810.02890). Interrupted, the same command goes on.
"""

import sys

from planner.collecting.practice import main

if __name__ == "__main__":
    sys.exit(main())
