"""When a command must have ended."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from datetime import datetime
from typing import Any

import pytest

from loraloom.errors import BudgetError, RecipeError
from loraloom.machine import CoreSeconds
from loraloom.recipe import fields, read_recipe
from loraloom.search import clock as clocks
from loraloom.search.clock import (
    BEGIN_SHARE,
    END_SHARE,
    JUDGED_ROW_SECONDS,
    LEAST_PAGE_SHARE,
    LOADING_SECONDS,
    MOST_SECONDS,
    PICTURE_CAUTION,
    ROUND_CAUTION,
    SLURM_END,
    Clock,
    make_clock,
    point_in_time,
    seconds_until,
    slurm_seconds_left,
)
from loraloom.study.commands import Command

NOON = datetime(2026, 11, 25, 12, 0).timestamp()


def _clock_of(max_seconds: float | None, deadline: str | datetime | None = None, **options: Any) -> Clock:
    return make_clock(max_seconds, deadline, None, **options)


class _Hand:
    """A clock's hand that is moved by the test."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def test_without_a_limit_there_is_no_end() -> None:
    clock = Clock(None)
    assert (clock.seconds_left, clock.training_seconds_left, clock.training_end) == (None, None, None)


def test_what_is_left_runs_down_and_keeps_a_reserve_and_the_process_s_end() -> None:
    hand = _Hand()
    clock = Clock(60, hand, reserve=10)
    hand.at += 20
    assert clock.seconds_left == pytest.approx(40 - END_SHARE * LOADING_SECONDS)
    assert clock.training_seconds_left == pytest.approx(30 - END_SHARE * LOADING_SECONDS)
    assert clock.training_end == pytest.approx(1050 - END_SHARE * LOADING_SECONDS)


def test_a_test_goes_on_where_twice_what_it_takes_leaves_the_page_its_time() -> None:
    clock = Clock(END_SHARE * LOADING_SECONDS + 50, _Hand())
    page = clock.page_seconds
    assert 0 < page < 20
    assert clock.allows_testing((49 - page) / ROUND_CAUTION)
    assert not clock.allows_testing((51 - page) / ROUND_CAUTION)
    assert Clock(END_SHARE * LOADING_SECONDS + 50, _Hand(), reports=False).allows_testing(49 / ROUND_CAUTION)
    assert Clock(None, _Hand()).allows_testing(1e9)


def test_what_a_command_did_before_its_clock_was_made_counts() -> None:
    hand = _Hand()
    assert Clock(60, hand, started=990).seconds == 10


@pytest.mark.parametrize(("called", "loading"), [(False, LOADING_SECONDS / 2), (True, LOADING_SECONDS)])
def test_what_a_called_function_loaded_does_not_show_that_a_machine_is_quick(called: bool, loading: float) -> None:
    """Its libraries may have been loaded before; that they took long shows that it is slow."""
    assert Clock(60, _Hand(), started=999.99, called=called).loading_seconds == loading
    assert Clock(60, _Hand(), started=990, called=called).loading_seconds == 10


def test_a_process_that_was_stopped_while_it_loaded_is_not_on_a_slow_machine() -> None:
    assert Clock(60, _Hand(), started=960, core_seconds=CoreSeconds(2, 1)).loading_seconds == 3
    assert (
        Clock(60, _Hand(), started=960, core_seconds=CoreSeconds(50, 0)).loading_seconds == 40
    )  # what came before its clock began


@pytest.mark.parametrize(("called", "loading"), [(False, 3), (True, 40)])
def test_what_a_process_computed_before_it_called_is_not_what_it_loaded(
    called: bool, loading: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocks, "core_seconds", lambda: CoreSeconds(3.0, 0.0))
    clock = make_clock(60, None, time.monotonic() - 40, called=called)
    assert clock.loading_seconds == pytest.approx(loading, abs=5)


