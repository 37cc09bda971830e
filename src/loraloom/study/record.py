"""What is known of one trial: `trial.json` in its folder, and the lines of its `metrics.jsonl`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from loraloom.errors import AdapterError, RunError
from loraloom.recipe import Configuration
from loraloom.recipe.problems import message_of
from loraloom.study.durable import read_verified, write_json

if TYPE_CHECKING:
    from loraloom.intervals import Interval
    from loraloom.metrics import Scores

RECORD = "trial.json"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint"
"""A folder beside it, while a trial is under way: what the trial goes on from."""
TEST_PREDICTIONS = "test_predictions.jsonl"
PROFILE = "profile.json"
CARD = "README.md"
"""The model card in best/. People edit it, so that only its absence or its text tell, not its SHA-256."""
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""An adapter, as PEFT names its files."""
CONFUSED_CLASSES = 12
"""Of more classes a record keeps no confusion: it could not be read, and would grow with their square."""
WARM_UP = "train.warmup_steps"
"""Of a trial it is what it had: one of fewer steps than the plan's longest has a part of its point's."""
WHOLE = 0.999
"""The share from which on passes over rows are all of them: they are counted in batches."""
LEAKED = "leaked rows were kept"
"""The mark of a trial whose training rows that are in validation or test were kept on request."""

REFITTED = (
    "after the search it was trained on its validation rows too, so that its validation figures are those of before"
)
"""The mark of RUN/refit, the winner that was trained again."""

SOUP_OF = "its weights are the mean of those of trials "
"""How the mark begins of several seeds in one adapter: of RUN/soup, and of a best/ that is its copy."""

BY_TFIDF = "test_by_tfidf.json"
"""In RUN/blend: the class of each test row by TF-IDF alone."""
BLENDED = "one part in three of its answers is TF-IDF's, whose weights count in no cap of trainable parameters"
"""The mark of RUN/blend, the winner with TF-IDF's scores blended in (`use/tfidf.py`)."""

Dtype = Literal["fp32", "bf16", "fp16"]
"""What frozen weights are computed in."""
Ended = Literal["complete", "pruned", "failed"]
"""How a trial ends."""
Share = Annotated[float, Field(ge=0, le=1)]
Least0 = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0, le=2**53)]
"""Of rows or of parameters. Of more a number of JSON is not exact, and of far more a share can't be counted."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Score(_Frozen):
    """Quality on one split; `examples` rows.

    `confusion` has true classes as rows and predicted ones as columns; None of more than CONFUSED_CLASSES, and in
    records of before it was kept.
    """

    examples: Count
    accuracy: Share
    macro_f1: Share
    loss: float
    confusion: tuple[tuple[Count, ...], ...] | None = None

    @classmethod
    def of(cls, scores: Scores) -> Score:
        """The figures of `scores` that a record keeps."""
        counts = scores.confusion.tolist() if len(scores.confusion) <= CONFUSED_CLASSES else None
        return cls(
            examples=scores.examples,
            accuracy=scores.accuracy,
            macro_f1=scores.macro_f1,
            loss=scores.log_loss,
            confusion=counts and tuple(map(tuple, counts)),
        )

    @property
    def correct(self) -> int:
        """How many rows are right."""
        return round(self.accuracy * self.examples)

    @property
    def interval(self) -> Interval | None:
        """Wilson's 95 % interval of the accuracy; None where there are no rows."""
        from loraloom.intervals import wilson_interval  # with scipy

        return wilson_interval(self.correct, self.examples) if self.examples else None

    def is_above(self, accuracy: float) -> bool:
        """Whether an accuracy on the same rows is below all of the interval: by more than the chance of which rows."""
        interval = self.interval
        return interval is not None and accuracy < interval[0]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.confusion is None:
            return self
        if any(len(line) != len(self.confusion) for line in self.confusion):
            raise ValueError("its confusion is not square")
        rows, right = sum(map(sum, self.confusion)), sum(line[at] for at, line in enumerate(self.confusion))
        if (rows, right) != (self.examples, self.correct):
            raise ValueError(f"its confusion counts {rows} rows, {right} of them right; its figures differ")
        return self


