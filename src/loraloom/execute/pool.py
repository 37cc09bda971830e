"""Workers as an executor: who trains which pack, what each says, and who is gone. How they are reached is a `Fleet`'s.

Each worker has one pack at a time. A worker is begun when a pack finds none idle, and one that died is not missed: the
next pack begins another. All that workers say is heard within `wait`, in the driver's thread, so that a verdict costs
a round trip and nothing is decided in two places. Rejected: verdicts that a worker does not wait for where the recipe
has no pruner; the round trip is a thousandth of an evaluation.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from loraloom.backbone.sources import Source
from loraloom.engine import Job, Listener, Rows, in_type, memory_key, never
from loraloom.engine.job import take_fewer
from loraloom.errors import LoraloomError
from loraloom.execute.executor import Finished, endless
from loraloom.execute.messages import (
    Advice,
    Advise,
    Died,
    Ended,
    Evaluated,
    Halt,
    Lost,
    Noted,
    Order,
    Raised,
    Ready,
    Report,
    SentJob,
    Train,
    Verdict,
    stopped,
    without_texts,
)
from loraloom.recipe import Configuration
from loraloom.study.record import Dtype
from loraloom.wording import plural

HEED_SECONDS = 0.1
"""How often a wish to stop is looked for while workers train."""
PLACING_SECONDS = 30.0
"""A worker that has not begun by then waits for room that a cluster has given to others, and does not count."""
ATTEMPTS = 3
"""How many workers may die of a question."""


class Link(Protocol):
    """The driver's end of what joins it to one worker."""

    name: str

    def send(self, order: Order, rows: Mapping[int, Rows]) -> None:
        """Sends an order with rows that the worker has not yet; to a worker that is gone, nothing happens."""
        ...

    def end(self) -> None:
        """Ends the worker at once."""
        ...


