"""What the warm-up times: trainings in a simulated executor, whose clock is the test's."""

from __future__ import annotations

import errno
import math
import os
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loraloom.engine.job import OUT_OF_MEMORY
from loraloom.errors import LoraloomError
from loraloom.execute import warm_up as warm_up_module
from loraloom.execute.executor import Finished
from loraloom.execute.warm_up import (
    LONGEST_LOADING,
    NOT_ENDED,
    TRAIN_ROWS,
    WarmUpFailedError,
    measure_one,
    quietest,
    warm_up,
)
from loraloom.recipe import Configuration, read_recipe
from loraloom.search.costs import cost_key
from loraloom.study.durable import mend_folders
from loraloom.study.record import Timings

STATE, ROW, EVALUATED = 0.02, 0.005, 0.004
"""Seconds for a row's states of frozen layers, for a row and pass, and for a validated row."""


@dataclass(frozen=True, slots=True)
class _Job:
    configuration: Configuration
    rows: Any
    deadline: float | None = None


class Simulated:
    """An executor and a workplace: states first, as far as time allows, then steps of 16 rows, at least one."""

    def __init__(
        self,
        *,
        keeps: bool,
        encoded: float = 0.0,
        lost: Collection[int] = (),
        hangs: Collection[int] = (),
        lengths: Collection[int] = (128,),
        batches: Sequence[int] = (16,),
        too_much: float = math.inf,
        layers: str | None = "top-half",
        loads: Sequence[float] = (),
    ) -> None:
        """`lost` are the jobs, by their order, of which the worker dies, `hangs` those that end when they are given up.

        `too_much` are tokens of a batch.

        `loads` are the seconds before a job's training, of those without a deadline by their order.
        """
        self.now, self._keeps, self._encoded, self._lost, self._too_much = 0.0, keeps, encoded, lost, too_much
        self._hangs = hangs
        self.jobs: list[Any] = []
        self._loads = list(loads)
        train = {"per_device_train_batch_size": list(batches)}
        self.recipe = read_recipe({"lora": {"layers_to_transform": layers}, "train": train})
        first = self.recipe.configuration({})
        fitting = {("m", length): first.with_fields(data={"max_length": length}) for length in lengths}
        self.demands = SimpleNamespace(fitting=lambda: fitting)
        self.data = SimpleNamespace(labels=("no", "yes"))

    def encoding_seconds(self, configuration: Configuration) -> float:
        del configuration
        return self._encoded

    def job(self, number: int, configuration: Configuration, folder: Path, *, noted: bool) -> _Job:
        del number, folder
        assert not noted
        data = configuration.data
        rows = SimpleNamespace(train=range(data.max_train_samples or 0), validation=range(data.max_eval_samples or 0))
        return _Job(configuration, rows)

    def start(self, jobs: list[Any]) -> None:
        self.jobs += jobs

    def wait(self, listen: Any, stop: Any, until: Any) -> Finished:
        del stop
        job, begun = self.jobs[-1], self.now
        if len(self.jobs) - 1 in self._hangs:
            self.now = until()
            given_up: Any = SimpleNamespace(timings=None, reason=None)
            return Finished((job,), (given_up,))
        rows, left = len(job.rows.train), 1e9 if job.deadline is None else job.deadline - begun
        if job.deadline is None and self._loads:
            self.now += self._loads.pop(0)
        computed = min(rows, int(left / STATE)) if self._keeps else 0
        left -= computed * STATE
        passed = min(rows * job.configuration.train.num_train_epochs, max(16, int(left / ROW)))
        seconds = passed * ROW + len(job.rows.validation) * EVALUATED
        self.now += computed * STATE + seconds
        timings = Timings(
            seconds=seconds,
            train_seconds=passed * ROW,
            examples_per_second=1 / ROW,
            prefix_seconds=computed * STATE,
            prefix_rows=computed if self._keeps else None,
        )
        listen(job, SimpleNamespace(epoch=passed / rows))
        if len(self.jobs) - 1 in self._lost:
            return Finished((job,), lost="worker 1: was killed")
        data, train = job.configuration.data, job.configuration.train
        if data.max_length * train.per_device_train_batch_size >= self._too_much:
            failed: Any = SimpleNamespace(timings=None, reason=OUT_OF_MEMORY)
            return Finished((job,), (failed,))
        outcome: Any = SimpleNamespace(timings=timings, reason=None)
        return Finished((job,), (outcome,))


