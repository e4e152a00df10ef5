"""Imports of the libraries that robots and cameras are spoken to with."""

from __future__ import annotations

import importlib
from typing import Any

from envs.arms.base import ArmError


def import_vendor(module: str, extra: str) -> Any:
    """Returns a library that is only there where its robot is.

    Args:
        module: What is imported.
        extra: Name of the extra of this package that installs it, or how to get it.

    Raises:
        ArmError: If it is not installed, with what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        how = f'`pip install -e ".[{extra}]"`' if extra.isidentifier() else extra
        raise ArmError(f"{module} cannot be imported ({error}): {how} provides it") from error
