"""The receding horizon: look, plan, act once, look again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import isfinite

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from envs.config import Choice
from envs.spec import ActionSpec, Goal, Observation
from planner.base import (
    MakeObjective,
    Objective,
    Plan,
    Planner,
    Proposer,
    SubgoalSource,
    check_guesses,
    cost_of_seen,
    cost_or_worst,
)
from planner.control.controller_config import ControllerConfig
from planner.no_plan import NoPlanError, check_plan
from planner.objectives.objective import GoalDistance
from planner.proposals.config import PROPOSERS
from planner.search.chunks import Chunks
from planner.subgoals.config import SUBGOALS
from planner.subgoals.listed import Approach
from world_model.base import LatentGoal, LatentState, WorldModel
from world_model.finite import not_finite, some
from world_model.gripper_modes import in_gripper_modes

_NEARER = 0.05  # share of a cost by which it must be lower to count as progress


class Controller:
    """Turns a world model and a planner into actions.

    At every step, with z the latents of the last observations and g the goal's::

        a* = planner(minimise objective_g(rollout(z, a)))      execute a*_0,   start the next search at (a*_1, ..., 0)

    The planner's noise comes from one generator, seeded at `reset`, that lives across steps. Staying (the zero action,
    or the nearest to it within the bounds) is always proposed beside the shifted last plan and its runners-up.

    Which goal is pursued a `SubgoalSource` says, by default one after the other of those that are given. With the goal
    the last plan is dropped: it leads to where the arm should no longer go, and the first guess is the one that a
    search starts around.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        spec: ActionSpec,
        config: ControllerConfig | None = None,
        objective: MakeObjective = GoalDistance,
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
            ValueError: If more context is asked for than the model makes use of, or a proposer or the source of
                subgoals can't do with the model.
        """
        model.action_spec.check_same_meaning(spec)
        self.model = model
        self.planner = planner
        self.spec = spec
        self.config = config or ControllerConfig()
        self.objective = objective
        makes = Choice("kind", PROPOSERS)
        self.proposers: list[Proposer] = [makes.make(each, model, spec) for each in self.config.proposers]
        self._subgoals: SubgoalSource = Choice("kind", SUBGOALS).make(self.config.subgoals, model, spec, objective)
        context = model.context if self.config.context is None else self.config.context
        if context > model.context:
            raise ValueError(f"the model makes use of {model.context} past frames, {context} were asked for")
        unknown = [name for name in self.config.follow if name not in spec.names]
        if unknown:
            raise ValueError(f"follow names {', '.join(unknown)}, but an action has {', '.join(spec.names)}")
        self._followed = [spec.names.index(name) for name in self.config.follow]
        self._chunks = Chunks(self.config.chunk)
        self._frames: deque[LatentState] = deque(maxlen=context)
        self._goal: LatentGoal | None = None  # that is pursued
        self._goal_cost: Objective | None = None
        self._taken_up = 0  # goals so far
        self._generator: torch.Generator | None = None
        self._last_plan: Plan | None = None
        self._start: LatentState | None = None  # where it begins
        self._approach = Approach()

    def reset(self, goals: Sequence[Goal], seed: int) -> None:
        """Forgets the past and has new goals.

        Args:
            goals: The goal, or before it subgoals in the order in which they are pursued; each is encoded once, here.
            seed: Seed of the planner's noise.

        Raises:
            NoPlanError: If the latents of a goal are not finite.
            ValueError: If there is no goal, one lacks what the model or the objective needs, or the source of subgoals
                is for another number of them.
        """
        if not goals:
            raise ValueError("there is no goal: pass at least one Goal(image), the last one is where to stay")
        encoded = [self.model.encode_goal(goal) for goal in goals]
        broken = not_finite({f"goal {index}": goal.tokens for index, goal in enumerate(encoded)})
        if broken:
            raise NoPlanError(f"the model's latents of {some(broken)} are not finite: try precision fp32")
        cost = self.objective(encoded[-1])
        self._subgoals.reset(encoded)
        self._goal, self._goal_cost, self._taken_up = encoded[-1], cost, 0
        self._generator = torch.Generator(encoded[0].tokens.device).manual_seed(seed)
        self._frames.clear()
        self._last_plan = self._start = None
        self._approach = Approach()

    @property
    def goal(self) -> LatentGoal:
        """What is pursued; before the first step it is the last of the goals."""
        if self._goal is None:
            raise ValueError("there is no goal yet: call reset(goals, seed) first")
        return self._goal

    @property
    def goal_index(self) -> int:
        """How many goals were pursued before this one: of a list of goals, its index."""
        return max(0, self._taken_up - 1)

    def step(
        self, observation: Observation, committed: Float[np.ndarray, "K A"] | None = None
    ) -> tuple[Float[np.ndarray, "A"], Plan]:
        """Returns the action to execute next, within the spec's bounds, and the plan that it begins.

        Where something else is done rather, see `ControllerConfig.rather`, the plan returned is that, with its cost.

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
        state = self.state()
        self._choose_goal(state, self._generator)
        self._watch_progress(state)
        if committed is not None:
            state = self._roll_forward(state, np.asarray(committed))
        self._start, guesses = state, self._guesses(state)
        allowed = partial(self._allowed, guesses[0])
        plan = self.planner.plan(
            lambda actions: self.score(state, allowed(actions)), self.spec, guesses, self._generator, deadline
        )
        plan = replace(plan, actions=allowed(plan.actions))
        self._check(plan, state)
        self._last_plan = plan
        if self.config.rather is not None:
            plan = self._unless_better(state, plan, allowed(guesses[-1 if self.config.rather == "stay" else 0]))
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

        return self._chunks.score(lambda part: cost(replace(self._predict(state, part), start=state), part), actions)

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

    def _choose_goal(self, state: LatentState, generator: torch.Generator) -> None:
        """Takes up the goal whose turn it is at the last observation."""
        goal = self._subgoals.next(state, generator)
        anew = not self._taken_up
        if goal is not None and goal is not self._goal:
            along = (
                goal.way is not None or self.goal.way is not None
            )  # another way to a goal, or at last the goal itself
            anew = anew or not (along and torch.equal(goal.tokens, self.goal.tokens))
            self._goal, self._goal_cost = goal, self.objective(goal)
        if anew:
            self._taken_up += 1
            self._last_plan, self._approach = None, Approach()

    def _watch_progress(self, state: LatentState) -> None:
        """Counts for how long what is seen has come no nearer to the goal."""
        if not self.config.patience:
            return
        assert self._goal_cost is not None
        with torch.no_grad():
            self._approach = self._approach.after(cost_of_seen(self._goal_cost, state, self.spec), _NEARER)

    def _guesses(self, state: LatentState) -> Float[Tensor, "G H A"]:
        """Returns what is proposed, the last plan and its runners-up, and staying, the last."""
        known, horizon = self._known_guesses(state), self.planner.horizon
        low, high = (known.new_tensor(bound) for bound in (self.spec.low, self.spec.high))
        guesses = []
        for proposer in self.proposers:
            assert self._generator is not None
            count = self.config.proposals
            proposed = proposer.propose(state, self.goal, horizon, count, self._generator).to(known)
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

    def _allowed(self, guess: Float[Tensor, "H A"], actions: Float[Tensor, "*S H A"]) -> Float[Tensor, "*S H A"]:
        """Returns actions with the gripper in one of its modes, and what is not searched as a guess has it."""
        if self.config.gripper_modes:
            actions = in_gripper_modes(actions, self.spec)
        if self._followed:
            actions = actions.clone()
            actions[..., self._followed] = guess[:, self._followed].to(actions)
        return actions

    def _check(self, plan: Plan, state: LatentState) -> None:
        """Returns if a plan may be acted on; NoPlanError says what is not finite, and what led to it is forgotten."""
        try:
            predicted = {} if isfinite(plan.cost) else {"the predicted latents": self._imagine(state, plan).tokens}
            parts = {
                "the latents of what was seen": state.tokens,
                "the latents of the goal": self.goal.tokens,
                **predicted,
                "the planned actions": plan.actions,
            }
            check_plan(plan, parts)
        except NoPlanError:
            self._frames.clear()
            self._last_plan = self._start = None
            raise

    def _unless_better(self, state: LatentState, plan: Plan, other: Float[Tensor, "H A"]) -> Plan:
        """Returns the plan, or other actions if it is not better than these by what is asked for.

        Both are scored in one batch, so that the same arithmetic compares them.
        """
        both = self.score(state, torch.stack([plan.actions, other]))
        cost, cost_of_other = cost_or_worst(both).tolist()
        asked = self.config.min_improvement * abs(cost_of_other) + self.config.margin
        better = cost < cost_of_other - asked and self._approach.stale >= self.config.patience
        if better or not isfinite(cost_of_other):
            return plan
        return replace(plan, actions=other, cost=cost_of_other, evaluations=plan.evaluations + 2)
