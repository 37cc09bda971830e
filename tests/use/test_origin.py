"""The run that an adapter's folder lies in: what is asked of it, and what is said where it can't be read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from loraloom.data import load_again
from loraloom.errors import RunError
from loraloom.recipe import read_recipe
from loraloom.study.integrity import write_recipe
from loraloom.use import origin
from loraloom.use.origin import earlier_winner, rows_of, run_of
from tests.conftest import make_rows, write_csv
from tests.study.study_records import record as make_record


def test_a_recipe_of_another_version_is_said_and_ends_nothing_that_asks_for_the_rows(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "recipe.yaml").write_text("backbone: {model: demo}\nlora: {of_another_version: 1}\n", encoding="utf-8")
    with pytest.raises(RunError, match="of_another_version"):
        rows_of(tmp_path / "best")


@pytest.mark.parametrize(
    ("place", "of_run"),
    [
        *(("best", True), ("refit", True), ("soup", True), ("blend", True), ("trials/0007", True)),
        *(("0007", False), ("report", False), ("copies/0007", False), ("copies/best", False), (".", False)),
    ],
)
def test_the_run_of_an_adapter_is_the_one_whose_folder_it_is_in_its_place(
    tmp_path: Path, place: str, of_run: bool
) -> None:
    run = tmp_path / "best"
    (run / place).mkdir(parents=True)
    (run / "recipe.yaml").touch()
    assert run_of(run / place) == (run if of_run else None)


@pytest.mark.parametrize("in_files", [True, False])
def test_the_rows_of_a_run_are_read_again_unless_they_are_many_in_a_file_or_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_files: bool
) -> None:
    rows, train = make_rows(60, seed=1), tmp_path / ("train" if in_files else "train.csv")
    if in_files:
        for number, (text, label) in enumerate(rows):
            (train / label).mkdir(parents=True, exist_ok=True)
            (train / label / f"{number}.txt").write_text(text)
    else:
        write_csv(train, rows)
    size = sum(len(text) for text, _ in rows) if in_files else train.stat().st_size
    recipe = read_recipe({"data": {"train_file": str(train)}})
    (tmp_path / "best").mkdir()
    provenance = {"data": {"fingerprint": load_again(recipe).fingerprint}}
    write_recipe(tmp_path / "recipe.yaml", recipe.model_copy(update={"provenance": provenance}))
    monkeypatch.setattr(origin, "MOST_BYTES", size)
    assert rows_of(tmp_path / "best") is not None
    monkeypatch.setattr(origin, "MOST_BYTES", size - 1)
    assert rows_of(tmp_path / "best") is None


def test_where_no_winner_can_be_read_nothing_is_said_of_an_earlier_one(tmp_path: Path) -> None:
    run, refit = tmp_path / "run", tmp_path / "run" / "refit"
    refit.mkdir(parents=True)
    (run / "recipe.yaml").touch()
    assert earlier_winner(refit, make_record(0)) is None
    (run / "best").mkdir()
    (run / "best" / "manifest.json").write_text("{}")
    assert earlier_winner(refit, make_record(0)) is None


def test_rows_that_are_others_than_the_run_had_are_not_taken_for_its_own(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", make_rows(60, seed=1))
    recipe = read_recipe({"data": {"train_file": str(train)}})
    (tmp_path / "best").mkdir()
    provenance = {"data": {"fingerprint": load_again(recipe).fingerprint}}
    write_recipe(tmp_path / "recipe.yaml", recipe.model_copy(update={"provenance": provenance}))
    assert rows_of(tmp_path / "best") is not None
    write_csv(train, make_rows(60, seed=2))
    assert rows_of(tmp_path / "best") is None
    train.unlink()
    assert rows_of(tmp_path / "best") is None


@pytest.mark.parametrize(("dataset", "read"), [("demo", True), ("owner/name", False)])
def test_of_data_sets_by_name_the_demos_rows_alone_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, read: bool
) -> None:
    recipe = read_recipe({"data": {"dataset": dataset}})
    (tmp_path / "best").mkdir()
    provenance = {"data": {"fingerprint": "f"}}
    write_recipe(tmp_path / "recipe.yaml", recipe.model_copy(update={"provenance": provenance}))
    monkeypatch.setattr(origin, "load_again", lambda _: SimpleNamespace(fingerprint="f"))
    assert (rows_of(tmp_path / "best") is not None) is read
