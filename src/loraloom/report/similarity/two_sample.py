"""Are two sets of texts drawn from one distribution? A kernel test says whether not, a classifier says how much.

With many rows any difference is significant, so the answer is the size: how often a classifier that was trained to
tell the sets apart ranks a row of one above a row of the other (AUC; 0.5 is chance). A few tenths of a second for the
1,000 rows that are drawn of each set. Rejected: a test of means alone, and the p-value of the classifier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from loraloom.intervals import Interval, normal_quantile

MOST_ROWS = 1_000
FEWEST_ROWS = 20
PERMUTATIONS = 999

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TwoSample:
    """`first` and `second` rows were compared; `mmd` is the root of the unbiased MMD² (0 where that is below 0).

    `p` is of "one distribution"; `auc` has its 95 % interval.
    """

    first: int
    second: int
    mmd: float
    bandwidth: float
    p: float
    auc: float
    auc_interval: Interval


def two_sample(first: Vectors, second: Vectors, seed: int) -> TwoSample | None:
    """Compares sets of vectors (M, D) and (N, D), of each a random part; None with fewer than 20 rows in one."""
    if min(len(first), len(second)) < FEWEST_ROWS:
        return None
    generator = np.random.Generator(np.random.PCG64(seed))
    one, other = (_part(vectors, generator) for vectors in (first, second))
    mmd_squared, p, bandwidth = mmd_test(one, other, generator)
    auc, interval = classifier_auc(one, other, seed)
    return TwoSample(len(one), len(other), math.sqrt(max(0.0, mmd_squared)), bandwidth, p, auc, interval)


def mmd_test(
    first: Vectors, second: Vectors, generator: np.random.Generator, permutations: int = PERMUTATIONS
) -> tuple[float, float, float]:
    """The unbiased MMD² of (M, D) and (N, D) under a Gaussian kernel, its permutation p-value, and the bandwidth.

    The bandwidth is the median distance of the pooled rows. Source: Gretton et al., "A kernel two-sample test", JMLR
    13 (2012), 723–773, equation 3; section 8 for the median; p counts the observed order among the permuted
    (Phipson and Smyth 2010, equation 2), so that the test holds its level at any number of permutations.
    """
    pooled = np.concatenate([first, second]).astype(np.float32)
    squares = np.einsum("nd,nd->n", pooled, pooled)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * (pooled @ pooled.T), 0)  # (N, N), squared
    median = float(np.sqrt(np.median(distances[np.triu_indices(len(pooled), 1)])))
    bandwidth = median if median > 1e-6 else 1.0
    kernel = np.exp(-distances / np.float32(2 * bandwidth**2))
    np.fill_diagonal(kernel, 0)
    size, total = len(first), len(pooled)
    chosen = np.zeros((total, permutations + 1), dtype=np.float32)  # 1 where a row is taken for one of the first set
    chosen[:size, 0] = 1
    for column in range(1, permutations + 1):
        chosen[generator.permutation(total)[:size], column] = 1
    sums = (kernel @ chosen).astype(np.float64)  # (N, permutations + 1)
    within = (chosen * sums).sum(axis=0)
    across = sums.sum(axis=0) - within
    other = float(kernel.sum(dtype=np.float64)) - within - 2 * across
    rest = total - size
    found = within / (size * (size - 1)) + other / (rest * (rest - 1)) - 2 * across / (size * rest)
    above = int((found[1:] >= found[0] - 1e-12).sum())
    return float(found[0]), (1 + above) / (permutations + 1), bandwidth


def classifier_auc(first: Vectors, second: Vectors, seed: int) -> tuple[float, Interval]:
    """The AUC, with 95 %, on one half of the rows (M, D) and (N, D) of a logistic regression fitted to the other.

    Halves and no cross-validation: folds depend on each other, and an interval that takes them for independent left
    out the truth in 16 of 100 simulations. Sources: Lopez-Paz and Oquab, "Revisiting classifier two-sample tests",
    ICLR 2017, section 3, with the AUC in place of the accuracy since sets differ in size; its interval: `auc_interval`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split

    vectors = np.concatenate([first, second]).astype(np.float64)
    labels = np.repeat([0, 1], [len(first), len(second)])
    parts = train_test_split(vectors, labels, test_size=0.5, stratify=labels, random_state=seed)
    seen, unseen, labels_seen, labels_unseen = parts
    regression: Any = LogisticRegression  # scikit-learn has no types
    model = regression(class_weight="balanced", max_iter=1_000).fit(seen, labels_seen)
    auc = float(roc_auc_score(labels_unseen, model.decision_function(unseen)))
    positives = int(labels_unseen.sum())
    return auc, auc_interval(auc, positives, len(labels_unseen) - positives)


def auc_interval(auc: float, positives: int, negatives: int) -> Interval:
    """95 % of an AUC: the values whose own standard error would let it be found. It has width where `auc` is 0 or 1.

    Source: Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2:
    asymptotic methods and evaluation", Statistics in Medicine 25 (2006), 559–573, method 5: Hanley and McNeil's
    variance with (m + n) / 2 − 1 in place of both m − 1 and n − 1, taken at the limit and not at the estimate.
    """
    z, size = normal_quantile(0.95), (positives + negatives) / 2 - 1

    def beyond(limit: float, found: float) -> float:
        spread = 1 + size * ((1 - limit) / (2 - limit) + limit / (1 + limit))
        return found - limit - z * math.sqrt(limit * (1 - limit) * spread / (positives * negatives))

    def lower(found: float) -> float:
        end = min(found, 1 - 1e-12)  # at 1 itself the error is 0: the limit is the other root
        return 0.0 if beyond(end, found) >= 0 else float(optimize.brentq(beyond, 0.0, end, args=(found,)))

    return lower(auc), 1 - lower(1 - auc)


def _part(vectors: Vectors, generator: np.random.Generator) -> Vectors:
    if len(vectors) <= MOST_ROWS:
        return vectors
    return vectors[np.sort(generator.permutation(len(vectors))[:MOST_ROWS])]