@pytest.mark.parametrize(
    ("core", "crowding", "loading", "suffices"),
    [
        (CoreSeconds(3, 27), 1.0, 3, True),  # what had the cores has ended
        (CoreSeconds(3, 27), 4.0, 12, False),
        (CoreSeconds(3, 27), 20.0, 30, False),  # more others have them now; the plan is made anew by what trials take
        (CoreSeconds(29, 1), 1.0, 30, False),  # it loaded for so long, and hardly waited
    ],
)
def test_a_machine_that_others_had_while_it_loaded_is_as_slow_as_they_make_it_now(
    core: CoreSeconds, crowding: float, loading: float, suffices: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search beside a program that was starting was refused, though it had the cores for itself a second later."""
    monkeypatch.setattr(clocks, "crowding", lambda: crowding)
    clock = Clock(70, _Hand(), started=970, core_seconds=core)
    assert clock.loading_seconds == 30
    with nullcontext() if suffices else pytest.raises(BudgetError):
        clock.refuse_too_little()
    assert clock.loading_seconds == loading


def test_what_was_measured_while_the_process_stood_still_is_measured_again() -> None:
    pauses, measured = 0, list[int]()
    clock = Clock(60, _Hand(), pauses=lambda: pauses)

    def measure() -> int:
        nonlocal pauses
        measured.append(pauses)
        pauses = min(2, pauses + 1)
        return len(measured)

    assert clock.undisturbed(measure) == 3
    assert measured == [0, 1, 2]


def test_too_little_time_is_refused_with_what_would_do_in_all() -> None:
    clock = Clock(9.0, lambda: 0.0, option="--max_seconds")
    with pytest.raises(BudgetError, match=r"8 s are left, .*takes 11 s; give it 23 s \(--max_seconds\)$"):
        clock.refuse_too_little()
    clock.max_seconds = 24
    clock.refuse_too_little()
    Clock(None).refuse_too_little()
    with pytest.raises(BudgetError, match=r"one trial: 0 s are left"):
        Clock(0.5, lambda: 0.0).refuse_too_little()  # the process's end takes more


def test_a_made_clock_is_told_when_the_command_began_and_what_it_is() -> None:
    began = time.monotonic() - 100
    clock = make_clock(3600, datetime.fromtimestamp(time.time() + 50), began, called=True, reports=False)
    assert clock.begun == began
    assert (clock.called, clock.reports, clock.option) == (True, False, "deadline")
    assert clock.max_seconds == pytest.approx(150, abs=5)


@pytest.mark.parametrize("written", ["2026-11-25T12:30", "2026-11-25 12:30", "12:30", "2026-11-25T12:30:00"])
def test_a_deadline_is_read_as_people_write_it(written: str) -> None:
    assert seconds_until(written, lambda: NOON) == 1800


def test_a_time_of_day_that_has_passed_is_tomorrow_s() -> None:
    assert seconds_until("9:05", lambda: NOON) == 21 * 3600 + 300
    assert seconds_until("12:00", lambda: NOON) == 24 * 3600


def test_a_deadline_may_be_a_datetime() -> None:
    assert seconds_until(datetime.fromtimestamp(NOON + 60), lambda: NOON) == 60
    assert seconds_until(datetime.fromtimestamp(NOON + 0.5), lambda: NOON) == 0.5


def test_a_time_of_day_that_is_read_once_can_pass() -> None:
    read = point_in_time("12:30", lambda: NOON)
    assert seconds_until(read, lambda: NOON + 600) == 1200
    with pytest.raises(RecipeError, match="has passed"):
        seconds_until(read, lambda: NOON + 1800)


def test_a_deadline_may_name_its_zone() -> None:
    assert (
        seconds_until("2026-11-25T13:00+01:00", lambda: datetime.fromisoformat("2026-11-25T11:00Z").timestamp()) == 3600
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("soon", "no point in time"),
        ("2026-11-25T11:59", "has passed"),
        ("", "no point"),
        ("2026-11-26", "no point"),
        ("0001-01-01T00:00", "no point"),
    ],
)
def test_a_deadline_that_is_none_or_has_passed_is_refused(written: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        seconds_until(written, lambda: NOON)


def test_a_command_has_ten_years_at_most_or_no_limit() -> None:
    assert fields.MOST_SECONDS == MOST_SECONDS
    assert _clock_of(MOST_SECONDS).max_seconds == MOST_SECONDS
    assert _clock_of(0.5).max_seconds == 0.5
    assert _clock_of(math.inf).max_seconds is None
    for seconds in (0, -1, 1e10, 1e18, math.nan):
        with pytest.raises(RecipeError, match=r"^--max_seconds: .* must be over 0 and at most 315,360,000, ten years"):
            _clock_of(seconds, option="--max_seconds")
        if seconds >= 1e10:
            with pytest.raises(RecipeError, match=r"budget\.max_seconds: .* is too large"):
                read_recipe({"budget": {"max_seconds": seconds}})
    with pytest.raises(RecipeError, match=r"^--deadline: 9999-01-01T00:00 is further away than ten years"):
        _clock_of(None, "9999-01-01T00:00")


def test_slurm_s_end_counts_where_there_is_one() -> None:
    assert slurm_seconds_left({"SLURM_JOB_END_TIME": "1500"}, lambda: 1000.0) == 500
    assert slurm_seconds_left({}, lambda: 1000.0) is None
    assert slurm_seconds_left({"SLURM_JOB_END_TIME": "never"}, lambda: 1000.0) is None


def test_a_slurm_job_without_a_limit_has_none() -> None:
    year, day, start = 365 * 86_400, 86_400, int(NOON)
    unlimited = {"SLURM_JOB_START_TIME": str(start), "SLURM_JOB_END_TIME": str(start + year)}
    for now in (NOON, NOON + 200 * day):
        assert slurm_seconds_left(unlimited, lambda now=now: now) is None  # type: ignore[misc]
    limited = unlimited | {"SLURM_JOB_END_TIME": str(start + 7 * day)}
    assert slurm_seconds_left(limited, lambda: start + 1000) == 7 * day - 1000
    assert slurm_seconds_left({"SLURM_JOB_END_TIME": str(start + year)}, lambda: NOON) is None


def test_the_earliest_deadline_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _clock_of(3600).max_seconds == 3600
    assert _clock_of(None).max_seconds is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 100))
    assert _clock_of(3600).max_seconds == pytest.approx(100, abs=5)
    assert _clock_of(20).max_seconds == 20


def test_a_slurm_job_s_end_that_has_passed_leaves_no_time_and_can_be_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook of a job that was given more time since."""
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) - 1_000))
    clock = _clock_of(3600, called=True)
    assert (clock.max_seconds, clock.option) == (0.0, SLURM_END)
    assert clock.seconds_left is not None
    assert clock.seconds_left < 0
    assert Command(started="", allowed_seconds=clock.max_seconds).allowed_seconds == 0