@pytest.mark.parametrize(
    ("waits", "left", "then", "times"),
    [
        ([0.05], 100, 0, 1),  # of a second each: a twentieth is nothing
        ([0.5, 0.0], 100, 1, 2),  # another program started
        ([0.5, 0.3, 0.4, 0.6, 0.0], 20, 1, 4),  # it stays for longer than 3 s: the one that waited least
        ([0.5, 0.0], 5, 0, 1),  # there is no time for another
    ],
)
def test_what_was_measured_while_others_had_the_cores_is_measured_again(
    waits: list[float], left: float, then: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = waited = 0.0
    done: list[int] = []

    def measure() -> int:
        nonlocal now, waited
        now, waited = now + 1.0, waited + waits[len(done)]
        done.append(len(done))
        return done[-1]

    monkeypatch.setattr(warm_up_module, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(warm_up_module, "waited_seconds", lambda: waited)
    assert (quietest(measure, left), len(done)) == (then, times)


@pytest.mark.parametrize("failed", [None, WarmUpFailedError({("m", 128): OUT_OF_MEMORY})])
def test_what_can_not_be_measured_again_counts_as_it_was(
    failed: WarmUpFailedError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the program that took the cores has taken the memory by then."""
    now = waited = 0.0
    tries: list[int | WarmUpFailedError | None] = [1, failed]

    def measure() -> int | None:
        nonlocal now, waited
        now, waited = now + 1.0, waited + 0.5 * len(tries) - 0.5  # the second one waits for nobody
        if isinstance(found := tries.pop(0), WarmUpFailedError):
            raise found
        return found

    monkeypatch.setattr(warm_up_module, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(warm_up_module, "waited_seconds", lambda: waited)
    assert (quietest(measure, 100), tries) == (1, [])
    tries = [failed]
    if failed is None:
        assert quietest(measure, 100) is None
    else:
        with pytest.raises(WarmUpFailedError):
            quietest(measure, 100)


@pytest.mark.parametrize(("seconds_left", "keeps"), [(20, True), (70, True), (3600, True), (3600, False)])
def test_the_timed_job_has_as_many_rows_as_can_have_their_states_in_half_of_its_time_and_two_batches_at_least(
    seconds_left: int, keeps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated: Any = Simulated(keeps=keeps)
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    (found,) = warm_up(simulated, simulated, seconds_left, tmp_path).measured
    assert found.train_row_seconds == pytest.approx(ROW)
    assert found.prefix_row_seconds == pytest.approx(STATE if keeps else 0)
    cold, timed = simulated.jobs
    assert len(cold.rows.train) == 32
    rows = len(timed.rows.train)
    assert rows == (TRAIN_ROWS if not keeps else {20: 32, 70: 52, 3600: 100}[seconds_left])
    assert rows * timed.configuration.train.num_train_epochs == pytest.approx(TRAIN_ROWS, rel=0.05)


def test_a_folder_that_can_not_be_removed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a worker that was given up writes to it yet; it is one that a run which is gone on with removes."""

    def busy(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    simulated: Any = Simulated(keeps=False)
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", busy)
        assert len(warm_up(simulated, simulated, 70, tmp_path).measured) == 1
    assert len(list(tmp_path.iterdir())) == 2
    mend_folders(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("layers", "rows"), [("top-half", 96), (None, 2)])
def test_the_job_that_loads_the_model_is_evaluated_on_many_rows_only_for_their_states(
    layers: str | None, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated: Any = Simulated(keeps=layers is not None, layers=layers)
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    (found,) = warm_up(simulated, simulated, 70, tmp_path).measured
    assert [len(job.rows.validation) for job in simulated.jobs] == [rows, 96]
    assert found.eval_row_seconds == pytest.approx(EVALUATED)


@pytest.mark.parametrize(("loads", "longest"), [((5, 3), 5), ((3, 5), 5), ((5, 400), LONGEST_LOADING)])
def test_the_longest_loading_is_known_but_for_what_is_done_once(
    loads: tuple[int, int], longest: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept for the winner's test, which fetches nothing."""
    simulated: Any = Simulated(keeps=True, lengths=(512, 128), loads=loads)
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    assert warm_up(simulated, simulated, 3600, tmp_path).loading_seconds == pytest.approx(longest)


@pytest.mark.parametrize(("encoded", "rows"), [(0.0001, TRAIN_ROWS), (0.02, 100)])
def test_of_long_texts_fewer_have_their_token_ids_made_and_what_that_takes_is_measured(
    encoded: float, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated: Any = Simulated(keeps=False, encoded=encoded)
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    (found,) = warm_up(simulated, simulated, 3600, tmp_path).measured
    assert found.encode_row_seconds == pytest.approx(encoded)
    assert found.train_row_seconds == pytest.approx(ROW)
    assert found.beside_seconds == pytest.approx(0)  # made before, they are no part of a trial's time
    assert len(simulated.jobs[-1].rows.train) == rows


@pytest.mark.parametrize(("lost", "rows"), [(0, [32, 32, 52]), (1, [32, 52, 32, 52])])
def test_where_a_worker_dies_another_begins_with_what_loads_the_model(
    lost: int, rows: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated: Any = Simulated(keeps=True, lost=(lost,))
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    (found,) = warm_up(simulated, simulated, 70, tmp_path).measured
    assert found.train_row_seconds == pytest.approx(ROW)
    assert [len(job.rows.train) for job in simulated.jobs] == rows


@pytest.mark.parametrize(("lost", "row"), [((), ROW), ((1,), None)])
def test_one_more_configuration_is_measured_alone_and_is_none_where_that_fails(
    lost: tuple[int, ...], row: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated: Any = Simulated(keeps=False, lost=lost)
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    every_layer = simulated.recipe.configuration({}).with_fields(lora={"layers_to_transform": None})
    found = measure_one(simulated, simulated, every_layer, 70, tmp_path)
    assert (found and found.key) == (row and cost_key(every_layer))
    assert (found and found.train_row_seconds) == (row and pytest.approx(row))
    assert simulated.now < 5
    assert list(tmp_path.iterdir()) == []


def test_a_warm_up_of_which_two_workers_die_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated: Any = Simulated(keeps=True, lost=(1, 2))
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    with pytest.raises(LoraloomError, match=r"the warm-up failed: m at data\.max_length=128: worker 1: was killed"):
        warm_up(simulated, simulated, 70, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hangs", [0, 1])
def test_a_worker_that_hangs_is_waited_for_as_long_as_there_is_time(
    hangs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated: Any = Simulated(keeps=True, hangs=(hangs,))
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    with pytest.raises(WarmUpFailedError, match=rf"m at data\.max_length=128: {NOT_ENDED}$"):
        warm_up(simulated, simulated, 70, tmp_path)
    assert simulated.now == 70
    assert list(tmp_path.iterdir()) == []


def test_a_length_that_memory_does_not_suffice_for_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated: Any = Simulated(keeps=False, lengths=(512, 128), too_much=16 * 512)
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    found = warm_up(simulated, simulated, 70, tmp_path)
    assert [one.max_length for one in found.measured] == [128]
    assert found.left_out == {("m", 512): OUT_OF_MEMORY}
    assert list(tmp_path.iterdir()) == []


def test_a_length_of_which_two_workers_die_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated: Any = Simulated(keeps=False, lengths=(512, 128), lost=(0, 1))
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    found = warm_up(simulated, simulated, 70, tmp_path)
    assert [one.max_length for one in found.measured] == [128]
    assert found.left_out == {("m", 512): "worker 1: was killed"}


def test_where_memory_does_not_suffice_the_smallest_batch_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated: Any = Simulated(keeps=False, batches=(32, 8, 16), too_much=32 * 128)
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    found = warm_up(simulated, simulated, 70, tmp_path)
    assert [one.batch for one in found.measured] == [8]
    assert not found.left_out


def test_a_warm_up_that_can_measure_nothing_names_models_and_lengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated: Any = Simulated(keeps=False, lengths=(512, 128), too_much=1)
    monkeypatch.setattr(time, "monotonic", lambda: simulated.now)
    said = f"the warm-up failed: m at data.max_length=512, m at data.max_length=128: {OUT_OF_MEMORY}"
    with pytest.raises(WarmUpFailedError, match=re.escape(said)):
        warm_up(simulated, simulated, 70, tmp_path)
