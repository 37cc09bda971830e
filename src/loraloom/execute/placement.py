"""Where a run's packs are trained: in this process, in worker processes, or on a Ray cluster.

Not a part of the recipe: it is where a search runs, not what it means, and `resume` may go on elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

from loraloom.engine import Engine
from loraloom.errors import LoraloomError
from loraloom.execute.executor import Executor
from loraloom.execute.in_process import InProcess, build_engine
from loraloom.execute.workplace import Workplace
from loraloom.wording import plural


@dataclass(frozen=True, slots=True)
class Placement:
    """`workers` processes, or workers on the Ray cluster at `ray` with `gpus_per_pack` of a GPU each; or neither."""

    workers: int | None = None
    ray: str | None = None
    gpus_per_pack: float | None = None

    @property
    def options(self) -> dict[str, int | float | str]:
        """What was given of it, by the names of the command's options, which Python's parameters have too."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def check(self) -> None:
        """Refuses what can't be done.

        Raises:
            LoraloomError: an option is out of its limits, or needs another one.
            MissingExtraError: Ray is not installed.
        """
        if self.workers is not None and self.workers < 1:
            raise LoraloomError(f"--workers: {self.workers} is too few; it must be 1 or more")
        if self.gpus_per_pack is not None and self.ray is None:
            raise LoraloomError("--gpus_per_pack: only a Ray cluster heeds it; give --ray too")
        if self.gpus_per_pack is not None and not 0 < self.gpus_per_pack <= 1:
            raise LoraloomError(
                f"--gpus_per_pack: {self.gpus_per_pack:g} of a GPU; it must be over 0, and at most 1, since a pack is "
                "trained on one GPU"
            )
        if self.ray is not None:
            from loraloom.execute.ray_cluster import import_ray

            import_ray()

    def __str__(self) -> str:
        """As the end of a sentence."""
        if self.ray is not None:
            return f"on the Ray cluster {self.ray}" if self.ray != "auto" else "on this Ray cluster"
        if self.workers is not None:
            return f"in {plural(self.workers, 'worker process')}"
        return "in this process"


IN_PROCESS = Placement()


def make_executor(
    placement: Placement,
    engine: Engine,
    place: Workplace,
    note: Callable[[str], None],
    *,
    profile: bool = False,
) -> Executor:
    """What trains a run's packs there; `note` is told what people should know.

    Raises:
        LoraloomError: a Ray cluster that can't be joined, or has no room.
    """
    if placement.workers is None and placement.ray is None:
        return InProcess(engine, note)
    from loraloom.execute.pool import Pool

    make_engine = partial(build_engine, engine.name, profile=profile)
    if placement.ray is not None:
        from loraloom.execute.ray_cluster import RayWorkers

        note("joining the Ray cluster")  # where none answers, Ray tries for minutes
        workers, gpus, memory_gb = placement.workers, placement.gpus_per_pack, place.demands.most_memory_gb()
        return Pool(RayWorkers(placement.ray, make_engine, workers=workers, gpus=gpus, memory_gb=memory_gb), note)
    import torch

    from loraloom.execute.workers import WorkerProcesses

    assert placement.workers is not None
    threads = max(1, torch.get_num_threads() // placement.workers)
    return Pool(WorkerProcesses(placement.workers, make_engine, threads, visible_gpus()), note)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none is touched by asking."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] or [str(number) for number in range(count)]
