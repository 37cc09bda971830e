"""What a pool does about workers that say nothing; those that do are tests/execute/test_executors.py's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loraloom.engine import Job, Outcome, Rows, never
from loraloom.execute.messages import Ended, Order, Ready, Report, Train
from loraloom.execute.pool import Link, Pool
from loraloom.recipe import Configuration
from tests.execute.engines import COUNTS, SOURCE, rows


@dataclass(slots=True)
class _Worker:
    """A worker whose words the test writes."""

    name: str
    ready_at: float
    hangs: bool
    ready: bool = False
    ended: bool = False
    words: list[Report] = field(default_factory=list)

    def send(self, order: Order, rows: Mapping[int, Rows]) -> None:
        if isinstance(order, Train) and not self.hangs:
            self.words.append(Ended(tuple(Outcome("nothing", "complete", "fp32", COUNTS) for _ in order.jobs)))

    def end(self) -> None:
        self.ended = True


class _Fleet:
    where = "here"

    def __init__(self, *, slow_seconds: float = 0.0, hang: bool = False) -> None:
        """Its workers begin so many seconds late, and end nothing where they `hang`."""
        self.workers: list[_Worker] = []
        self._slow_seconds, self._hang = slow_seconds, hang

    def capacity(self) -> int:
        return 2

    def begin(self) -> Link:
        worker = _Worker(f"worker {len(self.workers)}", time.monotonic() + self._slow_seconds, self._hang)
        self.workers.append(worker)
        return worker

    def receive(self, links: Sequence[Link], seconds: float) -> Sequence[tuple[Link, Report]]:
        said: list[tuple[Link, Report]] = []
        for worker in self.workers:
            if not worker.ready and time.monotonic() >= worker.ready_at:
                worker.ready = True
                said.append((worker, Ready()))
            elif worker.words:
                said.append((worker, worker.words.pop(0)))
        time.sleep(0 if said else min(seconds, 0.01))
        return said

    def close(self) -> None: ...


def _job(folder: Path, number: int) -> Job:
    configuration = Configuration.model_validate({"train": {"bf16": False}})
    return Job(number, configuration, SOURCE, rows(), folder / str(number), 1, None)


def test_workers_that_hang_are_ended_when_the_time_is_over(tmp_path: Path) -> None:
    fleet, said = _Fleet(hang=True), list[str]()
    pool = Pool(fleet, said.append)
    for number in range(2):
        pool.start([_job(tmp_path, number)])
    began = time.monotonic()
    ended = [pool.wait(lambda *_: True, never, began + 0.2) for _ in range(2)]
    assert 0.2 <= time.monotonic() - began < 10
    assert [one.outcomes[0].state for one in ended] == ["stopped", "stopped"]
    assert all(worker.ended for worker in fleet.workers)
    assert said == [
        f"worker {number} has not ended in time, and is ended; its trials are left as they are" for number in range(2)
    ]


def test_a_pack_s_time_begins_when_its_worker_gets_it(tmp_path: Path) -> None:
    pool, job, started = Pool(_Fleet(slow_seconds=0.3), lambda _: None), _job(tmp_path, 0), time.monotonic()
    pool.start([job])
    finished = pool.wait(lambda *_: True, never)
    assert finished.outcomes[0].state == "complete"
    assert finished.began is not None
    assert finished.began - started >= 0.3
