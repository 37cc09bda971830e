"""AutoGluon's predictor of tables, for which a text is its n-grams."""

from __future__ import annotations

from study.peers.task import Answer, Task

_LONG = 3600
"""Seconds from which its best preset is asked for, which bags and stacks its models."""
_FITTING = 0.75
"""Of the time: its limit is kept roughly, and the test rows' n-grams and models come after it."""


def answer(task: Task) -> Answer:
    import pandas as pd
    from autogluon.tabular import TabularPredictor

    rows = pd.DataFrame({"text": task.texts, "label": task.labels})
    problem = "binary" if len(task.classes) == 2 else "multiclass"
    preset = "best_quality" if task.seconds >= _LONG else "medium_quality"
    predictor = TabularPredictor(label="label", problem_type=problem, path=f"{task.folder}/predictor", verbosity=1)
    predictor.fit(
        rows,
        presets=preset,
        time_limit=max(10, int(_FITTING * task.remaining())),
        num_gpus=0,
        num_cpus=task.threads,
    )
    found = predictor.predict(pd.DataFrame({"text": task.test}))
    return Answer([int(label) for label in found], {"preset": preset, "best": str(predictor.model_best)})
