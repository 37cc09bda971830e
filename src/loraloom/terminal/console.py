"""The console that all is printed on: what it is given stands as it is, where rich would make a picture of `:name:`."""

from __future__ import annotations

import errno
import os
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loraloom.terminal.hang_up import let_go
from loraloom.wording import unobeyed

FOLDED_COLUMNS, MOST_COLUMNS = 80, 10_000
"""Of what is printed where nothing says how wide that can be; and where nothing limits it."""


def make_console(*, folds: bool = True, **options: Any) -> Console:
    """A console of rich, which takes the `options`; texts, labels, paths and commands keep their colons.

    Tables are folded at 80 columns in a file or a pipe, as rich does; where that is not wanted (`folds`), they are as
    wide there as they need. Where its terminal goes away, what is printed is dropped, and who prints goes on.
    """
    console = _Console(emoji=False, **options)
    if not console.width:  # by COLUMNS=0, as where a terminal's size is not known: rich would print nothing
        console.width = FOLDED_COLUMNS
    if not (folds or "COLUMNS" in os.environ or console.file.isatty()):
        console.width = MOST_COLUMNS
    return console


class _Console(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        """A line, or a cell of a table: nothing in it is obeyed by the terminal."""
        return super().render_str(unobeyed(text), **options)

    def _check_buffer(self) -> None:
        """Writes what was printed; rich has a word of its own for a closed pipe alone."""
        try:
            super()._check_buffer()
        except OSError as error:
            if error.errno != errno.EIO or not let_go(self.file.fileno()):
                raise


def say(console: Console, line: str, *, markup: bool = False) -> None:
    """Prints a line as it stands, however long: nothing in it is coloured, but what rich's `markup` asks for."""
    console.print(line, highlight=False, markup=markup, soft_wrap=True)


def make_table(*columns: str, **options: Any) -> Table:
    """A table without lines, as all are; the `columns` stand to the left, and rich takes the `options`."""
    return Table(*columns, box=None, pad_edge=False, header_style="bold", **options)


def is_drawn_on(console: Console) -> bool:
    """Whether a table or a bar can be drawn there again and again; elsewhere plain lines say the same.

    On a dumb terminal rich draws nothing, and where colours are forced upon a log (FORCE_COLOR) each drawing would be
    a part of it.
    """
    return console.is_interactive and console.file.isatty()
