"""What a pool does about workers that say nothing or are not alike; what it asks them is in test_pool_asking.py."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from loraloom.engine import Job, Outcome, Rows, never
from loraloom.engine.job import OUT_OF_MEMORY
from loraloom.execute.messages import Advice, Advise, Ended, Noted, Order, Ready, Report, Train
from loraloom.execute.pool import Link, Pool
from loraloom.recipe import Configuration
from tests.execute.engines import COUNTS, SOURCE, rows


@dataclass(slots=True)
class _Worker:
    """A worker whose words the test writes."""

    name: str
    ready_at: float
    hangs: bool
    most: int
    device: str
    done: int
    answers: bool
    ready: bool = False
    ended: bool = False
    words: list[Report] = field(default_factory=list)
    told: list[Order] = field(default_factory=list)

    def send(self, order: Order, rows: Mapping[int, Rows]) -> None:
        self.told.append(order)
        if isinstance(order, Advise) and self.answers:
            self.words.append(Advice(8, "fp32"))
        elif isinstance(order, Train) and not self.hangs:
            complete = Outcome("nothing", "complete", "fp32", COUNTS)
            failed = Outcome("nothing", "failed", "fp32", COUNTS, OUT_OF_MEMORY)
            count = len(order.jobs)
            done = count if count <= self.most else self.done
            self.words.append(Ended((complete,) * done + (failed,) * (count - done)))

    def end(self) -> None:
        self.ended = True


class _Fleet:
    where = "here"

    def __init__(
        self,
        *,
        slow_seconds: float = 0.0,
        hang: bool = False,
        most: Sequence[int] = (8, 8),
        devices: Sequence[str] = ("a GPU", "a GPU"),
        done: int = 0,
        answers: bool = True,
    ) -> None:
        """Its workers begin so many seconds late, end nothing where they `hang`, and have memory for `most` trials.

        Of a pack of more, `done` have ended when memory does not suffice for the others. Asked, they may hang too.
        """
        self.workers: list[_Worker] = []
        self._done, self._answers = done, answers
        self._slow_seconds, self._hang, self._most, self._devices = slow_seconds, hang, most, devices

    def capacity(self) -> int:
        return 2

    def begin(self) -> Link:
        number, ready_at = len(self.workers), time.monotonic() + self._slow_seconds
        worker = _Worker(
            f"worker {number}",
            ready_at,
            self._hang,
            self._most[number],
            self._devices[number],
            self._done,
            self._answers,
        )
        self.workers.append(worker)
        return worker

    def receive(self, links: Sequence[Link], seconds: float) -> Sequence[tuple[Link, Report]]:
        said: list[tuple[Link, Report]] = []
        for worker in self.workers:
            if not worker.ready and time.monotonic() >= worker.ready_at:
                worker.ready = True
                said.append((worker, Ready(worker.device)))
            elif worker.words:
                said.append((worker, worker.words.pop(0)))
        time.sleep(0 if said else min(seconds, 0.01))
        return said

    def close(self) -> None: ...


def _job(folder: Path, number: int) -> Job:
    configuration = Configuration.model_validate({"train": {"bf16": False}})
    return Job(number, configuration, SOURCE, rows(), folder / str(number), 1, None)


def _job_of_any_type(folder: Path, number: int) -> Job:
    return replace(_job(folder, number), configuration=Configuration())


def test_workers_that_hang_are_ended_when_the_time_is_over(tmp_path: Path) -> None:
    fleet, said = _Fleet(hang=True), list[str]()
    pool = Pool(fleet, said.append)
    for number in range(2):
        pool.start([_job(tmp_path, number)])
    began = time.monotonic()
    ended = [pool.wait(lambda *_: True, never, lambda: began + 0.2) for _ in range(2)]
    assert 0.2 <= time.monotonic() - began < 10
    assert [one.outcomes[0].state for one in ended] == ["stopped", "stopped"]
    assert all(worker.ended for worker in fleet.workers)
    assert said == [
        f"worker {number} has not ended in time, and is ended; its trials are left as they are" for number in range(2)
    ]


def test_a_worker_that_has_not_begun_when_the_time_is_over_is_said_to_have_not(tmp_path: Path) -> None:
    said = list[str]()
    pool = Pool(_Fleet(slow_seconds=60), said.append)
    pool.start([_job(tmp_path, 0)])
    end = time.monotonic() + 0.1
    assert pool.wait(lambda *_: True, never, lambda: end).outcomes[0].state == "stopped"
    assert said == ["worker 0 has not begun in time, and is ended; its trials are left as they are"]


def test_a_worker_is_asked_what_the_type_of_its_pack_is_once_and_trains_it(tmp_path: Path) -> None:
    fleet = _Fleet()
    pool, jobs = Pool(fleet, lambda _: None), [_job_of_any_type(tmp_path, number) for number in range(2)]
    for job in jobs:
        pool.start([job])
        assert pool.wait(lambda *_: True, never).outcomes[0].state == "complete"
    assert pool.pack_size(SOURCE, jobs[0].configuration) == 8
    (worker,) = fleet.workers
    trained = [order.jobs[0].values["configuration"].train for order in worker.told if isinstance(order, Train)]
    assert [type(order) for order in worker.told] == [Advise, Train, Train]
    assert [train.number_type for train in trained] == ["fp32", "fp32"]


def test_workers_that_hang_over_a_question_are_ended_when_the_time_is_over(tmp_path: Path) -> None:
    fleet, job = _Fleet(answers=False), _job_of_any_type(tmp_path, 0)
    pool = Pool(fleet, lambda _: None)

    def asked() -> bool:
        return any(worker.told for worker in fleet.workers)

    assert pool.pack_size(SOURCE, job.configuration, None, asked) == 1
    assert fleet.workers[0].ended
    pool.start([job])
    end = time.monotonic() + 0.1
    assert pool.wait(lambda *_: True, never, lambda: end).outcomes[0].state == "stopped"
    assert [worker.ended for worker in fleet.workers] == [True, True]


def test_an_end_may_come_nearer_while_workers_are_waited_for(tmp_path: Path) -> None:
    pool = Pool(_Fleet(hang=True), lambda _: None)
    pool.start([_job(tmp_path, 0)])
    ends = iter([math.inf, time.monotonic() + 60])
    assert pool.wait(lambda *_: True, never, lambda: next(ends, 0.0)).outcomes[0].state == "stopped"


def test_that_workers_are_waited_for_when_a_stop_is_asked_is_said_once(tmp_path: Path) -> None:
    fleet, said = _Fleet(hang=True), list[str]()
    pool = Pool(fleet, said.append)
    for number in range(2):
        pool.start([_job(tmp_path, number)])
    end = time.monotonic() + 0.3
    pool.wait(lambda *_: True, lambda: all(worker.ready for worker in fleet.workers), lambda: end)
    assert said[0] == (
        "waiting for 2 workers to save what is trained, after the step; a second Ctrl-C or SIGTERM ends the run at once"
    )
    assert sum("waiting" in sentence for sentence in said) == 1


def test_what_each_worker_tells_alike_is_said_once(tmp_path: Path) -> None:
    fleet, said = _Fleet(), list[str]()
    pool = Pool(fleet, said.append)
    for number in range(2):
        pool.start([_job(tmp_path, number)])
    for worker in fleet.workers:
        worker.words.append(Noted("engine: no compiler"))
    for _ in range(2):
        pool.wait(lambda *_: True, never)
    assert said == ["engine: no compiler"]


def test_a_result_that_has_come_when_the_time_is_over_is_taken(tmp_path: Path) -> None:
    fleet, said = _Fleet(), list[str]()
    pool = Pool(fleet, said.append)
    for number in range(2):
        pool.start([_job(tmp_path, number)])
        ended = pool.wait(lambda *_: True, never, partial(float, time.monotonic() + 60 * (1 - number)))
        assert ended.outcomes[0].state == "complete"
    assert not said
    assert not any(worker.ended for worker in fleet.workers)


@pytest.mark.parametrize("patience", [0.05, 30.0])
def test_that_workers_do_not_begin_for_long_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """As where a cluster is full: a search would else say nothing for hours."""
    monkeypatch.setattr("loraloom.execute.pool.PLACING_SECONDS", patience)
    said = list[str]()
    pool = Pool(_Fleet(slow_seconds=0.3), said.append)
    for number in range(2):
        pool.start([_job(tmp_path, number)])
    for _ in range(2):
        pool.wait(lambda *_: True, never)
    assert len(said) == (patience < 1)
    assert all(sentence.startswith("a worker has not begun after 0.05 s, and is waited for") for sentence in said)


def test_a_pack_s_time_begins_when_its_worker_gets_it(tmp_path: Path) -> None:
    pool, job, started = Pool(_Fleet(slow_seconds=0.3), lambda _: None), _job(tmp_path, 0), time.monotonic()
    pool.start([job])
    finished = pool.wait(lambda *_: True, never)
    assert finished.outcomes[0].state == "complete"
    assert finished.began is not None
    assert finished.began - started >= 0.3


def _train_by_both(pool: Pool, jobs: Sequence[Job]) -> None:
    """Has each of two workers begin and train a trial."""
    for job in jobs[:2]:
        pool.start([job])
    for _ in range(2):
        pool.wait(lambda *_: True, never)


def test_a_pack_that_one_worker_had_no_memory_for_is_as_large_for_no_other(tmp_path: Path) -> None:
    pool, jobs = Pool(_Fleet(most=(8, 4)), lambda _: None), [_job(tmp_path, number) for number in range(16)]
    _train_by_both(pool, jobs)
    size = pool.pack_size(SOURCE, jobs[0].configuration)
    for pack in (jobs[:size], jobs[size:]):
        pool.start(pack)
    states = sorted(pool.wait(lambda *_: True, never).outcomes[0].state for _ in range(2))
    assert (size, states) == (8, ["complete", "failed"])
    assert pool.pack_size(SOURCE, jobs[0].configuration) == 4


@pytest.mark.parametrize(("done", "size"), [(5, 1), (7, 8)])
def test_packs_are_half_as_large_as_what_memory_did_not_suffice_for(tmp_path: Path, done: int, size: int) -> None:
    pool, jobs = Pool(_Fleet(most=(4, 4), done=done), lambda _: None), [_job(tmp_path, number) for number in range(8)]
    pool.start(jobs)
    pool.wait(lambda *_: True, never)
    assert pool.pack_size(SOURCE, jobs[0].configuration) == size


@pytest.mark.parametrize(("other", "notes"), [("a GPU", 0), ("another", 1)])
def test_workers_on_unlike_devices_are_said_to_be_so(tmp_path: Path, other: str, notes: int) -> None:
    said: list[str] = []
    pool = Pool(_Fleet(devices=("a GPU", other)), said.append)
    _train_by_both(pool, [_job(tmp_path, number) for number in range(2)])
    assert [note.partition(":")[0] for note in said] == ["workers train on unlike devices, a GPU and another"] * notes
