"""Rendering without a display and threads, set before mujoco or torch is imported; and the option --check-arrays."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from tests import array_annotations

if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # side by side, so that each has its share of the cores
    threads = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--check-arrays", action="store_true", help="check the rooms' jaxtyping annotations at every call")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--check-arrays"):
        array_annotations.install()


@pytest.fixture(autouse=True)
def _wrong_arrays(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leaves arrays unchecked in tests of what is said of wrong ones."""
    if request.node.get_closest_marker("wrong_arrays"):
        array_annotations.allowed.append(request.node.name)
    yield
    array_annotations.allowed.clear()
