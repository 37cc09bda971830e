"""All faults, by the thousand: python -m tests.faults.torture, or one kind: python -m tests.faults.torture kills.

Prints a table of what was done, and every case that went wrong with its seed; exits 1 if there is one. A kind takes
minutes to hours, see docs/faults.md; `--part 3/20` does the third twentieth of each, and all twenty are the whole.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain, count
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from loraloom.machine import read_machine
from tests.commands import REPOSITORY, Commands
from tests.faults.damage import Damage, Damaged, Unhurt, cuts, damage_run, flips, interrupted
from tests.faults.drawn import draw_search
from tests.faults.failing import Suffered, count_calls, cut_power, fail_call
from tests.faults.kills import Killed, Whole, kill_chain, run_whole
from tests.faults.searches import SEARCHES, Search, write_search
from tests.faults.shim import ERRORS, compile_shim, compiler
from tests.faults.signals import Signalled, signal_run

KILLS, DEMO_KILLS, FLIPS, SIGNALS, DRAWN = 3000, 200, 2000, 300, 300
DEMO_SPREAD_SECONDS = 30
DRAWN_KILLS = 3
BATCH = 24
Row = tuple[str, str, list[str]]
T = TypeVar("T")
Case = Callable[[Commands], T]


@dataclass(frozen=True, slots=True)
class Part:
    """The `number`-th of `parts` parts of a kind, which together are the whole: no case is in two of them."""

    number: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Of "3/20".

        Raises:
            argparse.ArgumentTypeError: it is no such thing.
        """
        number, _, parts = text.partition("/")
        if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
            raise argparse.ArgumentTypeError(f"{text!r} is no part such as 3/20")
        return cls(int(number), int(parts))

    def __str__(self) -> str:
        return f"{self.number}/{self.parts}"

    def some(self, whole: int) -> int:
        """How many of so many at random are this part's."""
        return max(1, round(whole / self.parts))

    def first(self, whole: int) -> int:
        """The seed that it begins with: the parts before it have not come so far, with a case or two by each seed."""
        return 2 * whole * (self.number - 1) // self.parts

    def picked(self, cases: Sequence[T]) -> Sequence[T]:
        return cases[self.number - 1 :: self.parts]


@dataclass(frozen=True, slots=True)
class Torture:
    """Where the work is done, and which part of it; each worker has a zygote of its own."""

    folder: Path
    zygotes: SimpleQueue[Commands]
    workers: int
    part: Part
    wholes: dict[str, Whole] = field(default_factory=dict)

    def borrowed(self, work: Case[T]) -> T:
        commands = self.zygotes.get()
        try:
            return work(commands)
        finally:
            self.zygotes.put(commands)

    def all(self, cases: Iterable[Case[T]]) -> Iterator[T]:
        """The outcome of each case, in order, some at a time."""
        with ThreadPoolExecutor(self.workers) as pool:
            yield from pool.map(self.borrowed, cases)

    def whole(self, name: str) -> Whole:
        """The run to compare with, made once."""
        if name not in self.wholes:
            search = write_search(self.folder / name, name)
            self.wholes[name] = self.borrowed(lambda commands: run_whole(commands, search, self.folder / name))
        return self.wholes[name]


def kills(torture: Torture) -> Row:
    """kill -9 of tiny searches."""
    found, wholes = Killed(), [torture.whole(name) for name in SEARCHES]
    for first in count(torture.part.first(KILLS), BATCH):

        def one(commands: Commands, seed: int) -> Killed:
            return kill_chain(commands, wholes[seed % len(wholes)], torture.folder, seed)

        for killed in torture.all(partial(one, seed=seed) for seed in range(first, first + BATCH)):
            found.add(killed)
        if found.kills >= torture.part.some(KILLS):
            break
    return "kill -9, tiny searches", _killed(found), found.wrong


def demo(torture: Torture) -> Row:
    """kill -9 of the demo."""
    search, found = Search("demo", REPOSITORY / "recipes" / "demo.yaml", Path()), Killed()
    folder = torture.folder / "demo"
    folder.mkdir()
    whole = torture.borrowed(lambda commands: run_whole(commands, search, folder))
    for seed in count(torture.part.first(DEMO_KILLS)):

        def one(
            commands: Commands, seed: int = seed, most: int = torture.part.some(DEMO_KILLS) - found.kills
        ) -> Killed:
            return kill_chain(commands, whole, folder, seed, most=most, spread=DEMO_SPREAD_SECONDS)

        found.add(torture.borrowed(one))
        if found.kills >= torture.part.some(DEMO_KILLS):
            break
    return "kill -9, the demo", _killed(found), found.wrong


def drawn(torture: Torture) -> Row:
    """kill -9 of searches drawn at random, each run twice before."""
    found = Killed()

    def one(commands: Commands, seed: int) -> Killed:
        folder = torture.folder / f"drawn-{seed}"
        try:
            whole = run_whole(commands, draw_search(folder, seed), folder)
            return kill_chain(commands, whole, folder, seed, most=DRAWN_KILLS)
        except AssertionError as error:
            return Killed(failed=[f"seed {seed}: {error}"])
        finally:
            shutil.rmtree(folder)

    for killed in torture.all(partial(one, seed=seed) for seed in torture.part.picked(range(DRAWN))):
        found.add(killed)
    return "kill -9, searches drawn at random", _killed(found), found.wrong


