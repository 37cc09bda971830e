"""Whole searches in this process, in worker processes and on a Ray cluster come to the same ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import loraloom
from loraloom import pipeline
from loraloom.execute.placement import Placement
from loraloom.recipe import read_recipe
from loraloom.search.watcher import Watcher
from loraloom.study.record import Evaluation
from loraloom.study.run import Run

AXES = ("lora.r=1,2,4", "train.learning_rate=0.02,0.01")
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes, of which one is to be killed."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from tests.execute.clusters import local_cluster

    with local_cluster(nodes=3) as cluster:
        yield cluster


def ledger(run: Path) -> list[tuple[int, str, dict[str, Any], Any]]:
    """What became of each trial, by number; times are left out."""
    return [
        (record.number, record.state, record.point, record.result and record.result.validation)
        for record in Run(run).records()
    ]


def adapters(run: Path) -> list[bytes]:
    return [(Run(run).trial_folder(record.number) / ADAPTER).read_bytes() for record in Run(run).records()]


@pytest.fixture
def local(tiny_recipe: dict[str, Any], tmp_path: Path) -> Path:
    """The same search in this process."""
    loraloom.search(tiny_recipe, tmp_path / "local", overrides=AXES)
    return tmp_path / "local"


@pytest.mark.usefixtures("unsynced_ledger")
def test_worker_processes_come_to_the_ledger_of_a_local_run(
    tiny_recipe: dict[str, Any], tmp_path: Path, local: Path
) -> None:
    loraloom.search(tiny_recipe, tmp_path / "processes", overrides=AXES, workers=2)
    assert ledger(tmp_path / "processes") == ledger(local)
    assert adapters(tmp_path / "processes") == adapters(local)


class _Killer(Watcher):
    """Kills a node of the cluster at the first evaluation, while its worker is at work."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.begun_again: list[str] = []

    def evaluated(self, number: int, evaluation: Evaluation) -> None:
        if len(self._cluster.worker_nodes) == 3:
            import ray

            busy = {actor["node_id"] for actor in _actors()}
            node = next(node for node in self._cluster.worker_nodes if node.node_id in busy)
            assert ray.is_initialized()
            self._cluster.remove_node(node, allow_graceful=False)

    def note(self, sentence: str) -> None:
        if "begun again" in sentence:
            self.begun_again.append(sentence)


def _actors() -> list[dict[str, Any]]:
    from ray.util.state import list_actors

    return [vars(actor) for actor in list_actors(filters=[("state", "=", "ALIVE")])]


@pytest.mark.usefixtures("unsynced_ledger")
def test_a_node_that_dies_in_mid_pack_leaves_the_ledger_of_a_local_run(
    cluster: Any, tiny_recipe: dict[str, Any], tmp_path: Path, local: Path
) -> None:
    watcher = _Killer(cluster)
    placement = Placement(ray=cluster.address)
    pipeline.search(read_recipe(tiny_recipe, AXES), tmp_path / "ray", watcher=watcher, placement=placement)
    assert watcher.begun_again
    assert ledger(tmp_path / "ray") == ledger(local)
    assert adapters(tmp_path / "ray") == adapters(local)
