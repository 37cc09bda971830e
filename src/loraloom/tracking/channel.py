"""The way to one tracker: a process of its own, a bounded queue to it, and a limit on how long each call may take.

Whatever a tracker does, the run goes on: `send` neither waits nor raises, and a tracker that raises, hangs, dies or
falls behind is ended, with the reason kept for one sentence. A process costs a second or two of imports, at a low
priority, and tens of megabytes. Rejected: a thread in the run's own process. A library's exit handlers, signal
handlers, locks and native code would still be there to hang or end the run; and a hanging thread can't be ended.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

from loraloom.deaf import begun_deaf
from loraloom.errors import in_a_line

_START = "import sys; sys.path.append(sys.argv.pop(1)); from loraloom.tracking.child import main; main()"


LAST_WORDS_SECONDS = 5
"""In which a tracker that failed writes to its log what there is to say."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a tracker's slowness is borne."""

    begin_seconds: float = 120
    """Its library is imported in this, and its store opened."""
    call_seconds: float = 60
    waiting_calls: int = 10_000
    close_seconds: float = 30
    """The longest that the end of a run waits for its trackers."""
    broken_off_seconds: float = 2
    """The same where the run was broken off: a person who pressed Ctrl-C waits."""


class Channel:
    """A tracker as its run sees it; all methods are called by one thread."""

    def __init__(self, name: str, tracker: str, folder: Path, limits: Limits) -> None:
        """Starts the tracker `tracker` (`module:Class`); what it prints goes to `folder`/`name`.log."""
        self.name, self.log = name, folder / f"{name}.log"
        self.why_ended: str | None = None
        """Why the tracker is no longer told, once it is not."""
        self._tracker, self._limits = tracker, limits
        self._ended_file = folder / f"{name}.ended"
        self._calls: queue.Queue[Iterator[dict[str, Any]] | None] = queue.Queue(limits.waiting_calls)
        self._begun = False
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def ended_trials(self) -> frozenset[int]:
        """Trials whose end the tracker was told, by this process or one before; a torn last line counts for none."""
        try:
            lines = self._ended_file.read_text(encoding="ascii", errors="replace").split("\n")[:-1]
        except FileNotFoundError:
            return frozenset()
        return frozenset(int(line) for line in lines if line.isdecimal())

    def send(self, call: str, **arguments: Any) -> None:
        """Has the tracker told, when its turn comes."""
        self._begun = self._begun or call == "begin"
        self.send_all(iter([(call, arguments)]))

    def send_all(self, calls: Iterator[tuple[str, dict[str, Any]]]) -> None:
        """Has the tracker told of calls that are only made, by another thread, when their turn comes.

        They count as one of those that wait. An error in making one ends the tracker.
        """
        if self.why_ended is None:
            try:
                self._calls.put_nowait(({"call": call, "arguments": arguments} for call, arguments in calls))
            except queue.Full:
                self.give_up(f"it fell {self._limits.waiting_calls:,} calls behind")

    def close(self, *, finished: bool) -> None:
        """Has the tracker told that this was all; `wait` for it. One that was not begun is ended, and hasn't failed."""
        if self._begun:
            self.send("close", finished=finished)
        with suppress(queue.Full):
            self._calls.put_nowait(None)

    def wait(self, seconds: float) -> None:
        """Waits until the tracker has kept all that it was told, `seconds` at most; then ends it."""
        try:
            self._thread.join(max(0.0, seconds))
        finally:
            if self._begun and self._thread.is_alive():
                self.give_up("it was not done in time when the run ended")

    def give_up(self, why: str) -> None:
        """Ends the tracker; the first reason stands."""
        if self.why_ended is None:
            self.why_ended = why
        self._kill()

    def _kill(self) -> None:
        """Ends the process and those that it started in its session."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    # The thread

    def _work(self) -> None:
        try:
            with self._started() as process:
                for message in chain.from_iterable(iter(self._calls.get, None)):
                    if self.why_ended is not None:
                        return
                    with self._limited(message["call"]):
                        self._tell(process, message)
                        if message["call"] == "close":
                            process.wait()
                            return
        except Exception as error:
            self.give_up(str(error) if isinstance(error, _TrackerFailedError) else in_a_line(error))

    @contextmanager
    def _started(self) -> Iterator[subprocess.Popen[str]]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        source = str(Path(__file__).parents[2])  # where loraloom is, also where it is not installed
        command = [sys.executable, "-P", "-c", _START, source, self._tracker]
        with self.log.open("ab") as log, begun_deaf():
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # what its library starts is ended with it
            )
        self._process = process
        try:
            yield process
        finally:
            self._kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    cast(Any, pipe).close()

    @contextmanager
    def _limited(self, call: str) -> Iterator[None]:
        """Ends the process where a call takes too long; whoever waits for it then reads its end."""
        seconds = self._limits.begin_seconds if call == "begin" else self._limits.call_seconds
        timer = threading.Timer(
            seconds, self.give_up, (f"it took more than {seconds:g} seconds for one call ({call})",)
        )
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _tell(self, process: subprocess.Popen[str], message: dict[str, Any]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # then it has ended, which its answer says better
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        if not answer.endswith("\n"):
            process.wait()
            raise _TrackerFailedError(f"its process ended by {_by(process.returncode)}")
        error = json.loads(answer).get("error")
        if error is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LAST_WORDS_SECONDS)
            raise _TrackerFailedError(error)
        if message["call"] == "end_trial":
            with self._ended_file.open("a", encoding="ascii") as file:
                file.write(f"{message['arguments']['number']}\n")


class _TrackerFailedError(Exception):
    """A tracker's own word on what went wrong."""


def _by(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
