"""Where a step's time goes: seconds of each operation by itself, for `--profile`.

What runs between steps is left out: evaluations, and the computing of states that are kept. A section that runs inside
another is taken out of its time. A clock reading costs 0.1 µs; without `--profile` there is none, and operations are
called as they are. On a GPU, where launches return at once, each section waits for what was launched
before it, and for its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from loraloom.engine.loom.ops import PlainOps
from loraloom.study.durable import write_json
from loraloom.study.record import PROFILE

OPERATIONS = tuple(
    name for name, value in vars(PlainOps).items() if callable(value) and not name.startswith("_") and name != "freeze"
)
"""Methods of `PlainOps` that are timed."""


class Profile:
    """Times of named sections in steps, each without those inside it."""

    def __init__(self) -> None:
        self.steps = 0
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._inside: list[float] = []
        self._stepping = False

    @contextmanager
    def step(self) -> Iterator[None]:
        """Has the sections within counted, as those of one step."""
        self._stepping = True
        try:
            yield
        finally:
            self._stepping = False
        self.steps += 1

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Counts what runs within to `name`."""
        if not self._stepping:
            yield
            return
        self._inside.append(0.0)
        _wait()
        start = time.perf_counter()
        try:
            yield
        finally:
            _wait()
            passed = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + passed - self._inside.pop()
            self.calls[name] = self.calls.get(name, 0) + 1
            if self._inside:
                self._inside[-1] += passed

    def clear(self) -> None:
        """Begins anew."""
        self.steps = 0
        self.seconds.clear()
        self.calls.clear()

    def watch(self, ops: PlainOps) -> None:
        """Times the operations of `ops` from now on."""
        for name in OPERATIONS:
            setattr(ops, name, self._timed(name, getattr(ops, name)))

    def _timed(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.section(name):
                return operation(*arguments, **named)

        return timed

    def write(self, folder: Path) -> None:
        """profile.json: for each section its share, its milliseconds a step, and its calls a step; longest first."""
        total, steps = sum(self.seconds.values()), self.steps  # none, where a trial went on from its end
        sections = [
            {
                "section": name,
                "share": round(seconds / total, 4),
                "milliseconds_per_step": round(1000 * seconds / steps, 3),
                "calls_per_step": round(self.calls[name] / steps, 2),
            }
            for name, seconds in sorted(self.seconds.items(), key=lambda item: -item[1])
        ]
        write_json(folder / PROFILE, {"steps": steps, "seconds": round(total, 3), "sections": sections})


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
