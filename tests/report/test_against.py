"""Two runs on one test set: rows matched by what they are, a verdict with its interval, and what is refused."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from loraloom.errors import RunError
from loraloom.intervals import mcnemar, paired
from loraloom.report.against import Against, against, verdict_of
from loraloom.report.findings import findings
from loraloom.report.markdown import markdown
from loraloom.report.reading import read_run
from loraloom.report.writing import write_report
from loraloom.study.record import SOUP_OF
from tests.report.report_runs import (
    LABELS,
    PROVENANCE,
    TEST_ROWS,
    make_predictions,
    make_recipe,
    make_record,
    make_score,
    predicting,
    whole_run,
    write_run,
)


def with_winner(
    run: Path,
    lines: Sequence[Mapping[str, Any]],
    labels: Sequence[str] = LABELS,
    rank: int = 4,
    test_rows: int | None = None,
    marks: tuple[str, ...] = (),
    metric: str = "accuracy",
) -> Path:
    """A run whose winner has `lines`, of `test_rows` test rows, else of all that it has."""
    rows = PROVENANCE["data"]["rows"] | {"test": len(lines) if test_rows is None else test_rows}
    provenance = PROVENANCE | {"data": PROVENANCE["data"] | {"rows": rows}}
    recipe = make_recipe(provenance, lora={"r": [2, 4, 8]}, train={}, search={"metric": metric})
    right = sum(line["label"] == line["prediction"] for line in lines)
    best = make_record(recipe, 0, {"lora.r": rank}, labels=labels, test=make_score(right / len(lines), len(lines)))
    best = best.model_copy(update={"marks": marks})
    return write_run(run, recipe, [make_record(recipe, 0, best.point, labels=labels)], best=best, predictions=lines)


def two(tmp_path: Path, first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> Against:
    return against(read_run(with_winner(tmp_path / "one", first)), with_winner(tmp_path / "two", second))


def test_the_better_run_is_named_with_interval_p_and_rows(tmp_path: Path) -> None:
    found = two(tmp_path, make_predictions(wrong=13), make_predictions(wrong=33))
    assert (found.rows, found.both, found.neither, len(found.gained), len(found.lost)) == (445, 412, 13, 20, 0)
    assert found.p == mcnemar(np.r_[np.zeros(0), np.ones(20)].astype(int), np.zeros(20, dtype=int))
    assert found.difference == pytest.approx(20 / 445)
    assert found.verdict.startswith("one is better than two by 4.5 points (95 % +2.7 … +6.5, McNemar p < 0.001, 445 ")


def test_the_second_run_may_be_the_better(tmp_path: Path) -> None:
    found = two(tmp_path, make_predictions(wrong=33), make_predictions(wrong=13))
    assert found.difference < 0
    assert found.verdict.startswith("two is better than one by 4.5 points (95 % +2.7 … +6.5")


def test_where_rows_are_too_few_it_is_said_first_and_from_which_lead_on_they_would_tell(tmp_path: Path) -> None:
    found = two(tmp_path, make_predictions(wrong=13), make_predictions(wrong=15))
    assert found.verdict == (
        "The rows are too few to tell which is better: one is 0.4 points ahead of two, which may be chance (McNemar "
        "p = 0.50, 445 shared rows of which 2 changed sides, too few for an interval). Where so few change sides, no "
        "lead is more than chance."
    )
    nine = paired(np.arange(29) < 20, (np.arange(29) >= 7) & (np.arange(29) < 22))
    assert verdict_of(("news", "native"), nine) == (
        "The rows are too few to tell which is better: news is 17.2 points ahead of native, which may be chance "
        "(McNemar p = 0.18, 29 shared rows of which 9 changed sides, too few for an interval). Where as many change "
        "sides, a lead is more than chance from 24.1 points on."
    )


def test_the_least_lead_that_would_tell_is_not_rounded_to_the_one_that_does_not() -> None:
    rows = np.arange(3000)
    said = verdict_of(("one", "two"), paired(rows >= 19, (rows < 19) | (rows >= 52)))
    assert "one is 0.47 points ahead of two, which may be chance (95 % 0.0 … +0.9, McNemar p = 0.070" in said
    assert said.endswith(" Where as many change sides, a lead is more than chance from 0.53 points on.")


def test_where_no_difference_has_room_none_was_found() -> None:
    rows = np.arange(40_000)
    first, second = paired(rows >= 8, (rows < 20) | (rows >= 27)), paired(rows >= 8, (rows < 20) | (rows >= 28))
    assert verdict_of(("one", "two"), first).startswith(
        "No difference was found: the 0.003 points that two is ahead of one may be chance (95 % "
    )
    assert verdict_of(("one", "two"), second).startswith("No difference was found: they are level (95 % ")
    few = paired(rows >= 1, rows >= 0)
    assert verdict_of(("one", "two"), few) == (
        "No difference was found: the 0.003 points that two is ahead of one may be chance (McNemar p = 1.00, 40,000 "
        "shared rows of which 1 changed sides, too few for an interval)."
    )


def test_runs_that_chose_by_macro_f1_are_said_to_be_compared_by_accuracy(tmp_path: Path) -> None:
    lines, other = make_predictions(wrong=13), make_predictions(wrong=33)
    first = read_run(with_winner(tmp_path / "one", lines, metric="macro_f1"))
    expected = [
        f1_score([line["label"] for line in each], [line["prediction"] for line in each], average="macro")
        for each in (lines, other)
    ]
    figures = f"{expected[0]:.3f} in one and {expected[1]:.3f} in two"
    for metric, whose in (("macro_f1", "The winners were"), ("accuracy", "The winner of one was")):
        caution, *_ = against(first, with_winner(tmp_path / metric / "two", other, metric=metric)).cautions
        assert caution == (
            f"{whose} chosen by macro-F1, and compared by accuracy, in which rare classes hardly count. Macro-F1 on "
            f"the shared rows is {figures}; of the difference no interval is made."
        )
    assert not any("macro-F1" in caution for caution in two(tmp_path / "by accuracy", lines, other).cautions)


def test_rows_that_changed_sides_begin_with_the_surest_errors(tmp_path: Path) -> None:
    lines = make_predictions(wrong=0)

    def said(*rows: tuple[bool, float]) -> list[Mapping[str, Any]]:
        made = list[Mapping[str, Any]](lines)
        for row, (right, sure) in enumerate(rows):
            prediction = (lines[row]["label"] + (not right)) % 5
            shares = [sure if place == prediction else (1 - sure) / 4 for place in range(5)]
            made[row] = {**lines[row], "prediction": prediction, "probabilities": shares}
        return made

    found = two(
        tmp_path,
        said((False, 0.6), (False, 0.9), (True, 0.5), (True, 0.7)),
        said((True, 0.9), (True, 0.6), (False, 0.9), (False, 0.8)),
    )
    assert [each.row for each in found.lost] == [lines[1]["row"], lines[0]["row"]]
    assert [each.row for each in found.gained] == [lines[2]["row"], lines[3]["row"]]


def test_of_the_interval_and_the_exact_test_the_stricter_decides() -> None:
    of_eleven = np.arange(400) < 9, (np.arange(400) >= 9) & (np.arange(400) < 11)
    for first, second, ahead in ((*of_eleven, "one"), (*of_eleven[::-1], "two")):
        stand = paired(first, second)
        assert stand.interval is not None
        assert stand.p == pytest.approx(stats.binomtest(9, 11).pvalue)
        said = verdict_of(("one", "two"), stand)
        assert said.startswith(
            f"The rows are too few to tell which is better: {ahead} is 1.8 points ahead of "
            f"{'onetwo'.replace(ahead, '')}, which may be chance "
        )
        assert said.endswith("The interval leaves out 0, but the exact test, which is the stricter, is not convinced.")


def test_runs_that_err_as_often_on_other_rows_are_level(tmp_path: Path) -> None:
    lines = make_predictions(wrong=0)
    ways = [[predicting(one, (one["label"] + (n == wrong)) % 5) for n, one in enumerate(lines)] for wrong in (0, 1)]
    assert two(tmp_path, *ways).verdict == (
        "The rows are too few to tell which is better: they are level (McNemar p = 1.00, 445 shared rows of which 2 "
        "changed sides, too few for an interval). Where so few change sides, no lead is more than chance."
    )


def test_a_copy_of_a_run_changes_no_row(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "run")
    shutil.copytree(run, tmp_path / "copy")
    found = against(read_run(run), tmp_path / "copy")
    assert (found.p, found.interval, found.changed) == (1.0, None, ())
    assert "Of rows like these 0.7 % at most can be expected to change sides" in found.verdict


@pytest.mark.parametrize(
    ("rows", "said"), [(1, "95.0 %"), (5, "45 %"), (39, "7.4 %"), (445, "0.7 %"), (100_000, "<0.1 %")]
)
def test_where_no_row_changed_it_is_said_how_many_may_by_the_exact_limit_of_so_many(rows: int, said: str) -> None:
    right = np.ones(rows, dtype=np.bool_)
    assert f"Of rows like these {said} at most can" in verdict_of(("one", "two"), paired(right, right))
    assert stats.beta.ppf(0.95, 1, rows) == pytest.approx(1 - 0.05 ** (1 / rows))  # Clopper and Pearson's


def test_what_few_of_many_rows_differ_by_is_not_written_as_nothing(tmp_path: Path) -> None:
    lines = make_predictions(rows=16_000, wrong=0, labels=("no", "yes"))
    six = [predicting(line, 1 - line["label"]) if place < 6 else line for place, line in enumerate(lines)]
    runs = [with_winner(tmp_path / name, each, ("no", "yes")) for name, each in (("one", lines), ("two", six))]
    found = against(read_run(runs[0]), runs[1])
    assert found.verdict == (
        "one is better than two by 0.04 points (McNemar p = 0.031, 16,000 shared rows of which 6 changed sides, too "
        "few for an interval)."
    )
    shutil.copytree(runs[0], tmp_path / "copy")
    assert "Of rows like these <0.1 % at most can be" in against(read_run(runs[0]), tmp_path / "copy").verdict


def test_rows_are_matched_by_text_and_label_whatever_their_numbers_and_label_ids(tmp_path: Path) -> None:
    lines = make_predictions(wrong=13)
    turned = LABELS[::-1]
    other = [
        {**line, "row": number, "label": 4 - line["label"], "prediction": 4 - line["prediction"],
         "probabilities": line["probabilities"][::-1]}
        for number, line in enumerate(reversed(lines))
    ]  # fmt: skip
    run, second = with_winner(tmp_path / "one", lines), with_winner(tmp_path / "two", other, turned)
    found = against(read_run(run), second)
    assert (found.rows, found.changed) == (445, ())


def test_a_text_that_stands_twice_is_matched_twice(tmp_path: Path) -> None:
    lines = [
        {**line, "text": "the same text"} if number < 10 else line for number, line in enumerate(make_predictions())
    ]
    assert two(tmp_path, lines, lines).rows == TEST_ROWS


def test_shared_rows_alone_are_compared_where_at_least_half_are_shared(tmp_path: Path) -> None:
    lines = make_predictions(wrong=13)
    found = two(tmp_path, lines, lines[:300])
    assert found.rows == 300
    assert found.cautions[0].startswith("Only 300 rows are in both test sets (445 and 300 rows)")


def test_runs_of_other_test_rows_are_refused(tmp_path: Path) -> None:
    lines = make_predictions(wrong=13)
    with pytest.raises(RunError, match=r"shares 100 test rows with .*, of 445 here and 100 there; two runs"):
        two(tmp_path, lines, lines[:100])


def test_a_run_that_was_tested_on_a_small_part_of_its_test_rows_is_compared_on_these(tmp_path: Path) -> None:
    lines = make_predictions(wrong=13)
    whole, part = with_winner(tmp_path / "one", lines), with_winner(tmp_path / "two", lines[:100], test_rows=445)
    said = "two was tested on 100 of its 445 test rows, a part stratified by class: the rows that both"
    for found in (against(read_run(whole), part), against(read_run(part), whole)):
        assert found.rows == 100
        assert found.cautions[0].startswith(said)
        assert not any("in both test sets" in caution for caution in found.cautions)


def test_runs_of_other_labels_share_no_row(tmp_path: Path) -> None:
    lines = make_predictions()
    run, second = with_winner(tmp_path / "one", lines), with_winner(tmp_path / "two", lines, tuple("abcde"))
    said = (
        "shares 0 test rows with .*, of 445 here and 445 there, where 445 texts are in both, some under other labels;"
    )
    with pytest.raises(RunError, match=said):
        against(read_run(run), second)


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "run")
    (tmp_path / "link").symlink_to(run)
    with pytest.raises(RunError, match="is the run itself"):
        write_report(run, against=tmp_path / "link")


def test_an_unfinished_run_is_refused_and_the_report_left_as_it_was(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "run")
    recipe = make_recipe()
    unfinished = write_run(tmp_path / "unfinished", recipe, [make_record(recipe, 0, next(iter(recipe.grid())))])
    with pytest.raises(RunError, match=r"unfinished: has no tested winner to compare; finish it by: loraloom resume"):
        write_report(run, against=unfinished)
    assert not (run / "report").exists()


def test_a_winner_without_predictions_of_single_rows_is_refused(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "run")
    recipe = make_recipe(lora={}, train={})
    best = make_record(recipe, 0, {}, test=make_score(0.97, TEST_ROWS))
    bare = write_run(tmp_path / "latest", recipe, [best], best=best)
    (bare / "trials" / "0000" / "trial.json").write_text("{")  # a problem, and not of these rows
    with pytest.raises(RunError, match="it left no predictions of single rows"):
        against(read_run(run), bare)


def test_damaged_predictions_are_named(tmp_path: Path) -> None:
    run, other = whole_run(tmp_path / "run"), whole_run(tmp_path / "other")
    (other / "best" / "test_predictions.jsonl").write_text("{}\n")
    with pytest.raises(RunError, match=r"test_predictions\.jsonl: is damaged"):
        against(read_run(run), other)


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    run = with_winner(tmp_path / "a" / "demo", make_predictions(wrong=13))
    found = against(read_run(run), with_winner(tmp_path / "b" / "demo", make_predictions(wrong=33)))
    assert (found.first.name, found.second.name) == (str(tmp_path / "a" / "demo"), str(tmp_path / "b" / "demo"))


def test_parameters_and_time_are_set_against_each_other(tmp_path: Path) -> None:
    lines = make_predictions()
    run = with_winner(tmp_path / "one", lines, rank=2)
    found = against(read_run(run), with_winner(tmp_path / "two", lines, rank=8))
    assert found.on_cost == (
        "one trains 166,432 parameters, 75 % of the 221,728 of two; their trials took 1 min 04 s (1 trial) and "
        "1 min 10 s (1 trial)."
    )
    assert (found.first.settings, found.second.settings) == ((("lora.r", "2"),), (("lora.r", "8"),))
    timed = [read_run(tmp_path / name).best for name in ("one", "two")]
    assert [found.first.trial_seconds, found.second.trial_seconds] == [
        best.record.timings.seconds for best in timed if best is not None and best.record.timings is not None
    ]


def test_a_mean_of_seeds_is_not_called_a_trial_of_one_seed(tmp_path: Path) -> None:
    lines = make_predictions()
    run, other = (
        with_winner(tmp_path / "one", lines, marks=(f"{SOUP_OF}0 and 1",)),
        with_winner(tmp_path / "two", lines),
    )
    found = against(read_run(run), other)
    assert any(caution.startswith("Two adapters are compared, and not two recipes") for caution in found.cautions)
    write_report(run, against=other, may_draw=lambda: False)
    page = (run / "report" / "index.html").read_text()
    assert page.count("the mean of trials 0 and 1</span>") == 1
    assert any("of one seed each," in each for each in two(tmp_path / "single", lines, lines).cautions)


def with_data(run: Path, fingerprint: str | None, train_rows: int | None = None) -> Path:
    data = {name: each for name, each in PROVENANCE["data"].items() if name != "fingerprint"}
    given = data if fingerprint is None else {**data, "fingerprint": fingerprint}
    recipe = make_recipe({**PROVENANCE, "data": given}, lora={"r": [2, 4, 8]}, train={})
    lines = make_predictions(wrong=13)
    best = make_record(recipe, 0, {"lora.r": 4}, test=make_score(0.97, TEST_ROWS))
    best = best.model_copy(update={"train_rows": train_rows})
    return write_run(run, recipe, [best], best=best, predictions=lines)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (("a", 100), ("a", 100), None),
        (("a", None), ("a", None), None),
        (("a", 100), ("a", 400), "different numbers of rows, 100 in one and 400 in two"),
        (("a", 100), ("b", 100), "training and validation rows are not the same"),
        (("a", 100), (None, 100), "training and validation rows are not the same, or not known to be"),
    ],
)
def test_runs_that_learnt_from_other_rows_are_compared_with_a_caution(
    tmp_path: Path, first: tuple[str, int | None], second: tuple[str | None, int | None], said: str | None
) -> None:
    found = against(read_run(with_data(tmp_path / "one", *first)), with_data(tmp_path / "two", *second))
    about_rows = [each for each in found.cautions if "may be the rows" in each]
    assert len(about_rows) == (0 if said is None else 1)
    assert said is None or said in about_rows[0]


@pytest.mark.usefixtures("no_pictures")
def test_the_page_shows_what_changed_sides_as_text_and_its_tables_are_disarmed(tmp_path: Path) -> None:
    hostile = "=<img src=x onerror=alert(1)>{label}"
    run = with_winner(tmp_path / "one", make_predictions(wrong=13, text=hostile))
    other = with_winner(tmp_path / "two", make_predictions(wrong=43, text=hostile))
    page = write_report(run, against=other)
    text = page.read_text()
    assert "<img" not in text
    assert "one is better than two by 6.7 points" in text
    assert "20 of 30 rows, the surest errors of the other first." in text
    with page.with_name("changed_sides.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert all(row["text"].startswith("'=<img") for row in rows)
    with page.with_name("two_runs.csv").open(encoding="utf-8", newline="") as file:
        sides = list(csv.DictReader(file))
    assert [float(side["difference"]) for side in sides] == pytest.approx([30 / 445, -30 / 445])


def test_in_markdown_both_winners_stand_beside_each_other(tmp_path: Path) -> None:
    run = with_winner(tmp_path / "one", make_predictions(wrong=13))
    made = markdown(findings(read_run(run), with_winner(tmp_path / "two", make_predictions(wrong=33), rank=8)))
    section = made.partition("## Two runs\n\n")[2].partition("\n\n## ")[0]
    assert section.startswith("one is better than two by 4.5 points")
    assert "| Run | Accuracy on 445 shared rows | 95 % interval | Parameters | Time of the trial |" in section
    assert "| `one` | 0.971 | 0.951–0.983 | 184,864 | 1 min 06 s |" in section
    assert "| `two` | 0.926 | 0.898–0.947 | 221,728 | 1 min 10 s |" in section


@pytest.mark.usefixtures("no_pictures")
def test_a_report_of_one_run_has_no_such_section(tmp_path: Path) -> None:
    assert 'id="against"' not in write_report(whole_run(tmp_path / "run")).read_text()
