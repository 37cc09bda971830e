"""The leaderboard of a search under way: each trial is ranked and formatted once, when it ends.

A trial that ends costs its own row and its own configuration's standing, whatever number ended before it; only
leaderboard.csv is written whole, from rows that are kept (tens of milliseconds at 10,000 trials). So that this stays a
small part of the time however fast trials end, `PAUSE` times as long as the last writing took must pass before the
next. A thread then writes what has ended meanwhile: that second or less is what a power cut can cost of the file.
Trials themselves are in their folders and in the ledger, and the file is written anew when a resumed search ends one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from loraloom.errors import LoraloomError
from loraloom.recipe.fields import Metric
from loraloom.study.durable import write_text
from loraloom.study.leaderboard import (
    Standing,
    axes_of,
    configuration_key,
    from_first,
    header_row,
    row,
    row_order,
    standing,
)
from loraloom.study.record import TrialRecord

PAUSE = 20.0


class LiveLeaderboard:
    """Standings and leaderboard.csv, kept as trials end; a context, at whose end the file holds all of them."""

    def __init__(self, path: Path, metric: Metric, records: Iterable[TrialRecord]) -> None:
        """Ranks the `records` of trials that have ended already; the file is written when another ends."""
        self._path, self._metric = path, metric
        self._records: dict[int, TrialRecord] = {}
        self._axes: tuple[str, ...] = ()
        self._rows: list[tuple[tuple[int, int, float, int], str]] = []
        self._groups: dict[str, list[TrialRecord]] = {}
        self._standings: list[Standing] = []
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._not_before = 0.0
        self._pending = False
        self._failure: LoraloomError | OSError | None = None
        for record in records:
            self._take(record)

    @property
    def finished(self) -> int:
        """How many trials have ended."""
        return len(self._records)

    @property
    def standings(self) -> tuple[Standing, ...]:
        """Configurations from the first to the last, as `leaderboard.standings` ranks them."""
        return tuple(self._standings)

    def add(self, record: TrialRecord) -> None:
        """Ranks a trial that has ended, and has the file written, at once or soon.

        Raises:
            OSError, LoraloomError: the file could not be written, now or since the last call.
        """
        with self._lock:
            self._take(record)
            self._pending = True
            if self._failure is not None:
                raise self._failure
            wait = self._not_before - time.monotonic()
            if wait <= 0:
                self.write()
            elif self._timer is None:
                self._timer = threading.Timer(wait, self._write_late)
                self._timer.daemon = True
                self._timer.start()

    def write(self) -> None:
        """Writes leaderboard.csv."""
        with self._lock:
            self._forget_timer()
            start = time.monotonic()
            write_text(self._path, header_row(self._axes) + "".join(line for _, line in self._rows))
            self._pending, end = False, time.monotonic()
            self._not_before = end + PAUSE * (end - start)

    def _write_late(self) -> None:
        with self._lock:
            if self._pending:
                try:
                    self.write()
                except (LoraloomError, OSError) as error:
                    self._failure = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._forget_timer()
            if self._pending:
                with contextlib.suppress(*() if kind is None else (LoraloomError, OSError)):
                    self.write()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _take(self, record: TrialRecord) -> None:
        """Ranks a record; one of a trial that is ranked already takes its place."""
        if (old := self._records.get(record.number)) is not None:
            self._drop(old)
        self._records[record.number] = record
        if not self._keeps_columns(record):
            axes = axes_of(self._records[number] for number in sorted(self._records))
            if axes != self._axes:
                self._axes = axes
                self._rows = [(key, row(self._records[key[-1]], axes)) for key, _ in self._rows]
        insort(self._rows, (row_order(record, self._metric), row(record, self._axes)))
        if record.state == "complete":
            self._rank(record, present=True)

    def _keeps_columns(self, record: TrialRecord) -> bool:
        """Whether the columns, in the order in which trials first name them, are the same with this record.

        They are where it begins as they do, and where it is the last trial and names no other.
        """
        if tuple(record.point) == self._axes[: len(record.point)]:
            return True
        return record.point.keys() <= set(self._axes) and record.number == max(self._records)

    def _drop(self, record: TrialRecord) -> None:
        del self._rows[bisect_left(self._rows, (row_order(record, self._metric), ""))]
        if record.state == "complete":
            self._rank(record, present=False)

    def _rank(self, record: TrialRecord, *, present: bool) -> None:
        """Ranks the configuration of `record` anew, with it or without."""
        group = self._groups.setdefault(configuration_key(record), [])
        if group:
            del self._standings[bisect_left(self._standings, from_first(standing(group, self._metric)), key=from_first)]
        group[:] = [other for other in group if other.number != record.number]
        if present:
            insort(group, record, key=lambda one: one.number)
        if group:
            insort(self._standings, standing(group, self._metric), key=from_first)
