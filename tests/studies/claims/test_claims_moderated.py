"""Seeds' variance learnt from all contrasts: planted priors are found, intervals cover, families keep their level."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from loraloom.intervals import holm
from study.claims.crossed import Estimate, crossed, mean_squares
from study.claims.moderated import LEAST, NO_PRIOR, Prior, prior_of

SEEDS, ROWS, CONTRASTS = 3, 2_000, 20
EFFECTS = np.array([0.05] + [0.0] * (CONTRASTS - 1))
"""A plain one, and nothing."""


def apart(number: int) -> NDArray[np.float64]:
    """The weights of contrasts that share no trial."""
    return np.eye(number)


def test_a_planted_prior_is_found_from_many_contrasts() -> None:
    generator = np.random.default_rng(0)
    variances = 4.0 * 0.3 / generator.chisquare(4.0, 2_000)
    found = prior_of((variances * generator.chisquare(2, 2_000) / 2).tolist(), [2] * 2_000, apart(2_000))
    assert found.degrees == pytest.approx(4.0, rel=0.1)
    assert found.scale == pytest.approx(0.3, rel=0.05)


def test_contrasts_that_vary_alike_share_one_variance_that_is_known_as_well_as_they_are_many() -> None:
    squares = 0.3 * np.random.default_rng(1).chisquare(2, 12) / 2
    squares = np.sort(squares)[3:-3].repeat(2)  # alike by more than chance has it
    found = prior_of(squares.tolist(), [2] * 12, apart(12))
    assert special.polygamma(1, found.degrees / 2) == pytest.approx(special.polygamma(1, 1) / 12)
    of_many = prior_of(squares.repeat(20).tolist(), [2] * 240, apart(240))
    assert of_many.degrees > 10 * found.degrees


def test_contrasts_that_share_a_trial_say_less_than_as_many_that_do_not() -> None:
    squares = (0.3 * np.random.default_rng(2).chisquare(2, 24) / 2).tolist()
    beside, none = np.hstack([np.eye(24), -np.ones((24, 1))]), np.hstack([np.eye(24), -np.eye(24)])
    assert prior_of(squares, [2] * 24, none) == prior_of(squares, [2] * 24, apart(24))
    assert prior_of(squares, [2] * 24, beside).degrees < prior_of(squares, [2] * 24, none).degrees / 2


def test_few_contrasts_and_seeds_that_all_agree_leave_each_its_own_variance() -> None:
    assert prior_of([0.1] * (LEAST - 1), [2] * (LEAST - 1), apart(LEAST - 1)) == NO_PRIOR
    assert prior_of([0.0] * LEAST, [2] * LEAST, apart(LEAST)) == NO_PRIOR
    assert NO_PRIOR.moderate(0.7, 2) == (0.7, 2)


def test_a_seeds_variance_is_drawn_towards_the_others() -> None:
    assert Prior(4.0, 0.3).moderate(0.9, 2) == pytest.approx((0.5, 6.0))


def study(generator: np.random.Generator, effects: NDArray[np.float64]) -> list[tuple[Estimate, Estimate]]:
    """Contrasts with these effects whose seeds vary each by its own amount: estimated alone, and moderated."""
    tables = []
    for effect in effects:
        wander = math.sqrt(4.0 * 0.008**2 / generator.chisquare(4.0))
        seeds = generator.normal(0, wander, (SEEDS, 1))
        rows = generator.choice([-1.0, 0.0, 1.0], (1, ROWS), p=[0.03, 0.94, 0.03])
        left = generator.choice([-1.0, 0.0, 1.0], (SEEDS, ROWS), p=[0.04, 0.92, 0.04])
        tables.append(effect + seeds + rows + left)
    degrees = [SEEDS - 1] * len(tables)
    prior = prior_of([mean_squares(table).seeds for table in tables], degrees, apart(len(tables)))
    return [(crossed(table), crossed(table, prior)) for table in tables]


@pytest.fixture(scope="module")
def studies() -> list[list[tuple[Estimate, Estimate]]]:
    """Each of `EFFECTS`."""
    generator = np.random.default_rng(3)
    return [study(generator, EFFECTS) for _ in range(200)]


def test_moderated_intervals_cover_and_are_narrower(studies: list[list[tuple[Estimate, Estimate]]]) -> None:
    covered, widths = [], []
    for own in studies:
        for (alone, moderated), effect in zip(own, EFFECTS, strict=True):
            covered.append(moderated.interval[0] <= effect <= moderated.interval[1])
            widths.append((moderated.interval[1] - moderated.interval[0], alone.interval[1] - alone.interval[0]))
    assert 0.93 <= np.mean(covered) <= 0.97
    of_moderated, of_alone = np.mean(widths, axis=0)
    assert of_moderated < 0.8 * of_alone


def test_false_verdicts_keep_their_level_and_plain_effects_are_found_more_often(
    studies: list[list[tuple[Estimate, Estimate]]],
) -> None:
    false, found = [], []
    for own in studies:
        corrected = [holm([pair[which].p for pair in own]) for which in (0, 1)]
        found.append([values[0] < 0.05 for values in corrected])
        false.append(min(corrected[1][1:]) < 0.05)
    of_alone, of_moderated = np.mean(found, axis=0)
    assert np.mean(false) <= 0.075  # 0.05, and what 200 studies can be off by
    assert of_moderated > of_alone + 0.2


def test_false_verdicts_keep_their_level_where_all_contrasts_share_a_trial() -> None:
    generator = np.random.default_rng(4)
    weights = np.hstack([apart(CONTRASTS), -np.ones((CONTRASTS, 1))])
    false, covered = [], []
    for _ in range(1_000):
        wander = np.sqrt(4.0 / generator.chisquare(4.0, (CONTRASTS + 1, 1)))
        differences = weights @ generator.normal(0, wander, (CONTRASTS + 1, SEEDS))
        squares = differences.var(axis=1, ddof=1)
        prior = prior_of(squares.tolist(), [SEEDS - 1] * CONTRASTS, weights)
        moderated, degrees = np.transpose([prior.moderate(square, SEEDS - 1) for square in squares])
        p = 2 * stats.t.sf(np.abs(differences.mean(axis=1)) / np.sqrt(moderated / SEEDS), degrees)
        false.append(p.min() < 0.05 / CONTRASTS)
        covered.append(np.mean(p >= 0.05))
    assert np.mean(false) <= 0.065  # 0.05, and what 1,000 studies can be off by
    assert np.mean(covered) >= 0.925
