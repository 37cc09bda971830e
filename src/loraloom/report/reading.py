"""Reads a run folder into one frozen value, whatever its state: under way, stopped, damaged or finished.

What can't be read is left out and named in `problems`: one damaged file does not cost the whole report.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from loraloom.errors import AdapterError, RunError
from loraloom.metrics import SUM_TOLERANCE
from loraloom.recipe import Recipe
from loraloom.recipe.problems import reason_of
from loraloom.report.wording import clean
from loraloom.study.durable import is_whole, verify_manifest
from loraloom.study.record import (
    TEST_PREDICTIONS,
    Evaluation,
    TrialRecord,
    read_metrics,
    read_record,
)
from loraloom.study.run import BEST, Run, read_trial, trial_folders

ROUNDED = 1e-5
"""How much a probability in test_predictions.jsonl may be off, twice: it has six significant digits."""


class Prediction(BaseModel):
    """A test row as the winner saw it: class numbers, and a probability for each class.

    `tokens` of the text before it is cut, and its `source`, are None where the run did not keep them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    row: int
    text: str
    label: int = Field(ge=0)
    prediction: int = Field(ge=0)
    probabilities: tuple[float, ...]
    tokens: int | None = Field(default=None, ge=0, lt=2**31)
    source: str | None = None

    @property
    def confidence(self) -> float:
        return self.probabilities[self.prediction]

    @property
    def is_right(self) -> bool:
        return self.prediction == self.label


@dataclass(frozen=True, slots=True)
class Best:
    """The winner as loaded from its folder and tested once; `predictions` may be empty."""

    record: TrialRecord
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True)
class RunRead:
    """What a run folder holds; `under_way` counts the trials that are not finished."""

    path: Path
    recipe: Recipe
    records: tuple[TrialRecord, ...]
    folders: Mapping[int, Path]
    under_way: int
    best: Best | None
    problems: tuple[str, ...]

    @property
    def place(self) -> Path:
        """The folder as a command names it."""
        return Path(clean(str(self.path)))

    @property
    def seconds(self) -> float | None:
        """What the trials took together; None where none was timed."""
        seconds = [record.timings.seconds for record in self.records if record.timings]
        return sum(seconds) if seconds else None


def read_run(path: Path) -> RunRead:
    """Reads the recipe, the record of every finished trial, and the winner's test predictions.

    Raises:
        RunError: `path` is not a run folder.
        RecipeError: its recipe can't be read.
    """
    recipe = Run(path).recipe
    problems: list[str] = []
    records: list[TrialRecord] = []
    folders: dict[int, Path] = {}
    under_way = 0
    for folder in trial_folders(path):
        if not is_whole(folder):
            under_way += 1
            continue
        try:
            record = read_trial(folder)
        except RunError as error:
            problems.append(str(error))
            continue
        records.append(record)
        folders[record.number] = folder
    best = read_best(path / BEST, problems)
    return RunRead(path, recipe, tuple(records), folders, under_way, best, tuple(problems))


def read_evaluations(run: RunRead, numbers: Iterable[int], problems: list[str]) -> dict[int, tuple[Evaluation, ...]]:
    """The evaluations of some trials; a damaged file is named in `problems`."""
    found: dict[int, tuple[Evaluation, ...]] = {}
    for number in numbers:
        try:
            found[number] = read_metrics(run.folders[number])
        except (OSError, RunError) as error:
            problems.append(str(error))
    return found


def read_best(folder: Path, problems: list[str]) -> Best | None:
    """The winner's folder, once there is one; what of it can't be read is named in `problems`."""
    if not is_whole(folder):
        return None
    try:
        record = read_record(folder)
    except RunError as error:
        problems.append(str(error))
        return None
    try:
        return Best(record, tuple(read_predictions(folder / TEST_PREDICTIONS, record)))
    except RunError as error:
        problems.append(str(error))
        return Best(record, ())


def read_predictions(path: Path, record: TrialRecord) -> Iterable[Prediction]:
    """The predictions of test rows in a finished folder; none where it keeps none.

    Raises:
        RunError: they are damaged, or such as no model can have given.
    """
    if not path.exists():
        return
    try:
        verify_manifest(path.parent, (path.name,))
    except AdapterError as error:
        raise RunError(f"{error}; its test rows are left out") from None
    classes = len(record.labels)
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values: Any = json.loads(line)
            prediction = Prediction.model_validate(values)
        except (ValueError, RecursionError) as error:
            raise RunError(f"{path}:{number}: is damaged ({reason_of(error)}); its test rows are left out") from None
        given = len(prediction.probabilities)
        if given != classes or max(prediction.label, prediction.prediction) >= classes:
            raise RunError(f"{path}:{number}: does not fit the trial's {classes} classes; left out")
        if (problem := _why_impossible(prediction)) is not None:
            raise RunError(f"{path}:{number}: can't be trusted: {problem}; its test rows are left out")
        yield prediction


def _why_impossible(row: Prediction) -> str | None:
    """Why no model can have given a row's prediction and probabilities."""
    if min(row.probabilities) < 0 or abs(sum(row.probabilities) - 1) > SUM_TOLERANCE:
        return "it holds what are not probabilities"
    return (
        "what it predicts is not the most probable class" if row.confidence < max(row.probabilities) - ROUNDED else None
    )
