"""When a command must have ended, and what is kept of its time for what follows the last trial.

A deadline is the earliest of: `budget.max_seconds` from the start of the command, `--deadline`, and the end that SLURM
has set for the job. All of it is the machine's monotonic clock: a wall clock that is set anew changes nothing.
While a machine is suspended it stands still, and deadlines come as much later.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from loraloom.errors import BudgetError, RecipeError
from loraloom.machine import MOST_WAITED, UNKNOWN_CORE_SECONDS, CoreSeconds, core_seconds, crowding

T = TypeVar("T")
MOST_SECONDS = 315_360_000
"""Ten years, as recipe/fields.py has it, which takes a while to import."""
LOADING_SECONDS = 2.0
"""What the command's own libraries take to load, where that was not seen: the measure of how slow the machine is."""
END_SHARE, PAGE_SHARE, PICTURES_SHARE, BEGIN_SHARE = 0.4, 1.0, 0.8, 4.5
"""What the process's end, the report's page, its pictures, and a model's first steps (with the loading of torch and of
the report's libraries) take, in the time that loading took."""
JUDGED_ROW_SECONDS = 3e-5
"""What the page takes for each test row: 2,000 samples of the rows, by hand on an AMD EPYC; the rehearsal has none."""
PAGE_CAUTION, LEAST_PAGE_SHARE = 2.0, 0.25
"""A page is expected to take so much longer than when it was last rehearsed: its run may have twice as many trials. And
so much at least, in the time that loading took: before the first trial it was rehearsed without any."""
PICTURE_CAUTION = 2.0
"""A picture is expected to take so much longer than the longest before it: some show every configuration."""
ROUND_CAUTION = 2.0
"""As many rows more are expected to take so much longer to test than those before them."""
PICTURED_SHARE = 0.15
"""Of the whole time: pictures that take more are drawn only where time is left over at the end."""
SLURM_END = "the SLURM job's end"
SLURM_UNLIMITED, SLURM_SURELY_UNLIMITED = 365 * 86_400, 300 * 86_400
"""SLURM has a job without a limit end a year after its start; as much is left of one whose start is not told."""


