"""Trials in processes of their own that are killed, or asked to stop by a signal, at random moments, and gone on with.

python -m tests.engine.killed_trials FOLDER ENGINE SIGNAL COUNT

ENGINE is loom or trainer, SIGNAL is KILL, TERM or INT. Each of COUNT trials is sent the signal up to three times; it
must end with the adapter and the evaluations of a trial that was left alone. More trials follow until COUNT signals
have found one at work. Run as a program, since it forks, and
torch should do little before; it prints how many signals arrived while a trial ran, and exits 1 where one differs.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from loraloom.engine import Job
from tests.engine.broken_off import ENGINES, always, contents, hear, job_of
from tests.numerics.architectures import save_model

SIGNALS = 3
STOPPED = 75
FIELDS: dict[str, Any] = {"train": {"num_train_epochs": 3, "lr_scheduler_type": "reduce_lr_on_plateau"}}


def train(job: Job, name: str) -> int:
    """Trains a job in this process, stopping between two steps when a signal has asked for it; an exit code."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    (outcome,) = ENGINES[name](rhythm=always).train_pack([job], hear, lambda: asked)
    return STOPPED if outcome.state == "stopped" else 0


def started(job: Job, name: str) -> int:
    """A process that trains the job."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = train(job, name)
    except KeyboardInterrupt:  # before the handler was there
        code = STOPPED
    finally:
        os._exit(code)


def broken_off(job: Job, name: str, sent: signal.Signals, longest: float, draws: random.Random) -> int:
    """Trains a job in processes that are sent a signal after a while; how many it found at work."""
    found, ended = 0, False
    for _ in range(SIGNALS):
        child = started(job, name)
        time.sleep(draws.uniform(0, longest))
        os.kill(child, sent)
        status = os.waitpid(child, 0)[1]
        ended = status == 0
        if ended:
            break
        # A signal before the handler is there ends the process as it ends any.
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == STOPPED, f"a process ended with {status}"
        found += 1
    if not ended:  # an adapter may be there by half: that it is whole is said by a manifest, which a run writes
        assert os.waitpid(started(job, name), 0)[1] == 0
    return found


def main(folder: Path, name: str, sent: signal.Signals, count: int) -> int:
    model = save_model("bert", folder / "model")
    for kind in ("first", "whole"):  # the first takes longer, and most of its time is no trial's
        whole = job_of(model, folder / kind, FIELDS)
        start = time.monotonic()
        assert os.waitpid(started(whole, name), 0)[1] == 0
        longest = time.monotonic() - start
    draws, trials, found, different = random.Random(count), 0, 0, 0  # noqa: S311
    while trials < count or found < count:
        job = job_of(model, folder / str(trials), FIELDS)
        found += broken_off(job, name, sent, longest, draws)
        different += contents(job.folder) != contents(whole.folder)
        trials += 1
    print(f"{name}: {found} signals {sent.name} in {trials} trials, {different} trials differ")
    return 1 if different else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], signal.Signals[f"SIG{sys.argv[3]}"], int(sys.argv[4])))
