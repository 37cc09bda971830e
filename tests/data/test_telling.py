"""How far a work is: nothing of what is done soon, then a line in some seconds."""

from __future__ import annotations

from loraloom.data.telling import SECONDS, Telling


def test_a_line_is_told_when_so_many_seconds_have_passed_since_the_last() -> None:
    now, heard = 100.0, list[str]()
    told = Telling(heard.append, lambda: now)
    told.far("reading", 1)
    now += SECONDS
    told.far("reading", 1_200)
    told.far("reading", 1_300)
    now += SECONDS
    told.far("comparing texts", 7, 2_000)
    assert heard == ["reading: 1,200 rows so far", "comparing texts: 7 of 2,000 rows so far"]


def test_of_rows_the_clock_is_looked_at_once_for_a_thousand_and_of_trials_each_time() -> None:
    looked, heard = 0, list[str]()

    def now() -> float:
        nonlocal looked
        looked += 1
        return looked * SECONDS

    told = Telling(heard.append, now)
    assert list(told.rows("comparing texts", range(2_500))) == list(range(2_500))
    assert heard == [f"comparing texts: {done} of 2,500 rows so far" for done in ("0", "1,000", "2,000")]
    heard.clear()
    assert list(told.trials("writing the ledger", "ab")) == ["a", "b"]
    assert heard == [f"writing the ledger: {done} of 2 trials so far" for done in (0, 1)]
