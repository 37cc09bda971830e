"""What a trial takes, from what was timed."""

from __future__ import annotations

from typing import Any

import pytest

from loraloom.recipe import read_recipe
from loraloom.search.costs import CAUTION, DISTURBED, NEWEST, Costs, Measured, measured
from loraloom.search.task import Task
from loraloom.study.record import Timings

CONFIGURATION = read_recipe({"backbone": {"model": "m"}, "train": {"num_train_epochs": 2}}).configuration({})

TOP = read_recipe(
    {"backbone": {"model": "m", "dropout": "off"}, "lora": {"layers_to_transform": "top-half"}}
).configuration({})


KEPT = {"layers": "top-half", "dropout": "off"}


def _one(seconds: float, **changes: Any) -> Measured:
    values = {"model": "m", "max_length": 128, "batch": 16, "eval_row_seconds": 0.001, "beside_seconds": 1.0}
    return Measured(train_row_seconds=seconds, **{**values, **changes})


def test_a_trial_takes_its_rows_times_its_epochs_its_evaluations_and_what_is_beside() -> None:
    costs = Costs([_one(0.01)])
    trained, validated = 1000 * 2 * 0.01, 2 * 100 * 0.001
    assert costs.seconds(CONFIGURATION, 1000, 100) == pytest.approx(CAUTION * (trained + validated) + 1)


def test_only_the_newest_measurements_count_and_the_slower_half_of_them() -> None:
    costs = Costs([_one(1.0)] * 3 + [_one(0.01), _one(0.02), _one(0.03), _one(0.04)])
    assert NEWEST == 4
    assert costs.train_row_seconds(CONFIGURATION) == pytest.approx(0.035)


@pytest.mark.parametrize(
    ("seconds", "examples", "then"),
    [(0.05, 40, 0.01), (0.05, 1000, 0.05), (DISTURBED * 0.0099, 40, DISTURBED * 0.0099)],
)
def test_a_short_training_that_was_much_slower_than_a_longer_one_after_it_was_disturbed(
    seconds: float, examples: int, then: float
) -> None:
    """As where another program took a core while the warm-up lasted; of as many examples, both are worth as much."""
    costs = Costs([_one(seconds, examples=examples, beside_seconds=9.0), _one(0.01, examples=1000)])
    assert costs.train_row_seconds(CONFIGURATION) == pytest.approx(then)
    assert costs.beside_seconds(CONFIGURATION) == (1.0 if then == 0.01 else 9.0)


def test_a_longer_training_is_not_taken_for_disturbed_by_a_shorter_one() -> None:
    costs = Costs([_one(0.05, examples=1000), _one(0.01, examples=40)])
    assert costs.train_row_seconds(CONFIGURATION) == 0.05


def test_what_was_not_timed_is_taken_to_be_as_slow_as_the_slowest_that_is_like_it() -> None:
    costs = Costs([_one(0.01, batch=8), _one(0.02, batch=32), _one(0.5, model="large")])
    assert costs.train_row_seconds(CONFIGURATION) == 0.02
    other = read_recipe({"backbone": {"model": "another"}}).configuration({})
    assert costs.train_row_seconds(other) == 0.5


def test_what_was_timed_of_the_very_kind_comes_before_what_is_like_it() -> None:
    costs = Costs([_one(0.01, adapted="None"), _one(0.5, adapted="None", batch=32)])
    assert costs.train_row_seconds(CONFIGURATION) == 0.01


def test_what_is_beside_a_trial_is_the_most_that_was_beside_one() -> None:
    assert Costs([_one(0.01, beside_seconds=3.0), _one(0.01)]).beside_seconds(CONFIGURATION) == 3


def test_what_was_timed_of_the_same_layers_and_modules_comes_first() -> None:
    costs = Costs([_one(0.5, adapted="None", batch=8), _one(0.9, adapted="None [11]", batch=8)])
    assert costs.train_row_seconds(CONFIGURATION) == 0.5
    top = read_recipe({"backbone": {"model": "m"}, "lora": {"layers_to_transform": [[10, 11]]}})
    assert costs.train_row_seconds(top.configuration({})) == 0.9


