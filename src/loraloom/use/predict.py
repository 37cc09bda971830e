"""Predicts a file of any size: rows are read, predicted and written window by window, in their order.

Reading and tokenising are a window or two ahead of computing, in a thread. Memory is that of a few windows, whatever
the file's size. An output file is made of parts that are kept until it is whole (`parts.py`): the same command goes on
after a kill, to the same bytes.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from loraloom.data.cells import text_problem
from loraloom.data.columns import named_columns
from loraloom.data.opening import format_of
from loraloom.data.rows import STANDARD_INPUT, Record, read_records
from loraloom.errors import DataError, OptionError
from loraloom.machine import with_home
from loraloom.study.durable import refuse_place
from loraloom.study.outputs import refuse_over
from loraloom.study.provenance import own_version
from loraloom.use.adapter import not_finite
from loraloom.use.ahead import Ahead
from loraloom.use.ensemble import Ensemble
from loraloom.use.input import ChangedError, Stamp, fingerprint, is_read_once, share_read, stamp
from loraloom.use.parts import Counts, Identity, Parts, locked
from loraloom.use.windows import CHARACTERS, ROWS, OnError, Text, Window, text_columns, windows
from loraloom.use.writing import Added, JsonlOutput, Output, Predicted, output_of

AHEAD = 2
"""Windows that are read and tokenised before they are asked for."""
_WHY_ANEW = {
    "input": "its input has changed",
    "adapter": "an adapter has changed",
    "options": "other options were given",
    "version": "another version of loraloom wrote it",
    "damaged": "what was kept of it is damaged",
}


class Watcher(Protocol):
    """Hears of a file while it is predicted."""

    def note(self, sentence: str) -> None:
        """A bad row, or that what was kept of a run is gone on with or not."""
        ...

    def done(self, rows: int, share: float | None) -> None:
        """So many rows, which are this share of the input where that can be told."""
        ...

    def kept(self, rows: int) -> None:
        """So many rows are kept where the command has not come to its end: the same one goes on after them."""
        ...


class _Silent:
    def note(self, sentence: str) -> None: ...

    def done(self, rows: int, share: float | None) -> None: ...

    def kept(self, rows: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a file: counts of all its rows, and the seconds and rows of this command."""

    counts: Counts
    seconds: float
    rows: int
    """Rows of the input that this command predicted; fewer than all where it went on."""

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds > 0 else 0.0


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


_DEFAULT = Choices()


def predict_file(
    ensemble: Ensemble,
    source: str | Path,
    out: str | Path | None,
    stdout: IO[str] | None = None,
    choices: Choices = _DEFAULT,
    watcher: Watcher | None = None,
) -> Summary:
    """Adds predictions to the rows of `source` ('-' is standard input).

    They go to `out` (CSV, TSV, JSONL or Parquet by its name; whole or not at all), or where that is None as JSONL
    to `stdout`, by default the process's.

    Raises:
        DataError: the file can't be read to its end, has no text column, a column that would be written over, no row
            that can be predicted, or a bad one where `choices.on_error` is stop.
        RunError: `out` can't be written, or another process is writing it.
    """
    source = os.path.expanduser(source)  # noqa: PTH111 - names the file as it was given
    out = None if out is None else with_home(out)
    check_places(source, out)
    pass_ = _Pass(ensemble, source, choices, watcher or _Silent())
    if out is None:
        return pass_.to_stream(stdout or sys.stdout)
    output = output_of(out, pass_.added, pass_.name)
    with locked(out):
        return pass_.to_parts(out, output)


def check_places(source: str, out: Path | None) -> None:
    """Refuses what can't be read or written, as far as names and places tell, which needs no model.

    Raises:
        DataError: the input is not there, or is of a kind that is not read; or the output, of one that is not written.
        RunError: the output can't be written.
    """
    read = [] if source == "-" else [with_home(source)]
    for path in read:
        format_of(path)
    if out is not None:
        refuse_over(out, *read)
        refuse_place(out)
        output_of(out, Added((), ()), source)


def check_texts(texts: Sequence[str]) -> None:
    """Refuses what is no text, which needs no model to be seen.

    Raises:
        DataError: a text is empty or blank, is too long, or holds what is no character.
    """
    for text in texts:
        if problem := text_problem(text) or (None if text.strip() else "has no text"):
            raise DataError(f"--text {text!a}: {problem}")


def predict_texts(ensemble: Ensemble, texts: Sequence[str], stdout: IO[str], min_confidence: float | None) -> None:
    """Prints a line of JSON for each text.

    Raises:
        DataError: a text is none (`check_texts`).
    """
    check_texts(texts)
    pass_ = _Pass(ensemble, "--text", Choices(("text",), min_confidence=min_confidence), _Silent())
    records = [Record(number, {"text": text}) for number, text in enumerate(texts, start=1)]
    window = Window(records, list(range(len(records))), ensemble.encoded(texts), None)
    stdout.write(JsonlOutput(pass_.added, "--text").render(pass_.predicted(window)[0]).decode())


