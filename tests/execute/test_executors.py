"""The contract of executors, held by all three: this process, worker processes, actors on a Ray cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loraloom.engine import Job, Listener, Outcome, Rows, device
from loraloom.engine.job import LESS_MEMORY, OUT_OF_MEMORY
from loraloom.errors import BackboneError, DeviceLostError, LoraloomError, MissingExtraError, RecipeError, RunError
from loraloom.execute.executor import Executor, Finished
from loraloom.execute.in_process import TRACEBACK, InProcess
from loraloom.execute.messages import (
    Advice,
    Advise,
    Died,
    Ended,
    Evaluated,
    Order,
    Ready,
    Report,
    SentJob,
    Train,
    Verdict,
)
from loraloom.execute.pool import Pool
from loraloom.execute.worker import serve
from loraloom.execute.workers import END_SECONDS, WorkerProcesses
from loraloom.study.durable import disk_is_full
from loraloom.study.record import Evaluation
from tests.commands import Commands, wait_for
from tests.execute.engines import COUNTS, SEEN, SOURCE, NothingEngine, job_of, rows, value_of

THREADS = 3


@pytest.fixture(scope="module")
def notes() -> list[str]:
    return []


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Any]:
    """A cluster of two nodes besides its head, which takes no work."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from tests.execute.clusters import local_cluster

    with local_cluster(nodes=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def ray_address(ray_cluster: Any) -> str:
    return str(ray_cluster.address)


@pytest.fixture(scope="module", params=["in_process", "workers", "ray"])
def shared(request: pytest.FixtureRequest, notes: list[str]) -> Iterator[Executor]:
    """One executor for many tests: workers take a while to begin."""
    executor = make(request.param, request, notes)
    yield executor
    executor.close()
    executor.close()


def make(kind: str, request: pytest.FixtureRequest, notes: list[str]) -> Executor:
    match kind:
        case "workers":
            return Pool(WorkerProcesses(2, NothingEngine, THREADS), notes.append)
        case "ray":
            from loraloom.execute.ray_cluster import RayWorkers

            return Pool(RayWorkers(request.getfixturevalue("ray_address"), NothingEngine), notes.append)
    return InProcess(NothingEngine(), notes.append)


def go_on(job: Job, evaluation: Evaluation) -> bool:
    del job, evaluation
    return True


def never() -> bool:
    return False


def run(executor: Executor, jobs: list[Job], listener: Listener = go_on) -> Finished:
    executor.start(jobs)
    return executor.wait(listener, never)


def remote(executor: Executor) -> Pool:
    if not isinstance(executor, Pool):
        pytest.skip("this process can't lose itself")
    return executor


def test_the_engine_says_how_many_are_trained_together(shared: Executor, tmp_path: Path) -> None:
    job = job_of(tmp_path, 0, rows())
    assert shared.pack_size(SOURCE, job.configuration) == NothingEngine().pack_size(SOURCE, job.configuration)


def test_an_error_of_the_question_is_raised_as_itself(shared: Executor, tmp_path: Path) -> None:
    job = job_of(tmp_path, 0, rows())
    other = job.configuration.with_fields(data={"max_length": 7})
    with pytest.raises(BackboneError, match="'refused' is not here"):
        shared.pack_size(replace(SOURCE, model="refused"), other)


def test_a_pack_ends_with_an_outcome_for_each_job_in_its_order(shared: Executor, tmp_path: Path) -> None:
    jobs = [job_of(tmp_path, number, rows()) for number in (4, 2)]
    jobs[1] = replace(jobs[1], rows=jobs[0].rows)
    finished = run(shared, jobs)
    assert finished.jobs == tuple(jobs)
    assert finished.lost is None
    values = [outcome.result.validation.accuracy for outcome in finished.outcomes if outcome.result]
    assert values == [value_of(job, 3) for job in jobs]


def test_each_evaluation_is_heard_with_the_job_as_it_was_given(shared: Executor, tmp_path: Path) -> None:
    heard: list[tuple[Job, int, float]] = []

    def listener(job: Job, evaluation: Evaluation) -> bool:
        heard.append((job, evaluation.step, evaluation.validation_accuracy))
        return True

    job = job_of(tmp_path, 1, rows())
    run(shared, [job], listener)
    assert heard == [(job, step, value_of(job, step)) for step in (1, 2, 3)]
    assert all(given is job for given, _, _ in heard)


def test_a_verdict_ends_one_trial_and_not_its_neighbour(shared: Executor, tmp_path: Path) -> None:
    jobs = [job_of(tmp_path, number, rows()) for number in (0, 1)]
    finished = run(shared, jobs, lambda job, evaluation: job.number != 0 or evaluation.step < 2)
    assert [(outcome.state, outcome.reason) for outcome in finished.outcomes] == [
        ("pruned", "pruned at 2"),
        ("complete", None),
    ]


def test_there_is_room_until_there_is_not(shared: Executor, tmp_path: Path) -> None:
    started = 0
    while shared.room():
        shared.start([job_of(tmp_path, started, rows())])
        started += 1
    assert started == (1 if isinstance(shared, InProcess) else 2)
    numbers = sorted(shared.wait(go_on, never).jobs[0].number for _ in range(started))
    assert numbers == list(range(started))
    assert shared.room()


def test_a_wish_to_stop_reaches_every_pack_and_others_can_be_started_after(shared: Executor, tmp_path: Path) -> None:
    started, wish = 0, False

    def listener(job: Job, evaluation: Evaluation) -> bool:
        nonlocal wish
        wish = True
        return go_on(job, evaluation)

    while shared.room():
        shared.start([job_of(tmp_path, started, rows(), "until stopped")])
        started += 1
    ended = [shared.wait(listener, lambda: wish) for _ in range(started)]
    assert [outcome.state for finished in ended for outcome in finished.outcomes] == ["stopped"] * started
    assert run(shared, [job_of(tmp_path, 7, rows())]).outcomes[0].state == "complete"


def test_an_error_that_befalls_all_is_raised_as_itself(shared: Executor, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        run(shared, [job_of(tmp_path, 0, rows(), "refuse")])
    assert caught.value.problems == ("lora.r: 0 is not a rank", "lora.alpha: 0 is not a scale")
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert run(shared, [job_of(tmp_path, 1, rows())]).lost is None


@pytest.mark.parametrize("do", ["fill the disk", "fill the disk, as torch says it"])
def test_a_full_disk_is_raised_as_one(shared: Executor, tmp_path: Path, do: str) -> None:
    with pytest.raises((OSError, RuntimeError)) as caught:
        run(shared, [job_of(tmp_path, 0, rows(), do)])
    assert disk_is_full(caught.value)


def test_what_no_engine_foresees_loses_the_pack_and_leaves_its_traceback(shared: Executor, tmp_path: Path) -> None:
    jobs = [job_of(tmp_path, number, rows(), "crash") for number in (0, 1)]
    finished = run(shared, jobs)
    assert (finished.jobs, finished.outcomes) == (tuple(jobs), ())
    assert finished.lost == "RuntimeError: a product went wrong"
    assert all("and more lines" in (job.folder / TRACEBACK).read_text() for job in jobs)
    assert run(shared, [job_of(tmp_path, 3, rows())]).lost is None


def test_a_device_that_answers_no_more_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next trials, given to a process whose GPU is lost, would all be recorded as failed."""
    monkeypatch.setattr(device, "device_is_lost", lambda: True)
    executor = InProcess(NothingEngine())
    executor.start([job_of(tmp_path, 0, rows(), "crash")])
    with pytest.raises(DeviceLostError, match="a product went wrong"):
        executor.wait(lambda job, evaluation: True, lambda: False)


def test_what_an_engine_notes_is_heard(shared: Executor, tmp_path: Path, notes: list[str]) -> None:
    notes.clear()
    run(shared, [job_of(tmp_path, 0, rows(), "note")])
    assert notes == ["a checkpoint could not be used"]


def test_a_deadline_is_as_far_away_for_the_engine_as_for_the_driver(shared: Executor, tmp_path: Path) -> None:
    job = job_of(tmp_path, 0, rows(), deadline=time.monotonic() + 1000)
    run(shared, [job])
    assert 900 < float((job.folder / "left").read_text()) <= 1000


def test_a_worker_that_dies_loses_its_pack_alone_and_is_replaced(shared: Executor, tmp_path: Path) -> None:
    executor = remote(shared)
    executor.start([job_of(tmp_path, 0, rows(), "die once")])
    executor.start([job_of(tmp_path, 1, rows())])
    ended = {finished.jobs[0].number: finished for finished in (executor.wait(go_on, never) for _ in range(2))}
    assert ended[0].outcomes == ()
    assert "worker" in (ended[0].lost or "")
    assert ended[1].outcomes[0].state == "complete"
    again = run(executor, [replace(job_of(tmp_path, 0, rows()), rows=ended[0].jobs[0].rows)])
    assert again.outcomes[0].state == "complete"
    assert executor.room()


def test_a_worker_keeps_its_engine_and_rows_between_packs_and_sees_no_texts(shared: Executor, tmp_path: Path) -> None:
    executor, of = remote(shared), rows()
    jobs = [job_of(tmp_path, number, of) for number in range(3)]
    finished = [run(executor, [job]) for job in jobs]
    assert len({(job.folder / "pid").read_text() for job in jobs}) == 1
    assert (jobs[0].folder / "pid").read_text() != str(os.getpid())
    assert [one.outcomes[0].state for one in finished] == ["complete"] * 3
    seen = [json.loads((job.folder / SEEN).read_text()) for job in jobs]
    assert [one[:2] for one in seen] == [["", 0]] * 3
    assert len({of_worker for *_, of_worker in seen}) == 1


def test_a_folder_that_a_worker_does_not_see_is_said_to_be_missing(shared: Executor, tmp_path: Path) -> None:
    job = replace(job_of(tmp_path, 0, rows()), folder=tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"elsewhere: is not there on .* a disk that all nodes share"):
        run(remote(shared), [job])


def test_a_worker_has_its_share_of_the_cores(shared: Executor, tmp_path: Path) -> None:
    job = job_of(tmp_path, 0, rows())
    run(remote(shared), [job])
    own = 1 if "Ray" in remote(shared)._workers[0].link.name else THREADS
    assert (job.folder / "threads").read_text() == f"{own} {own}"  # by each variable that torch goes by


def test_a_ray_worker_takes_its_part_of_a_gpu_and_of_memory(
    ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray only counts: the node says that it has a GPU."""
    import ray

    from loraloom.execute.ray_cluster import RayWorkers

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    node = ray_cluster.add_node(num_cpus=2, num_gpus=1, memory=10**9, object_store_memory=80 * 2**20)
    ray_cluster.wait_for_nodes()
    counts: Any = ray
    executor = Pool(RayWorkers(ray_cluster.address, NothingEngine, gpus=0.5, memory_gb=0.25), print)

    def taken(resource: str) -> float:
        return float(counts.cluster_resources()[resource] - counts.available_resources().get(resource, 0.0))

    try:
        assert executor.slots == 2
        for number in range(2):
            executor.start([job_of(tmp_path, number, rows())])
        for _ in range(2):
            executor.wait(go_on, never)
        wait_for(lambda: (taken("GPU"), taken("memory")) == (1, 5e8), 20)
    finally:
        executor.close()
        ray_cluster.remove_node(node)


def test_who_trains_is_told_apart_by_workers_and_threads() -> None:
    fleets = [WorkerProcesses(count, NothingEngine, threads) for count in (1, 2) for threads in (1, 2)]
    where = {InProcess(NothingEngine()).where, *(Pool(fleet, print).where for fleet in fleets)}
    assert len(where) == 5
    assert "2 worker processes, 1 threads each" in where


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


@pytest.mark.parametrize("was_joined", [False, True])
def test_a_ray_cluster_without_room_is_left_where_it_was_joined_for_the_search(
    monkeypatch: pytest.MonkeyPatch, was_joined: bool
) -> None:
    """The next search of the process may name another."""
    from loraloom.execute import ray_cluster

    left = list[bool]()
    ray = SimpleNamespace(
        is_initialized=lambda: was_joined,
        init=lambda **_: None,
        nodes=lambda: [{"Resources": {"CPU": 1.0}, "Alive": True}],
        shutdown=lambda: left.append(True),
    )
    monkeypatch.setattr(ray_cluster, "import_ray", lambda: ray)
    with pytest.raises(LoraloomError, match=r"no node of the cluster has a core and 1\.0 GB"):
        ray_cluster.RayWorkers("auto", NothingEngine, memory_gb=1)
    assert left == [True] * (not was_joined)


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("auto", False),
        ("10.0.0.5:6379", False),
        ("localhost:6379", False),
        ("10.0.0.6:6379", True),
        ("10.0.0.5:6380", True),
        ("local", True),
    ],
)
def test_a_program_that_is_on_a_ray_cluster_trains_on_no_other(
    monkeypatch: pytest.MonkeyPatch, address: str, *, refused: bool
) -> None:
    from loraloom.execute import ray_cluster

    ray = SimpleNamespace(
        is_initialized=lambda: True,
        nodes=lambda: [{"Resources": {"CPU": 1.0}, "Alive": True}],
        get_runtime_context=lambda: SimpleNamespace(gcs_address="10.0.0.5:6379"),
        util=SimpleNamespace(get_node_ip_address=lambda: "10.0.0.5"),
    )
    monkeypatch.setattr(ray_cluster, "import_ray", lambda: ray)
    said = f"on the Ray cluster 10.0.0.5:6379 already, and not on '{address}'"
    with pytest.raises(LoraloomError, match=said) if refused else nullcontext():
        ray_cluster.RayWorkers(address, NothingEngine)


@pytest.mark.parametrize(
    ("said", "failed", "why"),
    [
        (
            "The actor died unexpectedly before finishing this task.\n\tclass_name: _Actor\n\tpid: 7\n"
            "The actor is dead because its node has died. Node Id: 12",
            False,
            "The actor is dead because its node has died. Node Id: 12",
        ),
        (
            "The actor died because of an error raised in its creation task, ray::_Actor.__init__() (pid=7)\n"
            "  File worker.py, line 1\nModuleNotFoundError: No module named 'loraloom'",
            True,
            "ModuleNotFoundError: No module named 'loraloom'",
        ),
        ("The actor 12 is unavailable: no route to host.", False, "The actor 12 is unavailable: no route to host."),
    ],
)
def test_why_a_ray_worker_died_is_taken_from_what_ray_says_of_it(said: str, failed: bool, why: str) -> None:
    exceptions = pytest.importorskip("ray.exceptions", reason="the extra ray is not installed")
    from loraloom.execute.ray_cluster import _why

    assert _why(exceptions.RayActorError(error_msg=said, actor_init_failed=failed)) == why


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