class Result(_Frozen):
    """`test` is read for the winner alone, once, from the adapter as saved."""

    validation: Score
    test: Score | None = None

    @property
    def split(self) -> Literal["test", "validation"]:
        """The rows that the trial is told by: test where it was tested."""
        return "test" if self.test else "validation"

    @property
    def score(self) -> Score:
        """What it reached on them."""
        return self.test or self.validation


class Counts(_Frozen):
    """Trainable parameters by part; `trainable` is PEFT's own count and the sum of the parts."""

    trainable: Count
    lora: Count
    bias: Count
    head: Count
    frozen: Count


class Timings(_Frozen):
    seconds: Least0
    train_seconds: Least0
    examples_per_second: Least0
    tokens_per_second: Least0 | None = None
    peak_share: Least0 | None = None
    """FLOP/s of the products that training asks for, as a share of the fastest that this machine was measured at."""
    prefix_seconds: float = 0.0
    """Beside `seconds`: what the states of frozen layers took, which are computed once and kept for other trials."""
    prefix_rows: int | None = None
    """The rows whose states were computed in them, 0 where all were read; None where none are kept."""
    kernels_seconds: Least0 = 0.0
    """Beside `seconds` too: what it took to have the kernels, which are compiled once for a machine."""


class TrialRecord(_Frozen):
    """One configuration, one seed, trained once."""

    number: int
    state: Ended
    reason: str | None = None
    configuration: Configuration
    point: dict[str, Any]
    seed: int
    train_rows: Count | None = None
    """Rows that it was trained on; fewer than the run's where a clock or a rung left some out."""
    epochs: Least0 | None = None
    """Passes over them that were done."""
    labels: tuple[str, ...]
    label_codes: tuple[str, ...]
    class_rows: tuple[Count, ...] | None = None
    """The run's training rows of each label, which a copy of the folder tells shares by; None in older records."""
    counts: Counts
    result: Result | None = None
    timings: Timings | None = None
    backbone_revision: str | None = None
    engine: str
    dtype: Dtype
    marks: tuple[str, ...] = ()

    @property
    def cut_short(self) -> bool:
        """Whether a clock ended its training before its last epoch was done."""
        return self.epochs is not None and self.epochs < WHOLE * self.configuration.train.num_train_epochs

    @property
    def rows_seen(self) -> int | None:
        """Rows that it has learnt from: a part of those that it was trained on, where it made less than a pass."""
        return self.train_rows and round(self.train_rows * min(1.0, 1.0 if self.epochs is None else self.epochs))

    @property
    def validation(self) -> Score:
        """What a complete trial reached on the validation rows."""
        assert self.result is not None
        return self.result.validation

    @property
    def test(self) -> Score:
        """What one that was tested reached on the test rows."""
        assert self.result is not None
        assert self.result.test is not None
        return self.result.test

    @property
    def tested_rows(self) -> int:
        """Test rows that it was tested on: a part, where a clock left the others out; 0 where it was not tested."""
        return self.result.test.examples if self.result and self.result.test else 0

    @property
    def whole_seconds(self) -> float:
        """The time of a trial, and of what the clock kept it from; 0 where it was not timed."""
        whole = self.configuration.train.num_train_epochs / self.epochs if self.cut_short and self.epochs else 1.0
        return self.timings.seconds * whole if self.timings else 0.0

    @property
    def is_refitted(self) -> bool:
        """Whether it was trained again with the validation rows, which then say nothing of it."""
        return REFITTED in self.marks

    @property
    def soup_of(self) -> str | None:
        """The numbers of the trials whose mean it is, in words; None of what was trained itself."""
        return next((mark.removeprefix(SOUP_OF) for mark in self.marks if mark.startswith(SOUP_OF)), None)

    @property
    def is_soup(self) -> bool:
        """Whether it is the mean of several trainings, of which its seed is one's."""
        return self.soup_of is not None

    @property
    def is_blend(self) -> bool:
        """Whether TF-IDF has a part in its answers, by files beside its weights."""
        return BLENDED in self.marks

    @property
    def called(self) -> str:
        """`trial 3`, or `the mean of trials 1, 2`."""
        return f"the mean of trials {self.soup_of}" if self.is_soup else f"trial {self.number}"

    def is_of(self, winner: TrialRecord) -> bool:
        """Whether it was made of this winner: of one training, or one mean."""
        return (self.number, self.soup_of) == (winner.number, winner.soup_of)

    @property
    def doubts(self) -> tuple[str, ...]:
        """The marks that say what may be wrong with it: all but of what it is made."""
        return tuple(mark for mark in self.marks if not mark.startswith((SOUP_OF, BLENDED)))

    @property
    def point_key(self) -> str:
        """The point as text, by which trials of one configuration are told, whatever their seed and rows."""
        return json.dumps(self.point, sort_keys=True)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.label_codes) != len(self.labels):
            raise ValueError(f"it has {len(self.labels)} labels, and {len(self.label_codes)} codes for them")
        if self.class_rows is not None and len(self.class_rows) != len(self.labels):
            raise ValueError(f"it has {len(self.labels)} labels, and rows of {len(self.class_rows)} classes")
        for score in (self.result.validation, self.result.test) if self.result else ():
            if score and score.confusion is not None and len(score.confusion) != len(self.labels):
                raise ValueError(f"it has {len(self.labels)} labels, and its confusion {len(score.confusion)}")
        return self

    @field_validator("point")
    @classmethod
    def _plain(cls, point: dict[str, Any]) -> dict[str, Any]:
        for name, value in point.items():
            if isinstance(value, dict) or (isinstance(value, float) and not math.isfinite(value)):
                raise ValueError(f"{name} is {value!r}, which no field can be")
        return point


