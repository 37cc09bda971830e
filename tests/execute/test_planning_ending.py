"""Time that is kept for the end of a search, its test and its page, which are tried before; nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from loraloom.engine import Job
from loraloom.errors import StoppedError
from loraloom.execute.reserve import REHEARSAL_SECONDS, REHEARSAL_TEXTS, TEST_CAUTION, Rehearsal
from loraloom.recipe import read_recipe
from loraloom.search.clock import JUDGED_ROW_SECONDS, PAGE_CAUTION
from tests.execute.engines import SOURCE, rows
from tests.execute.planned import ROW_SECONDS, Planned


def test_once_the_test_was_rehearsed_the_first_loading_is_no_measure_of_the_last(tmp_path: Path) -> None:
    found = Planned(read_recipe({}), tmp_path)
    planner, clock = found.planner, found.planner.pace.clock
    planner.reserve.loading_seconds = 30.0
    planner.reserve.keep()
    assert clock.reserve > 30 * TEST_CAUTION
    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)
    planner.reserve.rehearse(Rehearsal(lambda *_: (1.0, 0.001), lambda _: 0.0), job, ["a text"], 1)
    assert clock.reserve == pytest.approx(TEST_CAUTION * (1.0 + 100 * 0.001) + clock.report_seconds)


def test_a_test_that_was_rehearsed_on_a_machine_that_had_become_slower_is_not_slower_once_more(tmp_path: Path) -> None:
    found = Planned(read_recipe({}), tmp_path)
    planner, clock = found.planner, found.planner.pace.clock
    for row in (ROW_SECONDS, *[2 * ROW_SECONDS] * 4):
        found.trained({}, row)
    assert clock.slowdown == pytest.approx(2)
    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)
    planner.reserve.rehearse(Rehearsal(lambda *_: (1.0, 0.001), lambda _: 0.0), job, ["a text"], 1)
    assert clock.test_seconds == pytest.approx(TEST_CAUTION * (1.0 + 100 * 0.001))
    for _ in range(4):
        found.trained({}, 6 * ROW_SECONDS)
    assert clock.test_seconds == pytest.approx(TEST_CAUTION * 3 * (1.0 + 100 * 0.001))


def test_a_page_that_was_rehearsed_on_a_machine_that_had_become_slower_is_not_slower_once_more(tmp_path: Path) -> None:
    found = Planned(read_recipe({}), tmp_path)
    reserve, clock = found.planner.reserve, found.planner.pace.clock
    clock.slowdown = 2.0
    reserve.rehearse_page(Rehearsal(lambda *_: (1.0, 0.001), lambda _: 10.0), 1)
    judged = 2 * 100 * JUDGED_ROW_SECONDS
    assert clock.page_seconds == pytest.approx(PAGE_CAUTION * 10 + judged)


def test_a_test_is_tried_on_many_texts_where_few_are_held_out(tmp_path: Path) -> None:
    found, tried = Planned(read_recipe({}), tmp_path), list[str]()

    def test(_: Path, texts: Sequence[str]) -> tuple[float, float]:
        tried.extend(texts)
        return 1.0, 0.001

    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)
    found.planner.reserve.rehearse(Rehearsal(test, lambda _: 0.0), job, ["a", "b", "c"], 1)
    assert len(tried) == REHEARSAL_TEXTS
    assert set(tried) == {"a", "b", "c"}


def test_the_test_is_tried_for_each_length_since_that_of_one_says_nothing_of_another(tmp_path: Path) -> None:
    recipe = read_recipe({"data": {"max_length": [128, 512]}})
    found, tried = Planned(recipe, tmp_path), list[int]()

    def test(folder: Path, _: Sequence[str]) -> tuple[float, float]:
        tried.append(int(folder.name))
        return 1.0, 0.1

    for length in (128, 128, 512):
        configuration = recipe.configuration({"data.max_length": length})
        job = Job(0, configuration, SOURCE, rows(), tmp_path / str(length), 1, None)
        found.planner.reserve.rehearse(Rehearsal(test, lambda _: 0.0), job, ["a text"], 1)
    assert tried == [128, 512]


def test_a_test_that_memory_does_not_suffice_for_is_estimated_and_what_else_fails_is_raised(tmp_path: Path) -> None:
    found = Planned(read_recipe({}), tmp_path)
    reserve, clock = found.planner.reserve, found.planner.pace.clock
    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)

    def fails(error: Exception) -> Rehearsal:
        def test(*_: object) -> tuple[float, float]:
            raise error

        return Rehearsal(test, lambda _: 0.0)

    estimated = clock.test_seconds
    reserve.rehearse(fails(MemoryError()), job, ["a text"], 1)
    assert clock.test_seconds == estimated
    with pytest.raises(ValueError, match="broken"):
        reserve.rehearse(fails(ValueError("broken")), job, ["a text"], 1)


def test_the_end_is_not_tried_where_little_time_is_left_or_none_is_limited(tmp_path: Path) -> None:
    found, tried = Planned(read_recipe({}), tmp_path), list[float]()
    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)

    def test(*_: object) -> tuple[float, float]:
        tried.append(found.at)
        return 1.0, 0.001

    rehearsal = Rehearsal(test, lambda _: 0.0)
    clock = found.planner.pace.clock
    assert clock.training_seconds_left is not None
    enough = clock.training_seconds_left - REHEARSAL_SECONDS
    for found.at in (enough + 0.1, enough - 0.1):
        found.planner.reserve.rehearse(rehearsal, job, ["a text"], 1)
    assert tried == [enough - 0.1]
    found.seconds = math.inf
    found.again().reserve.rehearse(rehearsal, job, ["a text"], 1)
    assert tried == [enough - 0.1]


def test_time_to_mix_the_winner_s_seeds_is_kept_where_rows_are_few(tmp_path: Path) -> None:
    for most, few in ((999, True), (1_000, False)):
        found = Planned(read_recipe({}), tmp_path, most_rows=(most, 60))
        planner, clock = found.planner, found.planner.pace.clock
        job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)
        planner.reserve.rehearse(Rehearsal(lambda *_: (1.0, 0.001), lambda _: 0.0), job, ["a text"], 1)
        assert clock.test_seconds == pytest.approx(TEST_CAUTION * (1.0 + 100 * 0.001))
        assert clock.mixing_seconds == pytest.approx(TEST_CAUTION * (1.0 + 2 * 60 * 0.001))
        after = clock.test_seconds + clock.report_seconds + few * clock.mixing_seconds
        assert clock.reserve == pytest.approx(after)


@pytest.mark.parametrize(("before_it", "due"), [(0, [0, 1, 2, 4, 8, 16]), (6, [6, 12])])
def test_a_page_is_rehearsed_again_whenever_the_trials_doubled_and_has_its_time_kept(
    tmp_path: Path, before_it: int, due: list[int]
) -> None:
    """A first time before the plan is made, with the trials that a resumed run has."""
    found = Planned(read_recipe({}), tmp_path)
    planner, clock = found.planner, found.planner.pace.clock
    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)
    before, at = clock.report_seconds, list[int]()
    for finished in range(before_it, 17):

        def page(run: Path, finished: int = finished) -> float:
            at.append(finished)
            return float(finished)

        rehearsal = Rehearsal(lambda *_: (1.0, 0.001), page)
        if finished == before_it:
            planner.reserve.rehearse_page(rehearsal, finished)
        else:
            planner.reserve.rehearse(rehearsal, job, ["a text"], finished)
    assert at == due
    assert clock.page_seconds == pytest.approx(PAGE_CAUTION * due[-1] + 100 * JUDGED_ROW_SECONDS)
    assert clock.reserve == pytest.approx(TEST_CAUTION * (1.0 + 100 * 0.001) + clock.report_seconds)
    assert clock.report_seconds > before + 20
    clock.slowdown = 2.0
    assert clock.page_seconds == pytest.approx(2 * (PAGE_CAUTION * due[-1] + 100 * JUDGED_ROW_SECONDS))


def test_a_page_that_can_t_be_made_ends_no_search(tmp_path: Path) -> None:
    found = Planned(read_recipe({}), tmp_path)
    job = Job(0, found.recipe.configuration({}), SOURCE, rows(), tmp_path, 1, None)

    def broken(run: Path) -> float:
        raise ValueError(run)

    before = found.planner.pace.clock.report_seconds
    found.planner.reserve.rehearse(Rehearsal(lambda *_: (1.0, 0.001), broken), job, ["a text"], 1)
    assert found.planner.pace.clock.report_seconds == before


def test_a_stop_while_the_page_is_tried_is_heard_at_once(tmp_path: Path) -> None:
    found = Planned(read_recipe({}), tmp_path)

    def stopped(run: Path) -> float:
        raise StoppedError(run, "stopped by SIGTERM")

    with pytest.raises(StoppedError):
        found.planner.reserve.rehearse_page(Rehearsal(lambda *_: (1.0, 0.001), stopped), 1)
