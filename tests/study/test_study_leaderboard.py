"""Who leads: order, ties, seeds, and the table for people."""

from __future__ import annotations

import csv
import io

import pytest

from loraloom.recipe.fields import Metric
from loraloom.study.leaderboard import evaluated, leaderboard_csv, placed, standings
from loraloom.study.record import Evaluation, Result, Score, TrialRecord
from tests.study.study_records import record, score


def _rows(*records: TrialRecord) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(leaderboard_csv(records, "accuracy"))))


def _leaders(*records: TrialRecord) -> list[int]:
    return [standing.leader.number for standing in standings(records, "accuracy")]


def test_the_best_leads() -> None:
    assert _leaders(record(0, 0.8), record(1, 0.9), record(2, 0.7)) == [1, 0, 2]


def test_the_metric_of_the_search_decides() -> None:
    records = record(0, 0.9, macro_f1=0.1), record(1, 0.8, macro_f1=0.2)
    assert [standing.leader.number for standing in standings(records, "macro_f1")] == [1, 0]


def test_a_tie_goes_to_fewer_parameters() -> None:
    assert _leaders(record(0, trainable=2000), record(1, trainable=1000)) == [1, 0]


def test_a_tie_of_equal_parameters_goes_to_the_earlier_trial() -> None:
    assert _leaders(record(2), record(1)) == [1, 2]


def test_the_seeds_of_a_configuration_are_one_standing() -> None:
    point = {"lora.r": 4}
    (standing,) = standings([record(0, 0.8, point=point, seed=42), record(1, 0.9, point=point, seed=43)], "accuracy")
    assert standing.mean == pytest.approx(0.85)
    assert [trial.number for trial in standing.trials] == [1, 0]


def test_a_good_mean_leads_before_a_lucky_seed() -> None:
    steady = [record(n, 0.85, point={"lora.r": 4}) for n in (0, 1)]
    lucky = [record(2, 0.99, point={"lora.r": 8}), record(3, 0.5, point={"lora.r": 8})]
    assert _leaders(*steady, *lucky) == [0, 2]


def test_seeds_of_as_many_right_rows_together_are_a_tie() -> None:
    by_one = record(0, 214 / 222, point={"lora.r": 8}, trainable=2000)
    by_two = [record(n, right / 222, point={"lora.r": 2}, trainable=1000) for n, right in ((1, 213), (2, 215))]
    assert (213 / 222 + 215 / 222) / 2 < 214 / 222
    assert _leaders(by_one, *by_two) == [2, 0]


def test_one_seed_has_no_interval() -> None:
    (standing,) = standings([record(0)], "accuracy")
    assert standing.interval is None


def test_several_seeds_have_an_interval_about_their_mean() -> None:
    (standing,) = standings([record(n, 0.8 + n / 100, point={}) for n in range(3)], "accuracy")
    assert standing.interval is not None
    assert standing.interval[0] < standing.mean < standing.interval[1]


@pytest.mark.parametrize(("metric", "mean"), [("accuracy", 0.8), ("macro_f1", 0.5)])
def test_equal_figures_of_seeds_have_an_interval_of_some_length(metric: Metric, mean: float) -> None:
    """Both are of whole rows, and equal by chance more often than not where seeds differ by a row."""
    (standing,) = standings([record(number, 0.8, point={}) for number in range(2)], metric)
    assert standing.interval is not None
    assert standing.interval[0] < mean < standing.interval[1]


def test_of_equals_the_tested_one_comes_first() -> None:
    tested = placed(100, 0.9, 2000, 1, cut_short=False, tested=True)
    assert tested < placed(100, 0.9, 1000, 0, cut_short=False)
    assert placed(100, 0.91, 2000, 2, cut_short=False) < tested


@pytest.mark.parametrize("state", ["pruned", "failed"])
def test_a_trial_that_did_not_finish_never_leads(state: str) -> None:
    other = record(0, 0.99).model_copy(update={"state": state})
    assert _leaders(other, record(1, 0.5)) == [1]


