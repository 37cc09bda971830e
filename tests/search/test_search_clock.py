"""What the time allows, told by a clock that the test sets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from loraloom.search.clock import Clock


@dataclass
class _Hand:
    """A clock's hand: `at` seconds, moved by the test."""

    at: float = 100.0

    def __call__(self) -> float:
        return self.at


def test_seconds_are_counted_from_the_start() -> None:
    hand = _Hand()
    clock = Clock(None, hand)
    hand.at += 7
    assert clock.seconds == 7


def test_without_a_limit_there_is_no_deadline() -> None:
    assert Clock(None, _Hand()).trial_deadline is None


def test_without_a_limit_there_is_always_room() -> None:
    hand = _Hand()
    clock = Clock(None, hand)
    clock.note_trial(1e6)
    hand.at += 1e9
    assert clock.has_room()


def test_a_trial_must_end_before_the_reserve() -> None:
    assert Clock(60, _Hand(100), reserve=15).trial_deadline == 145


@pytest.mark.parametrize(("passed", "room"), [(0, True), (24.9, True), (25, False), (44, False), (1e6, False)])
def test_there_is_room_while_another_longest_trial_would_end_in_time(passed: float, room: bool) -> None:
    hand = _Hand()
    clock = Clock(60, hand, reserve=15)
    clock.note_trial(20)
    clock.note_trial(3)
    hand.at += passed
    assert clock.has_room() is room


@pytest.mark.parametrize(("passed", "room"), [(44.9, True), (45, False)])
def test_before_any_trial_there_is_room_until_the_deadline(passed: float, room: bool) -> None:
    hand = _Hand()
    clock = Clock(60, hand, reserve=15)
    hand.at += passed
    assert clock.has_room() is room


def test_a_limit_within_the_reserve_leaves_no_room() -> None:
    assert not Clock(10, _Hand(), reserve=15).has_room()
