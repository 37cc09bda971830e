"""A real Ray cluster of several nodes on this machine, which notices within a second that one is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_failure_threshold": 5,
    "worker_niceness": 0,  # by default 15: beside other tests, a worker's imports took minutes
}


@contextmanager
def local_cluster(nodes: int) -> Iterator[Any]:
    """A head that takes no work, and `nodes` nodes of one core."""
    import ray
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    alone = {"no_monitor": True, "include_log_monitor": False}  # nothing scales it, nor reads its logs
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": QUICK, **small, **alone})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, wait=False, **small)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        shut_down: Any = ray.shutdown
        shut_down()
        cluster.shutdown()  # type: ignore[no-untyped-call]
