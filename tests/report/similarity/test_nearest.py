"""Distances to the nearest training row, against scipy's."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from loraloom.report.similarity.nearest import BLOCK, nearest
from tests.report.similarity.simulated import generator_of, unit_vectors


def test_it_is_the_least_cosine_distance_over_several_blocks() -> None:
    generator = generator_of(1)
    rows, training = unit_vectors(generator, BLOCK + 20, np.ones(5)), unit_vectors(generator, 40, np.ones(5))
    assert np.allclose(nearest(rows, training), cdist(rows, training, "cosine").min(axis=1), atol=1e-6)


def test_a_training_row_is_not_its_own_neighbour() -> None:
    training = unit_vectors(generator_of(2), BLOCK + 20, np.ones(5))
    distances = cdist(training, training, "cosine")
    np.fill_diagonal(distances, np.inf)
    assert np.allclose(nearest(training, training, others=True), distances.min(axis=1), atol=1e-6)


def test_a_row_that_is_a_training_row_is_at_zero() -> None:
    training = unit_vectors(generator_of(3), 30, np.ones(5))
    assert nearest(training[:3], training).max() < 1e-6
