"""Trains configurations in this process over one frozen encoder, each into a folder as a run's trials have it.

The encoder, the rows' token ids and the engine are shared by all trials. Adapters stay in their folders, so that one
can be tested afterwards from what was saved; a trial that was broken off goes on from its checkpoint.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loraloom import metrics
from loraloom.data import TextData
from loraloom.engine import Job
from loraloom.execute.in_process import choose_engine
from loraloom.execute.recording import Recorder
from loraloom.execute.workplace import Workplace
from loraloom.recipe import Configuration, Recipe
from loraloom.search.proposals import Proposal
from loraloom.study.durable import is_whole
from loraloom.study.evidence import read_predicted
from loraloom.study.record import Evaluation, TrialRecord, read_metrics, read_record
from study.others import Others
from study.outcomes import Trained, packed


class Trainer:
    """Trains trials on one of several sets of rows that differ in their training rows alone."""

    def __init__(self, recipe: Recipe, rows: Mapping[str, TextData], folder: Path) -> None:
        """`folder` takes a folder for each trial."""
        self._engine = choose_engine(recipe).engine
        self._places = {name: Workplace(recipe, data, found=lambda _: None) for name, data in rows.items()}
        self._folder = folder

    def place(self, rows: str) -> Workplace:
        """What trials on these rows share."""
        return self._places[rows]

    def train_rows(self, configuration: Configuration, rows: str) -> int:
        """How many rows a trial is trained on."""
        there = len(self.place(rows).data.train)
        return min(there, configuration.data.max_train_samples or there)

    def train(self, key: str, configuration: Configuration, rows: str) -> Trained:
        """Trains a configuration with its seed, or reads what was trained in its folder before and did not fail."""
        folder, seed = self.folder(key, configuration.train.seed), configuration.train.seed
        record, share = read_record(folder) if is_whole(folder) else None, None
        if record is None or record.state != "complete":
            if record is not None:
                shutil.rmtree(folder)
            is_begun, others = folder.exists(), Others()
            record = self._train(folder, configuration, rows)
            share = None if is_begun else others.share()  # of what was broken off, a part alone was counted
        if record.state != "complete" or record.result is None or record.timings is None:
            return Trained(key, seed, record.state, record.reason)
        lines = read_metrics(folder)
        predicted = read_predicted(folder, len(record.labels))
        assert predicted is not None  # a complete trial has left them
        return Trained(
            key=key,
            seed=seed,
            state=record.state,
            accuracy=record.result.validation.accuracy,
            loss=record.result.validation.loss,
            train_accuracy=lines[-1].train_accuracy,
            train_loss=lines[-1].train_loss,
            trainable=record.counts.trainable,
            head=record.counts.head,
            rows=record.train_rows or 0,
            epochs=record.epochs or 0.0,
            seconds=record.timings.seconds,
            train_seconds=record.timings.train_seconds,
            curve=tuple((line.epoch, line.train_accuracy, line.validation_accuracy) for line in lines),
            correct=packed(predicted.probabilities.argmax(axis=1) == predicted.labels),
            others_share=share,
        )

    def folder(self, key: str, seed: int) -> Path:
        """The folder of a trial."""
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}-{seed}"

    def tested(self, key: str, configuration: Configuration, rows: str) -> tuple[NDArray[np.bool_], float]:
        """Which test rows a trial has right, and its loss: from its adapter as saved, trained anew where it is gone."""
        from loraloom.use.backbones import load

        self.train(key, configuration, rows)
        test = self.place(rows).data.test
        probabilities = load(self.folder(key, configuration.train.seed)).predict_proba(test.texts)
        return probabilities.argmax(axis=1) == test.labels, metrics.log_loss(test.labels, probabilities)

    def _train(self, folder: Path, configuration: Configuration, rows: str) -> TrialRecord:
        folder.mkdir(parents=True, exist_ok=True)
        place = self.place(rows)
        recorder = Recorder(place)
        job = place.job(0, configuration, folder, noted=False)

        def heard(job: Job, evaluation: Evaluation) -> bool:
            recorder.hear(job, evaluation)
            return True

        outcome = self._engine.train_pack([job], heard)[0]
        return recorder.write(Proposal(0, {}, configuration), job, outcome)
