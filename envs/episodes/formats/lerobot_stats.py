"""The statistics LeRobot keeps beside its data: min, max, mean, std and count of each feature.

They are for its own readers. Normalisation here belongs to world_model and travels in the checkpoint.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8

STATS = ("min", "max", "mean", "std", "count")


def describe_images(images: UInt8[np.ndarray, "T h w 3"]) -> dict[str, Any]:
    """Returns statistics of each colour in 0..1, (3, 1, 1) as LeRobot stores them; count is frames."""
    colours = images.reshape(-1, 3)  # (T h w, 3)
    values = {
        "min": colours.min(axis=0) / 255,
        "max": colours.max(axis=0) / 255,
        "mean": colours.mean(axis=0) / 255,
        "std": colours.std(axis=0) / 255,
    }
    return {name: value.reshape(3, 1, 1).tolist() for name, value in values.items()} | {"count": [len(images)]}


def describe_values(values: Shaped[np.ndarray, "n ..."]) -> dict[str, Any]:
    """Returns the statistics of the rows of (n, d), as lists."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    stats = {name: getattr(rows, name)(axis=0).tolist() for name in ("min", "max", "mean", "std")}
    return stats | {"count": [len(rows)]}


def merge_images(parts: dict[str, list[Any]]) -> dict[str, Any]:
    """Returns the statistics of all frames from those of each episode (law of total variance)."""
    count = np.asarray(parts["count"], np.float64)[:, :, None, None]  # (E, 1, 1, 1) against (E, 3, 1, 1)
    mean, std = np.asarray(parts["mean"]), np.asarray(parts["std"])
    total = (count * mean).sum(0) / count.sum()
    variance = (count * (std**2 + (mean - total) ** 2)).sum(0) / count.sum()
    return {
        "min": np.asarray(parts["min"]).min(0).tolist(),
        "max": np.asarray(parts["max"]).max(0).tolist(),
        "mean": total.tolist(),
        "std": np.sqrt(variance).tolist(),
        "count": [int(count.sum())],
    }
