"""Whether rank helps more far from the training rows: its level, its power, and when it is not measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loraloom.report.similarity.rank import Answers, _chosen, interaction
from loraloom.study.record import TrialRecord
from tests.report.report_runs import make_recipe, make_record
from tests.report.similarity.simulated import LEVEL, generator_of, most_rejections, trials

ROWS = 300
RANKS = (4, 8, 16) * 5


@pytest.mark.parametrize("ranks", [(4, 16) * 4, RANKS], ids=["8 trials", "15 trials"])
def test_it_holds_its_level_where_trials_have_slopes_of_their_own(ranks: tuple[int, ...]) -> None:
    generator, studies = generator_of(len(ranks)), 120
    rejected = 0
    for _ in range(studies):
        distances = generator.gamma(4, 0.1, size=ROWS)
        found = interaction(trials(generator, ranks, distances, 0.0), np.arange(ROWS), distances)
        assert not isinstance(found, str)
        rejected += found.p < LEVEL
    assert rejected <= most_rejections(studies)


@pytest.mark.parametrize("ranks", [(4, 16) * 3, (4, 16) * 5], ids=["6 configurations", "10 configurations"])
def test_it_holds_its_level_where_seeds_share_what_their_configuration_has(ranks: tuple[int, ...]) -> None:
    """Taken for trials of their own, they find something in a third of the studies of six."""
    generator, studies, rejected = generator_of(7 + len(ranks)), 60, 0
    for _ in range(studies):
        distances = generator.gamma(4, 0.1, size=ROWS)
        found = interaction(trials(generator, ranks, distances, 0.0, seeds=3), np.arange(ROWS), distances)
        assert not isinstance(found, str)
        assert (found.trials, found.configurations) == (3 * len(ranks), len(ranks))
        rejected += found.p < LEVEL
    assert rejected <= most_rejections(studies)


def test_seeds_of_a_few_configurations_are_too_few_unless_nothing_but_the_rank_differs() -> None:
    generator = generator_of(8)
    distances = generator.gamma(4, 0.1, size=ROWS)
    made = trials(generator, (4, 4, 16, 16), distances, 0.0, seeds=3)
    found = interaction(made, np.arange(ROWS), distances)
    assert isinstance(found, str)
    assert found.startswith("it takes 6 configurations on as many rows")
    assert found.endswith("; there are 4 of rank 4, 16")
    alone = interaction([replace(each, beside="{}") for each in made], np.arange(ROWS), distances)
    assert not isinstance(alone, str)
    assert (alone.trials, alone.configurations) == (12, None)


def test_a_planted_interaction_is_found_nine_times_in_ten() -> None:
    generator, studies, hits = generator_of(1), 40, 0
    for _ in range(studies):
        distances = generator.gamma(4, 0.1, size=ROWS)
        found = interaction(trials(generator, RANKS, distances, 0.6), np.arange(ROWS), distances)
        assert not isinstance(found, str)
        hits += found.p < LEVEL and found.odds_ratio > 1
    assert hits >= 0.9 * studies


def test_rows_are_matched_by_their_numbers() -> None:
    generator = generator_of(2)
    distances = generator.gamma(4, 0.1, size=ROWS)
    made = trials(generator, RANKS, distances, 0.3)
    straight = interaction(made, np.arange(ROWS), distances)
    order = generator.permutation(ROWS)
    shuffled = [replace(each, numbers=each.numbers[order], correct=each.correct[order]) for each in made]
    assert not isinstance(straight, str)
    turned = interaction(shuffled, np.arange(ROWS)[::-1].copy(), distances[::-1].copy())
    assert not isinstance(turned, str)
    assert turned.odds_ratio == pytest.approx(straight.odds_ratio)
    assert turned.p == pytest.approx(straight.p)


def test_rows_without_a_distance_are_left_out() -> None:
    generator = generator_of(3)
    distances = generator.gamma(4, 0.1, size=ROWS)
    found = interaction(trials(generator, RANKS, distances, 0.0), np.arange(200), distances[:200])
    assert not isinstance(found, str)
    assert found.rows == 200


@pytest.mark.parametrize(
    ("ranks", "there"),
    [
        ((4,) * 8, "are 8 of rank 4"),
        ((4, 8), "are 2 of rank 4, 8"),
        ((4, 4, 4, 4, 4, 16), "are 6 of rank 4, 16"),
        ((4,), "is 1 of rank 4"),
    ],
    ids=["one rank", "two trials", "one of 16", "one trial"],
)
def test_too_few_trials_say_what_it_takes(ranks: tuple[int, ...], there: str) -> None:
    distances = generator_of(4).gamma(4, 0.1, size=ROWS)
    found = interaction(trials(generator_of(4), ranks, distances, 0.0), np.arange(ROWS), distances)
    assert isinstance(found, str)
    assert "it takes 6 trials" in found
    assert found.endswith(f"; there {there}")


@pytest.mark.parametrize(("wrong", "said"), [(0, "0 validation rows were"), (1, "1 validation row was")])
def test_trials_with_too_few_errors_are_not_measured(wrong: int, said: str) -> None:
    rows, distances = np.arange(50), np.linspace(0, 1, 50)
    answers = [Answers(rank, rows, rows >= wrong) for rank in (4, 8) * 3]
    assert interaction(answers, rows, distances) == f"only {said} wrong in any trial; it takes 10"


def test_rows_equally_far_are_not_measured() -> None:
    distances = np.full(ROWS, 0.3)
    made = trials(generator_of(6), RANKS, generator_of(6).gamma(4, 0.1, size=ROWS), 0.0)
    found = interaction(made, np.arange(ROWS), distances)
    assert found == "all validation rows are equally far from the training rows"


def test_trials_that_differ_by_their_rank_in_nothing_are_not_measured() -> None:
    rows, distances = np.arange(ROWS), np.linspace(0, 1, ROWS)
    answers = [Answers(rank, rows, rows % 5 > 0) for rank in (4, 8) * 3]
    found = interaction(answers, rows, distances)
    assert found == "the trials are right and wrong on the same rows, whatever their rank"


def test_seeds_of_a_few_finalists_are_not_taken_where_enough_configurations_saw_fewer_rows() -> None:
    recipe = make_recipe(lora={"r": [2, 4, 8, 16, 32]}, train={"learning_rate": [0.001, 0.003]})
    points = [*recipe.grid()]
    lower = [make_record(recipe, n, point).model_copy(update={"train_rows": 500}) for n, point in enumerate(points)]
    finals = [make_record(recipe, 10 + n, points[n % 3], seed=n // 3) for n in range(9)]
    assert {record.number for record in chosen_of([*lower, *finals])} == set(range(10))
    repeated = [make_record(recipe, 10 + n, points[n % 8], seed=n // 8) for n in range(16)]
    assert {record.number for record in chosen_of([*lower, *repeated])} == set(range(10, 26))
    one = make_recipe(lora={"r": [2, 4, 8]})
    alone = [make_record(one, 10 + n, point, seed=seed) for n, point in enumerate(one.grid()) for seed in range(3)]
    assert {record.train_rows for record in chosen_of([*lower, *alone])} == {alone[0].train_rows}


def chosen_of(records: list[TrialRecord]) -> list[TrialRecord]:
    chosen = _chosen(records)
    assert not isinstance(chosen, str)
    return chosen
