"""Trains the critic of a finished checkpoint: how many actions lie between a frame and a goal image, and the first.

    python scripts/train_critic.py --config scripts/configs/franka-manipulation/critic.yaml
    python scripts/train_critic.py --parent NAME --data data/mine --output runs/mine-critic

Ctrl-C saves and stops; the same command goes on where it stopped. Every evaluation prints the held-out errors beside
those of always guessing the mean. The finished checkpoint plans with it where objective.critic_weight is above 0.
"""

import sys

from world_model.heads.goal_policy.program import main

if __name__ == "__main__":
    sys.exit(main())
