"""Processes that don't end by what ends the run that began them."""

from __future__ import annotations

import signal
import subprocess
import sys

from loraloom.deaf import ENDS, begun_deaf

ASKS = """
import signal
from loraloom.deaf import ENDS, stay_deaf
first = signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= ENDS
stay_deaf()
for number in ENDS:
    signal.raise_signal(number)
print(first, not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & ENDS)
"""


def test_a_process_is_deaf_from_its_first_moment_to_its_last() -> None:
    with begun_deaf():
        child = subprocess.Popen([sys.executable, "-c", ASKS], stdout=subprocess.PIPE, text=True)
    assert child.communicate()[0] == "True True\n"
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & ENDS
