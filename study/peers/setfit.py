"""SetFit: pairs of few rows teach the encoder, then logistic regression on the embeddings of as many as time allows.

It is made for few rows a class (its paper has 8 and 64): pairs are of a stratified part with at most so many, since
those of all rows are billions. The head is given more, which its makers leave to the user.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from study.peers.task import Answer, Task

_ROWS_A_CLASS, _MOST_ROWS = 64, 4000
_BATCH = 16  # pairs
_TEACHING, _EMBEDDING = 0.6, 0.75
"""Of the time that is left after the test rows: until pairs end, and of the rest, what rows for the head may take."""
_TIMED_ROWS = 128


def answer(task: Task) -> Answer:
    from datasets.arrow_dataset import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments
    from transformers import TrainerCallback

    model: Any = SetFitModel.from_pretrained(task.encoder)
    model.model_body.max_seq_length = task.max_length
    order = np.random.default_rng(task.seed).permutation(len(task.texts))
    taught = _few_of_each_class(task, order)
    rate = _rate(model, [task.texts[row] for row in order[:_TIMED_ROWS]])
    testing = 1.3 * len(task.test) / rate + 10
    until = task.remaining() - _TEACHING * (task.remaining() - testing)  # what then is left

    class StopInTime(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop |= task.remaining() < until

    pairs = _pairs_of_an_epoch([task.labels[row] for row in taught])
    # forward and backward are three passes, over two texts a pair
    affordable = int((task.remaining() - until) / (3 * 2 * _BATCH / rate))
    steps = max(1, min(pairs // _BATCH, affordable))
    arguments = TrainingArguments(
        output_dir=f"{task.folder}/setfit",
        batch_size=_BATCH,
        num_epochs=1,
        max_steps=steps,
        seed=task.seed,
        save_strategy="no",
        report_to="none",
        show_progress_bar=False,
    )
    rows = {"text": [task.texts[row] for row in taught], "label": [task.labels[row] for row in taught]}
    trainer = Trainer(model=model, args=arguments, train_dataset=Dataset.from_dict(rows), callbacks=[StopInTime()])
    trainer.train_embeddings(rows["text"], rows["label"], args=arguments)

    able = int(rate * _EMBEDDING * (task.remaining() - testing))
    others = np.setdiff1d(order, taught, assume_unique=True).tolist()  # in the order drawn
    fitted = taught + others[: max(0, able - len(taught))]
    model.fit([task.texts[row] for row in fitted], [task.labels[row] for row in fitted], num_epochs=1)
    predictions = [int(label) for label in model.predict(task.test, show_progress_bar=False)]
    return Answer(predictions, {"rows_of_pairs": len(taught), "steps": steps, "rows_of_the_head": len(fitted)})


def _few_of_each_class(task: Task, order: Any) -> list[int]:
    most = max(2, min(_ROWS_A_CLASS, _MOST_ROWS // len(task.classes)))
    counts = dict.fromkeys(range(len(task.classes)), 0)
    taken = []
    for row in order.tolist():
        label = task.labels[row]
        if counts[label] < most:
            counts[label] += 1
            taken.append(row)
    return taken


def _pairs_of_an_epoch(labels: list[int]) -> int:
    """Pairs of one class, a text with itself included, and as many of two, by its oversampling."""
    counts = np.bincount(labels)
    alike = int((counts * (counts + 1) // 2).sum())
    rows = len(labels)
    return 2 * max(alike, rows * (rows + 1) // 2 - alike)


def _rate(model: Any, texts: list[str]) -> float:
    """Texts that are embedded in a second."""
    model.model_body.encode(texts[:16], show_progress_bar=False)
    began = time.perf_counter()
    model.model_body.encode(texts, show_progress_bar=False)
    return len(texts) / (time.perf_counter() - began)
