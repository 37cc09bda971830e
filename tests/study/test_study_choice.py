"""Who wins: most rows first, then the mean; ties within noise go to repeated seeds, then to fewer parameters."""

from __future__ import annotations

from typing import Any

import pytest

from loraloom.study.choice import choose, is_better_mixed
from loraloom.study.leaderboard import reach, standings
from loraloom.study.record import TrialRecord
from tests.study.study_records import record as make_record


def _trials(r: int, accuracies: list[float], parameters: int, first: int, **changes: Any) -> list[TrialRecord]:
    return [
        make_record(first + index, accuracy=accuracy, point={"lora.r": r}, trainable=parameters, **changes)
        for index, accuracy in enumerate(accuracies)
    ]


def _planned(record: TrialRecord, planned: float) -> TrialRecord:
    configuration = record.configuration.with_fields(train={"num_train_epochs": planned})
    return record.model_copy(update={"configuration": configuration})


def _validated(record: TrialRecord, rows: int) -> TrialRecord:
    assert record.result is not None
    score = record.result.validation.model_copy(update={"examples": rows, "confusion": None})
    return record.model_copy(update={"result": record.result.model_copy(update={"validation": score})})


def test_without_repeated_seeds_the_best_wins() -> None:
    records = _trials(8, [0.91], 900, 0) + _trials(2, [0.90], 100, 1)
    choice = choose(standings(records, "accuracy"), "accuracy")
    assert choice.winner.leader.number == 0
    assert (choice.standard_error, choice.sentence, choice.level) == (None, None, 0)


def test_a_tie_within_a_standard_error_goes_to_fewer_parameters_and_is_said() -> None:
    records = _trials(8, [0.90, 0.92], 900, 0) + _trials(2, [0.895, 0.915], 100, 2)
    choice = choose(standings(records, "accuracy"), "accuracy")
    assert choice.winner.leader.counts.trainable == 100
    assert choice.standard_error == pytest.approx((0.01**2 * 2) ** 0.5)
    assert choice.level == 1
    assert choice.sentence is not None
    assert "0.50 pp more accuracy, within the noise of seeds" in choice.sentence
    assert choice.sentence.endswith("with 900 parameters where 100 do")


def test_a_tie_is_told_in_the_metric_that_is_maximised() -> None:
    reached = [(8, 0.605), (8, 0.615), (2, 0.600), (2, 0.610)]
    records = [
        make_record(number, macro_f1=macro_f1, point={"lora.r": r}, trainable=100 * r)
        for number, (r, macro_f1) in enumerate(reached)
    ]
    choice = choose(standings(records, "macro_f1"), "macro_f1")
    assert "0.50 pp more macro-F1, within the noise of seeds" in str(choice.sentence)


def test_what_has_no_more_than_the_winner_and_what_has_little_more_are_not_said_to_have_0_more() -> None:
    steady = _trials(8, [0.90, 0.92], 900, 1)
    level = choose(standings(_trials(2, [0.91], 100, 0) + steady, "accuracy"), "accuracy")
    assert level.winner.leader.point["lora.r"] == 8
    assert level.sentence == "trial 0 has as much accuracy, by one seed, where this one has the mean of 2"
    close = choose(standings(_trials(2, [0.91002], 100, 0) + steady, "accuracy"), "accuracy")
    assert str(close.sentence).startswith("trial 0 has 0.002 pp more accuracy, within the noise of seeds (standard ")


def test_of_those_within_noise_that_are_of_one_size_the_best_mean_wins() -> None:
    records = _trials(8, [0.90, 0.92], 100, 0) + _trials(2, [0.895, 0.915], 100, 2)
    assert choose(standings(records, "accuracy"), "accuracy").winner.leader.point["lora.r"] == 8


