"""Whole searches in this process, in worker processes and on a Ray cluster come to the same ledger."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import loraloom
from loraloom import pipeline
from loraloom.errors import LoraloomError, MissingExtraError
from loraloom.execute.messages import Evaluated, Report
from loraloom.execute.placement import IN_PROCESS, Placement
from loraloom.execute.pool import Link
from loraloom.execute.ray_cluster import RayWorkers, Share, _join, _noted, plan_share
from loraloom.execute.stopping import Stop
from loraloom.preparation import prepare
from loraloom.recipe import read_recipe
from loraloom.search.watcher import SearchPlan, Watcher
from loraloom.study.record import Evaluation
from loraloom.study.run import Run
from tests.execute.forked import fork_workers

AXES = ("lora.r=1,2", "train.learning_rate=0.02,0.01")
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes, of which one is to be killed."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from tests.execute.clusters import local_cluster

    with local_cluster(nodes=2) as cluster:
        yield cluster


def ledger(run: Path) -> list[tuple[int, str, dict[str, Any], Any]]:
    """What became of each trial, by number; times are left out."""
    return [
        (record.number, record.state, record.point, record.result and record.result.validation)
        for record in Run(run).records()
    ]


def adapters(run: Path) -> list[bytes]:
    return [(Run(run).trial_folder(record.number) / ADAPTER).read_bytes() for record in Run(run).records()]


def test_the_memory_of_a_worker_is_that_of_a_trial_and_no_trial_is_above_the_limit(
    tiny_recipe: dict[str, Any],
) -> None:
    def most(**budget: float) -> float:
        recipe = read_recipe(tiny_recipe | {"budget": budget}, ["train.per_device_train_batch_size=16,4096"])
        return prepare(recipe, Watcher(), False, {}).demands.most_memory_gb()

    unlimited = most()
    assert most(max_memory_gb=0.9 * unlimited) == 0.9 * unlimited
    assert most(max_memory_gb=2 * unlimited) == unlimited


@pytest.fixture
def local(tiny_recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same search in this process, made once."""
    run = tmp_path_factory.getbasetemp() / "local"
    if not run.exists():
        loraloom.search(tiny_recipe, run, overrides=AXES, report=False)
    return run


def test_worker_processes_come_to_the_ledger_of_a_local_run(
    tiny_recipe: dict[str, Any], tmp_path: Path, local: Path
) -> None:
    loraloom.search(tiny_recipe, tmp_path / "processes", overrides=AXES, workers=2, report=False)
    assert ledger(tmp_path / "processes") == ledger(local)
    assert adapters(tmp_path / "processes") == adapters(local)


