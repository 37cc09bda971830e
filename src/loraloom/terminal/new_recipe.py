"""What `loraloom new` says of the recipe that it wrote: its rows, what is wrong with them, and how to go on."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from loraloom.data import Finding, TextData
from loraloom.errors import shell_path
from loraloom.terminal.console import say
from loraloom.terminal.wording import finding_lines, labels_in_words
from loraloom.wording import plural


def print_data(console: Console, data: TextData) -> None:
    """How many rows of which classes there are, what a check warns of, how many are repeated, what separates cells.

    As many as a search takes, of each split: what is dropped, since others have it too, is none of them.
    """
    splits = (
        f"{len(data.train):,} training, {len(data.validation):,} validation and {plural(len(data.test), 'test row')}"
    )
    say(console, f"{splits} of {plural(len(data.labels), 'class')}: {labels_in_words(data.labels)}")
    for finding in data.findings:
        if finding.severity == "warning" or finding.kind in ("duplicate", "separated"):
            _print_finding(console, finding)


def print_warning(console: Console, sentence: str) -> None:
    _print_finding(console, Finding("refused", "warning", 1, sentence))


def _print_finding(console: Console, finding: Finding) -> None:
    for line in finding_lines(finding):
        say(console, line, markup=True)


def print_next(console: Console, recipe: Path) -> None:
    """The commands that take the recipe."""
    runs = (Path("runs", f"{recipe.stem}{'' if number == 1 else f'-{number}'}") for number in count(1))
    run = next(run for run in runs if not run.exists())
    for command, what in (
        (f"loraloom budget {shell_path(recipe)}", "counts what it trains, before anything is loaded"),
        (f"loraloom search {shell_path(recipe)} --out {shell_path(run)}", "the main job"),
    ):
        say(console, f"next    {escape(command)}   [dim]{what}[/dim]", markup=True)
