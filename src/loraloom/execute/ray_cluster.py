"""Workers on a Ray cluster: actors, each with a share of a node's CPUs, GPUs and memory, that keep their engine.

Ray places them and says when one is gone; it repeats nothing, since the driver begins a lost pack again from its
checkpoint, which is why the run folder must be on a disk that all nodes share. Rows go into the object store once, and
from there to each node once: its workers read the same memory. Frozen layers' states are kept in each node's cache
folder, once for all its workers.

Rejected: a task for each pack, which would load the backbone anew for each (Ray ends a task's process where it has a
GPU); frozen layers' states in the object store, a third of a node's memory, when they are larger than all of it.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from loraloom.engine import Engine, Rows
from loraloom.errors import LoraloomError, MissingExtraError, first_line, in_a_line, without_path
from loraloom.execute.messages import Died, Order, Report
from loraloom.execute.pool import Link
from loraloom.machine import THREADS

ANSWER_SECONDS = 10.0
"""How long a cluster's head may take to answer."""
EXACT = 1e-4
"""What Ray counts resources in."""
MOST_SAID = 300
"""Characters of what Ray says of a worker's end."""
_ACCELERATOR = "accelerator_type:"
"""How a node's resources begin that name its kind of GPU."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker takes of its node."""

    cpus: int
    gpus: float
    memory_bytes: int

    def times_in(self, node: Mapping[str, float]) -> int:
        """How many workers a node with these resources takes; a part of a GPU is of one GPU."""
        wanted = {"CPU": self.cpus, "memory": self.memory_bytes}
        times = [math.floor(node.get(name, 0.0) / amount + EXACT) for name, amount in wanted.items() if amount]
        if self.gpus:
            times.append(math.floor(node.get("GPU", 0.0) + EXACT) * math.floor(1 / self.gpus + EXACT))
        return min(times)


