"""What a network's file system does otherwise, on a disk that is none."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Any

import pytest


def lock_as_on_nfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are open for reading alone get no exclusive lock."""
    flock = fcntl.flock

    def of_nfs(file: Any, how: int) -> None:
        if how & fcntl.LOCK_EX and fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
