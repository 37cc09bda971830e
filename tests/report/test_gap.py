"""The gap between training and validation: slopes by rank and by epoch, and when they say nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from loraloom.intervals import mean_interval
from loraloom.report.effects.observations import Table
from loraloom.report.findings import findings
from loraloom.report.gap import (
    Claim,
    Gap,
    _by_rank,
    _Curve,
    _more_epochs,
    _of_epochs,
    _of_rank,
    _series,
    _too_few,
    gaps,
)
from loraloom.report.pictures.gap import draw_gap
from loraloom.report.reading import read_run
from loraloom.study.record import Evaluation
from tests.report.report_runs import make_evaluations, make_recipe, make_record, write_run, write_trial


def found(
    path: Path,
    ranks: list[int],
    *,
    by_rank: float = 0.0,
    by_epoch: float = 0.0,
    epochs: int = 4,
    state: Any = "complete",
    jumps: tuple[int, ...] = (),
    search: dict[str, Any] | None = None,
) -> Gap | None:
    """The gap of a run of 24 configurations whose gap is as given, in shares for a doubling and for an epoch.

    Of trials with these ranks, or numbers from 100 on, in `jumps`, validation moves by 3 points before the end.
    """
    recipe = make_recipe(
        lora={"r": ranks},
        train={
            "optim": ["adam", "adamw", "muon"],
            "learning_rate": [0.001, 0.003, 0.01, 0.03],
            "num_train_epochs": epochs,
        },
        search=search or {},
    )
    run = write_run(path / "r", recipe, [])
    generator = np.random.default_rng(0)
    for number, point in enumerate(list(recipe.grid())):
        record = make_record(recipe, number, point, 0.9 + 0.001 * (number % 5), state=state if number else "complete")
        record = record.model_copy(update={"train_rows": 900})
        lines, before = [], 0.0
        jumping = point["lora.r"] in jumps or 100 + number in jumps
        for made in make_evaluations(epochs, quality=0.9):
            jumped = jumping and made.epoch == epochs
            line = made.model_copy(update={"validation_accuracy": before - 0.03}) if jumped else made
            wide = 0.02 + by_rank * np.log2(point["lora.r"]) + by_epoch * line.epoch + generator.normal(0, 0.001)
            between = (before + line.validation_accuracy) / 2
            lines.append(line.model_copy(update={"train_accuracy": between + wide}))
            before = line.validation_accuracy
        write_trial(run / "trials" / f"{number:04d}", record, lines)
    return findings(read_run(run)).gap


def claims(gap: Gap | None) -> tuple[Claim, Claim]:
    assert gap is not None
    rank, epochs = gap.claims
    return rank, epochs


def test_planted_slopes_are_found(tmp_path: Path) -> None:
    gap = found(tmp_path, [2, 4, 8], by_rank=0.01, by_epoch=0.008)
    rank, epochs = claims(gap)
    assert gap is not None
    assert [picture.name for picture in draw_gap(gap)] == ["gap_epochs", "gap_rank"]
    assert rank.verdict == epochs.verdict == "effect"
    assert rank.slope == pytest.approx(0.01, abs=0.001)
    assert epochs.slope == pytest.approx(0.008, abs=0.001)
    assert rank.sentence.startswith("Higher rank widens the gap: holds (+")
    assert "for each doubling of the rank" in rank.sentence


def test_a_gap_that_stays_is_said_to(tmp_path: Path) -> None:
    rank, epochs = claims(found(tmp_path, [2, 4, 8]))
    assert rank.verdict == epochs.verdict == "none"
    assert "no effect found" in rank.sentence


def test_a_gap_that_narrows_refutes_the_claim(tmp_path: Path) -> None:
    _, epochs = claims(found(tmp_path, [2, 4], by_epoch=-0.01))
    assert epochs.sentence.startswith("More epochs widen the gap: does not hold, it narrows (−")


def test_ranks_are_compared_at_their_last_evaluation_alone(tmp_path: Path) -> None:
    """The gap grows with epochs, not with ranks; the highest rank's is not known at the end."""
    gap = found(tmp_path / "rank", [2, 4, 8], by_epoch=0.02, jumps=(8, 100))
    rank, _ = claims(gap)
    assert gap is not None
    assert [each[0] for each in gap.by_rank] == [2.0, 4.0]
    assert (rank.verdict, rank.configurations) == ("none", 23)
    assert rank.sentence.endswith(
        "13 other configurations are left out, of which the gap at the last evaluation is not known."
    )
    for jumps in ((2,), (2, 4)):
        rank, epochs = claims(found(tmp_path / f"{len(jumps)}", [2, 4], epochs=5, jumps=jumps))
        assert (rank.verdict, epochs.verdict) == ("few", "none")
        assert (
            "The gap at the last evaluation is known of fewer than two ranks, since validation accuracy still moved by "
            "more than 2 points before it."
        ) in rank.sentence
        assert (
            "More epochs may settle it: `--set train.num_train_epochs=10`" in rank.sentence
        )  # twice as many as it had


