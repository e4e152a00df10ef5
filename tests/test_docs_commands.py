"""Every command that README, documentation, examples and configs show is one that its program takes.

Commands go through the program's own command line up to where the work would begin: unknown flags, wrong values,
missing arguments and settings files that are not there fail. Of other people's programs only files of ours are checked.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import io
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tyro

from planner.benchmarks.program import PARTS
from planner.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")]
PAGES += [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/results").glob("*.md"))]
CONFIGS = sorted((ROOT / "scripts/configs").rglob("*.yaml"))
RECIPES = sorted((ROOT / "scripts/recipes").glob("*.sh"))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
OTHERS = ("hf", "lerobot-eval", "lerobot-rollout", "pre-commit", "python3.12", "source", "touch")
"""First words of commands that are not ours."""
FOREIGN = {"--eval.batch_size", "--fps", "--num_machines", "--num_processes", "--policy.token", "--policy.url"}
FOREIGN |= {"--logdir", "--no-deps", "--return_to_initial_position", "--warnings"}
FOREIGN |= {"--list-ctrls", "--local-dir", "--repo-type", "--set-ctrl", "--shape.patch-size", "--minutes"}
"""Flags of launchers, LeRobot, TensorBoard, pip, pyright, v4l2-ctl, the hub and peers that sentences name."""
UNSEEN = {"--config", "--drawn", "--help", "--no-baselines", "--rows", "--suite", "--variants"}
"""Flags of ours that no program's help lists by itself."""


class Parsed(BaseException):
    """What a command line says: raised where the work would begin."""


def lines_of(text: str) -> list[str]:
    """Returns the commands of a shell script, without comments, its variables put in."""
    variables: dict[str, str] = {}
    found = []
    text = re.sub(r'"\$\{(\w+)\[@\]\}"', r"$\1", text.replace("\\\n", " "))  # a list of words, as one
    text = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text)  # what it is if nobody says otherwise
    for written in text.splitlines():
        line = functools.reduce(lambda before, name: before.replace(f"${name}", variables[name]), variables, written)
        if given := re.fullmatch(r"(\w+)=(?:\((.*)\)(?: +#.*)?|(\S+))", line.strip()):
            variables[given[1]] = given[2] or given[3]
            continue
        for part in re.split(r"&&|;", re.sub(r"(^|\s)#.*$", "", line)) if '"' not in line else [line]:
            if part.strip():
                found.append(part.strip())
    return found


def shown(path: Path) -> list[str]:
    """Returns the commands that a file shows."""
    text = path.read_text()
    if path.suffix == ".sh":
        return lines_of(text.split("cd ", 1)[1].split("\n", 1)[1])
    if path.suffix == ".yaml":
        told = "".join(f"{line.removeprefix('#').strip()}\n" for line in text.splitlines() if line.startswith("#"))
        told = told.replace("\\\n", " ").replace("<this file>", path.relative_to(ROOT).as_posix())
        return re.findall(r"python scripts/\w+\.py(?: +[^\s,]*[^\s,.])*", told)
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in lines_of(block)]


def each_once() -> list[Any]:
    """Returns the commands with the first page that shows them; those of configs and recipes are slow tests."""
    first: dict[str, Path] = {}
    for path in [*PAGES, *CONFIGS, *RECIPES]:
        for command in shown(path):
            first.setdefault(command, path)
    found = []
    for command, path in first.items():
        page, marks = path.relative_to(ROOT).as_posix(), [] if path in PAGES else [pytest.mark.slow]
        found.append(pytest.param(page, command, id=f"{page}: {command}", marks=marks))
    return found


