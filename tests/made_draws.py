"""Draws of made rows for studies, in the place of those of public sets (`study/draws.py`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from study.draws import Case
from tests.conftest import make_recipe, make_rows


def made_recipe_of(tiny_model: Path, rows_file: Path) -> Callable[[Case, int, int], dict[str, Any]]:
    """`study.draws.recipe_of` of the tiny model, for any draw."""

    def recipe_of(case: Case, rows: int, seed: int) -> dict[str, Any]:
        del case, rows
        recipe = make_recipe(tiny_model, rows_file)
        del recipe["data"]["train_file"]
        recipe["train"] = {**recipe["train"], "seed": seed}
        return recipe

    return recipe_of


def make_draws(patched: pytest.MonkeyPatch, study: ModuleType, tiny_model: Path, rows_file: Path) -> list[int]:
    """Has a `study` draw made rows, 40 of them to test on, and train the tiny model; the draws that it asks for."""
    asked: list[int] = []

    def splits_of(case: Case, seed: int) -> dict[str, Any]:
        asked.append(seed)
        train, test = make_rows(case.rows or 0, seed=seed), make_rows(40, seed=9)
        return {
            name: ([text for text, _ in rows], [label for _, label in rows])
            for name, rows in (("train", train), ("test", test))
        }

    patched.setattr(study, "splits_of", splits_of)
    patched.setattr(study, "recipe_of", made_recipe_of(tiny_model, rows_file))
    return asked
