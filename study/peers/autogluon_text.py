"""AutoGluon's predictor of texts: MultiModalPredictor, which took the place of its TextPredictor."""

from __future__ import annotations

from study.peers.task import Answer, Task

_FITTING = 0.8
"""Of the time: its limit is that of training alone, after which it averages and loads checkpoints."""


def answer(task: Task) -> Answer:
    import pandas as pd
    from autogluon.multimodal import MultiModalPredictor

    rows = pd.DataFrame({"text": task.texts, "label": task.labels})
    problem = "binary" if len(task.classes) == 2 else "multiclass"
    predictor = MultiModalPredictor(label="label", problem_type=problem, path=f"{task.folder}/predictor", verbosity=1)
    predictor.fit(
        rows,
        time_limit=max(10, int(_FITTING * task.remaining())),
        column_types={"text": "text"},
        hyperparameters={
            "model.names": ["hf_text"],
            "model.hf_text.checkpoint_name": task.encoder,
            "model.hf_text.max_text_len": task.max_length,
            "env.num_gpus": 0,
            "env.accelerator": "cpu",
            "env.num_workers": 0,
            "env.num_workers_inference": 0,
        },
        seed=task.seed,
    )
    found = predictor.predict(pd.DataFrame({"text": task.test}))
    return Answer([int(label) for label in found], {"checkpoint": "the encoder", "time_limit": _FITTING})
