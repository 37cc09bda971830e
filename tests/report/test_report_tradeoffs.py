"""What accuracy costs: fronts, their sentences, and the points of the pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from loraloom.intervals import wilson_interval
from loraloom.recipe import Recipe
from loraloom.report.leaderboard import leaderboard
from loraloom.report.pictures.drawing import STYLE
from loraloom.report.pictures.tradeoffs import Place, draw_tradeoffs, lowest_drawn, side_by_side, thinned
from loraloom.report.reading import read_run
from loraloom.report.tradeoffs import Point, Tradeoffs, tradeoffs
from loraloom.study.record import TrialRecord
from tests.report.report_runs import make_recipe, make_record, write_run


def of(tmp_path: Path, accuracies: dict[int, float | list[float]], **sections: Any) -> Tradeoffs | None:
    """Of a run in which each rank (which takes 62.5 seconds and a rank) reached these accuracies."""
    recipe = make_recipe(lora={"r": list(accuracies)}, train={}, **sections)
    records: list[TrialRecord] = []
    for rank, given in accuracies.items():
        for seed, accuracy in enumerate(given if isinstance(given, list) else [given]):
            records.append(make_record(recipe, len(records), {"lora.r": rank}, accuracy, seed=42 + seed))
    run = read_run(write_run(tmp_path / "run", recipe, records, evaluations=()))
    return tradeoffs(run, leaderboard(run))


def of_records(tmp_path: Path, recipe: Recipe, records: list[TrialRecord], best: TrialRecord) -> Tradeoffs:
    run = read_run(write_run(tmp_path / "run", recipe, records, best=best, evaluations=()))
    found = tradeoffs(run, leaderboard(run))
    assert found is not None
    return found


def test_the_front_has_those_that_none_beats_at_a_lower_cost(tmp_path: Path) -> None:
    found = of(tmp_path, {1: 0.80, 2: 0.90, 4: 0.88, 8: 0.96, 16: 0.96})
    assert found is not None
    on_size = [point.name for point in found.points if point.on_size_front]
    assert sorted(on_size) == ["r 1", "r 2", "r 8"]
    assert [point.name for point in found.points if point.on_time_front] == on_size


def test_of_those_of_one_size_the_best_alone_is_on_the_front(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [4]}, train={"learning_rate": [0.001, 0.01, 0.1]})
    records = [make_record(recipe, n, point, (0.8, 0.9, 0.7)[n]) for n, point in enumerate(recipe.grid())]
    found = of_records(tmp_path, recipe, records, best=records[1])
    assert [point.number for point in found.points if point.on_size_front] == [1]
    assert [point.number for point in found.points if point.winner] == [1]
    assert found.on_size.startswith("Of 3 configurations, one is both the smallest and the best")


def test_means_over_seeds_make_the_front(tmp_path: Path) -> None:
    found = of(tmp_path, {2: [0.99, 0.81], 4: [0.93, 0.93], 8: 0.92})
    assert found is not None
    assert {point.name: point.seeds for point in found.points if point.on_size_front} == {"r 2": 2, "r 4": 2}


def test_a_front_whose_steps_are_noise_is_said_to_be_so(tmp_path: Path) -> None:
    found = of(tmp_path, {2: 0.955, 8: 0.964})
    assert found is not None
    assert "2 of 2 configurations are on the front, from 0.955 with 166,432 parameters to 0.964" in found.on_size
    assert "All of that lies within the noise of the upper end" in found.on_size
    assert "1 seed, 222 validation rows" in found.on_size


def test_the_noise_of_seeds_that_agree_is_that_of_the_rows(tmp_path: Path) -> None:
    found = of(tmp_path, {2: 0.93, 8: [0.95, 0.95, 0.95]})
    assert found is not None
    assert (
        "from 0.928 with 166,432 parameters to 0.9505 with 221,728. All of that lies within the noise of the upper end "
        f"(down to {wilson_interval(211, 222)[0]:.3f}, 3 seeds, 222 validation rows): more is not shown to be better."
    ) in found.on_size


def test_it_says_from_which_cost_on_more_is_not_shown_to_be_better(tmp_path: Path) -> None:
    found = of(tmp_path, {1: 0.6, 2: 0.95, 8: 0.964})
    assert found is not None
    assert "From 166,432 parameters (0.950) on, all lies within the noise" in found.on_size


def test_a_last_step_that_is_more_than_noise_is_said_to_be_so(tmp_path: Path) -> None:
    found = of(tmp_path, {1: 0.5, 8: 0.95})
    assert found is not None
    assert "The last step up is more than the noise of the upper end" in found.on_size


def test_no_interval_of_the_accuracy_is_taken_for_one_of_macro_f1(tmp_path: Path) -> None:
    found = of(tmp_path, {1: 0.955, 32: 0.964}, search={"metric": "macro_f1"})
    assert found is not None
    assert [point.interval for point in found.points] == [None, None]
    assert "from 0.953 with 157,216 parameters to 0.962 with 442,912." in found.on_size
    assert "noise" not in found.on_size + found.on_time
    assert found.on_time.startswith("2 of 2 configurations are on the front, from 0.953 in 1 min 02 s to 0.962 in ")


def test_a_smallest_one_that_is_the_best_leaves_no_tradeoff(tmp_path: Path) -> None:
    found = of(tmp_path, {1: 0.95, 32: 0.9})
    assert found is not None
    assert "one is both the smallest and the best" in found.on_size
    assert "time bought no accuracy here" in found.on_time


def test_a_tie_with_the_quickest_is_said_to_be_one(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 8, 32]}, train={})
    records = [make_record(recipe, n, {"lora.r": rank}, 1.0) for n, rank in enumerate((1, 8, 32))]
    found = of_records(tmp_path, recipe, records, best=records[1])
    assert found.on_size.startswith("Of 3 configurations, the smallest (157,216 parameters) is as good as any")
    assert "2 others reach the same, the winner (221,728 parameters) among them." in found.on_size
    assert found.on_time.endswith("2 others reach the same, the winner (1 min 10 s) among them.")
    assert not found.has_front


def test_a_winner_that_is_level_with_the_upper_end_is_no_other_among_them(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 32]}, train={})
    records = [make_record(recipe, n, {"lora.r": rank}, 1.0) for n, rank in enumerate((1, 32))]
    assert of_records(tmp_path, recipe, records, best=records[1]).on_time.endswith(
        " The winner (1 min 34 s) reaches the same."
    )
    assert of_records(tmp_path, recipe, records, best=records[0]).on_time.endswith(" 1 other reaches the same.")


def test_a_winner_that_is_not_the_leader_is_told_from_it(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 32]}, train={})
    records = [make_record(recipe, 0, {"lora.r": 1}, 0.96), make_record(recipe, 1, {"lora.r": 32}, 0.95)]
    found = of_records(tmp_path, recipe, records, best=records[1])
    assert (
        "the quickest (1 min 02 s) is the best: time bought no accuracy here. The winner is another, rank 2 (1 min"
        in (found.on_time)
    )


@pytest.mark.parametrize(
    ("cap", "said"),
    [
        (1_000_000_000, "takes <0.1 % of the cap; larger points were not tried."),
        (221_800, "takes >99.9 % of the cap: a higher cap might allow a better one."),
        (221_728, "takes 100 % of the cap: a higher cap might allow a better one."),
    ],
)
def test_a_share_of_the_cap_is_neither_nothing_nor_all_but_where_it_is(tmp_path: Path, cap: int, said: str) -> None:
    found = of(tmp_path, {2: 0.80, 8: 0.95}, budget={"max_trainable_parameters": cap})
    assert found is not None
    assert found.on_size.endswith(f"The best {said}")


CAP = "r=64: it trains 1,203,845 parameters, 203,845 over the cap of 1,000,000 (budget.max_trainable_parameters)"
MEMORY = "r=64: it would take about 9.1 GB, over budget.max_memory_gb 8"


@pytest.mark.parametrize(
    ("sampler", "dropped", "more", "end"),
    [
        ("grid", [CAP], 0, "of the cap; larger points were not tried."),
        ("grid", [MEMORY], 0, "of the cap, which holds nothing back here."),
        ("grid", [MEMORY], 7, "of the cap."),
        ("random", [], 0, "of the cap."),
    ],
)
def test_what_the_cap_kept_from_being_tried_is_said_where_it_is_known(
    tmp_path: Path, sampler: str, dropped: list[str], more: int, end: str
) -> None:
    found = of(
        tmp_path,
        {2: 0.80, 8: 0.95},
        budget={"max_trainable_parameters": 1_000_000},
        search={"sampler": sampler, **({} if sampler == "grid" else {"n_trials": 2})},
        provenance={"dropped_points": dropped, "more_dropped_points": more},
    )
    assert found is not None
    assert found.on_size.endswith(end)


def test_a_best_one_near_the_cap_might_be_held_back_by_it(tmp_path: Path) -> None:
    found = of(tmp_path, {1: 0.5, 8: 0.95}, budget={"max_trainable_parameters": 225_000})
    assert found is not None
    assert "a higher cap might allow a better one" in found.on_size


def test_configurations_on_fewer_rows_are_compared_by_time_alone(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 8]}, train={})
    records = [
        make_record(recipe, 0, {"lora.r": 1}, 0.90).model_copy(update={"train_rows": 100}),
        make_record(recipe, 1, {"lora.r": 8}, 0.95).model_copy(update={"train_rows": 1558}),
    ]
    run = read_run(write_run(tmp_path / "run", recipe, records))
    found = tradeoffs(run, leaderboard(run))
    assert found is not None
    assert [(point.full, point.on_size_front, point.on_time_front) for point in found.points] == [
        (True, True, True),
        (False, False, True),
    ]


def test_what_the_clock_cut_short_is_not_compared_by_size(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4, 8]}, train={"num_train_epochs": 4})
    records = [make_record(recipe, n, point, 0.9) for n, point in enumerate(recipe.grid())]
    short = [record.model_copy(update={"epochs": 2.5}) for record in records]
    found = of_records(tmp_path / "one", recipe, [*records[:1], *short[1:]], best=records[0])
    assert found.on_size == (
        "One configuration alone was trained to its end on all its rows: there is nothing to compare by size."
    )
    assert {point.number: point.full for point in found.points} == {0: True, 1: False, 2: False}
    assert "Of 3 configurations" in of_records(tmp_path / "all", recipe, short, best=short[0]).on_size
    few = [record.model_copy(update={"train_rows": 100}) for record in records[:2]]
    alone = of_records(tmp_path / "alone", recipe, [*few, short[2]], best=short[2])
    assert alone.on_size == (
        "One configuration alone was trained on the most rows, and the clock cut it short: there is nothing to "
        "compare by size."
    )


def test_times_that_are_too_few_to_be_compared_are_said_to_be(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4]}, train={})
    timed = [make_record(recipe, n, point, 0.9 + n / 100) for n, point in enumerate(recipe.grid())]
    untimed = [record.model_copy(update={"timings": None}) for record in timed]
    one = of_records(tmp_path / "one", recipe, [untimed[0], timed[1]], best=timed[1])
    assert one.on_time == "One configuration alone left its time: there is nothing to compare by it."
    none = of_records(tmp_path / "none", recipe, untimed, best=untimed[1])
    assert none.on_time == "No trial left its time."


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ({1: 0.95, 2: 0.9, 8: 0.8}, "3 configurations took 1 min 02 s to 1 min 10 s a trial, too alike to tell"),
        ({1: 0.8, 16: 0.95}, "2 configurations took 1 min 02 s to 1 min 18 s a trial, too alike to tell"),
        ({1: 0.8, 17: 0.95}, "2 of 2 configurations are on the front, from "),
    ],
)
def test_times_that_are_alike_tell_nothing_of_what_time_buys(
    tmp_path: Path, accuracies: dict[int, float | list[float]], said: str
) -> None:
    found = of(tmp_path, accuracies)
    assert found is not None
    assert found.on_time.startswith(said)


def test_one_configuration_has_no_tradeoff(tmp_path: Path) -> None:
    assert of(tmp_path, {4: 0.9}) is None


def test_each_point_of_a_picture_names_its_trial(tmp_path: Path) -> None:
    found = of(tmp_path, {1: 0.90, 2: 0.91, 4: 0.92})
    assert found is not None
    with mpl.rc_context(STYLE):
        html = "".join(picture.svg for picture in draw_tradeoffs(found))
    assert sorted(re.findall(r'class="mark" data-trial="(\d+)"', html)) == sorted(["0000", "0001", "0002"] * 2)
    assert "<title>Rank 1, trial 0002 (r 4): accuracy 0.92 (95 % interval 0.88–0.95), 184,864 parameters" in html


def drawn_ends(found: Tradeoffs) -> tuple[float, list[float], int]:
    """Of the picture by size, downwards: its lower edge, the intervals' lower ends, and how many arrows there are."""
    with mpl.rc_context(STYLE):
        svg = next(draw_tradeoffs(found)).svg
    edge = float(re.findall(r"patch_2.>\s*<path d=.M [\d.]+ ([\d.]+)", svg)[0])
    ends = [float(y) for y in re.findall(r'd="M \S+ (\S+)  L \S+ \S+  "[^>]*stroke-opacity: 0.5', svg)]
    return edge, ends, len(re.findall(r"<use[^>]*fill-opacity: 0.5", svg))


