"""The contract of executors, held by all three: this process, worker processes, actors on a Ray cluster."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loraloom.engine import Job, device
from loraloom.errors import BackboneError, DeviceLostError, LoraloomError, RecipeError, RunError
from loraloom.execute.executor import Executor
from loraloom.execute.in_process import TRACEBACK, InProcess
from loraloom.execute.pool import Pool
from loraloom.execute.workers import WorkerProcesses
from loraloom.study.durable import disk_is_full
from loraloom.study.record import Evaluation
from tests.commands import wait_for
from tests.execute.engines import SEEN, SOURCE, NothingEngine, job_of, rows, value_of
from tests.execute.running import go_on, never, run

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
