"""What runs in a worker: one engine, kept between packs (loom keeps its frozen backbone), that does as it is told.

A worker trains as `InProcess` does, with a driver at the other end of a line: each evaluation is sent and waits for the
verdict. Torch is imported by the engine alone, after the process has its share of cores and its GPU.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Protocol

from loraloom.engine import Engine, Job, Listener, Rows
from loraloom.errors import DeviceLostError, LoraloomError, RunError
from loraloom.execute.in_process import InProcess
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
    Train,
    Verdict,
)
from loraloom.machine import read_machine
from loraloom.study.durable import disk_is_full
from loraloom.study.record import Evaluation


class Line(Protocol):
    """The worker's end of what joins it to the driver."""

    def send(self, report: Report) -> None: ...

    def receive(self) -> tuple[Order, Mapping[int, Rows]]:
        """The next order, with rows that it speaks of and the worker has not; blocks. EOFError: there is no driver."""
        ...

    def waiting(self) -> bool:
        """Whether `receive` would return at once."""
        ...


def serve(line: Line, make_engine: Callable[[], Engine]) -> None:
    """Does what the driver asks for until it is gone, or the worker's GPU is lost."""
    try:
        worker = _Worker(line, make_engine())
    except LoraloomError as error:
        line.send(Raised.of(error))
        return
    line.send(Ready(_device()))
    while True:
        try:
            order = worker.receive()
        except (EOFError, ConnectionError):
            return
        match order:
            case Advise():
                line.send(worker.advise(order))
            case Train():
                try:
                    line.send(worker.train(order))
                except DeviceLostError as error:
                    line.send(Died(str(error)))
                    return
            case Verdict() | Halt():
                """It crossed the pack's end."""


class _Worker:
    """The state of a worker: its engine, the rows it was given, and which packs are to end."""

    def __init__(self, line: Line, engine: Engine) -> None:
        self._line, self._engine = line, engine
        self._executor = InProcess(engine, self._note)
        self._rows: dict[int, Rows] = {}
        self._halted = -1
        self._pack = 0

    def receive(self) -> Order:
        order, rows = self._line.receive()
        self._rows.update(rows)
        if isinstance(order, Halt):
            self._halted = max(self._halted, order.pack)
        return order

    def advise(self, order: Advise) -> Report:
        try:
            from loraloom.engine.precision import choose_dtype

            return Advice(
                self._engine.pack_size(order.source, order.configuration), choose_dtype(order.configuration.train)
            )
        except (LoraloomError, OSError) as error:
            return Raised.of(error)

    def train(self, order: Train) -> Report:
        jobs = tuple(sent.job(self._rows[sent.rows]) for sent in order.jobs)
        self._pack = order.pack
        for job in jobs:
            if not job.folder.is_dir():
                where = f"{job.folder}: is not there on {socket.gethostname()}"
                return Raised.of(RunError(f"{where}; a run's folder must be on a disk that all nodes share"))
        try:
            self._executor.start(jobs)
            finished = self._executor.wait(self._hear(jobs), self._stop)
            return Ended(finished.outcomes) if finished.lost is None else Lost(finished.lost)
        except (LoraloomError, OSError) as error:
            return Raised.of(error)
        except Exception as error:
            if not disk_is_full(error):
                raise
            return Raised.of(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))  # as the system says it

    def _hear(self, jobs: tuple[Job, ...]) -> Listener:
        places = {job.number: place for place, job in enumerate(jobs)}

        def listener(job: Job, evaluation: Evaluation) -> bool:
            self._line.send(Evaluated(places[job.number], evaluation))
            while not isinstance(order := self.receive(), Verdict):
                """A wish to stop, of which `receive` has taken note."""
            return order.goes_on

        return listener

    def _stop(self) -> bool:
        while self._line.waiting():
            self.receive()
        return self._halted >= self._pack

    def _note(self, sentence: str) -> None:
        self._line.send(Noted(sentence))


def _device() -> str:
    """The GPU's name, or the processor's; an engine that has not imported torch has no use for a GPU."""
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return read_machine().cpu
