"""The study's designs: nothing is trained twice, all fits the cap, what is compared shares its seeds."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from loraloom.errors import RecipeError
from loraloom.execute.workplace import Workplace
from loraloom.recipe import read_recipe
from loraloom.search.presets import PRESETS
from loraloom.search.proposals import MOST_WARMED
from study.claims import design as designs
from study.claims.design import TABLES, Claim, Design, read_design
from study.curve import BASE, curve_section, minutes_of, read_curves, trials
from study.outcomes import Kept, Trained
from study.presets import CAPS, best_preset
from study.trials import Trial
from tests.four_rows import four_rows

ENCODERS = {"six_layers": "demo", "base_size": "roberta-base", "preset": "demo"}
"""Each design with an encoder of its size whose shapes are known without a network."""


def planned(table: str) -> tuple[Design, list[Trial]]:
    """A design's trials, where of each claim's rates the first is the best."""
    design = read_design(table, ENCODERS[table])
    return design, list(design.trials(lambda trial: 1 - trial.configuration.train.learning_rate / 10))


@pytest.mark.parametrize("table", sorted(TABLES))
def test_no_configuration_is_trained_twice_with_a_seed(table: str) -> None:
    _, found = planned(table)
    assert len({(one.configuration, one.rows) for one in found}) == len(found)
    assert len({(one.key, one.seed) for one in found}) == len(found)


def test_make_study_trains_every_design() -> None:
    makefile = (Path(__file__).parents[3] / "Makefile").read_text(encoding="utf-8")
    study = makefile.partition("\nstudy:")[2].partition("\n\n")[0]
    assert "-m study.claims\n" in study  # six_layers, by default
    assert {"six_layers", *re.findall(r"--table (\w+)", study)} == set(TABLES)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_trial_fits_the_cap_of_a_million(table: str) -> None:
    design, found = planned(table)
    place = Workplace(design.recipe, four_rows(), lambda _: None)
    assert {one.key: why for one in found if (why := place.demands.why_not(one.configuration))} == {}


def test_more_seeds_are_trained_when_all_else_is() -> None:
    design, found = planned("six_layers")
    more = [one.seed in design.table.more_seeds for one in found]
    assert any(more)
    assert more == sorted(more)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_levels_that_are_compared_share_their_seeds_and_no_rate_is_chosen_on_them(table: str) -> None:
    design, found = planned(table)
    trained = {(one.key, one.seed) for one in found}
    assert design.table.tuning_seed not in design.table.all_seeds
    for claim in design.table.claims:
        for level in claim.points:
            for seed in design.table.all_seeds:
                trial = design.compared(claim, level, seed, lambda one: 1 - one.configuration.train.learning_rate / 10)
                assert trial is not None
                assert (trial.key, seed) in trained, f"{claim.name}, {level}"


@pytest.mark.parametrize("table", ["base_size", "six_layers"])
def test_targets_are_compared_at_equal_parameters(table: str) -> None:
    design = read_design(table, ENCODERS[table])
    place = Workplace(design.recipe, four_rows(), lambda _: None)
    claim = next(claim for claim in design.table.claims if claim.name == "targets")
    counts = {level: place.demands.parameters(design.trial(claim, level, 0).configuration) for level in claim.points}
    assert counts["q,v r=18"].trainable == counts["all r=4"].trainable
    if "q,v r=9" in counts:
        assert counts["q,v r=9"].trainable == counts["all r=2"].trainable


def test_levels_of_the_preset_warm_up_over_the_same_share_of_their_steps() -> None:
    _, found = planned("preset")
    upper = [one.configuration.train for one in found if one.configuration.lora.layers_to_transform is not None]
    assert {train.warmup_steps / train.num_train_epochs for train in upper} == {30}
    every = [one.configuration.train for one in found if one.configuration.lora.layers_to_transform is None]
    second = PRESETS[1]  # its own, over as many rows and passes
    for train in every:
        steps = 3_000 * train.num_train_epochs / train.per_device_train_batch_size
        assert train.warmup_steps == min(second.over(3_000)["train.warmup_steps"], int(MOST_WARMED * steps))


def test_a_rate_is_the_best_of_those_that_were_trained_under_the_tuning_seed() -> None:
    design = read_design("six_layers", "demo")
    claim = next(claim for claim in design.table.claims if claim.name == "optimizer")
    tried = {trial.configuration.train.learning_rate: 0.8 for trial in design.tuning(claim)} | {0.1: 0.9}

    def accuracy(trial: Trial) -> float | None:
        return tried[trial.configuration.train.learning_rate] if trial.seed == design.table.tuning_seed else 1.0

    assert design.best_rate(claim, "sgd", accuracy) == 0.1
    assert design.best_rate(claim, "sgd", lambda _: None) is None


def test_a_contrast_of_a_level_that_is_not_there_is_refused(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = {"name": "rank", "title": "", "said": "", "field": "lora.r", "values": [4, 8]}
    with pytest.raises(ValueError, match="names '16', which is no level of it"):
        Claim.model_validate({**claim, "contrasts": [{"name": "above", "of": [16], "to": [4]}]})
    monkeypatch.setitem(designs.TABLES, "six_layers", TABLES["base_size"].with_name("contest.yaml"))
    with pytest.raises(RecipeError, match=r"contest\.yaml"):
        read_design("six_layers", "demo")


@pytest.mark.parametrize("model", ["demo", "roberta-base"])
def test_the_curve_has_a_preset_under_each_cap_and_no_trial_twice(model: str) -> None:
    recipe = read_recipe(BASE, [f"backbone.model={model}"])
    place = Workplace(recipe, four_rows(), lambda _: None)
    presets = {cap: best_preset(place, recipe, cap) for cap in CAPS}
    sizes = [place.demands.parameters(recipe.configuration(presets[cap])).trainable for cap in CAPS]
    assert all(0.6 * cap < size <= cap for cap, size in zip(CAPS, sizes, strict=True)), sizes
    found = list(trials(recipe, presets, 70_000))
    assert len({(one.key, one.seed) for one in found}) == len(found)


def test_the_curves_page_says_what_of_the_plan_is_missing_and_shows_no_time_beyond_the_slowest_trial(
    tmp_path: Path,
) -> None:
    header = {"encoder": "demo", "labels": "0123" * 5, "rows": {"all": 9_000}, "caps": {"100000": 80}}
    header |= {"machine": {"processor": "Processor", "cores": 2}, "started": "2026-01-02"}
    kept = Kept(tmp_path / "demo.jsonl", header)
    trained = Trained("a", 0, "complete", accuracy=0.9, rows=4_000, epochs=5.0, trainable=80, seconds=90.0)
    kept.add(replace(trained, train_seconds=90.0, others_share=0.001))
    kept.add(replace(trained, key="b", rows=9_000, epochs=1.0, train_seconds=200.0))
    curves = read_curves(tmp_path)
    assert curves is not None
    assert minutes_of(curves.points) == [1, 5]
    section = curve_section(curves, tmp_path / "curve.svg", "curve.svg")
    assert "**2 of the plan's 10 trials are trained**" in section
    assert "4,000 rows for 5 epochs (1 of 2); 1,000 rows for 10 epochs (0 of 3)" in section
    assert "16,000" not in section  # there are not so many
    assert "| 90 |" in section
    assert "| 200* |" in section
