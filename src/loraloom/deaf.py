"""Processes of a run's own that don't end by what ends it, though all are sent it: who began them says when to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDS = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
"""What a terminal, SLURM or systemd sends to every process."""


@contextmanager
def begun_deaf() -> Iterator[None]:
    """A process that is begun within has the signals kept from it until it stays deaf by itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stay_deaf() -> None:
    """Ignores them for good, in such a process."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
