"""Doubts about the test rows: few, looked at before, leaked."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloom.data.checks import ASIDE
from loraloom.intervals import wilson_interval
from loraloom.report.findings import findings
from loraloom.report.reading import read_run
from loraloom.report.test_rows import of_few
from loraloom.study.commands import Command
from loraloom.study.record import LEAKED
from tests.report.report_runs import (
    PROVENANCE,
    SEARCH,
    TEST_ROWS,
    VALIDATION_ROWS,
    make_recipe,
    make_record,
    make_score,
    whole_run,
    write_commands,
    write_run,
)


def doubts(run: Path) -> str:
    return "\n".join(findings(read_run(run)).cautions)


def test_few_rows_are_named_with_how_many_it_would_take() -> None:
    interval = wilson_interval(54, 60)
    (said,) = of_few(interval, 60, "test")
    assert said.startswith(
        "From 60 test rows the accuracy is known to an interval of 15 points of a hundred; for one of 5 "
    )
    need = int(said.split()[-2].replace(",", ""))
    low, high = wilson_interval(round(0.9 * need), need)
    assert high - low <= 0.055
    assert not list(of_few(wilson_interval(430, 444), 444, "test"))


@pytest.mark.parametrize(("right", "rows"), [(0, 1), (1, 2), (10, 10), (8, 18), (0, 60), (600, 1200)])
def test_what_it_would_take_is_enough_and_little_more(right: int, rows: int) -> None:
    """At the middle of what the few rows leave open, whose own interval is far from going with 1 / √n."""
    low, high = wilson_interval(right, rows)
    (said,) = of_few((low, high), rows, "test")
    need = int(said.split()[-2].replace(",", ""))
    least, most = wilson_interval(round((low + high) / 2 * need), need)
    assert 0.037 <= most - least <= 0.0505
    assert need > rows


def test_one_test_is_no_doubt(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    write_commands(run, SEARCH)
    assert "looked at before" not in doubts(run)
    recipe = make_recipe()
    points = list(recipe.grid())
    best = make_record(recipe, 0, points[0], 0.95, test=make_score(0.96, TEST_ROWS))
    run = write_run(
        tmp_path / "in its trial's record too", recipe, [best, make_record(recipe, 1, points[1])], best=best
    )
    write_commands(run, SEARCH.model_copy(update={"tested": (0,), "finished": 2}))
    assert "looked at before" not in doubts(run)


@pytest.mark.parametrize("logged", [True, False])
def test_a_winner_that_was_tested_before_this_one_is_named(tmp_path: Path, logged: bool) -> None:
    """By the log of commands, and, where a run has none, by the result that its record got."""
    recipe = make_recipe()
    points = list(recipe.grid())
    test = make_score(0.951, TEST_ROWS)
    records = [
        make_record(recipe, 0, points[0], 0.95, test=None if logged else test),
        make_record(recipe, 1, points[1]),
    ]
    best = make_record(recipe, 1, points[1], test=make_score(0.96, TEST_ROWS))
    run = write_run(tmp_path / "r", recipe, records, best=best)
    if logged:
        write_commands(
            run, SEARCH.model_copy(update={"tested": (0,)}), Command(started="x", tested=(1, 1), ended="done")
        )
    said = doubts(run)
    had = "" if logged else " (0.951)"
    assert f"The test rows were looked at before: trial 0{had} was tested on them, and" in said


def test_all_that_were_tested_before_are_named(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    best = read_run(run).best
    assert best is not None
    first, second, *_ = (number for number in range(4) if number != best.record.number)
    write_commands(run, SEARCH.model_copy(update={"tested": (first,)}), SEARCH.model_copy(update={"tested": (second,)}))
    assert f"looked at before: trials {first} and {second} were tested on them, and" in doubts(run)


def test_a_winner_that_was_tested_before_the_search_went_on_has_not_its_last_accuracy_as_its_first(
    tmp_path: Path,
) -> None:
    """As where a part of the rows was tested at first, for want of time, and it stayed the winner."""
    recipe = make_recipe()
    points = list(recipe.grid())
    best = make_record(recipe, 0, points[0], 0.95, test=make_score(0.96, TEST_ROWS))
    run = write_run(tmp_path / "r", recipe, [best, make_record(recipe, 1, points[1])], best=best)
    first = SEARCH.model_copy(update={"tested": (0,), "finished": 1})
    write_commands(run, first, Command(started="x", tested=(0,), finished=2, ended="done"))
    assert "The test rows were looked at before: trial 0 was tested on them" in doubts(run)


def test_the_same_winner_tested_twice_is_no_other_look(tmp_path: Path) -> None:
    """As after a kill in the midst of the test."""
    run = whole_run(tmp_path / "r")
    write_commands(run, SEARCH.model_copy(update={"ended": None}), SEARCH)
    assert "looked at before" not in doubts(run)


def test_a_lost_log_is_a_doubt(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    write_commands(run, Command(started="", ended="failed"), SEARCH)
    assert "How often the test rows were looked at is not known" in doubts(run)


def test_leaked_rows_that_were_kept_are_counted_once(tmp_path: Path) -> None:
    finding = {
        "kind": "leak",
        "severity": "warning",
        "count": 12,
        "sentence": "12 training rows are also in test: kept.",
    }
    about = {**PROVENANCE, "allow_leak": True, "data": {**PROVENANCE["data"], "findings": [finding]}}
    recipe = make_recipe(about, lora={}, train={})
    best = make_record(recipe, 0, {}, marks=(LEAKED,), test=make_score(0.96, TEST_ROWS))
    run = write_run(tmp_path / "r", recipe, [best], best=best)
    assert doubts(run).count("kept") == 2
    assert "--allow_leak), and flatter the accuracies of the splits that they are in: 12 training rows" in doubts(run)


@pytest.mark.parametrize("leaking", [True, False])
def test_what_validation_and_test_share_is_not_said_to_be_kept_on_request(tmp_path: Path, leaking: bool) -> None:
    shared = {"kind": "leak", "splits": ["validation", "test"], "sentence": "5 validation rows are also in test: kept."}
    near = {"kind": "near_copy", "splits": ["train", "test"], "sentence": "2 training rows are near copies: kept."}
    data = {**PROVENANCE["data"], "findings": [shared, near] if leaking else [shared]}
    recipe = make_recipe({**PROVENANCE, "allow_leak": True, "data": data}, lora={}, train={})
    best = make_record(recipe, 0, {}, test=make_score(0.96, TEST_ROWS))
    said = doubts(write_run(tmp_path / "r", recipe, [best], best=best))
    assert ("in: 2 training rows are near copies: kept." in said) == ("--allow_leak" in said) == leaking
    assert "5 validation rows" not in said


@pytest.mark.parametrize(("configurations", "shared"), [(2, 40), (2, 6), (1, 40)])
def test_a_choice_by_rows_of_the_test_is_a_doubt_where_they_are_many(
    tmp_path: Path, configurations: int, shared: int
) -> None:
    of_kind = {"leak": shared - 1, "near_copy": 1}
    kept = [{"kind": kind, "splits": ["validation", "test"], "count": count} for kind, count in of_kind.items()]
    data = {**PROVENANCE["data"], "findings": kept}
    recipe = make_recipe({**PROVENANCE, "data": data}, lora={"r": [4, 8][:configurations]}, train={})
    records = [make_record(recipe, n, point, 0.95 + n / 100) for n, point in enumerate(recipe.grid())]
    tested = make_record(recipe, 0, {}, test=make_score(0.96, TEST_ROWS)).result
    best = records[-1].model_copy(update={"result": tested})
    said = doubts(write_run(tmp_path / "r", recipe, records, best=best))
    line = f"{shared} of {VALIDATION_ROWS} validation rows are in test too, or nearly: it was chosen by rows"
    assert (line in said) == (configurations == 2 and shared == 40)


@pytest.mark.parametrize(
    ("split", "disputed", "aside", "said"),
    [("test", 45, "", True), ("test", 4, "", False), ("test", 45, ASIDE, False), ("train", 45, "", False)],
)
def test_many_texts_with_several_labels_are_a_limit_to_what_can_be_reached(
    tmp_path: Path, split: str, disputed: int, aside: str, said: bool
) -> None:
    sentence = f"{split} has {disputed} texts with more than one label{aside}: kept."
    finding = {"kind": "conflict", "splits": [split], "count": disputed, "sentence": sentence}
    run = whole_run(tmp_path / "r", data={**PROVENANCE["data"], "findings": [finding]})
    line = (
        f"45 test texts stand under several labels, of which one at most is right: no answers have more than "
        f"0.899 of {TEST_ROWS} rows right."
    )
    assert (line in doubts(run)) == said


@pytest.mark.parametrize(
    ("split", "repeated", "said"), [("test", 60, True), ("test", 40, False), ("train", 900, False)]
)
def test_many_rows_that_repeat_others_are_a_doubt_about_intervals(
    tmp_path: Path, split: str, repeated: int, said: bool
) -> None:
    finding = {"kind": "duplicate", "splits": [split], "count": repeated}
    run = whole_run(tmp_path / "r", data={**PROVENANCE["data"], "findings": [finding]})
    line = f"{repeated} of {TEST_ROWS} test rows repeat the text and label of another, and are no further evidence"
    assert (line in doubts(run)) == said


def test_configurations_compared_on_fewer_rows_alone_are_survivors_not_taken(tmp_path: Path) -> None:
    recipe = make_recipe()
    points = list(recipe.grid())
    pairs = [(0, 0, 400), (1, 1, 400), (2, 2, 400), (3, 0, 1300)]
    records = [
        make_record(recipe, n, points[point]).model_copy(update={"train_rows": rows}) for n, point, rows in pairs
    ]
    run = write_run(tmp_path / "r", recipe, records, best=records[3])
    assert "2 of 3 configurations were compared on fewer rows than the winner" in doubts(run)


def test_two_seeds_are_too_few_to_know(tmp_path: Path) -> None:
    recipe = make_recipe(lora={}, train={}, search={"seeds": 2})
    records = [make_record(recipe, n, {}, accuracy, seed=42 + n) for n, accuracy in enumerate((0.95, 0.96))]
    run = write_run(tmp_path / "r", recipe, records, best=records[1])
    assert "It was trained with 2 seeds, which say little" in doubts(run)
