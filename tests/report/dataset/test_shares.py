"""Class shares and whether they matter: against scipy, by simulation, and in words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.regression.linear_model import OLS, WLS

from loraloom.intervals import wilson_interval
from loraloom.report.dataset.shares import balance, cramers_v, drift, drifts, share_effect, slope_by_class
from loraloom.report.failures.classes import ClassLine
from loraloom.report.failures.groups import Dependence
from loraloom.wording import percent
from tests.report.peak import peak_of


def lines(recalls: Sequence[float], judged: Sequence[int] | None = None) -> list[ClassLine]:
    """Of 100 rows each, or as many as were `judged`."""
    return [
        ClassLine(f"c{n}", rows, rows, recall, None, recall, wilson_interval(round(recall * rows), rows), recall, None)
        for n, (recall, rows) in enumerate(zip(recalls, judged or [100] * len(recalls), strict=True))
    ]


def rows(*counts: int) -> dict[str, int]:
    return {f"c{number}": count for number, count in enumerate(counts)}


def differ(p: float | None) -> Dependence:
    return Dependence((), p, p)


def test_equal_shares_are_equal_and_others_as_good_as_equal() -> None:
    found = balance(rows(30_000, 30_000, 30_000, 30_000))
    assert found is not None
    assert (found.ratio, found.evenness, found.p) == pytest.approx((1, 1, 1))
    assert found.verdict == "The classes are equally common: 25 % each."
    nearly = balance(rows(30_000, 30_000, 30_000, 30_100))
    assert nearly is not None
    assert nearly.verdict.startswith("The classes are as good as equally common: from 25 % (“c0”) to 25 % (“c3”)")


def test_unequal_shares_are_told_with_their_effect() -> None:
    found = balance(rows(700, 200, 100))
    assert found is not None
    assert "from 10 % (“c2”) to 70 % (“c0”), 7.0 times as often; evenness 0.730 of 1." in found.verdict
    expected = stats.chisquare([700, 200, 100])
    assert found.p == pytest.approx(expected.pvalue)
    assert found.evenness == pytest.approx(stats.entropy([0.7, 0.2, 0.1]) / math.log(3))


def test_classes_that_begin_alike_are_told_apart() -> None:
    found = balance({f"{'a long way ' * 8}{number}": count for number, count in enumerate((700, 200, 100))})
    assert found is not None
    assert re.search("from 10 % \\(“….* 2”\\) to 70 % \\(“….* 0”\\)", found.verdict)


def test_few_rows_that_differ_by_chance_are_not_called_unequal() -> None:
    found = balance(rows(8, 5))
    assert found is not None
    assert "not shown to differ" in found.verdict


def test_a_class_without_a_row_is_infinitely_rarer() -> None:
    found = balance(rows(100, 0))
    assert found is not None
    assert math.isinf(found.ratio)
    assert "infinitely often" in found.verdict


@pytest.mark.parametrize("counts", [{}, {"a": 4}, {"a": 0, "b": 0}])
def test_nothing_is_said_of_one_class_or_no_row(counts: dict[str, int]) -> None:
    assert balance(counts) is None


def test_drift_is_scipys_test_with_the_size_that_bergsma_has() -> None:
    found = drift("test", rows(500, 300, 200), rows(50, 60, 90))
    assert found is not None
    assert found.p == 1 / 2000
    assert found.moved == pytest.approx(0.25)
    equal = drift("test", rows(500, 300, 200), rows(250, 300, 450))
    statistic = stats.chi2_contingency([[500, 300, 200], [250, 300, 450]], correction=False).statistic
    assert equal is not None
    # 2 rows less 1/1999 against 3 columns less 4/1999: the rows are fewer
    assert equal.v == pytest.approx(math.sqrt((statistic / 2000 - 2 / 1999) / (2 - 1 / 1999 - 1)))


def test_the_chance_of_a_difference_is_that_of_dealt_rows() -> None:
    close = drift("test", rows(500, 300, 200), rows(50, 40, 10))
    assert close is not None
    exact = stats.chi2_contingency([[500, 300, 200], [50, 40, 10]], correction=False).pvalue
    assert close.p == pytest.approx(exact, rel=0.3)
    assert 0.01 < exact < 0.05


def test_splits_are_compared_with_training_as_two_tests_and_one_is_one() -> None:
    """Of one test p would be 0.04, of two it is 0.08 for either."""
    train, other = rows(500, 300, 200), rows(52, 38, 10)
    found = drifts(train, {"validation": other, "test": other, "empty": {}})
    alone = drift("test", train, other)
    assert alone is not None
    assert alone.verdict.startswith("Its class shares differ somewhat from training's (p = 0.0")
    assert [(each.split, each.tests, each.p) for each in found] == [
        (split, 2, 2 * alone.p) for split in ("validation", "test")
    ]
    assert found[0].verdict.startswith("Its class shares are not shown to differ from training's (p = 0.0")
    assert "corrected for 2 tests, Cramér's V 0." in found[0].verdict
    assert drifts(train, {"test": other}) == (alone,)


def test_splits_of_many_rare_classes_are_not_found_to_differ_where_they_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraloom.report.dataset.shares.DEALS", 199)
    shares = 1 / np.arange(1, 151) ** 1.5
    generator, tries, found = np.random.default_rng(0), 60, 0
    for _ in range(tries):
        split = drift("test", *(rows(*generator.multinomial(n, shares / shares.sum()).tolist()) for n in (20_000, 300)))
        assert split is not None
        found += split.p <= 0.05
    assert found / tries <= 0.05 + 3 * (0.05 * 0.95 / tries) ** 0.5


def test_rows_of_many_classes_are_dealt_in_portions_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    train, other = rows(*[9] * 400), rows(*[1, 2] * 200)
    whole, most = peak_of(lambda: drift("test", train, other))
    monkeypatch.setattr("loraloom.calibration.MOST_DRAWN", 20_000)
    parts, least = peak_of(lambda: drift("test", train, other))
    assert parts is not None
    assert whole is not None
    assert (parts.p, parts.verdict) == (whole.p, whole.verdict)
    assert parts.by_chance == pytest.approx(whole.by_chance, rel=1e-12)
    assert least < 0.3 * most


def test_the_size_of_a_difference_is_of_the_shares_and_not_of_how_large_the_splits_are() -> None:
    found = [drift("test", rows(9 * n, 9 * n, 9 * n, 9 * n), rows(300, 200, 200, 100)) for n in (20, 200, 20_000)]
    sizes = [each.v for each in found if each is not None]
    assert sizes == pytest.approx([0.18] * 3, abs=0.01)


@pytest.mark.parametrize(
    ("counts", "size"), [((480, 520), "little"), ((400, 600), "somewhat"), ((250, 750), "much"), ((0, 1000), "much")]
)
def test_the_size_of_a_difference_has_cohens_words(counts: tuple[int, int], size: str) -> None:
    found = drift("test", rows(550, 450), rows(*counts))
    assert found is not None
    assert found.verdict.startswith(f"Its class shares differ {size} from training's (p ")


def test_what_few_rows_of_many_classes_differ_by_is_told_beside_what_chance_makes_of_it() -> None:
    shares = np.full(150, 0.75 / 149)
    shares[0] = 0.25
    few = np.random.default_rng(0).multinomial(1000, shares)
    found = drift("test", rows(*[10_000] * 150), rows(*few.tolist()))
    assert found is not None
    assert found.moved == pytest.approx(0.311)
    # the mean of |difference| of normal shares, 150 of them, whose variance is 1 / 150,000
    by_chance = percent(75 * math.sqrt(2 / math.pi / 150_000))
    said = f"31 % of its rows would have to be in another class; by chance alone, {by_chance} would."
    assert found.verdict.endswith(f"). To have the same, {said}")


def test_a_difference_of_chance_alone_has_a_size_near_0() -> None:
    generator = np.random.default_rng(1)
    sizes = [cramers_v(generator.multinomial(1000, np.full(150, 1 / 150), size=2) / 1) for _ in range(200)]
    assert np.square(sizes).mean() < 0.01
    assert sizes.count(0) > 60  # half of all lie below what is taken off
    assert cramers_v(np.eye(2)) == 0  # a row of each


def test_splits_with_the_same_shares_are_not_shown_to_differ() -> None:
    found = drift("test", rows(500, 300, 200), rows(50, 30, 20))
    assert found is not None
    assert found.p == pytest.approx(1)
    assert "not shown to differ" in found.verdict


def test_a_split_that_lacks_a_class_is_compared_over_all_classes() -> None:
    found = drift("test", rows(50, 30, 20), {"c0": 50, "c1": 50})
    assert found is not None
    assert found.moved == pytest.approx(0.2)
    assert drift("test", rows(5, 5), {}) is None


def test_balanced_classes_can_not_explain_errors_whatever_their_recalls() -> None:
    found = share_effect(rows(100, 100, 100, 100), lines([0.99, 0.7, 0.8, 0.95]), differ(0.0001), "test")
    assert found.verdict == "Shares can't explain the errors: no class has more rows than another."
    assert found.p is None
    nearly = share_effect(rows(100_000, 100_001), lines([0.99, 0.7]), differ(0.0001), "test")
    assert nearly.verdict.endswith("no class has over 1.01 times the training rows of another.")


def test_rare_classes_that_fail_are_found() -> None:
    counts = [2000, 1000, 500, 250, 125, 60, 30]
    found = share_effect(rows(*counts), lines([0.98, 0.95, 0.93, 0.9, 0.85, 0.8, 0.7]), differ(0.0001), "test")
    assert found.verdict.startswith("Rare classes do worse")
    assert "predict --class_shares balanced finds more of their rows" in found.verdict
    assert found.interval is not None
    assert 0 < found.interval[0] < 0.04 < found.interval[1]


@pytest.mark.parametrize("classes", [3, 4])
def test_three_or_four_classes_are_too_few_to_tell(classes: int) -> None:
    counts, recalls = (2000, 1000, 500, 250)[:classes], [0.98, 0.9, 0.8, 0.4][:classes]
    found = share_effect(rows(*counts), lines(recalls), differ(0.0001), "test")
    assert f"With {classes} classes it can't be told" in found.verdict
    assert found.slope is None


def test_classes_that_differ_for_other_reasons_are_not_blamed_on_shares() -> None:
    found = share_effect(rows(900, 500, 300, 200, 100), lines([0.8, 0.99, 0.97, 0.99, 0.85]), differ(0.0001), "test")
    assert found.verdict.startswith(
        "Classes differ in recall, but they and their test rows are too few to tell whether"
    )


def test_no_effect_of_shares_is_found_only_where_there_is_no_room_for_half_a_point() -> None:
    counts = rows(900, 500, 300, 200, 100)
    wide = share_effect(counts, lines([0.9, 0.99, 0.2, 0.1, 0.85]), differ(0.3), "test")
    assert wide.verdict.startswith("Classes and their test rows are too few to tell")
    assert wide.interval is not None
    assert -1 <= wide.interval[0] < 0 < wide.interval[1] <= 1
    close = share_effect(counts, lines([0.9, 0.9001, 0.9, 0.9001, 0.9], [100_000] * 5), differ(0.3), "test")
    assert close.verdict.startswith("No effect of shares was found")


def test_a_change_of_recall_that_may_be_any_is_not_told() -> None:
    counts = rows(305, 301, 246, 233, 230)
    found = share_effect(counts, lines([0.04, 1.0, 0.0, 0.0, 0.18]), differ(0.0001), "test")
    assert found.interval == (-1, 1)
    assert found.verdict.endswith("too few to tell whether recall goes with their shares (p = 0.47).")


def test_very_many_classes_are_counted_in_thousands() -> None:
    recalls = [0.5 + (n % 90) / 200 for n in range(1_200)]
    found = share_effect(rows(*(10 + n % 90 for n in range(1_200))), lines(recalls), differ(0.0001), "test")
    assert ", 1,200 classes)" in found.verdict


def test_a_change_of_recall_is_at_most_the_whole() -> None:
    found = share_effect(rows(100, 140, 101, 138, 102), lines([0.0, 1.0, 0.1, 0.9, 0.0]), differ(0.0001), "test")
    assert found.slope == 1
    assert found.interval is not None
    assert found.interval[1] == 1


@pytest.mark.parametrize(("classes", "judged", "recall"), [(40, 800, 0.97), (150, 2000, 0.9), (12, 400, 0.97)])
def test_rare_classes_of_few_rows_are_not_said_to_do_better_where_all_have_one_recall(
    classes: int, judged: int, recall: float
) -> None:
    generator, tries, found = np.random.default_rng(classes), 100, 0
    shares = 1 / np.arange(1, classes + 1)
    of = np.maximum(1, np.round(judged * shares / shares.sum())).astype(int)
    for _ in range(tries):
        given = lines((generator.binomial(of, recall) / of).tolist(), of.tolist())
        p = share_effect(rows(*(4 * of).tolist()), given, differ(0.3), "test").p
        found += p is not None and p <= 0.05
    assert found / tries <= 0.05 + 3 * (0.05 * 0.95 / tries) ** 0.5


@pytest.mark.parametrize("classes", [5, 12])
def test_the_test_holds_its_level_though_classes_are_unlike(classes: int) -> None:
    generator = np.random.default_rng(classes)
    counts, judged = np.geomspace(40, 40 * 1.5 ** (classes - 1), classes), np.full(classes, 100)
    tries = 150
    unlike = (generator.beta(20, 2, classes) for _ in range(tries))
    found = sum(slope_by_class(counts, each, judged).p_value <= 0.05 for each in unlike)
    assert found / tries <= 0.05 + 3 * (0.05 * 0.95 / tries) ** 0.5


def test_classes_of_which_as_many_rows_were_judged_have_least_squares_with_hc2() -> None:
    counts, recalls = np.array([1.0, 2, 3, 4, 6, 9]), np.array([0.7, 0.9, 0.8, 0.95, 0.93, 0.6])
    found = slope_by_class(counts, recalls, np.full(6, 1000))
    oracle = OLS(recalls, np.column_stack([np.ones(6), np.log2(counts)])).fit(cov_type="HC2")
    assert (found.value, found.error) == pytest.approx((oracle.params[1], oracle.bse[1]))


@pytest.mark.parametrize(
    ("given", "unlike"), [((0.7, 0.9, 0.8, 0.95, 0.93, 0.6), True), ((0.93, 0.88, 0.89, 0.9, 0.9, 0.91), False)]
)
def test_classes_weigh_by_their_rows_and_by_what_they_differ_by_as_paule_and_mandel_have_it(
    given: tuple[float, ...], *, unlike: bool
) -> None:
    counts, judged, recalls = np.array([1.0, 2, 3, 4, 6, 9]), np.array([30, 40, 80, 200, 500, 900]), np.array(given)
    share = (recalls @ judged + 0.5) / (judged.sum() + 1)
    design = np.column_stack([np.ones(6), np.log2(counts)])

    def fitted(between: float) -> Any:
        return WLS(recalls, design, weights=1 / (share * (1 - share) / judged + between)).fit()

    def too_large(between: float) -> float:
        return float((fitted(between).wresid ** 2).sum()) - 4

    assert (too_large(0.0) > 0) is unlike
    oracle = fitted(float(optimize.brentq(too_large, 0.0, 1.0)) if unlike else 0.0)
    found = slope_by_class(counts, recalls, judged)
    assert found.value == pytest.approx(oracle.params[1])
    assert found.error == pytest.approx(max(oracle.HC2_se[1], oracle.normalized_cov_params[1, 1] ** 0.5))


def test_a_class_that_is_common_beside_others_that_are_alike_tells_nothing_of_shares() -> None:
    found = share_effect(rows(900, 100, 100, 100, 100), lines([0.99, 0.8, 0.81, 0.79, 0.8]), differ(0.01), "test")
    assert found.verdict.endswith("too few to tell whether recall goes with their shares (p = 1.00).")


def test_the_interval_of_the_slope_covers_the_truth() -> None:
    generator = np.random.default_rng(0)
    counts, judged = np.geomspace(50, 50 * 2**7, 8), np.full(8, 400)
    covered = 0
    for _ in range(100):
        recalls = 0.6 + 0.03 * np.arange(8) + generator.normal(0, 0.05, 8)
        low, high = slope_by_class(counts, recalls, judged).interval(0.05)
        covered += low <= 0.03 <= high
    assert covered >= 88
