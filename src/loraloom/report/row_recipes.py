"""A leaderboard row's configuration as a recipe that `loraloom train` takes.

It names what the run's recipe sets beside the defaults, and the row's own values: a dozen lines. Values are written as
JSON, which YAML 1.2 reads; so the page's script writes the same lines for any row from the row's values alone, and ten
thousand recipes take no room. The time limit and the search are left out: they are not the row's, but for what it
maximises, and for its seeds: as many are asked for as it has, or as reach its best trial's. The run's own splits the
data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from loraloom.recipe.fields import SECTIONS, Budget
from loraloom.report.leaderboard import Leaderboard, Row, field
from loraloom.report.reading import RunRead
from loraloom.search.next_search import train_command
from loraloom.study.record import WARM_UP

EPOCHS, SEEDS, VALIDATED = "train.num_train_epochs", "search.seeds", "data.max_eval_samples"
_ESCAPED = re.compile("[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")
"""What YAML refuses or folds, or what would not be seen: within a quoted text each has an escape."""


@dataclass(frozen=True, slots=True)
class RowRecipes:
    """`base` has what does not vary: fields by section, `engine` by itself. A row's values go to `names` (dotted).

    The passes are among them where a clock chose them, and the warm-up where a part of the rows had a part of it, where
    no axis has them. `command` trains the recipe.
    """

    base: Mapping[str, Any]
    names: tuple[str, ...]
    seed: int
    command: str

    def values(self, row: Row) -> tuple[Any, ...]:
        beside = self.names[len(row.written) :]
        seeds = _seeds(row, self.seed)
        return (*row.written, *(seeds if name == SEEDS else field(row.record, name) for name in beside))

    def text(self, row: Row) -> str:
        return recipe_text(self.base, self.names, self.values(row))


def row_recipes(run: RunRead, board: Leaderboard) -> RowRecipes:
    recipe, records = run.recipe, [row.record for row in board.rows]
    chosen = {
        EPOCHS: recipe.search.epochs == "clock",
        WARM_UP: any(field(record, WARM_UP) != recipe.train.warmup_steps for record in records),
        VALIDATED: any(field(record, VALIDATED) != recipe.data.max_eval_samples for record in records),
        SEEDS: any(_seeds(row, recipe.train.seed) > 1 for row in board.rows),
    }
    names = (*board.axes, *(name for name, by_search in chosen.items() if by_search and name not in board.axes))
    whole = recipe.model_dump(mode="json")
    base: dict[str, Any] = {}
    models: dict[str, type[BaseModel]] = {**SECTIONS, "budget": Budget}
    for section, model in models.items():
        defaults = model().model_dump(mode="json")
        fields = {
            field: value
            for field, value in whole[section].items()
            if value != defaults[field] and f"{section}.{field}" not in (*names, "budget.max_seconds")
        }
        base[section] = fields  # an empty one keeps its place
    if recipe.search.metric != "accuracy":
        base["search"] = {"metric": recipe.search.metric}  # by which the best of several seeds is chosen, again
    if recipe.engine != "auto":
        base["engine"] = recipe.engine
    return RowRecipes(base, names, recipe.train.seed, train_command(recipe))


def _seeds(row: Row, first: int) -> int:
    return max(row.seeds, row.record.seed - first + 1)


def recipe_text(base: Mapping[str, Any], names: Sequence[str], values: Sequence[Any]) -> str:
    """YAML, a line for each field. `board.js: recipeText` writes the same."""
    whole = {section: dict(fields) if isinstance(fields, Mapping) else fields for section, fields in base.items()}
    for name, value in zip(names, values, strict=True):
        section, _, field = name.partition(".")
        whole.setdefault(section, {})[field] = value
    lines = []
    for section, fields in whole.items():
        if isinstance(fields, Mapping) and fields:
            lines += [f"{section}:", *(f"  {field}: {_written(value)}" for field, value in fields.items())]
        elif not isinstance(fields, Mapping):
            lines.append(f"{section}: {_written(fields)}")
    return "".join(f"{line}\n" for line in lines)


def _written(value: Any) -> str:
    return _ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(value, ensure_ascii=False))
