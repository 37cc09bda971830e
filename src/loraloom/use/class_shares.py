"""Answers where classes are in other shares than where an adapter learned: `--class_shares`.

An adapter that learned of skewed rows expects rows as skewed: where its rare classes are not rare, it answers by them
too seldom. So each probability is multiplied by how much commoner its class is where it is asked than the adapter
expects, and each text's are normalised (`calibration.at_odds`). What it expects is the mean of its probabilities over
its validation rows, weighed so that their classes are in training's shares. Rejected, by
`study/skew.py`: the shares of the training rows themselves in its place, which are not what an adapter expects that
learned little of a rare class, or whose training weighed its classes; and to estimate from the texts that are asked for
in which shares they are, which of an adapter that is wrong often makes more wrong than it mends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from loraloom.calibration import Temperature, at_odds, at_temperature, rows_at_once
from loraloom.data import beside_figure
from loraloom.data.wording import listed_to_answer
from loraloom.errors import AdapterError, OptionError, RunError
from loraloom.intervals import Floats
from loraloom.recipe.problems import reason_of
from loraloom.study.durable import read_verified, write_json
from loraloom.study.evidence import agrees, read_predicted
from loraloom.study.record import TrialRecord
from loraloom.use.adapter_checks import CLASS_SHARES
from loraloom.use.origin import training_rows
from loraloom.wording import percent

BALANCED = "balanced"
SUM_TOLERANCE = 1e-6
SMALLEST = float(np.finfo(np.float64).tiny)
"""By what is smaller, odds may overflow."""
MOST_CLASSES = 6
"""That are named, those that differ most."""
_EACH = "give each label its share once"

ClassShares = str | Mapping[str, float] | Sequence[str]
"""'balanced', a share for each label, or either in the words of the command line."""


def asked_shares(given: ClassShares, labels: Sequence[str]) -> Floats:
    """The shares (C,) that are asked for, in the order of `labels`: balanced, or one for each label.

    Shares are in any unit, a share of 0 says that the class does not occur.

    Raises:
        OptionError: they are neither.
    """
    words = _words(given)
    if words == [BALANCED]:
        return np.full(len(labels), 1 / len(labels))
    found: dict[str, float] = {}
    for one in words:
        label, separator, share = one.rpartition("=")
        if not separator:
            raise OptionError(
                f"class_shares: {one!r} is no label's share; give {BALANCED} alone, or each label its share once: "
                "LABEL=SHARE, in Python a mapping"
            )
        if label not in labels:
            raise OptionError(
                f"class_shares: {label!r} is none of the labels; they are {listed_to_answer(labels)}; {_EACH}"
            )
        if label in found:
            raise OptionError(f"class_shares: {label!r} is given twice")
        found[label] = _share(share, one)
    if missing := [label for label in labels if label not in found]:
        have = "has" if len(missing) == 1 else "have"
        raise OptionError(f"class_shares: {listed_to_answer(missing)} {have} no share; {_EACH}")
    shares = np.array([found[label] for label in labels])
    if np.count_nonzero(shares) < 2:
        raise OptionError("class_shares: two classes or more must have a share above 0")
    shares /= shares.max()  # so that no sum overflows
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def _words(given: ClassShares) -> list[str]:
    """As the command line has them; of all that has labels and values as a dictionary has, such as a pandas Series."""
    if hasattr(given, "items"):
        return [f"{label}={share}" for label, share in given.items()]
    return [*map(str, given)] if isinstance(given, list | tuple) else [str(given)]


def _share(word: str, given: str) -> float:
    try:
        share = float(word)
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        raise OptionError(f"class_shares: {given!r}: {word!r} is no share; give a number of 0 or more")
    return share


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """The shares (C,) in which classes are `asked`, and in which an adapter `expected` them at its own temperature."""

    labels: tuple[str, ...]
    asked: Floats
    expected: Floats

    @property
    def odds(self) -> Floats:
        """How much commoner (C,) each class is where it is asked."""
        return np.asarray(self.asked / self.expected, dtype=np.float64)

    def __str__(self) -> str:
        furthest = np.argsort(-np.abs(self.asked - self.expected), kind="stable")[:MOST_CLASSES]
        classes = [
            f"{beside_figure(self.labels[one])} {percent(self.asked[one])} "
            f"where it expects {percent(self.expected[one])}"
            for one in sorted(furthest.tolist())
        ]
        more = len(self.labels) - len(classes)
        return ", ".join(classes) + (f", and {more} more" if more else "")


def as_predicted(probabilities: Floats, temperature: Temperature | None, shift: Shift | None) -> Floats:
    """What `predict` makes of an adapter's own probabilities (N, C)."""
    if temperature is not None:
        probabilities = at_temperature(probabilities, temperature.value)
    return probabilities if shift is None else at_odds(probabilities, shift.odds)


