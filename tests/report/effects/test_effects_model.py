"""The model: least squares and HC2 as statsmodels has them, degrees of freedom as the papers have them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS

from loraloom.report.effects.axes import make_axis
from loraloom.report.effects.model import fit, make_design


def two_groups(first: int, second: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    generator = np.random.default_rng(seed)
    return ["a"] * first + ["b"] * second, generator.normal(size=first + second)


@given(st.integers(2, 12), st.integers(2, 12))
def test_two_groups_have_welchs_error_and_the_papers_degrees_of_freedom(first: int, second: int) -> None:
    """Imbens and Kolesár 2016, section 2: with one binary regressor, HC2 is Welch's."""
    values, metric = two_groups(first, second)
    axis = make_axis("train.optim", values)
    assert axis is not None
    design = make_design([axis], np.zeros(first + second, dtype=np.int64))
    estimate = fit(design.matrix, metric).estimate(design.contrast(axis, axis.comparisons()[0].weights))
    a, b = metric[:first], metric[first:]
    assert estimate.value == pytest.approx(b.mean() - a.mean())
    assert estimate.error == pytest.approx(np.sqrt(a.var(ddof=1) / first + b.var(ddof=1) / second))
    n, m = first, second
    expected = (n + m) ** 2 * (n - 1) * (m - 1) / (m**2 * (m - 1) + n**2 * (n - 1))
    assert estimate.freedom == pytest.approx(expected)
    assert estimate.p_value == pytest.approx(2 * stats.t.sf(abs(estimate.value / estimate.error), estimate.freedom))


def test_values_and_errors_are_those_of_statsmodels_with_hc2() -> None:
    generator = np.random.default_rng(1)
    design = np.column_stack([np.ones(30), generator.normal(size=(30, 3))])
    metric = generator.normal(size=30)
    theirs = OLS(metric, design).fit().get_robustcov_results("HC2")
    model = fit(design, metric)
    for place in range(4):
        estimate = model.estimate(np.eye(4)[place])
        assert estimate.value == pytest.approx(theirs.params[place])
        assert estimate.error == pytest.approx(theirs.bse[place])
    assert model.noise == pytest.approx(np.sqrt(theirs.scale))


def test_degrees_of_freedom_are_those_of_bell_and_mccaffreys_matrix() -> None:
    generator = np.random.default_rng(2)
    design = np.column_stack([np.ones(15), generator.normal(size=(15, 2))])
    contrast = np.array([0.0, 1.0, -2.0])
    inverse = np.linalg.inv(design.T @ design)
    hat = design @ inverse @ design.T
    pulls = design @ inverse @ contrast / np.sqrt(1 - np.diag(hat))
    columns = (np.eye(15) - hat) * pulls
    eigenvalues = np.linalg.eigvalsh(columns.T @ columns)
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert fit(design, generator.normal(size=15)).estimate(contrast).freedom == pytest.approx(expected)


@pytest.mark.parametrize("quantities", [2, 3, 4, 9])
def test_degrees_of_freedom_of_few_and_of_many_quantities_are_those_of_the_whole_matrix(quantities: int) -> None:
    """Their squares are fewer than the rows, or more: each has a way of its own."""
    generator = np.random.default_rng(4)
    design = np.column_stack([np.ones(12), generator.normal(size=(12, 2))])
    hat = design @ np.linalg.inv(design.T @ design) @ design.T
    pulls = generator.normal(size=(12, quantities))
    alike = pulls @ np.linalg.inv((pulls.T * (1 - np.diag(hat))) @ pulls) @ pulls.T
    total = ((alike * (np.eye(12) - hat)) ** 2).sum()
    freedom = fit(design, generator.normal(size=12))._freedom(pulls)
    assert freedom == pytest.approx(quantities * (quantities + 1) / (2 * total))


def test_one_added_column_is_tested_as_its_own_coefficient_is() -> None:
    generator = np.random.default_rng(3)
    design = np.column_stack([np.ones(25), generator.normal(size=(25, 2))])
    beside, metric = generator.normal(size=(25, 1)), generator.normal(size=25)
    alone = fit(np.hstack([design, beside]), metric).estimate(np.array([0.0, 0, 0, 1]))
    assert fit(design, metric, beside).of_added() == pytest.approx(alone.p_value)


def test_several_added_columns_keep_the_level_though_noise_differs() -> None:
    below = 0
    for seed in range(400):
        generator = np.random.default_rng(seed)
        design = np.column_stack([np.ones(40), generator.normal(size=(40, 2))])
        beside = generator.normal(size=(40, 3))
        noise = generator.normal(size=40) * np.exp(np.abs(beside[:, 0]))
        p = fit(design, noise, beside).of_added()
        assert p is not None
        below += p < 0.05
    assert below <= stats.binom.isf(1e-3, 400, 0.05)


def test_axes_that_change_together_leave_their_contrasts_unknown() -> None:
    first = make_axis("lora.r", [2, 2, 4, 4, 8, 8])
    twice = make_axis("lora.lora_alpha", [4, 4, 8, 8, 16, 16])
    free = make_axis("train.optim", ["a", "b"] * 3)
    assert first is not None
    assert twice is not None
    assert free is not None
    design = make_design([first, twice, free], np.zeros(6, dtype=np.int64))
    model = fit(design.matrix, np.arange(6.0))
    assert not model.knows(design.contrast(first, first.comparisons()[0].weights))
    assert model.knows(design.contrast(free, free.comparisons()[0].weights))


def test_a_row_that_a_column_of_its_own_fits_says_nothing() -> None:
    values, metric = two_groups(6, 6)
    axis = make_axis("train.optim", [*values, "c"])
    assert axis is not None
    design = make_design([axis], np.zeros(13, dtype=np.int64))
    model = fit(design.matrix, np.append(metric, 5.0))
    assert model.kept.tolist() == [True] * 12 + [False]
    assert not model.knows(design.contrast(axis, (0.0, -1.0, 1.0)))
    assert model.estimate(design.contrast(axis, (-1.0, 1.0, 0.0))).value == pytest.approx(
        metric[6:].mean() - metric[:6].mean()
    )


def test_rounding_is_no_noise() -> None:
    levels = np.repeat([0.0, 1.0], 9)
    other = np.tile([0.0, 1.0, 2.0], 6)
    design = np.column_stack([np.ones(18), levels, other])
    found = fit(design, 0.1 + 0.2 * levels)
    assert found.noise == 0
    assert found.estimate(np.array([0.0, 0.0, 1.0])).error == 0


def test_comparisons_that_rest_on_rows_without_noise_are_not_tested() -> None:
    """a and b differ by nothing at all: only c scatters, and a test of both differences would be one of rounding."""
    axis = make_axis("train.optim", ["a"] * 6 + ["b"] * 6 + ["c"] * 6)
    assert axis is not None
    design = make_design([axis], np.zeros(18, dtype=np.int64))
    metric = np.array([217 / 222] * 12 + [0.5, 0.6, 0.7] * 2)
    model = fit(design.matrix, metric)
    assert model.estimate(design.contrast(axis, (-1.0, 1.0, 0.0))).error == 0
    assert model.estimate(design.contrast(axis, (-1.0, 0.0, 1.0))).error > 0
    assert fit(np.ones((18, 1)), metric, axis.columns).of_added() is None
    assert fit(np.ones((18, 1)), metric + np.linspace(0, 1e-3, 18), axis.columns).of_added() is not None
