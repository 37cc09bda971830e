"""From samples to what is said: rates, ratios, shares of the peak, goals reached; as JSON and as a table."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.cases import Case, Goal, Peer
from bench.measure import Sample
from loraloom.machine import read_machine
from study.machine import described, refuse_mixed


def machine_folder(results: Path) -> Path:
    """Where comparisons made on this machine stand: a folder for each processor, since ratios depend on it."""
    return results / "engines" / re.sub(r"[^a-z0-9]+", "-", read_machine().cpu.lower()).strip("-")


def refuse_other_machine(results: Path) -> None:
    """No comparison is written beside those of a processor of the same name with other instructions.

    Raises:
        DataError: there is one.
    """
    folder = machine_folder(results)
    there = [json.loads(path.read_text(encoding="utf-8"))["machine"]["machine"] for path in folder.glob("*.json")]
    refuse_mixed([described()["machine"], *there], str(folder))


@dataclass(frozen=True, slots=True)
class Line:
    """A peer's figures. `loom_is_times` is loom's rate by this peer's; `share` is of the machine's GEMM peak."""

    peer: str
    examples_per_second: float
    seconds_per_trial: float
    whole_seconds: float
    peak_mb: float
    loom_is_times: float | None
    share: float | None


@dataclass(frozen=True, slots=True)
class Reached:
    """A goal: what is counted, the least (of memory, the most) that it should be, and what was reached."""

    words: str
    bound: Literal["≥", "≤"]
    goal: float
    reached: float
    met: bool

    @property
    def sentence(self) -> str:
        return f"{self.words}: {self.reached:.2f}, the goal is {self.bound} {self.goal:g}"


def met(reached: bool) -> str:
    """What a page says of a goal."""
    return "met" if reached else "missed"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One case on one machine: everything that the page says, and the samples that it comes from."""

    case: str
    title: str
    measure: str
    work: dict[str, Any]
    engine: str
    quick: bool
    rounds: int
    threads: int
    machine: dict[str, Any]
    tokens_per_row: float
    peak: dict[str, Any]
    peaks: tuple[float, ...]
    lines: tuple[Line, ...]
    goals: tuple[Reached, ...]
    samples: tuple[Sample, ...]
    mega_batch: int | None = None
    """Batches among whose rows HF Trainer, tuned, sorted by length; None: as many as it takes by itself."""

    def write(self, results: Path) -> None:
        """Writes it to the folder of this machine under `results`."""
        folder = machine_folder(results)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (folder / f"{self.case}.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Comparison:
        values = json.loads(path.read_text(encoding="utf-8"))
        for name, kind in (("lines", Line), ("goals", Reached), ("samples", Sample)):
            values[name] = tuple(kind(**value) for value in values[name])
        return cls(**values)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows, as text."""
        trials = self.measure == "trials"
        header = ("peer", "examples/s", "s a trial", "process, s", "peak, MiB", "loraloom is", "share of peak")
        rows = [
            (
                line.peer,
                f"{line.examples_per_second:.1f}",
                f"{line.seconds_per_trial:.1f}",
                f"{line.whole_seconds:.1f}",
                f"{line.peak_mb:,.0f}",
                "" if line.loom_is_times is None else f"{line.loom_is_times:.2f} ×",
                "" if line.share is None else f"{line.share:.0%}",
            )
            for line in self.lines
        ]
        kept = [column for column in range(len(header)) if trials or header[column] != "s a trial"]
        return tuple(header[column] for column in kept), [tuple(row[column] for column in kept) for row in rows]


def fastest(case: Case, samples: Sequence[Sample]) -> Peer:
    """The fastest way to tune HF Trainer, of those measured."""
    return max(case.tuned, key=lambda peer: rate(case, peer, samples))


def rate(case: Case, peer: Peer, samples: Sequence[Sample]) -> float:
    """Examples per second: of the rows between the two sizes, or of whole trainings where the sizes are one.

    The best time of each size is taken: whatever else a machine does makes times longer, never shorter.
    """
    small, large = case.work.rows
    first, last = (min(s.seconds for s in _of(peer, samples) if s.rows == size) for size in (small, large))
    return case.work.epochs * (large / last if small == large else (large - small) / (last - first))


def tokens_per_row(case: Case, samples: Sequence[Sample]) -> float:
    """Tokens of a row, without padding, of those rows that `rate` is about."""
    small, large = case.work.rows
    first, last = (next(s.tokens for s in samples if s.rows == size) for size in (small, large))
    return last / large if small == large else (last - first) / (large - small)


def lines_of(case: Case, samples: Sequence[Sample], peak: dict[str, Any]) -> tuple[Line, ...]:
    """A line for each peer, the fastest tuned one marked."""
    peers = [Peer("plain"), *case.tuned, *(Peer("loom", trials=trials) for trials in case.trials)]
    best, loom = fastest(case, samples), rate(case, Peer("loom"), samples)
    return tuple(_line(case, peer, samples, peak, loom, peer == best) for peer in peers)


def goals_of(case: Case, samples: Sequence[Sample], peak: dict[str, Any]) -> tuple[Reached, ...]:
    return tuple(_reached(case, goal, samples, peak) for goal in case.goals)


def _line(case: Case, peer: Peer, samples: Sequence[Sample], peak: dict[str, Any], loom: float, marked: bool) -> Line:
    own = _largest(case, peer, samples)
    speed = rate(case, peer, samples)
    return Line(
        peer=peer.name + " (fastest)" * marked,
        examples_per_second=speed,
        seconds_per_trial=min(s.seconds for s in own),
        whole_seconds=min(s.whole_seconds for s in own),
        peak_mb=_peak_mb(case, peer, samples),
        loom_is_times=None if peer.kind == "loom" else loom / speed,
        share=_share(case, speed, samples, peak),
    )


def _reached(case: Case, goal: Goal, samples: Sequence[Sample], peak: dict[str, Any]) -> Reached:
    loom = Peer("loom", trials=goal.trials)
    plain, tuned = Peer("plain"), fastest(case, samples)
    per_trial = f", each of {goal.trials} trials" if goal.trials > 1 else ""
    match goal.versus:
        case "plain" | "tuned":
            other = plain if goal.versus == "plain" else tuned
            words = f"times as fast as {other.name}{per_trial}"
            reached = rate(case, loom, samples) / rate(case, other, samples)
        case "peak":
            words = "share of the GEMM peak"
            reached = _share(case, rate(case, loom, samples), samples, peak) or 0.0
        case "memory":
            words = f"times the peak memory of {tuned.name}"
            reached = _peak_mb(case, loom, samples) / _peak_mb(case, tuned, samples)
    return Reached(words, goal.bound, goal.value, reached, goal.met(reached))


def _share(case: Case, speed: float, samples: Sequence[Sample], peak: dict[str, Any]) -> float | None:
    """Share of the peak: 2 P operations a token forward, and as many for the gradient of each layer's input.

    P are the parameters of the encoder's linear layers. Where not all layers are adapted, less is needed, and no
    share is given.
    """
    if case.work.layers is not None:
        return None
    passes = 1 if case.measure == "evaluation" else 2
    operations = 2 * passes * peak["linear_parameters"] * tokens_per_row(case, samples)
    return float(speed * operations / peak["operations_per_second"])


def _peak_mb(case: Case, peer: Peer, samples: Sequence[Sample]) -> float:
    return statistics.median(s.peak_mb for s in _largest(case, peer, samples))


def _largest(case: Case, peer: Peer, samples: Sequence[Sample]) -> list[Sample]:
    return [s for s in _of(peer, samples) if s.rows == case.work.rows[1]]


def _of(peer: Peer, samples: Sequence[Sample]) -> list[Sample]:
    return [s for s in samples if s.peer == peer.name]
