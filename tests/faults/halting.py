"""A run that stands still in the midst of a trial until somebody has it go on: what befalls it meanwhile comes then.

However fast the machine is and however late the test: a step that only took long would be over one day. Nor does it
depend on which thread the system gives a signal to: the libraries' are sometimes slow to be given a turn.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from loraloom.engine.checkpoint import Checkpoints, State
from loraloom.engine.loom.pack import Pack

HALTS_IN, HEEDS, HANGS = "FAULTS_HALTS_IN", "FAULTS_HEEDS", "FAULTS_HANGS"
"""Hold the number of the step in which the process stops itself, counted from its beginning; the number of the signal
without which that step does not go on; and the path of the file that is made by a save, which then hangs."""
HANGING_SECONDS = 600


def befall() -> None:
    """Has the process stop itself in a step; has saves hang where it is asked to."""
    step, save, done = Pack.step, Checkpoints.save, 0

    def halting_step(pack: Pack, rates: Sequence[float]) -> None:
        nonlocal done
        done += 1
        if done == int(os.environ[HALTS_IN]):
            _halt(os.environ.get(HEEDS))
        step(pack, rates)

    def hanging_save(checkpoints: Checkpoints, state: State) -> None:
        Path(os.environ[HANGS]).touch()
        until = time.monotonic() + HANGING_SECONDS
        while time.monotonic() < until:
            time.sleep(0.1)  # one long sleep begun just after a signal arrived would be slept to its end
        save(checkpoints, state)

    patch = pytest.MonkeyPatch()
    patch.setattr(Pack, "step", halting_step)
    if HANGS in os.environ:
        patch.setattr(Checkpoints, "save", hanging_save)


def _halt(heeds: str | None) -> None:
    """Stops the process; where it `heeds` a signal, that one has come to Python's ears when it goes on."""
    ears, mouth = os.pipe()
    os.set_blocking(mouth, False)
    signal.set_wakeup_fd(mouth)  # it is told each signal that Python hears, whichever thread is given it
    os.kill(os.getpid(), signal.SIGSTOP)
    while heeds is not None and os.read(ears, 1)[0] != int(heeds):
        pass
