"""Makes RUN/similarity/: embeddings of a sample of a run's rows, and of a second file, by the frozen backbone.

By the embeddings it then has the labels of training rows judged (`use/cross_fitting.py`). This is the part of a report
that needs the model and the data; what is kept is used again until either changes. At most 4,000 training, 4,000 test,
1,000 validation and 2,000 second rows are embedded, each a stratified part. That nothing can be measured is a sentence
and no error; a second file that can't be read is one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loraloom.backbone import sources
from loraloom.data import Split, TextData, load_again
from loraloom.data.overlap import text_key
from loraloom.data.sampling import part_rows
from loraloom.errors import LoraloomError, StoppedError, first_line
from loraloom.recipe import Recipe
from loraloom.search.clock import BEGIN_SHARE, Clock
from loraloom.study.embeddings import (
    Embedded,
    Embeddings,
    Key,
    Second,
    SecondAbout,
    embeddings_key,
    read_embeddings,
    write_embeddings,
)
from loraloom.study.provenance import SPLITS
from loraloom.study.record import TrialRecord
from loraloom.study.run import BEST, Run
from loraloom.use.cross_fitting import cross_fit, is_cross_fitted
from loraloom.use.embedding import Embedder
from loraloom.use.evaluate import tested_part
from loraloom.use.second_set import SecondRows, read_second

MOST = {"train": 4_000, "test": 4_000, "validation": 1_000, "second": 2_000}
CAUTION = 2.0
"""Before a deadline, rows are embedded only where this many times what they would take is left."""

STATISTICS_SHARE = 7.6
"""What the statistics of embeddings take in a report, with the libraries that they need, in the time that loading took
the command (as in `search/clock.py`)."""

EMBEDDING = "embedding texts by the frozen model, to measure how alike training and test rows are, and to judge labels"

Progress = Callable[[int, int], None]
"""Hears how many texts are done, and of how many."""
Note = Callable[[str], None]
UNDER_A_DEADLINE = (
    "a search under a deadline leaves it out unless much time is left; `loraloom report` on this run measures it"
)
ASKED = "the run was asked to stop"


class _NotMeasuredError(Exception):
    """Why there are no embeddings, as a sentence without its full stop."""


def collect(
    run: Path,
    *,
    compare_file: Path | None = None,
    data: TextData | None = None,
    progress: Progress = lambda _, __: None,
    seconds_left: Callable[[], float] | None = None,
    note: Note = lambda _: None,
) -> str | None:
    """Embeds what RUN/similarity/ lacks, and judges training rows by it; returns why rows were not embedded, or None.

    `data` are the run's rows where they are at hand, else they are read again. With `seconds_left` it gives up as soon
    as the rest would take more than half of them. `note` hears what else takes a while.

    Raises:
        DataError: `compare_file` can't be read.
        RunError: `run` is not a run's folder.
    """
    opened = Run(run)
    winner = opened.best()
    if winner is None:
        return "the search has no tested winner yet"
    second = read_second(compare_file, winner) if compare_file else None
    try:
        _collect(opened, winner, second, data, progress, seconds_left, note)
    except StoppedError:  # by a signal, in the middle of it
        raise
    except (LoraloomError, _NotMeasuredError, OSError, RuntimeError, MemoryError) as error:
        return first_line(error).rstrip(".")
    return None


def collect_in_time(
    run: Path,
    winner: TrialRecord,
    data: TextData,
    clock: Clock,
    note: Callable[[str], None],
    asked: Callable[[], bool] = lambda: False,
) -> str | None:
    """As `collect`, at the end of a search: before a deadline only where the time left is sure to suffice.

    It is given up as soon as the run is `asked` to stop. Time is kept for the report, and for the statistics that it
    then has beside the others. Where it is not left, embeddings of an earlier command are not looked at either.
    """
    kept = STATISTICS_SHARE * clock.slowdown * clock.loading_seconds

    def left() -> float:
        if asked():
            return 0.0
        return math.inf if clock.seconds_left is None else clock.seconds_left - clock.report_seconds - kept

    speed = winner.timings.examples_per_second if winner.timings else 0.0
    rows = sum(min(MOST[name], len(getattr(data, name))) for name in SPLITS)
    loading = BEGIN_SHARE * clock.slowdown * clock.loading_seconds
    needed = CAUTION * (loading + rows / speed) if speed > 0 else math.inf
    if left() < needed:
        return ASKED if asked() else UNDER_A_DEADLINE

    def begun(done: int, _: int) -> None:
        if not done:  # where nothing is to be embedded, as after an earlier command, none is
            note(EMBEDDING)

    why_not = collect(run, data=data, progress=begun, seconds_left=left)
    return ASKED if why_not is not None and asked() else why_not


def _collect(
    run: Run,
    winner: TrialRecord,
    second: SecondRows | None,
    data: TextData | None,
    progress: Progress,
    seconds_left: Callable[[], float] | None,
    note: Note,
) -> None:
    key = embeddings_key(run.recipe, winner)
    if key is None:
        raise _NotMeasuredError("the run's recipe does not say what its data and models were")
    kept = _kept(run.path, key)
    has_second = second is None or (kept is not None and _is_of(kept.second, second, winner))
    if kept is None:
        data = _data(run.recipe, key, data, note)
    if kept is None or not has_second:
        texts = _own_texts(data, key, run.recipe) if kept is None and data is not None else {}
        total = sum(len(rows) for _, rows in texts.values())
        chosen = _second_numbers(second, run.recipe) if second and not has_second else np.zeros(0, np.int64)
        embed = _Embedding(key, winner, total + len(chosen), progress, seconds_left)
        if kept is None:
            parts = {name: embed.split(split, rows) for name, (split, rows) in texts.items()}
            kept = Embeddings(key, parts["train"], parts["validation"], parts["test"], embed.seconds)
            write_embeddings(run.path, kept)
        if second and not has_second:
            data = data if second.labels is None else _at_hand(run.recipe, key, data, note)
            kept = replace(kept, second=_second(run, winner, second, chosen, embed, data))
            write_embeddings(run.path, kept)
    if not is_cross_fitted(run.path, key, len(winner.labels)):
        _judge_training_rows(run, kept, winner, data, seconds_left, note)


def _judge_training_rows(
    run: Run,
    kept: Embeddings,
    winner: TrialRecord,
    data: TextData | None,
    seconds_left: Callable[[], float] | None,
    note: Note,
) -> None:
    """Cross-fits where the run's rows are to be had; the report says where that was not done."""
    try:
        train = _data(run.recipe, kept.key, data, note).train
        note("judging the labels of training rows")
        cross_fit(run.path, kept, train, len(winner.labels), run.recipe.train.seed, seconds_left)
    except StoppedError:
        raise
    except (LoraloomError, _NotMeasuredError, OSError):
        return


