"""A warm-up of seconds: what a row costs on this machine, with these texts and this model, before a plan is made.

A few steps are trained and thrown away: the first job loads the weights and fills the caches, the second is timed.
Where texts are long, or states of frozen layers are kept, it has as many rows as can have theirs in time, and more
passes. A model at a length that memory does not suffice for is left out, and the others are searched.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from loraloom.engine import Job, never
from loraloom.errors import LoraloomError
from loraloom.execute.executor import Executor
from loraloom.execute.workplace import Workplace
from loraloom.machine import MOST_WAITED, waited_seconds
from loraloom.recipe import Configuration
from loraloom.search.costs import Measured, measured
from loraloom.search.pace import LeftOut, named
from loraloom.study.record import Evaluation

T = TypeVar("T")
TRAIN_ROWS = 1024
EVAL_ROWS = 96
COLD_BATCHES = 2
FILLED_SHARE = 0.5
"""Of the seconds of a timed job, what token ids and the states of frozen layers may take."""
SHORTEST_SECONDS, LONGEST_SECONDS = 0.7, 4.0
LONGEST_LOADING = 30.0
"""Where a model takes longer, it was fetched, which is done once."""
SHARE = 0.03
"""Of the time that is left, for each model."""
NOT_ENDED = "it had not ended when the time was over"
"""Why nothing is known of what was trained by a worker that hangs, or that a cluster has no room for."""
AGAIN_SHARE, LONGEST_AGAIN = 0.15, 30.0
"""Of the time that is left, and in seconds: after so much of measuring the last one counts, for nothing has passed."""
HARMLESS_RATE = 1e-7
"""A row costs the same at any rate, and a first point that diverges must not end a search with better ones."""


class WarmUpFailedError(LoraloomError):
    """Nothing could be measured: each model was left out, at each of its lengths."""

    def __init__(self, left_out: LeftOut) -> None:
        self.left_out = left_out
        super().__init__(f"the warm-up failed: {named(left_out)}")


class _FailedError(Exception):
    """A training that failed, and why."""


class _LostError(_FailedError):
    """The process that trained it died, or the training raised what no engine foresees."""


@dataclass(frozen=True, slots=True)
class WarmedUp:
    """What was measured of each model, and the longest that one took to load.

    `left_out` are the models, each with its longest text, of which nothing could be measured, and why.
    """

    measured: tuple[Measured, ...]
    loading_seconds: float
    left_out: LeftOut = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Where:
    """Where it is measured: by whom, in which folder, for how long each, and when all time is over."""

    place: Workplace
    executor: Executor
    run: Path
    seconds: float
    end: float

    @classmethod
    def at(cls, place: Workplace, executor: Executor, seconds_left: float, run: Path) -> _Where:
        seconds = min(LONGEST_SECONDS, max(SHORTEST_SECONDS, SHARE * seconds_left))
        return cls(place, executor, run, seconds, time.monotonic() + seconds_left)


def warm_up(place: Workplace, executor: Executor, seconds_left: float, run: Path) -> WarmedUp:
    """Measures a trial of each of the recipe's models and lengths of texts, at its first point within the budget.

    Where that fails, by the recipe's smallest batch. What is trained lies in the folder `run` meanwhile, which all
    nodes of a cluster see. A worker that hangs is waited for until no seconds are left.

    Raises:
        WarmUpFailedError: each of them failed.
        LoraloomError: what would befall every trial of a model.
    """
    where = _Where.at(place, executor, seconds_left, run)
    smallest = min(place.recipe.values("train.per_device_train_batch_size"))
    found, loading, left_out = [], 0.0, {}
    for kind, configuration in place.demands.fitting().items():
        smaller = configuration.with_fields(train={"per_device_train_batch_size": smallest})
        try:
            try:
                cold, timed = _at_second_try(where, configuration)
            except _FailedError:
                if smaller == configuration:
                    raise
                cold, timed = _at_second_try(where, smaller)
        except _FailedError as error:
            left_out[kind] = str(error)
            continue
        found.append(timed)
        loading = max(loading, min(cold.beside_seconds, LONGEST_LOADING))
    if left_out and not found:
        raise WarmUpFailedError(left_out)
    return WarmedUp(tuple(found), loading, left_out)


def quietest(measure: Callable[[], T], seconds_left: float) -> T:
    """What `measure` finds, which is done again where other programs had the cores meanwhile, as while one starts.

    Threads wait for each other then, and a row is many times as dear as a moment later. Of several it is the one that
    waited least, but for what failed (None, or an error): another program may have taken the memory. Where other
    processes train nothing is seen of that, and it is done once.

    Raises:
        WarmUpFailedError: the first one failed.
    """
    start, found = time.monotonic(), list[tuple[bool, float, T]]()
    while True:
        waited, begun = waited_seconds(), time.monotonic()
        try:
            one = measure()
        except WarmUpFailedError:
            if not found:
                raise
            break
        now = time.monotonic()
        share = (waited_seconds() - waited) / max(now - begun, 1e-9)
        found.append((one is None, share, one))
        if share <= MOST_WAITED or now - start > min(LONGEST_AGAIN, AGAIN_SHARE * seconds_left):
            break
    return min(found, key=itemgetter(0, 1))[2]


def measure_one(
    place: Workplace, executor: Executor, configuration: Configuration, seconds_left: float, run: Path
) -> Measured | None:
    """Measures one more configuration of a model that was measured; None where that fails: its trial will say why."""
    with suppress(_FailedError):
        return _cold_and_timed(_Where.at(place, executor, seconds_left, run), configuration)[1]
    return None


def _at_second_try(where: _Where, configuration: Configuration) -> tuple[Measured, Measured]:
    """As `_cold_and_timed`; where its process dies another one takes its place, which is cold too."""
    with suppress(_LostError):
        return _cold_and_timed(where, configuration)
    return _cold_and_timed(where, configuration)


def _cold_and_timed(where: _Where, configuration: Configuration) -> tuple[Measured, Measured]:
    """A job that loads the weights, and one of `where.seconds` after it."""
    batch, seconds = configuration.train.per_device_train_batch_size, where.seconds
    cold = _time(where, configuration, min(COLD_BATCHES * batch, TRAIN_ROWS), None)
    encoding = where.place.encoding_seconds(configuration)
    row = max(cold.prefix_row_seconds, cold.eval_row_seconds if cold.layers else 0.0) + encoding
    rows = min(TRAIN_ROWS, max(COLD_BATCHES * batch, int(FILLED_SHARE * seconds / row))) if row else TRAIN_ROWS
    timed = _time(where, configuration, rows, seconds)
    return cold, replace(timed, encode_row_seconds=encoding)


def _time(where: _Where, configuration: Configuration, train_rows: int, seconds: float | None) -> Measured:
    """Trains on `train_rows` rows for `seconds` at most, or once; `TRAIN_ROWS` rows pass in all."""
    place, executor = where.place, where.executor
    classes = len(place.data.labels)
    # A job that is not timed is evaluated for the states alone, where some are kept: the timed one has them then.
    eval_rows = EVAL_ROWS if seconds is not None or configuration.lora.layers_to_transform is not None else 1
    part = {"max_train_samples": max(train_rows, classes), "max_eval_samples": max(eval_rows, classes)}
    epochs = 1 if seconds is None else TRAIN_ROWS // train_rows
    changes = {"num_train_epochs": epochs, "learning_rate": HARMLESS_RATE, "eval_strategy": "end"}
    configuration = configuration.with_fields(data=part, train=changes)
    heard: list[Evaluation] = []

    def listen(job: Job, evaluation: Evaluation) -> bool:
        del job
        heard.append(evaluation)
        return True

    with tempfile.TemporaryDirectory(
        dir=where.run, prefix=".warm-up-", suffix=".new", ignore_cleanup_errors=True
    ) as folder:  # a worker that was given up may write yet; what is left goes when the run is gone on with
        job = place.job(-1, configuration, Path(folder), noted=False)
        start = time.monotonic()
        executor.start([job if seconds is None else replace(job, deadline=start + seconds)])
        finished = executor.wait(listen, never, lambda: where.end)
        passed = time.monotonic() - start
    if finished.lost is not None:
        raise _LostError(finished.lost)
    (outcome,) = finished.outcomes
    if outcome.timings is None or not heard:
        raise _FailedError(outcome.reason or NOT_ENDED)
    return measured(
        configuration,
        outcome.timings,
        passed,
        train_rows=len(job.rows.train),
        eval_rows=len(job.rows.validation),
        passes=heard[-1].epoch,
        evaluated=len(heard),
    )
