"""Asks a server on this machine, and times its answers; starts the server, and reads what it takes.

One process asks all, by connections that it keeps: clients that each ask again as soon as they are answered
(`closed_loop`), or requests that come at random times (`open_loop`).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CONNECTIONS = 512
"""Of the client whose requests come whether others are answered or not."""
Ask = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Load:
    """What requests met: seconds of each that was answered 200, of each that was refused by 503, and in all.

    `broken` requests lost their connection before an answer, `breaks` counts them by how; `unsent` ones were due while
    no connection was free.
    """

    answered: tuple[float, ...]
    refused: tuple[float, ...]
    seconds: float
    breaks: Mapping[str, int] = field(default_factory=dict)
    unsent: int = 0

    @property
    def broken(self) -> int:
        return sum(self.breaks.values())

    @property
    def rate(self) -> float:
        return len(self.answered) / self.seconds

    def percentile(self, share: float, *, of_refused: bool = False) -> float:
        """Milliseconds that so many per cent took at most."""
        times = self.refused if of_refused else self.answered
        return float(np.percentile(times, share) * 1000) if times else float("nan")

    def as_json(self) -> dict[str, Any]:
        return {
            "per_second": round(self.rate, 1),
            "p50_ms": round(self.percentile(50), 2),
            "p99_ms": round(self.percentile(99), 2),
            "answered": len(self.answered),
            "refused": len(self.refused),
            "broken": self.broken,
            "breaks": dict(self.breaks),
            "unsent": self.unsent,
            "refused_p99_ms": round(self.percentile(99, of_refused=True), 2) if self.refused else None,
        }


class Connection:
    """A kept connection, opened anew where the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.was_kept = False
        """Whether the last request went by a connection that had brought an answer before."""

    async def ask(self, request: bytes) -> int:
        """Sends a request and reads its answer; returns the status."""
        if self._streams is not None and self._streams[0].at_eof():  # idle for longer than the server keeps it
            self.close()
        self.was_kept = self._streams is not None
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    opened = [Connection(port) for _ in range(count)]
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


async def closed_loop(port: int, ask: Ask, clients: int, seconds: float, status: int = 200) -> Load:
    """Each client asks again as soon as it is answered, always by this status.

    The first request of each opens its connection, and is not in the load.
    """
    number = itertools.count()
    answered: list[float] = []
    async with connections(port, clients) as opened:
        for each in opened:
            await each.ask(ask(next(number)))
        began = time.monotonic()

        async def go(own: Connection) -> None:
            while (sent := time.monotonic()) < began + seconds:
                if (found := await own.ask(ask(next(number)))) != status:
                    raise RuntimeError(f"a request of a closed loop was answered {found}, not {status}")
                answered.append(time.monotonic() - sent)

        await asyncio.gather(*(go(each) for each in opened))
        return Load(tuple(answered), (), time.monotonic() - began)


async def open_loop(port: int, ask: Ask, per_second: float, seconds: float) -> Load:
    """Requests come at random times, whether others are answered or not; a time counts from when it was due."""
    generator, number = random.Random(7), itertools.count()  # noqa: S311
    answered: list[float] = []
    refused: list[float] = []
    breaks: Counter[str] = Counter()
    unsent = 0
    async with connections(port, CONNECTIONS) as opened:
        free = list(opened)
        began = due = time.monotonic()
        tasks: set[asyncio.Task[None]] = set()

        async def go(own: Connection, since: float) -> None:
            try:
                status = await own.ask(ask(next(number)))
            except (OSError, asyncio.IncompleteReadError) as error:
                own.close()
                breaks[f"{type(error).__name__}, {'kept' if own.was_kept else 'new'} connection"] += 1
                return
            finally:
                free.append(own)
            (answered if status == 200 else refused).append(time.monotonic() - since)

        while due < began + seconds:
            due += generator.expovariate(per_second)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if free:
                tasks.add(task := asyncio.create_task(go(free.pop(), due)))
                task.add_done_callback(tasks.discard)
            else:
                unsent += 1
        await asyncio.gather(*tasks)
        return Load(tuple(answered), tuple(refused), time.monotonic() - began, breaks, unsent)


@contextmanager
def serving(command: Sequence[str], port: int) -> Iterator[int]:
    """A server in a process of its own; gives its process id."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not asyncio.run(_is_up(port)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command[:4])} did not start")
            time.sleep(0.2)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # LitServe's workers outlive it


async def _is_up(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def request(path: str, body: Any) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
    )
    return head.encode() + b"\r\n\r\n" + content


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def memory_mb(pid: int) -> float:
    """Resident memory of a process, with what it shares with others."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def processor_seconds(pid: int) -> float:
    """Of all threads of a process, since it began."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
