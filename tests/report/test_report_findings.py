"""What the report finds, before it is rendered: joined seeds, ranks, doubts, damaged files, words."""

from __future__ import annotations

import html
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.intervals import mean_interval, wilson_interval
from loraloom.recipe import Recipe
from loraloom.report.curves import MOST_TRACE_POINTS
from loraloom.report.findings import MOST_NAMED, findings
from loraloom.report.markdown import markdown
from loraloom.report.page import page
from loraloom.report.reading import read_run
from loraloom.report.wording import clean, duration, listed, passes, share, value
from loraloom.report.writing import write_report
from loraloom.study.durable import MANIFEST, write_manifest
from loraloom.study.record import SOUP_OF, TrialRecord
from loraloom.wording import in_passes, percent, plural
from tests.report.report_runs import (
    LABELS,
    PROVENANCE,
    TEST_ROWS,
    VALIDATION_ROWS,
    make_evaluations,
    make_predictions,
    make_recipe,
    make_record,
    make_score,
    predicting,
    whole_run,
    write_run,
)


@pytest.mark.parametrize(
    ("stated", "subject"),
    [({}, "demo on demo (BBC News)"), ({"name": "owner/model"}, "owner/model on demo (BBC News)")],
)
def test_models_are_called_as_on_the_hub_where_what_was_trained_on_what_is_said(
    tmp_path: Path, stated: dict[str, Any], subject: str
) -> None:
    recipe = make_recipe({**PROVENANCE, "cards": {"data": {}, "models": {"demo": stated}}})
    assert findings(read_run(write_run(tmp_path / "r", recipe, []))).subject == subject


def test_trials_of_one_configuration_are_joined_over_their_seeds(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4]}, train={}, search={"seeds": 3})
    accuracies = {2: (0.9, 0.92, 0.94), 4: (0.93, 0.95, None)}
    records = [
        make_record(
            recipe, 3 * index + seed, {"lora.r": rank}, accuracy, seed=42 + seed,
            state="complete" if accuracy else "failed", reason=None if accuracy else "it ran out of memory",
        )
        for index, (rank, each) in enumerate(accuracies.items())
        for seed, accuracy in enumerate(each)
    ]  # fmt: skip
    board = findings(read_run(write_run(tmp_path / "r", recipe, records))).board
    four, two = board.ranked
    assert (four.rank, four.values, four.seeds, four.trials) == (1, ("4",), 2, "0003, 0004, 0005")
    assert four.reasons == ("seed 44 failed: it ran out of memory",)
    kept = [record.result.validation.accuracy for record in records[:3] if record.result]
    assert two.accuracy == pytest.approx(sum(kept) / 3)
    assert two.interval == mean_interval(kept, rows=VALIDATION_ROWS)
    assert two.interval_of == "seeds"
    assert not board.unranked


def test_that_other_seeds_of_the_winner_s_configuration_failed_is_a_doubt(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4]}, train={}, search={"seeds": 2})
    records = [
        make_record(
            recipe, number, {"lora.r": rank}, accuracy, seed=seed,
            state="complete" if accuracy else "failed", reason=None if accuracy else "the loss became nan",
        )
        for number, (rank, accuracy, seed) in enumerate(((4, 0.95, 42), (4, None, 43), (2, 0.93, 42)))
    ]  # fmt: skip
    cautions = findings(read_run(write_run(tmp_path / "r", recipe, records, best=records[0]))).cautions
    assert (
        "Not all seeds of its configuration came to their end (seed 43 failed: the loss became nan): its accuracy is "
        "that of the others, and trained with another seed it may fail as well."
    ) in cautions
    assert not [sentence for sentence in cautions if "with one seed" in sentence]


def test_seeds_that_agree_leave_the_noise_of_the_rows(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 8]}, train={}, search={"seeds": 3})
    records = [
        make_record(recipe, 3 * n + seed, {"lora.r": rank}, accuracy, seed=42 + seed)
        for n, (rank, accuracy) in enumerate(((8, 0.95), (2, 0.93)))
        for seed in range(3)
    ]
    board = findings(read_run(write_run(tmp_path / "r", recipe, records))).board
    assert [row.values for row in board.in_noise] == [("2",)]


