"""HDF5 files in robomimic's layout, as people write them: any columns, any images, any attributes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from recordings import paint_counter

ROBOMIMIC = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 10}})


def paint(length: int, first: int = 0) -> np.ndarray:
    """Images with a counter burnt in, (length, h, w, 3) uint8."""
    return np.stack([paint_counter(first + frame) for frame in range(length)])


def write_demonstrations(
    path: Path,
    demonstrations: Sequence[Mapping[str, np.ndarray]],
    images: Sequence[np.ndarray] | None = None,
    env_args: str | None = ROBOMIMIC,
    names: Sequence[str] | None = None,
    camera: str = "front",
    **options: object,
) -> Path:
    """Writes data/<name>/obs with the columns of each demonstration and its images, and returns the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        if env_args is not None:
            data.attrs["env_args"] = env_args
        for number, columns in enumerate(demonstrations):
            length = len(next(iter(columns.values())))
            seen = data.create_group(f"{names[number] if names else f'demo_{number}'}/obs")
            for key, values in columns.items():
                seen[key] = values
            seen.create_dataset(camera, data=paint(length) if images is None else images[number], **options)
    return path
