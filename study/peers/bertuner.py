"""bertuner: its own search over its default space, with the encoder as the only model.

It keeps 15 % of the rows for validation and 15 % as a test of its own, and every trial is six epochs in fp32 on a CPU.
It has no time limit: so many trials are asked for as fit by a measured step, and where not even two and the final
training do, it is given a part of the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from study.peers.task import Answer, Task

_EPOCHS, _SHARE = 6, 0.7
_MOST_TRIALS = 20
_LEAST_TRIALS = 2
_USED = 0.75
"""Of the time: its evaluations, tokenizing and saving are not in what is estimated."""


def answer(task: Task) -> Answer:
    import pandas as pd
    from bertuner.BERTuner import BERTuneClassifier
    from bertuner.constants import DEFAULT_SEARCH_SPACE_SINGLELABEL
    from bertuner.Predictor import BERTunePredictor

    seconds_a_row, seconds_a_test_row = _measured(task)
    usable = _USED * (task.remaining() - 1.5 * seconds_a_test_row * len(task.test))
    trainings = usable / (seconds_a_row * _EPOCHS * _SHARE * len(task.texts))
    rows = np.arange(len(task.texts))
    if trainings < _LEAST_TRIALS + 1:
        from sklearn.model_selection import train_test_split

        size = max(10 * len(task.classes), int(len(rows) * trainings / (_LEAST_TRIALS + 1)))
        if size < len(rows):
            rows, _ = train_test_split(rows, train_size=size, stratify=task.labels, random_state=task.seed)
    trials = max(_LEAST_TRIALS, min(_MOST_TRIALS, int(trainings) - 1))

    frame = pd.DataFrame({"text": [task.texts[row] for row in rows], "label": [task.labels[row] for row in rows]})
    classifier: Any = BERTuneClassifier(
        dataframe=frame,
        models_dir=f"{task.folder}/models",
        text_feature="text",
        target_cols=["label"],
        max_length=task.max_length,
        seed=task.seed,
        mlflow_tracking_uri=f"sqlite:///{task.folder}/mlflow.db",
    )
    classifier.initialize_model_choices({"encoder": task.encoder})
    classifier.initialize_search_space({**DEFAULT_SEARCH_SPACE_SINGLELABEL, "model": ["encoder"]})
    classifier.optimize(n_trials=trials, optimize_metric="accuracy", study_name="first")
    classifier.train_final_model()
    predictor = BERTunePredictor(f"{task.folder}/models/final_model/model", device="cpu", batch_size=64)
    predictions = [int(label) for label in predictor.predict(task.test)]
    settings = {"trials": trials, "rows": len(rows), "best": {k: _plain(v) for k, v in classifier.best_params.items()}}
    return Answer(predictions, settings)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _measured(task: Task) -> tuple[float, float]:
    """Seconds that a row costs in training, and one of the test, in fp32."""
    from study.peers import training

    tokenizer, model = training.tokenizer_of(task), training.classifier_of(task)
    speed = training.speed_of(model, tokenizer, training.encoded(tokenizer, task.texts, task, task.labels), fp32=True)
    return speed.step / training.BATCH, speed.evaluation / training.EVALUATION_BATCH