def expected_shares(folder: Path, record: TrialRecord, fitted: Temperature | None) -> Floats:
    """The shares (C,) of classes that the adapter in `folder` expects at its temperature `fitted`, each above 0.

    Raises:
        AdapterError: its folder keeps nothing to tell them by, or what can't be read.
    """
    shares = _expected(folder, record, fitted)
    if isinstance(shares, str):
        raise AdapterError(f"{folder}: which class shares it expects is not known: {shares}")
    return shares


def _expected(folder: Path, record: TrialRecord, fitted: Temperature | None) -> Floats | str:
    """Those shares, or why they are not known."""
    kept = _kept(folder, len(record.labels))
    if kept is not None:
        return kept
    try:
        predicted = read_predicted(folder, len(record.labels))
    except RunError as error:
        return str(error)
    if predicted is None or not agrees(predicted, record):
        return f"it keeps no validation predictions of its own; {_INSTEAD}"
    training = training_rows(folder, record)
    if training is None and record.configuration.data.validation_file is not None:
        return (
            "its validation rows came from a file of their own, and no run at hand tells the classes of its "
            f"training rows; {_INSTEAD}"
        )
    counts = np.bincount(predicted.labels, minlength=len(record.labels))
    rows = counts if training is None else np.array([training.get(label, 0) for label in record.labels])
    of_row = (rows / np.maximum(1, counts))[predicted.labels]
    expected = np.where(counts, 0.0, rows)  # a class without validation rows: as if all its training rows were known
    for part in rows_at_once(*predicted.probabilities.shape):
        expected += of_row[part] @ as_predicted(predicted.probabilities[part].astype(np.float64), fitted, None)
    return _normalised(expected)


_INSTEAD = "give the adapter in its run, such as RUN/best, or leave out class_shares"


def _normalised(shares: Floats) -> Floats:
    above = np.maximum(shares, np.finfo(np.float32).tiny)
    return np.asarray(above / above.sum(), dtype=np.float64)


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    expected: tuple[float, ...]


def keep_expected(folder: Path, record: TrialRecord, fitted: Temperature | None, copy: Path) -> None:
    """Writes into the folder `copy` of the adapter in `folder`, which goes without its predictions, what they tell.

    Nothing where they tell nothing. `record` is of the copy: a refit was trained on more rows than the winner.

    Raises:
        AdapterError: `folder` is a copy itself, and what it keeps can't be read.
    """
    shares = _expected(folder, record, fitted)
    if isinstance(shares, str):
        return
    write_json(copy / CLASS_SHARES, _Kept(expected=tuple(shares.tolist())).model_dump())


def _kept(folder: Path, classes: int) -> Floats | None:
    path = folder / CLASS_SHARES
    if not path.is_file():
        return None
    try:
        kept = np.array(_Kept.model_validate_json(read_verified(folder, CLASS_SHARES)).expected)
    except ValidationError as error:
        raise AdapterError(f"{path}: can't be read: {reason_of(error)}") from None
    if len(kept) != classes or kept.min() < SMALLEST or abs(kept.sum() - 1) > SUM_TOLERANCE:
        raise AdapterError(f"{path}: holds no shares of {classes} classes; take another copy")
    return kept
