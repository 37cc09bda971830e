"""The C of a linear classifier by cross-validation, while the time allows; what the linear peers share."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from study.peers.task import Task

FOLDS = 3
_SPARE, _FIXED = 1.5, 5.0
"""A comparison is begun where it, and training on all rows after it, fit with so much to spare (times, and seconds)."""


def best_classifier(
    task: Task, classifier: Callable[[float], Any], strengths: Sequence[float], features: Any, labels: Sequence[int]
) -> tuple[Any, dict[str, Any]]:
    """`classifier(C)` trained on all rows, and what was chosen. The first of `strengths` is trained before all else."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    began = time.monotonic()
    final = classifier(strengths[0]).fit(features, labels)
    one_fit = time.monotonic() - began
    scores: dict[float, float] = {}
    folds = min(FOLDS, *Counter(labels).values())
    if folds > 1:
        splits = StratifiedKFold(folds, shuffle=True, random_state=task.seed)
        for strength in strengths:
            if task.remaining() < _SPARE * (folds + 1) * one_fit + _FIXED:
                break
            began = time.monotonic()
            found = cross_val_score(classifier(strength), features, labels, cv=splits)
            one_fit = max(one_fit, (time.monotonic() - began) / folds)
            scores[strength] = float(found.mean())
    best = max(scores, key=lambda strength: scores[strength], default=strengths[0])
    if best != strengths[0]:
        final = classifier(best).fit(features, labels)
    return final, {"C": best, "compared": {f"{strength:g}": round(score, 4) for strength, score in scores.items()}}
