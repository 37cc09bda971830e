"""Draws of made rows for studies, in the place of those of public sets (`study/draws.py`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from loraloom.data.text_data import Split
from study.draws import Case
from study.sets import Rows
from tests.conftest import WORDS, make_recipe, make_rows


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
    patched.setattr(study, "recipe_of", _recipe_of(tiny_model, rows_file))
    return asked


def make_set(
    patched: pytest.MonkeyPatch, study: ModuleType, tiny_model: Path, rows_file: Path, passes: int = 2
) -> None:
    """Has a `study` draw of 600 made rows, whatever set it asks for, and train the tiny model; its runs test on 30."""
    labels, made = sorted(WORDS), make_rows(600, seed=1)
    split = Split(tuple(text for text, _ in made), np.array([labels.index(label) for _, label in made]))
    patched.setattr(study, "load", lambda name: Rows(name, tuple(labels), split, {}, 0))
    patched.setattr(study, "recipe_of", _recipe_of(tiny_model, rows_file, passes))
    patched.setattr("study.draws.TESTED", 30)


def _recipe_of(tiny_model: Path, rows_file: Path, passes: int = 2) -> Callable[[Case, int, int], dict[str, Any]]:
    """`study.draws.recipe_of` of the tiny model, for any draw."""

    def recipe_of(case: Case, rows: int, seed: int) -> dict[str, Any]:
        del case, rows
        recipe = make_recipe(tiny_model, rows_file)
        del recipe["data"]["train_file"]
        recipe["train"] |= {"num_train_epochs": passes, "seed": seed}
        return recipe

    return recipe_of