def _kept(run: Path, key: Key) -> Embeddings | None:
    """What is there, if it can be read and is not stale."""
    try:
        kept = read_embeddings(run)
    except LoraloomError:
        return None
    return kept if kept is not None and kept.key == key else None


def _is_of(kept: Second | None, rows: SecondRows, winner: TrialRecord) -> bool:
    if kept is None:
        return False
    about = kept.about
    return (about.digest, about.winner, about.soup_of) == (rows.digest, winner.number, winner.soup_of)


def _data(recipe: Recipe, key: Key, data: TextData | None, note: Note) -> TextData:
    """The run's rows, read again where they are not at hand."""
    if data is None:
        if recipe.from_python:
            raise _NotMeasuredError("rows of the run were given from Python, and are not kept with it")
        data = load_again(recipe, note)
    if data.fingerprint != key.data:
        raise _NotMeasuredError(f"the data {data.name!r} have changed since the run")
    return data


def _at_hand(recipe: Recipe, key: Key, data: TextData | None, note: Note) -> TextData | None:
    """The run's rows, as `_data` has them; None where they are not to be had."""
    try:
        return _data(recipe, key, data, note)
    except StoppedError:
        raise
    except (LoraloomError, _NotMeasuredError, OSError):
        return None


def _own_texts(data: TextData, key: Key, recipe: Recipe) -> dict[str, tuple[Split, NDArray[np.int64]]]:
    """The run's splits, with the numbers of the rows to embed: of training, rows that the winner was trained on.

    Of test, those that a part of them is tested on first, so that it is known whether the winner is right about them.
    Classes have their shares in each: more of rare ones would be a difference that the sets do not have.
    """
    seed, train = recipe.train.seed, data.train.labels
    trained = part_rows(train, key.trained_rows, seed)
    chosen = {
        "train": trained[part_rows(train[trained], MOST["train"], seed, unbiased=True)],
        "validation": part_rows(data.validation.labels, MOST["validation"], seed, unbiased=True),
        "test": tested_part(data.test, MOST["test"]),
    }
    return {name: (getattr(data, name), chosen[name]) for name in SPLITS}