class Evaluation(BaseModel):
    """A line of metrics.jsonl: the state at one evaluation; train figures are over the batches since the last."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int
    epoch: float
    seconds: float
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_macro_f1: float
    trace: tuple[tuple[int, float, float], ...] = ()
    examples_per_second: float | None = None
    tokens_per_second: float | None = None
    peak_share: float | None = None


def trained_point(point: dict[str, Any], configuration: Configuration) -> dict[str, Any]:
    """A trial's point, with the warm-up that it had."""
    return point | {WARM_UP: configuration.train.warmup_steps} if WARM_UP in point else point


def read_record(folder: Path) -> TrialRecord:
    """Raises RunError where trial.json is missing, is not one, or is not the one that the folder's manifest names."""
    path = folder / RECORD
    try:
        return TrialRecord.model_validate_json(read_verified(folder, RECORD))
    except FileNotFoundError:
        raise RunError(f"{path}: is missing; {folder} is not a trial's folder") from None
    except AdapterError as error:
        raise RunError(str(error)) from None
    except (OSError, ValueError) as error:
        why = _why_invalid(error) if isinstance(error, ValidationError) else str(error)
        raise RunError(f"{path}: can't be read: {why}") from None


def write_record(folder: Path, record: TrialRecord) -> None:
    """Writes trial.json, as `read_record` reads it; whole or not at all."""
    write_json(folder / RECORD, record.model_dump(mode="json"))


def _why_invalid(error: ValidationError) -> str:
    """What is wrong with a record: before all else a field that is not known, since all else may come of it."""
    details = error.errors(include_url=False)
    further = next((detail for detail in details if detail["type"] == "extra_forbidden"), None)
    if further is None:
        return message_of(details[0])
    field = ".".join(map(str, further["loc"]))
    return f"another version of loraloom wrote it (this one knows no field {field!r:.80}); load it by that version"


def read_metrics(folder: Path) -> tuple[Evaluation, ...]:
    """The evaluations of a trial; a last line that a kill cut off is left out.

    Raises:
        RunError: a line before the last is damaged, or the trial has ended and the file is not as it was then.
    """
    path = folder / METRICS
    if not path.exists():
        return ()
    try:
        content = read_verified(folder, METRICS)
    except AdapterError as error:
        raise RunError(str(error)) from None
    return tuple(_evaluations(path, content))


def checkpoints(folder: Path) -> list[Path]:
    """The folders of the checkpoints of the trial in `folder`, each named for its step, the newest first."""
    found = [path for path in (folder / CHECKPOINT).glob("*") if path.name.isdigit() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def _evaluations(path: Path, content: bytes) -> Iterator[Evaluation]:
    lines = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            yield Evaluation.model_validate_json(line)
        except ValidationError:
            if number < len(lines):
                raise RunError(f"{path}:{number}: is damaged; the lines after it can't be trusted") from None
