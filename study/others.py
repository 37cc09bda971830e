"""What other processes took of the processor while a peer ran, or a trial: its time is its own where they took little.

The machine's busy time (the hypervisor's theft too) less that of this process and of all that it started and waited
for, by the kernel's own counts: the load average, which goes by minutes, still shows the peer before.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

BUSY = 0.05
"""Share of all cores, from which a peer had less than its time."""
_STAT = Path("/proc/stat")
_IDLE, _IOWAIT, _COUNTED = 3, 4, 8
"""Places of a line of the kernel's: user, nice, system, idle, iowait, irq, softirq, steal; what follows is in user."""


def is_disturbed(share: float | None) -> bool:
    """Whether times may be others' too: where what they took is not known, they are."""
    return share is None or share > BUSY


class Others:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._start = time.monotonic(), _busy_seconds(), _own_seconds()

    def share(self) -> float | None:
        """Share of all cores since then, 0 to 1; None where the kernel doesn't count (not Linux)."""
        began, busy_before, own_before = self._start
        busy = _busy_seconds()
        if busy is None or busy_before is None:
            return None
        others = busy - busy_before - (_own_seconds() - own_before)
        return round(max(0.0, others) / ((time.monotonic() - began) * (os.cpu_count() or 1)), 4)


def _busy_seconds() -> float | None:
    """Of all cores, since the machine started."""
    if not _STAT.is_file():
        return None
    ticks = [int(word) for word in _STAT.read_text(encoding="ascii").splitlines()[0].split()[1 : 1 + _COUNTED]]
    return (sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT]) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
