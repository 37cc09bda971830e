"""A deadline is kept where every estimate fails: the command ends when its time is over, whatever it is doing.

The plan keeps time for what follows the last trial, but a machine that is suddenly ten times slower breaks any plan. A
run loses nothing by being broken off anywhere, so the process is ended as a kill would end it, with a sentence. (An
exception in the main thread was rejected: it waits for the operation under way to return.)
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from loraloom.cli.beginning import process_start
from loraloom.errors import RunError, StoppedError, in_a_line, shell_path, shell_resume_command
from loraloom.search.clock import Clock, make_clock

EXIT_SECONDS, EXIT_SHARE = 0.5, 0.5
"""What is left for the process to go: seconds, and of what it took to load and come here, where that is more."""
SHOW_CURSOR = "\x1b[?25h"


@contextlib.contextmanager
def ended_in_time(
    run: Path, max_seconds: float | None, deadline: str | None, option: str = "budget.max_seconds"
) -> Iterator[None]:
    """What is done within ends by the deadline of this command, or the process does: 75 where there is a run, else 2.

    `option` is what sets `max_seconds`.

    Raises:
        RecipeError: as `make_clock`.
    """
    clock = make_clock(max_seconds, deadline, process_start(), option=option)
    if clock.max_seconds is None:
        yield
        return
    import loraloom.study.run  # noqa: F401  # which is read at the end, when the main thread may hang in an import

    left = clock.max_seconds - clock.seconds - max(EXIT_SECONDS, EXIT_SHARE * clock.loading_seconds)
    timer = threading.Timer(max(0.0, left), _end, (run, clock, time.time() - clock.seconds))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(run: Path, clock: Clock, began: float) -> None:
    try:
        code, sentence = _last_word(run, clock, began)
    except Exception as error:  # as of a disk that does not answer any more
        code = StoppedError.exit_code
        sentence = f"loraloom: the time is over, and {shell_path(run)}: {in_a_line(error)}"
    if sys.stderr.isatty():
        sentence = SHOW_CURSOR + sentence
    with contextlib.suppress(OSError):
        os.write(2, f"{sentence}\n".encode(errors="surrogateescape"))
    os._exit(code)


def _last_word(run: Path, clock: Clock, began: float) -> tuple[int, str]:
    """The exit code, and the sentence, of a command that `began` so many seconds after 1970."""
    from loraloom.study.commands import again_options
    from loraloom.study.run import is_run, trial_folders

    seconds = clock.max_seconds or 0.0
    passed = f"{clock.option} has passed (SLURM_JOB_END_TIME); unset it where the job was given more time"
    if trial_folders(run):
        tested = _has_winner(run, began)
        what = "the report was written" if tested else "the winner was tested and the report written"
        why = f"the {seconds:.0f} s ({clock.option}) were over before {what}" if seconds > 0 else passed
        go_on = shell_resume_command(run, again_options(run))  # rows given from Python have no watchdog
        error = StoppedError(run, why, go_on=go_on)
        return error.exit_code, f"loraloom: {error}"
    if seconds <= 0:
        return 2, f"loraloom: {passed}"
    what, more, then = "the search could begin", math.ceil(max(60, 3 * seconds)), ""
    if is_run(run):  # as much again, in which as much would be done, would end as this did
        what = "a trial was begun"
        then = f": {shell_resume_command(run, {**again_options(run), 'max_seconds': more})}"
    return 2, (
        f"loraloom: the time does not suffice for one trial: {seconds:.0f} s were over before {what}; "
        f"give it {more} s ({clock.option}), or a machine that has less to do{then}"
    )


def _has_winner(run: Path, began: float) -> bool:
    """Whether the command has its winner; what lies in best/ may be an earlier one's."""
    from loraloom.study.commands import read_commands

    try:
        last = read_commands(run)[-1]
        return last.ended == "done" and datetime.fromisoformat(last.started).timestamp() > began - 1  # whole seconds
    except (RunError, IndexError, ValueError):
        return False
