"""Where checkpoints are, found by name or path without reading a weight."""

from __future__ import annotations

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]

CHECKPOINTS = _CHECKOUT / "checkpoints" if (_CHECKOUT / "pyproject.toml").is_file() else Path("checkpoints")
"""Where checkpoints get and keep their names: the checkout's folder, or one where an installed program runs."""

BUNDLED = Path(__file__).resolve().parents[1] / "_checkpoints"
"""Those that travel with an installed package; in a checkout there are none here."""

MANIFEST = "manifest.yaml"


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or not what its manifest says."""


def called(name_or_path: str | Path) -> str:
    """Returns what to call a checkpoint: the name of its folder, of one in a run's directory that directory's."""
    path = Path(name_or_path)
    return path.parent.name if path.name == "checkpoint" and path.parent.name else path.name


def find_checkpoint(name_or_path: str | Path) -> Path:
    """Returns the folder of a checkpoint: the path itself, or the name in checkpoints/.

    Raises:
        CheckpointError: Listing those that exist.
    """
    for folder in (Path(name_or_path), CHECKPOINTS / name_or_path, BUNDLED / name_or_path):
        if (folder / MANIFEST).is_file():
            return folder
    if Path(name_or_path).is_dir():
        raise CheckpointError(f"{name_or_path} is no checkpoint: it has no {MANIFEST}")
    places = (CHECKPOINTS, BUNDLED)
    names = sorted({path.parent.name for place in places for path in place.glob(f"*/{MANIFEST}")})
    raise CheckpointError(f"there is no checkpoint {str(name_or_path)!r}; {CHECKPOINTS} has {names or 'none'}")
