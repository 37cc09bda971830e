"""An adapter's scores on a terminal of 80 columns, and what of a text gets there."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from loraloom import metrics
from loraloom.data.wording import printable, shorten
from loraloom.terminal.console import make_console
from loraloom.terminal.scores import print_evaluation
from loraloom.use.evaluate import Divided, Evaluated

TWO_RIGHT = metrics.score(np.arange(2), np.eye(2))


def _printed(names: Sequence[str], scores: metrics.Scores, **known: Any) -> str:
    out = io.StringIO()
    print_evaluation(Console(file=out, width=80), Evaluated("best", "rows.csv", tuple(names), scores, **known))
    return out.getvalue()


@pytest.mark.parametrize(("classes", "has_confusion"), [(4, True), (77, False)])
def test_what_stands_of_each_class_can_be_read(classes: int, has_confusion: bool) -> None:
    labels = np.arange(classes)
    said = _printed([f"c{number}" for number in range(classes)], metrics.score(labels, np.eye(classes)))
    assert any(line.split()[:5] == ["c3", "1", "1.000", "1.000", "1.000"] for line in said.splitlines())
    assert ("→ c3" in said) == has_confusion


@pytest.mark.parametrize(
    ("classes", "name", "has_confusion"),
    [
        (10, "c", True),
        (4, "World", True),
        (6, "entertainment", True),
        (9, "politics of", True),
        (10, "account_closing_request", False),
        (2, "account_closing_request_" * 4, True),
    ],
)
def test_figures_are_whole_however_long_names_are(classes: int, name: str, has_confusion: bool) -> None:
    labels = np.repeat(np.arange(classes), 123)
    said = _printed([f"{name} {number}" for number in range(classes)], metrics.score(labels, np.eye(classes)[labels]))
    assert "…" not in said
    assert max(map(len, said[said.index("true label") :].splitlines())) <= 80  # a sentence is one line
    assert said.count("1.000 1.000") == classes
    assert said.count("123") == classes * (1 + has_confusion)
    assert (" →" in said) == has_confusion


def test_labels_from_right_to_left_do_not_turn_the_figures_and_labels_beside_them() -> None:
    said = _printed(("ספורט", "اقتصاد", "体育新闻", "1"), metrics.score(np.arange(4), np.eye(4)))
    head, *rows = said.splitlines()[-5:]
    assert "→ ספורט\u200e → اقتصاد\u200e → 体育新闻 → 1" in head
    assert [row.split()[:2] for row in rows] == [
        ["ספורט\u200e", "1"],
        ["اقتصاد\u200e", "1"],
        ["体育新闻", "1"],
        ["1", "1"],
    ]
    assert len({cell_len(row) for row in rows}) == 1


def test_of_very_many_classes_the_worst_are_listed_and_long_names_are_cut() -> None:
    names = [f"c{number}" for number in range(1_500)]
    names[7] = "long" * 100
    labels = np.arange(1_500)
    predicted = np.where(labels % 20 == 7, labels - 1, labels)  # of each of these both have a lower F1: 150 classes
    said = _printed(names, metrics.score(labels, np.eye(1_500)[predicted]))
    assert said.count("0.000 0.000") == 75
    assert "c8 " not in said
    assert "".join(line[:24].strip() for line in said.splitlines() if "long" in line).startswith("long" * 20)
    assert said.count("long") < 40
    assert said.splitlines()[-1].startswith("These are the 100 classes of the lowest F1; all 1,500, and")


def test_names_are_whole_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    names = ("markets, companies and the economy", "a_name_without_any_blanks_in_it_" * 2)
    found = Evaluated("best", "rows.csv", names, TWO_RIGHT)
    print_evaluation(make_console(folds=False, file=(out := io.StringIO())), found)
    head, *rows = out.getvalue().splitlines()[-3:]
    assert all(f"→ {name}" in head for name in names)
    assert all(line.startswith(name) for line, name in zip(rows, names, strict=True))


@pytest.mark.parametrize(
    ("trained_on", "said"),
    [
        (None, None),
        (0, None),
        (1, "1 of these rows was for training in its run: it says nothing about new texts, and raises the figures"),
        (8, "8 of these rows were for training in its run: they say nothing about new texts, and raise the figures"),
    ],
)
def test_that_rows_were_trained_on_stands_above_the_scores(trained_on: int | None, said: str | None) -> None:
    words = " ".join(_printed("12", TWO_RIGHT, trained_on=trained_on).split())
    assert "for training" not in words if said is None else said in words


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"chosen_on": 1}, "1 of these rows is a validation row of its run, which its search chose by:"),
        ({"chosen_on": 8}, "8 of these rows are validation rows of its run, which its search chose by:"),
        ({"tested_on": 1}, "1 of these rows is a test row of its run. Who chooses"),
        ({"tested_on": 8}, "8 of these rows are test rows of its run. Who chooses"),
    ],
)
def test_that_rows_were_chosen_or_tested_by_is_said(rows: dict[str, int], said: str) -> None:
    assert said in " ".join(_printed("12", TWO_RIGHT, **rows).split())


def test_of_very_many_rows_an_accuracy_is_not_written_as_one_where_some_are_wrong() -> None:
    """Nor as level with its interval, and with as many decimals as so many rows tell."""
    many = replace(TWO_RIGHT, accuracy=0.9999, accuracy_interval=(0.99982, 0.99995), macro_f1=0.99996)
    said = "accuracy 0.99990 (95 % interval 0.99982–0.99995), macro-F1 >0.9999,"
    assert said in " ".join(_printed("12", many).split())


def test_how_good_the_confidences_of_predict_are_stands_beside_the_models_own() -> None:
    said_of = "as predict gives confidences, at the temperature 2.35, fitted on 1,200 validation rows: "
    line = f"{said_of}log loss 0.5000, calibration error 0.0321"
    for predicted, said in ((None, False), (Divided(2.345, 1200, 0.5, 0.0321), True)):
        assert (line in _printed("12", TWO_RIGHT, predicted=predicted).splitlines()) == said


def test_how_labels_were_read_stands_above_the_scores() -> None:
    assert _printed("12", TWO_RIGHT, note="labels 0 to 1 …").splitlines()[1:2] == ["labels 0 to 1 …"]


def test_a_text_commands_no_terminal() -> None:
    assert printable("a\x1b]0;title\x07b") == "a\ufffd]0;title\ufffdb"
    assert shorten("two\n lines \x1b[2J") == "two lines \ufffd[2J"
    assert printable("née 👩\u200d🔧 \u3000") == "née 👩\u200d🔧 \u3000"
