"""Steps that take a while and are counted, so that a signal comes between two of them; and a save that does not end."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from loraloom.engine.checkpoint import Checkpoints, State
from loraloom.engine.loom.pack import Pack

STEPS, HANGS = "FAULTS_STEPS", "FAULTS_HANGS"
"""Hold the path of the file that has a byte for each step, and of the one that is made by a save, which then hangs."""
STEP_SECONDS, HANGING_SECONDS = 0.5, 600


def befall() -> None:
    """Slows steps down; has saves hang where it is asked to."""
    step, save = Pack.step, Checkpoints.save

    def slow_step(pack: Pack, rates: Sequence[float]) -> None:
        time.sleep(STEP_SECONDS)
        step(pack, rates)
        with Path(os.environ[STEPS]).open("a") as file:
            file.write(".")

    def hanging_save(checkpoints: Checkpoints, state: State) -> None:
        Path(os.environ[HANGS]).touch()
        time.sleep(HANGING_SECONDS)
        save(checkpoints, state)

    patch = pytest.MonkeyPatch()
    patch.setattr(Pack, "step", slow_step)
    if HANGS in os.environ:
        patch.setattr(Checkpoints, "save", hanging_save)
