"""The receding horizon: look, plan, act once, look again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from envs.config import Choice
from envs.spec import ActionSpec, Observation
from planner.base import Objective, Plan, Planner, Proposer, check_guesses, cost_or_worst
from planner.control.controller_config import ControllerConfig
from planner.no_plan import NoPlanError, check_plan
from planner.objectives.objective import GoalDistance
from planner.proposals.config import PROPOSERS
from planner.search.chunks import Chunks
from planner.subgoals.goals import GoalProgress, advance
from world_model.base import LatentState, WorldModel
from world_model.finite import not_finite, some


class Controller:
    """Turns a world model and a planner into actions.

    At every step, with z the latents of the last observations and g the goal's::

        a* = planner(minimise objective_g(rollout(z, a)))      execute a*_0,   start the next search at (a*_1, ..., 0)

    The planner's noise comes from one generator, seeded at `reset`, that lives across steps. Staying (the zero action,
    or the nearest to it within the bounds) is always proposed beside the shifted last plan and its runners-up.

    Of several goals one after the other is pursued, see `GoalScheduleConfig`. With the goal the last plan is dropped:
    it leads to where the arm should no longer go, and the first guess is the one that a search starts around.
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
            ValueError: If more context is asked for than the model makes use of, or a proposer can't do with the model.
        """
        model.action_spec.check_same_meaning(spec)
        self.model = model
        self.planner = planner
        self.spec = spec
        self.config = config or ControllerConfig()
        self.objective = objective
        makes = Choice("kind", PROPOSERS)
        self._proposers: list[Proposer] = [makes.make(each, model, spec) for each in self.config.proposers]
        context = model.context if self.config.context is None else self.config.context
        if context > model.context:
            raise ValueError(f"the model makes use of {model.context} past frames, {context} were asked for")
        unknown = [name for name in self.config.follow if name not in spec.names]
        if unknown:
            raise ValueError(f"follow names {', '.join(unknown)}, but an action has {', '.join(spec.names)}")
        self._followed = [spec.names.index(name) for name in self.config.follow]
        self._chunks = Chunks(self.config.chunk)
        self._frames: deque[LatentState] = deque(maxlen=context)
        self._goals: list[LatentState] = []
        self._goal_costs: list[Objective] = []
        self._goal_cost: Objective | None = None  # of the goal that is pursued
        self._progress: GoalProgress | None = None
        self._generator: torch.Generator | None = None
        self._last_plan: Plan | None = None
        self._start: LatentState | None = None  # where it begins

    def reset(self, goals: Sequence[Observation], seed: int) -> None:
        """Forgets the past and takes up the first goal.

        Args:
            goals: The goal, or subgoals in the order in which they are pursued; each is encoded once, here.
            seed: Seed of the planner's noise.

        Raises:
            NoPlanError: If the latents of a goal are not finite.
            ValueError: If there is no goal, or the schedule is for another number of them.
        """
        self.config.schedule.check_goals(len(goals))
        encoded = [self.model.encode([goal]) for goal in goals]
        broken = not_finite({f"goal {index}": goal.tokens for index, goal in enumerate(encoded)})
        if broken:
            raise NoPlanError(f"the model's latents of {some(broken)} are not finite: try precision fp32")
        self._goals = encoded
        self._goal_costs = [self.objective(goal) for goal in encoded]
        self._goal_cost = self._goal_costs[0]
        self._progress = None
        self._generator = torch.Generator(encoded[0].tokens.device).manual_seed(seed)
        self._frames.clear()
        self._last_plan = self._start = None

    @property
    def goal_index(self) -> int:
        """Which of the goals is pursued now, from 0."""
        return 0 if self._progress is None else self._progress.index

    def step(
        self, observation: Observation, committed: Float[np.ndarray, "K A"] | None = None
    ) -> tuple[Float[np.ndarray, "A"], Plan]:
        """Returns the action to execute next, within the spec's bounds, and the plan that it begins.

        When the controller holds, the plan returned is the one to stay and its cost.

        Args:
            observation: What was seen last.
            committed: Actions from there on that will have been executed when the plan begins; the plan starts from
                the state that the model predicts after them. None to begin at the observation.

        Raises:
            NoPlanError: If no plan has a finite cost; the next step plans afresh.
            ValueError: If there was no `reset`, or the committed actions are no finite table of the spec's width.
        """
        if self._generator is None:
            raise ValueError("step() before reset(): call reset(goals, seed) first, it sets the goal")
        limit = self.config.planning_time
        deadline = None if limit is None else time.monotonic() + limit
        self._frames.append(self.model.encode([observation]))
        self._choose_goal(self._frames[-1])
        state = self.state() if committed is None else self._roll_forward(self.state(), np.asarray(committed))
        self._start, guesses = state, self._guesses(state)
        follow = partial(self._follow, guesses[0])
        plan = self.planner.plan(
            lambda actions: self.score(state, follow(actions)), self.spec, guesses, self._generator, deadline
        )
        plan = replace(plan, actions=follow(plan.actions))
        self._check(plan, state)
        self._last_plan = plan
        if self.config.hold_if_no_better:
            plan = self._hold_if_no_better(state, plan, staying=guesses[-1])
        action = plan.actions[0].detach().cpu().numpy().astype(np.float64)
        return np.clip(action, self.spec.low, self.spec.high), plan  # the clip undoes float32's rounding of the bounds

    def imagine(self, plan: Plan) -> LatentState:
        """Returns the frames (1, H, N, D) and poses that the last step's plan is predicted to lead to, no gradient."""
        if self._start is None:
            raise ValueError("imagine() before step(): a plan begins at the state that a step plans from")
        return self._imagine(self._start, plan)

    def _imagine(self, state: LatentState, plan: Plan) -> LatentState:
        """Returns the frames and poses that a plan from a state is predicted to lead to, no gradient."""
        with torch.no_grad():
            return self._predict(state, plan.actions.detach()[None])

    def state(self) -> LatentState:
        """Returns the latents of the last observations, at most `context` of them, oldest first."""
        if not self._frames:
            raise ValueError("there is no observation yet: call reset(goals, seed), then step(observation)")
        return LatentState(
            torch.cat([frame.tokens for frame in self._frames], dim=1),
            torch.cat([frame.poses for frame in self._frames], dim=1),
        )

    def _roll_forward(self, state: LatentState, committed: Float[np.ndarray, "K A"]) -> LatentState:
        """Returns the state that is predicted after actions, with as many frames as the context allows."""
        size = self.spec.size
        if committed.ndim != 2 or committed.shape[1] != size or not len(committed) or not np.isfinite(committed).all():
            raise ValueError(f"committed actions must be (at least 1, {size}) finite numbers, got {committed!r}")
        with torch.no_grad():
            predicted = self._predict(state, torch.as_tensor(committed).to(state.poses)[None])
        frames = self._frames.maxlen or 1
        return LatentState(
            torch.cat([state.tokens, predicted.tokens], dim=1)[:, -frames:],
            torch.cat([state.poses, predicted.poses], dim=1)[:, -frames:],
        )

    def score(self, state: LatentState, actions: Float[Tensor, "S H A"]) -> Float[Tensor, "S"]:
        """Returns the predicted cost of each action sequence from a state, in parts that fit into the memory.

        Without gradient, unless the actions ask for one.
        """
        if self._goal_cost is None:
            raise ValueError("score() before reset(): call reset(goals, seed) first, it sets the goal")
        cost = self._goal_cost

        return self._chunks.score(lambda part: cost(self._predict(state, part), part), actions)

    def _predict(self, state: LatentState, actions: Float[Tensor, "S H A"]) -> LatentState:
        """Returns the predicted frames, poses in the arm's directions.

        With a camera rotation R the model gets R^T a, the translations as it reads them from the camera, and so
        integrates positions in those directions; they are turned back around the last measured one.
        """
        if not any(self.config.camera_rotation):
            return self.model.rollout(state, actions)
        rotation = actions.new_tensor(Rotation.from_rotvec(self.config.camera_rotation).as_matrix())
        seen = torch.cat([actions[..., :3] @ rotation, actions[..., 3:]], dim=-1)  # R^T a, as rows
        predicted = self.model.rollout(state, seen)
        start, positions = state.poses[:, -1:, :3], predicted.poses[..., :3]
        turned = start + (positions - start) @ rotation.T
        return replace(predicted, poses=torch.cat([turned, predicted.poses[..., 3:]], dim=-1))

    def _choose_goal(self, frame: LatentState) -> None:
        """Takes up the goal whose turn it is at the last observation."""
        before, still = self.goal_index, frame.poses.new_zeros(1, 1, self.spec.size)
        costs = self._goal_costs
        self._progress = advance(
            self.config.schedule, self._progress, len(costs), lambda index: float(costs[index](frame, still)[0])
        )
        if self.goal_index != before:
            self._goal_cost = costs[self.goal_index]
            self._last_plan = None

    def _guesses(self, state: LatentState) -> Float[Tensor, "G H A"]:
        """Returns what is proposed, the last plan and its runners-up, and staying, the last."""
        known, horizon = self._known_guesses(state), self.planner.horizon
        low, high = (known.new_tensor(bound) for bound in (self.spec.low, self.spec.high))
        guesses = []
        for proposer in self._proposers:
            assert self._generator is not None
            goal, count = self._goals[self.goal_index], self.config.proposals
            proposed = proposer.propose(state, goal, horizon, count, self._generator).to(known)
            if len(proposed):
                check_guesses(proposed, horizon, self.spec)
                guesses.append(proposed.clamp(low, high))
        return torch.cat([*guesses, known])

    def _known_guesses(self, state: LatentState) -> Float[Tensor, "G H A"]:
        """Returns the last plan and its runners-up, shifted by a step, and staying."""
        staying = state.poses.new_zeros(1, self.planner.horizon, self.spec.size)
        staying = staying.clamp(staying.new_tensor(self.spec.low), staying.new_tensor(self.spec.high))
        plan = self._last_plan
        if plan is None or not self.config.warm_start:
            return staying
        known = plan.actions[None]
        if plan.runners_up is not None and self.planner.horizon > 1:  # of a single step, shifted, nothing is left
            known = torch.cat([known, plan.runners_up])
        shifted = torch.cat([known[:, 1:].to(staying), staying[:, -1:].expand(len(known), -1, -1)], dim=1)
        return torch.cat([shifted, staying])

    def _follow(self, guess: Float[Tensor, "H A"], actions: Float[Tensor, "*S H A"]) -> Float[Tensor, "*S H A"]:
        """Returns actions with what is not searched as a guess has it."""
        if not self._followed:
            return actions
        actions = actions.clone()
        actions[..., self._followed] = guess[:, self._followed].to(actions)
        return actions

    def _check(self, plan: Plan, state: LatentState) -> None:
        """Returns if a plan may be acted on; NoPlanError says what is not finite, and what led to it is forgotten."""
        try:
            predicted = {} if isfinite(plan.cost) else {"the predicted latents": self._imagine(state, plan).tokens}
            parts = {
                "the latents of what was seen": state.tokens,
                "the latents of the goal": self._goals[self.goal_index].tokens,
                **predicted,
                "the planned actions": plan.actions,
            }
            check_plan(plan, parts)
        except NoPlanError:
            self._frames.clear()
            self._last_plan = self._start = None
            raise

    def _hold_if_no_better(self, state: LatentState, plan: Plan, staying: Float[Tensor, "H A"]) -> Plan:
        """Returns the plan, or the one to stay if the first is not better by the share that is asked for.

        Both are scored in one batch, so that the same arithmetic compares them.
        """
        both = self.score(state, torch.stack([plan.actions, staying]))
        cost, cost_of_staying = cost_or_worst(both).tolist()
        if cost < (1.0 - self.config.min_improvement) * cost_of_staying or not isfinite(cost_of_staying):
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
