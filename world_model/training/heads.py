"""Training on a finished encoder's latents: what recordings say of the way to a goal, and what comes of actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor, nn

from world_model.checkpoints.checkpoint import Head, Manifest, find_head, save_with_history
from world_model.compact import CompactModel
from world_model.data.batches import RecordedWindows
from world_model.data.clips import split_episodes
from world_model.device import autocast, resolve_precision
from world_model.finite import check_measured
from world_model.gripper_modes import gripper_modes, in_gripper_modes
from world_model.heads.action_modes import STILL
from world_model.heads.bank import HEAD, Bank, spread
from world_model.heads.subgoals import SUBGOAL_GENERATOR, SubgoalGenerator, SubgoalGeneratorConfig
from world_model.heads.transitions import TRANSITION_ENERGY, ComparedWays, TransitionEnergy
from world_model.heads.ways import (
    APART,
    INVERSE_DYNAMICS,
    TEMPORAL_DISTANCE,
    UNRELATED,
    InverseDynamics,
    TemporalDistance,
)
from world_model.heads.ways_config import TemporalDistanceConfig, TransitionEnergyConfig
from world_model.training.compact import make_inverse_dynamics
from world_model.training.contrast import Others
from world_model.training.heads_config import HeadsConfig
from world_model.training.loop import Report, clip_gradients, learning_rate_factor, make_adamw, set_learning_rate
from world_model.training.run import run_steps

JUDGED_PAIRS = 2048
_MEASURED = 20_000  # pairs from which it is learnt how much frames change
_DRAWN, _NEAREST = 64, 32  # frames that goals of other episodes are chosen among: any, and those of the nearest poses
_SAME = 0.2  # squared difference of latents up to which a goal counts as reached: Fetch's block is 3 to 4 cm off
_DONE_ALIKE = (32, 256, 1024)  # frames that one of a like pose is chosen among, whose actions are compared
_THERE = 16  # of one pair in so many the distance is asked from a frame to itself


class Pairs(NamedTuple):
    """Frames and goals that were reached from them; latents as they are, the rest normalised.

    Attributes:
        now: Latents of the frames.
        goals: Latents of the goals.
        poses: Of the frames and of the goals.
        actions: The first ones of each; beyond the goal they do not count.
        counts: Actions to each goal; 0 where it is the frame itself, `UNRELATED` where it is another episode's.
        episodes: Which episodes the frames are of.
        ways: Latents of the frames after 1 .. K actions, of the goal from there on.
    """

    now: Float[Tensor, "B Z"]
    goals: Float[Tensor, "B Z"]
    poses: Float[Tensor, "2 B P"]
    actions: Float[Tensor, "B H A"]
    counts: Int[Tensor, "B"]
    episodes: Int[Tensor, "B"]
    ways: Float[Tensor, "B K Z"]


class Rollouts(NamedTuple):
    """Actions that recordings took, and the frames that came of them; latents as they are, the rest physical.

    Attributes:
        frames: Places of the frames that they begin at.
        poses: Of these frames.
        actions: The recorded ones.
        latents: Of these frames, and of those that followed.
    """

    frames: Int[np.ndarray, "B"]
    poses: Float[Tensor, "B P"]
    actions: Float[Tensor, "B H A"]
    latents: Float[Tensor, "B H+1 Z"]


class HindsightPairs:
    """Draws pairs of frames, the later of which is a goal that was reached, and what was done from frames on.

    Args:
        model: Whose latents and statistics they are.
        latents: Of every episode's frames.
        recorded: Poses and actions of the episodes.
        episodes: To draw from.
        furthest: Actions to a goal at most.
        ahead: Frames of the way to a goal that are drawn with it, K.
        first: Actions of the way that are drawn with it, H.

    Raises:
        ValueError: If no episode has an action.
    """

    def __init__(
        self,
        model: CompactModel,
        latents: Sequence[Float[Tensor, "T Z"]],
        recorded: RecordedWindows,
        episodes: Sequence[int],
        furthest: int,
        ahead: int = 0,
        first: int = 1,
    ) -> None:
        chosen = [episode for episode in episodes if len(latents[episode]) > 1]
        if not chosen:
            raise ValueError("no episode has two frames: there is no way to learn from")
        self.model, self.furthest, self.ahead, self.first = model, furthest, ahead, first
        self.latents = torch.cat([latents[episode] for episode in chosen])
        self.poses = torch.from_numpy(np.concatenate([recorded.poses[episode] for episode in chosen]))
        actions = [torch.from_numpy(recorded.actions[episode]) for episode in chosen]
        self.actions = torch.cat([torch.cat([each, torch.zeros_like(each[:1])]) for each in actions])
        self.left = np.concatenate([np.arange(len(latents[episode]) - 1, -1, -1) for episode in chosen])
        self.episodes = torch.from_numpy(np.repeat(chosen, [len(latents[episode]) for episode in chosen]))
        self.several = len(chosen) > 1
        self._used = model.free(self.normalised_actions)[1]  # the rest of a pose trembles
        self._tree = KDTree((self._normalised_poses(np.arange(len(self.latents))) * self._used).cpu().numpy())
        self._starts = cache(lambda actions: np.flatnonzero(self.left >= actions))  # frames that so many follow on
        frames = self._starts(1)[:: -(-len(self._starts(1)) // _MEASURED)]
        there = self._normalised_poses(frames)
        wrong = self._differing(self.latents[frames], there, frames[:, None] + 1)
        self._same = max(_SAME, wrong.quantile(0.9).item())  # what predictions are wrong by is no difference

    @property
    def normalised_actions(self) -> Float[Tensor, "F A"]:
        """All actions, one after another; of an episode's last frame zero."""
        return self.model.normalise_actions(self.actions.to(self.model.action_mean))

    def draw(self, count: int, generator: np.random.Generator) -> Pairs:
        """Returns so many pairs: any frame that is not its episode's last, any goal after it; one in 16 is there."""
        frames = generator.choice(self._starts(1), count)
        counts = generator.integers(1, np.minimum(self.furthest, self.left[frames]) + 1)
        counts[: count // _THERE] = 0
        return self.pairs(frames, counts)

    def pairs(self, frames: Int[np.ndarray, "B"], counts: Int[np.ndarray, "B"]) -> Pairs:
        """Returns pairs of frames at some places and those so many actions after."""
        ends, model = frames + counts, self.model
        each, going = frames[:, None], counts[:, None]
        device = model.action_mean.device
        return Pairs(
            self.latents[frames],
            self.latents[ends],
            model.normalise_poses(self.poses[np.stack([frames, ends])].to(device)),
            model.normalise_actions(self.actions[each + np.minimum(going, np.arange(self.first))].to(device)),
            torch.from_numpy(counts).to(device),
            self.episodes[frames].to(device),
            self.latents[each + np.minimum(going, np.arange(1, self.ahead + 1))],
        )

    def unrelated(self, pairs: Pairs, count: int, generator: np.random.Generator) -> Pairs:
        """Returns the frames of so many of the pairs with goals of other episodes, which are not near.

        A third of them is any, and a third has the pose that is nearest to the frame's of some that are drawn. A third
        is beside a goal that is near: of the frames of the nearest poses of all, that which differs from it most nearly
        as much as is drawn, from hardly to much. The hand is there, to a few millimetres, and something else is not.
        A goal where nothing else differs, see `_differing`, is left out, and another pair is there twice: held by the
        same hand, things of two episodes are an action apart. Of one episode there are none.
        """
        count = count if self.several else 0
        rows, near = generator.choice(len(pairs.now), count, replace=False), np.flatnonzero(pairs.counts.cpu() < APART)
        beside = slice(2, None, 3)
        if len(near):
            rows[beside] = generator.choice(near, len(rows[beside]))
        like, poses, episodes = pairs.now[rows], pairs.poses[0, rows], pairs.episodes[rows]
        like[beside], poses[beside] = pairs.goals[rows[beside]], pairs.poses[1, rows[beside]]
        drawn = generator.integers(len(self.latents), size=(count, _DRAWN))
        apart = self._apart(drawn, poses, episodes)
        goals = _chosen(drawn, apart.isinf().float())
        goals[1::3] = _chosen(drawn[1::3], apart[1::3])
        drawn = self._nearest(poses[beside])
        differs = self._differing(like[beside], poses[beside], drawn)
        asked = self._same ** torch.from_numpy(generator.random((len(drawn), 1))).to(differs)
        unlike = (differs / asked).log().abs()  # evenly from as good as the same to far
        unlike[(differs < self._same) | self._apart(drawn, poses[beside], episodes[beside]).isinf()] = torch.inf
        goals[beside] = _chosen(drawn, unlike)
        other = self.episodes[goals].to(episodes) != episodes
        differs = self._differing(like, poses, goals[:, None])[:, 0] >= self._same
        kept = np.flatnonzero((other & differs).cpu().numpy())
        kept = np.resize(kept, count if len(kept) else 0)  # layers are compiled anew for each number of rows (oneDNN)
        rows, goals = rows[kept], goals[kept]
        return pairs._replace(
            now=pairs.now[rows],
            goals=self.latents[goals],
            poses=torch.stack([pairs.poses[0, rows], self._normalised_poses(goals)]),
            actions=pairs.actions[rows],
            counts=torch.full_like(pairs.counts[rows], UNRELATED),
            episodes=pairs.episodes[rows],
            ways=pairs.ways[rows],
        )

    def _nearest(self, poses: Float[Tensor, "B P"]) -> Int[np.ndarray, "B N"]:
        """Returns the frames of the nearest poses."""
        among = min(_NEAREST, len(self.latents))
        return np.reshape(self._tree.query((poses * self._used).cpu().numpy(), among)[1], (len(poses), among))

    @torch.no_grad()
    def _differing(
        self, latents: Float[Tensor, "B Z"], poses: Float[Tensor, "B P"], frames: Int[np.ndarray, "B N"]
    ) -> Float[Tensor, "B N"]:
        """Returns how much frames look otherwise than what the action to their poses is predicted to lead to.

        So it is what else than the hand, and what it holds, has another place.

        Args:
            latents: To go from.
            poses: There, normalised.
            frames: N for each.
        """
        model, (count, among) = self.model, frames.shape
        start = model.poses_at(poses).repeat_interleave(among, 0)
        low, high = (start.new_tensor(bound) for bound in (model.action_spec.low, model.action_spec.high))
        way = model.motion.difference(start, self.poses[frames.ravel()].to(start)).clamp(low, high)
        led = model.predict(latents.repeat_interleave(among, 0), start, way).float()
        return (led - self.latents[frames.ravel()]).square().mean(dim=1).unflatten(0, (count, among))

    def _normalised_poses(self, frames: Int[np.ndarray, "*B"]) -> Float[Tensor, "*B P"]:
        """Returns the poses at some places."""
        return self.model.normalise_poses(self.poses[frames].to(self.model.action_mean.device))

    def _apart(
        self, frames: Int[np.ndarray, "B N"], poses: Float[Tensor, "B P"], episodes: Int[Tensor, "B"]
    ) -> Float[Tensor, "B N"]:
        """Returns squared distances of N frames' poses from each, in what moves; endless for frames of its episode."""
        apart = ((self._normalised_poses(frames) - poses[:, None]) * self._used).square().sum(-1)
        return apart.masked_fill(self.episodes[frames].to(poses.device) == episodes[:, None], torch.inf)

    def alike(
        self, poses: Float[Tensor, "B P"], episodes: Int[Tensor, "B"], generator: np.random.Generator
    ) -> Float[Tensor, "B S H A"]:
        """Returns what was done from frames of like poses, of other episodes: each the nearest of some that are drawn.

        Args:
            poses: Normalised.
            episodes: Which they are of.
            generator: Draws frames.
        """
        drawn = generator.choice(self._starts(1), (len(poses), max(_DONE_ALIKE)))
        apart = self._apart(drawn, poses, episodes)
        nearest = torch.stack([apart[:, :among].argmin(dim=1) for among in _DONE_ALIKE], dim=1).cpu().numpy()
        frames = drawn[np.arange(len(drawn))[:, None], nearest]  # (B, S)
        ahead = np.minimum(np.arange(self.first), self.left[frames][:, :, None] - 1)  # a last action is done again
        return self.actions[frames[:, :, None] + ahead].to(poses)

    def rollouts(self, count: int, steps: int, generator: np.random.Generator) -> Rollouts:
        """Returns so many recorded rollouts.

        Raises:
            ValueError: If no episode is as long.
        """
        starts = self._starts(steps)
        if not len(starts):
            raise ValueError(f"no episode has {steps} actions, what rollout_steps asks for")
        frames = generator.choice(starts, count)
        ahead, device = frames[:, None] + np.arange(steps + 1), self.model.action_mean.device
        poses, actions = self.poses[frames].to(device), self.actions[ahead[:, :-1]].to(device)
        return Rollouts(frames, poses, actions, self.latents[ahead])


def _chosen(frames: Int[np.ndarray, "B N"], unlike: Float[Tensor, "B N"]) -> Int[np.ndarray, "B"]:
    """Returns of each row's frames the least unlike, the first of several."""
    return np.take_along_axis(frames, unlike.cpu().numpy().argmin(axis=1)[:, None], axis=1)[:, 0]


class HeadsTrainer:
    """Inverse dynamics, temporal distance, subgoals, transition energy, and dynamics that go on learning, in training.

    Of a frame t and a goal n >= 0 frames after it in the same episode::

        L = CE(n | z_t, s_t, z_{t+n}) + CE(mode of a_t | .., n) + 4 |a_t - its mode's| + mean_e CE_e(n | z_t, z_{t+n})
            + w mean_h |f(... f(z_t, s_t, a_t) ..., a_{t+h-1}) - z_{t+h}|^2      h = 1 .. H, predictions fed back
            + 2 |v(x_tau, tau | z_t, s_t, z_{t+n}, n) - (x_1 - x_0)|^2           x_1: the next frames, x_0: noise
            + mean_h CE(a_t .. a_{t+h-1} among these and others | exp(-sum_i E(z_i-1, s_i-1, z_i, s_i, z_{t+n}, n - i)))

    Each of the heads also learns to read the arm's pose in z_t and z_{t+n}, and the last two to tell n; n of another
    episode's goal is unknown but not small, see `APART`, and no way to it is known. Some of the z_t are such
    predictions, from h frames before, and their s_t what the actions lead to. What learns begins as the parent's, if
    that has it in the same shape. Or else the generator of subgoals and the transition energy begin by comparing
    frames with goals as the parent's inverse dynamics do.

    Source: hindsight relabelling (arXiv 1707.01495); what a planner tried as data (Dyna, Sutton 1991). What happens in
    a step is fixed by the seed and its number.

    Args:
        config: The run's.
        model: Frozen but for the dynamics, if these are to go on learning.
        latents: Of every episode's frames.
        recorded: Poses and actions of the episodes.
    """

    def __init__(
        self,
        config: HeadsConfig,
        model: CompactModel,
        latents: Sequence[Float[Tensor, "T Z"]],
        recorded: RecordedWindows,
    ) -> None:
        self.config, self.model, self.device = config, model, model.action_mean.device
        self.precision: Literal["bf16", "fp32"] = resolve_precision(config.precision, self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            inverse = make_inverse_dynamics(model, config.inverse_dynamics).to(self.device)
            sizes = latents[0].shape[1], model.pose_numbers
            distance = TemporalDistance(TemporalDistanceConfig(*sizes, config.temporal_distance)).to(self.device)
            subgoals = SubgoalGenerator(SubgoalGeneratorConfig(*sizes, config.subgoals)).to(self.device)
            energy = TransitionEnergy(TransitionEnergyConfig(*sizes, config.transition_energy)).to(self.device)
        self.split = split_episodes(len(latents), config.held_out, config.seed)
        ahead = config.subgoals.ahead if "subgoals" in config.learn else 0
        first = config.contrast_steps if "transition_energy" in config.learn else 1
        self.training, self.held_out = (
            HindsightPairs(model, latents, recorded, part, config.furthest, ahead, first)
            for part in (self.split.training, self.split.held_out)
        )
        self.parts: dict[str, nn.Module] = {}
        self.inverse = self.distance = self.subgoals = self.energy = None
        actions = self.training.normalised_actions
        (moved, used), bounded = model.free(actions), model.free()  # the parent's heads know what moves
        parent = find_head(model, INVERSE_DYNAMICS, InverseDynamics)
        self._moved = moved if parent is None else bounded[0] * parent.free
        self._rest = model.rest
        self._others = self._make_others()
        if "inverse_dynamics" in config.learn:
            if self._begin(INVERSE_DYNAMICS, inverse):
                inverse.restrict(*bounded)
            else:
                inverse.restrict(moved, used)
                inverse.fit(actions, config.seed)
            self.inverse = self.parts[INVERSE_DYNAMICS] = inverse
        if "temporal_distance" in config.learn:
            distance.restrict(bounded[1] if self._begin(TEMPORAL_DISTANCE, distance) else used)
            self.distance = self.parts[TEMPORAL_DISTANCE] = distance
        if "subgoals" in config.learn:
            known = self._begin(SUBGOAL_GENERATOR, subgoals)
            subgoals.judge.restrict(bounded[1] if known else used)
            if not known:
                drawn = self.training.draw(_MEASURED, np.random.default_rng(config.seed))
                subgoals.fit(drawn.now, drawn.ways)
            self.subgoals = self.parts[SUBGOAL_GENERATOR] = subgoals
        if "transition_energy" in config.learn:
            energy.judge.restrict(bounded[1] if self._begin(TRANSITION_ENERGY, energy) else used)
            self.energy = self.parts[TRANSITION_ENERGY] = energy
        if "dynamics" in config.learn:
            self.parts["dynamics"] = model.dynamics.train().requires_grad_(True)
        self.optimizer = make_adamw(tuple(self.parts.values()), config.learning_rate, config.weight_decay)

    def _begin(self, name: str, head: InverseDynamics | TemporalDistance | SubgoalGenerator | TransitionEnergy) -> bool:
        """Begins with the parent's, if of the same shape, or else with what its inverse dynamics read and compare.

        Returns whether with the parent's.
        """
        before = find_head(self.model, name, type(head))
        known = find_head(self.model, INVERSE_DYNAMICS, InverseDynamics)
        if before is not None and before.config == head.config:
            head.load_state_dict(before.state_dict())
            return True
        if (
            known is not None
            and isinstance(head, SubgoalGenerator | TransitionEnergy)
            and known.config.shape.judge == head.config.shape.judge
        ):
            head.judge.load_state_dict(known.judge.state_dict())
        return False

    def _make_others(self) -> Others:
        """Returns what draws actions beside recorded ones."""
        model, spec, modes = self.model, self.model.action_spec, gripper_modes(self.model.action_spec)
        low, high = (model.normalise_actions(model.action_mean.new_tensor(bound)) for bound in (spec.low, spec.high))
        gripper = None
        if modes is not None:
            index, values = modes
            gripper = index, (model.action_mean.new_tensor(values) - model.action_mean[index]) / model.action_std[index]
        return Others(self._moved, low, high, self._rest, gripper)

    @property
    def heads(self) -> dict[str, Head]:
        """What learns of them, by name."""
        return {name: part for name, part in self.parts.items() if isinstance(part, Head)}

    def step(self, step: int) -> dict[str, float]:
        """Takes one optimiser step; returns its losses, and when due those of held-out pairs. See `Trainer.step`."""
        config = self.config
        share = learning_rate_factor(step, config.steps, config.warmup, "cosine", config.final_learning_rate)
        set_learning_rate(self.optimizer, config.learning_rate * share)
        generator = np.random.default_rng((config.seed, step))
        with torch.random.fork_rng(devices=[]), autocast(self.precision, self.device):
            torch.manual_seed(config.seed * 1_000_003 + step)  # of noise and dropout
            losses = self.losses(generator)
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values(), torch.zeros((), device=self.device)).backward()
        norm = clip_gradients([each for part in self.parts.values() for each in part.parameters()], config.clip)
        measured = {name: loss.item() for name, loss in losses.items()}
        check_measured({**measured, "the gradient's norm": norm.item()})  # before the weights change
        self.optimizer.step()
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            measured |= {f"held_out/{name}": value for name, value in self.evaluate().items()}
        return measured

    def losses(self, generator: np.random.Generator) -> dict[str, Float[Tensor, ""]]:
        """Returns the parts of the loss, weighted, by name."""
        config, losses = self.config, {}
        imagined = round(config.imagined * config.batch)
        pairs = self.training.draw(config.batch - imagined, generator)
        rollouts = self.training.rollouts(config.rollouts, config.rollout_steps, generator)
        predicted, poses = self.model.unroll(rollouts.latents[:, 0], rollouts.poses, rollouts.actions)
        if "dynamics" in self.parts:
            losses["dynamics"] = config.rollout_weight * (predicted - rollouts.latents[:, 1:]).square().mean()
        pairs = _join(pairs, self._imagined(rollouts, predicted.detach().float(), poses, imagined, generator))
        far = self.training.unrelated(pairs, round(config.unrelated * len(pairs.now)), generator)
        asked, blur = _join(pairs, far), config.blur
        now, goals = (each + config.noise * torch.randn_like(each) for each in (asked.now, asked.goals))
        if self.inverse is not None:
            first = asked.actions[:, 0]
            errors = self.inverse.errors(now, goals, asked.poses, asked.counts, first, self._rest, blur)
            losses["ways"] = errors.total
        if self.distance is not None:
            losses["distance"] = self.distance.errors(now, goals, asked.poses, asked.counts, blur)
        if self.subgoals is not None:
            losses["subgoals"] = self.subgoals.errors(now, goals, asked.poses, asked.counts, pairs.ways, blur).total
        if self.energy is not None:
            compared = pairs._replace(now=now[: config.batch], goals=goals[: config.batch])
            ways = self._ways(compared, self.training, generator)
            losses["energy"] = self.energy.errors(now, goals, asked.poses, asked.counts, ways, blur).total
        return losses

    def _imagined(
        self,
        rollouts: Rollouts,
        predicted: Float[Tensor, "B H Z"],
        poses: Float[Tensor, "B H P"],
        count: int,
        generator: np.random.Generator,
    ) -> Pairs:
        """Returns so many pairs whose frames are predicted ones; those that look wrong are not at their goals yet."""
        rows, steps = generator.integers(len(predicted), size=count), generator.integers(predicted.shape[1], size=count)
        frames = rollouts.frames[rows] + steps + 1
        wrong = (predicted - rollouts.latents[:, 1:]).square().mean(dim=-1)[rows, steps].cpu().numpy()
        most = np.minimum(self.config.furthest, self.training.left[frames])
        recorded = self.training.pairs(frames, generator.integers(np.minimum(wrong > _SAME, most), most + 1))
        there = torch.stack([self.model.normalise_poses(poses[rows, steps]), recorded.poses[1]])
        return recorded._replace(now=predicted[rows, steps], poses=there)

    @torch.no_grad()
    def _ways(self, pairs: Pairs, recordings: HindsightPairs, generator: np.random.Generator) -> ComparedWays:
        """Returns what recorded actions, and others beside them, are predicted to lead to from some of the frames."""
        recorded = self._in_modes(self.model.actions_of(pairs.actions))
        moves = ((recorded - self._rest).abs() * self._moved >= STILL).any(dim=2)  # (B, H)
        rows = torch.from_numpy(generator.permutation(np.flatnonzero((moves[:, 0] & (pairs.counts > 0)).cpu().numpy())))
        rows = rows[: self.config.contrasted].to(self.device)
        start, poses = pairs.now[rows], pairs.poses[0, rows]
        alike = self._in_modes(recordings.alike(poses, pairs.episodes[rows], generator))
        actions = self._others.beside(recorded[rows], alike, self.config.others)
        led = self._lead(start, poses, actions)
        differs = (actions[:, 1:] != actions[:, :1]).any(dim=3).cummax(dim=2).values
        compared = torch.cat([moves[rows][:, None], differs], dim=1)
        return ComparedWays(start, poses, pairs.goals[rows], pairs.counts[rows], *led, compared)

    def _in_modes(self, actions: Float[Tensor, "*B A"]) -> Float[Tensor, "*B A"]:
        """Returns actions normalised, the gripper in one of its modes, as planners act."""
        return self.model.normalise_actions(in_gripper_modes(actions, self.model.action_spec))

    def _lead(
        self, start: Float[Tensor, "B Z"], poses: Float[Tensor, "B P"], actions: Float[Tensor, "B C H A"]
    ) -> tuple[Float[Tensor, "B C H Z"], Float[Tensor, "B C H P"]]:
        """Returns the latents and poses that ways are predicted to lead to; poses and actions are normalised."""
        model, shape = self.model, actions.shape[:2]
        latents, led = model.unroll(
            start.repeat_interleave(shape[1], 0),
            model.poses_at(poses).repeat_interleave(shape[1], 0),
            model.actions_of(actions).flatten(0, 1),
        )
        return latents.float().unflatten(0, shape), model.normalise_poses(led).unflatten(0, shape)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Returns errors of what learns, on held-out recordings.

        Of inverse dynamics see `WayErrors`, and "mistaken" is how likely they take another episode's goal for
        nearer than it can be, see `APART`; "flow" is that of `SubgoalErrors`, "told" and "contrast" are
        those of `TransitionErrors`; "distance" [actions] is beside "distance_middle", that of the middle distance for
        all, and "rollout", the dynamics' mean squared error at the last step, beside "rollout_copy", that of what does
        not change.
        """
        config, generator, measured = self.config, np.random.default_rng(self.config.seed), {}
        pairs = self.held_out.draw(JUDGED_PAIRS, generator)
        for part in self.parts.values():
            part.eval()
        if self.inverse is not None:
            first = pairs.actions[:, 0]
            errors = self.inverse.errors(pairs.now, pairs.goals, pairs.poses, pairs.counts, first, self._rest)
            measured |= {name: value.item() for name, value in errors._asdict().items()}
        if self.subgoals is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)  # the flow's times
                errors = self.subgoals.errors(pairs.now, pairs.goals, pairs.poses, pairs.counts, pairs.ways)
            measured["flow"] = errors.flow.item()
        if self.energy is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)  # other actions
                ways = self._ways(pairs, self.held_out, generator)
            errors = self.energy.errors(pairs.now, pairs.goals, pairs.poses, pairs.counts, ways)
            measured |= {"contrast": errors.contrast.item(), "told": errors.told.item()}
        if self.distance is not None:
            counts = pairs.counts.clamp(max=config.temporal_distance.judge.longest).float()
            expected = self.distance.actions(pairs.now, pairs.goals, pairs.poses[0])
            measured["distance"] = (expected - counts).abs().mean().item()
            measured["distance_middle"] = (counts.median() - counts).abs().mean().item()
        if "dynamics" in self.parts:
            rollouts = self.held_out.rollouts(JUDGED_PAIRS, config.rollout_steps, generator)
            start, end = rollouts.latents[:, 0], rollouts.latents[:, -1]
            predicted, _ = self.model.unroll(start, rollouts.poses, rollouts.actions)
            measured["rollout"] = (predicted[:, -1] - end).square().mean().item()
            measured["rollout_copy"] = (start - end).square().mean().item()
        if self.inverse is not None and self.held_out.several:
            far = self.held_out.unrelated(pairs, len(pairs.now), generator)
            judge = self.inverse.judge
            near = judge(far.now, far.goals, far.poses[0]).logits.softmax(-1)[:, : judge.apart]
            measured["mistaken"] = near.sum(-1).mean().item()
        for part in self.parts.values():
            part.train()
        return measured

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs."""
        return {name: part.state_dict() for name, part in (*self.parts.items(), ("optimizer", self.optimizer))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name, part in (*self.parts.items(), ("optimizer", self.optimizer)):
            part.load_state_dict(state[name])


def _join(one: Pairs, other: Pairs) -> Pairs:
    """Returns the pairs of both."""
    parts = zip(Pairs._fields, one, other, strict=True)
    return Pairs(*(torch.cat([first, second], dim=int(name == "poses")) for name, first, second in parts))


def train_heads(
    config: HeadsConfig,
    model: CompactModel,
    latents: Sequence[Float[Tensor, "T Z"]],
    recorded: RecordedWindows,
    fingerprint: str,
    report: Report,
    provenance: Mapping[str, Any],
) -> Manifest | None:
    """Trains, or goes on training, saves the parent with what was learnt and returns the manifest; None if interrupted.

    Raises:
        ValueError: If parent, data and settings do not fit together.
        StateError: If the output directory holds the state of another run.
        DivergedError: If something is not finite, see `run_steps`.
    """
    trainer = HeadsTrainer(config, model, latents, recorded)
    if not run_steps(trainer, config, config.session, fingerprint, report):
        return None
    metrics = trainer.evaluate()
    model.freeze()
    if config.bank_frames:
        training = trainer.split.training
        chosen = [training[index] for index in spread([len(latents[each]) for each in training], config.bank_frames)]
        actions = [torch.from_numpy(recorded.actions[episode]) for episode in chosen]
        model.add_head(HEAD, Bank.of([latents[episode] for episode in chosen], actions))
    for name, head in trainer.heads.items():
        model.add_head(name, head.eval().requires_grad_(False))
    made = {**provenance, "metrics": metrics}
    return save_with_history(config.checkpoint_directory, model, config.parent, "heads", made)
