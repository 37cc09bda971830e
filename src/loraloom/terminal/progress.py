"""A bar for work of known size that may not be there: it is shown from the first count on, and gone at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from loraloom.terminal.console import is_drawn_on, make_console, say
from loraloom.wording import percent

LONG_SECONDS = 2.0
LOG_SECONDS = 60.0
"""Where no bar can be drawn, as in a log, a line is said as often."""


@contextmanager
def progress(what: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """Gives a function that is told how much is done, and of how much; what `console` prints meanwhile is above it.

    Without a terminal that it can be drawn on it is one line, when the work begins.
    """
    drawn = is_drawn_on(console)
    bar = Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True
    )
    task = None

    def told(done: int, of: int) -> None:
        nonlocal task
        if task is None:
            task = bar.add_task(what, total=of)
            if drawn:
                bar.start()
            else:
                say(console, f"{what}: {of:,}")
        bar.update(task, completed=done)

    try:
        yield told
    finally:
        if bar.live.is_started:
            bar.stop()


class RowsProgress:
    """Rows of a file as they are done, with their rate, where it takes long: a bar, or lines where none can be drawn.

    What is noted meanwhile is printed above it, on standard error as it is.
    """

    def __init__(self, what: str, *, alone: bool = True) -> None:
        """`alone`: nothing else is printed on the terminal meanwhile, as the rows themselves might be."""
        self._console = make_console(stderr=True)
        self._drawn, self._alone = alone and is_drawn_on(self._console), alone
        bar = TextColumn("{task.fields[rows]:,} rows"), TextColumn("{task.fields[rate]}")
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *bar,
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._what, self._task = what, self._bar.add_task(what, total=None, rows=0, rate="")
        self._first: tuple[float, int] | None = None
        self._begun = self._told = time.monotonic()
        self.kept_rows = 0
        """After which the same command goes on, where it has not come to its end."""

    def note(self, sentence: str) -> None:
        say(self._console, f"loraloom: {sentence}")

    def done(self, rows: int, share: float | None) -> None:
        now = time.monotonic()
        first = self._first = self._first or (now, rows)
        rate = f"{(rows - first[1]) / (now - first[0]):,.0f} rows/s" if rows > first[1] and now > first[0] else ""
        total, completed = (None, 0.0) if share is None else (1.0, share)
        self._bar.update(self._task, total=total, completed=completed, rows=rows, rate=rate)
        if self._drawn and not self._bar.live.is_started and now - self._begun > LONG_SECONDS:
            self._bar.start()
        if self._alone and not self._drawn and now - self._told > LOG_SECONDS:
            self._told = now
            of = "" if share is None else f", {percent(share)}"
            self.note(", ".join(filter(None, (f"{self._what}: {rows:,} rows so far{of}", rate))))

    def kept(self, rows: int) -> None:
        self.kept_rows = rows

    def close(self) -> None:
        if self._bar.live.is_started:
            self._bar.stop()
