"""The recipes that come with loraloom, for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_recipes(console: Console, recipes: Mapping[str, str]) -> None:
    """A row for each: its name, and what it is."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("recipe", no_wrap=True)
    table.add_column("what it is")
    for name, about in recipes.items():
        table.add_row(escape(name), escape(about))
    console.print(table)
