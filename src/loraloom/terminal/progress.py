"""A bar for work of known size that may not be there: it is shown from the first count on, and gone at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function that is told how much is done, and of how much; it writes to standard error.

    Without a terminal it is one line, when the work begins.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True
    )
    task = None

    def told(done: int, of: int) -> None:
        nonlocal task
        if task is None:
            task = bar.add_task(what, total=of)
            if console.is_terminal:
                bar.start()
            else:
                console.print(f"{what}: {of:,}", highlight=False)
        bar.update(task, completed=done)

    try:
        yield told
    finally:
        bar.stop()
