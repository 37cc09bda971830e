"""What is said of a file that was predicted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loraloom.terminal.prediction import summary_lines
from loraloom.use.parts import Counts
from loraloom.use.predict import Summary


def test_the_summary_of_many_and_of_odd_labels_is_one_line() -> None:
    labels = Counter({"of\ntwo lines": 9, "long" * 100: 8, "\x1b[31m": 7} | {f"c{n}": 1 for n in range(1_200)})
    ensemble: Any = SimpleNamespace(members=())
    (line,) = summary_lines(ensemble, Summary(Counts(rows=1_224, written=1_224, by_label=labels), 2.0, 1_224), None)
    assert line.startswith("1,224 rows in 2.0 s, 612 rows/s: of two lines 0.7 %, longlong")
    assert "… 0.7 %, �[31m 0.6 %, c0 0.1 %" in line
    assert line.endswith(", 1,183 other labels")
    assert len(line) < 600


def test_a_single_label_beside_those_that_are_named_is_one() -> None:
    ensemble: Any = SimpleNamespace(members=())
    counts = Counts(rows=21, written=21, by_label=Counter({f"c{n}": 1 for n in range(21)}))
    (line,) = summary_lines(ensemble, Summary(counts, 2.0, 21), None)
    assert line.endswith(", 1 other label")


def test_a_label_that_a_number_ends_or_a_comma_parts_stands_apart_from_its_share() -> None:
    ensemble: Any = SimpleNamespace(members=())
    by_label = Counter({"1": 8, "-2": 3, "1.5": 3, "level 3": 3, "cat2": 1, "x, y": 1, "فئة 3": 1})
    (line,) = summary_lines(ensemble, Summary(Counts(rows=20, written=20, by_label=by_label), 2.0, 20), None)
    assert line.endswith(
        "“1” 40 %, “-2” 15 %, “1.5” 15 %, “level 3” 15 %, cat2 5.0 %, “x, y” 5.0 %, “فئة 3”\u200e 5.0 %"
    )


@pytest.mark.parametrize("replaced", [True, False])
def test_it_is_said_that_a_file_was_replaced(replaced: bool) -> None:
    ensemble: Any = SimpleNamespace(members=())
    counts = Counts(rows=2, written=2, by_label=Counter({"a": 2}))
    (line,) = summary_lines(ensemble, Summary(counts, 2.0, 2), Path("out.csv"), replaced=replaced)
    place = ", in place of a file that was there," if replaced else ""
    assert line == f"2 rows written to out.csv{place} in 2.0 s, 1 rows/s: a 100 %"


def test_it_is_said_that_no_row_has_a_prediction() -> None:
    ensemble: Any = SimpleNamespace(members=())
    (abstained, line) = summary_lines(ensemble, Summary(Counts(rows=2, written=2, abstained=2), 2.0, 2), None)
    assert abstained == "abstained: 2 of 2 rows are below --min_confidence"
    assert line == "2 rows in 2.0 s, 1 rows/s: none has a prediction"


def test_shares_are_of_the_rows_that_have_a_prediction() -> None:
    ensemble: Any = SimpleNamespace(members=())
    counts = Counts(rows=10, written=10, abstained=6, by_label=Counter({"a": 3, "b": 1}))
    (_, line) = summary_lines(ensemble, Summary(counts, 2.0, 10), None)
    assert line == "10 rows in 2.0 s, 5 rows/s: of 4 with a prediction a 75 %, b 25 %"


def test_a_command_that_found_all_rows_done_names_no_speed() -> None:
    ensemble: Any = SimpleNamespace(members=())
    done = Counts(rows=2, written=2, by_label=Counter({"a": 2}))
    assert list(summary_lines(ensemble, Summary(done, 4.3, 0), Path("out.csv"))) == [
        "2 rows written to out.csv in 4.3 s: a 100 %"
    ]


@pytest.mark.parametrize(("written", "did"), [(9, "left out"), (10, "written without a prediction")])
def test_it_is_said_what_became_of_bad_rows(written: int, did: str) -> None:
    ensemble: Any = SimpleNamespace(members=())
    counts = Counts(rows=10, written=written, bad=1, by_label=Counter({"a": 9}))
    first, last = summary_lines(ensemble, Summary(counts, 2.0, 10), None)
    assert first == f"bad rows: 1 of 10 {did}"
    among = "of 9 with a prediction " if written == 10 else ""
    assert last == f"{written} rows in 2.0 s, 5 rows/s: {among}a 100 %"
