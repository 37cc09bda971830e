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