def plan_share(
    nodes: Sequence[Mapping[str, float]], workers: int | None, gpus: float | None, memory_gb: float
) -> Share:
    """A worker's share of these nodes.

    With GPUs, that is `gpus` of one (a whole one by default) and its part of the cores. Without, it is as many cores as
    leave room for `workers` workers; by default each node is one worker.

    Raises:
        LoraloomError: no node has so much.
    """
    memory = math.ceil(memory_gb * 1e9)
    each = gpus if gpus is not None else float(any(node.get("GPU") for node in nodes))
    cores = [math.floor(node.get("CPU", 0.0)) for node in nodes]
    if each:
        packs = map(Share(1, each, memory).times_in, nodes)
        parts = [core // many for core, many in zip(cores, packs, strict=True) if many]
    elif workers is None:
        parts = [core for core in cores if core]
    else:
        sizes = range(max(cores, default=0), 0, -1)
        room = (part for part in sizes if sum(Share(part, 0, memory).times_in(node) for node in nodes) >= workers)
        parts = [next(room, 1)]
    share = Share(max(1, min(parts, default=1)), each, memory)
    if not any(share.times_in(node) for node in nodes):
        gpu = f", {each:g} of a GPU" if each else ""
        raise LoraloomError(
            f"--ray: no node of the cluster has a core{gpu} and {memory_gb:.1f} GB of memory, as a pack is estimated "
            f"to need; see ray status"
        )
    return share


class RayWorkers:
    """A fleet of actors on a cluster."""

    def __init__(
        self,
        address: str,
        make_engine: Callable[[], Engine],
        *,
        workers: int | None = None,
        gpus: float | None = None,
        memory_gb: float = 0.0,
    ) -> None:
        """Joins the cluster at `address` ("auto": the one that this machine is part of).

        Args:
            address: as `ray.init` takes it.
            make_engine: what makes a worker's engine; a module's function, or a partial of one.
            workers: how many there are at most; as many as there is room for by default.
            gpus: of a GPU for each worker, up to 1; by default 1 where the cluster has any.
            memory_gb: estimated for a pack; Ray places by it.

        Raises:
            MissingExtraError: Ray is not installed.
            LoraloomError: there is no cluster there, or no node that has room for a worker; or this program is on
                another cluster.
        """
        self._ray, self._make_engine, self._workers = import_ray(), make_engine, workers
        self._joined = not self._ray.is_initialized()
        if self._joined:
            _join(self._ray, address)
        else:
            _refuse_another(self._ray, address)
        self._sent: dict[int, Any] = {}
        try:
            nodes = self._nodes()
            self._share = plan_share(nodes, workers, gpus, memory_gb)
        except LoraloomError:
            self.close()  # else the next search of this process would be on it, whichever it names
            raise
        many = "" if workers is None else f"{workers} "
        kinds = sorted({name.split(":", 1)[1] for node in nodes for name in node if name.startswith(_ACCELERATOR)})
        of = f" ({', '.join(kinds)})" if kinds else ""
        self.where = f"{many}Ray workers, {self._share.cpus} threads and {self._share.gpus:g} GPUs{of} each"

    def capacity(self) -> int:
        """As many as the nodes that live have room for, whoever else is on them."""
        fitting = sum(self._share.times_in(node) for node in self._nodes())
        return fitting if self._workers is None else min(fitting, self._workers)

    def begin(self) -> Link:
        """Asks for an actor; Ray begins it when a node has room."""
        return _Remote(self._ray, self._share, self._make_engine, self._stored)

    def receive(self, links: Sequence[Link], seconds: float) -> Sequence[tuple[Link, Report]]:
        """The oldest report of each worker that has one."""
        remote = [link for link in links if isinstance(link, _Remote)]
        by_reference = {link.coming: link for link in remote}
        ready, _ = self._ray.wait(
            list(by_reference), num_returns=len(by_reference), timeout=0, fetch_local=True
        )  # all that are there; else the first that comes
        if not ready:
            ready, _ = self._ray.wait(list(by_reference), num_returns=1, timeout=seconds, fetch_local=True)
        return [(by_reference[reference], by_reference[reference].report()) for reference in ready]

    def close(self) -> None:
        """Leaves the cluster, if it was joined here."""
        self._sent.clear()
        if self._joined:
            self._ray.shutdown()

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _stored(self, key: int, rows: Rows) -> Any:
        """Rows in the object store, put there once."""
        if key not in self._sent:
            self._sent[key] = self._ray.put(rows)
        return self._sent[key]


class _Remote:
    """A worker, as the driver has it: `coming` is the reference of what it will say next."""

    def __init__(
        self, ray: Any, share: Share, make_engine: Callable[[], Engine], stored: Callable[[int, Rows], Any]
    ) -> None:
        self._ray, self._stored = ray, stored
        resources = {"num_cpus": share.cpus, "num_gpus": share.gpus, "memory": share.memory_bytes}
        once = {"max_restarts": 0, "max_task_retries": 0, "max_concurrency": 3}
        environment = {name: value for name, value in os.environ.items() if name.startswith("LORALOOM_")}
        environment |= dict.fromkeys(THREADS, str(share.cpus))
        self._actor = ray.remote(**resources, **once)(_Actor).remote(make_engine, environment)
        self.name = f"Ray worker {self._actor._actor_id.hex()[:8]}"
        self.coming = self._actor.report.remote()

    def send(self, order: Order, rows: Mapping[int, Rows]) -> None:
        """Does not wait: a worker that is gone is found so by `report`."""
        self._actor.order.remote(order, list(rows), *(self._stored(key, own) for key, own in rows.items()))

    def report(self) -> Report:
        """What it said, or that it is gone."""
        try:
            report: Report = self._ray.get(self.coming)
        except self._ray.exceptions.RayError as error:
            return Died(_why(error))
        self.coming = self._actor.report.remote()
        return report

    def end(self) -> None:
        """Kills the actor, also one that only seems gone: two must never write into one trial's folder."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actor, no_restart=True)


def _why(error: Exception) -> str:
    """Why a worker is gone, in a line of what Ray says, whose first one says that it is and whose next ones name it."""
    lines = str(error).strip().splitlines()
    if getattr(error, "actor_init_failed", False):  # then a traceback follows
        why = lines[-1]
    else:
        why = next((line for line in lines[1:] if line and not line[0].isspace()), first_line(error))
    return shorten(why, MOST_SAID, placeholder=" …")


class _Actor:
    """A worker in its Ray process: `serve` in a thread of its own, orders and reports by two queues."""

    def __init__(self, make_engine: Callable[[], Engine], environment: Mapping[str, str]) -> None:
        os.environ.update(environment)  # before torch is imported
        self._orders: queue.Queue[tuple[Order, Mapping[int, Rows]]] = queue.Queue()
        self._reports: queue.Queue[Report] = queue.Queue()
        threading.Thread(target=self._serve, args=(make_engine,), daemon=True).start()

    def order(self, order: Order, keys: Sequence[int], *rows: Rows) -> None:
        """`rows` are arguments of their own, so that Ray gives the node's copy in the place of a reference."""
        self._orders.put((order, dict(zip(keys, rows, strict=True))))

    def report(self) -> Report:
        """The next report; blocks until there is one."""
        return self._reports.get()

    def send(self, report: Report) -> None:
        self._reports.put(report)

    def receive(self) -> tuple[Order, Mapping[int, Rows]]:
        return self._orders.get()

    def waiting(self) -> bool:
        return not self._orders.empty()

    def _serve(self, make_engine: Callable[[], Engine]) -> None:
        from loraloom.execute.worker import serve

        try:
            serve(self, make_engine)
        except Exception as error:
            self._reports.put(Died(in_a_line(error)))
            raise


def import_ray() -> Any:
    """Ray.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise MissingExtraError("--ray", "ray") from None
    return ray


def _join(ray: Any, address: str) -> None:
    meant = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    named = repr(meant) if meant == address else f"{meant!r} (RAY_ADDRESS)"
    if meant.startswith("ray://"):
        raise LoraloomError(f"--ray: {named} is Ray Client's; give the head's host:port, or auto on one of its nodes")
    if meant == "auto" and (noted := _noted(ray)) is not None:
        meant, named = noted, f"'auto' ({noted}, as Ray has noted it)"
    _refuse_silence(meant, named)
    with _own_signals():
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise LoraloomError(f"--ray: no Ray cluster can be joined at {named}: {first_line(error)}") from None


def _noted(ray: Any) -> str | None:
    """The host:port that Ray takes `auto` for; None where it says none, which it says itself when it is begun.

    A cluster whose head was killed leaves its own in a file, which Ray believes, and tries to reach it for minutes.
    """
    with contextlib.suppress(Exception):  # it is no public function
        noted: str | None = ray._private.services.canonicalize_bootstrap_address("auto")
        return noted
    return None


def _refuse_another(ray: Any, address: str) -> None:
    """Refuses an address in a program that is on another cluster, where all would be trained.

    Raises:
        LoraloomError: it is not that cluster's.
    """
    if address == "auto":
        return
    joined = ray.get_runtime_context().gcs_address
    if _by_number(ray, address) != _by_number(ray, joined):
        raise LoraloomError(
            f"--ray: this program is on the Ray cluster {joined} already, and not on {address!r}; give auto for that "
            "one, or leave it first: ray.shutdown()"
        )


def _by_number(ray: Any, address: str) -> str:
    """A host:port with the host's number, this node's own as Ray has it; what is none as it is."""
    host, _, port = address.rpartition(":")
    try:
        number = socket.gethostbyname(host) if host else address
    except (OSError, UnicodeError):
        return address
    return f"{ray.util.get_node_ip_address() if number.startswith('127.') else number}:{port}"


def _refuse_silence(address: str, named: str) -> None:
    """Refuses a host:port where nothing answers, which Ray tries to reach for minutes.

    Raises:
        LoraloomError: it is one.
    """
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:  # the latter of a number far too large
        raise LoraloomError(f"--ray: no Ray cluster can be joined at {named}: {without_path(error)}") from None


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it is begun, by which a run could no longer end politely.

    One that comes while it begins ends the process by Ray's exit code: it is given to the run in the place of that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        signal.signal(signal.SIGTERM, before)
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
