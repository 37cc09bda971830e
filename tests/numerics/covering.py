"""All pairs of options in few rows, or triples: covering arrays by the greedy method of Cohen et al. 1997 ("AETG")."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any

Row = dict[str, Any]
Held = tuple[str, Any]
Part = tuple[Held, ...]


def parts_of(row: Row, strength: int = 2) -> set[Part]:
    """The pairs of options that a row holds, or as many together as `strength` says."""
    return set(combinations(sorted(row.items()), strength))


def all_parts(options: Mapping[str, Sequence[Any]], strength: int = 2) -> set[Part]:
    """Every combination of values of `strength` different options."""
    return {
        part
        for names in combinations(sorted(options), strength)
        for part in product(*([(name, value) for value in options[name]] for name in names))
    }


def covering(options: Mapping[str, Sequence[Any]], strength: int = 2, *, tries: int = 5, seed: int = 0) -> list[Row]:
    """Rows that hold all of `all_parts`, the same ones on every call: about the product of the longest options."""
    generator = random.Random(seed)  # noqa: S311
    left, rows = all_parts(options, strength), []
    while left:
        candidates = [_candidate(options, left, strength, generator) for _ in range(tries)]
        best = max(candidates, key=lambda row: len(parts_of(row, strength) & left))
        rows.append({name: best[name] for name in options})
        left -= parts_of(best, strength)
    return rows


def _candidate(options: Mapping[str, Sequence[Any]], left: set[Part], strength: int, generator: random.Random) -> Row:
    """A row begun with a part that is missing; each further option takes the value that covers most of what is left."""
    row: Row = dict(generator.choice(sorted(left, key=str)))
    for name in generator.sample(list(options), len(options)):
        if name not in row:
            values = generator.sample(list(options[name]), len(options[name]))
            row[name] = max(values, key=lambda value: len(parts_of({**row, name: value}, strength) & left))
    return row
