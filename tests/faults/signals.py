"""SIGTERM and Ctrl-C at random instants: the exit code and the sentence that are promised, and exact afterwards."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loraloom.study.durable import MANIFEST
from tests.commands import Child, Commands, Ended, wait_for
from tests.faults import begun, halting
from tests.faults.kills import Whole, begin_or_resume
from tests.faults.searches import differences

CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}
SIGNALLED_STEP = 3
MOST_SIGNALS = 3
"""Of one run; then it is let go on to its end."""
MOST_SECONDS = 30.0
"""From a signal to the end: a step, its checkpoint, and, after the last trial, the test and the report."""


@dataclass(slots=True)
class Signalled:
    """What became of signals."""

    signals: int = 0
    second: int = 0
    wrong: list[str] = field(default_factory=list)
    longest_seconds: float = 0.0

    def add(self, other: Signalled) -> None:
        self.signals += other.signals
        self.second += other.second
        self.wrong += other.wrong
        self.longest_seconds = max(self.longest_seconds, other.longest_seconds)


@contextmanager
def signalled_in_a_step(
    commands: Commands,
    *arguments: str | Path,
    number: signal.Signals,
    step: int = SIGNALLED_STEP,
    hangs: Path | None = None,
) -> Iterator[Child]:
    """A command that was sent a signal in the `step`-th of its steps; its saves hang where one is to make `hangs`."""
    told = {halting.HALTS_IN: str(step), halting.HEEDS: str(int(number))}
    if hangs is not None:
        told[halting.HANGS] = str(hangs)
    with commands.start(*arguments, environment=told, before=[halting.__name__]) as child:
        child.wait_until_halted()
        child.send(number)
        child.send(signal.SIGCONT)
        yield child


def signal_run(commands: Commands, whole: Whole, folder: Path, seed: int, *, twice: bool = False) -> Signalled:
    """One run, ended by signals at uniform instants and gone on with; `twice` sends a second one soon after.

    One that ended before its first signal, as where the machine has become faster since it was measured, says nothing:
    another is begun and signalled sooner.
    """
    within = whole.seconds
    while True:
        found = _signalled_within(within, commands, whole, folder, seed, twice=twice)
        if found.signals or found.wrong:
            return found
        within /= 2


def _signalled_within(
    within: float, commands: Commands, whole: Whole, folder: Path, seed: int, *, twice: bool
) -> Signalled:
    generator, found = random.Random(seed), Signalled()  # noqa: S311
    name = f"{whole.search.name}, seed {seed}"
    run = folder / f"{whole.search.name}-{seed}-{twice}"
    for turn in range(MOST_SIGNALS + 1):
        number = generator.choice([signal.SIGTERM, signal.SIGINT])
        mark = folder / f"{run.name}-begun-{turn}"
        heard = folder / f"{run.name}-heard-{turn}"
        for path in (mark, heard):
            path.unlink(missing_ok=True)  # of a run that had ended before its first signal
        child = commands.start(
            *begin_or_resume(run, whole.search),
            environment={begun.VARIABLE: str(mark), begun.HEARD: str(heard)},
            before=[begun.__name__],
        )
        sent, trains = time.monotonic(), False
        if turn < MOST_SIGNALS:
            wait_for(heard.exists)  # Python's own start-up comes before ours
            child.run_for(generator.uniform(0, within))
            sent = time.monotonic()
            child.send(number)
            trains = _is_begun(run, mark) and _trains(run)  # now: before, it may have been the last moment of a trial
            if twice:
                time.sleep(generator.uniform(0, 0.05))
                child.send(number)
        ended = child.wait()
        if turn < MOST_SIGNALS and ended.code:
            found.signals += 1
            found.second += twice
            seconds = time.monotonic() - sent
            found.longest_seconds = max(found.longest_seconds, seconds)
            if seconds > MOST_SECONDS:
                found.wrong.append(f"{name}, {number.name}: ended {seconds:.1f} s later")
            if fault := _broken_promise(ended, number, _is_begun(run, mark), twice=twice):
                found.wrong.append(f"{name}, {number.name}: {fault}: exit {ended.code}: {ended.err.strip()[-500:]}")
        elif ended.code:
            found.wrong.append(f"{name}: then exit {ended.code}: {ended.err.strip()[-500:]}")
        else:
            if turn < MOST_SIGNALS and trains:
                found.wrong.append(f"{name}, {number.name}: not answered while a trial was under way")
            break
    if not found.wrong and (unlike := differences(run, whole.held)):
        found.wrong.append(f"{name}: then unequal: {', '.join(unlike)}")
    if not found.wrong:
        shutil.rmtree(run)
    return found


def _is_begun(run: Path, mark: Path) -> bool:
    return mark.exists() and (run / "recipe.yaml").exists()


def _trains(run: Path) -> bool:
    """Whether a trial is under way."""
    return any(not (folder / MANIFEST).exists() for folder in (run / "trials").glob("[0-9]*"))


def _broken_promise(ended: Ended, number: signal.Signals, is_begun: bool, *, twice: bool) -> str | None:
    """What is wrong with a command's end after a signal; None where it is as promised."""
    if ended.code not in ((CODES[number], -number) if twice else (CODES[number],)):
        return "another exit code"
    if ended.traceback:
        return "a traceback"
    if not twice and not ended.sentence:
        return "no sentence"
    if not twice and is_begun and "loraloom resume" not in ended.sentence:
        return "a sentence that does not say how to go on"
    return None