def test_one_seed_has_wilsons_interval_over_the_rows(tmp_path: Path) -> None:
    row = findings(read_run(whole_run(tmp_path / "r"))).board.ranked[0]
    assert row.interval == wilson_interval(215, 222)
    assert row.interval_of == "rows"


def test_a_t_interval_stays_among_the_shares(tmp_path: Path) -> None:
    recipe = make_recipe(lora={}, train={})
    records = [make_record(recipe, n, {}, accuracy, seed=n) for n, accuracy in enumerate((0.9, 1.0))]
    row = findings(read_run(write_run(tmp_path / "r", recipe, records))).board.ranked[0]
    assert row.interval is not None
    assert row.interval[0] == pytest.approx(0.315, abs=0.01)
    assert row.interval[1] == 1


def test_of_many_axes_those_at_their_defaults_are_named_apart(tmp_path: Path) -> None:
    lora = {"r": [2, 8], "lora_alpha": [16, 32], "lora_dropout": [0, 0.1], "bias": ["none", "lora_only"]}
    train = {"optim": ["adam", "muon"], "learning_rate": [0.001, 0.002], "warmup_steps": [0, 5]}
    train |= {"weight_decay": [0, 0.1], "num_train_epochs": [1, 3], "label_smoothing_factor": [0, 0.1]}
    recipe = make_recipe(lora=lora, train=train)
    defaults = recipe.configuration({})
    point = {axis: getattr(getattr(defaults, axis.split(".")[0]), axis.split(".")[1]) for axis in recipe.axes}
    records = [make_record(recipe, 0, point | {"lora.r": 2, "train.optim": "muon"})]
    winner = findings(read_run(write_run(tmp_path / "r", recipe, records))).answer.winner
    assert winner is not None
    told = dict(winner.settings)
    assert (told["lora.r"], told["train.optim"]) == ("2", "muon")
    assert {"lora.lora_dropout", "train.warmup_steps"} <= set(as_default := dict(winner.as_default))
    assert as_default["train.warmup_steps"] == "0"
    assert not set(told) & set(as_default)
    assert set(told) | set(as_default) == set(recipe.axes)


def test_a_winner_whose_many_fields_are_all_at_their_defaults_has_its_values_shown(tmp_path: Path) -> None:
    lora = {"r": [4, 2], "lora_alpha": [16, 32], "lora_dropout": [0, 0.1], "bias": ["lora_only", "all"]}
    train = {"optim": ["adam", "muon"], "weight_decay": [0, 0.1], "warmup_steps": [0, 5]}
    train |= {"num_train_epochs": [1, 3], "label_smoothing_factor": [0, 0.1]}
    recipe = make_recipe(lora=lora, train=train)
    run = write_run(tmp_path / "r", recipe, [make_record(recipe, 0, next(recipe.grid()))])
    found = findings(read_run(run))
    assert found.answer.winner is not None
    assert found.answer.winner.settings == ()
    assert "- Configuration: at their defaults `lora.r` `4`, `lora.lora_alpha` `16`, " in markdown(found)
    page = write_report(run, may_draw=lambda: False).read_text(encoding="utf-8")
    assert "<summary>All 9 fields at their defaults</summary>" in page
    assert "<li><bdi>lora.r</bdi> <b><bdi>4</bdi></b></li>" in page


def test_the_trials_of_a_picture_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 8], "bias": ["none"]}, train={"optim": ["adam"], "learning_rate": [0.1, 0.2]})
    points = list(recipe.grid())
    records = [make_record(recipe, n, points[n], 0.95 - n / 100) for n in range(3)]
    found = findings(read_run(write_run(tmp_path / "r", recipe, records))).curves
    assert found is not None
    said = [curve.differs for curve in found.trials]
    assert said == ["r 1, learning_rate 0.1", "as 0000, but learning_rate 0.2", "as 0000, but r 8"]
    assert found.trials[0].name == "r 1, bias none, optim adam, learning_rate 0.1"


