"""Errors of a world model on windows it was not trained on, beside what copying and wrong actions would score."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from world_model.data.batches import Batch, WindowBatches
from world_model.data.clips import Windows
from world_model.vjepa2_ac import VJEPA2AC


def held_out_errors(
    model: VJEPA2AC, batches: WindowBatches, windows: Windows, limit: int, batch: int = 32
) -> dict[str, float]:
    """Returns mean absolute errors over layer-normed tokens, evenly chosen windows, at most `limit`.

    "teacher_forcing": of one step from measured frames. "rollout_h": of step h when predictions are fed back from a
    window's first frame on, h = 1 .. frames - 1. Each also with "_copy" (the last measured frame stands for the
    prediction) and "_shuffled" (the actions of another window, the poses its own): a model is of use when it is below
    the first, and has learnt what actions do when it is below the second.

    Args:
        model: Judged in eval mode, on the device it is on.
        batches: Gives the windows.
        windows: Of held-out episodes, one frame longer than the horizon.
        limit: Windows to take at most.
        batch: Windows a pass.
    """
    errors = errors_of_windows(model, batches, windows, choose_windows(windows, limit), batch)
    return {name: float(values.mean()) for name, values in errors.items()}


def choose_windows(windows: Windows, limit: int) -> Int[np.ndarray, " W"]:
    """Returns the numbers of at most `limit` windows, evenly spread."""
    return np.unique(np.linspace(0, len(windows) - 1, min(limit, len(windows))).round().astype(np.int64))


@torch.no_grad()
def errors_of_windows(
    model: VJEPA2AC,
    batches: WindowBatches,
    windows: Windows,
    numbers: Int[np.ndarray, " W"],
    batch: int = 32,
    report: Callable[[int], object] = int,
) -> dict[str, Float[np.ndarray, " W"]]:
    """Returns each numbered window's errors, named as `held_out_errors` names their means.

    Args:
        model: Judged in eval mode, on the device it is on.
        batches: Gives the windows.
        windows: Of held-out episodes, one frame longer than the horizon.
        numbers: The windows to take; the actions of one stand for another's where they are shuffled.
        batch: Windows a pass.
        report: Called with the number of windows that each pass added.
    """
    others = np.roll(numbers, max(1, len(numbers) // 2))
    device, was_training = model.action_mean.device, model.training
    model.eval()
    parts: list[dict[str, Tensor]] = []
    for first in range(0, len(numbers), batch):
        chosen = slice(first, first + batch)
        true = batches.gather(windows, numbers[chosen]).to(device)
        shuffled = batches.gather(windows, others[chosen]).actions.to(device)
        parts.append(_window_errors(model, true, shuffled))
        report(len(true.poses))
    model.train(was_training)
    return {name: torch.cat([part[name] for part in parts]).double().cpu().numpy() for name in parts[0]}


def _window_errors(model: VJEPA2AC, true: Batch, shuffled: Float[Tensor, "B T-1 A"]) -> dict[str, Float[Tensor, "B"]]:
    """Returns the errors of each window of a batch."""
    tokens = true.tokens.float()
    copies = (tokens[:, :-1], tokens[:, :1].expand_as(tokens[:, 1:]))
    errors = {"": _forecasts(model, tokens, true.actions, true.poses), "_copy": copies}
    errors["_shuffled"] = _forecasts(model, tokens, shuffled, true.poses)
    measured = {}
    for name, (forced, rolled) in errors.items():
        measured[f"teacher_forcing{name}"] = (forced - tokens[:, 1:]).abs().mean(dim=(1, 2, 3))
        by_step = (rolled - tokens[:, 1:]).abs().mean(dim=(2, 3))  # (B, T-1)
        measured |= {f"rollout{name}_{step}": values for step, values in enumerate(by_step.unbind(1), start=1)}
    return measured


def _forecasts(
    model: VJEPA2AC, tokens: Tensor, actions: Tensor, poses: Tensor
) -> tuple[Float[Tensor, "B T-1 N D"], Float[Tensor, "B T-1 N D"]]:
    """Returns the predictions of frames 1 .. T-1 from measured frames, and from frame 0 with predictions fed back."""
    forced, cache = model._predict(tokens[:, :-1], actions, poses[:, :-1], None)
    rolled, cache = [forced[:, :1]], cache.first(1)
    for step in range(1, actions.shape[1]):
        now = slice(step, step + 1)
        latent, cache = model._predict(rolled[-1], actions[:, now], poses[:, now], cache)
        rolled.append(latent)
    return forced, torch.cat(rolled, dim=1)


@torch.no_grad()
def latent_errors(
    latents: Float[Tensor, "B T D"], rolled: Float[Tensor, "B H D"], shuffled: Float[Tensor, "B H D"]
) -> dict[str, float]:
    """Returns errors of rollouts from a window's first frame, and what the latents are like.

    "rollout_h": mean squared error of step h, with "_copy" (the first frame stands for the prediction) and "_shuffled"
    (another window's actions) beside; "variance": of the latents, the mean over dimensions; "rank": their effective
    rank, see `effective_rank`.

    Args:
        latents: Of the windows' frames, more than H.
        rolled: What is predicted of the frames after the first, by the windows' own actions.
        shuffled: The same by other windows' actions.
    """
    measured = {}
    for step in range(1, rolled.shape[1] + 1):
        forecasts = {"": rolled[:, step - 1], "_copy": latents[:, 0], "_shuffled": shuffled[:, step - 1]}
        for name, forecast in forecasts.items():
            measured[f"rollout{name}_{step}"] = (forecast - latents[:, step]).square().mean().item()
    covariance = torch.cov(latents.flatten(0, 1).T)
    return {**measured, "variance": covariance.diagonal().mean().item(), "rank": effective_rank(covariance)}


def effective_rank(covariance: Float[Tensor, "D D"]) -> float:
    """Returns exp(-sum p ln p), p the eigenvalues' shares: 1 if all varies along one line, at most D."""
    shares = torch.linalg.eigvalsh(covariance).clamp_min(1e-12)
    shares = shares / shares.sum()
    return (-(shares * shares.log()).sum()).exp().item()


def format_errors(errors: Mapping[str, float]) -> str:
    """Returns the errors as a small table: one row a forecast, one column the model and each baseline."""
    rows = [name for name in errors if not name.startswith(("teacher_forcing_", "rollout_copy", "rollout_shuffled"))]
    lines = [f"{'held-out L1':<16}{'model':>9}{'copy':>9}{'shuffled':>10}"]
    for row in rows:
        kind, _, step = row.rpartition("_") if row.startswith("rollout") else (row, "", "")
        values = [errors[f"{kind}{suffix}{f'_{step}' if step else ''}"] for suffix in ("", "_copy", "_shuffled")]
        name = f"rollout step {step}" if step else "teacher forcing"
        lines.append(f"{name:<16}{values[0]:>9.4f}{values[1]:>9.4f}{values[2]:>10.4f}")
    return "\n".join(lines)
