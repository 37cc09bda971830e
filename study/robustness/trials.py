"""What is kept of each training: the classes that it gave every test set, in a file, so that a study goes on.

A file counts only under the settings that it was made with, the data included; under others it is refused, so that no
folder holds trials of two studies.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom.data.checks import drop_leaks
from loraloom.data.sampling import part_rows
from loraloom.data.text_data import Split, fingerprint
from loraloom.study.durable import write_json
from study.agnews_files import agnews_rows
from study.machine import described
from study.robustness.conditions import CLEAN, OTHER_SOURCE, TRAININGS, TrainingRows, sets_of
from study.robustness.contenders import Contender
from study.robustness.rows import Labels

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class StudyRows:
    """All rows of a study: training's to draw from, and the test sets with their labels, by name."""

    labels: tuple[str, ...]
    train: TrainingRows
    """Those that are no near copy of a test row, as a search would have them."""
    sets: Mapping[str, Sequence[str]]
    of_clean: Labels
    of_other_source: Labels
    data: str
    """A fingerprint of all of them."""

    def true(self, name: str) -> Labels:
        """The labels (N,) of a test set."""
        return self.of_other_source if name == OTHER_SOURCE else self.of_clean


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of one contender, and what it made of each test set: a digit (or letter) for each row's class."""

    contender: str
    condition: str
    seed: int
    settings: Mapping[str, Any]
    rows: int
    seconds: float
    predictions: Mapping[str, str]
    machine: Mapping[str, Any]

    def classes(self, name: str) -> NDArray[np.int64]:
        """The classes (N,) that it gave the set `name`."""
        return np.array([_DIGITS.index(sign) for sign in self.predictions[name]], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class AskedTrial:
    """A training that a study asks for; what comes of it is a `Trial`."""

    name: str
    contender: Contender
    condition: str
    sets: tuple[str, ...]
    rows: int
    test_rows: int
    seed: int
    data: str

    @property
    def settings(self) -> dict[str, Any]:
        """All that a trial's result depends on; two that differ are not the same trial."""
        study = {"train_rows": self.rows, "test_rows": self.test_rows, "sets": self.sets, "data": self.data}
        given = {**self.contender.settings, **study}
        plain: dict[str, Any] = json.loads(json.dumps(given))
        return plain

    def path(self, folder: Path) -> Path:
        words = re.sub(r"[^a-z0-9]+", "-", f"{self.name}-{self.condition}".lower()).strip("-")
        return folder / "trials" / f"{words}-{self.seed}.json"


def read_rows(folder: Path, test_rows: int) -> StudyRows:
    """The rows of a folder with train.csv, test.csv and, where it has one, robust.csv: columns `label` and `text`.

    Raises:
        DataError: a file is not there, or lacks a column.
        ValueError: a label of the test rows is none of training's.
    """
    train, test = list(agnews_rows("train.csv", folder)), list(agnews_rows("test.csv", folder))
    other = list(agnews_rows("robust.csv", folder)) if (folder / "robust.csv").is_file() else []
    labels = tuple(sorted({label for _, label in train}))
    numbers = {label: number for number, label in enumerate(labels)}
    if unknown := {label for _, label in (*test, *other)} - set(labels):
        raise ValueError(f"{folder}: the test rows' labels {sorted(unknown)} are none of training's {list(labels)}")
    of_test, of_other, of_train = (
        np.array([numbers[label] for _, label in part], dtype=np.int64) for part in (test, other, train)
    )
    chosen = part_rows(of_test, test_rows, seed=0)
    texts = [test[row][0] for row in chosen]
    others = tuple(text for text, _ in other)
    held = Split((*texts, *others), np.concatenate([of_test[chosen], of_other]))
    kept, _, _ = drop_leaks(Split(tuple(text for text, _ in train), of_train), {"test": held}, allow_leak=False)
    data = fingerprint(labels, (kept, held))
    own = TrainingRows(kept.texts, kept.labels)
    return StudyRows(labels, own, sets_of(texts, others), of_test[chosen], of_other, data)


def drawn(rows: StudyRows, asked: AskedTrial) -> TrainingRows:
    """The rows that it is trained on: a stratified part of all by its seed, made worse as its condition says.

    Raises:
        ValueError: too few rows for the condition.
    """
    part = rows.train.take(part_rows(rows.train.labels, asked.rows, asked.seed))
    return TRAININGS[asked.condition](part, len(rows.labels), asked.seed)


def done(asked: AskedTrial, folder: Path) -> Trial | None:
    """The trial asked for, if it was kept; one that was made before fingerprints were is of any data.

    Raises:
        ValueError: it was made under other settings.
    """
    path = asked.path(folder)
    if not path.is_file():
        return None
    trial = Trial(**json.loads(path.read_text(encoding="utf-8")))
    settings = {"data": asked.data, **trial.settings}
    if changed := [name for name in settings | asked.settings if settings.get(name) != asked.settings.get(name)]:
        raise ValueError(f"{path}: is of another {changed[0]}; name another folder by --out, or remove the trial")
    return trial


def run(asked: AskedTrial, given: TrainingRows, rows: StudyRows, folder: Path) -> Trial:
    """Trains on what was drawn for it, predicts every set asked, and keeps the trial."""
    began = time.monotonic()
    predict = asked.contender.fit(given, len(rows.labels), asked.seed)
    seconds = time.monotonic() - began
    predictions = {name: "".join(_DIGITS[number] for number in predict(rows.sets[name])) for name in asked.sets}
    trial = Trial(
        contender=asked.name,
        condition=asked.condition,
        seed=asked.seed,
        settings=asked.settings,
        rows=len(given.labels),
        seconds=round(seconds, 1),
        predictions=predictions,
        machine=described(),
    )
    path = asked.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(trial))
    return trial


def keep_truth(rows: StudyRows, folder: Path) -> None:
    """Writes what the page needs of the rows: the true classes, no text."""
    folder.mkdir(parents=True, exist_ok=True)
    true = {name: "".join(_DIGITS[number] for number in rows.true(name)) for name in (CLEAN, OTHER_SOURCE)}
    write_json(folder / "truth.json", {"labels": rows.labels, "true": true})


def read_truth(folder: Path) -> dict[str, Labels]:
    """The true classes (N,) by test set, of `CLEAN` and `OTHER_SOURCE`."""
    true = json.loads((folder / "truth.json").read_text(encoding="utf-8"))["true"]
    return {name: np.array([_DIGITS.index(sign) for sign in signs], dtype=np.int64) for name, signs in true.items()}


def read_trials(folder: Path) -> list[Trial]:
    """All trials that were kept, in the order of their files' names."""
    return [
        Trial(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted((folder / "trials").glob("*.json"))
    ]
