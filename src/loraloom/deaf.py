"""Processes that a run begins and ends itself: they ignore the signals that end it, which a terminal sends to all."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDS = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
"""What a terminal, SLURM or systemd sends to every process."""


@contextmanager
def begun_deaf() -> Iterator[None]:
    """A process that is begun within has these signals blocked, until it ignores them by `stay_deaf`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stay_deaf() -> None:
    """Ignores these signals for good, in such a process."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
