"""The cross-entropy method as V-JEPA 2-AC's own planner runs it, for comparison and for published settings."""

from __future__ import annotations

import time

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spec import ActionSpec
from planner.base import Plan, Score, check_guesses, cost_or_worst
from planner.search.sampling_config import OfficialCEMConfig


class OfficialCEM:
    """Fits a diagonal Gaussian to the best samples and returns its mean; the official planner's arithmetic.

    Solves what `CEM` solves. Differences: no warm start (the guesses are ignored), no kept elites, no least
    deviation, the *mean* is returned rather than the best sequence ever scored, and gripper
    changes under a dead zone become none. Dimensions that the spec fixes are not searched. Noise is drawn iteration by
    iteration and, within one, step by step, (samples, searched dimensions) each. With a last-frame L1 objective the
    same noise gives the official planner's action.

    Source: the official notebook's CEM and V-JEPA 2 (arXiv 2506.09985), section 3.2.
    """

    def __init__(self, config: OfficialCEMConfig | None = None) -> None:
        """Takes the settings; None for the defaults."""
        self.config = config or OfficialCEMConfig()
        self.horizon = self.config.horizon

    def plan(
        self,
        score: Score,
        spec: ActionSpec,
        guesses: Float[Tensor, "G H A"],
        generator: torch.Generator,
        deadline: float | None = None,
    ) -> Plan:
        """See `Planner.plan`. The first iteration always runs; the last step scores the mean alone."""
        check_guesses(guesses, self.horizon, spec)
        config = self.config
        low, high = guesses.new_tensor(spec.low), guesses.new_tensor(spec.high)
        gripper = torch.tensor([name == "gripper" for name in spec.names], device=low.device)
        mean_momentum, std_momentum = self._momenta(gripper, low)
        mean = torch.zeros_like(low).clamp(low, high).repeat(self.horizon, 1)
        std = torch.where(gripper, torch.full_like(high, config.gripper_std), high)
        std = torch.where(low == high, torch.zeros_like(std), std).repeat(self.horizon, 1)
        costs: list[Tensor] = []
        for _ in range(config.iterations):
            start = time.monotonic()
            samples = (mean + std * self.draw_noise(low < high, low, generator)).clamp(low, high)
            elite_costs, order = cost_or_worst(score(samples).detach()).topk(config.elites, largest=False)
            elites = samples[order]
            mean = elites.mean(dim=0) * (1 - mean_momentum) + mean * mean_momentum
            std = elites.std(dim=0) * (1 - std_momentum) + std * std_momentum
            costs.append(elite_costs[0])
            if deadline is not None and 2 * time.monotonic() - start > deadline:
                break
        still = gripper & (mean.abs() < config.gripper_dead_zone)
        mean = torch.where(still & (low <= 0) & (high >= 0), torch.zeros_like(mean), mean)
        cost = float(score(mean[None])[0])
        return Plan(mean, cost, torch.stack(costs), len(costs) * config.samples + 1)

    def draw_noise(
        self, searched: Tensor, like: Float[Tensor, "A"], generator: torch.Generator
    ) -> Float[Tensor, "S H A"]:
        """Returns an iteration's standard normal noise, 0 where a dimension is not searched."""
        noise = like.new_zeros(self.config.samples, self.horizon, len(like))
        shape = (self.config.samples, int(searched.sum()))
        for step in range(self.horizon):
            drawn = torch.randn(shape, generator=generator, device=generator.device, dtype=like.dtype)
            noise[:, step, searched] = drawn.to(like.device)
        return noise

    def _momenta(self, gripper: Tensor, like: Tensor) -> tuple[Float[Tensor, "A"], Float[Tensor, "A"]]:
        """Returns the momenta of mean and deviation for each dimension."""
        config = self.config
        pairs = (
            (config.gripper_momentum_mean, config.momentum_mean),
            (config.gripper_momentum_std, config.momentum_std),
        )
        mean, std = (torch.where(gripper, like.new_tensor(ours), like.new_tensor(others)) for ours, others in pairs)
        return mean, std
