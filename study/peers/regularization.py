"""The C of a linear classifier, and what it reads, by cross-validation, while the time allows; for the linear peers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from study.peers.task import Task

FOLDS = 3
_SPARE, _FIXED = 1.5, 5.0
"""A comparison is begun where it, and training on all rows after it, fit with so much to spare (times, and seconds)."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A C, and the features (rows, width) that it is tried on; `name` says both."""

    name: str
    strength: float
    features: Any


def best_classifier(
    task: Task, classifier: Callable[[float], Any], strengths: Sequence[float], features: Any, labels: Sequence[int]
) -> tuple[Any, dict[str, Any]]:
    """`classifier(C)` trained on all rows, and what was chosen. The first of `strengths` is trained before all else."""
    candidates = [Candidate(f"{strength:g}", strength, features) for strength in strengths]
    best, final, scores = best_candidate(task, classifier, candidates, labels)
    return final, {"C": best.strength, "compared": scores}


def best_candidate(
    task: Task, classifier: Callable[[float], Any], candidates: Sequence[Candidate], labels: Sequence[int]
) -> tuple[Candidate, Any, dict[str, float]]:
    """The best by cross-validation, its `classifier(C)` trained on all rows, and the accuracies by name.

    The first is trained before all else, and is the best where there is no time to compare.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    began = time.monotonic()
    final = classifier(candidates[0].strength).fit(candidates[0].features, labels)
    one_fit = time.monotonic() - began
    scores: dict[str, float] = {}
    folds = min(FOLDS, *Counter(labels).values())
    if folds > 1:
        splits = StratifiedKFold(folds, shuffle=True, random_state=task.seed)
        for one in candidates:
            if task.remaining() < _SPARE * (folds + 1) * one_fit + _FIXED:
                break
            began = time.monotonic()
            found = cross_val_score(classifier(one.strength), one.features, labels, cv=splits)
            one_fit = max(one_fit, (time.monotonic() - began) / folds)
            scores[one.name] = float(found.mean())
    best = max(candidates[: len(scores) or 1], key=lambda one: scores.get(one.name, 0.0))
    if best is not candidates[0]:
        final = classifier(best.strength).fit(best.features, labels)
    return best, final, {name: round(score, 4) for name, score in scores.items()}
