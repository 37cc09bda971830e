"""When this command began: imported before all else of the command line, so that the other imports count."""

from __future__ import annotations

import os
import time
from pathlib import Path

FIRST_LINE = time.monotonic()
INTERPRETER_SECONDS = 1.0
"""What an interpreter takes to come to its first line; what is more than that was another program's."""


def process_start() -> float:
    """The monotonic time at which this command began: its interpreter and its imports count.

    The kernel says when the process began. That may have been as another program, as a shell that becomes its last
    command (`exec`), of which no time is kept.
    """
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        passed = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0]) - started
    except (OSError, ValueError, IndexError):
        return FIRST_LINE
    if passed < 0:  # the uptime is a container's own, and the process is older than that
        return FIRST_LINE
    return max(time.monotonic() - passed, FIRST_LINE - INTERPRETER_SECONDS)