def test_intervals_are_seen_to_their_lower_ends(tmp_path: Path) -> None:
    found = of(tmp_path, {1: 0.97, 2: 1.0})
    assert found is not None
    edge, ends, arrows = drawn_ends(found)
    assert len(ends) == 2
    assert max(ends) < edge
    assert arrows == 0


def test_an_interval_that_reaches_far_below_the_others_has_an_arrow_at_the_edge(tmp_path: Path) -> None:
    found = of(tmp_path, {1: [0.97, 0.92], 2: 0.93, 4: 0.94, 8: 0.95})
    assert found is not None
    edge, ends, arrows = drawn_ends(found)
    assert len(ends) == 4
    assert max(ends) < edge
    assert arrows == 1


def test_of_very_many_points_those_that_can_be_told_apart_are_drawn() -> None:
    points = [
        Point(n, n + 1, "", 0.9 + (n % 70) / 1000, None, 1, 1000 * (n % 20 + 1), None, True, n == 7, n == 8, False)
        for n in range(10_000)
    ]
    places = [Place(point, float(point.trainable), point.metric, point.on_size_front) for point in points]
    drawn = thinned(places, log=False)
    assert len(drawn) < 1000
    assert {points[7], points[8]} <= {place.point for place in drawn}
    assert max(place.up for place in drawn) == max(place.up for place in places)
    assert thinned(places[:60], log=True) == places[:60]


def test_results_far_below_the_rest_do_not_flatten_the_picture() -> None:
    assert lowest_drawn([0.2, 0.95, 0.96, 0.97]) == pytest.approx(0.925)
    assert lowest_drawn([0.93, 0.95, 0.96, 0.97]) == 0.93
    assert lowest_drawn([0.9, 0.9]) == 0.9


def test_points_of_equal_cost_stand_beside_each_other() -> None:
    places = side_by_side([5.0, 5.0, 6.0], 6.0)
    assert places[0] < 5 < places[1] < 5.25
    assert places[2] == 6
