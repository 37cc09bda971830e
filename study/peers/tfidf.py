"""TF-IDF of words and pairs of words under a linear classifier; what `svm` and `logreg` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from study.peers.regularization import best_classifier
from study.peers.task import Answer, Task

_MANY_ROWS = 1000
"""From here on what stands in one row alone is left out."""


def answer_by(task: Task, classifier: Callable[[float], Any], strengths: Sequence[float]) -> Answer:
    """Classifies by `classifier(C)`. Words are learnt from all training rows, folds included: labels are not read."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rare = 2 if len(task.texts) >= _MANY_ROWS else 1
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=rare, strip_accents="unicode")
    features = vectorizer.fit_transform(task.texts)
    final, chosen = best_classifier(task, classifier, strengths, features, task.labels)
    predictions = final.predict(vectorizer.transform(task.test)).tolist()
    return Answer(predictions, chosen | {"features": features.shape[1]})
