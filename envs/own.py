"""Python files of somebody's own as modules, under names from which any process finds them again.

A module's name holds its file's path. So what a file defines can be pickled and sent to a worker process, which imports
the module by its name as it does any other.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

__path__: list[str] = []  # a package, so that importing envs.own.NAME imports this module, and its finder, first
_PREFIX = f"{__name__}."


def load_file(path: Path) -> ModuleType:
    """Returns the module that a file is, run once a process; what fails while it runs comes through."""
    stem, place = re.sub(r"\W", "_", path.stem), os.fsencode(path.resolve()).hex()
    return importlib.import_module(f"{_PREFIX}{stem}_{place}")


class _Finder(MetaPathFinder):
    """Finds the file whose path is in a module's name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `MetaPathFinder.find_spec`."""
        if not fullname.startswith(_PREFIX):
            return None
        return spec_from_file_location(fullname, os.fsdecode(bytes.fromhex(fullname.rpartition("_")[2])))


sys.meta_path.append(_Finder())  # at import, because unpickling imports a module and calls nothing