def test_what_the_earliest_deadline_is_of_is_what_is_to_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    soon = datetime.fromtimestamp(time.time() + 5)
    assert _clock_of(3).option == "budget.max_seconds"
    assert _clock_of(3, option="--max_seconds").option == "--max_seconds"
    assert _clock_of(3600, soon, called=True).option == "deadline"
    with pytest.raises(BudgetError, match=r"give it 2\d s \(--deadline\)$"):
        _clock_of(3600, soon).refuse_too_little()
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 3))
    assert _clock_of(2, soon).option == "budget.max_seconds"
    with pytest.raises(BudgetError, match=r"give it 2\d s \(the SLURM job's end\)$"):
        _clock_of(3600, soon).refuse_too_little()


@pytest.mark.parametrize(("called", "option"), [(False, "--deadline"), (True, "deadline")])
def test_a_deadline_that_is_none_is_called_as_it_was_given(option: str, *, called: bool) -> None:
    with pytest.raises(RecipeError, match=f"^{option}: 'yesterday' is no point in time"):
        _clock_of(None, "yesterday", called=called)


def test_what_follows_the_last_trial_is_slower_where_the_machine_has_become_slower() -> None:
    hand = _Hand()
    clock = Clock(600, hand)
    report, left = clock.report_seconds, clock.seconds_left
    clock.slowdown = 2
    assert clock.report_seconds == 2 * report
    assert clock.seconds_left is not None
    assert left is not None
    assert clock.seconds_left < left


def test_a_page_that_was_rehearsed_is_kept_its_own_time_however_long_libraries_took_to_load() -> None:
    hand = _Hand()
    started = hand()
    hand.at += 12
    clock = Clock(600, hand, started=started)
    assert clock.page_seconds == 12
    clock.rehearsed_page = 2.5
    assert clock.page_seconds == 5
    clock.test_rows = 100_000
    assert clock.page_seconds == 5 + 100_000 * JUDGED_ROW_SECONDS


def test_a_page_that_was_rehearsed_without_trials_is_not_taken_for_what_it_will_be() -> None:
    clock = Clock(600, _Hand(), rehearsed_page=0.01)
    assert clock.page_seconds == LEAST_PAGE_SHARE * LOADING_SECONDS


@pytest.mark.parametrize(("seconds", "kept"), [(None, True), (600, True), (10, False)])
def test_time_for_pictures_is_kept_where_they_take_a_small_part_of_it(seconds: float | None, *, kept: bool) -> None:
    clock = Clock(seconds, _Hand())
    assert clock.report_seconds == clock.page_seconds + (clock.pictures_seconds if kept else 0)


def test_pictures_end_before_the_page_s_time_does() -> None:
    hand = _Hand()
    clock = Clock(100, hand)
    kept = END_SHARE * LOADING_SECONDS + clock.page_seconds
    hand.at += 100 - kept - clock.pictures_seconds / 2 - 0.01
    assert clock.allows_picture(0)
    assert clock.allows_picture(clock.pictures_seconds / 2 / PICTURE_CAUTION)
    assert not clock.allows_picture(0.01 + clock.pictures_seconds / 2 / PICTURE_CAUTION)
    hand.at += 0.02
    assert not clock.allows_picture(0)
    assert Clock(None).allows_picture(math.inf)


def test_seeds_are_mixed_where_the_test_and_the_page_keep_their_time() -> None:
    hand = _Hand()
    clock = Clock(100, hand, test_seconds=5.0)
    assert not clock.allows_mixing  # what it takes is not known
    clock.mixing_seconds = 3.0
    hand.at += clock.seconds_left - clock.page_seconds - 8.01 if clock.seconds_left else 0
    assert clock.allows_mixing
    hand.at += 0.02
    assert not clock.allows_mixing
    page, clock.reports = clock.page_seconds, False
    hand.at += page - 0.02
    assert clock.allows_mixing
    hand.at += 0.02
    assert not clock.allows_mixing
    assert Clock(None).allows_mixing


def test_no_time_is_kept_for_a_report_that_is_not_written() -> None:
    clock = Clock(600, _Hand(), reports=False)
    assert clock.page_seconds == clock.report_seconds == 0
    assert clock.least_seconds == BEGIN_SHARE * LOADING_SECONDS
    with_report = Clock(600, _Hand())
    assert with_report.least_seconds == clock.least_seconds + with_report.page_seconds
