"""Wall clocks that jump by years, back and forth, as a clock that is set does; monotonic clocks go on as ever."""

from __future__ import annotations

import itertools
import time

JUMP_SECONDS = 3e8


def befall() -> None:
    """Has time.time() jump at each call."""
    real, signs = time.time, itertools.cycle([1, -1])
    time.time = lambda: real() + next(signs) * JUMP_SECONDS
