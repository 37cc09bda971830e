"""From a table to verdicts: corrected together, confounded axes named, pairs and interactions beside."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from loraloom.intervals import mean_interval
from loraloom.report.effects.analysis import Analysis, Effect, analyse, made_axes, needed
from loraloom.report.effects.importances import MOST_TRIALS, importances
from loraloom.report.effects.model import Estimate
from loraloom.report.effects.observations import RATIO, Table
from loraloom.report.effects.pairs import coded, groups_along, paired
from tests.simulated.studies import GRID, alike, drawn, grid, nothing, study, table


def only(analysis: Analysis, axis: str) -> list[Effect]:
    return [effect for effect in analysis.effects if effect.axis == axis]


def planted(seed: int = 0, **changes: Any) -> Table:
    generator = np.random.default_rng(seed)
    points = [{**point, **changes} for point in grid()]
    truth = [0.9 + (0.02 if point["train.optim"] == "muon" else 0.0) for point in points]
    return table(points, np.array(truth) + generator.normal(0, 0.002, len(points)))


def test_an_interval_excludes_zero_exactly_where_there_is_an_effect() -> None:
    for seed in range(20):
        for effect in analyse(planted(seed), crossed=False).effects:
            assert effect.interval is not None
            low, high = effect.interval
            assert (low > 0 or high < 0) == (effect.verdict == "effect")
            assert effect.verdict != "none" or (low >= -0.005 and high <= 0.005)
            assert effect.p_value is not None
            assert (effect.p_value < 0.05) == (effect.verdict == "effect")


def test_more_comparisons_widen_each_interval() -> None:
    whole = planted()
    alone = Table({"train.optim": whole.axes["train.optim"]}, whole.metric, whole.seeds, whole.block)
    one, many = (only(analyse(each, crossed=False), "train.optim")[0] for each in (alone, whole))
    assert one.interval is not None
    assert many.interval is not None
    assert analyse(alone).comparisons < analyse(whole).comparisons
    narrow, wide = one.interval[1] - one.interval[0], many.interval[1] - many.interval[0]
    assert wide > 1.1 * narrow  # the larger model alone has 1.5 %
    assert many.p_value is not None


def test_an_axis_that_goes_with_another_is_said_to() -> None:
    generator = np.random.default_rng(0)
    points = [{**point, "train.num_train_epochs": point["lora.lora_alpha"] // 8} for point in grid()]
    found = analyse(study(points, nothing, alike(generator, points)))
    (epochs,) = only(found, "train.num_train_epochs")
    assert (epochs.verdict, epochs.with_axes) == ("confounded", ("lora.lora_alpha",))
    assert only(found, "lora.lora_alpha")[0].with_axes == ("train.num_train_epochs",)
    assert only(found, "train.optim")[0].verdict != "confounded"


def test_an_axis_that_goes_with_the_rows_on_which_trials_began_is_said_to() -> None:
    generator = np.random.default_rng(0)
    points = grid()
    block = [int(point["lora.lora_alpha"] == 16) for point in points]
    found = analyse(table(points, alike(generator, points), block))
    (alpha,) = only(found, "lora.lora_alpha")
    assert alpha.verdict == "confounded"
    assert "how long they had been trained" in alpha.with_axes[0]


def test_what_one_block_has_more_of_is_no_effect() -> None:
    generator = np.random.default_rng(0)
    points = [point for point in grid() for _ in range(2)]
    block = generator.random(len(points)) < [0.8 if point["lora.bias"] == "none" else 0.2 for point in points]
    metric = 0.9 + 0.05 * block + alike(generator, points)
    (bias,) = only(analyse(table(points, metric, block.astype(int).tolist())), "lora.bias")
    assert bias.verdict in ("none", "open")
    assert bias.estimate == pytest.approx(0, abs=0.005)


def test_a_value_that_one_trial_had_is_too_few_and_the_others_are_compared_without_it() -> None:
    whole = planted()
    points = [dict(zip(whole.axes, values, strict=True)) for values in zip(*whole.axes.values(), strict=True)]
    points[0] |= {"lora.bias": "all"}
    points[1] |= {"train.optim": "sgd"}
    points[-1] |= {"lora.r": 16}
    found = analyse(table(points, whole.metric))
    bias, optim, rank = (
        {effect.title: effect.verdict for effect in only(found, axis)}
        for axis in ("lora.bias", "train.optim", "lora.r")
    )
    assert bias == {"lora_only against none": "none", "all against none and lora_only": "few"}
    assert (optim["sgd against adam, muon and adamw"], optim["muon against adam and adamw"]) == ("few", "effect")
    assert (rank["above 4, without 16"], rank["16 against 2, 4 and 8"]) == ("none", "few")


def test_fewer_configurations_than_unknowns_give_no_verdict() -> None:
    generator = np.random.default_rng(0)
    points = drawn(generator, 12)
    found = analyse(study(points, nothing, alike(generator, points)))
    assert {effect.verdict for effect in found.effects} == {"few"}
    assert found.noise is None
    assert found.comparisons == 0
    assert found.unknowns > found.configurations == 12


def test_alpha_over_rank_takes_alphas_place_with_the_rank_held_fixed() -> None:
    points = grid()
    metric = np.array([0.9 + 0.01 * math.log2(p["lora.lora_alpha"] / p["lora.r"]) for p in points])
    metric += np.random.default_rng(0).normal(0, 0.0005, len(points))
    found = analyse(table(points, metric))
    assert all(effect.verdict == "effect" and (effect.estimate or 0) > 0 for effect in only(found, RATIO))
    assert [effect.title for effect in only(found, RATIO)] == ["above 1", "above 2", "above 4"]
    without = [{name: value for name, value in point.items() if name != "lora.lora_alpha"} for point in points]
    assert not only(analyse(table(without, metric)), RATIO)


def test_pairs_differ_in_one_axis_and_their_interval_is_students() -> None:
    whole = planted()
    axis = next(each for each in made_axes(whole) if each.name == "lora.bias")
    groups = groups_along(coded(whole), whole.block, "lora.bias")
    found = paired(whole, axis, axis.comparisons()[0], groups, 0.05)
    points = grid()
    values = {tuple(p.values()): v for p, v in zip(points, whole.metric, strict=True)}
    differences = [
        values[tuple({**p, "lora.bias": "lora_only"}.values())] - values[tuple(p.values())]
        for p in points
        if p["lora.bias"] == "none"
    ]
    assert found.count == 18
    assert found.mean == pytest.approx(float(np.mean(differences)))
    assert found.interval == pytest.approx(mean_interval([float(each) for each in differences]))


def test_configurations_in_different_blocks_are_no_pair() -> None:
    axes = {"train.optim": ("a", "b", "a", "b")}
    codes = coded(Table(axes, np.zeros(4), (1,) * 4, np.zeros(4, dtype=np.int64)))
    assert groups_along(codes, np.array([0, 0, 1, 1]), "train.optim") == [[0, 1], [2, 3]]
    assert groups_along(codes, np.array([0, 1, 2, 3]), "train.optim") == []


def test_a_planted_interaction_is_found_alone_and_its_cells_are_the_means() -> None:
    points = grid()
    metric = np.array([0.9 + 0.02 * (p["lora.r"] == 8 and p["lora.bias"] == "none") for p in points])
    metric += np.random.default_rng(0).normal(0, 0.001, len(points))
    found = analyse(table(points, metric)).interactions
    assert [(each.first, each.second) for each in found.found] == [("lora.r", "lora.bias")]
    assert (found.pairs, found.tested) == (6, 6)
    cells = found.found[0].cells
    assert [[cell.count for cell in line] for line in cells] == [[6, 6]] * 3
    assert cells[2][0].mean == pytest.approx(0.92, abs=0.001)
    assert cells[0][0].mean == pytest.approx(0.90, abs=0.001)


def test_more_configurations_are_needed_for_a_smaller_effect_a_stricter_level_and_more_noise() -> None:
    now = needed(Estimate(0.0, 0.004, 30), 40, 0.004, 8)
    assert 40 < now < 1000
    assert needed(Estimate(0.0, 0.004, 30), 40, 0.004, 8, margin=0.0025) > 3 * now
    assert needed(Estimate(0.0, 0.004, 30), 40, 0.0004, 8) > now
    assert needed(Estimate(0.0, 0.008, 30), 40, 0.004, 8) > 3 * now
    assert needed(Estimate(0.0, 1e-9, 30), 40, 0.004, 8) == 10


def test_how_many_configurations_are_needed_is_lachins_where_the_error_is_known_well() -> None:
    errors = stats.norm.isf(0.01 / 2) + stats.norm.isf(0.2)
    expected = 400 * (errors * 0.004 / 0.005) ** 2 + 8
    assert needed(Estimate(0.0, 0.004, 1e6), 400, 0.01, 8) == pytest.approx(expected, rel=2e-3)
    by_few = stats.t.isf(0.01 / 2, 4) + stats.t.isf(0.2, 4)  # so many as were tried, which do just so
    assert needed(Estimate(0.0, 0.005 / by_few, 4), 10, 0.01, 8) == pytest.approx(10 + 8, abs=1)


def test_importances_name_what_varies_and_are_the_same_each_time() -> None:
    generator = np.random.default_rng(0)
    points = drawn(generator, MOST_TRIALS + 30)
    metric = np.array([0.9 + (0.03 if point["train.optim"] == "muon" else 0.0) for point in points])
    given = table(points, metric + alike(generator, points))
    axes = made_axes(given)
    found = importances(given, axes)
    assert found is not None
    assert next(iter(found)) == "train.optim"
    assert sum(found.values()) == pytest.approx(1)
    assert found == importances(given, axes)
    assert set(found) == {*GRID, *(axis.name for axis in axes)}


def test_many_names_have_an_importance_without_a_cell_for_each_of_their_subsets() -> None:
    generator = np.random.default_rng(0)
    points = [{**point, "backbone.model": f"model {generator.integers(40)}"} for point in drawn(generator, MOST_TRIALS)]
    metric = np.array([0.9 + 0.01 * (int(point["backbone.model"].split()[1]) % 3) for point in points])
    given = table(points, metric + alike(generator, points))
    found = importances(given, made_axes(given))
    assert found is not None
    assert next(iter(found)) == "backbone.model"


def test_many_names_do_not_explain_noise_by_their_number() -> None:
    """Ordered by their mean results, they would: twenty names of forty configurations, half of all that varies."""
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(5):
        names = generator.permutation([f"model {number % 20}" for number in range(40)])
        points = [{**point, "backbone.model": name} for point, name in zip(drawn(generator, 40), names, strict=True)]
        given = table(points, generator.normal(0.9, 0.01, 40))
        found = importances(given, made_axes(given))
        assert found is not None
        shares.append(found["backbone.model"])
    assert np.mean(shares) < 0.45


def test_what_more_rows_bring_is_no_axis_s() -> None:
    generator = np.random.default_rng(0)
    points, block = drawn(generator, 40), [1] * 4 + [0] * 36
    noise = alike(generator, points)
    for point in points[:4]:  # those on more rows are alike
        point |= {"lora.r": 16, "train.learning_rate": 1e-3}
    apart, level = table(points, 0.85 + 0.06 * np.array(block) + noise, block), table(points, 0.85 + noise, block)
    explained = analyse(apart).explained
    assert explained == pytest.approx(analyse(level).explained)
    assert explained is not None
    assert explained < 0.5
    assert importances(apart, made_axes(apart)) == pytest.approx(importances(level, made_axes(level)))


def test_where_all_of_a_block_came_to_the_same_there_is_nothing_to_explain() -> None:
    points, block = grid()[:12], [0] * 7 + [1] * 5
    level = table(points, np.array([0.7] * 7 + [0.9] * 5), block)  # whose means are rounded
    assert not level.within.any()
    assert importances(level, made_axes(level)) is None
    assert analyse(level).explained is None


def test_too_few_configurations_have_no_importances() -> None:
    few = grid()[:8]
    given = table(few, np.arange(8.0))
    assert importances(given, made_axes(given)) is None


def test_two_configurations_of_one_row_less_are_no_finding() -> None:
    """Coarse accuracies leave some pairs of axes no noise: what is divided by there is rounding."""
    points = grid()
    metric = np.full(len(points), 218 / 222)
    metric[[0, 9]] = 217 / 222
    found = analyse(table(points, metric))
    assert not found.interactions.found
    assert found.interactions.tested < found.interactions.pairs


def test_pairs_that_differ_by_rounding_alone_have_no_interval() -> None:
    values = ["adam", "muon"] * 4
    accuracies = [value for low in (0.9, 0.7, 0.3, 0.1) for value in (low, low + 0.1)]
    given = table([{"train.optim": o, "lora.r": 2 + n // 2} for n, o in enumerate(values)], np.array(accuracies))
    axis = next(each for each in made_axes(given) if each.name == "train.optim")
    groups = groups_along(coded(given), given.block, axis.name)
    found = paired(given, axis, axis.comparisons()[0], groups, 0.05)
    assert found.count == 4
    assert found.interval is None
