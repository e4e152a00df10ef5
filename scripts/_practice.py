"""Checkpoints that practise: what the programs share that record their attempts."""

from __future__ import annotations

import sys
from functools import cache

from world_model.checkpoint import load_checkpoint
from world_model.vjepa2_ac import VJEPA2AC


@cache
def load_critic(checkpoint: str) -> VJEPA2AC:
    """Returns a checkpoint with a critic, loaded once a process; ends the program without."""
    try:
        model = load_checkpoint(checkpoint)
        model.require_critic()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    return model


def check_practice(attempts: tuple[int, int], paces: tuple[float, ...], frames: int) -> None:
    """Raises ValueError for numbers of own actions or paces (shares) that no episode of so many frames can have."""
    if not 0 <= attempts[0] <= attempts[1] < frames:
        raise ValueError(f"attempts are two numbers of actions, rising and below frames, got {attempts}")
    if not paces:
        raise ValueError("paces are at least one share in (0, 1], got none")