class Fleet(Protocol):
    """A kind of workers: how many there may be, how one is begun, and what they say."""

    where: str
    """How many there are, and what each has: see `Executor.where`."""

    def capacity(self) -> int:
        """How many workers there is room for now, those that are there included."""
        ...

    def begin(self) -> Link: ...

    def receive(self, links: Sequence[Link], seconds: float) -> Sequence[tuple[Link, Report]]:
        """What workers have said, each the oldest that was not received; waits for `seconds` at most."""
        ...

    def close(self) -> None:
        """Gives back what was taken besides workers."""
        ...


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker as the driver knows it."""

    link: Link
    ready: bool = False
    pack: int | None = None
    jobs: tuple[Job, ...] = ()
    held: set[int] = field(default_factory=set)
    halted: bool = False
    begun: float = field(default_factory=time.monotonic)
    sent: float | None = None
    """When it was sent its pack, which it may have got later than the pack was started."""

    @property
    def waits_for_room(self) -> bool:
        return not self.ready and time.monotonic() - self.begun > PLACING_SECONDS


class Pool:
    """An executor: gives each pack to a worker of its own."""

    def __init__(self, fleet: Fleet, note: Callable[[str], None]) -> None:
        self._fleet, self._note = fleet, note
        self._workers: list[_Worker] = []
        self._ended: deque[Finished] = deque()
        self._rows: list[tuple[Rows, Rows]] = []  # as the driver has them, and as they travel
        self._sizes: dict[tuple[Hashable, ...], int] = {}
        self._auto: Dtype | None = None
        self._devices: list[str] = []
        self._packs = 0
        self._told_to_wait = False
        self._noted: set[str] = set()

    def pack_size(
        self,
        source: Source,
        configuration: Configuration,
        listener: Listener | None = None,
        stop: Callable[[], bool] = never,
    ) -> int:
        """As a worker's engine says, which knows the machine that trains; fewer where memory did not suffice."""
        key = memory_key(configuration)
        if key not in self._sizes:
            advice = self._ask(source, configuration, listener, stop)
            if advice is None:
                return 1
            self._learn(configuration, advice)
        return self._sizes[key]

    @property
    def where(self) -> str:
        """As the fleet says."""
        return self._fleet.where

    @property
    def slots(self) -> int:
        """As many as the fleet has room for workers now."""
        return max(1, self._capacity())

    def room(self) -> bool:
        """Whether a worker is idle or can be begun; one pack is taken whatever the fleet has, and waits for room."""
        busy = sum(worker.pack is not None for worker in self._workers)
        return busy == 0 or busy < self._capacity()

    def start(self, jobs: Sequence[Job]) -> None:
        """Gives a pack to an idle worker, or to a new one, which gets it when it has begun."""
        worker = self._idle()
        worker.pack, worker.jobs, worker.halted = self._packs, tuple(jobs), False
        self._packs += 1
        if worker.ready:
            self._send(worker)

    def wait(self, listener: Listener, stop: Callable[[], bool], until: Callable[[], float] = endless) -> Finished:
        """Hears workers until a pack has ended; see `Executor.wait`."""
        while not self._ended:
            if stop():
                self._halt()
            for worker, report in self._receive():
                self._take(worker, report, listener)
            if not self._ended and time.monotonic() >= until():
                self._give_up()
        return self._ended.popleft()

    def close(self) -> None:
        """Ends every worker at once; what it was training goes on from its checkpoint."""
        for worker in self._workers:
            worker.link.end()
        self._workers.clear()
        self._fleet.close()

    def _capacity(self) -> int:
        return self._fleet.capacity() - sum(worker.waits_for_room for worker in self._workers)

    def _idle(self) -> _Worker:
        """A worker that has no pack, one that has begun where there is such a one; else a new one."""
        idle = [worker for worker in self._workers if worker.pack is None]
        if not idle:
            self._workers.append(_Worker(self._fleet.begin()))
            return self._workers[-1]
        return next((worker for worker in idle if worker.ready), idle[0])

    def _ask(
        self, source: Source, configuration: Configuration, listener: Listener | None, stop: Callable[[], bool]
    ) -> Advice | None:
        """Waits for the advice of a worker that has no pack, the first that is ready; None where `stop` says so.

        There may be no room for a new one, for as long as a cluster has others; those that train are heard meanwhile.

        Raises:
            LoraloomError: one worker after another died of it.
        """
        asked, died = None, list[str]()
        while len(died) < ATTEMPTS:
            if stop():
                if asked is not None:  # its answer, if it comes, would be taken for one to another question
                    self._workers.remove(asked)
                    asked.link.end()
                return None
            if asked is None and (worker := self._idle()).ready:
                worker.link.send(Advise(source, configuration), {})
                asked = worker
            advice = None
            for worker, report in self._receive():
                if isinstance(report, Advice) and worker is asked:
                    advice = report
                    continue
                if isinstance(report, Died) and worker.pack is None:
                    died.append(report.why)
                self._take(worker, report, listener)
            if advice is not None:
                return advice
            if asked not in self._workers:
                asked = None
        raise LoraloomError(
            f"{ATTEMPTS} workers died when they were asked how to train {source.model!r}; the last: {died[-1]}"
        )

    def _receive(self) -> list[tuple[_Worker, Report]]:
        if not self._told_to_wait and any(worker.waits_for_room for worker in self._workers):
            self._told_to_wait = True
            why = "a cluster has given its room to others, or its libraries load slowly"
            self._note(f"a worker has not begun after {PLACING_SECONDS:g} s, and is waited for: {why}")
        by_link = {id(worker.link): worker for worker in self._workers}
        reports = self._fleet.receive([worker.link for worker in self._workers], HEED_SECONDS)
        return [(by_link[id(link)], report) for link, report in reports]

    def _take(self, worker: _Worker, report: Report, listener: Listener | None) -> None:
        match report:
            case Ready(device):
                worker.ready = True
                self._meet(device)
                if worker.pack is not None:
                    self._send(worker)
            case Evaluated(place, evaluation):
                assert listener is not None
                worker.link.send(Verdict(listener(worker.jobs[place], evaluation)), {})
            case Noted(sentence):
                if sentence not in self._noted:  # of what a machine lacks each of its workers tells
                    self._noted.add(sentence)
                    self._note(sentence)
            case Advice():
                self._learn(worker.jobs[0].configuration, report)
                self._send(worker)
            case Ended(outcomes):
                ended = zip(worker.jobs, outcomes, strict=True)
                take_fewer(self._sizes, [job for job, outcome in ended if outcome.lacked_memory])
                self._end(worker, Finished(worker.jobs, outcomes, began=worker.sent))
            case Lost(why):
                self._end(worker, Finished(worker.jobs, lost=why))
            case Died(why):
                self._bury(worker, why)
            case Raised():
                worker.pack, worker.jobs = None, ()
                raise report.error

    def _meet(self, device: str) -> None:
        """Says, once, where workers train on unlike devices."""
        if device not in self._devices:
            self._devices.append(device)
            if len(self._devices) == 2:
                unlike = "workers train on unlike devices, {} and {}".format(*self._devices)
                measured = "what train.bf16: auto means and how many trials are trained together"
                self._note(f"{unlike}: {measured} is measured on one of them")

    def _end(self, worker: _Worker, finished: Finished) -> None:
        worker.pack, worker.jobs, worker.sent = None, (), None
        self._ended.append(finished)
        if worker in self._workers and worker.ready:
            self._take_over(worker)

    def _take_over(self, worker: _Worker) -> None:
        """Gives an idle worker the pack of one that has not begun, which may never do so."""
        for other in self._workers:
            if other.pack is not None and not other.ready:
                worker.pack, worker.jobs, worker.halted = other.pack, other.jobs, False
                other.pack, other.jobs = None, ()
                self._send(worker)
                return

    def _bury(self, worker: _Worker, why: str) -> None:
        """Lets a worker that is gone go, and its pack be lost.

        Raises:
            LoraloomError: it never began, and no other ever did: all would end so.
        """
        self._workers.remove(worker)
        worker.link.end()
        if not worker.ready and not self._devices:
            raise LoraloomError(f"{worker.link.name} ended before it could begin: {why}")
        if worker.pack is not None:
            self._end(worker, Finished(worker.jobs, lost=f"{worker.link.name}: {why}"))

    def _halt(self) -> None:
        """Asks every pack to end, once; one whose worker has not begun ends as it is.

        That they are waited for is said: a worker may hang, or be in a step that takes long.
        """
        asked = 0
        for worker in list(self._workers):
            if worker.pack is None or worker.halted:
                continue
            worker.halted = True
            if worker.ready:
                worker.link.send(Halt(worker.pack), {})
                asked += 1
            else:
                self._drop(worker)
        if asked:
            waiting = f"waiting for {plural(asked, 'worker')} to save what is trained, after the step"
            self._note(f"{waiting}; a second Ctrl-C or SIGTERM ends the run at once")

    def _give_up(self) -> None:
        """Ends workers whose packs have not ended in time: one that hangs does not keep the others' results."""
        for worker in [worker for worker in self._workers if worker.pack is not None]:
            done = "ended" if worker.ready else "begun"
            self._note(f"{worker.link.name} has not {done} in time, and is ended; its trials are left as they are")
            self._drop(worker)

    def _drop(self, worker: _Worker) -> None:
        """Ends a worker; its pack goes on from where it is with another command."""
        self._workers.remove(worker)
        worker.link.end()
        self._end(worker, Finished(worker.jobs, stopped(worker.jobs)))

    def _learn(self, configuration: Configuration, advice: Advice) -> None:
        key = memory_key(configuration)
        self._sizes[key] = min(advice.trials, self._sizes.get(key, advice.trials))  # one may have failed by now
        if configuration.train.number_type is None:
            self._auto = self._auto or advice.dtype

    def _send(self, worker: _Worker) -> None:
        """Sends a worker its pack; where none has measured what `train.bf16: auto` means, it is asked that first."""
        assert worker.pack is not None
        first = worker.jobs[0]
        if self._auto is None and first.configuration.train.number_type is None:
            worker.link.send(Advise(first.source, first.configuration), {})
            return
        jobs, rows = [], {}
        for job in worker.jobs:
            key = self._key(job.rows)
            if key not in worker.held:
                rows[key] = self._rows[key][1]
                worker.held.add(key)
            # what `train.bf16: auto` means is measured once, not anew by each worker
            told = replace(job, configuration=in_type(job.configuration, self._auto))
            jobs.append(SentJob.of(told, key))
        worker.sent = time.monotonic()
        worker.link.send(Train(worker.pack, tuple(jobs)), rows)

    def _key(self, rows: Rows) -> int:
        for key, (known, _) in enumerate(self._rows):
            if known is rows:
                return key
        self._rows.append((rows, without_texts(rows)))
        return len(self._rows) - 1