def words_of(command: str) -> list[str]:
    """Returns the words of a command, without comments, variables before it and what launches it."""
    words = shlex.split(re.sub(r"\$\(.*?\)", "what-a-shell-puts-in", command), comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        del words[0]
    if words[:2] == ["nice", "-n"]:
        del words[:3]
    if words[0] in {"accelerate", "torchrun"}:
        first = next(place for place, word in enumerate(words) if word.startswith("scripts/"))
        words = ["python", *words[first:]]
    return words


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the root of a checkout, with what a reader is told to write there."""
    for name in ("scripts", "checkpoints", "docs", "examples", "tests", "integrations", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (suite,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/evaluation.md").read_text(), re.DOTALL)
    (tmp_path / "my-suite.yaml").write_text(suite)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def stopped_at_work(module: Any) -> Iterator[None]:
    """Makes a program raise `Parsed` once its command line is read."""

    def then_stop(read: Any) -> Any:
        @functools.wraps(read)
        def reading(*arguments: Any, **options: Any) -> Any:
            raise Parsed(read(*arguments, **options))

        return reading

    with pytest.MonkeyPatch.context() as patch:
        if hasattr(module, "config_from_command_line"):
            patch.setattr(module, "config_from_command_line", then_stop(module.config_from_command_line))
        if hasattr(module, "tyro"):
            patch.setattr(module, "tyro", SimpleNamespace(cli=then_stop(tyro.cli), conf=tyro.conf))
        yield


def parse(command: str, words: Sequence[str]) -> Any:
    """Returns the settings that a program reads from its command line; fails with its own message."""
    module = importlib.import_module(COMMANDS[command])
    said = io.StringIO()
    with stopped_at_work(module), contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            module.main(list(words))
        except Parsed as parsed:
            return parsed.args[0]
        except SystemExit as end:
            pytest.fail(f"{command} {shlex.join(words)}: {end.code} {said.getvalue()}")
    pytest.fail(f"{command} reads no command line")


def check_program(program: str, words: list[str]) -> None:
    """Returns if one of our programs takes a command line, and the files of ours that it names are there."""
    command = Path(program).stem.replace("_", "-")
    assert command in COMMANDS, f"there is no program {program}"
    config = parse(command, words)
    if "--suite" in words:
        config.open()
    named = [word for word in words if re.match(r"(scripts|checkpoints|docs|tests|examples)/", word)]
    assert not [word for word in named if not Path(word).exists()]


def check_python(words: list[str], page: str) -> None:
    """Returns if a command of Python is one of ours, or runs a file that the page or another has readers save."""
    match words:
        case ["-m", "pytest", *rest]:
            assert not [word for word in rest if word.startswith("tests/") and not (ROOT / word).exists()]
        case ["-m", module, *_]:
            assert module in {"venv", "pip", "mkdocs", "lerobot_policy_vjepa_planner"}
        case ["-c", code]:
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom) and node.module is not None:
                    module = importlib.import_module(node.module)
                    assert not [each.name for each in node.names if not hasattr(module, each.name)]
        case [program, *rest] if program.startswith("scripts/"):
            assert (ROOT / program).is_file(), program
            check_program(program, rest)
        case [program, *_]:
            there = (ROOT / program).is_file() and program.startswith("examples/")
            assert there or f"`{program}`" in (ROOT / page).read_text(), f"{program} is nowhere"


def check_pip(words: list[str]) -> None:
    """Returns if the extras of ours that are installed are there."""
    for word in words:
        for extras in re.findall(r"^(?:\.|vjepa-planner)\[(.+)\]$", word):
            assert set(extras.split(",")) <= set(EXTRAS)
        if word.startswith("./"):
            assert (ROOT / word / "pyproject.toml").is_file()


@pytest.mark.parametrize(("page", "command"), each_once())
def test_a_command_that_is_shown_is_one_that_its_program_takes(page: str, command: str, folder: Path) -> None:
    words = words_of(command)
    first = words[0].removeprefix(".venv/bin/")
    if first in {"python", "lerobot-env/bin/python"}:
        check_python(words[1:], page)
    elif first == "vjepa-planner":
        if words[1:]:
            check_program(words[1], words[2:])
    elif first == "bash":
        assert (ROOT / words[1]).is_file()
    elif first.endswith("pip"):
        check_pip(words)
    else:
        assert first in OTHERS, f"what is {first}?"


@functools.cache
def help_of(command: str) -> str:
    """Returns what a program says of its flags, those of all its parts."""
    parts = {"dataset": ("inspect", "convert", "validate", "arm"), "benchmark": PARTS}
    told = io.StringIO()
    for part in parts.get(command, ("",)):
        with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
            importlib.import_module(COMMANDS[command]).main([*([part] if part else []), "--help"])
    return told.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_flag_that_a_sentence_names_is_one_of_a_program_of_ours(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    flags = {flag for code in re.findall(r"`([^`]+)`", prose) for flag in re.findall(r"(?<!\S)--[a-z][\w.-]*", code)}
    ours = flags - FOREIGN - UNSEEN
    known = "".join(help_of(command) for command in COMMANDS) if ours else ""
    assert not [flag for flag in ours if not re.search(rf"{re.escape(flag)}\b", known)]