def test_one_rank_and_one_epoch_say_what_to_run(tmp_path: Path) -> None:
    rank, epochs = claims(found(tmp_path, [4], epochs=1))
    assert rank.verdict == epochs.verdict == "few"
    assert "`--set train.num_train_epochs=4`" in rank.sentence
    assert "`--set train.num_train_epochs=4`" in epochs.sentence
    for claim in claims(found(tmp_path / "clocked", [4], epochs=1, search={"epochs": "clock"})):
        assert "`--set search.epochs=recipe --set train.num_train_epochs=4`" in claim.sentence  # else it is refused
    rank, epochs = claims(found(tmp_path / "more", [4], epochs=4))
    assert rank.verdict == "few"
    assert "`--set lora.r=2,8,32`" in rank.sentence


def test_no_more_epochs_are_advised_than_a_recipe_may_have() -> None:
    for epochs, advised in ((50_000, 100_000), (60_000, 100_000)):
        recipe = make_recipe(train={"num_train_epochs": epochs})
        assert _more_epochs(recipe) == f"`--set train.num_train_epochs={advised}`"


def test_a_rank_whose_trials_failed_is_not_said_to_be_untried(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [4, 8]}, train={"learning_rate": [0.001, 0.003]})
    points = list(recipe.grid())
    states: dict[int, Any] = {4: "complete", 8: "failed"}
    records = [make_record(recipe, n, point, state=states[point["lora.r"]]) for n, point in enumerate(points)]
    rank, _ = claims(findings(read_run(write_run(tmp_path / "r", recipe, records))).gap)
    assert rank.sentence.endswith("No rank but 4 can be compared: try others, as in `--set lora.r=2,8,32`.")


def test_training_that_learns_what_validation_knows_has_no_gap() -> None:
    """Training accuracy is a mean over the way to an evaluation: the first, from a drawn head on, is far below it."""
    way = 1 - 0.5 * np.exp(-np.linspace(0, 4, 4001))  # of both, over four epochs
    lines = [(float(e), float(way[1000 * (e - 1) : 1000 * e].mean()), float(way[1000 * e])) for e in range(1, 5)]
    assert lines[0][1] - lines[0][2] < -0.1
    assert [epoch for epoch, _ in gaps(lines)] == [4.0]  # validation moved by 12 and 4 points before
    assert all(abs(each) < 0.01 for _, each in gaps(lines))


def test_where_trials_were_ended_by_their_results_the_gap_is_not_judged(tmp_path: Path) -> None:
    gap = found(tmp_path, [2, 4], by_epoch=0.01, state="pruned")
    rank, epochs = claims(gap)
    assert rank.verdict == epochs.verdict == "few"
    assert gap is not None
    assert not gap.series
    assert not gap.by_rank
    assert not list(draw_gap(gap))
    assert "search.pruner=none" in epochs.sentence


