"""Worker processes on this machine, each with its share of the cores and its GPU.

    python -m loraloom.execute.workers FD      a worker; FD is its end of a socket to the driver

Each is a new interpreter: nothing is inherited but its environment, so that threads and GPUs are settled before torch
is imported (2 s; rejected: multiprocessing's spawn, which runs an unguarded script anew in each worker, and fork, after
which torch's threads hang). Rows are sent once to each: 25 MB for 120,000 texts of 53 tokens, a tenth of the backbone
that a worker holds (rejected: shared memory, of which many containers have 64 MB).

Workers are deaf to the signals that end a run, which a terminal or SLURM sends to all, from their first moment on: the
driver says when to stop. Their standard input is a pipe from the driver that nothing is written to: it ends when the
driver does, also by kill -9, and they with it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait

from loraloom.collecting import expect_libraries
from loraloom.deaf import begun_deaf, stay_deaf
from loraloom.engine import Engine, Rows
from loraloom.engine.job import LESS_MEMORY
from loraloom.execute.messages import Died, Order, Report
from loraloom.execute.pool import Link
from loraloom.machine import THREADS

END_SECONDS = 10
"""How long a killed process may take to be gone."""


class WorkerProcesses:
    """A fleet of at most `count` processes."""

    def __init__(self, count: int, make_engine: Callable[[], Engine], threads: int, gpus: Sequence[str] = ()) -> None:
        """
        Args:
            count: how many there are at most.
            make_engine: what makes a worker's engine; a module's function, or a partial of one.
            threads: for each.
            gpus: as CUDA_VISIBLE_DEVICES names them; workers take turns, several may have the same.
        """
        self._count, self._make_engine, self._threads, self._gpus = count, make_engine, threads, gpus
        self._places: dict[int, _Process] = {}
        self.where = f"{count} worker processes, {threads} threads each"

    def capacity(self) -> int:
        """As many as were asked for."""
        return self._count

    def begin(self) -> Link:
        """Begins a worker in the first place that is free, which decides on its GPU."""
        place = next(place for place in itertools.count() if not self._taken(place))
        environment = os.environ | {
            **dict.fromkeys(THREADS, str(self._threads)),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[place % len(self._gpus)]
        advice = "use fewer --workers" if self._count > 1 else LESS_MEMORY
        self._places[place] = _Process(environment, self._make_engine, advice)
        return self._places[place]

    def _taken(self, place: int) -> bool:
        return place in self._places and not self._places[place].ended

    def receive(self, links: Sequence[Link], seconds: float) -> Sequence[tuple[Link, Report]]:
        """The oldest report of each worker that has one."""
        asked = {id(link) for link in links}
        processes = [process for process in self._places.values() if id(process) in asked]
        ready = set(map(id, wait([process.connection for process in processes], seconds)))
        return [(process, process.report()) for process in processes if id(process.connection) in ready]

    def close(self) -> None:
        """Nothing is left but processes, which the pool ends."""


class _Process:
    """A worker process, as its driver has it."""

    def __init__(self, environment: Mapping[str, str], make_engine: Callable[[], Engine], advice: str) -> None:
        """`advice` is what to do where memory ran out."""
        ours, theirs = socket.socketpair()
        with theirs, begun_deaf():
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                env=environment,
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.connection = Connection(ours.detach())
        self.name = f"worker process {self._process.pid}"
        self.ended, self._advice = False, advice
        with contextlib.suppress(OSError):
            self.connection.send(make_engine)

    def send(self, order: Order, rows: Mapping[int, Rows]) -> None:
        """A process that is gone is found so by `report`."""
        with contextlib.suppress(OSError):
            self.connection.send((order, rows))

    def report(self) -> Report:
        """What it said, or that it is gone: its end of the connection is its alone."""
        try:
            report: Report = self.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return Died(self._how_it_ended())
        return report

    def end(self) -> None:
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # in a call that no signal ends, as to a disk that is gone
            self._process.wait(END_SECONDS)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.connection.close()
        self.ended = True

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "it closed its connection"
        if code == -signal.SIGKILL:
            return f"it was killed (SIGKILL); where memory ran out, {self._advice}"
        if code < 0:
            return f"it was killed ({signal.Signals(-code).name})"
        return f"it ended with exit code {code}"


class _Line:
    """The worker's end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, report: Report) -> None:
        self._connection.send(report)

    def receive(self) -> tuple[Order, Mapping[int, Rows]]:
        order: tuple[Order, Mapping[int, Rows]] = self._connection.recv()
        return order

    def waiting(self) -> bool:
        return self._connection.poll()


def _end_with_the_driver() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def main() -> None:
    """A worker process."""
    stay_deaf()
    expect_libraries()
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    from loraloom.execute.worker import serve

    connection = Connection(int(sys.argv[1]))
    serve(_Line(connection), connection.recv())


if __name__ == "__main__":
    main()
