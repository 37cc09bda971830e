"""How far a work on many rows or trials is: a line in some seconds, and none of what is done sooner."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

T = TypeVar("T")

SECONDS = 5.0


class Telling:
    """Hands a sentence to `note` where `SECONDS` have passed since it was made, or since the last one."""

    def __init__(self, note: Callable[[str], None] = lambda _: None, now: Callable[[], float] = time.monotonic) -> None:
        self._note, self._now, self._last = note, now, now()

    def far(self, what: str, done: int, of: int | None = None, *, unit: str = "rows") -> None:
        """So many rows of `what` are done, of how many where that is known."""
        now = self._now()
        if now - self._last >= SECONDS:
            self._last = now
            self._note(f"{what}: {done:,}{'' if of is None else f' of {of:,}'} {unit} so far")

    def rows(self, what: str, rows: Collection[T]) -> Iterator[T]:
        """One row after another; the clock, which takes as long as a row, is looked at once for a thousand."""
        return self._through(what, rows, "rows", 1_000)

    def trials(self, what: str, trials: Collection[T]) -> Iterator[T]:
        """One trial after another."""
        return self._through(what, trials, "trials", 1)

    def _through(self, what: str, items: Collection[T], unit: str, at_once: int) -> Iterator[T]:
        for done, item in enumerate(items):
            if done % at_once == 0:
                self.far(what, done, len(items), unit=unit)
            yield item


SILENT = Telling()
"""Says nothing."""
