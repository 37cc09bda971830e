"""The time that is kept for what follows the last trial: the winner's test and the report, which are tried before.

Where the rows are few, the mixing of its seeds too, which is reckoned by the test: a loading, and two looks at the
validation rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from loraloom.engine import Job
from loraloom.errors import StoppedError
from loraloom.search.costs import TextKey, text_key
from loraloom.search.pace import Pace
from loraloom.search.space import compared_lengths, without_longer
from loraloom.search.task import Task

TEST_CAUTION = 1.25
"""What follows the last step is expected to take so much longer than it was measured. A test that takes yet more has
the time of the report's pictures, and then ends with the rows that it has done."""
LONGEST_TEST = 1 / 3
"""Of the time that is left before training: texts of which a test takes more are left out, where there are shorter."""
MOST_TESTING, PART_TESTING, LEAST_TESTED = 1 / 2, 1 / 4, 200
"""Of the same: where a test on all rows takes more than the first, it is on a part of them that takes the second, and
has as many rows at least."""
REHEARSAL_SECONDS, REHEARSAL_TEXTS = 20.0, 128
"""Where less is left, the end is not rehearsed; it takes a second or two."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What follows the last trial, done before to see what it takes, so that as much time is kept for it and no more.

    `test` tests the adapter in a folder on texts: seconds to load it, and for a text. `page` makes the page of the run
    in a folder: seconds.
    """

    test: Callable[[Path, Sequence[str]], tuple[float, float]]
    page: Callable[[Path], float]


class Reserve:
    """Keeps the time on the clock of a `pace`, by what it knows of costs and by what was rehearsed."""

    def __init__(self, run: Path, pace: Pace, test_rows: int, *, mixes: bool) -> None:
        """Keeps it on the clock of `pace`; `mixes` says that the rows are few enough for the winner's seeds' mean."""
        self._run, self._pace, self._clock, self._test_rows = run, pace, pace.clock, test_rows
        self._mixes = mixes
        self.loading_seconds = 0.0
        """What loading a model took in a warm-up."""
        self._tested: dict[TextKey, tuple[float, float]] = {}
        """Seconds to load an adapter, and for a text, had the machine been as it was when the command began."""
        self._page_due = 1

    def keep(self) -> None:
        """The test of the winner, its loading, and the report, all of them slower if the machine has become so."""
        clock, task = self._clock, self._pace.task
        if not self._pace.costs.known or task is None:
            return

        def longest(rows: int) -> float:
            tested = [clock.slowdown * (load + rows * each) for load, each in self._tested.values()]
            return TEST_CAUTION * max([*tested, self._test_seconds(task, rows)])

        clock.test_seconds, clock.mixing_seconds = longest(self._test_rows), longest(2 * task.eval_rows)
        clock.reserve = clock.test_seconds + clock.report_seconds + self._mixes * clock.mixing_seconds

    def longest_testable(self, task: Task) -> int | None:
        """The longest texts of which a test leaves time to train, where longer ones are compared with them."""
        shortest, *longer = compared_lengths(task.recipe)
        left = self._clock.seconds_left
        if left is None or not longer:
            return None  # where time is limited, costs were measured
        most = LONGEST_TEST * (left - self._clock.report_seconds)
        for length in reversed(longer):
            within = replace(task, recipe=without_longer(task.recipe, length))
            if TEST_CAUTION * self._test_seconds(within, self._test_rows) <= most:
                return None if length == longer[-1] else length
        return shortest

    def test_a_part(self, task: Task) -> int | None:
        """Has as many rows tested as leave time to train, and returns their number; None where those are all."""
        left, every = self._clock.seconds_left, self._test_rows
        if left is None:
            return None
        loading, whole = (TEST_CAUTION * self._test_seconds(task, rows) for rows in (0, every))
        to_share = left - self._clock.report_seconds
        if whole <= MOST_TESTING * to_share or every <= (least := max(LEAST_TESTED, task.classes)):
            return None
        self._test_rows = max(least, int(every * (PART_TESTING * to_share - loading) / (whole - loading)))
        return self._test_rows

    def rehearse(self, rehearsal: Rehearsal, job: Job, texts: Sequence[str], finished: int) -> None:
        """Times the test of the first adapter of a model and length, and the page each time that the trials doubled.

        Only where the time is limited and not all but used; `finished` are the trials that the page has.
        """
        kind, clock = text_key(job.configuration), self._clock
        left = clock.training_seconds_left
        if left is None or left < REHEARSAL_SECONDS:
            return
        if kind not in self._tested:
            from loraloom.engine.progress import is_out_of_memory

            try:
                as_many = tuple(islice(cycle(texts), REHEARSAL_TEXTS))  # of a few alone each would seem slow
                loading, each = clock.undisturbed(lambda: rehearsal.test(job.folder, as_many))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise  # else workers have it, as long as they train; the test's time stays an estimate
            else:
                self._tested[kind] = loading / clock.slowdown, each / clock.slowdown
        if finished >= self._page_due:
            self.rehearse_page(rehearsal, finished)
        self.keep()

    def rehearse_page(self, rehearsal: Rehearsal, finished: int) -> None:
        """Times the page of the trials that are `finished`, where the time is limited and a report is written."""
        clock = self._clock
        if clock.max_seconds is None or not clock.reports:
            return
        self._page_due = max(1, 2 * finished)
        try:
            clock.rehearsed_page = clock.undisturbed(lambda: rehearsal.page(self._run)) / clock.slowdown
        except StoppedError:  # a signal ends the run, and not the page
            raise
        except Exception:  # it is said when the report is written, and the winner is safe by then
            return

    def _test_seconds(self, task: Task, rows: int) -> float:
        """What a test of so many rows that was not rehearsed takes, of what takes longest."""
        untested = [kind for kind in task.kinds if text_key(kind) not in self._tested]
        if not untested:
            return 0.0
        loading = max(self.loading_seconds, self._clock.loading_seconds / 2)  # a first one, longer than those after it
        each = max(map(self._pace.costs.text_seconds, untested))
        return self._clock.slowdown * loading + rows * each
