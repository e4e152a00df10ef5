"""The documentation site: it builds without a warning, and its pages hold what they promise."""

import importlib.util
import os
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("index", "quickstart", "concepts", "troubleshooting", "deploy", "checklist", "log", "reference/index")
PACKAGES = ("mkdocs", "material", "mkdocstrings_handlers.python")


def is_here(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


missing = [module for module in PACKAGES if not is_here(module)]
builds = pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed: pip install -e '.[docs]'")


class Text(HTMLParser):
    """What a reader of a page sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def __str__(self) -> str:
        return " ".join("".join(self.parts).split())


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built with every warning an error (which --quiet would hide); about 8 s on one core."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def documented_modules() -> list[tuple[str, str]]:
    pages = sorted((ROOT / "docs/reference").glob("*.md"))
    return [(page.name, name) for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)]


def test_every_module_of_the_reference_is_in_the_tree():
    gone = [(page, name) for page, name in documented_modules() if not (ROOT / f"{name.replace('.', '/')}.py").exists()]
    assert documented_modules()
    assert not gone


def test_no_module_is_in_the_reference_twice():
    names = [name for _, name in documented_modules()]
    assert sorted(names) == sorted(set(names))


@builds
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_there(site, page):
    assert (site / f"{page}.html").is_file()


@builds
def test_every_document_has_a_page(site):
    documents = [file.relative_to(ROOT / "docs") for file in (ROOT / "docs").rglob("*.md")]
    assert not [file for file in documents if not (site / file.with_suffix(".html")).is_file()]


@builds
def test_the_reference_says_what_cem_takes(site):
    page = (site / "reference/planner.search.html").read_text()
    assert 'id="planner.search.cem.CEM"' in page
    planner = str(Text(page.split('id="planner.search.cem.CEM"')[1].split('id="planner.search.icem"')[0]))
    assert all(name in planner for name in ("config", "score", "spec", "guesses", "generator", "deadline"))
    settings = str(Text(page.split('id="planner.search.sampling_config.CEMConfig"')[1].split("ICEMConfig")[0]))
    assert all(name in settings for name in ("horizon", "samples", "iterations", "elites", "momentum_mean"))
    assert "Action sequences scored in each iteration" in settings


@builds
def test_no_page_has_an_unresolved_reference(site):
    unresolved = re.compile(
        r"<autoref\b|data-autorefs|\[[^\]\n]+\]\[[\w.]+\]|\]\([\w./-]+\.md|^\s*:::\s\w", re.MULTILINE
    )
    code = re.compile(r"<(code|pre|script|style)\b.*?</\1>", re.DOTALL)
    pages = {file: unescape(code.sub("", file.read_text())) for file in site.rglob("*.html")}
    found = {str(file.relative_to(site)): unresolved.findall(page) for file, page in pages.items()}
    assert not {file: matches for file, matches in found.items() if matches}


@builds
def test_no_page_loads_anything_from_elsewhere(site):
    loaded = re.compile(r"<(?:script|img|link)\b[^>]*?(?:src|href)=\"?(https?:[^\" >]+)")
    found = {str(file.relative_to(site)): loaded.findall(file.read_text()) for file in site.rglob("*.html")}
    assert not {file: matches for file, matches in found.items() if matches}
