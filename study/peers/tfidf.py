"""TF-IDF of words and pairs of words under a linear classifier; what `svm` and `logreg` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from study.peers.regularization import Candidate, best_candidate
from study.peers.task import Answer, Task

RARE = 1, 2
"""Of `min_df`: with 2, what stands in one row alone is left out."""

_COMPARING = 300.0
"""Seconds in which all are compared, whatever more there are: of 77,000 rows a regression takes minutes for each C."""


def answer_by(task: Task, classifier: Callable[[float], Any], strengths: Sequence[float]) -> Answer:
    """Classifies by `classifier(C)`; C and `min_df` are chosen together.

    Words are learnt from all training rows, folds included, since labels are not read: once for each `min_df`, where a
    pipeline would take every text apart again for each C and each fold.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizers = {
        rare: TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=rare, strip_accents="unicode")
        for rare in RARE
    }
    features = {rare: vectorizer.fit_transform(task.texts) for rare, vectorizer in vectorizers.items()}
    tried = {
        Candidate(f"{strength:g}, min_df {rare}", strength, features[rare]): rare
        for strength in strengths
        for rare in RARE
    }
    brief = replace(task, seconds=min(task.seconds, task.seconds - task.remaining() + _COMPARING))
    best, final, compared = best_candidate(brief, classifier, list(tried), task.labels)
    rare = tried[best]
    predictions = final.predict(vectorizers[rare].transform(task.test)).tolist()
    settings = {"C": best.strength, "min_df": rare, "features": best.features.shape[1], "compared": compared}
    return Answer(predictions, settings)