def test_noise_is_pooled_by_degrees_of_freedom_and_a_difference_is_by_the_seeds_of_both() -> None:
    records = _trials(8, [0.90, 0.92], 900, 0) + _trials(2, [0.89, 0.90, 0.91, 0.92], 100, 2)
    choice = choose(standings(records, "accuracy"), "accuracy")
    assert choice.winner.leader.point["lora.r"] == 2
    pooled = (1 * 0.0002 + 3 * (0.0005 / 3)) / 4
    assert choice.standard_error == pytest.approx((pooled * (1 / 2 + 1 / 4)) ** 0.5)


def test_seeds_of_configurations_far_below_the_leader_are_not_in_the_noise() -> None:
    reached = [(8, [0.843, 0.870]), (2, [0.843, 0.789]), (4, [0.408, 0.578]), (16, [0.516, 0.462])]
    trials = [_trials(r, accuracies, 100 * r, 2 * at) for at, (r, accuracies) in enumerate(reached)]
    records = [_validated(one, 223) for of_one in trials for one in of_one]
    choice = choose(standings(records, "accuracy"), "accuracy")
    assert choice.winner.leader.point["lora.r"] == 8
    among_good_ones = ((0.027**2 + 0.054**2) / 4) ** 0.5  # of two values the variance is half their difference squared
    assert choice.standard_error == pytest.approx(among_good_ones)


def test_a_seed_that_collapsed_is_not_in_the_noise_and_makes_no_tie_of_a_worse_configuration() -> None:
    reached = [(8, [0.868, 0.870, 0.872]), (16, [0.874, 0.522, 0.871]), (2, [0.778, 0.780, 0.782])]
    trials = [_trials(r, accuracies, 100 * r, 3 * at) for at, (r, accuracies) in enumerate(reached)]
    records = [_validated(one, 300) for of_one in trials for one in of_one]
    choice = choose(standings(records, "accuracy"), "accuracy")
    assert choice.winner.leader.point["lora.r"] == 8
    pooled = (2 * 0.002**2 + 0.003**2 / 2 + 2 * 0.002**2) / 5
    assert choice.standard_error == pytest.approx((pooled * (1 / 3 + 1 / 3)) ** 0.5)


def test_a_difference_beyond_noise_is_no_tie() -> None:
    records = _trials(8, [0.950, 0.951], 900, 0) + _trials(2, [0.900, 0.901], 100, 2)
    assert choose(standings(records, "accuracy"), "accuracy").winner.leader.counts.trainable == 900


@pytest.mark.parametrize(("lucky", "r"), [(0.921, 2), (0.95, 8)])
def test_a_single_seed_wins_beyond_the_noise_of_seeds_alone(lucky: float, r: int) -> None:
    records = _trials(8, [lucky], 50, 0) + _trials(2, [0.91, 0.92, 0.93], 100, 1)
    choice = choose(standings(records, "accuracy"), "accuracy")
    assert choice.winner.leader.point["lora.r"] == r
    assert (choice.sentence is None) == (r == 8)
    assert r == 8 or "by one seed, where this one has the mean of 3" in str(choice.sentence)


def test_of_two_single_seeds_within_noise_the_one_of_fewer_parameters_wins_by_them() -> None:
    records = _trials(8, [0.920], 900, 0) + _trials(2, [0.915], 100, 1) + _trials(4, [0.70, 0.72], 500, 2)
    choice = choose(standings(records, "accuracy"), "accuracy")
    assert choice.winner.leader.number == 1
    assert str(choice.sentence).endswith("with 900 parameters where 100 do")


def test_where_seeds_do_not_differ_only_equal_means_are_a_tie() -> None:
    records = _trials(8, [0.92, 0.92], 900, 0) + _trials(2, [0.91, 0.91], 100, 2)
    assert choose(standings(records, "accuracy"), "accuracy").winner.leader.point["lora.r"] == 8
    records += _trials(4, [0.92], 50, 4) + _trials(16, [0.92, 0.92], 500, 5)
    assert choose(standings(records, "accuracy"), "accuracy").winner.leader.point["lora.r"] == 16


