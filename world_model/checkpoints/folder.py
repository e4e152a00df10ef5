"""Where checkpoints are, found by name or path without reading a weight."""

from __future__ import annotations

from pathlib import Path

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"


MANIFEST = "manifest.yaml"


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or not what its manifest says."""


def find_checkpoint(name_or_path: str | Path) -> Path:
    """Returns the folder of a checkpoint: the path itself, or the name in checkpoints/.

    Raises:
        CheckpointError: Listing those that exist.
    """
    for folder in (Path(name_or_path), CHECKPOINTS / name_or_path):
        if (folder / MANIFEST).is_file():
            return folder
    if Path(name_or_path).is_dir():
        raise CheckpointError(f"{name_or_path} is no checkpoint: it has no {MANIFEST}")
    names = sorted(path.parent.name for path in CHECKPOINTS.glob(f"*/{MANIFEST}"))
    raise CheckpointError(f"there is no checkpoint {str(name_or_path)!r}; {CHECKPOINTS} has {names or 'none'}")
