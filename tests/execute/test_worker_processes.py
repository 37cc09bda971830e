"""Worker processes that can't begin, are killed, closed, or outlive who started them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraloom.engine import Job, Rows, device
from loraloom.engine.job import LESS_MEMORY
from loraloom.errors import LoraloomError, MissingExtraError
from loraloom.execute.messages import (
    Died,
    Order,
    Ready,
    Report,
    SentJob,
    Train,
)
from loraloom.execute.pool import Pool
from loraloom.execute.worker import serve
from loraloom.execute.workers import END_SECONDS, WorkerProcesses
from loraloom.study.record import Evaluation
from tests.commands import Commands
from tests.execute.engines import NothingEngine, job_of, rows
from tests.execute.running import go_on, never, run


@pytest.mark.parametrize(("workers", "advice"), [(1, LESS_MEMORY), (2, "use fewer --workers")])
def test_what_killed_a_process_is_said(tmp_path: Path, workers: int, advice: str) -> None:
    executor = Pool(WorkerProcesses(workers, NothingEngine, 1), print)
    try:
        lost = run(executor, [job_of(tmp_path, 0, rows(), "die")]).lost or ""
        assert lost.endswith(f": it was killed (SIGKILL); where memory ran out, {advice}")
    finally:
        executor.close()


def test_a_process_that_no_signal_ends_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one in a call to a disk that answers no more, which the driver that gives it up must not hang over."""
    worker, wait = WorkerProcesses(1, NothingEngine, 1).begin(), subprocess.Popen.wait
    begun: list[Any] = []

    def waits(process: Any, timeout: float | None = None) -> int:
        begun.append(process)
        assert timeout == END_SECONDS
        raise subprocess.TimeoutExpired("worker", timeout)

    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "wait", waits)
        worker.end()
    wait(*begun)


def no_engine() -> Any:
    raise MissingExtraError("this engine", "dev")


def broken_engine() -> Any:
    sys.exit(3)


@pytest.mark.parametrize(
    ("make_engine", "said"),
    [(no_engine, "needs the extra 'dev'"), (broken_engine, "ended before it could begin: it ended with exit code 3")],
)
def test_workers_that_can_not_begin_end_the_run(tmp_path: Path, make_engine: Callable[[], Any], said: str) -> None:
    executor = Pool(WorkerProcesses(1, make_engine, 1), print)
    executor.start([job_of(tmp_path, 0, rows())])
    try:
        with pytest.raises(LoraloomError, match=said):
            executor.wait(go_on, never)
    finally:
        executor.close()


def test_a_pack_whose_worker_has_not_begun_is_stopped_at_once(tmp_path: Path) -> None:
    executor = Pool(WorkerProcesses(1, NothingEngine, 1), print)
    executor.start([job_of(tmp_path, 0, rows())])
    assert executor.wait(go_on, lambda: True).outcomes[0].state == "stopped"
    executor.close()


def test_close_ends_workers_that_are_training(tmp_path: Path) -> None:
    executor = Pool(WorkerProcesses(1, NothingEngine, 1), print)
    job = job_of(tmp_path, 0, rows(), "until stopped")

    class _HeardError(Exception):
        pass

    def listener(job: Job, evaluation: Evaluation) -> bool:
        raise _HeardError

    with pytest.raises(_HeardError):
        run(executor, [job], listener)
    executor.close()
    assert gone(int((job.folder / "pid").read_text()))


DRIVER = """
import os, sys
from pathlib import Path
from loraloom.execute.pool import Pool
from loraloom.execute.workers import WorkerProcesses
from tests.commands import Commands
from tests.execute.engines import NothingEngine, job_of, rows
executor = Pool(WorkerProcesses(1, NothingEngine, 1), print)
executor.start([job_of(Path(sys.argv[1]), 0, rows(), "until stopped")])
executor.wait(lambda job, evaluation: print("heard", flush=True) or True, lambda: False)
"""


def test_no_worker_outlives_a_driver_that_is_killed(commands: Commands, tmp_path: Path) -> None:
    with commands.start(tmp_path, code=DRIVER) as driver:
        assert driver.line() == "heard"
    worker = int((tmp_path / "0000" / "pid").read_text())
    until = time.monotonic() + 30
    while not gone(worker) and time.monotonic() < until:
        time.sleep(0.02)
    assert gone(worker)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class _Orders:
    """A worker's line, whose orders are there from the beginning; what it says is kept."""

    def __init__(self, *orders: Order, of: Rows) -> None:
        self._orders, self._rows = list(orders), of
        self.said: list[Report] = []

    def send(self, report: Report) -> None:
        self.said.append(report)

    def receive(self) -> tuple[Order, dict[int, Rows]]:
        return self._orders.pop(0), {0: self._rows}

    def waiting(self) -> bool:
        return False


def test_a_worker_whose_gpu_is_lost_says_so_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "device_is_lost", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Tesla T4")
    of = rows()
    line = _Orders(Train(0, (SentJob.of(job_of(tmp_path, 0, of, "crash"), 0),)), of=of)
    serve(line, NothingEngine)
    why = "the GPU answers this process no more: RuntimeError: a product went wrong"
    assert line.said == [Ready("Tesla T4"), Died(why)]
