"""AutoIntent: its preset for classic classifiers over embeddings, with the encoder as the embedder."""

from __future__ import annotations

from typing import Any

from study.peers.task import Answer, Task

_FITTING = 0.7
"""Of the time, as the limit of its search, after which it trains what it found and predicts."""
PRESET = "classic-light"


def answer(task: Task) -> Answer:
    from autointent import Dataset, Pipeline
    from autointent.configs import EmbedderConfig, LoggingConfig

    rows = [{"utterance": text, "label": label} for text, label in zip(task.texts, task.labels, strict=True)]
    intents = [{"id": number, "name": name} for number, name in enumerate(task.classes)]
    pipeline: Any = Pipeline.from_preset(PRESET, seed=task.seed)
    pipeline.set_config(EmbedderConfig(model_name=task.encoder))
    pipeline.set_config(LoggingConfig(project_dir=f"{task.folder}/autointent", dump_modules=False))
    pipeline.fit(Dataset.from_dict({"train": rows, "intents": intents}))
    predictions = [0 if label is None else int(label) for label in pipeline.predict(task.test)]
    return Answer(predictions, {"preset": PRESET})
