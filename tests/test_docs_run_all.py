"""Every command of the pages is run by test_docs_run.py, or it says why not; every block of Python is run by a test."""

from __future__ import annotations

import re

from test_docs_commands import PAGES, shown
from test_docs_run import NOT_RUN, SMALLER, commands, program_of

SHELL = re.compile(r"accelerate |torchrun |bash scripts/recipes/|touch |python -c |[A-Z]+=")
"""What a shell runs."""

PYTHON = {
    "test_bundled.py": {"README.md": 1},
    "test_docs.py": {"quickstart.md": 1, "remote.md": 2, "sharing.md": 1, "upgrade.md": 2},
    "test_docs.py, vendor_arms.py": {"bring-your-own-arm.md": 4},
    "test_examples.py": {"examples.md": 6},
    "test_docs.py, test_plugins.py": {"plugins.md": 11},
}
"""How many blocks of Python each page has, by who runs them."""


def test_a_command_is_run_or_it_is_said_why_not() -> None:
    every = "".join(f"\n{command}\n" for page in PAGES for command in shown(page))
    for beginning, reason in NOT_RUN.items():
        assert reason and f"\n{beginning}" in every, f"{beginning!r} is no longer shown"
    for command in (command for page in PAGES for command in commands(page)):
        ours = program_of(command)
        assert ours[0] in SMALLER if ours else SHELL.match(command), f"say in SMALLER or NOT_RUN how {command!r} is run"


def test_all_python_of_the_pages_is_run() -> None:
    found = {page.name: page.read_text().count("```python\n") for page in PAGES if page.parent.name != "examples"}
    counted = {page: count for pages in PYTHON.values() for page, count in pages.items()}
    assert {page: count for page, count in found.items() if count} == counted, "run it, and count it in PYTHON"
