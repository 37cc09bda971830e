"""Which row of the leaderboard is the winner's, and how often the whole board is looked at."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from loraloom.report.findings import findings
from loraloom.report.leaderboard import Leaderboard
from loraloom.report.page import page
from loraloom.report.pictures import Picture
from loraloom.report.reading import read_run
from tests.report.report_runs import TRAIN_ROWS, make_recipe, make_record, whole_run, with_train, write_run


def test_where_the_winner_s_own_trial_is_damaged_no_other_is_taken_for_it(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    drawn = {"tradeoffs_parameters": Picture("tradeoffs_parameters", Markup(), b"")}  # what has a legend
    assert "◆</span>the winner" in page(findings(read_run(run)), drawn, ())
    (run / "trials" / "0003" / "trial.json").write_text("{")
    found = findings(read_run(run))
    assert found.answer.winner is not None
    assert (found.answer.winner.record.number, found.answer.winner.rank, found.answer.winner.split) == (3, None, "test")
    assert found.answer.subject == "The one chosen of 5 configurations"
    assert found.board.winner is None
    assert found.tradeoffs is not None
    assert not any(point.winner for point in found.tradeoffs.points)
    assert "◆</span>the " not in page(found, drawn, ())


def test_the_whole_board_is_looked_at_no_more_often_where_it_has_more_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Counter[str]()

    def counted(name: str) -> property:
        own = getattr(Leaderboard, name).fget

        def look(board: Leaderboard) -> object:
            looks[name] += 1
            return own(board)

        return property(look)

    for name in ("winner", "in_noise", "places"):
        monkeypatch.setattr(Leaderboard, name, counted(name))
    seen = []
    for rows in (4, 14):
        recipe = make_recipe(lora={"r": list(range(1, rows + 1))}, train={})
        records = [make_record(recipe, n, {"lora.r": n + 1}, 0.95 if n + 1 == rows else 0.94) for n in range(rows)]
        run = write_run(tmp_path / str(rows), recipe, records, best=records[-1])
        looks.clear()
        page(findings(read_run(run)), "not drawn", ())
        seen.append(dict(looks))
    assert seen[0] == seen[1]


def test_a_configuration_on_fewer_rows_is_the_same_though_its_warm_up_is_shorter_there(tmp_path: Path) -> None:
    recipe, records = make_recipe(lora={}, train={"warmup_steps": [40, 80]}), []
    for number, (steps, rows, accuracy) in enumerate([(40, 400, 0.90), (80, 400, 0.88), (40, TRAIN_ROWS, 0.95)]):
        record = make_record(recipe, number, {"train.warmup_steps": steps}, accuracy)
        record = with_train(record, warmup_steps=steps * rows // TRAIN_ROWS)
        records.append(record.model_copy(update={"train_rows": rows}))
    found = findings(read_run(write_run(tmp_path / "r", recipe, records, best=records[-1])))
    assert found.board.configurations == 2
    fewer = "1 of 2 configurations was compared on fewer rows than the winner and not taken further"
    assert any(sentence.startswith(fewer) for sentence in found.cautions)


@pytest.mark.parametrize("end", [{"state": "failed", "result": None}, {"epochs": 0.5}], ids=["failed", "cut short"])
def test_a_configuration_that_failed_or_was_cut_short_on_all_rows_is_not_said_to_be_compared_on_fewer_alone(
    tmp_path: Path, end: dict[str, Any]
) -> None:
    recipe = make_recipe(lora={"r": [2, 4, 8]}, train={})
    on_few = [
        make_record(recipe, number, {"lora.r": rank}).model_copy(update={"train_rows": 400})
        for number, rank in enumerate((2, 4, 8))
    ]
    ended = make_record(recipe, 3, {"lora.r": 2}).model_copy(update=end)
    winner = make_record(recipe, 4, {"lora.r": 4})
    found = findings(read_run(write_run(tmp_path / "r", recipe, [*on_few, ended, winner], best=winner)))
    assert found.board.winner is not None
    assert found.board.winner.reach == TRAIN_ROWS
    fewer = "1 of 3 configurations was compared on fewer rows than the winner and not taken further"
    assert any(sentence.startswith(fewer) for sentence in found.cautions)


def test_configurations_whose_values_are_written_alike_are_two(tmp_path: Path) -> None:
    recipe = make_recipe(lora={}, train={"learning_rate": [0.00123401, 0.00123402]})
    points = recipe.axes["train.learning_rate"].values
    records = [make_record(recipe, number, {"train.learning_rate": rate}) for number, rate in enumerate(points)]
    found = findings(read_run(write_run(tmp_path / "r", recipe, records, best=records[0])))
    assert found.board.configurations == 2
    assert (found.board.same, found.board.varied) == ((), (0,))
    assert found.tradeoffs is not None
    assert found.tradeoffs.on_time.startswith("2 configurations took 1 min ")


def test_an_axis_that_has_one_value_in_all_rows_is_told_apart_from_those_that_vary(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [4, 8], "target_modules": [["query"], ["query", "value"]]}, train={})
    points = [{"lora.r": rank, "lora.target_modules": ["query", "value"]} for rank in (4, 8)]
    records = [make_record(recipe, number, point) for number, point in enumerate(points)]
    board = findings(read_run(write_run(tmp_path / "r", recipe, records))).board
    assert board.same == (("lora.target_modules", "query, value"),)
    assert [board.axes[place] for place in board.varied] == ["lora.r"]
