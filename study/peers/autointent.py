"""AutoIntent: its preset for classic classifiers over embeddings, with the encoder as the embedder.

It may answer that a text is out of all scopes, which no row of the study is: that counts as the most frequent class.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from study.peers.task import Answer, Task

PRESET = "classic-light"
_A_NODE = 0.3
"""Of the time, as the limit of each of the two searches, of a classifier and of a rule of decision over its scores."""


def answer(task: Task) -> Answer:
    from autointent import Dataset, Pipeline
    from autointent.configs import LoggingConfig, get_default_embedder_config

    rows = [{"utterance": text, "label": label} for text, label in zip(task.texts, task.labels, strict=True)]
    intents = [{"id": number, "name": name} for number, name in enumerate(task.classes)]
    pipeline: Any = Pipeline.from_preset(PRESET, seed=task.seed + 1)  # 0 is refused
    pipeline.set_config(get_default_embedder_config(model_name=task.encoder))
    pipeline.set_config(LoggingConfig(project_dir=f"{task.folder}/autointent"))
    pipeline.set_config(pipeline.hpo_config.model_copy(update={"timeout": _A_NODE * task.remaining()}))
    # held-out rows choose; then it learns from all
    pipeline.fit(Dataset.from_dict({"train": rows, "intents": intents}), refit_after=True)

    found = pipeline.predict(task.test)
    frequent = Counter(task.labels).most_common(1)[0][0]
    predictions = [frequent if label is None else int(label) for label in found]
    chosen = {str(kind): type(node.module).__name__ for kind, node in pipeline.nodes.items()}
    return Answer(predictions, {"preset": PRESET, "chosen": chosen, "out_of_scope": sum(one is None for one in found)})
