"""The page printed by a browser: by the real one where it is installed, and by others that misbehave."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loraloom.errors import LoraloomError
from loraloom.report.printing import BROWSERS, browser, print_page
from loraloom.report.writing import write_report
from tests.report.report_runs import whole_run

installed = next((name for name in BROWSERS if shutil.which(name)), None)
needs_browser = pytest.mark.skipif(installed is None, reason=f"none of {', '.join(BROWSERS)} is installed")


def program(folder: Path, script: str) -> str:
    path = folder / "chromium"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@needs_browser
def test_the_page_is_printed_beside_itself(tmp_path: Path) -> None:
    page = write_report(whole_run(tmp_path / "a run & more"), may_draw=lambda: False)
    pdf = print_page(page, browser())
    content = pdf.read_bytes()
    assert pdf == page.with_name("report.pdf")
    assert content.startswith(b"%PDF-")
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") + content.count(b"/Type/Page") > 1
    assert sorted(path.name for path in page.parent.iterdir() if path.name.startswith(".")) == []


def test_without_a_browser_it_says_which_would_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LoraloomError, match="no browser is installed that prints") as raised:
        browser()
    assert raised.value.exit_code == 2


def test_the_first_that_is_installed_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path, "exit 0")
    assert browser() == str(tmp_path / "chromium")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo it has no display >&2; exit 3", "did not print .*: it has no display"),
        ("exit 0", "did not print .*: exit 0"),
        ('for a in "$@"; do case $a in --print-to-pdf=*) echo no > "${a#*=}";; esac; done', "did not print"),
    ],
)
def test_a_browser_that_prints_nothing_is_named(tmp_path: Path, script: str, said: str) -> None:
    with pytest.raises(LoraloomError, match=said):
        print_page(tmp_path / "index.html", program(tmp_path, script))
    assert not (tmp_path / "report.pdf").exists()


def test_a_browser_that_does_not_end_is_ended(tmp_path: Path) -> None:
    with pytest.raises(LoraloomError, match=r"did not print .* in 0\.2 s"):
        print_page(tmp_path / "index.html", program(tmp_path, "exec sleep 60"), seconds=0.2)


def test_a_browser_gets_a_profile_of_its_own_and_no_header(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = (
        f'echo "$@" > {told}; for a in "$@"; do case $a in --print-to-pdf=*) echo %PDF-1 > "${{a#*=}}";; esac; done'
    )
    print_page(tmp_path / "index.html", program(tmp_path, script))
    arguments = told.read_text()
    assert "--no-pdf-header-footer" in arguments
    assert "--user-data-dir=/" in arguments
    assert (tmp_path / "report.pdf").read_bytes() == b"%PDF-1\n"
    assert not Path(arguments.partition("--user-data-dir=")[2].split()[0]).parent.exists()
