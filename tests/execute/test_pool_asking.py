"""What a pool asks its workers before it trains, and what it does where there is no room for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from loraloom.engine import Job, Outcome
from loraloom.engine.job import OUT_OF_MEMORY
from loraloom.errors import LoraloomError
from loraloom.execute.messages import (
    Advice,
    Advise,
    Died,
    Ended,
    Evaluated,
    Order,
    Ready,
    Report,
    Train,
    Verdict,
)
from loraloom.execute.pool import Pool
from loraloom.study.record import Evaluation
from tests.execute.engines import COUNTS, SOURCE, job_of, rows
from tests.execute.running import go_on, never


class _Told:
    """A fleet of one worker, which is ready, and says what the test has it say."""

    name, where = "a worker of the test's", "in the test"

    def __init__(self) -> None:
        self.says: list[Report] = [Ready("a processor")]
        self.asked: list[int] = []

    def capacity(self) -> int:
        return 1

    def begin(self) -> _Told:
        return self

    def receive(self, *_: Any) -> list[tuple[_Told, Report]]:
        return [(self, self.says.pop(0))] if self.says else []

    def send(self, order: Order, _: Any) -> None:
        if isinstance(order, Advise):
            self.asked.append(order.configuration.train.per_device_train_batch_size)
            self.says.append(Advice(8, "fp32"))

    def end(self) -> None:
        """There is no process."""

    def close(self) -> None:
        """Nothing was taken."""


def test_a_workers_advice_is_for_trials_of_one_batch_and_halved_where_memory_did_not_suffice(
    tmp_path: Path,
) -> None:
    worker, of = _Told(), rows()
    pool, jobs = Pool(worker, print), [job_of(tmp_path, number, of) for number in (0, 1)]
    other = jobs[1].configuration.with_fields(train={"per_device_train_batch_size": 128})
    jobs[1] = replace(jobs[1], configuration=other)
    for job in (*jobs, *jobs):
        pool.pack_size(SOURCE, job.configuration)
    assert worker.asked == [16, 128]
    for reason, sizes in (("the loss is not finite", [8, 8]), (f"{OUT_OF_MEMORY}, or less", [1, 1])):
        pool.start(jobs)
        worker.says.append(Ended((Outcome("nothing", "failed", "fp32", COUNTS, reason),) * 2))
        pool.wait(go_on, never)
        assert [pool.pack_size(SOURCE, job.configuration) for job in jobs] == sizes
    assert worker.asked == [16, 128]


class _Dying(_Told):
    """A fleet whose workers begin, and die of the question."""

    def __init__(self) -> None:
        super().__init__()
        self.says, self.begun = list[Report](), 0

    def begin(self) -> _Told:
        self.says.append(Ready("a processor"))
        self.begun += 1
        return self

    def send(self, order: Order, _: Any) -> None:
        self.says.append(Died(f"worker {self.begun} was killed"))


def test_why_workers_die_that_are_asked_is_said(tmp_path: Path) -> None:
    pool = Pool(fleet := _Dying(), print)
    with pytest.raises(LoraloomError, match=r"3 workers .* how to train 'nothing'; the last: worker 3 was killed"):
        pool.pack_size(SOURCE, job_of(tmp_path, 0, rows()).configuration)
    assert fleet.begun == 3


class _NoRoom:
    """A fleet on a cluster that has no room for its workers: none ever says anything."""

    name, where = "a worker that waits for room", "nowhere"

    def capacity(self) -> int:
        return 1

    def begin(self) -> _NoRoom:
        return self

    def receive(self, *_: Any) -> tuple[()]:
        return ()

    def send(self, *_: Any) -> None:
        raise AssertionError("it was not ready")

    def end(self) -> None:
        """There is no process."""

    def close(self) -> None:
        """Nothing was taken."""


def test_a_wish_to_stop_is_heeded_while_a_workers_advice_is_waited_for(tmp_path: Path) -> None:
    pool = Pool(_NoRoom(), print)
    assert pool.pack_size(SOURCE, job_of(tmp_path, 0, rows()).configuration, go_on, lambda: True) == 1
    assert not pool._sizes  # which is no advice


class _Said:
    """A worker of a `_Crowded` fleet: what it was told, and what it is to say."""

    name = "a worker of the test's"

    def __init__(self, *says: Report) -> None:
        self.says, self.told = list(says), list[Order]()

    def send(self, order: Order, _: Any) -> None:
        self.told.append(order)
        if isinstance(order, Advise):
            self.says.append(Advice(len(self.told), "fp32"))

    def end(self) -> None:
        """There is no process."""


class _Crowded:
    """A cluster that has room for two workers, of which others have taken that for the second."""

    where = "on a cluster"

    def __init__(self) -> None:
        self.links: list[_Said] = []

    def capacity(self) -> int:
        return 2

    def begin(self) -> _Said:
        self.links.append(_Said(Ready("a processor")) if not self.links else _Said())
        return self.links[-1]

    def receive(self, links: Sequence[Any], seconds: float) -> list[tuple[Any, Report]]:
        return [(link, link.says.pop(0)) for link in links if link.says]

    def close(self) -> None:
        """Nothing was taken."""


def _crowded(folder: Path) -> tuple[_Crowded, Pool, list[Job]]:
    """A pool whose first worker trains the first of three jobs, of which each is to be asked for; the second waits."""
    fleet, of = _Crowded(), rows()
    jobs = []
    for number in range(3):
        job = job_of(folder, number, of)
        other = job.configuration.with_fields(train={"per_device_train_batch_size": 2 ** (4 + number)})
        jobs.append(replace(job, configuration=other))
    pool = Pool(fleet, print)
    pool.pack_size(SOURCE, jobs[0].configuration)
    pool.start(jobs[:1])
    return fleet, pool, jobs


def test_workers_that_train_are_heard_while_one_that_there_is_no_room_for_is_to_be_asked(tmp_path: Path) -> None:
    fleet, pool, jobs = _crowded(tmp_path)
    heard: list[int] = []

    def listener(job: Job, evaluation: Evaluation) -> bool:
        heard.append(job.number)
        return True

    first = fleet.links[0]
    first.says += [Evaluated(0, cast(Any, None)), Ended((Outcome("nothing", "complete", "fp32", COUNTS),))]
    assert pool.room()
    assert pool.pack_size(SOURCE, jobs[1].configuration, listener) > 0  # by the first, which has ended its pack
    assert heard == [0]
    assert [type(order) for order in first.told] == [Advise, Train, Verdict, Advise]
    assert (len(fleet.links), fleet.links[1].told) == (2, [])
    assert pool.wait(listener, never).jobs == (jobs[0],)


def test_a_pack_that_waits_for_room_is_trained_by_the_first_worker_that_ends_its_own(tmp_path: Path) -> None:
    fleet, pool, jobs = _crowded(tmp_path)
    pool.start(jobs[1:2])
    assert not pool.room()
    complete = Ended((Outcome("nothing", "complete", "fp32", COUNTS),))
    fleet.links[0].says += [complete, complete]
    assert [pool.wait(go_on, never).jobs[0].number for _ in range(2)] == [0, 1]


def test_a_worker_that_there_is_no_room_for_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, pool, jobs = _crowded(tmp_path)
    wishes = iter([False, True])
    assert pool.pack_size(SOURCE, jobs[1].configuration, go_on, lambda: next(wishes)) == 1
    assert (pool.room(), pool.slots) == (True, 2)
    monkeypatch.setattr("loraloom.execute.pool.PLACING_SECONDS", -1.0)
    assert (pool.room(), pool.slots) == (False, 1)
    fleet.links[1].says.append(Ready("a processor"))
    fleet.links[0].says.append(Ended((Outcome("nothing", "complete", "fp32", COUNTS),)))
    pool.wait(go_on, never)
    assert (pool.room(), pool.slots) == (True, 2)
