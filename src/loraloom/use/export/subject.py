"""What is exported: the checked adapter over its backbone in fp32, and the labelled rows that it is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loraloom.backbone import sources
from loraloom.backbone.sources import Source
from loraloom.errors import AdapterError, DataError, RunError
from loraloom.study.evidence import LONGEST_TEXT, read_rows
from loraloom.study.record import TrialRecord
from loraloom.use.adapter import Classifier
from loraloom.use.evaluate import labelled_rows
from loraloom.use.origin import run_of
from loraloom.use.peft_forward import PeftForward, load_peft

if TYPE_CHECKING:
    from peft import PeftModel

MOST_ROWS = 1_000
"""Of the run's own validation rows; a file that was given is used whole."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """N rows with their `labels` (N,), class numbers; `name` says where they are from."""

    name: str
    texts: tuple[str, ...]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An adapter as PEFT has it, in fp32; `tokenizer` is its backbone's."""

    folder: Path
    record: TrialRecord
    source: Source
    model: PeftModel
    tokenizer: Any
    rows: Rows

    @property
    def max_length(self) -> int:
        return self.record.configuration.data.max_length

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Logits (N, C) of the adapter itself, by transformers and PEFT.

        Raises:
            AdapterError: the model can't read a text, or a logit is not finite.
        """
        forward = PeftForward(self.model, self.tokenizer)
        known_tokens = sources.known_tokens(self.model.config, self.tokenizer)
        return Classifier(forward, self.tokenizer, self.record, known_tokens).logits(texts)


def load_subject(folder: Path, record: TrialRecord, rows: Rows) -> Subject:
    """The adapter in `folder`, whose `record` was read and checked.

    Raises:
        AdapterError, BackboneError: it can't be loaded.
    """
    source, model = load_peft(folder, record)
    return Subject(folder, record, source, model, sources.load_tokenizer(source), rows)


def rows_of(
    folder: Path,
    record: TrialRecord,
    file: Path | None,
    text_column: str | Sequence[str] | None,
    label_column: str | None,
) -> Rows:
    """The rows in `file`, or without one those that the adapter's run kept of its validation rows.

    Raises:
        DataError: the file can't be read, its labels are not the adapter's, or there is neither.
    """
    if file is None:
        return _kept(folder, record)
    split, note = labelled_rows(record, file, text_column, label_column)
    return Rows(file.name if note is None else f"{file.name} ({note})", split.texts, split.labels)


def _kept(folder: Path, record: TrialRecord) -> Rows:
    run = run_of(folder)
    try:
        kept = list(read_rows(run, len(record.labels)).values()) if run else []
    except RunError as error:
        raise AdapterError(f"{error}; name a labelled file by --rows") from None
    if not kept:
        raise DataError(
            f"{folder}: an export is compared with the adapter on labelled rows, and this folder lies in no run that "
            "kept its validation rows; name a labelled file by --rows"
        )
    whole = [row for row in kept if len(row.text) < LONGEST_TEXT]  # the others were cut there: other texts to classify
    if not whole:
        raise DataError(
            f"{folder}: an export is compared with the adapter on labelled rows, and its run kept no whole text of "
            f"its validation rows: all have {LONGEST_TEXT:,} characters or more; name a labelled file by --rows"
        )
    chosen = [whole[int(place)] for place in np.linspace(0, len(whole) - 1, min(MOST_ROWS, len(whole)))]
    labels = np.array([row.label for row in chosen], dtype=np.int64)
    left_out = len(kept) - len(whole)
    name = "the validation rows of its run" + ", which it was trained on" * record.is_refitted
    if left_out:
        name += f", without {left_out:,} of {LONGEST_TEXT:,} characters or more, which it kept cut"
    return Rows(name, tuple(row.text for row in chosen), labels)
