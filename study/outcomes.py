"""What is kept of trials: a JSON line each, with which rows it had right, so that trials can be compared row by row.

A file's first line says what all its trials have in common (design, encoder, rows, labels), and on which machine it was
begun; a trial of other rows or another encoder does not belong into it, and is refused. Each trial says on which
machine and at which revision it was trained, since a file may be gone on with elsewhere. The file is written whole
after each trial: a kill loses the trial that was under way.
"""

from __future__ import annotations

import base64
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom.errors import RunError
from loraloom.study.durable import write_text
from study import right_rows
from study.others import is_disturbed

DISTURBED = """\
Seconds marked * were taken while other programs used the processor, or without a count of what they used.
"""
SAME = "table", "encoder", "revision", "data", "labels"
"""Of a file's first line: what must not change while trials are added."""


@dataclass(frozen=True, slots=True)
class Trained:
    """One trial: `correct` is base64 of a bit for each row, most significant first; None where it failed.

    `train_accuracy` and `train_loss` are over the batches since the evaluation before the last, as training goes.
    `seconds` are those of training and evaluation, without the loading of weights.
    """

    key: str
    seed: int
    state: str
    reason: str | None = None
    accuracy: float | None = None
    loss: float | None = None
    train_accuracy: float | None = None
    train_loss: float | None = None
    trainable: int = 0
    head: int = 0
    rows: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    train_seconds: float = 0.0
    curve: tuple[tuple[float, float, float], ...] = ()
    """Of each evaluation: epoch, training accuracy, validation accuracy."""
    correct: str | None = None
    machine: Mapping[str, Any] | None = None
    """As provenance has it; None, as of the revision, where it is what the file's first line says."""
    git_revision: str | None = None
    others_share: float | None = None
    """What others took of the processor meanwhile; None where it was not counted, or not over all of the training."""

    @property
    def is_disturbed(self) -> bool:
        """Whether its seconds may be others' too."""
        return is_disturbed(self.others_share)

    def right(self, rows: int) -> NDArray[np.bool_]:
        """(rows,) whether each row is right.

        Raises:
            DataError: they are not as many as the accuracy says.
        """
        assert self.correct is not None
        assert self.accuracy is not None
        correct = round(self.accuracy * rows)
        return right_rows.unpacked(base64.b64decode(self.correct), rows, correct, f"{self.key}, seed {self.seed}")


def packed(correct: NDArray[np.bool_]) -> str:
    """As `Trained.correct` has it."""
    return base64.b64encode(right_rows.packed(correct)).decode()


def marked(seconds: str, disturbed: bool) -> str:
    """Seconds as text, marked where others used the processor meanwhile; what the mark means is `DISTURBED`."""
    return seconds + "*" * disturbed


class Kept:
    """The trials of one file."""

    def __init__(self, path: Path, header: Mapping[str, Any] | None = None) -> None:
        """With `header` the file is begun, or gone on with; without, it is read.

        Raises:
            RunError: it can't be read, is not there to be read, or is of another encoder or of other rows.
        """
        self.path = path
        self._trained: dict[tuple[str, int], Trained] = {}
        self.header: dict[str, Any] = dict(header or {})
        if path.exists():
            self._read(header)
        elif header is None:
            raise RunError(f"{path}: is missing; train it by python -m study.claims")

    def _read(self, header: Mapping[str, Any] | None) -> None:
        try:
            first, *lines = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
            trained = [Trained(**{**line, "curve": tuple(map(tuple, line["curve"]))}) for line in lines]
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{self.path}: can't be read ({error}); take it from the repository again") from None
        if header is not None and (changed := [name for name in SAME if first.get(name) != header.get(name)]):
            raise RunError(f"{self.path}: is of another {changed[0]}; name another folder by --results")
        self.header = first
        self._trained = {(one.key, one.seed): one for one in trained}

    @property
    def labels(self) -> NDArray[np.int64]:
        """(rows,) the true class of each row that trials are compared on."""
        return np.array([int(digit) for digit in self.header["labels"]], dtype=np.int64)

    def get(self, key: str, seed: int) -> Trained | None:
        return self._trained.get((key, seed))

    def accuracy(self, key: str, seed: int) -> float | None:
        """That of a trial which was trained and did not fail."""
        found = self.get(key, seed)
        return None if found is None else found.accuracy

    def all(self) -> tuple[Trained, ...]:
        return tuple(self._trained.values())

    @property
    def machines(self) -> tuple[str, ...]:
        """Where trials were trained, in words."""
        found = (one.machine or self.header["machine"] for one in self._trained.values())
        return tuple(dict.fromkeys(f"{each['cores']} cores ({each['processor']})" for each in found))

    def seconds(self, trained: Sequence[Trained]) -> float:
        """What such a trial takes: the median over these seeds (the lower of two) of `undisturbed`."""
        return statistics.median_low([self.undisturbed(one) for one in trained])

    def undisturbed(self, trained: Trained) -> float:
        """Seconds of a trial's training, and of as many evaluations, each as long as the file's median.

        On the clock a trial's own may hold a pause of the machine.
        """
        return trained.train_seconds + len(trained.curve) * self._evaluation

    @property
    def _evaluation(self) -> float:
        evaluated = [one for one in self._trained.values() if one.curve]
        each = [(one.seconds - one.train_seconds) / len(one.curve) for one in evaluated]
        return statistics.median(each) if each else 0.0

    def add(self, trained: Trained) -> None:
        self._trained[trained.key, trained.seed] = trained
        lines = [self.header, *map(asdict, self._trained.values())]
        write_text(self.path, "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines))
