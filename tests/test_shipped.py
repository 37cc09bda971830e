"""The recipes that come with loraloom, by name: for those who installed it and have no repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloom import shipped
from loraloom.errors import RecipeError
from loraloom.recipe import read_recipe

REPOSITORY = Path(__file__).parent.parent


def test_a_name_stands_for_the_recipe() -> None:
    assert read_recipe("agnews-grid") == read_recipe(REPOSITORY / "recipes" / "agnews-grid.yaml")


def test_a_file_of_that_name_goes_first_and_a_folder_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_text("lora: {r: 3}\n")
    assert read_recipe("demo").lora.r == 3
    (tmp_path / "demo").unlink()
    (tmp_path / "demo").mkdir()
    assert read_recipe("demo").data.dataset == "demo"


@pytest.mark.parametrize("name", ["demo.yaml", "../recipes/demo", "nowhere", "", "Demo"])
def test_only_a_name_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert not shipped.is_shipped(name)
    with pytest.raises(RecipeError):
        read_recipe(name)


def test_the_repositorys_recipes_are_those_of_the_package() -> None:
    own = {path.name: path.read_bytes() for path in (REPOSITORY / "recipes").iterdir()}  # a link, but in an sdist
    assert own == {path.name: path.read_bytes() for path in shipped.FOLDER.iterdir()}
    names = [f"{name}.yaml" for name in shipped.shipped_names()]
    assert sorted(path.name for path in shipped.FOLDER.iterdir()) == names


def test_each_says_what_it_is() -> None:
    about = shipped.shipped_recipes()
    assert about["demo"].startswith("The main job on real text")
    assert all(text.endswith(".") and 20 < len(text) < 200 for text in about.values())
    assert shipped.shipped_text("demo").startswith("# The main job")
