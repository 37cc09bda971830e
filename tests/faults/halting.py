"""A run that stands still in the midst of a trial until somebody has it go on: what befalls it meanwhile comes then.

However fast the machine is and however late the test: a step that only took long would be over one day.
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

HALTS_IN, HANGS = "FAULTS_HALTS_IN", "FAULTS_HANGS"
"""Hold the number of the step in which the process stops itself, counted from its beginning, and the path of the file
that is made by a save, which then hangs."""
HANGING_SECONDS = 600


def befall() -> None:
    """Has the process stop itself in a step; has saves hang where it is asked to."""
    step, save, done = Pack.step, Checkpoints.save, 0

    def halting_step(pack: Pack, rates: Sequence[float]) -> None:
        nonlocal done
        done += 1
        if done == int(os.environ[HALTS_IN]):
            os.kill(os.getpid(), signal.SIGSTOP)
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