def test_what_trains_every_bias_is_as_dear_as_what_is_adapted_in_every_layer() -> None:
    """Gradients go through all layers, and no states are kept."""
    costs = Costs([_one(0.01, adapted="None top-half off", **KEPT), _one(0.03, adapted="None")])
    biased = TOP.with_fields(lora={"bias": "all"})
    assert (costs.train_row_seconds(TOP), costs.train_row_seconds(biased)) == (0.01, 0.03)
    recipe = read_recipe({"lora": {"layers_to_transform": "top-half", "bias": ["none", "lora_only", "all"]}})
    assert [kind.lora.bias for kind in Task(recipe, 1, 1, 2, None).kinds] == ["none", "all"]


def test_what_has_dropout_below_its_layers_is_timed_by_itself() -> None:
    """States are kept without it alone."""
    costs = Costs([_one(0.01, adapted="None top-half off", **KEPT), _one(0.05, adapted="None top-half keep")])
    keep = TOP.with_fields(backbone={"dropout": "keep"})
    assert (costs.train_row_seconds(TOP), costs.train_row_seconds(keep)) == (0.01, 0.05)


def test_what_muon_trains_is_timed_by_itself() -> None:
    costs = Costs([_one(0.01, adapted="None"), _one(0.5, adapted="None muon")])
    muon = CONFIGURATION.with_fields(train={"optim": "muon"})
    assert (costs.train_row_seconds(CONFIGURATION), costs.train_row_seconds(muon)) == (0.01, 0.5)


def test_what_was_timed_of_texts_of_the_same_length_comes_before_the_same_layers() -> None:
    costs = Costs([_one(0.5, adapted="None [11]"), _one(0.1, max_length=32, adapted="None")])
    assert costs.train_row_seconds(CONFIGURATION) == 0.5
    within = read_recipe({"backbone": {"model": "m"}, "data": {"max_length": 64}}).configuration({})
    assert costs.train_row_seconds(within) == 0.1


def test_what_was_timed_comes_back_as_it_was_measured() -> None:
    timings = Timings(seconds=11, train_seconds=10, examples_per_second=20, prefix_seconds=3, prefix_rows=60)
    one = measured(TOP, timings, 14.5, train_rows=100, eval_rows=50, passes=2, evaluated=2)
    assert (one.train_row_seconds, one.eval_row_seconds, one.beside_seconds) == (0.05, 0.01, 0.5)
    assert (one.prefix_row_seconds, one.train_rows, one.examples) == (
        0.05,
        100,
        200,
    )  # of those whose states were computed in time
    assert (one.layers, one.dropout) == ("top-half", "off")
    assert [Measured(**values) for values in Costs([one]).as_json()] == [one]


def test_what_kernels_took_to_compile_is_no_part_of_what_trials_to_come_take_beside_their_steps() -> None:
    timings = Timings(seconds=11, train_seconds=10, examples_per_second=20, kernels_seconds=12)
    one = measured(TOP, timings, 23.5, train_rows=100, eval_rows=50, passes=2, evaluated=2)
    assert one.beside_seconds == 0.5


@pytest.mark.parametrize(("rows", "layers", "dropout"), [(None, "", ""), (0, "top-half", "off")])
def test_a_trial_that_computed_no_states_kept_none_or_read_all(rows: int | None, layers: str, dropout: str) -> None:
    timings = Timings(seconds=11, train_seconds=10, examples_per_second=20, prefix_rows=rows)
    one = measured(TOP, timings, 11.5, train_rows=100, eval_rows=50, passes=2, evaluated=2)
    assert (one.prefix_row_seconds, one.layers, one.dropout) == (0, layers, dropout)


@pytest.mark.parametrize("lora", [{"layers_to_transform": None}, {"bias": "all"}])
def test_what_trains_something_in_every_layer_keeps_no_states(lora: dict[str, Any]) -> None:
    costs = Costs([_one(0.01, prefix_row_seconds=0.02, train_rows=64, **KEPT)])
    assert costs.shared_seconds(TOP.with_fields(lora=lora), 1000, 200) == 0


def test_states_of_frozen_layers_are_paid_for_once_for_the_same_rows() -> None:
    costs = Costs([_one(0.01, prefix_row_seconds=0.02, train_rows=64, **KEPT), _one(0.01, train_rows=64, **KEPT)])
    assert costs.shared_seconds(TOP, 64, 20) == 0
    assert costs.shared_seconds(TOP, 1000, 200) == pytest.approx(CAUTION * 1200 * 0.02)
    assert Costs([_one(0.01)]).shared_seconds(TOP, 1000, 200) == 0
    assert costs.shared_seconds(CONFIGURATION, 1000, 200) == 0  # it adapts every layer
    kept = Costs(Measured(**values) for values in costs.as_json())
    assert kept.shared_seconds(TOP, 1000, 200) == costs.shared_seconds(TOP, 1000, 200)


