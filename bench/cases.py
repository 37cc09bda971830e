"""What is measured: the cases, the peers in each, and the goals. Imports no torch, so that the parent stays small.

A measuring process's peak memory is counted from its parent's (Linux keeps the greater of both over exec), so whatever
this module and `engines.py` import would be added to small peers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Measure = Literal["training", "trials", "evaluation"]
Versus = Literal["plain", "tuned", "peak", "memory"]


@dataclass(frozen=True, slots=True)
class Work:
    """What every peer of a case does alike.

    `rows` are two sizes: the rate is that of the rows between them, so that what is done once does not count. Where
    both are one, whole trainings of that many rows are timed.
    """

    model: Literal["base", "demo"]
    rows: tuple[int, int]
    max_length: int = 128
    batch: int = 16
    epochs: int = 1
    layers: tuple[int, ...] | None = None
    dropout: Literal["keep", "off"] = "keep"
    bf16: bool = True
    joined: bool = False
    """Texts are joined until every row has max_length tokens."""
    tiny: bool = False
    """A model of width 64 in the base model's place, to see that everything runs."""
    depth: int = 12
    """Layers of the base model, or of the one in its place."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to do the work. `plain` and `tuned` are HF Trainer + PEFT; `loom` is loraloom's engine."""

    kind: Literal["plain", "tuned", "loom"]
    attention: Literal["eager", "sdpa"] | None = None
    bf16_weights: bool = False
    trials: int = 1
    """Trainings one after another in the process; the time is that of one."""

    @property
    def name(self) -> str:
        words = {"plain": "HF Trainer + PEFT as it comes", "tuned": "the same, tuned", "loom": "loraloom"}[self.kind]
        weights = "bf16 weights" if self.bf16_weights else None
        trials = f"{self.trials} trials" if self.trials > 1 else None
        return ", ".join(word for word in (words, self.attention, weights, trials) if word)


@dataclass(frozen=True, slots=True)
class Goal:
    """`loom` against another: times as fast at least, share of the GEMM peak at least, or memory at most."""

    versus: Versus
    value: float
    trials: int = 1

    @property
    def bound(self) -> Literal["≥", "≤"]:
        return "≤" if self.versus == "memory" else "≥"

    def met(self, reached: float) -> bool:
        return reached <= self.value if self.bound == "≤" else reached >= self.value


@dataclass(frozen=True, slots=True)
class Case:
    """A comparison: its work, and what is to be reached."""

    name: str
    title: str
    work: Work
    goals: tuple[Goal, ...]
    measure: Measure = "training"

    @property
    def trials(self) -> tuple[int, ...]:
        """The numbers of trials that loom's goals speak of."""
        return tuple(sorted({1, *(goal.trials for goal in self.goals)}))

    @property
    def tuned(self) -> tuple[Peer, ...]:
        """Every way to tune HF Trainer for this work; the fastest is the one that goals speak of."""
        weights = (False, True) if self.work.bf16 else (False,)
        return tuple(
            Peer("tuned", attention, bf16_weights) for bf16_weights in weights for attention in ("eager", "sdpa")
        )

    @property
    def repeats_plain(self) -> bool:
        """`plain` is slow, and is measured once where no goal depends on it."""
        return any(goal.versus == "plain" for goal in self.goals)


MEGA_BATCH = 50
"""Batches among whose rows HF Trainer, tuned, sorts by length: as many as it takes by itself of 3,200 rows or more. Of
fewer it takes a quarter: batches of 64 rows would be random, and those of 320 less so."""
BASE = Work("base", (64, 320))
CASES = (
    Case(
        "base",
        "roberta-base size, AG News",
        BASE,
        (Goal("plain", 7), Goal("tuned", 1.8), Goal("peak", 0.75), Goal("memory", 0.6)),
    ),
    Case(
        "demo",
        "the 6-layer demo encoder, AG News",
        Work("demo", (256, 1280)),
        (Goal("plain", 4), Goal("tuned", 2), Goal("peak", 0.6)),
    ),
    Case(
        "top3",
        "only the top 3 of 12 layers adapted, backbone dropout off, 3 epochs",
        replace(BASE, rows=(512, 512), epochs=3, layers=(9, 10, 11), dropout="off"),
        (Goal("tuned", 3.5), Goal("tuned", 5.5, trials=8)),
        "trials",
    ),
    Case(
        "long",
        "every row of 256 tokens",
        replace(BASE, rows=(16, 96), max_length=256, joined=True),
        (Goal("tuned", 1.6),),
    ),
    Case(
        "eval",
        "evaluation alone: from texts to logits",
        replace(BASE, rows=(256, 1024), batch=64),
        (Goal("tuned", 2),),
        "evaluation",
    ),
    Case(
        "fp32",
        "as base, fp32 on all sides",
        replace(BASE, bf16=False),
        (Goal("tuned", 1.3),),
    ),
)


def quick(case: Case) -> Case:
    """The case in seconds, to see that it runs; its numbers mean nothing."""
    rows = (32, 32) if case.measure == "trials" else (16, 64)
    return replace(case, work=replace(case.work, rows=rows, tiny=case.work.model == "base"))
