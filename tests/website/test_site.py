"""The site: built with warnings as errors, whole without a network, in agreement with the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from loraloom import cli, errors
from loraloom.recipe.axes import Recipe
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


def test_the_search_works_without_a_server(site: Path) -> None:
    """A page that is opened as a file may load scripts, and may not fetch JSON."""
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert "max_trainable_parameters" in index
    assert "search/search_index.js" in (site / "tutorial.html").read_text(encoding="utf-8")


def test_no_page_shows_markdown_that_was_not_understood(site: Path) -> None:
    """Lists and tables need a blank line before them here, and nested ones four blanks, where a forge takes less."""
    shown = re.compile(r"<p>(?:(?!</p>)[\s\S])*?(?:\n|<p>)(?:- |\d+\. |\||```|#+ )", re.MULTILINE)
    odd = {
        f"{path.relative_to(site)}: {found[0][-80:]}"
        for path in site.rglob("*.html")
        for found in shown.finditer(path.read_text(encoding="utf-8"))
    }
    assert not odd


def test_pages_that_need_nothing_of_the_site_refuse_nothing(tmp_path: Path) -> None:
    """What the checker of links is to find, it finds."""
    (tmp_path / "index.html").write_text(
        '<img src="https://a.example/x.png"><script src="//b.example/x.js"></script><link rel="stylesheet" href="x.css">'
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


def test_the_reference_has_every_command_and_option() -> None:
    page = commands_page()
    for name in ("search", "resume", "train", "predict", "serve", "doctor"):
        assert f"## {name} " in page
    assert "`--max_trainable" not in page
    for option in ("--set FIELD=VALUE", "--deadline TIME", "--on_error", "--max_body_bytes", "--allow-leak"):
        assert option in page


def test_the_reference_has_every_field_of_a_recipe() -> None:
    page = recipe_page()
    for name, model in sections().items():
        for field in model.model_fields:
            assert f"| `{field}` |" in page.partition(f"## {name} ")[2], f"{name}.{field}"
    for field in set(Recipe.model_fields) - set(sections()) - {"axes"}:
        assert f"| `{field}` |" in page.partition("## Beside")[2], field
    assert "| `r` | `4` | whole number, 1 or more | ✓ | Rank. |" in page


def test_the_reference_has_every_public_name() -> None:
    page = python_page()
    import loraloom

    assert all(f"`{name}`" in page or f"`loraloom.{name}`" in page for name in loraloom.__all__)
    assert "**Raises**" in page


def test_every_exit_code_has_its_meaning() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert {kind.exit_code for kind in kinds if issubclass(kind, errors.LoraloomError)} <= set(CODES)


def test_the_version_is_the_changelogs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert f'version = "{newest[1]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["loraloom", "--version"])
    assert cli.run() == 0
    assert capsys.readouterr().out.startswith("loraloom ")
