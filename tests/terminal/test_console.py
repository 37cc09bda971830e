"""The console: what it is given is printed as it is."""

from __future__ import annotations

import ast
import errno
import io
import os
import pty
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live
from rich.table import Table

import loraloom
from loraloom.data import Finding
from loraloom.terminal.console import is_drawn_on, make_console, make_table, say
from loraloom.terminal.wording import finding_lines, labels_in_words

NAMED = "runs/:x:/y :heart: :smile-emoji:"


def _table() -> Table:
    table = Table(NAMED, box=None)
    table.add_row(f"[bold]{NAMED}[/bold]")
    return table


class _Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("file", "environment", "drawn"),
    [
        (_Tty, {"TERM": "xterm"}, True),
        (_Tty, {"TERM": "dumb"}, False),
        (_Tty, {"TERM": "dumb", "FORCE_COLOR": "1"}, False),
        (io.StringIO, {"TERM": "xterm"}, False),
        (io.StringIO, {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
    ],
)
def test_drawn_is_on_a_terminal_alone_that_can_be_drawn_on(
    monkeypatch: pytest.MonkeyPatch, file: type[io.StringIO], environment: dict[str, str], drawn: bool
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_drawn_on(make_console(file=file())) is drawn


@pytest.mark.parametrize("folds", [True, False])
def test_a_terminal_that_has_no_columns_is_printed_on_all_the_same(
    monkeypatch: pytest.MonkeyPatch, folds: bool
) -> None:
    """As where its size is not known, and COLUMNS is 0."""
    monkeypatch.setenv("COLUMNS", "0")
    said = io.StringIO()
    make_console(folds=folds, file=said).print(_table())
    assert NAMED in said.getvalue()


def test_names_between_colons_are_no_pictures() -> None:
    said = io.StringIO()
    console = make_console(file=said, width=120)
    console.print(NAMED, markup=False)
    for line in finding_lines(Finding("conflict", "warning", 1, NAMED, (NAMED,))):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(_table())
    with Live(_table(), console=console):
        pass
    assert said.getvalue().count(NAMED) == 7


def test_all_is_printed_on_such_a_console() -> None:
    package = Path(loraloom.__file__).parent
    made = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Console", "_Console")
    ]
    assert made == ["terminal/console.py"]


def test_a_terminal_that_goes_away_does_not_end_who_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as file:
        console = make_console(file=file)
        with Live(_table(), console=console, auto_refresh=False) as live:
            os.close(ours)
            live.refresh()
            say(console, NAMED)
        say(console, NAMED)


def test_a_log_that_can_not_be_written_to_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_: Console) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Console, "_write_buffer", fail)
    with (tmp_path / "log").open("w") as log, pytest.raises(OSError, match="Input/output error"):
        say(make_console(file=log), NAMED)


def test_what_a_terminal_would_obey_is_printed_as_a_sign(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        console = make_console(file=log)
        say(console, "runs/\x1b[2J\x9b31m\u202e of\ntwo lines")
        table = make_table("a\x1bb")
        table.add_row("c\x9bd")
        console.print(table)
        log.seek(0)
        seen = log.read().split()
        assert seen == ["runs/\\x1b[2J\\x9b31m\\u202e", "of", "two", "lines", "a\\x1bb", "c\\x9bd"]


def test_labels_are_listed_so_that_each_is_one_and_none_fills_the_screen() -> None:
    assert labels_in_words(["Card lost, or stolen", "fees"]) == "“Card lost, or stolen”, fees"
    assert labels_in_words([*"abcdefghi"]) == "a, b, c, d, e, f, g, h … and 1 more"
    assert labels_in_words(["of\ntwo lines", "long" * 100]) == f"of two lines, {'long' * 29}lon…"


@pytest.mark.parametrize(("folds", "columns", "lines"), [(False, None, 1), (False, "60", 4), (True, None, 3)])
def test_a_table_is_folded_in_a_file_unless_that_is_not_wanted_and_no_width_is_named(
    monkeypatch: pytest.MonkeyPatch, folds: bool, columns: str | None, lines: int
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    table = Table("word " * 40, box=None)
    make_console(folds=folds, file=(said := io.StringIO())).print(table)
    assert len(said.getvalue().splitlines()) == lines
