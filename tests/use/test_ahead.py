"""Work that is done ahead."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from loraloom.use.ahead import Ahead


def test_what_is_raised_ahead_is_raised_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("three")

    coming = Ahead(items(), 1)
    assert [next(coming), next(coming)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(coming)
    assert list(coming) == []


def test_what_is_done_ahead_is_bounded() -> None:
    made: list[int] = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            made.append(number)
            yield number

    coming = Ahead(endless(), 3)
    assert list(itertools.islice(coming, 5)) == [0, 1, 2, 3, 4]
    assert len(made) <= 5 + 3 + 1  # those that were asked for, those that wait, and the one that has no place yet
    coming.close()
