"""Whether a command had come to its run when a signal ended it: before, its name and arguments are being read."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loraloom.cli import entry, running, runs
from loraloom.cli.commands import app
from loraloom.execute.stopping import Stop

VARIABLE, HEARD, HALTS = "FAULTS_BEGUN", "FAULTS_HEARD", "FAULTS_HALTS"
"""Hold the paths of the file that is made where signals are answered by the run's own sentence, and of the one that is
made where they are answered at all; with the third the process stops itself at the first."""


def befall() -> None:
    """Makes the files once signals are handled."""
    stoppable = running.stoppable

    def heard(**named: Any) -> Any:
        if HEARD in os.environ:
            Path(os.environ[HEARD]).touch()
        return app(**named)

    @contextmanager
    def marked(run: Path, grace: float) -> Iterator[Stop]:
        with stoppable(run, grace) as stop:
            Path(os.environ[VARIABLE]).touch()
            if HALTS in os.environ:
                os.kill(os.getpid(), signal.SIGSTOP)
            yield stop

    vars(entry)["app"] = heard
    for module in (running, runs):
        vars(module)["stoppable"] = marked