def test_a_winner_within_the_noise_of_the_leader_is_not_called_the_best(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 8]}, train={})
    accuracies = [(8, 0.95), (8, 0.93), (1, 0.945), (1, 0.93)]
    records = [make_record(recipe, 2 * n, {"lora.r": r}, a, seed=n % 2) for n, (r, a) in enumerate(accuracies)]
    found = findings(read_run(write_run(tmp_path / "r", recipe, records, best=records[2])))
    assert found.answer.subject == (
        "The one chosen of 2 configurations, within the noise of the leader and with fewer parameters,"
    )
    told = " ".join(found.cautions)
    assert "within noise, repeated seeds and then fewer parameters win." in told
    assert (
        "It is not the leader, but within its noise: the next configuration is less than a row of 222 away on " in told
    )
    assert "within one standard error (between seeds)" in found.board.rule
    assert found.board.unlisted == 3


def test_a_mean_of_seeds_that_does_not_lead_is_not_called_one_of_its_trials(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 8]}, train={})
    accuracies = [(8, 0.95), (8, 0.93), (1, 0.945), (1, 0.93)]
    records = [make_record(recipe, n, {"lora.r": r}, a, seed=n % 2) for n, (r, a) in enumerate(accuracies)]
    best = records[2].model_copy(update={"marks": (f"{SOUP_OF}2 and 3",)})
    told = findings(read_run(write_run(tmp_path / "r", recipe, records, best=best))).cautions
    assert any(each.startswith("The folder best/ holds the mean of trials 2 and 3, whose ") for each in told)
    alone = findings(read_run(write_run(tmp_path / "one", recipe, records, best=records[2]))).cautions
    assert any(each.startswith("The folder best/ holds trial 2, whose ") for each in alone)


def test_why_another_would_be_chosen_now_is_not_said_of_what_best_holds_from_before(tmp_path: Path) -> None:
    recipe, trained = (
        make_recipe(lora={"r": [1, 4, 8]}, train={}),
        [(4, 0.92), (8, 0.95), (8, 0.93), (1, 0.945), (1, 0.93)],
    )
    records = [make_record(recipe, n, {"lora.r": r}, accuracy, seed=n) for n, (r, accuracy) in enumerate(trained)]
    found = findings(read_run(write_run(tmp_path / "r", recipe, records, best=records[0])))
    (told,) = [sentence for sentence in found.cautions if sentence.startswith("The folder best/")]
    assert told.endswith("has rank 3: by the mean over seeds, r 8 is above it.")


def test_a_winner_within_the_noise_of_a_leader_that_the_clock_cut_short_is_said_to_be_so(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 8]}, train={"num_train_epochs": 4})
    trained = [(8, 0.94, 0, 4.0), (8, 0.96, 1, 4.0), (1, 0.955, 0, 2.5)]
    records = [
        make_record(recipe, n, {"lora.r": r}, accuracy, seed=seed).model_copy(
            update={"train_rows": 1000, "epochs": epochs}
        )
        for n, (r, accuracy, seed, epochs) in enumerate(trained)
    ]
    found = findings(read_run(write_run(tmp_path / "r", recipe, records, best=records[1])))
    assert found.answer.subject == (
        "The one chosen of 2 configurations, within the noise of the leader, which the clock cut short,"
    )
    assert "within noise, what the clock cut short does not win." in " ".join(found.cautions)


def timed(recipe: Recipe, trained: Sequence[tuple[int, float, int, float]]) -> list[TrialRecord]:
    """Trials by rank, accuracy, seed and the passes that the clock left them."""
    return [
        make_record(recipe, n, {"lora.r": r}, accuracy, seed=seed).model_copy(
            update={"train_rows": 1000, "epochs": epochs}
        )
        for n, (r, accuracy, seed, epochs) in enumerate(trained)
    ]


def test_seeds_that_the_clock_cut_short_are_a_row_of_their_own(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 8]}, train={"num_train_epochs": 4})
    records = timed(recipe, [(8, 0.95, 0, 4.0), (2, 0.92, 0, 4.0), (8, 0.80, 1, 3.96)])
    board = findings(read_run(write_run(tmp_path / "r", recipe, records, best=records[0]))).board
    assert [(row.numbers, row.seeds) for row in board.ranked] == [((0,), 1), ((1,), 1), ((2,), 1)]
    assert board.ranked[2].reasons == ("cut short by the clock after 3.96 of 4 passes",)
    assert "What the clock cut short has a row of its own, and wins no tie." in board.rule