def test_neither_a_tie_nor_noise_is_of_results_on_fewer_rows() -> None:
    records = _trials(8, [0.90, 0.92], 900, 0, train_rows=1000)
    records += _trials(2, [0.895, 0.935], 100, 2, train_rows=300) + _trials(4, [0.60, 0.90], 50, 4, train_rows=300)
    choice = choose(standings(records, "accuracy"), "accuracy")
    assert choice.winner.leader.point["lora.r"] == 8
    assert choice.standard_error == pytest.approx(0.02 / 2**0.5)


def test_a_result_on_fewer_rows_does_not_win() -> None:
    records = _trials(8, [0.99], 900, 0, train_rows=100) + _trials(2, [0.90], 100, 1, train_rows=1000)
    assert choose(standings(records, "accuracy"), "accuracy").winner.leader.number == 1


@pytest.mark.parametrize(
    ("epochs", "planned", "seen"),
    [(1, 1, 100), (0.4, 1, 40), (0.5, 0.5, 100), (2.3, 8, 100), (1.1, 8, 100), (0.4, 8, 40)],
)
def test_a_trial_that_the_clock_stopped_has_seen_fewer_rows(epochs: float, planned: float, seen: int) -> None:
    assert reach(_planned(make_record(0, train_rows=100, epochs=epochs), planned)) == seen


def test_a_trial_that_the_clock_stopped_early_does_not_beat_a_better_one_that_ended() -> None:
    cut = _planned(make_record(0, accuracy=0.5, train_rows=1620, epochs=0.4), 8)
    ended = _planned(make_record(1, accuracy=0.95, train_rows=540, epochs=8), 8)
    assert choose(standings([cut, ended], "accuracy"), "accuracy").winner.leader.number == 1


@pytest.mark.parametrize(("ended", "winner"), [(0.93, 1), (0.87, 0)])
def test_one_on_fewer_rows_beats_what_the_clock_cut_short_by_two_standard_errors(ended: float, winner: int) -> None:
    cut = _of_four_passes(8, 0.80, 900, 0, 2.5)
    done = _planned(make_record(1, accuracy=ended, train_rows=300, epochs=4), 4)  # two standard errors: 9.6 and 10.7 pp
    assert choose(standings([cut, done], "accuracy"), "accuracy").winner.leader.number == winner


def test_what_the_clock_cut_short_does_not_win_on_fewer_rows() -> None:
    cut = _of_four_passes(8, 0.52, 900, 0, 2.5)
    fewer = _planned(make_record(1, accuracy=0.95, train_rows=300, epochs=2.5), 4)
    assert choose(standings([cut, fewer], "accuracy"), "accuracy").winner.leader.number == 0


def test_one_that_collapsed_does_not_keep_a_better_one_on_fewer_rows_from_winning() -> None:
    cut = _planned(make_record(0, accuracy=0.80, train_rows=6_000, epochs=3), 4)
    collapsed = _planned(make_record(1, accuracy=0.52, train_rows=6_000, epochs=4), 4)
    ended = _planned(make_record(2, accuracy=0.85, train_rows=2_000, epochs=4), 4)
    records = [_validated(one, 692) for one in (cut, collapsed, ended)]
    assert choose(standings(records, "accuracy"), "accuracy").winner.leader.number == 2


def test_one_that_the_clock_stopped_near_its_end_is_not_beaten_by_luck_on_fewer_rows() -> None:
    cut = _of_four_passes(8, 0.93, 900, 0, 3.9)
    ended = _planned(make_record(1, accuracy=0.94, train_rows=333, epochs=4), 4)
    assert choose(standings([cut, ended], "accuracy"), "accuracy").winner.leader.number == 0


def test_that_a_training_collapsed_is_told_by_accuracy_whatever_the_metric() -> None:
    records = [make_record(0, accuracy=0.98, macro_f1=0.80, train_rows=1000)]
    records.append(make_record(1, accuracy=0.98, macro_f1=0.99, train_rows=300))
    assert choose(standings(records, "macro_f1"), "macro_f1").winner.leader.number == 0


