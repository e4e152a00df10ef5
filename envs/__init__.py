"""What acts, what is seen and what is recorded: arms, simulation, tasks and episodes; imports no torch."""

from envs.spec import ActionSpec, Goal, Observation

__all__ = ["ActionSpec", "Goal", "Observation"]
