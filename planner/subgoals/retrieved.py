"""Subgoals from recordings: the next recorded frame on the shortest way from here to the goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

if TYPE_CHECKING:  # they import torch, which takes seconds, and settings are read without
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor

    from envs.spec import ActionSpec
    from planner.base import MakeObjective
    from world_model.base import LatentGoal, LatentState, WorldModel

_AT_ONCE = 1 << 16  # pairs that are compared at once
_LEAST = 1e-3  # actions: an edge of length 0 is none for SciPy


@dataclass(frozen=True)
class RetrievedConfig:
    """Settings of `Retrieved`.

    Attributes:
        kind: Names this source in YAML.
        nodes: Recorded frames that the graph has at most, evenly chosen. It is made once a controller: their square is
            the number of pairs that are compared.
        reach: Actions that the low level is trusted with: nothing further away is ever its goal, unless no way of
            recorded frames leads nearer.
        arrived: At most so many actions from a subgoal the next one is chosen.
        patience: Actions on a subgoal after which the next one is chosen anyway.

    Raises:
        ValueError: If a setting is out of its range.
    """

    kind: Literal["retrieved"] = "retrieved"
    nodes: int = 512
    reach: float = 8.0
    arrived: float = 2.0
    patience: int = 6

    def __post_init__(self) -> None:
        if self.nodes < 2 or self.patience < 1:
            raise ValueError(f"a graph needs 2 nodes and a patience of 1 action at least, got {self}")
        if not 0 <= self.arrived < self.reach:
            raise ValueError(f"arrived must be at least 0 and under reach [actions], got {self.arrived}, {self.reach}")


class Retrieved:
    """Pursues recorded frames on the shortest way to the one goal that is given, a `SubgoalSource`.

    ::

        nodes: frames of the bank; edges of at most `reach` actions: d(i, j), the temporal distance
        subgoal: of the shortest way now -> i -> .. -> j -> goal, its furthest node that is within reach of now

    What a low level does well it is given at once: a goal within reach is pursued itself. The ensemble's pessimistic
    distance keeps edges short that only one of its networks believes in.

    Source: search on the replay buffer (SoRB, arXiv 1906.05253).
    """

    Config: ClassVar = RetrievedConfig

    def __init__(
        self, config: RetrievedConfig, model: WorldModel, spec: ActionSpec, make_objective: MakeObjective
    ) -> None:
        """Makes the graph.

        Raises:
            ValueError: If the model has no bank of recordings or no temporal distance.
        """
        from world_model.compact import compact_with
        from world_model.heads.bank import HEAD, Bank
        from world_model.heads.ways import TEMPORAL_DISTANCE, TemporalDistance

        lacking = (
            "subgoals are retrieved by a checkpoint's bank of recordings and its temporal distance: train one with "
            "bank_frames over 0 and then heads (scripts/train_heads.py), or take the subgoals listed"
        )
        encoding, bank = compact_with(model, HEAD, Bank, lacking)
        _, distance = compact_with(model, TEMPORAL_DISTANCE, TemporalDistance, lacking)
        self.config, self._model, self._distance = config, encoding, distance
        chosen = np.linspace(0, bank.config.frames - 1, min(config.nodes, bank.config.frames)).round().astype(int)
        self._nodes = bank.latents[np.unique(chosen)]
        each = range(len(self._nodes))
        self._edges = np.stack([self._lengths(self._nodes[i : i + 1], self._nodes).cpu().numpy() for i in each])
        self._goal: LatentGoal | None = None
        self._left: Float[np.ndarray, "N"] = np.zeros(0)
        self._next: Int[np.ndarray, "N"] = np.zeros(0, int)
        self._pursued: Tensor | None = None
        self._spent = 0

    def reset(self, goals: Sequence[LatentGoal]) -> None:
        """See `SubgoalSource.reset`.

        Raises:
            ValueError: If there is more than one goal.
        """
        from planner.base import the_goal

        goal = the_goal(goals, "retrieved")
        last = self._lengths(self._nodes, goal.tokens.flatten()[None]).cpu().numpy()
        self._left, self._next = shortest_ways(self._edges, last, self.config.reach)
        self._goal, self._pursued, self._spent = goal, None, 0

    def next(self, state: LatentState, generator: torch.Generator) -> LatentGoal | None:
        """See `SubgoalSource.next`."""
        from world_model.base import LatentGoal

        assert self._goal is not None
        now, goal = state.tokens[0, -1].flatten()[None], self._goal
        pose = state.poses[0, -1][None]
        self._spent += 1
        if self._pursued is not None and self._spent <= self.config.patience:
            if self._pursued is goal.tokens:
                return None
            left = self._lengths(now, self._pursued.flatten()[None], pose)
            if float(left[0]) > self.config.arrived:
                return None
        node = self._choose(now, pose)
        self._spent = 1
        before, self._pursued = self._pursued, goal.tokens if node is None else self._nodes[node].view_as(goal.tokens)
        if node is None:
            return None if before is goal.tokens else goal
        return LatentGoal(self._pursued)

    def _choose(self, now: Float[Tensor, "1 Z"], pose: Float[Tensor, "1 P"]) -> int | None:
        """Returns the node to pursue; None for the goal itself."""
        assert self._goal is not None
        reach = self.config.reach
        if float(self._lengths(now, self._goal.tokens.flatten()[None], pose)[0]) <= reach:
            return None
        first = self._lengths(now, self._nodes, pose).cpu().numpy()
        whole = np.where(first <= reach, first, np.inf) + self._left
        if not np.isfinite(whole).any():
            return None  # no recorded way is known
        node = int(whole.argmin())
        while (after := int(self._next[node])) >= 0 and first[after] <= reach:
            node = after
        return node

    def _lengths(
        self, now: Float[Tensor, "A Z"], goals: Float[Tensor, "B Z"], poses: Float[Tensor, "A P"] | None = None
    ) -> Float[Tensor, "C"]:
        """Returns the actions from each frame to each goal, where one of these is alone; poses are physical."""
        import torch

        count, found = max(len(now), len(goals)), []
        known = None if poses is None else self._model.normalise_poses(poses).expand(count, -1)
        for rows in torch.arange(count).split(_AT_ONCE):
            one, other = (each.to(self._model.action_mean).expand(count, -1)[rows] for each in (now, goals))
            found.append(self._distance.actions(one, other, None if known is None else known[rows]))
        return torch.cat(found)


def shortest_ways(
    edges: Float[np.ndarray, "N N"], last: Float[np.ndarray, "N"], reach: float
) -> tuple[Float[np.ndarray, "N"], Int[np.ndarray, "N"]]:
    """Returns how long the shortest way from each node to a goal is, and which node follows on it.

    Args:
        edges: From each node (row) to each other [actions].
        last: From each node to the goal [actions].
        reach: Edges are at most so long [actions].

    Returns:
        The lengths, infinite where there is no way, and the next nodes, -1 where the goal or nothing follows.
    """
    count = len(edges)
    graph = np.full((count + 1, count + 1), np.inf)  # backwards: from the goal, the last one, to all others
    graph[:count, :count], graph[count, :count] = edges.T, last
    np.fill_diagonal(graph, np.inf)
    there = graph <= reach
    rows, columns = np.nonzero(there)
    sparse = csr_array((graph[there].clip(_LEAST), (rows, columns)), shape=graph.shape)
    lengths, before = dijkstra(sparse, indices=count, return_predecessors=True)
    following = np.where((before[:count] == count) | (before[:count] < 0), -1, before[:count])
    return lengths[:count], following