def test_where_the_clock_cut_the_only_repeated_seeds_short_noise_is_not_said_to_be_known(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 8]}, train={"num_train_epochs": 4})
    records = timed(recipe, [(8, 0.95, 0, 4.0), (2, 0.92, 0, 2.5), (2, 0.80, 1, 2.5)])
    board = findings(read_run(write_run(tmp_path / "r", recipe, records, best=records[0]))).board
    assert [row.seeds for row in board.ranked] == [1, 2]
    assert "is not known, since none of the best on these has two seeds that came to their end" in board.rule


def test_a_pass_that_the_clock_cut_short_is_one(tmp_path: Path) -> None:
    recipe = make_recipe(lora={}, train={"num_train_epochs": 1})
    record = make_record(recipe, 0, {}).model_copy(update={"epochs": 0.86})
    (row,) = findings(read_run(write_run(tmp_path / "r", recipe, [record]))).board.ranked
    assert row.reasons == ("cut short by the clock after 0.86 of 1 pass",)


def test_of_equal_configurations_the_tested_one_stands_first(tmp_path: Path) -> None:
    recipe = make_recipe()
    points = list(recipe.grid())[:3]
    records = [make_record(recipe, n, point, 0.95) for n, point in enumerate(points)]
    run = write_run(tmp_path / "r", recipe, records, best=records[2])
    board = findings(read_run(run)).board
    assert board.ranked[0].numbers == (2,)
    assert board.winner is board.ranked[0]


def test_a_winner_that_the_mean_over_seeds_does_not_confirm_is_named(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4]}, train={})
    records = [make_record(recipe, n, {"lora.r": r}, a) for n, (r, a) in enumerate([(2, 0.9), (4, 0.95)])]
    found = findings(read_run(write_run(tmp_path / "r", recipe, records, best=records[0])))
    assert any("has rank 2" in sentence and "r 4 is above it" in sentence for sentence in found.cautions)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ((0.95, 0.95), "It has no lead: 2 other configurations reach the same macro-F1 on validation."),
        ((0.95, 0.9), "It has no lead: 1 other configuration reaches the same macro-F1 on validation."),
        ((0.94, 0.9), "Whether its lead is more than chance is not known: no interval is made of macro-F1."),
    ],
)
def test_a_lead_by_macro_f1_is_not_said_to_be_one_that_is_known(
    tmp_path: Path, others: tuple[float, float], said: str
) -> None:
    recipe = make_recipe(lora={"r": [1, 2, 4]}, train={}, search={"metric": "macro_f1"})
    records = [make_record(recipe, n, {"lora.r": 1 << n}, accuracy) for n, accuracy in enumerate((0.95, *others))]
    assert said in findings(read_run(write_run(tmp_path / "r", recipe, records))).cautions
    by_accuracy = make_recipe(lora={"r": [1, 2, 4]}, train={})
    found = findings(read_run(write_run(tmp_path / "by_accuracy", by_accuracy, records)))
    assert not any("macro-F1" in each for each in found.cautions)


def test_ranks_follow_the_metric_of_the_recipe(tmp_path: Path) -> None:
    recipe = make_recipe(search={"metric": "macro_f1"})
    records = [make_record(recipe, n, point, 0.9 + n / 100) for n, point in enumerate(recipe.grid())]
    found = findings(read_run(write_run(tmp_path / "r", recipe, records)))
    assert found.board.ranked[0].metric == found.board.ranked[0].macro_f1
    assert found.board.metric_name == "macro-F1"


