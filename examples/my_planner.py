"""Plans with a planner of your own, random shooting, beside CEM with as many samples, on the same goals.

Run `python examples/my_planner.py`; it takes about 10 seconds. Both search through the bundled checkpoint, towards
goals that are images alone.
"""

from functools import partial

import torch

from envs import ActionSpec
from envs.tasks.reach import FrankaReachEnv
from planner import CEM, Controller, GoalDistance, GoalDistanceConfig, Plan, Score, run_episode
from world_model import load_world_model


class RandomShooting:
    """Draws action sequences uniformly within the bounds and takes the best."""

    def __init__(self, samples: int = 128, horizon: int = 1):
        """Takes how many sequences to try, and of how many actions."""
        self.samples, self.horizon = samples, horizon

    def plan(
        self,
        score: Score,
        spec: ActionSpec,
        guesses: torch.Tensor,
        generator: torch.Generator,
        deadline: float | None = None,
    ) -> Plan:
        """Returns the sequence of the lowest cost: score(sequences) gives the cost of each."""
        low, high = torch.tensor(spec.low), torch.tensor(spec.high)
        drawn = low + (high - low) * torch.rand(self.samples, self.horizon, spec.size, generator=generator)
        sequences = torch.cat([guesses, drawn])  # (samples, horizon, action)
        costs = score(sequences)
        best = costs.argmin()
        return Plan(sequences[best], cost=costs[best].item(), costs=costs[best][None], evaluations=len(sequences))


def main() -> None:
    """Plans two episodes with each planner and prints where they end."""
    env = FrankaReachEnv()
    model = load_world_model("franka-tiny")
    objective = partial(GoalDistance, config=GoalDistanceConfig(scales=(1, 2)))  # fewer local minima
    for planner in (RandomShooting(), CEM()):  # CEM tries 32 sequences 4 times
        controller = Controller(model, planner, env.action_spec, objective=objective)
        for seed in (2, 3):
            steps = list(run_episode(env, controller, goals=None, max_steps=6, seed=seed))
            start, end = (1000 * step.info["distance"] for step in (steps[0], steps[-1]))
            print(f"{type(planner).__name__:14s} seed {seed}: {start:3.0f} mm from the goal, in the end {end:4.1f} mm")


if __name__ == "__main__":
    main()
