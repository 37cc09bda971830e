"""The process of one tracker: reads calls from standard input, a JSON line each, and answers each with a line.

An answer is {} or {"error": "a sentence"}, after which the process ends. What the tracker's library prints goes to its
log. The end of input is the end of the run's process, where a signal to all is not: the tracker is closed, in a limited
time.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.deaf import stay_deaf
from loraloom.errors import in_a_line
from loraloom.tracking.tracker import Told

if TYPE_CHECKING:
    from loraloom.tracking.tracker import Tracker

CLASSES = {
    "tensorboard": "loraloom.tracking.tensorboard:TensorBoard",
    "mlflow": "loraloom.tracking.mlflow:MLflow",
    "wandb": "loraloom.tracking.wandb:WandB",
    "trackio": "loraloom.tracking.trackio:Trackio",
}
CALLS = ("begin", "begin_trial", "log", "end_trial", "crown", "close")
ORPHAN_SECONDS = 60
NICENESS = 10
"""Training comes first where cores are few."""


def main() -> None:
    """Serves the tracker whose class, `module:Class`, is the first argument."""
    stay_deaf()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.nice(NICENESS)
    module, name = sys.argv[1].split(":")
    calls, begun = iter(sys.stdin.readline, ""), False
    try:
        tracker: Tracker = getattr(importlib.import_module(module), name)()
        for line in calls:
            if not line.endswith("\n"):  # cut off by a kill
                break
            message = json.loads(line)
            _call(tracker, message["call"], message["arguments"])
            begun = True  # which is the first call
            answers.write("{}\n")
            answers.flush()
            if message["call"] == "close":
                return
        signal.alarm(ORPHAN_SECONDS)
        if begun:
            tracker.close(finished=False)
    except Exception as error:
        answers.write(json.dumps({"error": in_a_line(error)}) + "\n")
        answers.flush()
        traceback.print_exc()  # last: the log may be on the disk that is full
        sys.exit(1)


def _call(tracker: Tracker, call: str, arguments: dict[str, Any]) -> None:
    if call not in CALLS:
        raise ValueError(f"{call!r} is not a call of a tracker's")
    if call == "begin":
        tracker.begin(Told(**{**arguments, "folder": Path(arguments["folder"])}))
    else:
        getattr(tracker, call)(**arguments)