def test_the_doubts_name_seeds_noise_failures_pruning_and_marks(tmp_path: Path) -> None:
    recipe = make_recipe()
    points = list(recipe.grid())
    records = [make_record(recipe, n, points[n], 0.95 - n / 1000) for n in range(4)]
    records.append(make_record(recipe, 4, points[4], None, state="failed", reason="x"))
    records.append(make_record(recipe, 5, points[5], 0.5, state="pruned", reason="y"))
    mark = "12 test rows stand in the training rows too, and were kept"
    best = make_record(recipe, 0, points[0], 0.95, marks=(mark,), test=make_score(0.96, TEST_ROWS))
    said = "\n".join(findings(read_run(write_run(tmp_path / "r", recipe, records, best=best))).cautions)
    for doubt in (
        mark,
        "one seed",
        "3 other configurations",
        "1 of 6 trials failed",
        "1 of 6 trials ended early",
    ):
        assert doubt in said


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ([["a"], []], "The record of 1 other trial says: a."),
        ([["a", "b"], ["a"]], "The records of 2 other trials say: a and b."),
        ([["a", "b", "c"], ["d", "e"]], "The records of 2 other trials say: a, b, c and 2 more."),
    ],
)
def test_what_records_of_other_trials_say_is_a_doubt(tmp_path: Path, marks: list[list[str]], said: str) -> None:
    recipe = make_recipe()
    points = list(recipe.grid())
    records = [make_record(recipe, n, points[n], 0.9, marks=each) for n, each in enumerate([*marks, []])]
    best = make_record(recipe, 2, points[2], 0.9, test=make_score(0.9, TEST_ROWS))
    assert said in findings(read_run(write_run(tmp_path / "r", recipe, records, best=best))).cautions


def test_a_constant_answer_that_does_as_well_is_named(tmp_path: Path) -> None:
    recipe = make_recipe(lora={}, train={})
    lines = [predicting(line, 0) | {"label": 0} for line in make_predictions(wrong=0)]
    best = make_record(recipe, 0, {}, 0.95, test=make_score(1.0, TEST_ROWS))
    found = findings(read_run(write_run(tmp_path / "r", recipe, [best], best=best, predictions=lines)))
    assert any("constant answer" in sentence for sentence in found.cautions)


def test_of_classes_with_as_many_test_rows_the_constant_answer_is_the_first_as_where_the_search_ends(
    tmp_path: Path,
) -> None:
    recipe = make_recipe(lora={}, train={})
    lines = [
        predicting(line, 0) | {"label": (1, 0, 1, 0, 2)[n % 5]} for n, line in enumerate(make_predictions(wrong=0))
    ]
    best = make_record(recipe, 0, {}, 0.95, test=make_score(0.4, TEST_ROWS))
    found = findings(read_run(write_run(tmp_path / "r", recipe, [best], best=best, predictions=lines)))
    said = f"constant answer: “{LABELS[0]}” for every test row would reach an accuracy of 0.400."
    assert any(said in sentence for sentence in found.cautions)


def test_a_validation_accuracy_above_the_tests_interval_is_named_where_there_was_a_choice(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4]}, train={})
    best = make_record(recipe, 0, {"lora.r": 2}, 0.99, test=make_score(0.94, TEST_ROWS))
    other = make_record(recipe, 1, {"lora.r": 4}, 0.9)
    said = "lies above the whole interval of its test accuracy"
    found = findings(read_run(write_run(tmp_path / "two", recipe, [best, other], best=best)))
    assert any(said in each for each in found.cautions)
    alone = findings(read_run(write_run(tmp_path / "one", recipe, [best], best=best)))
    assert not any(said in each for each in alone.cautions)


@pytest.mark.parametrize(
    ("ranks", "says"),
    [
        ({4: 0.95, 8: 0.9}, "No smaller configuration was tried."),
        ({2: 0.5, 4: 0.95}, "No smaller configuration that was trained on as many rows comes within"),
        ({2: 0.5, 4: 0.95, 8: 0.94}, "No smaller configuration that was trained on as many rows comes within"),
        ({2: 0.94, 4: 0.95}, "within the noise of the best is r 2, with 90.0 % of its parameters"),
    ],
)
def test_the_size_is_judged_by_what_was_tried(tmp_path: Path, ranks: dict[int, float], says: str) -> None:
    recipe = make_recipe(lora={"r": list(ranks)}, train={})
    records = [make_record(recipe, n, {"lora.r": r}, a) for n, (r, a) in enumerate(ranks.items())]
    assert says in findings(read_run(write_run(tmp_path / "r", recipe, records))).on_size


