"""The code of the peers, imported where it is asked for: an installed package, or a checkout in PYTHONPATH."""

from __future__ import annotations

import importlib
from types import ModuleType

WHERE = (
    "pip install 'stable-worldmodel[train]', or put a checkout of github.com/galilai-group/stable-worldmodel into "
    "PYTHONPATH and pip install stable-pretraining transformers einops"
)


class PeerMissingError(ImportError):
    """A peer's code is not installed, or something that it needs itself."""


def peer_module(*names: str) -> ModuleType:
    """Returns a module of a peer's: the first of some names that is there, for it has moved between versions.

    Raises:
        PeerMissingError: If none can be imported, saying why and where the code is to be had.
    """
    missing: list[str] = []
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            missing.append(f"{name}: {error}")
    raise PeerMissingError(f"the peer's own code can't be imported ({'; '.join(missing)}): {WHERE}")
