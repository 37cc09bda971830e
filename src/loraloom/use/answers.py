"""A file's rows with their predictions, window by window in their order; who asks writes them where he wants.

Reading and tokenising are a window or two ahead of computing, in a thread. Memory is that of a few windows, whatever
the file's size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, get_args

import numpy as np
from numpy.typing import NDArray

from loraloom.data.columns import named_columns
from loraloom.data.record import Record
from loraloom.data.rows import STANDARD_INPUT, read_records
from loraloom.errors import DataError, OptionError
from loraloom.use.adapter import not_finite
from loraloom.use.ahead import Ahead
from loraloom.use.ensemble import Ensemble
from loraloom.use.input import share_read
from loraloom.use.parts import Counts
from loraloom.use.windows import ROWS, OnError, Text, Window, text_columns, windows
from loraloom.use.writing import Added, Predicted

AHEAD = 2
"""Windows that are read and tokenised before they are asked for."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What is asked for, beside the input and the output."""

    text_column: str | Sequence[str] | None = None
    """One name or several."""
    on_error: OnError = "stop"
    min_confidence: float | None = None
    """Rows of which the model is less sure have no prediction."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text_column", named_columns(self.text_column))
        if self.on_error not in get_args(OnError):
            raise OptionError(f"on_error: {self.on_error!r} is none of {', '.join(get_args(OnError))}")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise OptionError(f"min_confidence: {self.min_confidence} is no share between 0 and 1")


@dataclass(slots=True)
class Answers:
    """What adapters say of the rows of an input."""

    ensemble: Ensemble
    source: str
    choices: Choices
    note: Callable[[str], None]
    """Hears of each bad row, and by what cells are separated, where that is no comma."""
    added: Added = field(init=False)
    name: str = field(init=False)
    answered: bool = field(default=False, init=False)
    """Whether a text had logits that are finite: where others have not, that is not the adapter's fault."""

    def __post_init__(self) -> None:
        members = self.ensemble.members
        self.added = Added(self.ensemble.labels, tuple(m.name for m in members) if len(members) > 1 else ())
        self.name = STANDARD_INPUT if self.source == "-" else self.source

    def predicted(self, window: Window) -> tuple[Predicted, Counts]:
        """A window's rows with their predictions; without the bad ones, where these are skipped.

        Raises:
            DataError: a row is found to be bad, and bad ones are not to be passed over.
            AdapterError: none of its texts has logits that are finite, nor had one before.
        """
        labels, members = self.ensemble.labels, self.ensemble.members
        count, good = len(window.records), window.places
        mean = np.full((count, len(labels)), np.nan)
        by_member: list[list[str | None]] = [[None] * count for _ in members]
        if good:
            good, shares = self._answered(window)
            mean[good] = shares.mean(axis=0)
            for own, each in zip(by_member, shares, strict=True):
                for place, best in zip(good, each.argmax(axis=1).tolist(), strict=True):
                    own[place] = labels[best]
        found: list[str | None] = [None] * count
        sure: list[float | None] = [None] * count
        abstained = 0
        least = self.choices.min_confidence or 0.0
        for place in good:
            best = int(mean[place].argmax())
            sure[place] = float(mean[place, best])
            if mean[place, best] < least:
                abstained += 1
            else:
                found[place] = labels[best]
        for record in window.bad:
            self.note(f"{self.name}: {record.problem}")
        skip = self.choices.on_error == "skip"
        kept = good if skip else list(range(count))
        rows = Predicted(
            records=[window.records[place] for place in kept],
            labels=[found[place] for place in kept],
            confidences=[sure[place] for place in kept],
            probabilities=mean[kept],
            by_member=[[own[place] for place in kept] for own in by_member] if len(members) > 1 else [],
        )
        counted = Counter(label for label in found if label is not None)
        return rows, Counts(count, len(kept), count - len(good), abstained, counted)

    def _answered(self, window: Window) -> tuple[list[int], NDArray[np.float64]]:
        """Places of the rows that are answered, and their probabilities (K, N, C) by each member; others are bad rows.

        In fp16 the numbers of a text may overflow. Where those of all do from the first on, the adapter is bad.
        """
        shares = self.ensemble.probabilities(window.encoded)
        finite = np.isfinite(shares).all(axis=(0, 2))  # (N,)
        self.answered = self.answered or bool(finite.any())
        if not self.answered:
            raise not_finite()
        text = Text(self.name, (), self.choices.on_error)
        for row in np.flatnonzero(~finite).tolist():
            record = window.records[window.places[row]]
            problem = f"{record.called} has a text of which an adapter gives logits that are not finite"
            window.records[window.places[row]] = text.refused(record, problem)
        return [window.places[row] for row in np.flatnonzero(finite).tolist()], shares[:, finite]

    def after(self, before: int) -> Generator[tuple[Predicted, Counts, float | None] | DataError]:
        """Windows after the first rows, predicted, and the share that was read; an error that ends them is the last."""
        with ExitStack() as stack:
            file = None
            if self.source != "-" and not Path(self.source).is_dir():
                file = stack.enter_context(Path(self.source).open("rb"))
            made = Ahead(self._made(before, file), AHEAD)
            stack.callback(made.close)
            try:
                for number, window in enumerate(made):
                    if number == 0 and (first := window.records[0]).separator:
                        self.note(f"{self.name}: {first.separated}")
                    yield *self.predicted(window), window.read
            except DataError as error:
                yield error

    def _made(self, before: int, file: IO[bytes] | None) -> Iterator[Window]:
        records = read_records(self.source, lenient=True, file=file)
        first: list[Record] = []
        for record in records:
            first.append(record)
            if self._tells(record) or len(first) == ROWS:
                break
        if not first:
            raise DataError(f"{self.name}: has no rows")
        if (problem := first[0].problem) and not first[-1].cells:
            raise DataError(f"{self.name}: none of its first {len(first):,} rows can be read: {problem}")
        telling = next(filter(self._tells, first), first[-1])
        self.added.check(telling.cells, self.name)
        wanted = self.choices.text_column or self.ensemble.text_columns
        text = Text(self.name, text_columns(telling, wanted, self.name), self.choices.on_error)
        rows = chain(first, records)
        for _ in range(before):
            next(rows, None)
        share = share_read(self.source, file)
        yield from windows(rows, text, self.ensemble, share, patient=self.source != "-")

    def _tells(self, record: Record) -> bool:
        """Whether a row shows which columns there are; where bad rows are passed over, one without a text does not."""
        wanted = () if self.choices.on_error == "stop" else self.choices.text_column or self.ensemble.text_columns or ()
        return bool(record.cells) and all(name in record.cells for name in wanted)
