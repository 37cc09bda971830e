"""loraloom's side: jobs as a search makes them, given to an engine; and adapters as a user loads them.

The time around `train_pack` holds the loading of weights, evaluations and saving, which the peers' time does not.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.measure import Task
from bench.span import Span
from bench.texts import model_folder, read_data
from loraloom.backbone.sources import find, load_tokenizer
from loraloom.data import encode
from loraloom.engine import Engine, Job, Outcome
from loraloom.execute.in_process import build_engine
from loraloom.execute.workplace import Workplace
from loraloom.recipe import Backbone, Data, Lora, Recipe, Train
from loraloom.study.durable import write_json, write_manifest
from loraloom.study.record import RECORD, TrialRecord
from loraloom.use.backbones import load

RATES = (1e-3, 2e-3, 5e-4, 3e-3, 8e-4, 1.5e-3, 1e-4, 4e-3)
_ADAPTER = "adapter"


def train(task: Task) -> Span:
    """Times each of the peer's trials, by one engine, one after another, each with its own seed and rate."""
    assert task.peer is not None
    with tempfile.TemporaryDirectory() as folder:
        place, trains = _workplace(task), build_engine(task.engine)
        seconds: list[float] = []
        for trial in range(task.peer.trials):
            job = _job(place, trial, Path(folder) / str(trial))
            start = time.perf_counter()
            outcome = _trained(trains, job)
            seconds.append(time.perf_counter() - start)
    return Span(tuple(seconds), len(job.rows.train.input_ids), outcome.counts.trainable)


def evaluate(task: Task) -> Span:
    """Times texts to logits, by an adapter that `train_for_evaluation` left."""
    data = read_data(task.work, task.rows)
    classifier = load(task.folder / _ADAPTER)
    classifier.logits(data.validation.texts)
    start = time.perf_counter()
    classifier.logits(data.train.texts)
    seconds = time.perf_counter() - start
    tokenizer = load_tokenizer(find(str(model_folder(task.work, task.folder))))
    encoded = encode(tokenizer, data.train.texts, max_length=task.work.max_length, cache=None)
    return Span((seconds,), len(encoded.input_ids), classifier.record.counts.trainable)


def train_for_evaluation(task: Task) -> None:
    """Trains an adapter on a few rows and leaves it as a search would: files, record, manifest."""
    place = _workplace(task)
    job = _job(place, 0, task.folder / _ADAPTER)
    outcome = _trained(build_engine(task.engine), job)
    record = TrialRecord(
        number=job.number,
        state=outcome.state,
        configuration=job.configuration,
        point={},
        seed=job.configuration.train.seed,
        labels=place.data.labels,
        label_codes=place.data.label_codes,
        backbone_revision=place.revision(job.configuration.backbone),
        counts=outcome.counts,
        result=outcome.result,
        timings=outcome.timings,
        engine=task.engine,
        dtype=outcome.dtype,
    )
    write_json(job.folder / RECORD, record.model_dump(mode="json"))
    write_manifest(job.folder)


def _workplace(task: Task) -> Workplace:
    work = task.work
    recipe = Recipe(
        data=Data(max_length=work.max_length),
        backbone=Backbone(model=str(model_folder(work, task.folder)), dropout=work.dropout),
        lora=Lora(r=4, lora_alpha=16, bias="lora_only", layers_to_transform=work.layers),
        train=Train(
            optim="adam",
            per_device_train_batch_size=work.batch,
            num_train_epochs=work.epochs,
            bf16=work.bf16,
        ),
    )
    return Workplace(recipe, read_data(work, task.rows), found=lambda finding: None)


def _job(place: Workplace, trial: int, folder: Path) -> Job:
    fields = {"learning_rate": RATES[trial], "seed": 42 + trial}
    configuration = place.recipe.configuration({}).with_fields(train=fields)
    folder.mkdir()
    return place.job(trial, configuration, folder)


def _trained(engine: Engine, job: Job) -> Outcome:
    (outcome,) = engine.train_pack([job], lambda job, evaluation: True)
    if outcome.state != "complete":
        raise RuntimeError(f"trial {job.number} {outcome.state}: {outcome.reason}")
    return outcome
