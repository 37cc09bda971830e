"""System calls of the write path that fail, and power cuts at each of them: a clear error, and then the run goes on."""

from __future__ import annotations

import random
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path

from tests.commands import Commands, Ended
from tests.faults.kills import Whole, begin_or_resume
from tests.faults.power import Disk
from tests.faults.searches import differences
from tests.faults.shim import Fault

SUFFERED, REFUSED = 0, 2


@dataclass(slots=True)
class Suffered:
    """What became of commands whose system calls failed, or whose power was cut."""

    faults: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Suffered) -> None:
        self.faults += other.faults
        self.refused += other.refused
        self.wrong += other.wrong


def count_calls(commands: Commands, whole: Whole, folder: Path, error: str = "EIO") -> list[str]:
    """The calls of the write path that the search makes when nothing befalls it."""
    case = _case(folder, f"{whole.search.name}-counted")
    fault = Fault(case, "counts", error=error)
    ended = commands.start(*begin_or_resume(case / "run", whole.search), shim=fault.request()).wait()
    assert ended.code == 0, ended.err
    shutil.rmtree(case)
    return fault.calls()


def fail_call(commands: Commands, whole: Whole, folder: Path, nth: int, error: str, *, forever: bool) -> Suffered:
    """A search whose `nth` call fails: it ends in a sentence or did not need the call; then it goes on, equal."""
    name = f"{whole.search.name}, call {nth} {error} {'for good' if forever else 'once'}"
    case = _case(folder, f"{whole.search.name}-{nth}-{error}-{forever}")
    fault, found = Fault(case, "fail", nth, error, forever), Suffered(faults=1)
    ended = commands.start(*begin_or_resume(case / "run", whole.search), shim=fault.request()).wait()
    name += f" ({' '.join(fault.calls())})" if fault.report.exists() else ""
    found.refused += ended.code == REFUSED
    if not is_clear(ended):
        found.wrong.append(f"{name}: exit {ended.code}: {ended.err.strip()[-700:]}")
    _finish(commands, whole, case, name, found)
    return found


def cut_power(commands: Commands, whole: Whole, folder: Path, nth: int, seed: int | None = None) -> Suffered:
    """A search whose power is cut at the `nth` call, strictly or by coins of `seed`; then it goes on, equal."""
    name = f"{whole.search.name}, power cut at call {nth}{'' if seed is None else f', seed {seed}'}"
    case = _case(folder, f"{whole.search.name}-cut-{nth}-{seed}")
    fault, disk, found = Fault(case, "cut", nth), Disk(case), Suffered(faults=1)
    ended = commands.start(*begin_or_resume(case / "run", whole.search), shim=fault.request()).wait()
    if ended.code == -signal.SIGKILL:
        disk.cut(fault.journal, fault.store, None if seed is None else random.Random(seed))  # noqa: S311
    elif ended.code:
        found.wrong.append(f"{name}: exit {ended.code}: {ended.err.strip()[-700:]}")
    _finish(commands, whole, case, name, found)
    shutil.rmtree(fault.store, ignore_errors=True)
    return found


def is_clear(ended: Ended) -> bool:
    """Done in spite of it, or one sentence and exit 2; never a traceback."""
    return not ended.traceback and (ended.code == SUFFERED or (ended.code == REFUSED and bool(ended.sentence)))


def _finish(commands: Commands, whole: Whole, case: Path, name: str, found: Suffered) -> None:
    """Goes on without the fault; whatever the fault was, the run must then be whole and equal."""
    ended = commands.run(*begin_or_resume(case / "run", whole.search))
    if ended.code:
        found.wrong.append(f"{name}: then exit {ended.code}: {ended.err.strip()[-700:]}")
    elif unlike := differences(case / "run", whole.held):
        found.wrong.append(f"{name}: then unequal: {', '.join(unlike)}")
    if not found.wrong:
        shutil.rmtree(case)


def _case(folder: Path, name: str) -> Path:
    case = folder / name
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir(parents=True)
    return case
