"""Whether a trial fits into the time that is left."""

from __future__ import annotations

import pytest

from loraloom.recipe import read_recipe
from loraloom.search.clock import Clock
from loraloom.search.costs import Costs, Measured
from loraloom.search.pace import Kept, Pace
from loraloom.search.plan import Plan
from loraloom.search.task import Task

RECIPE = read_recipe({})
TRIAL = RECIPE.configuration({})


def _pace(seconds: float | None = 150) -> Pace:
    """A pass over 9,000 rows takes some 100 s, and their token ids 10 s."""
    measured = Measured("roberta-base", 128, 16, 0.01, 0.001, 0.5, train_rows=100, encode_row_seconds=0.001)
    task = Task(RECIPE, 9_000, 300, 4, None)
    return Pace(task, Plan((1_000, 3_000, None), 3), Clock(seconds, lambda: 0.0, reserve=0.0), Costs([measured]))


@pytest.mark.parametrize("rows", [1_000, None])
def test_what_is_trained_together_takes_the_sum_of_its_times_and_of_what_each_makes_for_others(
    rows: int | None,
) -> None:
    pace = _pace()
    trial = TRIAL.with_fields(data={"max_train_samples": rows})
    assert pace.task is not None
    assert pace.seconds_left is not None
    task, left, taken = pace.task, pace.seconds_left, pace.seconds(trial, rows)
    taken += pace.costs.shared_seconds(trial, task.rows(rows), task.validated(rows))
    with pace.together():
        pace.promise(trial)
        assert pace.seconds_left == pytest.approx(left - taken)
        pace.promise(trial)
        assert pace.seconds_left == pytest.approx(left - 2 * taken)
    assert pace.seconds_left == left


def test_what_would_end_in_time_by_itself_does_not_beside_one_that_was_chosen() -> None:
    pace = _pace()
    with pace.together():
        assert pace.allows(TRIAL, None)
        pace.promise(TRIAL)
        assert not pace.allows(TRIAL, None)
    assert pace.allows(TRIAL, None)


def test_the_first_trial_is_begun_whatever_it_takes_and_where_it_is_not_left_out() -> None:
    pace = _pace(50)
    assert not pace.allows(TRIAL, None)
    pace.nothing_yet = True
    assert pace.allows(TRIAL, None)
    pace.left_out = {("roberta-base", 128): "memory did not suffice"}
    assert not pace.allows(TRIAL, None)
    assert pace.leaves_out(TRIAL) == "roberta-base at data.max_length=128: memory did not suffice"
    assert _pace(None).allows(TRIAL, None)


def test_texts_that_are_longer_than_a_test_leaves_time_for_are_not_tried() -> None:
    pace = _pace()
    assert pace.why_not(TRIAL) is None
    pace.longest = 128
    assert pace.why_not(TRIAL) is None
    pace.longest = 127
    assert "texts of 128 tokens" in str(pace.why_not(TRIAL))


def test_a_trial_that_does_not_end_in_time_could_have_as_many_rows_as_fill_it() -> None:
    pace = _pace(50)
    rows, left = pace.most_rows(TRIAL, None), pace.seconds_left
    assert left is not None
    assert 0 < rows < 9_000
    for number, ends in ((rows, True), (rows + 1, False)):
        shared = pace.costs.shared_seconds(TRIAL, number, pace.task.validated(number)) if pace.task else 0.0
        assert (pace.seconds(TRIAL, number) + shared <= left) == ends
    assert _pace(0.1).most_rows(TRIAL, None) == 0


def test_one_configuration_that_alone_comes_to_the_last_rung_is_left_time_for_all_of_its_seeds() -> None:
    """And for what it makes for all, where that is more than what the one that is kept for still needs."""
    pace = _pace()
    pace.plan = Plan((1_000, 3_000, None), 1, 2)
    assert pace.task is not None
    assert pace.seconds_left is not None
    beside = 150 - pace.seconds_left
    own, made = pace.seconds(TRIAL, None), sum(pace.costs.shared(TRIAL, 9_000, 300).values())
    keep = Kept(2 * own, {})  # of another, which has made all
    first = pace.seconds(TRIAL, 1_000) + sum(pace.costs.shared(TRIAL, 1_000, pace.task.validated(1_000)).values())
    for seconds, allowed in ((first + 2 * own + made - 1, False), (first + 2 * own + made + 1, True)):
        pace.clock.max_seconds = seconds + beside
        assert pace.allows(TRIAL, 1_000, keep) == allowed
