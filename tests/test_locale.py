"""The programs in locales and terminals that know ASCII alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import recordings as fixtures
import yaml
from readings import V21_POSE

ROOT = Path(__file__).parent.parent
VIDEO = f"videos/chunk-000/{fixtures.CAMERA}/episode_000001.mp4"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Recordings with names and tasks that are not ASCII, of which one is broken."""
    root = fixtures.write_v21(tmp_path_factory.mktemp("größe") / "Würfel 立方")
    lines = root / "meta/episodes.jsonl"
    rows = [{**json.loads(line), "tasks": "größer"} for line in lines.read_text(encoding="utf-8").splitlines()]
    lines.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    (root.parent / "lesen.yaml").write_text(yaml.safe_dump({"pose": V21_POSE}), encoding="utf-8")
    (root / VIDEO).write_bytes(b"no video")
    return root


@pytest.mark.parametrize(
    ("setting", "name"),
    [(ASCII, "Würfel 立方"), ({"PYTHONIOENCODING": "ascii"}, r"W\xfcrfel \u7acb\u65b9")],
    ids=["locale", "terminal"],
)
def test_names_and_tasks_of_every_language_are_read_and_printed(folder, setting, name):
    reading = folder.parent / "lesen.yaml"
    command = [sys.executable, "scripts/dataset.py", "validate", folder, "--reading", reading, "--processes", "1"]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **setting}, capture_output=True, check=False, timeout=300
    )
    said = run.stdout.decode("utf-8")
    assert run.returncode == 1, run.stderr.decode()
    assert "episode_000001.mp4" in said and f"{name}: 2 of 3 episodes can be read in full" in said
    assert b"Traceback" not in run.stderr
