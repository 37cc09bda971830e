"""Whether accuracy depends on length, truncation, source or class: against oracles, and by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import multitest

from loraloom.intervals import difference_interval
from loraloom.report.failures.groups import (
    Dependence,
    Group,
    _has_room,
    by_class,
    by_cut,
    by_length,
    by_source,
    group,
    length_trend,
    same_accuracy,
    together,
)
from loraloom.report.failures.kept import Judged
from tests.report.failures.judged_rows import judged_rows
from tests.report.peak import peak_of

multipletests: Any = multitest.multipletests  # statsmodels has no types


def flags(right: int, rows: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.arange(rows) < right


def of(right: int, rows: int) -> Group:
    return group("g", flags(right, rows))


def questions(judged: Judged) -> dict[str, Dependence | None]:
    asked = {
        "class": by_class(judged, ("a", "b")),
        "length": by_length(judged),
        "cut": by_cut(judged),
        "source": by_source(judged),
    }
    return together(asked, judged)


def random_rows(seed: int, rows: int = 300, accuracy: float = 0.93) -> Judged:
    """Length, source and class have nothing to do with being right."""
    generator = np.random.default_rng(seed)
    return judged_rows(
        generator.random(rows) < accuracy,
        tokens=generator.integers(5, 150, rows),
        sources=tuple(np.array(["a", "b", "c", "d"])[generator.integers(0, 4, rows)].tolist()),
    )


def test_two_groups_are_compared_exactly_and_more_as_the_exact_test_has_it() -> None:
    two = same_accuracy([of(90, 100), of(95, 120)])
    assert two == pytest.approx(stats.fisher_exact(np.array([[90, 10], [95, 25]])).pvalue)
    three = same_accuracy([of(5, 5), of(3, 6), of(1, 4)])
    # all tables with these margins, by their chance, which is multivariate hypergeometric
    sizes, wrong = (5, 6, 4), 6
    chances = {
        (a, b, wrong - a - b): stats.multivariate_hypergeom.pmf((a, b, wrong - a - b), sizes, wrong)
        for a in range(6)
        for b in range(7)
        if 0 <= wrong - a - b <= 4
    }
    exact = sum(chance for chance in chances.values() if chance <= chances[0, 3, 3] * (1 + 1e-9))
    assert three == pytest.approx(exact, abs=0.01)
    assert same_accuracy([of(100, 100), of(50, 100), of(0, 100)]) == 1 / 20_000  # none of the tables drawn is as rare


def test_a_class_that_no_row_has_is_not_among_the_groups_and_one_alone_is_compared_with_nothing() -> None:
    found = by_class(judged_rows(flags(6, 8), labels=np.arange(8) % 2 * 2), ("a", "b", "c"))
    assert [(each.name, each.rows) for each in found.groups] == [("a", 4), ("c", 4)]
    assert found.p is not None
    assert by_class(judged_rows(flags(6, 8), labels=np.ones(8, dtype=np.int64)), ("a", "b")).p is None


def test_where_all_rows_are_right_or_all_are_wrong_nothing_depends_on_their_length() -> None:
    assert length_trend(np.arange(6), flags(6, 6)) == length_trend(np.arange(6), flags(0, 6)) == 1
    assert same_accuracy([of(6, 6), of(3, 3)]) == same_accuracy([of(0, 6), of(0, 3)]) == 1


def test_drawn_tables_give_the_p_value_of_scipys() -> None:
    groups = [of(190, 200), of(85, 100), of(141, 150), of(48, 50)]
    table = np.array([[each.right, each.rows - each.right] for each in groups])
    drawn = stats.MonteCarloMethod(n_resamples=9999, rng=np.random.default_rng(1))
    assert same_accuracy(groups) == pytest.approx(stats.fisher_exact(table, method=drawn).pvalue, abs=0.01)


def test_tables_of_many_groups_are_drawn_in_portions_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [of(4 + index % 3, 6) for index in range(300)]
    monkeypatch.setattr("loraloom.report.failures.groups.DRAWS", 1_999)
    whole, most = peak_of(lambda: same_accuracy(groups))
    monkeypatch.setattr("loraloom.calibration.MOST_DRAWN", 30_000)
    parts, least = peak_of(lambda: same_accuracy(groups))
    assert parts == whole
    assert least < 0.3 * most


def test_groups_without_an_error_do_not_differ() -> None:
    assert same_accuracy([of(5, 5), of(3, 3), of(9, 9)]) == 1.0


def test_lengths_of_wrong_rows_alone_have_no_trend() -> None:
    assert length_trend(np.array([1, 2]), np.array([True, True])) == 1.0


def test_a_length_that_matters_is_found_and_its_halves_say_how_much() -> None:
    generator = np.random.default_rng(1)
    tokens = generator.integers(10, 200, 800)
    judged = judged_rows(generator.random(800) < 0.99 - 0.25 * (tokens > 105), tokens=tokens)
    found = questions(judged)["length"]
    assert found is not None
    assert found.found
    assert found.interval is not None
    assert found.interval[0] < -0.25 < found.interval[1] < 0
    assert len(found.groups) == 5
    assert sum(each.rows for each in found.groups) == 800
    assert found.verdict.startswith(
        "Accuracy differs by length: the accuracy of the longer half less that of the shorter half"
    )
    assert "p < 0.001, both corrected for 3 tests" in found.verdict
    assert "−2" in found.verdict


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_trend_of_lengths_that_halves_do_not_show_is_told_as_one(mirrored: bool) -> None:
    rows = np.arange(1000)
    wrong = ((rows >= 480) & (rows < 500)) | (rows >= 980)
    found = questions(judged_rows(~wrong, tokens=rows[::-1] if mirrored else rows, max_length=2000))["length"]
    assert found is not None
    assert found.found
    assert found.difference == 0
    how = "shorter" if mirrored else "longer"
    assert found.verdict == (
        f"Wrong rows tend to be {how} than right ones (p < 0.001); between the longer half and the shorter half no "
        "difference of accuracy is shown: 0.0 pp (95 % interval −2.9 … +2.9 pp, both corrected for 2 tests)."
    )


def test_fifths_of_lengths_with_ties_hold_every_row_once() -> None:
    tokens = np.array([96] * 70 + [10, 20, 30] * 10)
    found = by_length(judged_rows(flags(90, 100), tokens=tokens))
    assert found is not None
    assert sum(each.rows for each in found.groups) == 100
    assert [each.name for each in found.groups][-1].endswith("96")


def test_halves_are_compared_where_half_of_the_rows_are_as_long_as_can_be() -> None:
    found = by_length(judged_rows(flags(90, 100), tokens=np.array([2] * 20 + [3] * 20 + [60] * 60)))
    assert found is not None
    assert found.pair is not None
    assert [each.rows for each in found.pair] == [60, 40]


@pytest.mark.parametrize(
    ("short", "long"),
    [((148, 150), (120, 150)), ((84, 85), (5, 15)), ((30, 30), (80, 130))],
    ids=["even", "few long", "few short"],
)
def test_lengths_of_which_there_are_two_are_compared(short: tuple[int, int], long: tuple[int, int]) -> None:
    """No fifth ends between them where four fifths of the rows, or more, have one of them."""
    tokens = np.repeat([40, 50], [short[1], long[1]])
    found = questions(judged_rows(np.concatenate([flags(*short), flags(*long)]), tokens=tokens))["length"]
    assert found is not None
    assert found.found
    assert [(each.name, each.right, each.rows) for each in found.groups] == [("40", *short), ("50", *long)]
    assert found.verdict.startswith(
        "Accuracy differs by length: the accuracy of the longer half less that of the shorter half"
    )


def test_rows_of_one_length_have_nothing_to_compare() -> None:
    judged = judged_rows(flags(80, 100), tokens=np.full(100, 12))
    found = questions(judged)["length"]
    assert found is not None
    assert found.p is None
    assert "nothing to compare" in found.verdict


def test_truncation_that_does_harm_is_found() -> None:
    tokens = np.array([200] * 150 + [40] * 150)
    right = np.concatenate([flags(120, 150), flags(148, 150)])
    found = questions(judged_rows(right, tokens=tokens))["cut"]
    assert found is not None
    assert found.found
    assert [(each.name, each.rows) for each in found.groups] == [("texts cut off", 150), ("whole texts", 150)]
    assert found.difference == pytest.approx(120 / 150 - 148 / 150)


@pytest.mark.parametrize(
    ("cut", "whole", "alone", "begins", "ends"),
    [
        ((193, 200), (198, 200), False, "Not enough rows", "both corrected for 3 tests)."),
        ((190, 200), (198, 200), False, "Texts that were cut off", "The interval holds 0, but the test is convinced."),
        ((93, 100), (873, 900), True, "Not enough rows", "The interval leaves out 0, but the test is not convinced."),
        ((160, 200), (198, 200), False, "Texts that were cut off", "both corrected for 3 tests)."),
    ],
)  # fmt: skip
def test_where_a_test_and_its_interval_do_not_agree_and_only_there_that_is_said(
    cut: tuple[int, int], whole: tuple[int, int], alone: bool, begins: str, ends: str
) -> None:
    """Holm's correction is milder than that of intervals, and Fisher's test stricter than either."""
    judged = judged_rows(np.concatenate([flags(*cut), flags(*whole)]), tokens=np.repeat([200, 40], [cut[1], whole[1]]))
    sure = Dependence((of(9, 10), of(1, 10)), 1e-9)
    others = {} if alone else {"class": sure, "source": sure}
    found = together({**others, "cut": by_cut(judged)}, judged)["cut"]
    assert found is not None
    assert found.verdict.startswith(begins)
    assert found.verdict.endswith(ends)


@pytest.mark.parametrize("tokens", [5, 500])
def test_rows_that_are_all_cut_or_all_whole_are_not_compared(tokens: int) -> None:
    assert by_cut(judged_rows(flags(8, 10), tokens=np.full(10, tokens))) is None


def test_a_source_that_fails_is_found_by_name() -> None:
    sources = ("agency",) * 200 + ("<b>blog</b>",) * 100
    found = questions(judged_rows(np.concatenate([flags(198, 200), flags(80, 100)]), sources=sources))["source"]
    assert found is not None
    assert found.found
    assert found.verdict.endswith("“<b>blog</b>” is right in 80 % of its 100 rows, “agency” in 99.0 % of its 200.")


def test_many_sources_are_the_commonest_and_the_rest() -> None:
    generator = np.random.default_rng(2)
    sources = tuple(f"s{number}" for number in generator.integers(0, 40, 600))
    found = by_source(judged_rows(flags(550, 600), sources=sources))
    assert found is not None
    assert len(found.groups) == 13
    assert found.groups[-1].name == "28 others"
    assert sum(each.rows for each in found.groups) == 600


@pytest.mark.parametrize(("count", "last"), [(13, "s12"), (14, "2 others")])
def test_a_single_source_is_not_called_others(count: int, last: str) -> None:
    sources = tuple(f"s{number}" for number in range(count) for _ in range(40 - number))
    found = by_source(judged_rows(flags(8, len(sources)), sources=sources))
    assert found is not None
    assert (len(found.groups), found.groups[-1].name) == (13, last)


@pytest.mark.parametrize(("rows", "room"), [(32_500, True), (65_000, False)])
def test_whether_half_a_point_has_room_is_told_by_intervals_that_hold_for_all_groups_and_tests(
    rows: int, *, room: bool
) -> None:
    """Four groups and three questions: 1 - 0.05 / 12 has 2.87 standard errors to each side."""
    alike = Dependence((of(96 * rows // 100, rows),) * 4)
    assert (2 * 2.865 * (0.96 * 0.04 / rows) ** 0.5 > 0.005) is room
    assert _has_room(alike, 3) is room


def test_a_source_of_its_own_for_each_row_is_not_tested() -> None:
    sources = tuple(f"https://example.org/{row}" for row in range(100))
    found = questions(judged_rows(flags(80, 100), sources=sources))["source"]
    assert found is not None
    assert found.p is None
    assert "too many different values" in found.verdict


def test_one_source_of_all_rows_is_not_tested_nor_counted_among_the_tests() -> None:
    asked = questions(judged_rows(flags(80, 100), sources=("a",) * 100))
    found, of_class = asked["source"], asked["class"]
    assert found is not None
    assert of_class is not None
    assert found.p is None
    assert found.verdict == "All rows are alike in this, so there is nothing to compare."
    assert of_class.adjusted == of_class.p


def test_nothing_is_found_only_where_no_half_point_has_room() -> None:
    """5 points less for the longer half of 400 rows leave room for an effect, equal halves of 400,000 don't."""
    few = np.concatenate([np.tile(flags(19, 20), 10), np.tile(flags(18, 20), 10)])
    found = questions(judged_rows(few, tokens=np.arange(400)))["length"]
    assert found is not None
    assert found.interval is not None
    assert not found.found
    assert found.interval == difference_interval((180, 200), (190, 200), 1 - 0.05 / 3)
    assert found.verdict.startswith("Not enough rows to tell whether accuracy differs by length: ")
    many = np.tile(flags(96, 100), 4000)
    half = many.size // 2
    asked = questions(judged_rows(many, tokens=np.arange(many.size), sources=("a", "b") * half, max_length=half))
    verdicts = [each.verdict for each in asked.values() if each is not None]
    assert [each.startswith("No ") for each in verdicts] == [True, True, True, True], verdicts


def test_a_few_errors_are_said_to_be_too_few() -> None:
    tokens = np.arange(100)
    found = questions(judged_rows(~(tokens > 96), tokens=tokens))["length"]
    assert found is not None
    assert not found.found
    assert found.verdict.startswith("Only 3 errors in 100 test rows")
    none = questions(judged_rows([True] * 100, tokens=tokens))["length"]
    assert none is not None
    assert none.verdict.startswith("None of 100 test rows is wrong")


def test_p_values_of_the_questions_are_corrected_together() -> None:
    found = [each for each in questions(random_rows(3)).values() if each is not None and each.p is not None]
    assert len(found) == 4
    expected = multipletests([each.p for each in found], method="holm")[1]
    assert [each.adjusted for each in found] == pytest.approx(expected.tolist())


def test_all_questions_together_find_something_in_noise_in_under_5_percent() -> None:
    wrong = 0
    tries = 300
    for seed in range(tries):
        wrong += any(each is not None and each.found for each in questions(random_rows(seed)).values())
    assert wrong / tries <= 0.05 + 3 * (0.05 * 0.95 / tries) ** 0.5
