"""What the documentation says of versions, and the programs that it has readers save and run."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from world_model import load_world_model

ROOT = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def python_of(page: str) -> list[str]:
    """Returns the Python of a page of docs/, block by block."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def test_the_changelog_begins_with_this_version_and_is_dated() -> None:
    newest = re.search(r"^## (\S+) - (\d{4}-\d{2}-\d{2})$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (newest[1], newest[2]) == (VERSION, str(citation["date-released"]))
    assert citation["version"] == VERSION


def test_a_manifest_of_0_1_becomes_one_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, program = tmp_path / "mine", tmp_path / "new_manifest.py"
    shutil.copytree(ROOT / "checkpoints/franka-tiny", folder)
    new = yaml.safe_load((folder / "manifest.yaml").read_text())
    encoder = {name: value for name, value in new["parts"]["encoder"].items() if name not in {"kind", "components"}}
    old = {name: value for name, value in new.items() if name not in {"kind", "image_size", "parts", "heads"}}
    old |= {"format": 1, "encoder": encoder, "predictor": new["parts"]["predictor"]}
    (folder / "manifest.yaml").write_text(yaml.safe_dump(old))
    program.write_text(python_of("upgrade.md")[0])
    monkeypatch.setattr(sys, "argv", [program.name, str(folder)])
    runpy.run_path(str(program), run_name="__main__")
    assert load_world_model(folder).image_size == load_world_model("franka-tiny").image_size
    assert yaml.safe_load((folder / "manifest-0.1.yaml").read_text()) == old
