"""The recipes that come with loraloom, for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape

from loraloom.terminal.console import make_table


def print_recipes(console: Console, recipes: Mapping[str, str]) -> None:
    """A row for each: its name, and what it is."""
    table = make_table()
    table.add_column("recipe", no_wrap=True)
    table.add_column("what it is")
    for name, about in recipes.items():
        table.add_row(escape(name), escape(about))
    console.print(table)