class _Embedding:
    """The frozen backbone at work: counts texts, and gives up where the time would not suffice."""

    def __init__(
        self, key: Key, winner: TrialRecord, total: int, progress: Progress, seconds_left: Callable[[], float] | None
    ) -> None:
        source = sources.find(key.model, None if ":" in key.revision else key.revision)
        if source.local and sources.pin(source) != key.revision:
            raise _NotMeasuredError(f"the model {key.model!r} on this machine is not the run's")
        self._done, self._total, self._progress, self._seconds_left = 0, total, progress, seconds_left
        progress(0, total)
        self._embedder = Embedder(source, winner.configuration.data.max_length, winner.dtype)
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def split(self, split: Split, rows: NDArray[np.int64]) -> Embedded:
        texts = [split.texts[row] for row in rows]
        return Embedded(len(split), rows, self.texts(texts), _again(texts))

    def readable(self, texts: list[str]) -> NDArray[np.bool_]:
        return self._embedder.readable(texts)

    def texts(self, texts: list[str]) -> NDArray[np.float32]:
        return self._embedder.embed(texts, self._count)

    def _count(self, texts: int) -> None:
        self._done += texts
        self._progress(self._done, self._total)
        if self._seconds_left is not None:
            rest = self.seconds / self._done * (self._total - self._done)
            if CAUTION * rest > self._seconds_left():
                raise _NotMeasuredError(UNDER_A_DEADLINE)


def _second_numbers(second: SecondRows, recipe: Recipe) -> NDArray[np.int64]:
    labels = second.labels if second.labels is not None else np.zeros(len(second.texts), np.int64)
    return part_rows(labels, MOST["second"], recipe.train.seed, unbiased=True)


def _again(texts: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) the texts that an earlier one is equal to."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(text_key(text), place) != place for place, text in enumerate(texts)], dtype=bool)


def _second(
    run: Run,
    winner: TrialRecord,
    second: SecondRows,
    rows: NDArray[np.int64],
    embed: _Embedding,
    data: TextData | None,
) -> Second:
    """Its embeddings, and whether the winner is right about each row, where that can be known.

    By the run's `data` it is known how many of its texts were trained on.
    """
    from loraloom.use.backbones import load

    rows = rows[(read := embed.readable([second.texts[row] for row in rows]))]
    if not rows.size:
        model = winner.configuration.backbone.model
        raise _NotMeasuredError(f"the model {model!r} can read no text in {second.file}")
    texts, unread = [second.texts[row] for row in rows], int(np.count_nonzero(~read))
    labels = None if second.labels is None else second.labels[rows]
    correct = None
    if labels is not None:
        correct = load(run.path / BEST).logits(texts).argmax(axis=1) == labels
    name = second.file.name.encode(errors="replace").decode()  # a name need not be text
    about = SecondAbout(
        file=name,
        digest=second.digest,
        rows=len(second.texts),
        empty=second.empty + unread,
        unlabelled=second.unlabelled,
        winner=winner.number,
        note=second.note,
        soup_of=winner.soup_of,
        trained_on=None if data is None else len({*map(text_key, texts)} & {*map(text_key, data.train.texts)}),
    )
    in_file = Embedded(len(second.texts) + second.empty, second.numbers[rows], embed.texts(texts), _again(texts))
    return Second(about, in_file, labels, correct)
