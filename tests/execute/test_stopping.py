"""A wish to stop: noted in a trial, raised elsewhere, raised at the second time."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest

from loraloom.execute.stopping import Stop


class _WishError(Exception):
    pass


def test_a_wish_is_raised_where_nothing_trains() -> None:
    stop = Stop()
    with pytest.raises(_WishError):
        stop.ask(_WishError())
    assert not stop.asked()


def test_a_wish_is_noted_while_trials_train_and_raised_when_asked_for() -> None:
    stop = Stop()
    with stop.politely():
        stop.ask(_WishError())
        assert stop.asked()
    with pytest.raises(_WishError):
        stop.raise_if_asked()


@pytest.mark.parametrize(("grace", "raised"), [(0, True), (29, True), (30, False)])
def test_a_wish_is_raised_where_what_is_under_way_takes_longer_than_it_grants(grace: float, raised: bool) -> None:
    stop = Stop(grace)
    with stop.politely(30), pytest.raises(_WishError) if raised else nullcontext():
        stop.ask(_WishError())
    assert stop.asked() == (not raised)


def test_the_second_wish_is_raised_at_once() -> None:
    stop = Stop()
    with stop.politely():
        stop.ask(_WishError())
        with pytest.raises(_WishError):
            stop.ask(_WishError())


def test_the_time_of_grace_runs_from_the_wish() -> None:
    at = [100.0]
    stop = Stop(30, lambda: at[0])
    assert (stop.seconds_left, stop.last_chance(1)) == (0, math.inf)
    with stop.politely():
        stop.ask(_WishError())
    at[0] = 110
    assert stop.seconds_left == 20
    assert (stop.leaves(19), stop.leaves(20)) == (True, False)
    assert (stop.last_chance(30), stop.last_chance(12), stop.last_chance(31)) == (100, 118, math.inf)
    at[0] = 200
    assert stop.seconds_left == 0


def test_nothing_is_raised_where_nobody_asked() -> None:
    Stop().raise_if_asked()
    assert Stop().leaves(1e9)
