"""The report's statistics against known truth, with few studies; `make simulations` asks the same with many."""

from __future__ import annotations

import pytest

from tests.simulated.simulations import (
    LITTLE,
    MUON,
    NULLS,
    PLANTED,
    VIEWS,
    Share,
    area_coverage,
    as_wide,
    confidence_gap_coverage,
    false_findings,
    gap_findings,
    mcnemar_level,
    muon_wide,
    paired_coverage,
    power_as_advised,
    promoting,
    recovered,
    seeds_coverage,
    wilson_coverage,
    with_little,
)
from tests.simulated.studies import nothing


def test_of_250_studies_of_nothing_fewer_than_5_percent_find_something_and_of_no_kind_more() -> None:
    kinds = [false_findings(make, 250 // len(NULLS) + 1, seed=7)["any"] for make in NULLS.values()]
    assert all(kind.at_most(0.05) for kind in kinds)
    together = Share(sum(kind.hits for kind in kinds), sum(kind.of for kind in kinds))
    assert together.of >= 250
    assert float(together) < 0.05


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_effect_is_found_unbiased_and_no_other(name: str) -> None:
    found = recovered(PLANTED[name], MUON, 60)
    assert float(found.found) > 0.75
    assert abs(found.bias) < 4 * found.error_of_bias
    assert found.covered.at_least(0.95)
    assert found.others.at_most(0.05)


@pytest.mark.parametrize("hyperband", [False, True], ids=["halving", "hyperband"])
def test_promotion_by_results_does_not_bias_an_effect(hyperband: bool) -> None:
    ours = VIEWS["ours: as first seen"]
    found = recovered(promoting(ours, with_little, as_wide, hyperband=hyperband), LITTLE, 60)
    assert float(found.found) > 0.75
    assert abs(found.bias) < 4 * found.error_of_bias
    assert found.covered.at_least(0.95)
    assert found.others.at_most(0.05)


def test_what_survivors_or_last_results_would_say_is_biased() -> None:
    for name in ("naive: survivors only", "naive: last results of all"):
        view = VIEWS[name]
        found = recovered(promoting(view, with_little, as_wide), LITTLE, 60)
        assert abs(found.bias) > 0.25 * LITTLE
        assert abs(found.bias) > 8 * found.error_of_bias


def test_survivors_of_a_value_that_scatters_more_fool_a_naive_model_and_not_ours() -> None:
    naive, ours = (
        false_findings(promoting(VIEWS[name], nothing, muon_wide), 50)["any"]
        for name in ("naive: survivors only", "ours: as first seen")
    )
    assert float(naive) > 0.4
    assert ours.at_most(0.05)


def test_as_many_configurations_as_are_advised_have_the_power_that_is_said() -> None:
    found, number = power_as_advised(150)
    assert number > 72
    assert found.at_least(0.8)
    assert found.at_most(0.85)


@pytest.mark.parametrize("rows", [50, 100, 445, 2000, 7600])
@pytest.mark.parametrize("accuracy", [0.5, 0.7, 0.9, 0.97, 0.99])
def test_wilson_covers_93_to_97_percent_where_8_rows_are_expected_wrong(rows: int, accuracy: float) -> None:
    covered = wilson_coverage(rows, accuracy)
    if rows * (1 - accuracy) >= 8:
        assert 0.93 <= covered <= 0.97
    else:
        assert 0.9 <= covered <= 0.99


@pytest.mark.parametrize(
    ("rows", "accuracy", "difference", "discordant"),
    [(100, 0.5, 0.0, 0.3), (222, 0.9, 0.02, 0.12), (445, 0.97, 0.0, 0.045), (2000, 0.99, 0.002, 0.012)],
)
def test_the_paired_bootstrap_covers_what_it_says(
    rows: int, accuracy: float, difference: float, discordant: float
) -> None:
    share, refused = paired_coverage(rows, accuracy, difference, discordant, 1000)
    assert share.at_least(0.93)
    assert share.at_most(0.97)
    assert refused < 0.05


def test_a_gap_that_does_not_widen_is_found_to_in_no_more_than_2_5_percent_and_one_that_does_is() -> None:
    assert all(share.at_most(0.025) for share in gap_findings(300))
    assert all(float(share) > 0.75 for share in gap_findings(60, widening=0.02))


@pytest.mark.parametrize(("rows", "discordant"), [(100, 0.05), (445, 0.05), (7600, 0.01)])
def test_mcnemar_finds_a_difference_of_equals_in_no_more_than_5_percent(rows: int, discordant: float) -> None:
    assert mcnemar_level(rows, discordant, 1000).at_most(0.05)


def test_the_interval_of_the_area_under_risk_and_coverage_covers_what_it_says() -> None:
    covered = area_coverage(445, 60)
    assert covered.at_least(0.93)
    assert covered.at_most(0.97)


@pytest.mark.parametrize(("rows", "spread", "temperature"), [(100, 40, 1.0), (445, 2, 2.5), (445, 20, 0.3)])
def test_the_interval_of_confidence_less_accuracy_covers_what_it_says_or_more(
    rows: int, spread: float, temperature: float
) -> None:
    assert confidence_gap_coverage(rows, spread, temperature, 500).ours.at_least(0.95)


def test_students_interval_of_confidence_less_accuracy_is_too_short_where_few_rows_are_wrong() -> None:
    assert not confidence_gap_coverage(100, 40, 1.0, 500).students.at_least(0.93)


@pytest.mark.parametrize(("seeds", "spread"), [(2, 5.0), (3, 2.0), (5, 1.5), (10, 1.0)])
@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.97])
def test_the_interval_of_a_few_seeds_covers_what_it_says(seeds: int, spread: float, accuracy: float) -> None:
    share = seeds_coverage(445, accuracy, seeds, spread, 1000)
    assert share.at_least(0.93)
    assert share.at_most(0.97)


@pytest.mark.parametrize("spread", [0.3, 1.0, 2.0])
def test_two_seeds_with_the_same_count_are_where_rounding_must_count(spread: float) -> None:
    assert float(seeds_coverage(445, 0.95, 2, spread, 300, rounding=False)) < 0.93
    assert seeds_coverage(445, 0.95, 2, spread, 300).at_least(0.95)


def test_a_share_that_is_as_expected_is_told_from_one_that_is_not() -> None:
    assert Share(5, 100).at_most(0.05)
    assert not Share(20, 100).at_most(0.05)
    assert Share(80, 100).at_least(0.8)
    assert not Share(50, 100).at_least(0.8)
