"""The memory that a computation takes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def peak_of(compute: Callable[[], T]) -> tuple[T, int]:
    """What is computed, and the most bytes that Python and numpy held for it at once."""
    tracemalloc.start()
    try:
        return compute(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