def test_token_ids_are_paid_for_once_for_the_same_rows_and_in_a_test() -> None:
    costs = Costs([_one(0.01, encode_row_seconds=0.003, train_rows=64)])
    assert costs.shared_seconds(CONFIGURATION, 64, 20) == 0
    assert costs.shared_seconds(CONFIGURATION, 1000, 200) == pytest.approx(CAUTION * 1200 * 0.003)
    for _ in range(2 * NEWEST):  # trials, of which that is not timed
        costs.note(_one(0.01, train_rows=1000))
    assert costs.shared_seconds(CONFIGURATION, 1000, 200) == 0
    kept = Costs(Measured(**values) for values in costs.as_json())
    assert kept.shared_seconds(CONFIGURATION, 500, 0) == pytest.approx(CAUTION * 500 * 0.003)
    assert kept.text_seconds(CONFIGURATION) == pytest.approx(0.003 + kept.eval_row_seconds(CONFIGURATION))


def test_a_test_computes_the_frozen_layers_too() -> None:
    costs = Costs([_one(0.01, prefix_row_seconds=0.02, train_rows=64, **KEPT)])
    assert costs.text_seconds(TOP) == pytest.approx(0.02 + costs.eval_row_seconds(TOP))
    assert costs.text_seconds(CONFIGURATION) == costs.eval_row_seconds(CONFIGURATION)


def test_a_text_s_answer_takes_no_longer_than_training_by_it() -> None:
    """Where four rows are held out, a second beside their evaluation is no 1,000 s of a test of 4,000."""
    timings = Timings(seconds=3.0, train_seconds=2.0, examples_per_second=100)
    one = measured(CONFIGURATION, timings, 4.0, train_rows=100, eval_rows=4, passes=2, evaluated=1)
    assert Costs([one]).eval_row_seconds(CONFIGURATION) == 0.25
    assert Costs([one]).text_seconds(CONFIGURATION) == 0.01


def test_states_of_frozen_layers_are_of_texts_of_one_length() -> None:
    whole = _one(0.04, prefix_row_seconds=0.08, train_rows=64, max_length=512, **KEPT)
    costs = Costs([_one(0.01, prefix_row_seconds=0.02, train_rows=64, **KEPT), whole])
    longer = TOP.with_fields(data={"max_length": 512})
    assert costs.shared_seconds(longer, 1000, 0) == pytest.approx(4 * costs.shared_seconds(TOP, 1000, 0))
    costs.note(_one(0.01, prefix_row_seconds=0.02, train_rows=1000, **KEPT))
    assert costs.shared_seconds(TOP, 1000, 0) == 0 < costs.shared_seconds(longer, 1000, 0)


def test_states_that_were_read_say_nothing_of_what_it_takes_to_compute_them() -> None:
    computed, read = _one(0.01, prefix_row_seconds=0.02, train_rows=64, **KEPT), _one(0.01, **KEPT)
    assert Costs([computed, read]).shared_seconds(TOP, 1000, 0) == Costs([computed]).shared_seconds(TOP, 1000, 0) > 0
    assert Costs([read]).shared_seconds(TOP, 1000, 0) == pytest.approx(CAUTION * 1000 * read.eval_row_seconds)


def test_trials_that_keep_no_states_or_those_of_other_layers_have_not_paid_for_them() -> None:
    costs = Costs([_one(0.01, prefix_row_seconds=0.02, train_rows=64, **KEPT)])
    costs.note(_one(0.02, train_rows=1000))
    costs.note(_one(0.02, train_rows=1000, prefix_row_seconds=0.02, layers="(5,)", dropout="off"))
    assert costs.shared_seconds(TOP, 1000, 0) == pytest.approx(CAUTION * 1000 * 0.02)


def test_states_are_planned_under_the_dropout_that_they_were_kept_under() -> None:
    costs = Costs([_one(0.01, prefix_row_seconds=0.02, train_rows=64, layers="top-half", dropout="keep")])
    keep = TOP.with_fields(backbone={"dropout": "keep"})
    assert costs.shared_seconds(keep, 1000, 0) == pytest.approx(CAUTION * 1000 * 0.02)  # a model without dropout
    assert Costs([_one(0.01, train_rows=64)]).shared_seconds(keep, 1000, 0) == 0
