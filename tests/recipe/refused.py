"""What the reader says of a recipe that it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloom.errors import RecipeError
from loraloom.recipe import read_recipe


def problems_of(folder: Path, text: str, *overrides: str) -> list[str]:
    """All that is said of a recipe of this text."""
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_recipe(path, overrides)
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def problem_of(folder: Path, text: str, *overrides: str) -> str:
    """The one thing that is said."""
    (problem,) = problems_of(folder, text, *overrides)
    return problem
