"""Whether a command had come to its run when a signal ended it: before, its name and arguments are being read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loraloom.cli import running, runs
from loraloom.execute.stopping import Stop

VARIABLE = "FAULTS_BEGUN"
"""Holds the path of the file that is made where signals are answered by the run's own sentence."""


def befall() -> None:
    """Makes the file once signals are handled."""
    stoppable = running.stoppable

    @contextmanager
    def marked(run: Path, grace: float) -> Iterator[Stop]:
        with stoppable(run, grace) as stop:
            Path(os.environ[VARIABLE]).touch()
            yield stop

    for module in (running, runs):
        vars(module)["stoppable"] = marked