@dataclass(slots=True)
class _Pass:
    """One pass over an input."""

    ensemble: Ensemble
    source: str
    choices: Choices
    watcher: Watcher
    added: Added = field(init=False)
    name: str = field(init=False)
    answered: bool = field(default=False, init=False)
    """Whether a text had logits that are finite: where others have not, that is not the adapter's fault."""

    def __post_init__(self) -> None:
        members = self.ensemble.members
        self.added = Added(self.ensemble.labels, tuple(m.name for m in members) if len(members) > 1 else ())
        self.name = STANDARD_INPUT if self.source == "-" else self.source

    def to_stream(self, stdout: IO[str]) -> Summary:
        """Lines of JSON, each window's as soon as it is predicted."""
        output, counts, start = JsonlOutput(self.added, self.name), Counts(), time.monotonic()
        with closing(self._answers(0)) as coming:
            for answer in coming:
                if isinstance(answer, DataError):
                    raise _after(answer, counts, "printed")
                rows, own, read = answer
                if rows.records:
                    stdout.write(output.render(rows).decode("utf-8"))
                    stdout.flush()
                counts += own
                self.watcher.done(counts.rows, read)
        self._check(counts)
        return Summary(counts, time.monotonic() - start, counts.rows)

    def to_parts(self, out: Path, output: Output) -> Summary:
        """A file, by parts; what an earlier command finished of it is kept."""
        start = time.monotonic()
        before = None if is_read_once(self.source) else stamp(self.source)
        identity = None if before is None else self._identity(output)
        parts = Parts(out, output, identity, lambda: self._refuse_changed(before))
        if parts.why_anew is not None:
            self.watcher.note(f"{out}: begins anew, since {_WHY_ANEW[parts.why_anew]}")
        elif parts.done.rows:
            self.watcher.note(f"{out}: goes on after row {parts.done.rows:,}")
        try:
            return self._to_the_end(parts, out, output, before, start)
        finally:
            self.watcher.kept(parts.done.rows)

    def _to_the_end(self, parts: Parts, out: Path, output: Output, before: Stamp | None, start: float) -> Summary:
        first = parts.done
        try:
            counts, broken = self._fill(parts, output)
            self._refuse_changed(before)
            if broken is None:
                self._check(counts)
        except ChangedError:  # the parts are of the input as it was
            raise
        except BaseException as error:
            if before is None or isinstance(error, DataError):
                parts.discard()
            elif not isinstance(error, Exception):  # somebody ends the command: a window is in a part whole or not
                parts.close_part()
            raise
        if broken is not None and (self.choices.on_error == "stop" or counts.bad == counts.rows):
            parts.close_part()
            if before is None:
                parts.discard()
            raise _after(broken, counts, None if before is None else "kept")
        parts.finish()
        if broken is not None:
            raise _after(broken, counts, f"in {out}")
        return Summary(counts, time.monotonic() - start, counts.rows - first.rows)

    def _fill(self, parts: Parts, output: Output) -> tuple[Counts, DataError | None]:
        """Predicts what parts have not got yet; with what ended the reading before the input's end."""
        counts = parts.done
        self.answered = counts.rows > counts.bad
        with closing(self._answers(counts.rows)) as coming:
            for answer in coming:
                if isinstance(answer, DataError):
                    return counts, answer
                rows, own, read = answer
                rendered = output.render(rows) if rows.records else None
                parts.add(rendered, own)
                counts += own
                self.watcher.done(counts.rows, read)
        return counts, None

    def _refuse_changed(self, before: Stamp | None) -> None:
        """Raises ChangedError where the input is not the one that it was, and what was read may be another's."""
        if before is None:
            return
        try:
            is_same = stamp(self.source) == before
        except DataError as error:
            raise ChangedError(str(error)) from None
        if not is_same:
            then = "give the command again: it goes on where the bytes are the same, and else begins anew"
            raise ChangedError(f"{self.source}: was changed while it was read; {then}")

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
            self.watcher.note(f"{self.name}: {record.problem}")
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

    def _answers(self, before: int) -> Generator[tuple[Predicted, Counts, float | None] | DataError]:
        """Windows after the first rows, predicted, and the share that was read; an error that ends them is the last."""
        with ExitStack() as stack:
            file = None
            if self.source != "-" and not Path(self.source).is_dir():
                file = stack.enter_context(Path(self.source).open("rb"))
            made = Ahead(self._made(before, file), AHEAD)
            stack.callback(made.close)
            try:
                for window in made:
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

    def _identity(self, output: Output) -> Identity:
        members = self.ensemble.members
        classifiers = [member.classifier for member in members]
        return Identity(
            input=fingerprint(Path(self.source)),
            adapter=[[member.name, *member.identity] for member in members],
            options={
                "kind": [output.suffix, Path(self.source).suffixes],
                "text_column": self.choices.text_column,
                "min_confidence": self.choices.min_confidence,
                "odds": [None if one.shift is None else one.shift.odds.tolist() for one in classifiers],
                "temperatures": [None if one.temperature is None else one.temperature.value for one in classifiers],
                "types": [one.dtype for one in classifiers],
                "window": [ROWS, CHARACTERS, "of all cells"],
            },
            version=own_version(),
            on_error=self.choices.on_error,
        )

    def _check(self, counts: Counts) -> None:
        if counts.bad == counts.rows:
            raise DataError(f"{self.name}: none of its {counts.rows:,} rows can be predicted")


def _after(error: DataError, counts: Counts, stands: str | None) -> DataError:
    """The error that ended a reading, with the rows before it that stand."""
    if not counts.rows or stands is None:
        return error
    if stands == "kept":
        return DataError(f"{error}; the {counts.rows:,} rows before it are kept for a command that goes on")
    return DataError(f"{error}; {counts.written:,} of the rows before it are {stands}")
