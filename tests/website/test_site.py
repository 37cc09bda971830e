"""The site: built with warnings as errors, whole without a network, in agreement with the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser

import loraloom
from loraloom import errors
from loraloom.cli.commands import COMMANDS
from loraloom.recipe.axes import Recipe
from tests.report.browser import opened
from website.commands import commands_page
from website.exits import CODES
from website.links import problems, read
from website.python_names import python_page
from website.recipe_fields import recipe_page, sections

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` builds it, where no other host can be reached."""
    pytest.importorskip("material", reason="the extra docs is not installed")
    out = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_every_link_holds_and_nothing_is_fetched_from_another_host(site: Path) -> None:
    assert list(problems(site)) == []


def test_the_search_works_without_a_server_and_asks_no_other_host(site: Path, browser: Browser) -> None:
    with opened(browser, site / "tutorial.html") as found:
        found.page.locator("input.md-search__input").fill("gradient_accumulation_steps")
        first = found.page.locator(".md-search-result__link").first
        first.wait_for()
        assert "reference/recipe.html" in str(first.get_attribute("href"))
        assert {urlsplit(address).scheme for address in found.asked} <= {"file", "data", "blob"}
        assert found.said == []


def test_no_page_shows_markdown_that_was_not_understood(site: Path) -> None:
    """Lists and tables need a blank line before them here, and nested ones four blanks, where a forge takes less."""
    shown = re.compile(r"<p>(?:(?!</p>)[\s\S])*?(?:\n|<p>)(?:- |\d+\. |\||```|#+ )", re.MULTILINE)
    odd = {
        f"{path.relative_to(site)}: {found[0][-80:]}"
        for path in site.rglob("*.html")
        for found in shown.finditer(path.read_text(encoding="utf-8"))
    }
    assert not odd


def test_the_checker_of_links_finds_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<img src="https://a.example/x.png"><script src="//b.example/x.js"></script>'
        '<link rel="stylesheet" href="x.css">'
        '<style>@import "https://c.example/y.css"; p {background: url(https://d.example/z.png)}</style>'
        '<a href="gone.html">1</a><a href="#nowhere">2</a><a href="https://e.example">3</a><a href="/root.html">4</a>',
        encoding="utf-8",
    )
    (tmp_path / "x.css").write_text("@font-face {src: url(https://f.example/font.woff2)}", encoding="utf-8")
    found = " ".join(problems(tmp_path))
    assert all(f"{host}.example" in found for host in "abcdf")
    assert "e.example" not in found
    assert {"gone.html", "#nowhere", "/root.html"} <= set(re.findall(r"links to ([^\s,]+)", found))
    assert "index.html: links" in found
    assert read(tmp_path / "index.html").anchors == set()


def test_the_picture_of_a_terminal_is_of_a_search_that_ended_and_fetches_nothing() -> None:
    picture = (ROOT / "docs" / "terminal.svg").read_text(encoding="utf-8")
    assert {"winner", "accuracy", "parameters"} <= set(re.findall(r"\w+", picture)), "make screenshots makes it"
    assert "url(http" not in picture
    assert "@import" not in picture


def test_the_reference_has_every_command_and_option() -> None:
    page = commands_page()
    assert "- [`search`](#search): Search a recipe's space under its budget: the main job\n" in page
    for name in ("search", "resume", "train", "predict", "serve", "doctor"):
        assert f"## {name} " in page
    for option in ("--set FIELD=VALUE", "--deadline TIME", "--on_error", "--max_body_bytes", "--allow_leak"):
        assert option in page


def test_the_readme_lists_the_commands_in_the_order_of_the_help() -> None:
    listed = re.findall(r"^\| `loraloom (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [command.__name__ for command in COMMANDS]


def test_the_reference_has_every_field_of_a_recipe() -> None:
    page = recipe_page()
    for name, model in sections().items():
        for field in model.model_fields:
            assert f"| `{field}` |" in page.partition(f"## {name} ")[2], f"{name}.{field}"
    for field in set(Recipe.model_fields) - set(sections()) - {"axes"}:
        assert f"| `{field}` |" in page.partition("## Beside")[2], field
    assert "| `r` | `4` | whole number, 1 or more and 1,000,000 at most | ✓ | Rank. |" in page


def test_the_reference_has_every_public_name() -> None:
    page = python_page()
    assert all(f"`{name}`" in page or f"`loraloom.{name}`" in page for name in loraloom.__all__)
    assert "**Raises**" in page


def test_every_exit_code_has_its_meaning() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert {kind.exit_code for kind in kinds if issubclass(kind, errors.LoraloomError)} <= set(CODES)


def test_the_version_is_the_changelogs() -> None:
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert f'version = "{newest[1]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
