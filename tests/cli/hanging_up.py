"""A command on a terminal that goes away: at once, or after a word that it printed."""

from __future__ import annotations

import os
import pty
import sys
import threading
from pathlib import Path

VARIABLE = "HANGS_UP_AFTER"
"""Holds the word; nothing: at once."""
GONE = Path("gone")
"""A file in the command's folder that says that the terminal is."""


def befall() -> None:
    """Gives the command its terminal, and takes it away."""
    ours, theirs = pty.openpty()
    for number in (1, 2):
        os.dup2(theirs, number)
    os.close(theirs)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))  # which can't be sought in
    word = os.environ[VARIABLE].encode()

    def hang_up() -> None:
        said = b""
        while word not in said:
            said += os.read(ours, 1024)
        os.close(ours)
        GONE.touch()

    if word:
        threading.Thread(target=hang_up, daemon=True).start()
    else:
        hang_up()