def signals(torture: Torture) -> Row:
    """SIGTERM and Ctrl-C, a quarter of them twice."""
    found, wholes = Signalled(), [torture.whole(name) for name in SEARCHES]
    for first in count(torture.part.first(SIGNALS), BATCH):

        def one(commands: Commands, seed: int) -> Signalled:
            return signal_run(commands, wholes[seed % len(wholes)], torture.folder, seed, twice=seed % 4 == 3)

        for signalled in torture.all(partial(one, seed=seed) for seed in range(first, first + BATCH)):
            found.add(signalled)
        if found.signals >= torture.part.some(SIGNALS) or not found.signals:
            break
    done = f"{found.signals} signals, {found.second} of them twice; ended within {found.longest_seconds:.1f} s"
    return "SIGTERM, Ctrl-C", done, found.wrong


def calls(torture: Torture) -> Row:
    """Each system call of the write path made to fail, once and for good, by each of the errors."""
    found = Suffered()
    for whole in (torture.whole("loom"), torture.whole("trainer")):
        cases: list[Case[Suffered]] = []

        def one(commands: Commands, nth: int, error: str, *, forever: bool, whole: Whole = whole) -> Suffered:
            return fail_call(commands, whole, torture.folder, nth, error, forever=forever)

        for error in ERRORS:
            made = torture.borrowed(partial(count_calls, whole=whole, folder=torture.folder, error=error))
            some = torture.part.picked(range(1, len(made) + 1))
            cases += [partial(one, nth=nth, error=error, forever=forever) for nth in some for forever in (False, True)]
        for suffered in torture.all(cases):
            found.add(suffered)
    return "failing system calls", f"{found.faults} calls, {found.refused} said in a sentence", found.wrong


def power(torture: Torture) -> Row:
    """Power cut at each call: once strictly, once by coins."""
    found = Suffered()
    for whole in (torture.whole("loom"), torture.whole("trainer")):
        made = torture.borrowed(partial(count_calls, whole=whole, folder=torture.folder))

        def one(commands: Commands, nth: int, seed: int | None, whole: Whole = whole) -> Suffered:
            return cut_power(commands, whole, torture.folder, nth, seed)

        some = torture.part.picked(range(1, len(made) + 1))
        for suffered in torture.all(partial(one, nth=nth, seed=seed) for nth in some for seed in (None, nth)):
            found.add(suffered)
    return "power cuts", f"{found.faults} cuts", found.wrong


def damage(torture: Torture) -> Row:
    """Files cut at every 64th byte, and single bits flipped, of a finished and of an interrupted run, without a pruner
    and with one of epochs."""
    found, wholes = Damaged(), [torture.whole(name) for name in ("loom", "pruned")]
    runs = [
        (whole, run)
        for whole in wholes
        for run in (
            torture.folder / whole.search.name / f"{whole.search.name}-whole",
            torture.borrowed(partial(interrupted, whole=whole, folder=torture.folder)),
        )
    ]
    for whole, run in runs:
        unhurt = torture.borrowed(partial(Unhurt.read, run=run, rows=whole.search.rows))

        def one(commands: Commands, what: Damage, whole: Whole = whole, unhurt: Unhurt = unhurt) -> Damaged:
            return damage_run(commands, whole, unhurt, commands.scratch, what)

        flipped = flips(run, max(1, torture.part.some(FLIPS) // len(runs)), torture.part.number)
        for damaged in torture.all(
            partial(one, what=what) for what in chain(flipped, torture.part.picked(list(cuts(run))))
        ):
            found.add(damaged)
    done = f"{found.damages} damages: {found.mended} mended, {found.refused} refused, {found.harmless} decide nothing"
    return "damaged files", done, found.wrong


KINDS: dict[str, Callable[[Torture], Row]] = {
    "kills": kills,
    "signals": signals,
    "calls": calls,
    "power": power,
    "damage": damage,
    "drawn": drawn,
    "demo": demo,
}


def _killed(found: Killed) -> str:
    return (
        f"{found.kills} kills in {found.chains} runs, {found.in_recovery} in recovery; "
        f"{len(found.trained_again)} trained again, {len(found.unequal)} unequal; "
        f"{found.most_repeated_seconds:.1f} s repeated at most"
    )


def main() -> int:
    """Runs the kinds that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="all by default")
    parser.add_argument("--part", type=Part.parse, default=Part(1, 1), metavar="K/N", help="the K-th of N parts")
    parser.add_argument("--workers", type=int, default=read_machine().logical_cores)
    asked = parser.parse_args()
    folder, zygotes = Path(tempfile.mkdtemp(prefix="torture-")), SimpleQueue[Commands]()
    shim = compile_shim(folder) if compiler() else None
    started = [Commands(folder / f"commands-{number}", preload=shim) for number in range(asked.workers)]
    for one in started:
        zygotes.put(one)
    torture = Torture(folder, zygotes, asked.workers, asked.part)
    wrong: list[str] = []
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {asked.workers} cores, part {asked.part}\n")
    print("| faults | done | wrong | minutes |\n| --- | --- | --- | --- |", flush=True)
    for kind in asked.kinds or KINDS:
        if shim is None and kind in ("calls", "power"):
            print(f"| {kind} | skipped: no C compiler | | |", flush=True)
            continue
        start = time.monotonic()
        name, done, found = KINDS[kind](torture)
        print(f"| {name} | {done} | {len(found)} | {(time.monotonic() - start) / 60:.0f} |", flush=True)
        print("\n".join(found), file=sys.stderr, flush=True)
        wrong += found
    for one in started:
        one.close()
    if wrong:
        print(f"what the runs that went wrong hold is in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
