"""Vectors, distances and answers with a known truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from loraloom.report.similarity.rank import Answers

LEVEL = 0.05


def generator_of(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def most_rejections(studies: int, level: float = LEVEL) -> int:
    """How many of `studies` a test that holds its level rejects at most, in 999 of 1,000 simulations."""
    return int(binom.ppf(0.999, studies, level))


def unit_vectors(generator: np.random.Generator, rows: int, centre: NDArray[np.float64]) -> NDArray[np.float32]:
    vectors = generator.normal(size=(rows, len(centre))) + centre
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def right_by(generator: np.random.Generator, log_odds: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(generator.random(len(log_odds)) < 1 / (1 + np.exp(-log_odds)), dtype=np.bool_)


def trials(
    generator: np.random.Generator,
    ranks: tuple[int, ...],
    distances: NDArray[np.float64],
    effect: float,
    seeds: int | None = None,
) -> list[Answers]:
    """Trials that share rows of their own difficulty; each has a level and a slope of its own, by other choices.

    `effect` is what a doubled rank adds to the slope. With `seeds` there are as many trials of each of these choices.
    """
    z = (distances - distances.mean()) / distances.std()
    difficulty = generator.normal(0, 1.5, size=len(z))
    rows = np.arange(len(z))
    made = []
    for number, rank in enumerate(ranks):
        slope = -0.5 + generator.normal(0, 0.3) + effect * np.log2(rank / 8)
        log_odds = 3 + generator.normal(0, 0.5) + difficulty + slope * z
        beside = "" if seeds is None else str(number)
        made += [Answers(rank, rows, right_by(generator, log_odds), beside) for _ in range(seeds or 1)]
    return made
