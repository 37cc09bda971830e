"""Whose turn it is to fill a file of kept states: one process's, while others that want the same wait for it.

The lock ends with its process; who waits looks each 0.05 s. Rejected: training without the kept states meanwhile, which
is slower and, since states that are computed batch by batch are rounded otherwise, has results that depend on who came
first.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LOOK_SECONDS = 0.05


@contextmanager
def only_filler(path: Path, deadline: float | None, heed: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Waits until no other process holds the lock `path`, and holds it.

    False where the deadline came before, or the disk gives no lock. `heed` is called while it waits, and may break off
    by an exception.
    """
    file = _opened(path)
    if file is None:
        yield False
        return
    with file:
        yield _held(file, deadline, heed)


def _opened(path: Path) -> IO[bytes] | None:
    try:
        return path.open("ab")
    except OSError:
        return None


def _held(file: IO[bytes], deadline: float | None, heed: Callable[[], None]) -> bool:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if deadline is not None and time.monotonic() >= deadline:
                return False
        except OSError:
            return False
        else:
            return True
        heed()
        time.sleep(LOOK_SECONDS)
