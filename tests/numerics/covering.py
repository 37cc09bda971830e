"""All pairs of options in few rows: a covering array by the greedy method of Cohen et al. 1997 ("The AETG System")."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

Row = dict[str, Any]
Held = tuple[str, Any]
Pair = tuple[Held, Held]


def pairs_of(row: Row) -> set[Pair]:
    """The pairs of options that a row holds."""
    return set(combinations(sorted(row.items()), 2))


def all_pairs(options: Mapping[str, Sequence[Any]]) -> set[Pair]:
    """Every pair of values of two different options."""
    return {
        ((one, a), (other, b))
        for one, other in combinations(sorted(options), 2)
        for a in options[one]
        for b in options[other]
    }


def covering(options: Mapping[str, Sequence[Any]], *, tries: int = 5, seed: int = 0) -> list[Row]:
    """Rows that hold every pair, the same ones on every call: about the product of the two longest options."""
    generator = random.Random(seed)  # noqa: S311
    left, rows = all_pairs(options), []
    while left:
        candidates = [_candidate(options, left, generator) for _ in range(tries)]
        best = max(candidates, key=lambda row: len(pairs_of(row) & left))
        rows.append({name: best[name] for name in options})
        left -= pairs_of(best)
    return rows


def _candidate(options: Mapping[str, Sequence[Any]], left: set[Pair], generator: random.Random) -> Row:
    """A row begun with a pair that is missing; each further option takes the value that covers most of what is left."""
    row: Row = dict(generator.choice(sorted(left, key=str)))
    for name in generator.sample(list(options), len(options)):
        if name not in row:
            values = generator.sample(list(options[name]), len(options[name]))
            row[name] = max(values, key=lambda value: len(pairs_of({**row, name: value}) & left))
    return row
