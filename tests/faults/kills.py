"""kill -9 at random instants of a search and of its resumptions, until it is done; then all that it holds is compared.

A chain is one run: killed, resumed, killed again. Its seed gives every instant, but not what the machine did by then:
a chain that failed is run again by `python -m tests.faults.torture kills --seed N --share 0.0003` (with the chains of
the few seeds after it), a few times if need be.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.commands import Commands
from tests.faults.searches import Search, differences, held

MOST_KILLS = 40
"""Of one chain; then the search is let go on to its end."""
MOST_REPEATED_SECONDS = 15.0
"""What one kill may cost."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A run that nothing befell: what it holds, and how long it took."""

    search: Search
    held: dict[str, Any]
    seconds: float


@dataclass(slots=True)
class Killed:
    """What became of chains of kills."""

    chains: int = 0
    kills: int = 0
    in_recovery: int = 0
    trained_again: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    most_repeated_seconds: float = 0.0

    @property
    def wrong(self) -> list[str]:
        late = self.most_repeated_seconds > MOST_REPEATED_SECONDS
        repeated = [f"{self.most_repeated_seconds:.1f} s of work were lost by one kill"] if late else []
        return [*self.failed, *self.trained_again, *self.unequal, *repeated]

    def add(self, other: Killed) -> None:
        self.chains += other.chains
        self.kills += other.kills
        self.in_recovery += other.in_recovery
        self.trained_again += other.trained_again
        self.unequal += other.unequal
        self.failed += other.failed
        self.most_repeated_seconds = max(self.most_repeated_seconds, other.most_repeated_seconds)


def run_whole(commands: Commands, search: Search, folder: Path, *options: str) -> Whole:
    """The run that others are compared with; it is run once before, so that caches are full when it is measured."""
    for name in (f"{search.name}-first", f"{search.name}-whole"):
        start = time.monotonic()
        ended = commands.run("search", search.recipe, "--out", folder / name, "--quiet", *options)
        seconds = time.monotonic() - start
        if ended.code:
            raise AssertionError(f"{search.name}: the run to compare with failed: {ended.err}")
    values = held(folder / f"{search.name}-whole")
    if unlike := differences(folder / f"{search.name}-first", values):
        raise AssertionError(f"{search.name}: two runs that nothing befell differ in {unlike}")
    return Whole(search, values, seconds)


def begin_or_resume(run: Path, search: Search, *options: str) -> list[str | Path]:
    """The command by which a user goes on: `resume`, or `search` where the kill came before there was a run."""
    if (run / "recipe.yaml").is_file():
        return ["resume", run, "--quiet"]
    return ["search", search.recipe, "--out", run, "--quiet", *options]


def kill_chain(
    commands: Commands,
    whole: Whole,
    folder: Path,
    seed: int,
    *options: str,
    most: int = MOST_KILLS,
    spread: float | None = None,
) -> Killed:
    """One run, killed at uniform instants of each of its commands; `spread` seconds, or as long as a whole run.

    With an odd seed its trials are saved after every step, else as a search saves them, which is never in a second.
    A run that ended before its first kill says nothing: another is begun and killed sooner.
    """
    within = spread or whole.seconds
    while True:
        found = _killed_within(within, commands, whole, folder, seed, *options, most=most)
        if found.kills or found.wrong:
            return found
        within /= 2


def _killed_within(
    within: float, commands: Commands, whole: Whole, folder: Path, seed: int, *options: str, most: int
) -> Killed:
    before = ["tests.faults.often_saved"] if seed % 2 else []
    generator, name = random.Random(seed), f"{whole.search.name}, seed {seed}"  # noqa: S311
    run, found = folder / f"{whole.search.name}-{seed}", Killed(chains=1)
    finished: dict[str, int] = {}
    while True:
        start = time.time()
        child = commands.start(*begin_or_resume(run, whole.search, *options), before=before)
        if found.kills < most:
            child.run_for(generator.uniform(0, within))
            child.send(signal.SIGKILL)
        killed_at = time.time()
        ended = child.wait()
        if ended.code == -signal.SIGKILL:
            found.in_recovery += found.kills > 0
            found.kills += 1
            found.most_repeated_seconds = max(found.most_repeated_seconds, killed_at - max(start, _last_saved(run)))
        finished = _compare_finished(finished, run, name, found)
        if ended.code != -signal.SIGKILL:
            break
    if ended.code:
        found.failed.append(f"{name}: exit {ended.code} after {found.kills} kills: {ended.err[-600:]}")
        return found
    if unlike := differences(run, whole.held):
        found.unequal.append(f"{name}: {', '.join(unlike)}")
    if not found.wrong:
        shutil.rmtree(run)
    return found


def _last_saved(run: Path) -> float:
    """When work was last made safe: the newest manifest of a trial or of a checkpoint in it."""
    return max((path.stat().st_mtime for path in (run / "trials").rglob("manifest.json")), default=0.0)


def _compare_finished(before: dict[str, int], run: Path, name: str, found: Killed) -> dict[str, int]:
    """Finished trials and when their adapters were written; one that was finished before must not be written again."""
    now = {}
    for manifest in (run / "trials").glob("[0-9]*/manifest.json"):
        adapter = manifest.with_name("adapter_model.safetensors")
        if adapter.exists():
            now[manifest.parent.name] = adapter.stat().st_mtime_ns
    for trial, written in before.items():
        if now.get(trial) != written:
            found.trained_again.append(f"{name}: trial {trial} {'was trained again' if trial in now else 'is gone'}")
    return {**before, **now}
