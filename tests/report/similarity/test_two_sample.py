"""The kernel test and the classifier, against their definitions and against a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from loraloom.report.similarity.two_sample import (
    FEWEST_ROWS,
    TwoSample,
    auc_interval,
    classifier_auc,
    mmd_test,
    two_sample,
)
from loraloom.report.similarity.verdicts import on_difference
from tests.report.similarity.simulated import LEVEL, generator_of, most_rejections, unit_vectors

CHANCE = "The classifier's interval leaves chance out; one in forty does where nothing differs."
UNSURE = "So few rows can't rule out a moderate difference (60 % of pairs)."
SAME, SHIFTED = np.ones(8), np.r_[np.full(4, 1.5), np.full(4, 0.5)]


def test_mmd_is_the_sum_over_pairs_of_the_paper() -> None:
    generator = generator_of(1)
    first, second = unit_vectors(generator, 7, SAME), unit_vectors(generator, 9, SHIFTED)
    found, _, bandwidth = mmd_test(first, second, generator, permutations=9)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-float(((a - b) ** 2).sum()) / (2 * bandwidth**2)))

    pooled = np.concatenate([first, second])
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(pooled) for b in pooled[:i]]
    assert bandwidth == pytest.approx(np.median(pairs), rel=1e-5)
    within = sum(kernel(a, b) for i, a in enumerate(first) for j, b in enumerate(first) if i != j) / (7 * 6)
    other = sum(kernel(a, b) for i, a in enumerate(second) for j, b in enumerate(second) if i != j) / (9 * 8)
    across = sum(kernel(a, b) for a in first for b in second) / (7 * 9)
    assert found == pytest.approx(within + other - 2 * across, abs=1e-6)


def test_the_kernel_test_holds_its_level() -> None:
    generator, studies = generator_of(2), 300
    rejected = sum(
        mmd_test(unit_vectors(generator, 30, SAME), unit_vectors(generator, 45, SAME), generator, 99)[1] < LEVEL
        for _ in range(studies)
    )
    assert rejected <= most_rejections(studies)


def test_the_kernel_test_finds_a_planted_shift_nine_times_in_ten() -> None:
    generator, studies = generator_of(3), 60
    found = sum(
        mmd_test(unit_vectors(generator, 60, SAME), unit_vectors(generator, 80, SHIFTED), generator, 99)[1] < LEVEL
        for _ in range(studies)
    )
    assert found >= 0.9 * studies


def test_the_interval_of_the_auc_has_chance_in_it_where_there_is_no_difference() -> None:
    generator, studies = generator_of(4), 200
    missed = 0
    for seed in range(studies):
        _, (low, high) = classifier_auc(unit_vectors(generator, 40, SAME), unit_vectors(generator, 50, SAME), seed)
        missed += not low <= 0.5 <= high
    assert missed <= most_rejections(studies)


@pytest.mark.parametrize("auc", [0.0, 1.0])
def test_an_auc_of_0_or_1_has_an_interval_with_width(auc: float) -> None:
    few, many = auc_interval(auc, 20, 20), auc_interval(auc, 500, 500)
    assert auc in few
    assert auc in many
    assert 0.05 < few[1] - few[0] < 0.2
    assert 0 < many[1] - many[0] < 0.01


@pytest.mark.parametrize(("auc", "low", "high"), [(0.5, 0.44, 0.56), (0.87, 0.822, 0.906)])
def test_the_interval_of_an_auc_is_hanley_and_mcneils_where_there_are_many_rows(
    auc: float, low: float, high: float
) -> None:
    found = auc_interval(auc, 150, 200)
    assert found == pytest.approx((low, high), abs=0.006)
    assert found[0] == pytest.approx(1 - auc_interval(1 - auc, 150, 200)[1])


@pytest.mark.parametrize(("rows", "shift"), [(20, 0.0), (20, 1.8), (20, 2.6), (40, 2.6), (100, 3.0), (20, 3.5)])
def test_the_interval_of_an_auc_holds_the_truth_as_often_as_it_says(rows: int, shift: float) -> None:
    """Two normal samples: the AUC is known. With the error taken at the estimate it was 61 % at 0.993."""
    generator, studies = generator_of(11), 2_000
    truth = float(norm.cdf(shift / math.sqrt(2)))
    held = 0
    for _ in range(studies):
        one, other = generator.normal(0, 1, rows), generator.normal(shift, 1, rows)
        found = float((other[:, None] > one[None, :]).mean())
        low, high = auc_interval(found, rows, rows)
        held += low <= truth <= high
    assert 0.93 <= held / studies <= 0.985


def test_sets_far_apart_have_an_auc_near_one() -> None:
    generator = generator_of(5)
    found = two_sample(unit_vectors(generator, 60, SAME), unit_vectors(generator, 60, -SAME), 1)
    assert found is not None
    assert found.auc > 0.98
    assert found.p == pytest.approx(0.001)


def test_equal_vectors_are_no_difference() -> None:
    same = np.repeat(unit_vectors(generator_of(6), 1, SAME), 60, axis=0)
    found = two_sample(same[:30], same[30:], 1)
    assert found is not None
    assert (found.mmd, found.p, found.auc) == (0.0, 1.0, 0.5)


def test_too_few_rows_are_not_compared() -> None:
    generator = generator_of(7)
    few = unit_vectors(generator, FEWEST_ROWS - 1, SAME)
    assert two_sample(few, unit_vectors(generator, 50, SAME), 1) is None


def test_the_answer_is_a_function_of_the_rows_and_the_seed() -> None:
    generator = generator_of(8)
    first, second = unit_vectors(generator, 1_500, SAME), unit_vectors(generator, 50, SAME)
    assert two_sample(first, second, 3) == two_sample(first, second, 3)
    assert two_sample(first, second, 3) != two_sample(first, second, 4)


@pytest.mark.parametrize(
    ("auc", "interval", "p", "head", "end"),
    [
        (0.55, (0.52, 0.59), 0.01, "A slight difference, more than chance and too small to matter much", "rows."),
        (0.58, (0.45, 0.70), 0.01, "A difference that is more than chance; so few rows don't tell how large", "rows."),
        (0.60, (0.45, 0.70), 0.01, "A moderate difference", "rows."),
        (0.75, (0.70, 0.80), 0.01, "A large difference", "rows."),
        (0.90, (0.85, 0.95), 0.01, "Texts of another kind", "rows."),
        (0.65, (0.61, 0.70), 0.05, "A difference that the kernel test does not see", "rows."),
        (0.52, (0.45, 0.59), 0.05, "No difference found", "500 and 400 rows."),
        (0.52, (0.45, 0.60), 0.05, "No difference found", UNSURE),
        (0.55, (0.51, 0.59), 0.05, "No difference found", CHANCE),
        (0.58, (0.51, 0.60), 0.05, "No difference found", f"{CHANCE} {UNSURE}"),
        (0.55, (0.502, 0.59), 0.05, "No difference found", "500 and 400 rows."),  # 50–59, it says
        (0.46, (0.42, 0.498), 0.05, "No difference found", "500 and 400 rows."),
        (0.19, (0.14, 0.28), 1.00, "No difference found", "in the other too; else once in forty times."),
    ],
)  # fmt: skip
def test_a_difference_is_told_by_its_size_and_by_what_its_interval_leaves_open(
    auc: float, interval: tuple[float, float], p: float, head: str, end: str
) -> None:
    verdict = on_difference(TwoSample(500, 400, 0.1, 1.0, p, auc, interval), p, (500, 400))
    assert verdict.head == head
    assert verdict.figures.endswith(end)


@pytest.mark.parametrize(("auc", "said"), [(0.9964, "99.6 %"), (0.9996, ">99.9 %"), (1.0, "100 %"), (0.615, "62 %")])
def test_not_all_pairs_are_said_to_be_told_apart_where_some_are_not(auc: float, said: str) -> None:
    verdict = on_difference(TwoSample(500, 400, 0.1, 1.0, 0.01, auc, (0.6, 1.0)), 0.01, (500, 400))
    assert f" in {said} of pairs " in verdict.figures
