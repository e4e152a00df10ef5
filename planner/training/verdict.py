"""Whether a training run was worth it: what changed, how surely, and what that amounts to in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binomtest, t

from planner.evaluation.report import EpisodeRecord, wilson_interval

Effect = Literal["better", "worse", "unclear"]
SUCCESS = "success"


@dataclass(frozen=True)
class Change:
    """One measure after a run against the same before it, or against a baseline.

    Attributes:
        measure: What is measured.
        before: Its value before, for people; of a baseline, with its name.
        after: Its value after.
        effect: Whether the difference is beyond chance, at 95 %.
        difference: How much more it is than before; of an error as a share, see `Ratio`.
        interval: 95 % interval of the difference; None where there is none.
        detail: How sure that is, for people.
        baseline: Whether `before` is a baseline and not a parent.
    """

    measure: str
    before: str
    after: str
    effect: Effect
    difference: float
    interval: tuple[float, float] | None
    detail: str
    baseline: bool

    @property
    def sentence(self) -> str:
        """The change in words."""
        if self.baseline:
            return f"{self.measure} is {self.after}, {self.before} ({self.detail})"
        if self.before == self.after:
            return f"{self.measure} stayed at {self.after} ({self.detail})"
        return f"{self.measure} went from {self.before} to {self.after} ({self.detail})"


def episode_means(values: Float[np.ndarray, " W"], episodes: Int[np.ndarray, " W"]) -> Float[np.ndarray, " E"]:
    """Returns the mean of each episode's windows: they overlap and look alike, so episodes are what is counted."""
    return np.array([values[episodes == episode].mean() for episode in np.unique(episodes)])


def mean_interval(means: Float[np.ndarray, " E"]) -> tuple[float, float] | None:
    """Returns the 95 % t interval of a mean over episodes; None of a single one."""
    if len(means) < 2:
        return None
    half = float(t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))
    return float(means.mean()) - half, float(means.mean()) + half


@dataclass(frozen=True)
class Ratio:
    """By what share an error changed, -0.3 for 30 % less.

    Attributes:
        change: Of the typical episode: the geometric mean of the episodes' ratios, minus 1.
        interval: 95 % interval of it; None of a single episode.
        episodes: How many there are.
    """

    change: float
    interval: tuple[float, float] | None
    episodes: int

    def __str__(self) -> str:
        """Returns it for people."""
        if self.interval is None:
            return f"{self.change:+.0%}, one held-out episode gives no interval"
        low, high = self.interval
        return f"{self.change:+.0%}, 95 % interval {low:+.0%} to {high:+.0%}"


def error_ratio(
    after: Float[np.ndarray, " W"], before: Float[np.ndarray, " W"], episodes: Int[np.ndarray, " W"]
) -> Ratio:
    """Returns by what share errors changed, each episode counted once.

    Args:
        after: Error of each held-out window.
        before: The parent's, or a baseline's.
        episodes: Episode of each window.
    """
    logs = np.log(episode_means(after, episodes)) - np.log(episode_means(before, episodes))
    interval = mean_interval(logs)
    bounds = None if interval is None else (float(np.expm1(interval[0])), float(np.expm1(interval[1])))
    return Ratio(float(np.expm1(logs.mean())), bounds, len(logs))


def error_change(
    after: Float[np.ndarray, " W"],
    before: Float[np.ndarray, " W"],
    episodes: Int[np.ndarray, " W"],
    step: int,
    baseline: str | None,
) -> Change:
    """Returns how the rollout error at a step changed.

    Args:
        after: Error of each held-out window.
        before: The parent's, or a baseline's.
        episodes: Episode of each window.
        step: Of the rollout.
        baseline: What the baseline is called; None for the parent.
    """
    ratio = error_ratio(after, before, episodes)
    return Change(
        measure=f"held-out rollout error at step {step}",
        before=f"{baseline or ''} {before.mean():.4f}".strip(),
        after=f"{after.mean():.4f}",
        effect=_effect(ratio.interval),
        difference=ratio.change,
        interval=ratio.interval,
        detail=f"{ratio}, {ratio.episodes} held-out episodes" if ratio.interval else str(ratio),
        baseline=baseline is not None,
    )


def rank_change(
    after: Float[np.ndarray, " S"], before: Float[np.ndarray, " S"] | None, episodes: Int[np.ndarray, " S"]
) -> Change:
    """Returns how the share of random actions that look better than the true one changed.

    Args:
        after: Of each held-out step, 0 .. 1.
        before: The parent's; None compares with chance, 0.5.
        episodes: Episode of each step.
    """
    differences = after - (0.5 if before is None else before)
    means = episode_means(differences, episodes)
    interval, detail = mean_interval(means), f"{len(after)} steps, mean difference {100 * means.mean():+.1f} points"
    if interval is not None:
        detail += f", 95 % interval {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"
    return Change(
        measure="the median share of random actions that look better than the true one",
        before="chance is 50 %" if before is None else f"{100 * np.median(before):.1f} %",
        after=f"{100 * np.median(after):.1f} %",
        effect=_effect(interval),
        difference=float(means.mean()),
        interval=interval,
        detail=detail,
        baseline=before is None,
    )


def success_change(after: Sequence[EpisodeRecord], before: Sequence[EpisodeRecord], baseline: str | None) -> Change:
    """Returns how success at the end changed, by McNemar's exact test on the seeds that only one of them solved.

    Args:
        after: Episodes, in the order of the seeds.
        before: The parent's or a baseline's with the same seeds.
        baseline: What the baseline is called; None for the parent.
    """
    solved, earlier = ([record.successes[-1] for record in records] for records in (after, before))
    gained = sum(now and not then for now, then in zip(solved, earlier, strict=True))
    lost = sum(then and not now for now, then in zip(solved, earlier, strict=True))
    p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    effect: Effect = "unclear" if p >= 0.05 else "better" if gained > lost else "worse"
    return Change(
        measure=SUCCESS,
        before=f"{baseline or ''} {share_with_interval(sum(earlier), len(earlier))}".strip(),
        after=share_with_interval(sum(solved), len(solved)),
        effect=effect,
        difference=(gained - lost) / len(solved),
        interval=None,
        detail=f"{gained} seeds gained, {lost} lost, p = {p:.2g}",
        baseline=baseline is not None,
    )


def share_with_interval(count: int, n: int) -> str:
    """Returns a count of successes with its 95 % Wilson interval, for people."""
    low, high = wilson_interval(count, n)
    return f"{count}/{n} [{low:.0%} to {high:.0%}]"


def verdict(changes: Sequence[Change]) -> str:
    """Returns whether it was worth it, in a few words.

    Better in something and worse in nothing is worth it, but every baseline must be beaten, and where success was
    measured it must be among what became better: lower errors are a means.
    """
    effects = {change.effect for change in changes}
    needed = all(change.effect == "better" for change in changes if change.baseline or change.measure == SUCCESS)
    if {"better", "worse"} <= effects or ("better" in effects and not needed):
        return "Mixed"
    if "better" in effects:
        return "Worth it"
    return "Not worth it" if "worse" in effects else "No gain beyond chance"


def headline(changes: Sequence[Change]) -> str:
    """Returns the verdict and its reasons in one sentence."""
    return f"{verdict(changes)}: {'; '.join(change.sentence for change in changes)}."


def _effect(interval: tuple[float, float] | None) -> Effect:
    """Returns what an interval of a difference says, where less is better."""
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "unclear"
    return "better" if interval[1] < 0 else "worse"
