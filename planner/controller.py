"""The receding horizon: look, plan, act once, look again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from envs.spec import ActionSpec, Observation
from planner.base import Objective, Plan, Planner
from planner.objective import GoalDistance, score_actions
from world_model.base import LatentState, WorldModel


@dataclass(frozen=True)
class ControllerConfig:
    """Settings of `Controller`.

    Attributes:
        context: Past frames given to the model; None for as many as it makes use of.
        chunk: Action sequences rolled out at a time; less memory, same costs.
        warm_start: Whether the last plan, shifted by a step, is the planner's first guess.
        hold_if_no_better: Whether to stay (zero action) when the plan is not predicted to be better than staying.
        min_improvement: By what share of staying's cost the plan must be better, or the controller holds.
        camera_rotation: Rotation vector [rad] from the directions that the model reads from the camera to the arm's, as
            scripts/doctor.py fits it for a camera that stands elsewhere than the training's; zero for none.
        planning_time: Time for encoding and planning, after which the best plan so far counts [s]; None for no limit.

    Raises:
        ValueError: If a setting is out of its range.
    """

    context: int | None = None
    chunk: int = 64
    warm_start: bool = True
    hold_if_no_better: bool = False
    min_improvement: float = 0.0
    camera_rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    planning_time: float | None = None

    def __post_init__(self) -> None:
        if self.context is not None and self.context < 1:
            raise ValueError(f"the controller's context must be at least 1 frame or None, got {self.context}")
        if self.chunk < 1:
            raise ValueError(f"the controller's chunk must be at least 1 sequence, got {self.chunk}")
        if not 0 <= self.min_improvement < 1:
            raise ValueError(f"the controller's min_improvement must be in [0, 1), got {self.min_improvement}")
        if self.planning_time is not None and self.planning_time <= 0:
            raise ValueError(f"the controller's planning_time must be positive [s] or None, got {self.planning_time}")


class Controller:
    """Turns a world model and a planner into actions.

    At every step, with z the latents of the last observations and g the goal's::

        a* = planner(minimise objective_g(rollout(z, a)))      execute a*_0,   start the next search at (a*_1, ..., 0)

    The planner's noise comes from one generator, seeded at `reset`, that lives across steps. Staying (the zero action,
    or the nearest to it within the bounds) is always proposed beside the shifted last plan.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        spec: ActionSpec,
        config: ControllerConfig | None = None,
        objective: Callable[[LatentState], Objective] = GoalDistance,
    ) -> None:
        """Checks that model and arm mean the same by an action.

        Args:
            model: What will be seen.
            planner: What minimises.
            spec: The arm's actions and their bounds.
            config: Settings; None for the defaults.
            objective: Makes the cost from the goal's latent, such as
                ``functools.partial(GoalDistance, config=GoalDistanceConfig(norm="l2"))``.

        Raises:
            SpecError: If the model was made for other actions than the arm's.
            ValueError: If more context is asked for than the model makes use of.
        """
        model.action_spec.check_same_meaning(spec)
        self.model = model
        self.planner = planner
        self.spec = spec
        self.config = config or ControllerConfig()
        self.objective = objective
        context = model.context if self.config.context is None else self.config.context
        if context > model.context:
            raise ValueError(f"the model makes use of {model.context} past frames, {context} were asked for")
        self._frames: deque[LatentState] = deque(maxlen=context)
        self._goal_cost: Objective | None = None
        self._generator: torch.Generator | None = None
        self._last_plan: Float[Tensor, "H A"] | None = None

    def reset(self, goals: Sequence[Observation], seed: int) -> None:
        """Forgets the past and takes up a goal.

        Args:
            goals: The goal, one observation. Sequences of subgoals are still to come.
            seed: Seed of the planner's noise.

        Raises:
            ValueError: If there is not exactly one goal.
        """
        if len(goals) != 1:
            raise ValueError(f"a controller pursues exactly one goal observation for now, got {len(goals)}")
        goal = self.model.encode(goals)
        self._goal_cost = self.objective(goal)
        self._generator = torch.Generator(goal.tokens.device).manual_seed(seed)
        self._frames.clear()
        self._last_plan = None

    def step(self, observation: Observation) -> tuple[Float[np.ndarray, "A"], Plan]:
        """Returns the action to execute now, within the spec's bounds, and the plan that it begins.

        When the controller holds, the plan returned is the one to stay and its cost.

        Raises:
            ValueError: If there was no `reset`.
        """
        if self._generator is None:
            raise ValueError("step() before reset(): call reset(goals, seed) first, it sets the goal")
        limit = self.config.planning_time
        deadline = None if limit is None else time.monotonic() + limit
        self._frames.append(self.model.encode([observation]))
        state = self.state()
        guesses = self._guesses(state)
        plan = self.planner.plan(partial(self.score, state), self.spec, guesses, self._generator, deadline)
        self._last_plan = plan.actions
        if self.config.hold_if_no_better:
            plan = self._hold_if_no_better(state, plan, staying=guesses[-1])
        action = plan.actions[0].detach().cpu().numpy().astype(np.float64)
        return np.clip(action, self.spec.low, self.spec.high), plan  # the clip undoes float32's rounding of the bounds

    def state(self) -> LatentState:
        """Returns the latents of the last observations, at most `context` of them, oldest first."""
        if not self._frames:
            raise ValueError("there is no observation yet: call reset(goals, seed), then step(observation)")
        return LatentState(
            torch.cat([frame.tokens for frame in self._frames], dim=1),
            torch.cat([frame.poses for frame in self._frames], dim=1),
        )

    def score(self, state: LatentState, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the predicted cost of each action sequence from a state, `chunk` sequences at a time.

        Without gradient, unless the actions ask for one.
        """
        if self._goal_cost is None:
            raise ValueError("score() before reset(): call reset(goals, seed) first, it sets the goal")
        return score_actions(self.model, self._goal_cost, state, self._as_seen(actions), self.config.chunk)

    def _as_seen(self, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S H A"]:
        """Returns the actions in the frame that the model reads from the camera: translations turned back."""
        if not any(self.config.camera_rotation):
            return actions
        seen = actions.new_tensor(Rotation.from_rotvec(self.config.camera_rotation).as_matrix())
        return torch.cat([actions[..., :3] @ seen, actions[..., 3:]], dim=-1)  # R^T a, as rows

    def _guesses(self, state: LatentState) -> Float[Tensor, "G H A"]:
        """Returns the shifted last plan, where there is one, and staying, which is always the last guess."""
        staying = state.poses.new_zeros(1, self.planner.horizon, self.spec.size)
        staying = staying.clamp(staying.new_tensor(self.spec.low), staying.new_tensor(self.spec.high))
        if self._last_plan is None or not self.config.warm_start:
            return staying
        shifted = torch.cat([self._last_plan[1:].to(staying), staying[0, -1:]])
        return torch.stack([shifted, staying[0]])

    def _hold_if_no_better(self, state: LatentState, plan: Plan, staying: Float[Tensor, "H A"]) -> Plan:
        """Returns the plan, or the one to stay if the first is not better by the share that is asked for.

        Both are scored in one batch, so that the same arithmetic compares them.
        """
        cost, cost_of_staying = self.score(state, torch.stack([plan.actions, staying])).tolist()
        if cost < (1.0 - self.config.min_improvement) * cost_of_staying:
            return plan
        return replace(plan, actions=staying, cost=cost_of_staying, evaluations=plan.evaluations + 2)


class ZeroActions:
    """A controller that stays: the baseline of a task that solves itself."""

    def __init__(self, spec: ActionSpec) -> None:
        """Takes the arm's actions."""
        self._action = np.clip(np.zeros(spec.size), spec.low, spec.high)

    def reset(self, goals: Sequence[Observation], seed: int) -> None:
        """Has nothing to prepare."""

    def step(self, observation: Observation) -> tuple[Float[np.ndarray, "A"], None]:
        """Returns the zero action (the nearest to it within the bounds) and no plan."""
        return self._action.copy(), None


class RandomActions:
    """A controller that draws uniformly within the bounds: the baseline of a task that luck solves."""

    def __init__(self, spec: ActionSpec) -> None:
        """Takes the arm's actions."""
        self._spec = spec
        self._generator = np.random.default_rng(0)

    def reset(self, goals: Sequence[Observation], seed: int) -> None:
        """Starts the draws of a seed."""
        self._generator = np.random.default_rng(seed)

    def step(self, observation: Observation) -> tuple[Float[np.ndarray, "A"], None]:
        """Returns a random action and no plan."""
        return self._generator.uniform(self._spec.low, self._spec.high), None