@pytest.fixture(scope="module")
def unknown_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of an architecture that loom does not know, with the tiny model's tokenizer."""
    from transformers import DebertaV2Config, DebertaV2Model

    folder = tmp_path_factory.mktemp("deberta") / "model"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("config.json", "*.safetensors"))
    vocabulary = json.loads((tiny_model / "config.json").read_text())["vocab_size"]
    config = DebertaV2Config(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    DebertaV2Model(config).save_pretrained(folder)
    return folder


class _Planned(Watcher):
    """Keeps which engine it is, and why."""

    def planned(self, plan: SearchPlan) -> None:
        self.engine, self.reason = plan.engine, plan.engine_reason


@pytest.mark.parametrize("workers", [None, 1])
def test_of_several_models_those_that_loom_does_not_know_are_trained_by_the_other_engine(
    tiny_recipe: dict[str, Any],
    unknown_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int | None,
) -> None:
    fork_workers(monkeypatch)
    known, heard = tiny_recipe["backbone"]["model"], _Planned()
    recipe = read_recipe(tiny_recipe, [f"backbone.model={known},{unknown_model}", "train.num_train_epochs=1"])
    pipeline.search(recipe, tmp_path / "run", watcher=heard, placement=Placement(workers=workers))
    found = [(one.configuration.backbone.model, one.engine, one.state) for one in Run(tmp_path / "run").records()]
    assert found == [(known, "loom", "complete"), (str(unknown_model), "trainer", "complete")]
    assert heard.engine == "auto"
    assert heard.reason.startswith(f"auto: loom, but trainer for {unknown_model}: ")


class _Stopper(Watcher):
    """Asks the run to stop when it first hears of a trial."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def evaluated(self, number: int, evaluation: Evaluation) -> None:
        if not self._stop.asked():
            self._stop.ask(KeyboardInterrupt())


def test_a_search_that_is_stopped_in_workers_goes_on_in_this_process(
    tiny_recipe: dict[str, Any], tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_workers(monkeypatch)
    stop, recipe, run = Stop(), read_recipe(tiny_recipe, AXES), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        pipeline.search(recipe, run, watcher=_Stopper(stop), stop=stop, placement=Placement(workers=1))
    assert len(Run(run).records()) < len(ledger(local))
    loraloom.resume(run)
    assert ledger(run) == ledger(local)
    assert adapters(run) == adapters(local)


class _Killer(Watcher):
    """Kills a node of the cluster at the first evaluation, with the worker that waits for the verdict on it."""

    def __init__(self, cluster: Any, patch: pytest.MonkeyPatch) -> None:
        self._cluster, self._waiting = cluster, list[Any]()
        self.begun_again: list[str] = []
        receive = RayWorkers.receive

        def hear(fleet: RayWorkers, links: Sequence[Link], seconds: float) -> Sequence[tuple[Link, Report]]:
            reports = receive(fleet, links, seconds)
            self._waiting = [link for link, report in reports if isinstance(report, Evaluated)]
            return reports

        patch.setattr(RayWorkers, "receive", hear)

    def evaluated(self, number: int, evaluation: Evaluation) -> None:
        if len(self._cluster.worker_nodes) == 2:
            from ray._private.state import actors

            known: Any = actors
            worker = known()[self._waiting[0]._actor._actor_id.hex()]
            home = worker["Address"]["NodeID"]
            node = next(node for node in self._cluster.worker_nodes if node.node_id == home)
            self._cluster.remove_node(node, allow_graceful=False)
            with suppress(ProcessLookupError):  # it would go on for a second or so, for long enough to end its pack
                os.kill(worker["Pid"], signal.SIGKILL)

    def note(self, sentence: str) -> None:
        if "begun again" in sentence:
            self.begun_again.append(sentence)


def test_a_node_that_dies_in_mid_pack_leaves_the_ledger_of_a_local_run(
    cluster: Any, tiny_recipe: dict[str, Any], tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = _Killer(cluster, monkeypatch)
    placement = Placement(ray=cluster.address)
    pipeline.search(read_recipe(tiny_recipe, AXES), tmp_path / "ray", watcher=watcher, placement=placement)
    assert ledger(tmp_path / "ray") == ledger(local)
    assert adapters(tmp_path / "ray") == adapters(local)
    assert watcher.begun_again


def test_all_that_is_asked_of_a_cluster_is_refused_where_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"--ray needs the extra 'ray'"):
        Placement(ray="auto").check()
    Placement(workers=2).check()


@pytest.mark.parametrize(
    ("placement", "said"),
    [
        (Placement(workers=0), "--workers: 0"),
        (Placement(gpus_per_pack=0.5), "--gpus_per_pack: only a Ray cluster"),
        (Placement(ray="auto", gpus_per_pack=2), "--gpus_per_pack: 2 of a GPU"),
        (Placement(ray="auto", gpus_per_pack=0), "--gpus_per_pack: 0 of a GPU"),
    ],
)
def test_a_placement_that_can_not_be_is_refused_before_anything_is_made(
    tiny_recipe: dict[str, Any], tmp_path: Path, placement: Placement, said: str
) -> None:
    with pytest.raises(LoraloomError, match=said):
        pipeline.search(read_recipe(tiny_recipe), tmp_path / "run", placement=placement)
    assert not (tmp_path / "run").exists()


def test_a_cluster_that_is_not_there_leaves_no_run_behind(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    with pytest.raises(LoraloomError, match="Ray Client's"):
        loraloom.search(tiny_recipe, tmp_path / "run", ray="ray://nowhere:10001", report=False)
    assert not (tmp_path / "run").exists()


class _Ray:
    """What Ray does when it is begun: it takes SIGTERM, which comes then."""

    def init(self, **_: Any) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        signal.raise_signal(signal.SIGTERM)


def test_a_head_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(LoraloomError, match=f"no Ray cluster can be joined at '{address}': Connection refused"):
        _join(_Ray(), address)
    monkeypatch.setenv("RAY_ADDRESS", address)  # as a cluster leaves it that is gone
    with pytest.raises(LoraloomError, match=rf"joined at '{address}' \(RAY_ADDRESS\): Connection refused"):
        _join(_Ray(), "auto")


def test_a_cluster_that_ray_has_noted_and_that_is_gone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    ray: Any = _Ray()
    services = SimpleNamespace(canonicalize_bootstrap_address=lambda _: address)
    ray._private = SimpleNamespace(services=services)
    with pytest.raises(
        LoraloomError, match=rf"joined at 'auto' \({address}, as Ray has noted it\): Connection refused"
    ):
        _join(ray, "auto")


def test_ray_says_itself_where_it_has_noted_its_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert str(_noted(ray)).endswith(":6379")


def test_a_sigterm_that_comes_while_ray_begins_is_the_run_s() -> None:
    class _StopError(Exception):
        pass

    def stop(*_: Any) -> None:
        raise _StopError

    signal.signal(signal.SIGTERM, stop)
    with socket.create_server(("127.0.0.1", 0)) as head, pytest.raises(_StopError):
        _join(_Ray(), f"127.0.0.1:{head.getsockname()[1]}")
    assert signal.getsignal(signal.SIGTERM) is stop


def test_people_are_told_where_trials_are_trained() -> None:
    assert [str(placement) for placement in (IN_PROCESS, Placement(1), Placement(4), Placement(4, "auto"))] == [
        "in this process",
        "in 1 worker process",
        "in 4 worker processes",
        "on this Ray cluster",
    ]
    assert str(Placement(ray="10.0.0.1:6379")) == "on the Ray cluster 10.0.0.1:6379"


SMALL, LARGE, GPUS = (
    {"CPU": 8.0, "memory": 16e9},
    {"CPU": 32.0, "memory": 64e9},
    {"CPU": 16.0, "GPU": 4.0, "memory": 64e9},
)


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "memory_gb", "share", "fitting"),
    [
        ([SMALL, SMALL], None, None, 2.0, Share(8, 0.0, 2 * 10**9), 2),  # a node is a worker
        ([SMALL, LARGE], None, None, 2.0, Share(8, 0.0, 2 * 10**9), 5),
        ([SMALL, SMALL], 4, None, 2.0, Share(4, 0.0, 2 * 10**9), 4),
        ([SMALL, LARGE], 4, None, 2.0, Share(8, 0.0, 2 * 10**9), 5),
        ([SMALL, SMALL], 100, None, 2.0, Share(1, 0.0, 2 * 10**9), 16),
        ([SMALL], 8, None, 5.0, Share(1, 0.0, 5 * 10**9), 3),  # memory is what there is least of
        ([{"memory": 16e9}, GPUS], None, None, 2.0, Share(4, 1.0, 2 * 10**9), 4),  # a head without cores
        ([GPUS], None, 0.5, 2.0, Share(2, 0.5, 2 * 10**9), 8),
        ([GPUS], None, 0.1, 2.0, Share(1, 0.1, 2 * 10**9), 16),
        ([GPUS], None, 0.0, 2.0, Share(16, 0.0, 2 * 10**9), 1),
        ([GPUS], None, 0.6, 2.0, Share(4, 0.6, 2 * 10**9), 4),  # 0.6 of each, and not of two together
        ([GPUS], None, 0.3, 2.0, Share(1, 0.3, 2 * 10**9), 12),
    ],
)
def test_a_worker_has_its_share_of_a_node(
    nodes: list[dict[str, float]],
    workers: int | None,
    gpus: float | None,
    memory_gb: float,
    share: Share,
    fitting: int,
) -> None:
    planned = plan_share(nodes, workers, gpus, memory_gb)
    assert planned == share
    assert sum(planned.times_in(node) for node in nodes) == fitting


@pytest.mark.parametrize(("gpus", "memory_gb"), [(None, 17.0), (0.5, 1.0)])
def test_a_cluster_without_room_for_one_pack_is_refused(gpus: float | None, memory_gb: float) -> None:
    with pytest.raises(LoraloomError, match="no node of the cluster has a core"):
        plan_share([SMALL, SMALL], None, gpus, memory_gb)


def test_a_placement_is_told_as_the_options_that_were_given_of_it() -> None:
    assert Placement().options == {}
    assert Placement(4).options == {"workers": 4}
    assert Placement(ray="auto", gpus_per_pack=0.5).options == {"ray": "auto", "gpus_per_pack": 0.5}
