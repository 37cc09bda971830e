"""Measurements, each in a process of its own: nothing is left over from one to the next, and peak memory is a peer's.

The parent imports no torch (see `cases.py`). What is done in the child is in `child.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.cases import Measure, Peer, Work
from loraloom.machine import read_machine
from study.surroundings import own_cache, surroundings

ROOT = Path(__file__).parent.parent
RESULTS, RUNS = ROOT / "bench" / "results", ROOT / "runs"


@dataclass(frozen=True, slots=True)
class Task:
    """What one process does. `engine` is what stands behind the peer `loom`.

    `folder` holds what `prepare` makes for all: models, an adapter to evaluate, and compiled kernels.
    """

    do: Literal["prepare", "peak"] | Measure
    work: Work
    folder: Path
    peer: Peer | None = None
    rows: int = 0
    engine: str = "loom"

    def as_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Task:
        values = json.loads(text)
        work, peer = values.pop("work"), values.pop("peer")
        for name in ("rows", "layers"):
            work[name] = None if work[name] is None else tuple(work[name])
        folder = Path(values.pop("folder"))
        return cls(**values, work=Work(**work), peer=None if peer is None else Peer(**peer), folder=folder)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of a peer.

    `seconds` is the time around the work (of one trial, where there were several), `whole_seconds` that of the process,
    `peak_mb` its peak of resident memory in 2^20 bytes, `tokens` those of all rows, without padding.
    """

    peer: str
    round: int
    rows: int
    seconds: float
    whole_seconds: float
    peak_mb: float
    tokens: int
    trainable: int
    each_seconds: tuple[float, ...] = ()


def sample(task: Task, round_: int) -> Sample:
    """Measures a peer once."""
    start = time.monotonic()
    values = run(task)
    assert task.peer is not None
    whole = time.monotonic() - start
    return Sample(peer=task.peer.name, round=round_, rows=task.rows, whole_seconds=whole, **values)


def run(task: Task) -> Any:
    """What the task's process gives back.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "bench.child", str(answer)]
        done = subprocess.run(
            command,
            input=task.as_json(),
            cwd=ROOT,
            env=environment(own_cache(Path(folder), task.folder / "kernels")),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{task.do} {task.peer} failed:\n{done.stderr[-3000:]}")
        return json.loads(answer.read_text(encoding="utf-8"))


def threads() -> int:
    """OMP_NUM_THREADS, or the cores that this process may use."""
    return int(os.environ.get("OMP_NUM_THREADS", read_machine().logical_cores))


def environment(cache: Path, **more: str) -> dict[str, str]:
    """That of a measuring process: the CPU alone, offline, every one with the same threads; and `more`."""
    source = str(ROOT / "src")
    return {
        **os.environ,
        **surroundings(cache, threads()),
        "PYTHONPATH": os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])]),
        **more,
    }
