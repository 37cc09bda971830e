"""One of eight in a pack runs out of memory, is killed, diverges or crashes: it alone is recorded as failed."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import loraloom
from loraloom import pipeline
from loraloom.engine import Engine, Job, Listener, Outcome
from loraloom.engine.loom import LoomEngine
from loraloom.execute.executor import Executor
from loraloom.execute.in_process import Chosen
from loraloom.execute.placement import Placement, make_executor
from loraloom.execute.pool import Pool
from loraloom.execute.workers import WorkerProcesses
from loraloom.study.run import Run
from tests.execute.forked import fork_workers

pytestmark = pytest.mark.usefixtures("no_report")

CULPRIT, TOGETHER = 3, 8
RANKS = "lora.r=" + ",".join(str(rank) for rank in range(1, TOGETHER + 1))


class _KilledError(BaseException):
    """Ends a process, as far as a test can end with its own."""


class Eight:
    """The loom engine, for packs of eight; the culprit does what is asked of it once its pack is under way."""

    name = "loom"

    def __init__(self, does: str) -> None:
        self._engine: Engine = LoomEngine()
        self._does = does
        self.packs: list[list[int]] = []

    def pack_size(self, *_: Any) -> int:
        return TOGETHER

    def train_pack(self, jobs: Sequence[Job], listener: Listener, *rest: Any) -> tuple[Outcome, ...]:
        self.packs.append([job.number for job in jobs])

        def listen(job: Job, evaluation: Any) -> bool:
            if job.number == CULPRIT:
                self._act()
            return listener(job, evaluation)

        return self._engine.train_pack([self._spoilt(job) for job in jobs], listen, *rest)

    def _spoilt(self, job: Job) -> Job:
        """With a learning rate that a recipe would be refused for, where the culprit is to diverge."""
        if job.number != CULPRIT or self._does != "diverge":
            return job
        return replace(job, configuration=job.configuration.with_fields(train={"learning_rate": 1e30}))

    def _act(self) -> None:
        match self._does:
            case "crash":
                raise ZeroDivisionError("a product went wrong")
            case "run out of memory":
                raise MemoryError("no room for 3 GB")
            case "end the run":
                raise _KilledError
            case "be killed":
                os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory is short


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, rows_file: Path) -> Path:
    """The same eight trials one after another."""
    out = tmp_path_factory.mktemp("alone") / "run"
    loraloom.search(_recipe(tiny_model, rows_file), out, overrides=[RANKS], report=False)
    return out


def _recipe(model: Path, rows: Path) -> dict[str, Any]:
    return {
        "data": {"train_file": str(rows), "max_length": 16, "max_train_samples": 40},
        "backbone": {"model": str(model)},
        "train": {"num_train_epochs": 2, "per_device_train_batch_size": 8, "bf16": False},
    }


def _search(recipe: dict[str, Any], out: Path, patch: pytest.MonkeyPatch, engine: Eight, *overrides: str) -> None:
    patch.setattr(pipeline, "choose_engine", lambda *_, **__: Chosen(engine, "it is the test's"))
    loraloom.search(recipe, out, overrides=overrides)


def _neighbours_are_equal(run: Path, other: Path) -> bool:
    names = [f"trials/{number:04d}/adapter_model.safetensors" for number in range(TOGETHER) if number != CULPRIT]
    return all((run / name).read_bytes() == (other / name).read_bytes() for name in names)


def _states(run: Path) -> list[str]:
    return [record.state for record in sorted(Run(run).records(), key=lambda record: record.number)]


ONE_FAILED = ["failed" if number == CULPRIT else "complete" for number in range(TOGETHER)]


def test_one_of_eight_that_crashes_is_tried_once_more_alone_and_its_neighbours_are_not_touched(
    tiny_model: Path,
    rows_file: Path,
    alone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, out = Eight("crash"), tmp_path / "run"
    _search(_recipe(tiny_model, rows_file), out, monkeypatch, engine, RANKS)
    assert engine.packs == [list(range(TOGETHER)), *([number] for number in range(TOGETHER))]
    assert _states(out) == ONE_FAILED
    assert Run(out).records()[CULPRIT].reason == "ZeroDivisionError: a product went wrong"
    assert _neighbours_are_equal(out, alone)


def test_one_of_eight_that_the_kernel_kills_takes_its_worker_along_and_no_neighbour(
    tiny_model: Path, rows_file: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def executor(_: Any, __: Any, ___: Any, note: Any, **____: Any) -> Pool:
        return Pool(WorkerProcesses(1, partial(Eight, "be killed"), 1), note)

    fork_workers(monkeypatch)
    monkeypatch.setattr(pipeline, "make_executor", executor)
    _search(_recipe(tiny_model, rows_file), out, monkeypatch, Eight("nothing"), RANKS)
    assert _states(out) == ONE_FAILED
    assert "SIGKILL" in str(Run(out).records()[CULPRIT].reason)
    assert _neighbours_are_equal(out, alone)


def test_one_of_eight_that_the_kernel_kills_with_the_run_ends_it_twice_and_then_a_worker(
    tiny_model: Path, rows_file: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def executor(placement: Placement, *about: Any, **more: Any) -> Executor:
        if placement.workers is None:
            return make_executor(placement, *about, **more)
        return Pool(WorkerProcesses(1, partial(Eight, "be killed"), 1), about[2])

    fork_workers(monkeypatch)
    monkeypatch.setattr(pipeline, "make_executor", executor)
    with pytest.raises(_KilledError):
        _search(_recipe(tiny_model, rows_file), out, monkeypatch, Eight("end the run"), RANKS)
    with pytest.raises(_KilledError):
        loraloom.resume(out)
    loraloom.resume(out)
    assert _states(out) == ONE_FAILED
    assert "SIGKILL" in str(Run(out).records()[CULPRIT].reason)
    assert _neighbours_are_equal(out, alone)


@pytest.mark.parametrize(
    ("does", "advice"), [("diverge", "lower train.learning_rate"), ("run out of memory", "lower the batch size")]
)
def test_one_of_eight_that_fails_is_tried_once_more_alone_and_its_neighbours_are_not_touched(
    tiny_model: Path,
    rows_file: Path,
    alone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    does: str,
    advice: str,
) -> None:
    engine, out = Eight(does), tmp_path / "run"
    _search(_recipe(tiny_model, rows_file), out, monkeypatch, engine, RANKS)
    assert engine.packs == [list(range(TOGETHER)), [CULPRIT]]
    assert _states(out) == ONE_FAILED
    assert advice in str(Run(out).records()[CULPRIT].reason)
    assert _neighbours_are_equal(out, alone)
