"""Classes are counted without checking the data, as a search would read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from loraloom.data import counting
from loraloom.data.counting import count_classes
from loraloom.data.loading import load_data
from loraloom.errors import DataError
from loraloom.recipe import Data
from tests.data.files import CLASSES, rows, sentence, write_csv


def _file(folder: Path) -> str:
    path = folder / "rows.csv"
    path.write_text("text,topic\na goal,sport\na soup, sport \na bread,food\n")
    return str(path)


def test_classes_are_those_that_a_search_would_read(tmp_path: Path) -> None:
    given = Data(train_file=_file(tmp_path), label_column="topic", validation_file="v.csv", test_file="t.csv")
    assert count_classes(given)[:3] == (2, 3, None)


def test_rows_that_will_be_held_out_are_not_counted_nor_is_any_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "load_data", lambda *_, **__: pytest.fail("the data are checked"))
    path = write_csv(tmp_path / "rows.csv", rows(50))
    assert count_classes(Data(train_file=path))[:3] == (3, 38, 6)
    assert count_classes(Data(train_file=path, test_file="test.csv"))[:3] == (3, 44, 6)
    given = Data(train_file=path, validation_file="validation.csv", test_file="test.csv")
    assert count_classes(given)[:3] == (3, 50, None)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.35])
@pytest.mark.parametrize(("of_classes", "tests"), [((88, 47, 55, 30, 25), 0), ((88, 47, 55), 40), ([6] * 25 + [1], 0)])
def test_as_many_are_counted_as_a_search_holds_out_and_trains_on(
    tmp_path: Path, of_classes: Sequence[int], tests: int, share: float
) -> None:
    """Of many classes that is a row of each, and of none the last."""
    names = [f"class {number}" for number, of in enumerate(of_classes) for _ in range(of)]
    path = write_csv(tmp_path / "rows.csv", [(sentence(n), name) for n, name in enumerate(names)])
    test = write_csv(tmp_path / "test.csv", [(sentence(1_000 + n), names[n]) for n in range(tests)]) if tests else None
    data = Data(train_file=path, test_file=test, validation_share=share)
    found = load_data(data, seed=42)
    assert count_classes(data)[:3] == (len(of_classes), len(found.train), len(found.validation))


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_rows_of_data_that_are_known_are_counted_as_a_search_holds_them_out(share: float) -> None:
    """But for articles that stand twice."""
    data = Data(dataset="demo", validation_share=share)
    found = load_data(data, seed=42)
    counted = count_classes(data)
    assert counted.train == pytest.approx(len(found.train), rel=0.02)
    assert (counted.classes, counted.validation) == (5, len(found.validation))
    of_hub = Data(dataset="fancyzhx/ag_news", validation_share=share)
    held = round(share * 120_000)
    assert count_classes(of_hub)[:3] == (4, 120_000 - held, held)
    given = of_hub.model_copy(update={"validation_file": "validation.csv"})
    assert count_classes(given)[:3] == (4, 120_000, None)


def test_of_the_texts_some_are_given_to_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "SAMPLE", 10)
    path = write_csv(tmp_path / "rows.csv", [*rows(33), ("", "a")])
    texts = count_classes(Data(train_file=path)).texts
    assert texts == tuple(text for text, _ in [*rows(33), ("", "a")][::3])


def test_a_label_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows\.csv: has no column 'label'"):
        count_classes(Data(train_file=_file(tmp_path), label_column="label"))


def test_labels_that_no_search_would_take_are_refused_as_it_refuses_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{CLASSES[n % 2]},{sentence(n)}\n" for n in range(20)))
    with pytest.raises(DataError, match=r"swapped, say data\.text_column: label and data\.label_column: text"):
        count_classes(Data(train_file=str(path)))
    path.write_text(f"text,label\na,x\nb,x\nc,{1_001 * 'y'}\nd,x\n")
    with pytest.raises(DataError, match="has a label of 1,001 characters"):
        count_classes(Data(train_file=str(path)))


def test_rows_of_one_class_are_refused_as_a_search_refuses_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,topic\na goal,sport\na match, sport \n")
    with pytest.raises(DataError, match=r"rows\.csv: has one class only \('sport'\)"):
        count_classes(Data(train_file=str(path), label_column="topic"))
    path.write_text("text,topic\n")
    with pytest.raises(DataError, match=r"rows\.csv: .*no row"):
        count_classes(Data(train_file=str(path), label_column="topic"))
