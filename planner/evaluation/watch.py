"""What people are shown of an evaluation's episodes: each moment, and the ways that the search tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import gymnasium
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from envs.episodes.recorder import RecordedStep
from envs.pose import compose
from envs.simulation.arm import MujocoArm
from envs.spec import POSE_NAMES, ActionSpec
from planner.base import Plan, Planner, Score
from planner.control.controller import Controller
from planner.control.episode import Step, goals_of
from planner.diagnostics.imagined import project
from planner.viewing.shown import Picture, Shown, Ways

MOST = 150  # candidates that are drawn
ELITES = 0.1  # share of the candidates, those of lowest cost, that is drawn as elites

Project = Callable[[Float[np.ndarray, "N 3"]], Float[np.ndarray, "N 2"]]


def watch(
    steps: Iterable[Step], env: gymnasium.Env, controller: Controller, show: Callable[[Shown], object]
) -> Iterator[Step]:
    """Yields the moments of an episode of a controller's, after each was shown.

    Args:
        steps: From `planner.control.episode.run_episode`.
        env: Its camera is known where it has a simulated arm of ours.
        controller: Whose search is watched meanwhile.
        show: Gets each moment.
    """
    camera, goal = camera_of(env), None
    with watched(controller) as search:
        for step in steps:
            goal = goals_of(step.info)[-1].image if goal is None else goal
            if step.action is not None and controller.goal.image is not None:
                goal = controller.goal.image
            ways = None if step.plan is None else search.ways(step, step.plan, controller.spec, camera)
            show(_shown(step, goal, ways))
            yield step


def _shown(step: Step, goal: Picture, ways: Ways | None) -> Shown:
    """Returns a moment as people are shown it."""
    cost = np.nan if step.plan is None else step.plan.cost
    done = RecordedStep(
        step.observation, step.action, cost=cost, seconds=step.seconds, timings={"waited": step.seconds}
    )
    return Shown(done, goal, None, ways, float(step.info["distance"]), bool(step.info["success"]))


def camera_of(env: gymnasium.Env) -> Project | None:
    """Returns what projects places in the base frame into the camera's image; None where the camera is unknown."""
    arm = getattr(env.unwrapped, "mujoco_arm", None)
    if not isinstance(arm, MujocoArm):
        return None
    return partial(project, arm.config.scene, size=arm.config.image_size)


@contextmanager
def watched(controller: Controller) -> Iterator[WatchedPlanner]:
    """Gives a controller's planner, watched; afterwards it is what it was."""
    plain = controller.planner
    controller.planner = found = WatchedPlanner(plain)
    try:
        yield found
    finally:
        controller.planner = plain


class WatchedPlanner:
    """A planner whose last search is kept: a score is all that a planner asks for. See `Planner`."""

    def __init__(self, planner: Planner) -> None:
        self.horizon = planner.horizon
        self._planner = planner
        self._scored: list[tuple[Float[Tensor, "S H A"], Float[Tensor, "S"]]] = []

    def plan(
        self,
        score: Score,
        spec: ActionSpec,
        guesses: Float[Tensor, "G H A"],
        generator: torch.Generator,
        deadline: float | None = None,
    ) -> Plan:
        """See `Planner.plan`."""
        self._scored = []

        def kept(actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
            costs = score(actions)
            self._scored.append((actions.detach(), costs.detach()))
            return costs

        return self._planner.plan(kept, spec, guesses, generator, deadline)

    def ways(self, step: Step, plan: Plan, spec: ActionSpec, camera: Project | None) -> Ways | None:
        """Returns where the last search took the hand; None for actions that move no hand in the base frame.

        Poses follow from actions alone, so that no model is asked: see `envs.pose.compose`.
        """
        if tuple(spec.names) != POSE_NAMES or spec.frame != "base" or not self._scored:
            return None
        actions = torch.cat([actions for actions, _ in self._scored]).cpu().numpy()
        costs = torch.cat([costs for _, costs in self._scored]).cpu().numpy()
        best = actions[np.argsort(costs)[: max(1, round(ELITES * len(costs)))]]
        drawn = actions[np.linspace(0, len(actions) - 1, min(MOST, len(actions))).astype(int)]
        chosen = {"candidates": drawn, "elites": best[:MOST], "plan": plan.actions.detach().cpu().numpy()[None]}
        places = {kind: _places(step.observation.pose, each) for kind, each in chosen.items()}
        if camera is None:
            return Ways(places)
        pixels = {kind: camera(each.reshape(-1, 3)).reshape(*each.shape[:2], 2) for kind, each in places.items()}
        return Ways(places, pixels)


def _places(pose: Float[np.ndarray, "7"], actions: Float[np.ndarray, "S H 7"]) -> Float[np.ndarray, "S H 3"]:
    """Returns the positions of the hand before each action and after the last [m], (S, H + 1, 3)."""
    poses = [np.broadcast_to(pose, (len(actions), len(pose)))]
    for action in np.moveaxis(actions, 1, 0):
        poses.append(compose(poses[-1], action))
    return np.stack([each[:, :3] for each in poses], axis=1)