def test_of_those_that_beat_what_the_clock_cut_short_none_wins_a_tie_that_does_not_beat_it() -> None:
    """By its accuracy, though it has more of the metric than the one that does."""
    cut = _planned(make_record(0, accuracy=0.70, macro_f1=0.50, train_rows=1000, epochs=2.5), 4)
    records = [cut]
    done = [(8, 0.95, 0.77), (8, 0.94, 0.75), (2, 0.80, 0.80), (2, 0.80, 0.80)]
    for number, (r, accuracy, macro_f1) in enumerate(done, start=1):
        made = make_record(
            number,
            accuracy=accuracy,
            macro_f1=macro_f1,
            point={"lora.r": r},
            trainable=100 * r,
            train_rows=300,
            epochs=4,
        )
        records.append(_planned(made, 4))
    choice = choose(standings(records, "macro_f1"), "macro_f1")
    assert (choice.leader.leader.number, choice.winner.leader.number) == (1, 1)
    assert choice.sentence is None


@pytest.mark.parametrize("macro_f1", [0.49, 0.65])
def test_one_that_is_no_better_by_the_metric_does_not_win_by_its_accuracy(macro_f1: float) -> None:
    records = [make_record(0, accuracy=0.70, macro_f1=0.65, train_rows=1000)]
    records.append(make_record(1, accuracy=0.95, macro_f1=macro_f1, train_rows=300))
    assert choose(standings(records, "macro_f1"), "macro_f1").winner.leader.number == 0
    assert choose(standings(records, "accuracy"), "accuracy").winner.leader.number == 1


def test_all_right_on_few_rows_is_no_certainty() -> None:
    records = [
        _validated(make_record(0, accuracy=0.98, train_rows=1000), 1000),
        _validated(make_record(1, accuracy=1.0, train_rows=300), 200),
    ]
    assert choose(standings(records, "accuracy"), "accuracy").winner.leader.number == 0


@pytest.mark.parametrize(("rows", "winner"), [(6, 0), (7, 1)])
def test_of_how_few_rows_all_right_is_beyond_half_right_of_a_million(rows: int, winner: int) -> None:
    """Two right and two wrong ones are added: 8 of 10 has a standard error of 0.126, and 9 of 11 one of 0.116."""
    records = [
        _validated(make_record(0, accuracy=0.5, train_rows=1000), 1_000_000),
        _validated(make_record(1, accuracy=1.0, train_rows=300), rows),
    ]
    assert choose(standings(records, "accuracy"), "accuracy").winner.leader.number == winner


@pytest.mark.parametrize(("fewer", "winner"), [(0.85, 1), (0.60, 0)])
def test_a_training_on_more_rows_that_collapsed_does_not_beat_one_on_fewer(fewer: float, winner: int) -> None:
    records = _trials(8, [0.52], 900, 0, train_rows=1000) + _trials(2, [fewer], 100, 1, train_rows=300)
    records += _trials(4, [fewer], 100, 2, train_rows=100)
    examples = [record.result.validation.examples for record in records if record.result]
    assert max(examples) <= 1_000  # 4 standard errors are 9 points or more
    assert choose(standings(records, "accuracy"), "accuracy").winner.leader.number == winner


def test_of_trainings_that_collapsed_on_two_rungs_neither_beats_one_on_fewer_rows() -> None:
    rungs = [(1000, 0.52), (300, 0.66), (100, 0.90)]
    made = [make_record(number, accuracy=right, train_rows=rows) for number, (rows, right) in enumerate(rungs)]
    records = [_validated(record, 1_000) for record in made]
    assert choose(standings(records, "accuracy"), "accuracy").winner.leader.number == 2


def _of_four_passes(r: int, accuracy: float, parameters: int, number: int, passes: float = 4) -> TrialRecord:
    (made,) = _trials(r, [accuracy], parameters, number, train_rows=1000, epochs=passes)
    return _planned(made, 4)


