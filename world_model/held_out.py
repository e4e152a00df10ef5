"""Errors of a world model on windows it was not trained on, beside what copying and wrong actions would score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from world_model.batches import Batch, WindowBatches
from world_model.clips import Windows
from world_model.vjepa2_ac import VJEPA2AC


@torch.no_grad()
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
    numbers = np.unique(np.linspace(0, len(windows) - 1, min(limit, len(windows))).round().astype(np.int64))
    others = np.roll(numbers, max(1, len(numbers) // 2))
    device, was_training = model.action_mean.device, model.training
    model.eval()
    sums: dict[str, float] = {}
    for first in range(0, len(numbers), batch):
        chosen = slice(first, first + batch)
        true = batches.gather(windows, numbers[chosen]).to(device)
        shuffled = batches.gather(windows, others[chosen]).actions.to(device)
        for name, value in _window_errors(model, true, shuffled).items():
            sums[name] = sums.get(name, 0.0) + value * len(true.poses)
    model.train(was_training)
    return {name: value / len(numbers) for name, value in sums.items()}


def _window_errors(model: VJEPA2AC, true: Batch, shuffled: Float[Tensor, "B T-1 A"]) -> dict[str, float]:
    """Returns the mean errors of one batch of windows."""
    tokens = true.tokens.float()
    copies = (tokens[:, :-1], tokens[:, :1].expand_as(tokens[:, 1:]))
    errors = {"": _forecasts(model, tokens, true.actions, true.poses), "_copy": copies}
    errors["_shuffled"] = _forecasts(model, tokens, shuffled, true.poses)
    measured = {}
    for name, (forced, rolled) in errors.items():
        measured[f"teacher_forcing{name}"] = (forced - tokens[:, 1:]).abs().mean().item()
        by_step = (rolled - tokens[:, 1:]).abs().mean(dim=(0, 2, 3)).tolist()  # (T-1,)
        measured |= {f"rollout{name}_{step}": value for step, value in enumerate(by_step, start=1)}
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
