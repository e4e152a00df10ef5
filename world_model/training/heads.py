"""Training on a finished encoder's latents: what recordings say of the way to a goal, and what comes of actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
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
from world_model.heads.macros import MACRO_DYNAMICS, MacroDynamics, MacroErrors
from world_model.heads.subgoals import SUBGOAL_GENERATOR, SubgoalGenerator, SubgoalGeneratorConfig
from world_model.heads.transitions import TRANSITION_ENERGY, ComparedWays, TransitionEnergy
from world_model.heads.ways import INVERSE_DYNAMICS, TEMPORAL_DISTANCE, InverseDynamics, TemporalDistance
from world_model.heads.ways_config import MacroDynamicsConfig, TemporalDistanceConfig, TransitionEnergyConfig
from world_model.training.compact import make_inverse_dynamics
from world_model.training.contrast import Others
from world_model.training.heads_config import HeadsConfig
from world_model.training.hindsight import MEASURED, SAME, HindsightPairs, Pairs, Rollouts
from world_model.training.loop import Report, clip_gradients, learning_rate_factor, make_adamw, set_learning_rate
from world_model.training.run import run_steps

_JUDGED = 2048  # held-out pairs, or rollouts
_MACROS = 2  # one after another that are learnt from at once, as a search looks ahead


class HeadsTrainer:
    """Heads of a compact model, and dynamics that go on learning, in training.

    Of a frame t and a goal n >= 0 frames after it in the same episode::

        L = CE(n | z_t, s_t, z_{t+n}) + CE(mode of a_t | .., n) + 4 |a_t - its mode's| + mean_e CE_e(n | z_t, z_{t+n})
            + w mean_h |f(... f(z_t, s_t, a_t) ..., a_{t+h-1}) - z_{t+h}|^2      h = 1 .. H, predictions fed back
            + 2 |v(x_tau, tau | z_t, s_t, z_{t+n}, n) - (x_1 - x_0)|^2           x_1: the next frames, x_0: noise
            + mean_h CE(a_t .. a_{t+h-1} among these and others | exp(-sum_i E(z_i-1, s_i-1, z_i, s_i, z_{t+n}, n - i)))
            + mean_i |g(.., m_i) - [z; s]_{t+iK}|^2         m_i = e(a_{t+(i-1)K} .. a_{t+iK-1}), predictions fed back

    Each head that is told a goal also learns to read the arm's pose in z_t and z_{t+n}, and to tell n; n of another
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
            macros = MacroDynamics(MacroDynamicsConfig(*sizes, model.action_spec.size, config.macros)).to(self.device)
        self.split = split_episodes(len(latents), config.held_out, config.seed)
        ahead = config.subgoals.ahead if "subgoals" in config.learn else 0
        first = config.contrast_steps if "transition_energy" in config.learn else 1
        self.training, self.held_out = (
            HindsightPairs(model, latents, recorded, part, config.furthest, ahead, first)
            for part in (self.split.training, self.split.held_out)
        )
        self.parts: dict[str, nn.Module] = {}
        self.inverse = self.distance = self.subgoals = self.energy = self.macros = None
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
                drawn = self.training.draw(MEASURED, np.random.default_rng(config.seed))
                subgoals.fit(drawn.now, drawn.ways)
            self.subgoals = self.parts[SUBGOAL_GENERATOR] = subgoals
        if "transition_energy" in config.learn:
            energy.judge.restrict(bounded[1] if self._begin(TRANSITION_ENERGY, energy) else used)
            self.energy = self.parts[TRANSITION_ENERGY] = energy
        if "macros" in config.learn:
            self._begin(MACRO_DYNAMICS, macros)
            self.macros = self.parts[MACRO_DYNAMICS] = macros
        if "dynamics" in config.learn:
            self.parts["dynamics"] = model.dynamics.train().requires_grad_(True)
        self.optimizer = make_adamw(tuple(self.parts.values()), config.learning_rate, config.weight_decay)

    def _begin(self, name: str, head: Head) -> bool:
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
        if self.macros is not None:
            losses["macros"] = self._macro_errors(self.macros, self.training, config.batch, generator).total
        return losses

    def _macro_errors(
        self, macros: MacroDynamics, recordings: HindsightPairs, count: int, generator: np.random.Generator
    ) -> MacroErrors:
        """Returns how wrong macros, one after another, are of so many recorded ways."""
        length = macros.config.shape.actions
        ways = recordings.rollouts(count, _MACROS * length, generator)
        ends = np.arange(_MACROS + 1) * length
        poses = recordings.normalised_poses(ways.frames[:, None] + ends)
        return macros.errors(ways.latents[:, ends], poses, self.model.normalise_actions(ways.actions))

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
        recorded = self.training.pairs(frames, generator.integers(np.minimum(wrong > SAME, most), most + 1))
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
        not change; "macro" is that of latents after two macros, beside "macro_copy".
        """
        config, generator, measured = self.config, np.random.default_rng(self.config.seed), {}
        pairs = self.held_out.draw(_JUDGED, generator)
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
            rollouts = self.held_out.rollouts(_JUDGED, config.rollout_steps, generator)
            start, end = rollouts.latents[:, 0], rollouts.latents[:, -1]
            predicted, _ = self.model.unroll(start, rollouts.poses, rollouts.actions)
            measured["rollout"] = (predicted[:, -1] - end).square().mean().item()
            measured["rollout_copy"] = (start - end).square().mean().item()
        if self.macros is not None:
            errors = self._macro_errors(self.macros, self.held_out, _JUDGED, generator)
            measured |= {"macro": errors.last.item(), "macro_copy": errors.copied.item()}
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