def test_each_claim_has_half_of_the_5_percent_that_both_have() -> None:
    """Of two ranks, tried alike, the model is Student's, and the slope half of the difference: 8 is 2 doubled twice."""
    generator = np.random.default_rng(0)
    ends = np.concatenate([generator.normal(0.02, 0.01, 8), generator.normal(0.05, 0.03, 8)])
    ranks = (2.0,) * 8 + (8.0,) * 8
    curves = [_Curve(row, rank, ((1.0, 0.01), (2.0, ends[row])), 2.0) for row, rank in enumerate(ranks)]
    table = Table({"lora.r": ranks}, ends, (1,) * 16, np.zeros(16, dtype=np.int64))
    seen: Any = SimpleNamespace(epochs=None, at_end=False, table=table)
    student = stats.ttest_ind(ends[8:], ends[:8]).confidence_interval(0.975)
    of_rank, of_epochs = _of_rank(seen, curves, make_recipe()), _of_epochs(seen, curves, make_recipe())
    assert of_rank.interval == pytest.approx((student.low / 2, student.high / 2))
    assert of_epochs.interval == pytest.approx(mean_interval((ends - 0.01).tolist(), 0.975))
    assert of_rank.configurations == of_epochs.configurations == 16


def test_where_validation_moved_by_over_two_points_no_gap_is_known() -> None:
    lines = [(1.0, 0.9, 0.9), (2.0, 0.95, 0.919), (3.0, 0.95, 0.94), (4.0, 0.95, 0.9185)]
    (known,) = gaps(lines)
    assert known == pytest.approx((2.0, 0.95 - 0.9095))


def test_slopes_that_differ_by_rounding_alone_are_no_finding() -> None:
    curves = [
        _Curve(row, 4.0, tuple((float(e), gap) for e in (1, 2, 3)), 3.0) for row, gap in enumerate((0.1, 0.3, 0.7) * 4)
    ]
    curves[0] = _Curve(0, 4.0, ((1.0, 0.1), (2.0, 0.1), (3.0, 0.1 + 1e-16)), 3.0)
    seen: Any = SimpleNamespace(epochs=None)
    assert _of_epochs(seen, curves, make_recipe()).verdict == "few"


@pytest.mark.parametrize(
    ("count", "unknowns", "said"),
    [
        (4, 1, "4 configurations for 1 unknown say too little: at least 5 are needed"),
        (5, 1, "5 configurations are spread too unevenly, or are all alike, to measure noise"),
        (6, 2, "6 configurations for 2 unknowns say too little: at least 7 are needed"),
        (7, 2, "7 configurations are spread too unevenly, or are all alike, to measure noise"),
    ],
)
def test_how_many_configurations_it_takes_is_said_where_there_are_fewer(count: int, unknowns: int, said: str) -> None:
    assert _too_few(count, unknowns) == said
    slopes = [_Curve(row, 4.0, ((1.0, 0.0), (2.0, 0.01 * row)), 2.0) for row in range(count)]
    seen: Any = SimpleNamespace(epochs=None)
    assert (_of_epochs(seen, slopes, make_recipe()).verdict == "few") is (count < 5)


def test_of_many_ranks_four_are_drawn_evenly_apart_with_the_mean_at_each_epoch() -> None:
    curves = [_Curve(rank, float(rank), ((1.0, 0.01 * rank), (2.0, 0.02 * rank)), 2.0) for rank in range(1, 8)]
    curves.append(_Curve(8, 7.0, ((2.0, 0.2),), 2.0))
    found = list(_series(curves))
    assert [series.rank for series in found] == ["1", "3", "5", "7"]
    assert [point for point, *_ in found[-1].points] == [1.0, 2.0]
    assert found[-1].points[0] == pytest.approx((1.0, 0.07, 1))
    assert found[-1].points[1] == pytest.approx((2.0, 0.17, 2))


def test_ranks_whose_configurations_came_to_one_gap_have_an_interval_of_some_length() -> None:
    curves = [_Curve(row, 4.0, ((1.0, 0.04), (2.0, 0.05)), 2.0) for row in range(3)]
    ((rank, gap, interval, count),) = _by_rank(curves, 20)
    assert (rank, count) == (4.0, 3)
    assert gap == pytest.approx(0.05)
    assert interval == mean_interval([0.05] * 3, rows=20)
    assert interval is not None
    assert interval[1] - interval[0] > 0.05


def test_no_evaluations_are_no_gap(tmp_path: Path) -> None:
    recipe = make_recipe()
    records = [make_record(recipe, n, point, 0.9) for n, point in enumerate(recipe.grid())]
    none: list[Evaluation] = []
    assert findings(read_run(write_run(tmp_path / "r", recipe, records, evaluations=none))).gap is None