@pytest.mark.parametrize(
    "changes", [{"train_rows": 300, "epochs": 4.0}, {"epochs": 2.0}], ids=["fewer rows", "cut short"]
)
def test_of_a_size_that_was_not_compared_with_the_winner_nothing_is_claimed(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    recipe = make_recipe(lora={"r": [2, 4]}, train={"num_train_epochs": 4})
    records = [
        make_record(recipe, n, {"lora.r": rank}, accuracy).model_copy(update={"train_rows": 900, "epochs": 4.0})
        for n, (rank, accuracy) in enumerate(((4, 0.95), (2, 0.94)))
    ]
    run = write_run(tmp_path / "r", recipe, [records[0], records[1].model_copy(update=changes)])
    found = findings(read_run(run))
    assert found.on_size == "No smaller configuration was trained on as many rows as the best, and to its end."
    assert "comes within the noise of the winner" not in page(found, "not drawn", ())


def test_what_can_not_be_told_from_two_seeds_is_said_with_what_they_leave_open(tmp_path: Path) -> None:
    """Student's interval of two is so long that answers by chance may lie in it."""
    recipe = make_recipe(lora={"r": [1, 8]}, train={}, search={"seeds": 2})
    accuracies = [(8, 0.95), (8, 0.75), (1, 0.3), (1, 0.3)]
    records = [make_record(recipe, n, {"lora.r": r}, a, seed=42 + n % 2) for n, (r, a) in enumerate(accuracies)]
    said = "1 other configuration can't be told from the winner by validation accuracy, of which its two seeds leave "
    found = findings(read_run(write_run(tmp_path / "two", recipe, records)))
    assert f"{said}0.00–1.00 open." in html.unescape(page(found, "not drawn", ()))
    found = findings(
        read_run(write_run(tmp_path / "one", recipe, [records[0], make_record(recipe, 2, {"lora.r": 1}, 0.94)]))
    )
    assert "by validation accuracy." in html.unescape(page(found, "not drawn", ()))


def test_what_was_pruned_on_as_many_rows_is_not_said_to_lie_below_the_noise_of_the_winner(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4, 8]}, train={"num_train_epochs": 4})
    records = [make_record(recipe, n, {"lora.r": 2 << n}, accuracy) for n, accuracy in enumerate((0.95, 0.5, 0.949))]
    records[2] = make_record(recipe, 2, {"lora.r": 8}, 0.949, state="pruned", reason="pruned after 3 epochs")
    found = findings(read_run(write_run(tmp_path / "r", recipe, records)))
    said = "Of those that came as far, no other configuration comes within the noise of the winner."
    assert said in page(found, "not drawn", ())


def test_the_worst_errors_are_the_surest_wrong_rows(tmp_path: Path) -> None:
    recipe = make_recipe(lora={}, train={})
    best = make_record(recipe, 0, {}, 0.95, test=make_score(405 / 445, TEST_ROWS))
    lines = make_predictions(wrong=40)
    test = findings(read_run(write_run(tmp_path / "r", recipe, [best], best=best, predictions=lines))).test
    assert test is not None
    sureness = [error.confidence for error in test.errors]
    assert len(sureness) == 20
    assert sureness == sorted(sureness, reverse=True)
    assert test.wrong == 40
    assert all(error.label != error.prediction for error in test.errors)
    assert sum(map(sum, test.matrix)) == TEST_ROWS


def test_predictions_that_are_not_of_the_recorded_test_are_named(tmp_path: Path) -> None:
    recipe = make_recipe(lora={}, train={})
    best = make_record(recipe, 0, {}, 0.95, test=make_score(1.0, TEST_ROWS))
    run = write_run(tmp_path / "r", recipe, [best], best=best, predictions=make_predictions(wrong=1))
    said = "trial.json has 445 of 445 test rows right, the test predictions 444 of 445: they are not of the same test"
    assert said in findings(read_run(run)).problems


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "is damaged"),
        ('{"row": 0, "text": "", "label": 9, "prediction": 0, "probabilities": [1,0,0,0,0]}', "5 classes"),
        ('{"row": 0, "text": "", "label": 0, "prediction": 0, "probabilities": [1]}', "5 classes"),
        ('{"row": 0, "text": "", "label": 0, "prediction": 0, "probabilities": [NaN]}', "damaged"),
        ('{"row": 0, "text": "", "label": -1, "prediction": 0, "probabilities": [1]}', "damaged"),
        ("[" * 100_000, "damaged"),
    ],
)  # fmt: skip
def test_damaged_predictions_cost_the_test_section_alone(tmp_path: Path, line: str, says: str) -> None:
    run = whole_run(tmp_path / "r")
    (run / "best" / "test_predictions.jsonl").write_text(line + "\n")
    write_manifest(run / "best")
    found = findings(read_run(run))
    assert found.test is None
    assert found.answer.winner is not None
    assert any(says in problem for problem in found.problems)


