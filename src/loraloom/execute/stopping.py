"""A wish to stop, from a signal: noted from the first trial to the last, and after them where it grants the time that
the test and the report take; raised elsewhere.

Trials under way save themselves after their step: a handler that raised in mid-step would leave one that has drawn its
dropout and not stepped. The second wish is raised wherever it finds the run: nothing older than the last checkpoint is
lost by that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stop:
    """Whether, why and until when a run is asked to stop; `grace_seconds` is the time that it may still take."""

    def __init__(
        self, grace_seconds: float = 0.0, now: Callable[[], float] = time.monotonic, *, for_good: bool = False
    ) -> None:
        """`for_good`: nobody will go on with the run, so a trial under way is better ended where it is than kept."""
        self._grace_seconds, self._now, self.for_good = grace_seconds, now, for_good
        self._until: float | None = None
        self._error: BaseException | None = None
        self._needed: float | None = None
        self.pauses = 0
        """How often the process stood still and went on (Ctrl-Z, SIGSTOP, SLURM's suspend)."""

    def ask(self, error: BaseException) -> None:
        """From a signal's handler: `error` is what a run that has stopped raises."""
        if self._error is not None or self._needed is None or self._grace_seconds < self._needed:
            raise error
        self._error, self._until = error, self._now() + self._grace_seconds

    def asked(self) -> bool:
        return self._error is not None

    @property
    def seconds_left(self) -> float:
        """Of the time that a run which was asked to stop may still take."""
        return 0.0 if self._until is None else max(0.0, self._until - self._now())

    def leaves(self, seconds: float) -> bool:
        """Whether the run may still take so many seconds: more are left of its grace, or nobody asked it to stop."""
        return not self.asked() or self.seconds_left > seconds

    def last_chance(self, seconds: float) -> float:
        """The time after which fewer `seconds` are left of the grace; endless where nobody asked, or it is less."""
        return math.inf if self._until is None or self._grace_seconds < seconds else self._until - seconds

    def raise_if_asked(self) -> None:
        if self._error is not None:
            raise self._error

    @contextmanager
    def politely(self, seconds: float = 0.0) -> Iterator[None]:
        """Within, the first wish is noted and not raised, where it leaves the `seconds` that are needed."""
        self._needed = seconds
        try:
            yield
        finally:
            self._needed = None
