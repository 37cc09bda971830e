"""What to try next: each command has a reason in the run, and where there is none nothing is advised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from loraloom.recipe import Recipe, read_recipe
from loraloom.report.findings import Findings, findings
from loraloom.report.markdown import markdown
from loraloom.report.reading import read_run
from loraloom.report.writing import write_report
from loraloom.search import next_search
from loraloom.search.next_search import points_of
from loraloom.study.durable import replacing_folder
from loraloom.study.record import Result, Score, TrialRecord
from tests.report.report_runs import (
    PROVENANCE,
    SEARCH,
    TEST_ROWS,
    VALIDATION_ROWS,
    make_predictions,
    make_recipe,
    make_record,
    make_score,
    with_train,
    write_commands,
    write_run,
)

WHOLE = {**PROVENANCE, "dropped_points": []}


def of(tmp_path: Path, recipe: Recipe, records: Sequence[TrialRecord], best: int | None = 0, **seen: Any) -> Findings:
    """Of a run of these records; the tested winner is that of number `best`, with what it has `seen`."""
    tested, records = None, list(records)
    if best is not None:
        record = records[best] = records[best].model_copy(update=seen)
        assert record.result is not None
        result = record.result.model_copy(update={"test": make_score(0.95, TEST_ROWS)})
        tested = record.model_copy(update={"result": result})
    return findings(read_run(write_run(tmp_path / "run", recipe, records, best=tested, evaluations=())))


def ranks(accuracies: Mapping[int, float | None], **sections: Any) -> tuple[Recipe, list[TrialRecord]]:
    recipe = make_recipe(WHOLE, lora={"r": [1, 2, 4, 8]}, train={}, **sections)
    return recipe, [
        make_record(recipe, n, {"lora.r": r}, a, state="failed" if a is None else "complete")
        for n, (r, a) in enumerate(accuracies.items())
    ]


def twelve(seeds: int) -> tuple[Recipe, list[TrialRecord]]:
    """Twelve configurations, and the records of four seeds of each."""
    axes = {"lora": {"r": [1, 2, 4, 8]}, "train": {"learning_rate": [0.001, 0.002, 0.004]}}
    recipe = make_recipe(WHOLE, **axes, search={"seeds": seeds})
    points = list(recipe.grid())
    accuracies = [0.9 + n * 5 % 7 / 100 for n in range(12)]
    return recipe, [make_record(recipe, n, points[n % 12], accuracies[n % 12], seed=42 + n // 12) for n in range(48)]


def of_few_rows(seeds: int) -> tuple[Recipe, list[TrialRecord]]:
    """Two configurations, and the records of so many seeds of each, the better one's first, on 999 rows."""
    recipe = make_recipe(WHOLE, lora={"r": [1, 2]}, train={}, search={"seeds": seeds})
    records = (
        make_record(recipe, n, {"lora.r": 1 + n // seeds}, 0.95 - n / 100, seed=42 + n % seeds)
        for n in range(2 * seeds)
    )
    return recipe, [record.model_copy(update={"train_rows": 999}) for record in records]


def test_a_winner_that_saw_a_part_of_the_rows_is_to_see_all(tmp_path: Path) -> None:
    found = of(tmp_path, *ranks({1: 0.9}, budget={"max_seconds": 90}), train_rows=306)
    assert found.next_steps[0].sentence == (
        "All rows: the winner was trained on 306 of 1,558, in a search that had 1 min 30 s. One of all would take "
        "about 8 min."
    )
    assert found.next_steps[0].command == (
        f"loraloom search {tmp_path}/run/recipe.yaml --out {tmp_path}/run-longer --set budget.max_seconds=510"
    )


def test_beside_a_run_that_is_the_current_folder_is_the_next_one_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not within it, under a name that is hidden."""
    monkeypatch.chdir(tmp_path)
    recipe, _ = ranks({1: 0.9})
    assert next_search.search_command(Path(), recipe, "seeds").endswith(f" --out {tmp_path}-seeds")


@pytest.mark.parametrize(
    ("epochs", "passes", "rows", "advised"),
    [("clock", 0.15, 234, True), ("clock", 0.95, 1480, False), ("recipe", 0.15, 234, False)],
)
def test_a_winner_that_lacked_much_of_a_pass_by_the_clock_is_to_see_all_rows(
    tmp_path: Path, epochs: str, passes: float, rows: int, *, advised: bool
) -> None:
    recipe, (first,) = ranks({1: 0.9}, budget={"max_seconds": 90}, search={"epochs": epochs})
    found = of(tmp_path, recipe, [with_train(first, num_train_epochs=passes)])
    seen = f"trained on {rows:,} of 1,558"
    assert any(said.startswith(f"It was {seen} rows, in less than a pass") for said in found.cautions)
    assert found.next_steps[0].sentence.startswith(f"All rows: the winner was {seen}") == advised


def test_of_a_part_of_the_rows_that_the_clock_cut_short_all_of_the_page_says_as_many(tmp_path: Path) -> None:
    recipe, (first,) = ranks({1: 0.9}, budget={"max_seconds": 90})
    winner = first.model_copy(update={"train_rows": 306, "epochs": 0.95})
    found = of(tmp_path, recipe, [winner])
    assert any(said.startswith("It was trained on 291 of 1,558 rows") for said in found.cautions)
    assert found.next_steps[0].sentence.startswith("All rows: the winner was trained on 291 of 1,558")


def test_no_more_seeds_are_advised_where_there_was_no_time_for_all_rows(tmp_path: Path) -> None:
    recipe, records = ranks({1: 0.9, 2: 0.9}, budget={"max_seconds": 90})
    fewer = [record.model_copy(update={"train_rows": 306}) for record in records]
    (step,) = of(tmp_path, recipe, fewer, train_rows=306).next_steps
    assert step.sentence.startswith("All rows: the winner was trained on 306 of 1,558")


def test_no_more_rows_are_to_be_seen_than_the_recipe_asks_for(tmp_path: Path) -> None:
    recipe, records = ranks({1: 0.9}, budget={"max_seconds": 90}, data={"max_train_samples": 306})
    assert not any("All rows" in step.sentence for step in of(tmp_path, recipe, records, train_rows=306).next_steps)


@pytest.mark.parametrize(
    ("end", "fell"),
    [({"state": "failed", "result": None}, True), ({"epochs": 0.1}, False), ({"train_rows": 600}, True)],
    ids=["failed", "cut short", "came to less"],
)
def test_a_winner_whose_configuration_failed_on_more_rows_or_came_to_less_is_not_to_see_all(
    tmp_path: Path, end: dict[str, Any], *, fell: bool
) -> None:
    recipe, (first, other) = ranks({1: 0.9, 2: 0.8}, budget={"max_seconds": 90})
    on_few = [one.model_copy(update={"train_rows": 306}) for one in (first, other)]
    further = make_record(recipe, 2, first.point, 0.2).model_copy(update=end)
    found = of(tmp_path, recipe, [*on_few, further], train_rows=306)
    assert [step.sentence.startswith("All rows") for step in found.next_steps[:1]] == [not fell]
    said = "failed or came to less" if fell else "on all of them it would probably be better"
    assert any(one.startswith("It was trained on 306 of 1,558") and said in one for one in found.cautions)


def test_that_a_trial_on_all_rows_failed_does_not_show_that_there_was_time_for_it(tmp_path: Path) -> None:
    recipe, (first, failed) = ranks({1: 0.9, 2: None}, budget={"max_seconds": 90})
    records = [first, failed.model_copy(update={"timings": None})]
    (step, *_) = of(tmp_path, recipe, records, train_rows=306).next_steps
    assert step.sentence.startswith("All rows: the winner was trained on 306 of 1,558")


def test_a_search_that_nothing_limited_had_time_for_all(tmp_path: Path) -> None:
    recipe, records = ranks({1: 0.9})
    of(tmp_path, recipe, records, train_rows=306)
    unlimited = SEARCH.model_copy(update={"allowed_seconds": None})
    write_commands(tmp_path / "run", unlimited)
    steps = findings(read_run(tmp_path / "run")).next_steps
    assert not any("All rows" in step.sentence for step in steps)
    write_commands(tmp_path / "run", unlimited, SEARCH.model_copy(update={"allowed_seconds": 60}))
    step = findings(read_run(tmp_path / "run")).next_steps[0]
    assert "306 of 1,558, in a search that had 2 min 58 s." in step.sentence


def test_a_grid_that_takes_long_to_count_is_one_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, _ = ranks({})
    assert points_of(recipe) == 4
    monkeypatch.setattr(next_search, "_MOST_COUNTED", 3)
    assert points_of(recipe) is None


def test_a_resume_has_the_time_of_the_recipe_whatever_the_commands_before_had(tmp_path: Path) -> None:
    recipe, records = ranks({1: 0.9, 2: 0.5}, budget={"max_seconds": 90})
    of(tmp_path, recipe, records)
    write_commands(tmp_path / "run", *(SEARCH.model_copy(update={"allowed_seconds": each}) for each in (90, 180)))
    step = findings(read_run(tmp_path / "run")).next_steps[0]
    assert step.sentence.startswith("More configurations: 4 min 30 s had time for 2 configurations of 4.")
    assert " In 1 min 30 s more it tries others" in step.sentence
    assert step.command == f"loraloom resume {tmp_path}/run"


def test_a_search_that_had_time_for_some_is_to_go_on(tmp_path: Path) -> None:
    found = of(
        tmp_path, *ranks({1: 0.9, 2: 0.5}, budget={"max_seconds": 90}), train_rows=PROVENANCE["data"]["rows"]["train"]
    )
    assert found.next_steps[0].sentence.startswith(
        "More configurations: 1 min 30 s had time for 2 configurations of 4."
    )
    assert found.next_steps[0].command == f"loraloom resume {tmp_path}/run"
    page = write_report(tmp_path / "run", may_draw=lambda: False).read_text(encoding="utf-8")
    assert "<h3>What to try next</h3>" in page
    assert f"## What to try next\n\n{found.next_steps[0].sentence}" in markdown(found)


@pytest.mark.parametrize(
    ("budget", "epochs", "again", "command"),
    [
        (130, 4, "2 min 10 s", "run"),
        (90, 4, "3 min 00 s", "run --max_seconds 180"),
        (130, 3, "4 min 20 s", "run --max_seconds 260"),  # of 4 passes
    ],
)
def test_what_had_most_of_the_time_leaves_none_for_another_unless_there_is_twice_as_much(
    tmp_path: Path, budget: int, epochs: float, again: str, command: str
) -> None:
    recipe, records = ranks({1: 0.9}, budget={"max_seconds": budget})
    (step, *_) = of(tmp_path, recipe, [with_train(records[0], num_train_epochs=4)], epochs=epochs).next_steps
    assert f" In {again} more it tries others" in step.sentence
    assert step.command == f"loraloom resume {tmp_path}/{command}"


@pytest.mark.parametrize("about", [{"dropped_points": ["r=8: too large"]}, {"more_dropped_points": 1}])
def test_points_over_the_budget_are_not_what_more_time_would_try(tmp_path: Path, about: dict[str, Any]) -> None:
    recipe, records = ranks({1: 0.9, 2: 0.5, 4: 0.5}, budget={"max_seconds": 90})
    dropped = recipe.model_copy(update={"provenance": {**WHOLE, **about}})
    firsts = [of(tmp_path / str(n), each, records).next_steps[:1] for n, each in enumerate((recipe, dropped))]
    assert ["More configurations" in str(first) for first in firsts] == [True, False]


def test_rows_that_were_kept_on_request_are_kept_again(tmp_path: Path) -> None:
    recipe, records = twelve(seeds=1)
    records = records[:12]
    leaking = recipe.model_copy(update={"provenance": {**WHOLE, "allow_leak": True}})
    commands = [step.command for step in of(tmp_path, leaking, records).next_steps]
    assert [f"/run-{name} " in command for name, command in zip(("seeds", "effects"), commands, strict=True)] == [
        True,
        True,
    ]
    assert all(command.endswith(" --allow_leak") for command in commands)


def test_a_winner_with_the_highest_rank_is_to_be_tried_with_a_higher_one(tmp_path: Path) -> None:
    recipe, records = ranks({1: 0.6, 8: 0.9}, budget={"max_trainable_parameters": 1_000_000})
    step = of(tmp_path, recipe, records, 1).next_steps[0]
    assert step.sentence == "A higher rank: the winner has the highest that was searched, 8, and takes 22 % of the cap."
    assert step.command.endswith("--out " + f"{tmp_path}/run-rank --set 'lora.r=[8, 16]'")
    assert read_recipe({}, ["lora.r=[8, 16]"]).values("lora.r") == (8, 16)


@pytest.mark.parametrize(("cap", "smaller"), [(250_000, 0.6), (1_000_000, 0.89)])
def test_no_higher_rank_is_advised_without_room_or_where_a_smaller_one_does_as_well(
    tmp_path: Path, cap: int, smaller: float
) -> None:
    recipe, records = ranks({1: smaller, 8: 0.9}, budget={"max_trainable_parameters": cap})
    assert not any("higher rank" in step.sentence for step in of(tmp_path, recipe, records, 1).next_steps)


@pytest.mark.parametrize(
    ("accuracies", "metric"), [({8: 0.9}, "accuracy"), ({1: None, 8: 0.9}, "accuracy"), ({1: 0.6, 8: 0.9}, "macro_f1")]
)
def test_no_higher_rank_is_advised_where_the_highest_is_not_shown_to_beat_a_lower_one(
    tmp_path: Path, accuracies: dict[int, float | None], metric: str
) -> None:
    recipe, records = ranks(accuracies, search={"metric": metric})
    steps = of(tmp_path, recipe, records, len(records) - 1).next_steps
    assert not any("higher rank" in step.sentence for step in steps)


def test_no_higher_rank_is_advised_where_the_lower_one_in_noise_has_more_parameters(tmp_path: Path) -> None:
    recipe = make_recipe(WHOLE, lora={"r": [4, 8], "target_modules": ["all-linear", ["query", "value"]]}, train={})
    points: list[dict[str, Any]] = [
        {"lora.r": 4, "lora.target_modules": "all-linear"},
        {"lora.r": 8, "lora.target_modules": ("query", "value")},
    ]
    for lower, advised in ((0.89, False), (0.6, True)):
        records = [make_record(recipe, n, points[n], accuracy) for n, accuracy in enumerate((lower, 0.9))]
        counts = records[0].counts.model_copy(update={"trainable": 400_000})
        records[0] = records[0].model_copy(update={"counts": counts})
        steps = of(tmp_path / str(lower), recipe, records, 1).next_steps
        assert any("higher rank" in step.sentence for step in steps) == advised


@pytest.mark.parametrize(
    ("common", "right", "axes", "metric", "advised"),
    [
        (95, 95, [2, 4], "accuracy", True),
        (95, 95, [2, 4], "macro_f1", False),
        (95, 95, 2, "accuracy", False),
        (91, 100, [2, 4], "accuracy", False),
        (89, 89, [2, 4], "accuracy", False),
    ],
)
def test_of_one_class_that_is_nearly_all_each_is_to_count_alike(
    tmp_path: Path, common: int, right: int, axes: Any, metric: str, advised: bool
) -> None:
    recipe = make_recipe(WHOLE, lora={"r": axes}, train={}, search={"metric": metric})
    points = list(recipe.grid())
    records = [make_record(recipe, n, point, 0.95) for n, point in enumerate(points)]
    rare = right - common
    score = Score(examples=100, accuracy=right / 100, macro_f1=0.5, loss=0.2)
    counts = ((common, 0, 0, 0, 0), (100 - common - rare, rare, 0, 0, 0), *((0,) * 5 for _ in range(3)))
    tested = Result(validation=make_score(0.95, VALIDATION_ROWS), test=score.model_copy(update={"confusion": counts}))
    best = records[0].model_copy(update={"result": tested})
    found = findings(read_run(write_run(tmp_path / "run", recipe, records, best=best, evaluations=())))
    assert any(step.command.endswith("--set search.metric=macro_f1") for step in found.next_steps) == advised


@pytest.mark.parametrize(
    ("train", "right", "sections", "advised"),
    [
        ({}, 60, {}, "train.num_train_epochs=16"),
        ({}, 95, {}, None),
        ({"num_train_epochs": 12}, 60, {}, None),
        ({"num_train_epochs": [1, 2]}, 60, {}, None),
        ({}, 60, {"budget": {"max_seconds": 300}}, "search.epochs=clock"),
        ({}, 60, {"budget": {"max_seconds": 90}}, None),
        ({}, 60, {"budget": {"max_seconds": 300}, "search": {"pruner": "none"}}, None),
    ],
    ids=["one pass", "it learnt", "twelve passes", "an axis", "room", "no room", "no rungs"],
)
def test_few_passes_that_taught_nothing_are_to_be_more(
    tmp_path: Path, train: Any, right: int, sections: Any, advised: str | None
) -> None:
    recipe = make_recipe(WHOLE, lora={"r": [2, 4]}, train=train, **sections)
    records = [make_record(recipe, n, point, 0.6) for n, point in enumerate(recipe.grid())]
    score = Score(examples=100, accuracy=right / 100, macro_f1=0.5, loss=0.2)
    counts = ((60, 0, 0, 0, 0), (100 - right, right - 60, 0, 0, 0), *((0,) * 5 for _ in range(3)))
    tested = Result(validation=make_score(0.6, VALIDATION_ROWS), test=score.model_copy(update={"confusion": counts}))
    few = [record.model_copy(update={"train_rows": 240}) for record in records]
    best = few[0].model_copy(update={"result": tested})
    steps = findings(read_run(write_run(tmp_path / "run", recipe, few, best=best, evaluations=()))).next_steps
    assert [step.command.rpartition(" ")[2] for step in steps if "/run-passes --set " in step.command] == (
        [advised] if advised else []
    )
    if advised:
        assert steps[0].sentence == (
            "More passes: the winner is not shown to beat a constant answer, and train.num_train_epochs is 1. Over 240 "
            "rows a search under a clock makes up to 16."
        )
        assert not any(step.sentence.startswith("More seeds") for step in steps)


def test_equals_by_one_seed_are_to_have_three(tmp_path: Path) -> None:
    step = of(tmp_path, *ranks({1: 0.9, 2: 0.9})).next_steps[0]
    assert step.sentence.startswith("More seeds: by one seed another configuration can't be told from the winner;")
    assert step.command.endswith("/run-seeds --set search.seeds=3")


def test_seeds_for_which_there_was_no_time_are_to_have_the_time_of_three(tmp_path: Path) -> None:
    """In the same time a search of three seeds would try fewer configurations, in fewer passes, or but one seed."""
    step = of(tmp_path, *ranks({1: 0.9, 2: 0.9}, budget={"max_seconds": 90})).next_steps[1]
    assert step.sentence.endswith("three say how far chance moves each. They take three times the time, 4 min 30 s.")
    assert step.command.endswith("/run-seeds --set search.seeds=3 --set budget.max_seconds=270")


def test_few_rows_seeds_of_the_winner_are_to_be_one_adapter(tmp_path: Path) -> None:
    recipe, records = of_few_rows(seeds=3)
    step = of(tmp_path / "few", recipe, records).next_steps[0]
    assert step.sentence.startswith("One adapter of the winner's 3 seeds: of so few training rows")
    assert step.command == f"loraloom soup {tmp_path}/few/run"
    failed = [*records[:2], records[2].model_copy(update={"state": "failed", "result": None}), *records[3:]]
    assert of(tmp_path / "failed", recipe, failed).next_steps[0].sentence.startswith("One adapter of the winner's 2 ")
    many = [record.model_copy(update={"train_rows": 1_000}) for record in records]
    for name, others in (("many", many), ("one", records[::3])):
        assert not any("soup" in step.command for step in of(tmp_path / name, recipe, others).next_steps)


def test_seeds_that_have_collapsed_are_not_advised_to_be_mixed(tmp_path: Path) -> None:
    """`loraloom soup` leaves them out, and refuses what is left where that is one."""
    recipe, records = of_few_rows(seeds=3)
    by_chance = Result(validation=make_score(0.2, VALIDATION_ROWS))
    for lost, advised in ((1, True), (2, False)):
        given = [*records[:1], *(each.model_copy(update={"result": by_chance}) for each in records[1 : 1 + lost])]
        steps = of(tmp_path / str(lost), recipe, [*given, *records[1 + lost : 3]]).next_steps
        assert any("One adapter of the winner's 2 seeds" in step.sentence for step in steps) == advised
        assert any("loraloom soup" in step.command for step in steps) == advised


def test_of_few_rows_and_one_seed_more_seeds_are_advised_for_their_mean(tmp_path: Path) -> None:
    recipe, records = of_few_rows(seeds=1)
    (step,) = of(tmp_path / "few", recipe, records).next_steps
    assert step.sentence.startswith("More seeds: of so few training rows the mean of three seeds' weights")
    assert step.command.endswith("/run-seeds --set search.seeds=3")
    many = [record.model_copy(update={"train_rows": 1_000}) for record in records]
    assert not any("mean of three" in step.sentence for step in of(tmp_path / "many", recipe, many).next_steps)


def test_a_soup_of_another_winner_or_one_that_can_not_be_read_is_to_be_made_again(tmp_path: Path) -> None:
    recipe, records = of_few_rows(seeds=2)
    of(tmp_path, recipe, records)
    for soup, advised in ((records[0], False), (records[1], False), (records[2], True), (None, True)):
        with replacing_folder(tmp_path / "run" / "soup") as made:
            (made / "trial.json").write_text("{" if soup is None else soup.model_dump_json())
        steps = findings(read_run(tmp_path / "run")).next_steps
        assert any("soup" in step.command for step in steps) == advised


def test_where_nothing_is_known_nothing_is_advised(tmp_path: Path) -> None:
    assert (
        of(tmp_path, make_recipe(lora={}, train={}), [make_record(make_recipe(lora={}, train={}), 0, {})]).next_steps
        == ()
    )


def test_what_was_run_already_is_not_advised(tmp_path: Path) -> None:
    recipe, records = twelve(seeds=3)
    some, every = (of(tmp_path / str(most), recipe, records[:most]) for most in (12, 48))
    assert "--set search.sampler=grid --set search.n_trials=null --set search.seeds=4" in some.next_steps[-1].command
    assert every.next_steps == ()


def test_a_search_without_a_winner_has_but_to_go_on(tmp_path: Path) -> None:
    assert of(tmp_path, *ranks({1: 0.9, 2: 0.9}), None).next_steps == ()


@pytest.mark.parametrize(("rows", "takes"), [(18_000, "seconds"), (400_000, "minutes")])
def test_how_long_a_blend_takes_is_said_by_the_rows(tmp_path: Path, rows: int, takes: str) -> None:
    recipe, records = ranks({1: 0.9})
    given = {**PROVENANCE["data"], "rows": {"train": rows, "validation": 500, "test": TEST_ROWS}}
    recipe = make_recipe({**WHOLE, "data": given}, lora={"r": [1, 2, 4, 8]}, train={})
    score = records[0].result
    assert score is not None
    best = records[0].model_copy(update={"result": score.model_copy(update={"test": make_score(0.95, TEST_ROWS)})})
    run = read_run(write_run(tmp_path / "run", recipe, records, best=best, predictions=make_predictions(wrong=22)))
    assert f"It takes {takes}, and nothing is trained of the adapter." in markdown(findings(run))
