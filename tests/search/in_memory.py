"""A ledger without a file, whose sampler draws at random."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from optuna.distributions import CategoricalDistribution, IntDistribution

from loraloom.study.ledger import Entry


class InMemoryLedger:
    """What `Proposals` asks of a ledger."""

    def __init__(self) -> None:
        self.kept: list[Entry] = []
        self._draws = 0

    def entries(self, since: int = 0) -> tuple[Entry, ...]:
        return tuple(self.kept[since:])

    def entry(self, number: int) -> Entry:
        return self.kept[number]

    @property
    def count(self) -> int:
        return len(self.kept)

    def draw(self, distributions: Any, sampler: Any, **_: Any) -> dict[str, Any]:
        del sampler
        self._draws += 1
        generator = random.Random(self._draws)  # noqa: S311
        return {name: _drawn(found, generator) for name, found in distributions.items()}

    def ask(self, distributions: Any, params: Any, *, seed_index: int = 0, rows: Any = None) -> Entry:
        del distributions
        self.kept.append(Entry(len(self.kept), "running", params, seed_index, rows, None))
        return self.kept[-1]

    def tell(self, number: int, state: Any, value: float | None, reason: str | None = None) -> None:
        del reason
        self.kept[number] = replace(self.kept[number], state=state, value=value)

    def reject(self, number: int, reason: str) -> None:
        self.tell(number, "rejected", None, reason)


def _drawn(found: Any, generator: random.Random) -> Any:
    match found:
        case CategoricalDistribution():
            return generator.choice(found.choices)
        case IntDistribution():
            return generator.randint(found.low, found.high)
        case _:
            return generator.uniform(found.low, found.high)
