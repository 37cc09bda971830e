"""What the time allows: whether another trial fits, and when one under way must end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Clock:
    """Time since the command began, against `budget.max_seconds`.

    `reserve` seconds are kept for what follows the last trial: the test, the winner's folder, the report.
    """

    max_seconds: float | None
    now: Callable[[], float] = time.monotonic
    reserve: float = 15.0
    _started: float = field(init=False)
    _longest: float = 0.0

    def __post_init__(self) -> None:
        self._started = self.now()

    @property
    def seconds(self) -> float:
        return self.now() - self._started

    @property
    def trial_deadline(self) -> float | None:
        """The `now()` at which a trial must have ended, or None where time is not limited."""
        return None if self.max_seconds is None else self._started + self.max_seconds - self.reserve

    def note_trial(self, seconds: float) -> None:
        self._longest = max(self._longest, seconds)

    def has_room(self) -> bool:
        """Whether another trial as long as the longest so far would end in time."""
        deadline = self.trial_deadline
        return deadline is None or self.now() + self._longest < deadline
