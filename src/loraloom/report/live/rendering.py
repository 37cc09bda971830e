"""The report in memory, rendered anew when somebody asks, the run has changed, and enough time has passed.

A render takes a second or two of one core and 0.3 s a thousand trials, which the search could use: so while the search
goes, at most a tenth of a core's time goes into it, and none while nobody looks. It is done in a thread of its own:
who asks gets at once what there is. Rejected: rendering only what has changed, since a new trial changes every section.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loraloom.errors import LoraloomError
from loraloom.report.findings import findings
from loraloom.report.live.state import Stamp, State, stamp_of, state_of
from loraloom.report.pictures import pictures
from loraloom.report.reading import read_run
from loraloom.report.writing import report_files

LEAST_SECONDS = 3.0
PAUSES = 9
"""Times the processor seconds of a render, that are waited before the next while the search goes."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """`files` by name, `index.html` among them; `version` differs where any of them does."""

    files: Mapping[str, bytes]
    version: str
    trials: int
    stamp: Stamp


class LiveReport:
    """The latest render of the run in `run`; threads may share it."""

    def __init__(
        self, run: Path, now: Callable[[], float] = time.monotonic, used: Callable[[], float] = time.thread_time
    ) -> None:
        """`used` are the processor seconds of the thread that asks."""
        self._run, self._now, self._used = run, now, used
        self._working = threading.Lock()
        self._rendered: Rendered | None = None
        self._next = 0.0
        self._pause = 0.0
        self.trouble: str | None = None
        """Why the run as it is now could not be rendered; None where it could."""

    def state(self) -> State:
        """Where the run is, at this moment."""
        return state_of(self._run, seen=self._rendered is not None)

    def is_being_made(self) -> bool:
        """Whether the first render is under way, which takes seconds of a large run: it is begun where it is not."""
        if self._rendered is not None or self.trouble is not None:
            return False
        self._begin()
        return True

    def latest(self) -> Rendered:
        """The newest render that there is, or the first when it is made; a newer one is begun where it is due.

        Raises:
            LoraloomError: nothing could be rendered yet.
        """
        if self._rendered is None:
            with self._working:
                if self._rendered is None:
                    self._render()
        elif self._is_due():
            self._begin()
        if self._rendered is None:
            raise LoraloomError(self.trouble or f"{self._run}: can't be read")
        return self._rendered

    def is_behind(self) -> bool:
        """Whether the run has changed since the newest render began."""
        return self._rendered is not None and stamp_of(self._run) != self._rendered.stamp

    def wait(self) -> None:
        """Until no render is under way."""
        with self._working:
            pass

    def _is_due(self) -> bool:
        """Of a run that does not go on, the last state is shown without delay."""
        if self._now() < self._next + (self._pause if self.state().goes_on else 0.0):
            return False
        return self.is_behind() or self.trouble is not None

    def _begin(self) -> None:
        """Begins a render in a thread of its own, where none is under way."""
        if self._working.acquire(blocking=False):
            threading.Thread(target=self._render_and_release, daemon=True).start()

    def _render_and_release(self) -> None:
        try:
            self._render()
        finally:
            self._working.release()

    def _render(self) -> None:
        began, stamp = self._used(), stamp_of(self._run)
        try:
            found = findings(read_run(self._run))
            files = report_files(found, pictures(found))
        except (LoraloomError, OSError) as error:  # the folder is gone, or a file was replaced while it was read
            self.trouble = str(error)
        except Exception as error:  # a fault of ours costs this render, not the view
            self.trouble = f"{type(error).__name__}: {error}"
        else:
            digest = hashlib.sha256()
            for name in sorted(files):
                digest.update(hashlib.sha256(files[name]).digest())
            self._rendered = Rendered(files, digest.hexdigest()[:16], found.answer.tally.finished, stamp)
            self.trouble = None
        self._pause = PAUSES * (self._used() - began)
        self._next = self._now() + LEAST_SECONDS
