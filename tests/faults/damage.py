"""Files of a run cut short, or with single bits flipped: found, and mended or refused; never another number.

After each damage come the commands that a user would give. `report` and `evaluate` must say what they said before, or
refuse, or (the report) name the damage; `resume` must refuse, or leave the run equal to one that nothing befell.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.commands import Commands, Ended, wait_for
from tests.faults.failing import is_clear
from tests.faults.kills import Whole
from tests.faults.searches import differences

CUT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of the run cut to `size` bytes, or its bit number `bit` flipped."""

    file: str
    size: int | None = None
    bit: int | None = None

    def __str__(self) -> str:
        return f"{self.file} {f'cut to {self.size} bytes' if self.bit is None else f'with bit {self.bit} flipped'}"

    def befall(self, run: Path) -> None:
        path = run / self.file
        content = bytearray(path.read_bytes())
        if self.bit is None:
            del content[self.size :]
        else:
            content[self.bit // 8] ^= 1 << self.bit % 8
        path.write_bytes(bytes(content))


@dataclass(slots=True)
class Damaged:
    """What became of damaged runs."""

    damages: int = 0
    mended: int = 0
    refused: int = 0
    harmless: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Damaged) -> None:
        self.damages += other.damages
        self.mended += other.mended
        self.refused += other.refused
        self.harmless += other.harmless
        self.wrong += other.wrong


def files_of(run: Path) -> dict[str, int]:
    """The files of a run that a command reads, and their sizes."""
    return {
        path.relative_to(run).as_posix(): path.stat().st_size
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def cuts(run: Path, every: int = CUT_BYTES) -> Iterator[Damage]:
    """Every file at every `every`-th byte."""
    for file, size in files_of(run).items():
        yield from (Damage(file, size=at) for at in range(0, size, every))


def flips(run: Path, count: int, seed: int) -> Iterator[Damage]:
    """Single bits: first a file, as likely as any other, then a bit of it."""
    generator, sizes = random.Random(seed), {f: s for f, s in files_of(run).items() if s}  # noqa: S311
    for _ in range(count):
        file = generator.choice(list(sizes))
        yield Damage(file, bit=generator.randrange(8 * sizes[file]))


def interrupted(commands: Commands, whole: Whole, folder: Path) -> Path:
    """A run that was killed in a trial after its first was finished."""
    run = folder / f"{whole.search.name}-interrupted"
    with commands.start("search", whole.search.recipe, "--out", run, "--quiet") as child:
        wait_for((run / "trials" / "0001" / "metrics.jsonl").exists)
        child.send(signal.SIGKILL)
        child.wait()
    return run


@dataclass(frozen=True, slots=True)
class Unhurt:
    """A run before its damage, and what the commands say of it."""

    run: Path
    evaluation: str
    page: str

    @classmethod
    def read(cls, commands: Commands, run: Path, rows: Path) -> Unhurt:
        evaluation = ""
        if (run / "best").is_dir():
            evaluation = _told(commands.run("evaluate", run / "best", "--test_file", rows, "--json"))
        assert commands.run("report", run).code == 0
        return cls(run, evaluation, _page(run, run))


def damage_run(
    commands: Commands, whole: Whole, unhurt: Unhurt, folder: Path, damage: Damage, before: Sequence[str] = ()
) -> Damaged:
    """A copy of a run with `damage`, given to the commands; `before` befalls the one that goes on with it."""
    run, found, name = folder / "damaged" / unhurt.run.name, Damaged(damages=1), f"{unhurt.run.name}: {damage}"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(unhurt.run, run)
    damage.befall(run)
    _read(commands, whole, unhurt, run, name, found)
    ended = commands.start("resume", run, before=before).wait()
    if not is_clear(ended):
        found.wrong.append(f"{name}: resume: exit {ended.code}: {ended.err.strip()[-600:]}")
    elif ended.code:
        found.refused += 1
    elif unlike := differences(run, whole.held):
        found.wrong.append(f"{name}: resume: unequal, silently: {', '.join(unlike)}")
    elif re.search(r"is trained again|written anew|made again", ended.out):
        found.mended += 1
    else:
        found.harmless += 1
    return found


def _read(commands: Commands, whole: Whole, unhurt: Unhurt, run: Path, name: str, found: Damaged) -> None:
    """The commands that read only."""
    if (run / "best").is_dir():
        ended = commands.run("evaluate", run / "best", "--test_file", whole.search.rows, "--json")
        if not is_clear(ended):
            found.wrong.append(f"{name}: evaluate: exit {ended.code}: {ended.err.strip()[-600:]}")
        elif not ended.code and _told(ended) != unhurt.evaluation and "is not known: " not in ended.out:
            found.wrong.append(f"{name}: evaluate: another number, silently")
    ended = commands.run("report", run)
    if not is_clear(ended):
        found.wrong.append(f"{name}: report: exit {ended.code}: {ended.err.strip()[-600:]}")
    elif not ended.code and (page := _page(run, unhurt.run)) != unhurt.page and not _PROBLEM.search(page):
        found.wrong.append(f"{name}: report: another page, silently")


_PROBLEM = re.compile(r"is damaged|read: |is missing|does not name|can.{1,5}t be (read|trusted)")


def _told(ended: Ended) -> str:
    return "\n".join(line for line in ended.out.splitlines() if '"adapter"' not in line)


def _page(run: Path, original: Path) -> str:
    """The report's page, the same for a copy of a run as for the run."""
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    return page.replace(str(run), "RUN").replace(str(original), "RUN")