def test_a_seed_that_the_clock_cut_short_is_not_in_the_mean() -> None:
    records = [
        _of_four_passes(8, 0.95, 900, 0),
        _of_four_passes(4, 0.92, 500, 1),
        _of_four_passes(8, 0.80, 900, 2, 1.2),
    ]
    ranked = standings(records, "accuracy")
    assert [(one.leader.number, one.mean) for one in ranked] == [(0, 0.95), (1, 0.92), (2, 0.80)]
    choice = choose(ranked, "accuracy")
    assert (choice.winner.leader.number, choice.standard_error) == (0, None)


def test_a_seed_that_the_clock_cut_short_is_not_in_the_noise() -> None:
    records = [_of_four_passes(8, 0.950, 900, 0), _of_four_passes(8, 0.952, 900, 1), _of_four_passes(2, 0.92, 100, 2)]
    choice = choose(standings([*records, _of_four_passes(2, 0.80, 100, 3, 1.2)], "accuracy"), "accuracy")
    assert choice.winner.leader.point["lora.r"] == 8
    assert choice.standard_error == pytest.approx(0.001 * 2**0.5 * (1 / 2 + 1 / 2) ** 0.5)


def test_seeds_that_the_clock_cut_short_are_no_noise_of_their_own() -> None:
    records = [_of_four_passes(8, 0.95, 900, 0), _of_four_passes(2, 0.94, 100, 1)]
    cut = [_of_four_passes(4, 0.60, 500, 2, 1.2), _of_four_passes(4, 0.90, 500, 3, 1.2)]
    choice = choose(standings(records + cut, "accuracy"), "accuracy")
    assert (choice.winner.leader.number, choice.standard_error) == (0, None)


def test_what_the_clock_cut_short_does_not_win_by_a_tie() -> None:
    records = [_of_four_passes(8, 0.94, 900, 0), _of_four_passes(8, 0.96, 900, 1)]
    cut = [_of_four_passes(2, 0.949, 100, 2, 2.5), _of_four_passes(2, 0.948, 100, 3, 2.5)]
    assert choose(standings(records + cut, "accuracy"), "accuracy").winner.leader.point["lora.r"] == 8


def test_what_the_clock_cut_short_does_not_win_by_equal_means() -> None:
    records = [_of_four_passes(8, 0.94, 900, 0), _of_four_passes(2, 0.94, 100, 1, 2.5)]
    assert choose(standings(records, "accuracy"), "accuracy").winner.leader.number == 0


def test_what_the_clock_cut_short_does_not_win_by_its_seeds_and_its_size_and_that_is_said() -> None:
    records = [_of_four_passes(8, 0.94, 900, 0), _of_four_passes(8, 0.96, 900, 1), _of_four_passes(4, 0.95, 500, 2)]
    cut = [_of_four_passes(2, 0.954, 100, 3, 2.5), _of_four_passes(2, 0.956, 100, 4, 2.5)]
    choice = choose(standings(records + cut, "accuracy"), "accuracy")
    assert choice.winner.leader.point["lora.r"] == 8
    assert choice.sentence is not None
    assert choice.sentence.startswith("trial 4 with its other seeds has 0.50 pp more accuracy, within the noise of ")
    assert choice.sentence.endswith(", but was cut short by the clock")


def test_what_the_clock_cut_short_wins_where_it_leads_beyond_noise() -> None:
    records = [_of_four_passes(8, 0.940, 900, 0), _of_four_passes(8, 0.941, 900, 1)]
    cut = _of_four_passes(2, 0.97, 100, 2, 2.5)
    assert choose(standings([*records, cut], "accuracy"), "accuracy").winner.leader.number == 2
    within = _of_four_passes(2, 0.9412, 100, 2, 2.5)
    assert choose(standings([*records, within], "accuracy"), "accuracy").winner.leader.point["lora.r"] == 8


@pytest.mark.parametrize(
    ("rows", "seeds", "better"), [(999, 2, True), (1_000, 2, False), (999, 1, False), (None, 3, False)]
)
def test_two_seeds_or_more_of_under_a_thousand_rows_tend_to_be_better_mixed(
    rows: int | None, seeds: int, *, better: bool
) -> None:
    assert is_better_mixed(make_record(0).model_copy(update={"train_rows": rows}), seeds) is better
