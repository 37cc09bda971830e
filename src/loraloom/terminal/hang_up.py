"""A terminal that goes away (a window that is closed, a connection that is lost) ends no search.

Of a pipe it is told whether anybody reads it.
"""

from __future__ import annotations

import os
import select
import stat


def let_go(*descriptors: int) -> bool:
    """Drops what is written, from here on, to those that are terminals which have hung up; whether one is."""
    gone = [descriptor for descriptor in descriptors if _has_hung_up(descriptor)]
    if gone:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in gone:
            os.dup2(nowhere, descriptor)
        os.close(nowhere)
    return bool(gone)


def _has_hung_up(descriptor: int) -> bool:
    """Whether every write to it fails (EIO); it answers no question of a terminal's any more, as isatty asks."""
    return _has_had(select.POLLHUP, descriptor) and stat.S_ISCHR(os.fstat(descriptor).st_mode)


def is_unread(descriptor: int) -> bool:
    """Whether it is a pipe that nobody reads any more."""
    return _has_had(select.POLLERR, descriptor)


def _has_had(event: int, descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & event for _, events in poll.poll(0))
