"""The run that an adapter's folder lies in: what is asked of it, and what is said where it can't be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloom.errors import RunError
from loraloom.use.origin import rows_of


def test_a_recipe_of_another_version_is_said_and_ends_nothing_that_asks_for_the_rows(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "recipe.yaml").write_text("backbone: {model: demo}\nlora: {of_another_version: 1}\n", encoding="utf-8")
    with pytest.raises(RunError, match="of_another_version"):
        rows_of(tmp_path / "best")
