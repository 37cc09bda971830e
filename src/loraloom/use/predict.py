"""Predicts a file of any size: its answers (`answers.py`) are written window by window, in the order of its rows.

An output file is made of parts that are kept until it is whole (`parts.py`): the same command goes on after a kill, to
the same bytes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from loraloom.data.cells import text_problem
from loraloom.data.opening import format_of
from loraloom.data.record import Record
from loraloom.data.wording import quoted
from loraloom.errors import DataError
from loraloom.machine import with_home
from loraloom.study.durable import refuse_place
from loraloom.study.outputs import refuse_over
from loraloom.study.provenance import own_version
from loraloom.use.answers import Answers, Choices
from loraloom.use.ensemble import Ensemble
from loraloom.use.input import ChangedError, Stamp, fingerprint, is_read_once, stamp
from loraloom.use.parts import Counts, Identity, Parts, locked
from loraloom.use.windows import CHARACTERS, ROWS, Window
from loraloom.use.writing import Added, JsonlOutput, Output, output_of
from loraloom.wording import unobeyed_json

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
    watcher = watcher or _Silent()
    answers = Answers(ensemble, source, choices, watcher.note)
    pass_ = _Pass(answers, watcher)
    if out is None:
        return pass_.to_stream(stdout or sys.stdout)
    output = output_of(out, answers.added, answers.name)
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
            raise DataError(f"--text {quoted(text)}: {problem}")


def predict_texts(ensemble: Ensemble, texts: Sequence[str], stdout: IO[str], min_confidence: float | None) -> None:
    """Prints a line of JSON for each text.

    Raises:
        DataError: a text is none (`check_texts`).
    """
    check_texts(texts)
    answers = Answers(ensemble, "--text", Choices(("text",), min_confidence=min_confidence), _Silent().note)
    records = [Record(number, {"text": text}) for number, text in enumerate(texts, start=1)]
    window = Window(records, list(range(len(records))), ensemble.encoded(texts), None)
    _print(JsonlOutput(answers.added, "--text").render(answers.predicted(window)[0]), stdout)


def _print(lines: bytes, stdout: IO[str]) -> None:
    """Writes lines of JSON as they are, or, on a terminal, without what it would obey: labels may come from anybody."""
    text = lines.decode("utf-8")
    stdout.write(unobeyed_json(text) if stdout.isatty() else text)


@dataclass(slots=True)
class _Pass:
    """One pass over an input."""

    answers: Answers
    watcher: Watcher

    def to_stream(self, stdout: IO[str]) -> Summary:
        """Lines of JSON, each window's as soon as it is predicted."""
        output, counts, start = JsonlOutput(self.answers.added, self.answers.name), Counts(), time.monotonic()
        with closing(self.answers.after(0)) as coming:
            for answer in coming:
                if isinstance(answer, DataError):
                    raise _after(answer, counts, "printed")
                rows, own, read = answer
                if rows.records:
                    _print(output.render(rows), stdout)
                    stdout.flush()
                counts += own
                self.watcher.done(counts.rows, read)
        self._check(counts)
        return Summary(counts, time.monotonic() - start, counts.rows)

    def to_parts(self, out: Path, output: Output) -> Summary:
        """A file, by parts; what an earlier command finished of it is kept."""
        start = time.monotonic()
        before = None if is_read_once(self.answers.source) else stamp(self.answers.source)
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
        if broken is not None and (self.answers.choices.on_error == "stop" or counts.bad == counts.rows):
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
        self.answers.answered = counts.rows > counts.bad
        with closing(self.answers.after(counts.rows)) as coming:
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
            is_same = stamp(self.answers.source) == before
        except DataError as error:
            raise ChangedError(str(error)) from None
        if not is_same:
            then = "give the command again: it goes on where the bytes are the same, and else begins anew"
            raise ChangedError(f"{self.answers.source}: was changed while it was read; {then}")

    def _identity(self, output: Output) -> Identity:
        members = self.answers.ensemble.members
        classifiers = [member.classifier for member in members]
        return Identity(
            input=fingerprint(Path(self.answers.source)),
            adapter=[[member.name, *member.identity] for member in members],
            options={
                "kind": [output.suffix, Path(self.answers.source).suffixes],
                "text_column": self.answers.choices.text_column,
                "min_confidence": self.answers.choices.min_confidence,
                "odds": [None if one.shift is None else one.shift.odds.tolist() for one in classifiers],
                "temperatures": [None if one.temperature is None else one.temperature.value for one in classifiers],
                "types": [one.dtype for one in classifiers],
                "window": [ROWS, CHARACTERS, "of all cells"],
            },
            version=own_version(),
            on_error=self.answers.choices.on_error,
        )

    def _check(self, counts: Counts) -> None:
        if counts.bad == counts.rows:
            raise DataError(f"{self.answers.name}: none of its {counts.rows:,} rows can be predicted")


def _after(error: DataError, counts: Counts, stands: str | None) -> DataError:
    """The error that ended a reading, with the rows before it that stand."""
    if not counts.rows or stands is None:
        return error
    if stands == "kept":
        return DataError(f"{error}; the {counts.rows:,} rows before it are kept for a command that goes on")
    return DataError(f"{error}; {counts.written:,} of the rows before it are {stands}")
