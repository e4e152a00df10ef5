"""Records practice: a checkpoint's own attempts at manipulation tasks, each shown to its end by the scripted expert.

python scripts/collect_practice.py --config scripts/configs/franka-manipulation/practice.yaml

A policy that has only seen an expert at work does not know what to do where its own mistakes lead. Here it acts, by its
critic's proposals, towards a goal image with training objects; after some actions the expert takes over from there.
Source: dataset aggregation (arXiv 1011.0686) by intervention (arXiv 1810.02890). Interrupted, the same command goes on.
"""

import sys

from planner.collecting.practice import main

if __name__ == "__main__":
    sys.exit(main())
