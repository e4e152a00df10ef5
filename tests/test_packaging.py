"""What a checkout promises before anything runs: its packages, the direction of its imports, its set-up scripts."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("envs", "world_model", "planner")  # each may import itself and those before it
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIREMENTS = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
IMPORT_NAMES = {"pyyaml": "yaml", "pillow": "PIL", "rerun-sdk": "rerun"}  # where they differ from the distribution's
SHELL_SCRIPTS = (".ci/run", "scripts/setup.sh", "scripts/demo.sh", "scripts/test.sh")
BARE_LINUX = ".venv/bin/python() { false; }; nvidia-smi() { false; }; uname() { echo Linux; }"  # empty .venv, no GPU


def python_files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported_packages(file: Path) -> set[str]:
    """Top-level names that a file imports anywhere, also inside functions; relative imports stay in their room."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0]
    return {name.partition(".")[0] for name in names}


def run(*command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def run_with_setup(commands: str) -> subprocess.CompletedProcess[str]:
    """Runs shell commands in a shell that has sourced scripts/setup.sh."""
    return run("bash", "-c", f"set -euo pipefail; . scripts/setup.sh; {commands}")


@pytest.mark.parametrize("room", ROOMS)
def test_an_installed_room_comes_from_this_checkout(room, tmp_path):
    elsewhere = "-I"  # isolated: the working directory and PYTHONPATH do not count
    found = run(sys.executable, elsewhere, "-c", f"import {room}; print({room}.__file__)", folder=tmp_path)
    assert found.returncode == 0, f"{room} is not installed: run `bash scripts/test.sh`\n{found.stderr}"
    assert Path(found.stdout.strip()).resolve().parent == ROOT / room


def test_the_installed_distribution_has_the_version_of_pyproject():
    assert importlib.metadata.version("vjepa-planner") == PROJECT["project"]["version"]


def test_pyproject_lists_exactly_the_packages_in_the_tree():
    tree = {file.parent for room in ROOMS for file in python_files(room)}
    in_tree = {".".join(folder.relative_to(ROOT).parts) for folder in tree}
    data = {"envs._configs", "world_model._checkpoints"}  # folders of the checkout that travel inside the packages
    assert in_tree | data == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_package_folder_has_an_init_file():
    folders = {file.parent for room in ROOMS for file in python_files(room)}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_only_one_way(room):
    forbidden = {*ROOMS[ROOMS.index(room) + 1 :], "scripts", "tests"}
    offenders = [(str(file), imported_packages(file) & forbidden) for file in python_files(room)]
    assert not [(file, names) for file, names in offenders if names]


@pytest.mark.parametrize("folder", [*ROOMS, "scripts", "tests"])
def test_everything_imported_is_declared(folder):
    extras = PROJECT["project"]["optional-dependencies"]
    names = [requirement.name for requirement in REQUIREMENTS]
    names += [
        Requirement(line).name for extra in extras if extra != "dev" or folder == "tests" for line in extras[extra]
    ]
    declared = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}
    ours = {*ROOMS, folder, *(file.stem for file in python_files(folder))}
    used = {name for file in python_files(folder) for name in imported_packages(file)}
    assert used - declared - ours - sys.stdlib_module_names == set()


@pytest.mark.parametrize("module", ["envs", "envs.spec"])
def test_the_vocabulary_of_the_envs_imports_no_torch(module):
    check = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert run(sys.executable, "-c", check).returncode == 0


@pytest.mark.parametrize("script", SHELL_SCRIPTS)
def test_a_shell_script_has_valid_syntax(script):
    checked = run("bash", "-n", script)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", ["torch", "torchcodec"])
def test_the_pinned_pair_satisfies_the_requirements(name):
    pin = re.search(rf"^{name.upper()}=(\S+)$", (ROOT / "scripts/setup.sh").read_text(), re.MULTILINE)
    assert pin is not None
    requirement = next(requirement for requirement in REQUIREMENTS if requirement.name == name)
    assert requirement.specifier.contains(pin.group(1))


def test_setup_without_root_prints_the_exact_line_to_run():
    result = run_with_setup("id() { echo 1000; }; sudo() { false; }; apt-get() { :; }; apt_install ffmpeg libegl1")
    assert result.returncode != 0
    line = "sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends ffmpeg libegl1'"
    assert line in result.stderr


def test_setup_with_an_old_python_says_what_is_needed():
    result = run_with_setup("old() { [ $1 = -V ] && echo Python 3.9.2; }; PYTHON=old choose_python")
    assert result.returncode != 0
    assert "Python 3.11 or newer is needed" in result.stderr
    assert "Python 3.9.2" in result.stderr


def test_setup_on_a_machine_without_a_gpu_asks_for_the_cpu_build_first():
    result = run_with_setup(f'{BARE_LINUX}; pip_install() {{ echo "pip $*"; }}; install_torch')
    assert result.returncode == 0
    assert re.findall(r"^pip (\S+)", result.stdout, re.MULTILINE) == ["torch==2.13.0+cpu"]


def test_setup_says_what_the_default_build_costs_before_it_installs_it():
    only_default = 'pip_install() { echo "pip $*"; [[ "$*" != *+cpu* ]]; }'
    result = run_with_setup(f"{BARE_LINUX}; {only_default}; install_torch")
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert "5.4 GB" in lines[-2]
    assert lines[-1].startswith("pip torch==2.13.0 ")


def test_the_citation_names_the_version_of_pyproject():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(cited["version"]) == PROJECT["project"]["version"] and cited["license"] == PROJECT["project"]["license"]