@dataclass(slots=True)
class Clock:
    """Time since the command began, against its deadline.

    `reserve` seconds are kept for what follows the last trial: the test, the winner's folder, the report.
    """

    max_seconds: float | None
    now: Callable[[], float] = time.monotonic
    reserve: float = 8.0
    test_seconds: float = 8.0
    """What is kept of it for the test of the winner."""
    mixing_seconds: float = math.inf
    """What the winner's seeds take to be mixed into one adapter; not known at first."""
    started: float | None = None
    called: bool = False
    """Whether a program called it, which may have loaded libraries before: what was seen of that is no measure then."""
    pauses: Callable[[], int] = lambda: 0
    """How often the process stood still until now: what was timed meanwhile says nothing."""
    core_seconds: CoreSeconds = UNKNOWN_CORE_SECONDS
    """Those of the process by now: it loads no longer, however long it was stopped or waited for a disk meanwhile."""
    reports: bool = True
    """Whether a report is written, for which time is kept."""
    option: str = "budget.max_seconds"
    """What the deadline is of, and so what is to be changed for more time."""
    slowdown: float = 1.0
    """How much slower the machine is than when the command began."""
    test_rows: int = 0
    """Rows that the winner is to be tested on at least, by which the report's page judges it."""
    rehearsed_page: float = 0.0
    """Seconds that the report's page took when it was last rehearsed, had the machine been as it was at the start; 0 if
    it was not."""
    begun: float = field(init=False)
    loading_seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.now() if self.started is None else self.started
        self.loading_seconds = max(self._least_loading, min(self.now() - self.begun, sum(self.core_seconds)))

    @property
    def _least_loading(self) -> float:
        return LOADING_SECONDS if self.started is None or self.called else LOADING_SECONDS / 2

    def look_again(self) -> None:
        """Takes loading to be as slow as other programs make it now, where it waited for cores that they had.

        They may have been starting, and the machine is quicker than it seemed.
        """
        had, waited = self.core_seconds
        if waited > MOST_WAITED * had:
            self.loading_seconds = min(self.loading_seconds, max(self._least_loading, had * crowding()))

    @property
    def page_seconds(self) -> float:
        """What a report takes without pictures: as it was rehearsed, or else by what loading took; 0 of none."""
        if not self.reports:
            return 0.0
        known = PAGE_SHARE * self.loading_seconds
        if self.rehearsed_page:
            known = max(PAGE_CAUTION * self.rehearsed_page, LEAST_PAGE_SHARE * self.loading_seconds)
        return self.slowdown * (known + JUDGED_ROW_SECONDS * self.test_rows)

    @property
    def pictures_seconds(self) -> float:
        """What its pictures take."""
        return PICTURES_SHARE * self.slowdown * self.loading_seconds

    def allows_picture(self, longest: float) -> bool:
        """Whether one more picture leaves the page its time, however slow the machine has just become.

        `longest` is what one took at most until now, in seconds.
        """
        left = self.seconds_left
        return left is None or left > self.page_seconds + max(self.pictures_seconds / 2, PICTURE_CAUTION * longest)

    @property
    def report_seconds(self) -> float:
        """What is kept for the report: with pictures, unless these would take much of the whole time."""
        if not self.reports:
            return 0.0
        pictured = self.max_seconds is None or self.pictures_seconds <= PICTURED_SHARE * self.max_seconds
        return self.page_seconds + (self.pictures_seconds if pictured else 0.0)

    def allows_testing(self, seconds: float) -> bool:
        """Whether so many seconds more of the test leave the page its time, though the machine may become slower."""
        left = self.seconds_left
        return left is None or left > ROUND_CAUTION * seconds + self.page_seconds

    @property
    def allows_mixing(self) -> bool:
        """Whether the winner's seeds can be mixed and leave the test and the report's page their time."""
        left = self.seconds_left
        return left is None or left > self.mixing_seconds + self.test_seconds + self.page_seconds

    @property
    def least_seconds(self) -> float:
        """What a search takes at least from here: to measure a model, and to report without pictures."""
        return BEGIN_SHARE * self.loading_seconds + self.page_seconds

    def refuse_too_little(self) -> None:
        """Refuses what can't be begun and reported in the time that is left, by how slow the machine is now.

        Raises:
            BudgetError: there is too little; with what would do in all, twice what it takes at least from here.
        """
        if self.max_seconds is not None:
            self.look_again()
        left, least = self.seconds_left, self.least_seconds
        if left is not None and left < least:
            raise BudgetError(
                f"the time does not suffice for one trial: {max(0.0, left):.0f} s are left, and to begin and to report "
                f"takes {least:.0f} s; give it {self.would_do(least)}"
            )

    def would_do(self, least: float) -> str:
        """What gives a command enough in all, and where it is said: twice the `least` seconds that it takes from here.

        What it takes is an estimate, and the next one may find the machine slower.
        """
        assert self.max_seconds is not None
        assert self.seconds_left is not None
        return f"{math.ceil(self.max_seconds + 2 * least - self.seconds_left)} s ({self.option})"

    def undisturbed(self, measure: Callable[[], T]) -> T:
        """What `measure` finds, which is done again where the process stood still meanwhile."""
        while True:
            before, found = self.pauses(), measure()
            if self.pauses() == before:
                return found

    @property
    def seconds(self) -> float:
        """Seconds since the command began."""
        return self.now() - self.begun

    @property
    def seconds_left(self) -> float | None:
        """Until the command must have ended; None where time is not limited."""
        if self.max_seconds is None:
            return None
        return self.max_seconds - END_SHARE * self.slowdown * self.loading_seconds - self.seconds

    @property
    def training_seconds_left(self) -> float | None:
        """Until the last trial must have ended."""
        left = self.seconds_left
        return None if left is None else left - self.reserve

    @property
    def training_end(self) -> float | None:
        """The `now()` at which the last trial must have ended."""
        left = self.training_seconds_left
        return None if left is None else self.now() + left


