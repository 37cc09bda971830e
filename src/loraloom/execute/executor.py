"""What the driver asks of whatever trains packs: this process, worker processes, a cluster.

An executor trains; it decides nothing and writes nothing but what engines write into trial folders. The driver starts
packs while there is room, then waits for the first that ends. One contract suite, `tests/execute/test_executors.py`,
holds for all executors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from loraloom.backbone.sources import Source
from loraloom.engine import Job, Listener, Outcome, never
from loraloom.recipe import Configuration


def endless() -> float:
    """An end that does not come."""
    return math.inf


@dataclass(frozen=True, slots=True)
class Finished:
    """A pack that has ended: an outcome for each job, or, in `lost`, why there are none.

    A pack is lost where the process that trained it died, or raised what no engine foresees. Its folders may hold
    checkpoints, so that its jobs can be started again.
    """

    jobs: tuple[Job, ...]
    outcomes: tuple[Outcome, ...] = ()
    lost: str | None = None
    began: float | None = None
    """The monotonic time at which its training began, where it waited for a worker since it was started."""


class Executor(Protocol):
    """Trains packs of jobs."""

    def pack_size(
        self,
        source: Source,
        configuration: Configuration,
        listener: Listener | None = None,
        stop: Callable[[], bool] = never,
    ) -> int:
        """How many trials like this one are best trained together; 1, for now, where `stop` says so.

        Where packs are under way, `listener` hears their evaluations meanwhile, as in `wait`.
        """
        ...

    @property
    def where(self) -> str:
        """Who trains, and with how many threads or what share of a node: durations depend on it, and on the machine."""
        ...

    @property
    def slots(self) -> int:
        """How many packs can be trained at once."""
        ...

    def room(self) -> bool:
        """Whether another pack can be started now."""
        ...

    def start(self, jobs: Sequence[Job]) -> None:
        """Takes jobs that can share a pack (see `engine.pack_key`); returns at once."""
        ...

    def wait(self, listener: Listener, stop: Callable[[], bool], until: Callable[[], float] = endless) -> Finished:
        """Returns the first pack that ends; there must be one under way.

        Calls `listener` for each evaluation, in this thread. Where `stop` says so, every pack is asked to end after
        its step: what has not ended then is an outcome in the state "stopped", and goes on from its checkpoint. So is
        what has not ended at the monotonic time `until()`, where another process trains it, which is ended.

        Raises:
            LoraloomError: what would befall every trial.
            OSError: the disk is full, or a folder can't be written to.
        """
        ...

    def close(self) -> None:
        """Ends whatever is still under way, and gives back what was taken."""
        ...
