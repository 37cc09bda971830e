"""TF-IDF + multinomial logistic regression."""

from __future__ import annotations

from study.peers.task import Answer, Task
from study.peers.tfidf import answer_by


def answer(task: Task) -> Answer:
    from sklearn.linear_model import LogisticRegression

    return answer_by(
        task, lambda strength: LogisticRegression(C=strength, max_iter=1000), (10.0, 3.0, 30.0, 1.0, 100.0)
    )