def test_there_is_no_standing_without_trials() -> None:
    assert standings([], "accuracy") == ()


def test_the_table_has_a_row_per_trial_with_the_finished_ones_first() -> None:
    rows = _rows(
        record(0, None, state="failed", reason="loss is not finite"),
        record(1, 0.5, state="pruned"),
        record(2, 0.4),
        record(3, 0.6),
    )
    assert [row["trial"] for row in rows] == ["3", "2", "1", "0"]


def test_the_figures_of_validation_and_test_stand_in_columns_of_their_own() -> None:
    tested = Score(examples=50, accuracy=0.88, macro_f1=0.77, loss=0.5)
    result = Result(validation=score(0.9, 0.6), test=tested)
    (row,) = _rows(record(0, trainable=1234).model_copy(update={"result": result}))
    figures = {name: row[name] for name in row if name.startswith(("validation_", "test_"))}
    assert figures == {
        "validation_accuracy": "0.900000",
        "validation_macro_f1": "0.600000",
        "validation_loss": "0.250000",
        "test_accuracy": "0.880000",
        "test_macro_f1": "0.770000",
        "test_loss": "0.500000",
        "test_rows": "50",
    }
    assert (row["trainable_parameters"], row["seconds"]) == ("1234", "12.3")


def test_an_evaluation_has_the_metric_that_is_asked_for() -> None:
    figures = {"train_loss": 1, "train_accuracy": 0.1, "validation_loss": 1, "learning_rate": 0.1}
    one = Evaluation(step=1, epoch=1, seconds=1, validation_accuracy=0.8, validation_macro_f1=0.6, **figures)
    assert (evaluated(one, "accuracy"), evaluated(one, "macro_f1")) == (0.8, 0.6)


def test_the_table_has_those_on_more_rows_first() -> None:
    first, last = _rows(record(0, 0.9, train_rows=100), record(1, 0.8, train_rows=300))
    assert (first["trial"], first["train_rows"], last["train_rows"]) == ("1", "300", "100")
    assert _rows(record(0))[0]["train_rows"] == ""


def test_the_table_says_why_a_trial_failed() -> None:
    (row,) = _rows(record(0, None, state="failed", reason="loss is not finite"))
    assert (row["state"], row["reason"], row["validation_accuracy"]) == ("failed", "loss is not finite", "")


def test_the_table_has_a_column_per_axis() -> None:
    (row,) = _rows(record(0, point={"lora.r": 4, "lora.target_modules": ("query", "value")}))
    assert (row["lora.r"], row["lora.target_modules"]) == ("4", "query value")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
def test_a_cell_that_a_spreadsheet_would_run_is_quoted(cell: str) -> None:
    (row,) = _rows(record(0, point={"backbone.model": cell}, reason=cell))
    assert (row["backbone.model"], row["reason"]) == (f"'{cell}", f"'{cell}")


def test_a_carriage_return_in_a_cell_leaves_the_table_readable() -> None:
    (row,) = _rows(record(0, reason="\rx"))
    assert row["reason"] == "'\rx"


def test_a_negative_number_is_not_quoted() -> None:
    (row,) = _rows(record(0, point={"lora.r": -1}))
    assert row["lora.r"] == "-1"


def test_on_how_many_rows_a_trial_was_tested_stands_beside_its_test() -> None:
    """They may be a part of them, and another in each command that chose another winner."""
    tested = record(0).model_copy(update={"result": Result(validation=score(0.9), test=score(0.88))})
    assert tested.tested_rows > 0
    assert [row["test_rows"] for row in _rows(tested, record(1, 0.1))] == [str(tested.tested_rows), ""]


def test_the_warm_up_is_what_the_trial_had() -> None:
    (row,) = _rows(record(0, point={"train.warmup_steps": 12}))
    assert row["train.warmup_steps"] == "0"