def test_damaged_trials_and_metrics_are_named_and_left_out(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    (run / "trials" / "0001" / "trial.json").write_text("{")
    (run / "trials" / "0002" / "metrics.jsonl").write_text("{\n{\n")
    found = findings(read_run(run))
    assert len(found.board.rows) == 5
    assert [problem for problem in found.problems if "0001" in problem]
    assert [problem for problem in found.problems if "0002" in problem]
    assert found.curves is not None
    assert 2 not in [curve.number for curve in found.curves.trials]


def test_a_damaged_winner_leaves_the_best_by_validation(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    (run / "best" / "trial.json").write_text("{}")
    winner = findings(read_run(run)).answer.winner
    assert winner is not None
    assert (winner.record.number, winner.split) == (3, "validation")


def test_a_trial_without_a_manifest_is_under_way(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    (run / "trials" / "0002" / MANIFEST).unlink()
    found = findings(read_run(run))
    assert found.answer.tally.under_way == 1
    assert all(2 not in row.numbers for row in found.board.rows)


def test_a_folder_that_is_no_trial_s_is_not_counted(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    before = findings(read_run(run)).answer.tally.under_way
    (run / "trials" / "backup").mkdir()
    assert findings(read_run(run)).answer.tally.under_way == before


def test_a_point_is_one_configuration_whatever_the_order_of_its_keys(tmp_path: Path) -> None:
    recipe = make_recipe()
    point = {"lora.r": 4, "train.learning_rate": 0.001}
    records = [make_record(recipe, 0, point), make_record(recipe, 1, dict(reversed(point.items())), seed=43)]
    assert findings(read_run(write_run(tmp_path / "r", recipe, records))).board.ranked[0].seeds == 2


def test_a_loss_that_rises_again_is_told(tmp_path: Path) -> None:
    found = findings(read_run(whole_run(tmp_path / "a", evaluations=list(make_evaluations(8)))))
    assert found.curves is not None
    assert "lowest at epoch 4" in found.curves.on_loss
    assert "rises" in found.curves.on_loss


def test_epochs_have_two_decimals_at_most() -> None:
    assert [passes(each) for each in (4.0, 10.6, 2 / 3, 12)] == ["4", "10.6", "0.67", "12"]


def test_a_long_trace_is_thinned(tmp_path: Path) -> None:
    line = next(make_evaluations(1))
    long = line.model_copy(update={"trace": tuple((n, 1.0, 0.1) for n in range(1, 5001)), "step": 5000})
    found = findings(read_run(whole_run(tmp_path / "r", evaluations=[long])))
    assert found.curves is not None
    points = found.curves.trials[0].train_loss
    assert len(points) <= MOST_TRACE_POINTS
    assert points[-1] == (1.0, 1.0)


def test_a_native_head_is_loaded_by_peft_and_another_is_not(tmp_path: Path) -> None:
    linear = make_recipe(lora={}, train={}, head={"kind": "linear"})
    record = make_record(linear, 0, {}, test=make_score(0.9, TEST_ROWS))
    found = findings(read_run(write_run(tmp_path / "my run", linear, [record], best=record)))
    texts = [command.text for command in found.answer.commands]
    assert not any("peft" in text for text in texts)
    assert any("my run/best'" in text for text in texts)


def test_a_recipe_without_axes_is_described_by_its_telling_fields(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": 8}, train={})
    record = make_record(recipe, 0, {})
    winner = findings(read_run(write_run(tmp_path / "r", recipe, [record]))).answer.winner
    assert winner is not None
    assert ("lora.r", "8") in winner.settings


def test_classes_without_test_rows_have_no_recall(tmp_path: Path) -> None:
    recipe = make_recipe(lora={}, train={})
    best = make_record(recipe, 0, {}, test=make_score(1.0, 2))
    lines = [{"row": n, "text": "a", "label": 0, "prediction": 0, "probabilities": [1, 0, 0, 0, 0]} for n in (0, 1)]
    run = write_run(tmp_path / "r", recipe, [best], best=best, predictions=lines)
    test = findings(read_run(run)).test
    assert test is not None
    assert test.classes[1].recall is None
    assert len(test.classes) == len(LABELS)


@given(st.text())
def test_cleaned_text_can_be_written_and_shown(text: str) -> None:
    cleaned = clean(text + "\ud800\x00\x1b\u202e\u2067")
    assert json.loads(json.dumps(cleaned)) == cleaned
    cleaned.encode("utf-8")
    assert not {"\x00", "\x1b", "\u202e", "\u2067"} & set(cleaned)


@given(st.floats(0, 1))
def test_only_a_whole_share_is_written_as_one_and_only_none_as_nought(number: float) -> None:
    assert (share(number) == "1.000") == (number == 1)
    assert (share(number) == "0.000") == (number == 0)


def test_a_class_of_few_rows_among_many_has_a_share() -> None:
    assert [share(rows / 76_969) for rows in (0, 20, 39, 76_969)] == ["0.000", "<0.001", "0.001", "1.000"]


@pytest.mark.parametrize(
    ("given_value", "words"),
    [
        (None, "null"), (True, "true"), (1e-5, "1e-5"), (0.001, "0.001"), (16, "16"),
        (("query", "value"), "query, value"), (1e20, "1e20"), ("a", "a"), ({"min": 1}, "min: 1"),
    ],
)  # fmt: skip
def test_values_are_written_as_a_recipe_has_them(given_value: object, words: str) -> None:
    assert value(given_value) == words


def test_durations_counts_and_lists_are_words() -> None:
    assert [duration(seconds) for seconds in (None, math.inf, 4.21, 42, 252, 7501)] == [
        "–", "–", "4.2 s", "42 s", "4 min 12 s", "2 h 05 min",
    ]  # fmt: skip
    assert [plural(1, "row"), plural(2_000, "row"), plural(2, "class"), plural(2, "epoch"), plural(2, "batch")] == [
        "1 row",
        "2,000 rows",
        "2 classes",
        "2 epochs",
        "2 batches",
    ]
    assert [plural(2, "query"), plural(2, "key")] == ["2 queries", "2 keys"]
    assert [in_passes(each) for each in (1.0, 10.6, 2 / 3)] == ["1 pass", "10.6 passes", "0.67 passes"]
    assert [in_passes(each) for each in (0.01, 0.0099, 1e-5)] == ["0.01 passes", *["less than 0.01 passes"] * 2]


def test_only_a_whole_is_written_100_percent_and_only_none_0() -> None:
    shares = [1.0, 2499 / 2500, 0.973, 1 / 5000, 0.0]
    assert [percent(each) for each in shares] == ["100 %", ">99.9 %", "97.3 %", "<0.1 %", "0 %"]
    assert [percent(each) for each in (0.099, 0.1, 0.9, 0.901)] == ["9.9 %", "10 %", "90 %", "90.1 %"]
    assert [listed([]), listed(["a"]), listed(["a", "b", "c"])] == ["", "a", "a, b and c"]


def test_of_very_many_damaged_trials_the_first_are_named_and_all_else_that_is_damaged(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    for number in range(1_000, 1_000 + MOST_NAMED + 5):
        shutil.copytree(run / "trials" / "0001", run / "trials" / f"{number}")  # of another trial
    (run / "best" / "test_predictions.jsonl").write_text("{\n")
    write_manifest(run / "best")
    *named, best, more = findings(read_run(run)).problems
    assert len(named) == MOST_NAMED
    assert f"trials/{1_000 + MOST_NAMED - 1}/" in named[-1]
    assert "test_predictions.jsonl" in best
    assert more == f"5 more files of {run / 'trials'} can't be read."
