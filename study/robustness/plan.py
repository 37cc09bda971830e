"""Which trainings a study asks for, seed by seed, so that one that is broken off is whole for some seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from study.robustness.conditions import CHANGES, CLEAN, OTHER_SOURCE, TRAININGS
from study.robustness.contenders import Contender, FullFineTuning, Lora, Svm
from study.robustness.trials import AskedTrial

LORA, SVM, FULL, ADAPTER = "loraloom", "svm", "full", "adapter"
PEERS = (SVM, FULL)
_TYPOS = tuple(name for name in CHANGES if name.startswith("typos"))


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change of loraloom's training or of how it predicts, and where it is asked: a training and its test sets."""

    name: str
    words: str
    asked: tuple[tuple[str, tuple[str, ...]], ...]
    train: Mapping[str, Any] = field(default_factory=dict)
    typo_copies: float = 0.0
    class_shares: tuple[str, ...] = ()


REMEDIES = (
    Remedy(
        "loraloom-smoothed",
        "`label_smoothing_factor: 0.1`",
        ((CLEAN, (CLEAN, OTHER_SOURCE)), ("noise 20 %", (CLEAN, OTHER_SOURCE))),
        train={"label_smoothing_factor": 0.1},
    ),
    Remedy(
        "loraloom-balanced",
        "`class_weight: balanced`",
        (("skew 1:10", (CLEAN, OTHER_SOURCE)), ("skew 1:100", (CLEAN, OTHER_SOURCE))),
        train={"class_weight": "balanced"},
    ),
    Remedy(
        "loraloom-told",
        "`predict --class_shares balanced`",
        (("skew 1:10", (CLEAN, OTHER_SOURCE)), ("skew 1:100", (CLEAN, OTHER_SOURCE))),
        class_shares=("balanced",),
    ),
    Remedy(
        "loraloom-typos",
        "each training row once more, with typos in 5 % of its characters",
        ((CLEAN, (CLEAN, *_TYPOS, OTHER_SOURCE)),),
        typo_copies=0.05,
    ),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a study trains: loraloom's recipe (or a given adapter), the rows, and the seeds."""

    recipe: Mapping[str, Any]
    rows: int
    test_rows: int
    seeds: tuple[int, ...]
    data: str
    seconds: float | None = None
    adapter: Contender | None = None
    without: Sequence[str] = ()

    def asked(self, sets: Sequence[str]) -> Iterator[AskedTrial]:
        """All trials; `sets` are the names of the test sets that there are."""
        of_trainings = tuple(name for name in (CLEAN, OTHER_SOURCE) if name in sets)
        for seed in self.seeds:
            if self.adapter is not None and seed == self.seeds[0]:
                yield self._asked(ADAPTER, self.adapter, CLEAN, tuple(sets), seed)
            for name, contender in self._contenders():
                if name in self.without:
                    continue
                for condition in TRAININGS:
                    yield self._asked(
                        name, contender, condition, tuple(sets) if condition == CLEAN else of_trainings, seed
                    )
            if LORA in self.without:
                continue
            for remedy in REMEDIES:
                changed = Lora(self.recipe, self.seconds, remedy.train, remedy.typo_copies, remedy.class_shares)
                for condition, names in remedy.asked:
                    there = tuple(name for name in names if name in sets)
                    yield self._asked(remedy.name, changed, condition, there, seed)

    def _contenders(self) -> list[tuple[str, Contender]]:
        model = self.recipe.get("backbone", {}).get("model", "demo")
        max_length = self.recipe.get("data", {}).get("max_length", 128)
        return [
            (SVM, Svm()),
            (LORA, Lora(self.recipe, self.seconds)),
            (FULL, FullFineTuning(model, max_length)),
        ]

    def _asked(self, name: str, contender: Contender, condition: str, sets: tuple[str, ...], seed: int) -> AskedTrial:
        return AskedTrial(name, contender, condition, sets, self.rows, self.test_rows, seed, self.data)
