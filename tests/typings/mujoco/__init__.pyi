"""MuJoCo's compiled bindings come without types; its own few .py files are no help to a type checker."""

from typing import Any

def __getattr__(name: str) -> Any: ...