def make_clock(
    max_seconds: float | None,
    deadline: str | datetime | None,
    started: float | None,
    *,
    called: bool = False,
    option: str = "budget.max_seconds",
    reports: bool = True,
) -> Clock:
    """The clock of a command that began at `started` (None: now), with the earliest of its deadlines.

    `called` says that it is no process of its own but a function that a program called; `option` is what sets
    `max_seconds`; `reports` is as for `Clock`.

    `max_seconds` may be infinite: as None, it is no limit.

    Raises:
        RecipeError: `max_seconds` is none that a command can have, or `deadline` no point in time, or has passed.
    """
    if max_seconds is not None and not (0 < max_seconds <= MOST_SECONDS or max_seconds == math.inf):
        raise RecipeError(
            f"{option}: {max_seconds:g} is no number of seconds that a command can have; it must be over 0 and at most "
            f"{MOST_SECONDS:,}, ten years, or inf for no limit"
        )
    own = UNKNOWN_CORE_SECONDS if called else core_seconds()  # a program may call from any of its threads
    clock = Clock(None, started=started, called=called, core_seconds=own, reports=reports)
    slurm = slurm_seconds_left()
    left = None if deadline is None else seconds_until(deadline, called=called)
    ends = [
        (max_seconds, option),
        (None if left is None else clock.seconds + left, _deadline_option(called)),
        (None if slurm is None else clock.seconds + slurm, SLURM_END),
    ]
    for end, of in ends:
        if end is not None and end < (math.inf if clock.max_seconds is None else clock.max_seconds):
            clock.max_seconds, clock.option = max(0.0, end), of  # the end of SLURM's job may have passed
    return clock


def seconds_until(deadline: str | datetime, wall: Callable[[], float] = time.time, *, called: bool = False) -> float:
    """Seconds until a point in time as people write it: 2026-11-25T18:00, 18:00 (the next), with or without an offset.

    `called` is as for `make_clock`.

    Raises:
        RecipeError: it is none, or it has passed, or is further away than ten years.
    """
    left = point_in_time(deadline, wall, called=called).timestamp() - wall()
    if left <= 0:
        raise RecipeError(f"{_deadline_option(called)}: {deadline} has passed")
    if left > MOST_SECONDS:
        raise RecipeError(
            f"{_deadline_option(called)}: {deadline} is further away than ten years; leave it out for no limit"
        )
    return left


def point_in_time(deadline: str | datetime, wall: Callable[[], float] = time.time, *, called: bool = False) -> datetime:
    """A point in time as `seconds_until` reads it: a time of day is the next one from now.

    Raises:
        RecipeError: it is none.
    """
    try:
        found = _point_in_time(deadline, datetime.fromtimestamp(wall()))
        found.timestamp()
    except (ValueError, AttributeError, OverflowError):
        raise RecipeError(
            f"{_deadline_option(called)}: {deadline!r} is no point in time; write it as 2026-11-25T18:00, or 18:00"
        ) from None
    return found


def _deadline_option(called: bool) -> str:
    return "deadline" if called else "--deadline"


def _point_in_time(deadline: str | datetime, now: datetime) -> datetime:
    if isinstance(deadline, datetime):
        return deadline
    text = deadline.strip()
    if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text) is None:
        if ":" not in text:
            raise ValueError("a day is no point in time")
        return datetime.fromisoformat(text)
    today = datetime.fromisoformat(f"{now.date().isoformat()}T{text.zfill(len(text) + (text[1] == ':'))}")
    return today if today > now else today + timedelta(days=1)


def slurm_seconds_left(
    environment: Mapping[str, str] = os.environ, wall: Callable[[], float] = time.time
) -> float | None:
    """Seconds until SLURM ends the job that this process is in (SLURM_JOB_END_TIME).

    None outside of a job, and in one without a limit: its end is a year after its start (SLURM_JOB_START_TIME).
    """
    end, start = environment.get("SLURM_JOB_END_TIME", ""), environment.get("SLURM_JOB_START_TIME", "")
    if not end.isdecimal():
        return None
    left = float(end) - wall()
    if start.isdecimal():
        return None if float(end) - float(start) >= SLURM_UNLIMITED else left
    return None if left >= SLURM_SURELY_UNLIMITED else left
