"""The section on effects: verdicts in words, where they were measured, and what to run to know."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraloom.recipe import Recipe, read_recipe
from loraloom.report.effects.advice import _longest
from loraloom.report.effects.analysis import Effect
from loraloom.report.effects.pairs import Paired
from loraloom.report.effects.section import Effects
from loraloom.report.effects.verdicts import sentence_on, verdict_on
from loraloom.report.findings import findings
from loraloom.report.pictures.effects import draw_effects
from loraloom.report.points import points, size, spread
from loraloom.report.reading import read_run
from loraloom.report.wording import roughly
from loraloom.report.writing import write_report
from loraloom.study.record import Result, Timings, TrialRecord
from tests.report.report_runs import make_recipe, make_record, make_score, with_train, write_run

PAIRS = Paired(12, -0.001, (-0.004, 0.002))


def effect(verdict: Any, estimate: float | None = -0.001, interval: Any = (-0.004, 0.002), **others: Any) -> Effect:
    return Effect("lora.r", others.pop("title", "above 4"), verdict, estimate, interval, 0.5, 24, PAIRS, **others)


def many(count: int = 48, **search: Any) -> tuple[Recipe, list[TrialRecord]]:
    """A grid of 24 twice over its dropout, Muon 3 points better."""
    recipe = make_recipe(
        lora={"r": [2, 4], "lora_dropout": [0.0, 0.1], "bias": ["none", "lora_only"]},
        train={"optim": ["adam", "adamw", "muon"], "per_device_train_batch_size": [8, 16], "num_train_epochs": 4},
        search=search,
    )
    generator = np.random.default_rng(0)
    records = []
    for number, point in enumerate(list(recipe.grid())[:count]):
        accuracy = 0.92 + (0.03 if point["train.optim"] == "muon" else 0.0) + float(generator.normal(0, 0.002))
        record = make_record(recipe, number, point, accuracy)
        records.append(record.model_copy(update={"train_rows": 1558, "epochs": 4.0}))
    return recipe, records


def timed_at(seconds: float) -> Timings:
    return Timings(seconds=seconds, train_seconds=seconds, examples_per_second=1.0)


def section(path: Path, recipe: Recipe, records: list[TrialRecord]) -> Effects:
    return findings(read_run(write_run(path / "r", recipe, records))).effects


def test_no_effect_is_said_with_its_interval_and_pairs() -> None:
    assert sentence_on("lora.r", [effect("none")]) == (
        "lora.r above 4: no effect found (−0.1 pp, 95 % −0.4 … +0.2, 24 configurations, 12 pairs)."
    )


def test_an_effect_is_said_by_how_much() -> None:
    found = [effect("effect", 0.012, (0.004, 0.02)), effect("none", title="above 8")]
    assert verdict_on(found) == "effect"
    assert sentence_on("lora.r", found) == (
        "lora.r above 4 is better by 1.2 pp (95 % +0.4 … +2.0, 24 configurations, 12 pairs)."
    )


def test_the_surest_comparison_is_told_first() -> None:
    likely = replace(effect("effect", 0.02, (0.001, 0.039), title="above 1"), p_value=0.04)
    sure = replace(effect("effect", -0.01, (-0.012, -0.008), title="above 8"), p_value=0.001)
    said = sentence_on("lora.r", [effect("none"), likely, sure])
    assert said.startswith("lora.r above 8 is worse by 1.0 pp (95 % −1.2 … −0.8, ")
    assert "; above 1 is better by 2.0 pp (" in said
    near, far = effect("open", 0.001, (-0.01, 0.012)), effect("open", 0.004, (-0.02, 0.028), title="above 2")
    assert sentence_on("lora.r", [near, far]).startswith("lora.r above 2: not enough trials to tell")
    assert " The same holds of 2 other comparisons." in sentence_on("lora.r", [effect("none")] * 3)
    assert "The same holds" not in said


def test_one_open_comparison_leaves_an_axis_open() -> None:
    assert verdict_on([effect("none"), effect("open")]) == "open"
    assert verdict_on([effect("few"), effect("none")]) == "open"
    assert verdict_on([effect("few"), effect("few")]) == "few"
    assert verdict_on([effect("confounded"), effect("few")]) == "confounded"
    assert "not enough trials to tell (−0.1 pp" in sentence_on("lora.r", [effect("open")])
    untested = effect("few", None, None, title="above 1")
    assert sentence_on("lora.r", [effect("none"), untested]).startswith("lora.r above 1: not enough trials (24")


def test_what_can_not_be_told_apart_is_named() -> None:
    tied = effect("confounded", None, None, with_axes=("lora.lora_alpha", "head.kind"))
    assert "can't be told apart from lora.lora_alpha and head.kind" in sentence_on("lora.r", [tied])


@pytest.mark.parametrize(
    ("share", "interval", "says"),
    [
        (0.012, (0.004, 0.02), "+1.2 pp"),
        (-0.00123, (-0.0015, -0.0009), "−0.12 pp"),
        (0.0, (-0.01, 0.01), "0.0 pp"),
        (0.3761, None, "+37.6 pp"),
        (None, None, "–"),
    ],
)
def test_points_have_the_digits_that_their_interval_allows(share: float | None, interval: Any, says: str) -> None:
    assert points(share, interval) == says


def test_an_end_that_is_not_zero_is_not_written_as_zero() -> None:
    assert spread((0.0001, 0.006)) == "+0.01 … +0.60"
    assert spread((0.0, 0.006)) == "0.0 … +0.6"
    assert spread(None) == "–"
    assert size(-0.02) == "2.0 pp"


def test_a_whole_grid_gives_verdicts_of_all_axes_effects_first(tmp_path: Path) -> None:
    found = section(tmp_path, *many())
    assert next(axis.name for axis in found.axes) == "train.optim"
    assert {axis.name for axis in found.axes} == {
        "train.optim", "lora.r", "lora.lora_dropout", "lora.bias", "train.per_device_train_batch_size"
    }  # fmt: skip
    assert [axis.verdict for axis in found.axes] == ["effect", *["none"] * 4]
    assert found.importances is not None
    assert found.importances["train.optim"] > 0.8
    assert "48 configurations are compared, each on 1,558 training rows; no result chose between them." in found.where
    assert "the same 222 rows" in " ".join(found.where)
    assert found.advice is None
    assert found.survivors is None


def test_too_few_trials_say_how_many_and_what_to_run(tmp_path: Path) -> None:
    recipe, records = many()
    found = section(tmp_path, recipe, records[::5][:9])
    assert {axis.verdict for axis in found.axes} <= {"few", "open", "confounded"}
    assert found.advice is not None
    assert found.advice.command is not None
    assert "search.sampler=random" in found.advice.command or "search.sampler=grid" in found.advice.command
    assert found.on_model == (
        "9 configurations for 7 unknowns leave no room to measure noise: at least 11 are needed before anything can be "
        "said."
    )


def test_configurations_of_one_result_have_no_difference_to_explain(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4, 8]}, train={})
    found = section(tmp_path, recipe, [make_record(recipe, n, point, 0.9) for n, point in enumerate(recipe.grid())])
    assert found.where == ("The 3 configurations came to the same result: there is no difference to explain.",)
    assert found.analysis is None


@pytest.mark.parametrize(("seeds", "said"), [(1, "with their one seed each:"), (2, "the mean of up to 2 seeds each:")])
def test_of_how_many_seeds_a_result_is_the_mean_is_said(tmp_path: Path, seeds: int, said: str) -> None:
    """The last configuration's second seed failed."""
    recipe = make_recipe(lora={"r": [2, 4, 8]}, train={}, search={"seeds": seeds})
    records = [
        make_record(
            recipe, 3 * seed + n, point, 0.9 + n / 100, seed=42 + seed, state="failed" if n + seed > 2 else "complete"
        )
        for seed in range(seeds)
        for n, point in enumerate(recipe.grid())
    ]
    assert said in " ".join(section(tmp_path, recipe, records).where)


def test_the_advice_is_a_command_that_the_recipe_takes(tmp_path: Path) -> None:
    recipe, records = many()
    noisy = [make_record(recipe, each.number, each.point, 0.9 + 0.05 * math.sin(7 * each.number)) for each in records]
    found = section(tmp_path, recipe, noisy)
    assert found.advice is not None
    assert found.advice.command is not None
    words = found.advice.command.split()
    sets = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    taken = read_recipe(tmp_path / "r" / "recipe.yaml", overrides=sets)
    assert taken.search.pruner == "none"
    assert taken.search.sampler == "grid"
    assert taken.search.seeds * 48 >= 4 * 48
    assert f"{taken.search.seeds:,} seeds each" in found.advice.sentence
    number = max(each.needed for each in found.effects if each.needed is not None)
    shown = size(0.005 * math.sqrt(number / (4 * 48)))
    assert f"to find a difference of {shown} with a power of 80 %: 0.5 pp is out of reach" in found.advice.sentence


def test_where_half_a_point_is_in_reach_the_advice_is_to_find_it(tmp_path: Path) -> None:
    recipe, records = many()
    noisy = [make_record(recipe, each.number, each.point, 0.9 + 0.01 * math.sin(7 * each.number)) for each in records]
    found = section(tmp_path, recipe, noisy)
    assert found.advice is not None
    number = max(each.needed for each in found.effects if each.needed is not None)
    assert 96 < number < 20 * 48
    assert found.advice.sentence.startswith(
        f"All 47 configurations with {math.ceil(number / 47)} seeds each would do to find a difference of 0.5 pp with "
        "a power of 80 %, as noisy as these are."
    )  # the grid's 48 less one that did not fit


def test_what_a_trial_takes_is_told_by_those_on_the_most_rows_that_came_to_their_end(tmp_path: Path) -> None:
    recipe, records = many(3)
    rows_and_seconds = ((100, 5.0), (900, 50.0), (900, None))
    given = [
        record.model_copy(update={"train_rows": rows, "timings": seconds and timed_at(seconds)})
        for record, (rows, seconds) in zip(records, rows_and_seconds, strict=True)
    ]
    given.append(given[1].model_copy(update={"number": 3, "state": "failed", "result": None, "timings": timed_at(1)}))
    assert [record.number for record in _longest(read_run(write_run(tmp_path / "r", recipe, given)))] == [1]


def test_of_first_results_on_few_rows_the_advice_says_that_all_rows_are_likely_to_scatter_less(tmp_path: Path) -> None:
    recipe, records = many(pruner="halving")
    noisy = [make_record(recipe, each.number, each.point, 0.7 + 0.2 * math.sin(7 * each.number)) for each in records]
    first = [each.model_copy(update={"train_rows": 150}) for each in noisy]
    late = [each.model_copy(update={"number": 48 + n}) for n, each in enumerate(records[:4])]
    for name, given, said in (("first", [*first, *late], True), ("all", noisy, False)):
        found = section(tmp_path / name, recipe, given)
        assert found.advice is not None
        assert ("Their noise is that of first results: " in found.advice.sentence) == said


def test_where_noise_is_of_means_of_two_seeds_so_many_are_advised_for_each_configuration(tmp_path: Path) -> None:
    """As many configurations with one seed would be noisier than those that the number was reckoned from."""
    recipe, records = many(seeds=2)
    noisy = [make_record(recipe, each.number, each.point, 0.9 + 0.05 * math.sin(7 * each.number)) for each in records]
    twice = [each.model_copy(update={"number": 48 + each.number, "seed": 43}) for each in noisy]
    asked = {}
    for seeds, given in ((1, noisy), (2, [*noisy, *twice])):
        found = section(tmp_path / str(seeds), recipe, given)
        assert found.advice is not None
        assert "as noisy as these are. Seeds help as far as that noise is theirs." in found.advice.sentence
        (asked[seeds],) = map(int, re.findall(r" with (\d+) seeds each would do", found.advice.sentence))
        assert f"search.seeds={asked[seeds]} " in str(found.advice.command)
    assert asked[2] == 2 * asked[1]


def test_of_a_grid_that_was_run_with_seeds_more_of_them_are_advised(tmp_path: Path) -> None:
    """As docs/report.md has it: the grid with three seeds each, which are told to be too few."""
    recipe, records = many(seeds=3)
    noisy = [make_record(recipe, each.number, each.point, 0.9 + 0.007 * math.sin(7 * each.number)) for each in records]
    given = [
        each.model_copy(update={"number": 48 * seed + each.number, "seed": 42 + seed})
        for seed in range(3)
        for each in noisy
    ]
    found = section(tmp_path, recipe, given)
    assert "not enough trials" in {axis.badge for axis in found.axes}
    assert found.advice is not None
    assert found.advice.sentence.startswith("All 47 configurations with 9 seeds each would do")


def test_of_means_of_two_seeds_points_that_are_drawn_anew_have_two_each(tmp_path: Path) -> None:
    recipe = make_recipe(
        lora={"r": {"min": 1, "max": 64, "log": True}},
        train={"optim": ["adam", "muon"], "num_train_epochs": 4},
        search={"sampler": "random", "n_trials": 12, "seeds": 2},
    )
    points = [{"lora.r": 1 + 5 * n, "train.optim": ("adam", "muon")[n % 2]} for n in range(12)]
    records = [
        make_record(recipe, 12 * seed + n, point, 0.9 + 0.05 * math.sin(7 * n + seed), seed=42 + seed)
        for seed in range(2)
        for n, point in enumerate(points)
    ]
    timed = [record.model_copy(update={"train_rows": 100, "timings": timed_at(10)}) for record in records]
    found = section(tmp_path, recipe, timed)
    assert found.advice is not None
    number = int(re.findall(r"^(\d+) configurations with 2 seeds each would do", found.advice.sentence)[0])
    assert f"search.n_trials={number} --set search.seeds=2 " in str(found.advice.command)
    assert f"about {roughly(2 * number * 10)} of training." in found.advice.sentence


def test_what_to_run_counts_the_axes_that_it_varies_and_the_time_of_whole_trials(tmp_path: Path) -> None:
    """Four trials have tried two of its five axes, and the clock cut the last one short."""
    recipe = make_recipe(
        lora={"r": {"min": 1, "max": 32, "log": True}, "lora_alpha": [8, 16], "bias": ["none", "lora_only"]},
        train={"optim": ["adam", "adamw", "muon"], "learning_rate": {"min": 1e-4, "max": 1e-2}, "num_train_epochs": 4},
        search={"sampler": "random", "n_trials": 4},
    )
    points = [{"lora.r": rank, "train.optim": "adam", "train.learning_rate": rank / 1e4} for rank in (1, 2, 3, 4)]
    records = [make_record(recipe, place, point, 0.9 + place / 100) for place, point in enumerate(points)]
    timed = [
        each.model_copy(update={"train_rows": 100, "epochs": epochs, "timings": timed_at(10 * epochs / 4)})
        for each, epochs in zip(records, (4.0, 4.0, 4.0, 2.0), strict=True)
    ]
    found = section(tmp_path, recipe, timed)
    assert found.advice is not None
    assert found.advice.command is not None
    unknowns = 1 + 2 + 1 + 1 + 2 + 2
    assert f"search.n_trials={3 * unknowns} " in found.advice.command
    assert f"At 10 s a trial, as here, that is about {roughly(3 * unknowns * 10)} of training." in found.advice.sentence


def test_axes_of_too_few_points_have_no_command_that_would_do(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 2]}, train={"num_train_epochs": 4})
    records = [make_record(recipe, place, point, 0.9 + place / 50) for place, point in enumerate(recipe.grid())]
    found = section(tmp_path, recipe, records)
    assert found.advice is not None
    assert found.advice.command is None
    assert "no search of so few can tell: it takes 6 to measure noise at all" in found.advice.sentence


@pytest.mark.parametrize("sampler", ["tpe", "auto"])
def test_a_search_that_learns_is_not_said_to_be_chosen_by_no_result(tmp_path: Path, sampler: str) -> None:
    recipe, records = many(sampler=sampler)
    where = section(tmp_path, recipe, records).where
    assert "each on 1,558 training rows; none was given more rows or seeds for its result." in where[0]
    assert where[1] == f"Which were tried followed in part from earlier results, as search.sampler: {sampler} has it."


def test_passes_by_a_clock_are_said_not_to_be_held_fixed(tmp_path: Path) -> None:
    recipe, records = many()
    of_clock = recipe.with_fields(search={"epochs": "clock"})
    given = [with_train(r, num_train_epochs=2.5 if r.configuration.train.optim == "muon" else 4.0) for r in records]
    given[0] = with_train(given[0], num_train_epochs=3.0)
    said = " ".join(section(tmp_path / "clock", of_clock, given).where)
    assert (
        "Each was trained with as many passes as the clock gave it when it was begun, 2.5 to 4 (in 1 min 04 s to "
        "1 min 06 s): effects are of what it reached with them, and not at equal passes."
    ) in said
    assert "1 trial is left out, with other passes than most that take as long" in said
    alike = [with_train(r, num_train_epochs=4.0) for r in records]
    assert "the clock" not in " ".join(section(tmp_path / "alike", of_clock, alike).where)


def test_brackets_are_said_to_be_validated_on_rows_of_their_own(tmp_path: Path) -> None:
    recipe, records = many(pruner="hyperband")
    few = [
        record.model_copy(update={"train_rows": 500, "result": Result(validation=make_score(0.9 + 0.001 * n, 200))})
        for n, record in enumerate(records[:24])
    ]
    where = section(tmp_path / "two", recipe, [*few, *records[24:]]).where
    assert where[0].startswith("48 configurations are compared, each on 500 or 1,558 training rows")
    assert where[2].startswith("Those of one number of training rows were validated on the same rows (200 and 222), ")
    mixed = [record.model_copy(update={"train_rows": 1558}) for record in few]
    where = section(tmp_path / "one", recipe, [*mixed, *records[24:]]).where
    assert where[1].startswith("Each was validated on 200 or 222 rows, ")


def test_promoted_trials_stand_apart_as_survivors_without_a_verdict(tmp_path: Path) -> None:
    recipe, records = many(pruner="halving")
    first = [record.model_copy(update={"train_rows": 500}) for record in records]
    late = [record.model_copy(update={"number": 48 + n}) for n, record in enumerate(records[:24])]
    run = write_run(tmp_path / "r", recipe, [*first, *late])
    found = findings(read_run(run)).effects
    assert "on 500 of 1,558 training rows, before any result chose it" in found.where[0]
    assert found.survivors is not None
    assert (found.survivors.configurations, found.survivor_rows) == (24, 1558)
    page = write_report(run, may_draw=lambda: False).read_text(encoding="utf-8")
    assert "Among survivors only: 24 configurations on 1,558 rows" in page
    with (run / "report" / "effects.csv").open(newline="") as file:
        among = [row["among"] for row in csv.DictReader(file)]
    assert set(among) == {"all, as first seen", "survivors only"}


@pytest.mark.parametrize(("rows", "said"), [(1558, ", on 1,558 training rows"), (None, "")])
def test_where_results_chose_who_got_more_seeds_alone_none_is_said_to_be_on_few_rows_or_a_survivor(
    tmp_path: Path, rows: int | None, said: str
) -> None:
    recipe, records = many(seeds=2)
    records = [record.model_copy(update={"train_rows": rows}) for record in records]
    more = [record.model_copy(update={"number": 48 + n, "seed": 43}) for n, record in enumerate(records[:9])]
    found = section(tmp_path / "r", recipe, [*records, *more])
    assert found.where[0] == (
        f"48 configurations are compared where each was first seen{said}, before any result chose it: what was given "
        "more seeds is a selection of survivors, which would flatter."
    )
    assert found.survivors is None


def test_a_run_without_results_says_so(tmp_path: Path) -> None:
    recipe = make_recipe()
    assert "No trial has finished" in section(tmp_path / "a", recipe, []).where[0]
    alone = make_record(recipe, 0, {"lora.r": 2}, 0.9)
    assert "Fewer than two configurations" in section(tmp_path / "b", recipe, [alone]).where[0]


def test_hostile_values_of_axes_are_text_on_the_page_in_its_picture_and_in_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloom.report.pictures._sections", lambda found: draw_effects(found.effects))
    hostile = ["<script>alert(1)</script>", "=cmd()", "\x00@sum"]
    recipe = make_recipe(backbone={"model": "demo"}, lora={"r": [1, 2, 3, 4, 5]}, train={"num_train_epochs": 4})
    records = [
        make_record(recipe, n, {"backbone.model": hostile[n % 3], "lora.r": 1 + n // 3}, 0.9 + 0.003 * (n % 7))
        for n in range(15)
    ]
    written = [json.loads(json.dumps(record.model_dump(mode="json"))) for record in records]
    run = write_run(tmp_path / "r", recipe, [TrialRecord.model_validate(each) for each in written])
    page = write_report(run).read_text(encoding="utf-8")
    assert page.count("<script") == 1  # the page's own
    assert "&lt;script&gt;" in page
    assert (run / "report" / "effects.png").is_file()
    text = (run / "report" / "effects.csv").read_text(encoding="utf-8")
    assert "\n=" not in text
    assert ",=" not in text


def test_effects_and_importances_are_computed_without_torch(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", *many())
    code = (
        "import sys, pathlib; from loraloom.report.findings import findings;"
        "from loraloom.report.reading import read_run;"
        "findings(read_run(pathlib.Path(sys.argv[1])));"
        "heavy = {'torch', 'transformers', 'peft', 'matplotlib'} & sys.modules.keys();"
        "sys.exit(bool(heavy) or 'optuna' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(run)], check=False).returncode == 0


@pytest.mark.usefixtures("no_pictures")
def test_the_page_shows_verdicts_and_tables_for_a_grid(tmp_path: Path) -> None:
    recipe, records = many()
    run = write_run(tmp_path / "r", recipe, records)
    page = write_report(run).read_text(encoding="utf-8")
    assert 'id="effects"' in page
    assert "train.optim muon against adam and adamw is better by" in page
    assert (run / "report" / "importances.csv").read_text().startswith("axis,share\ntrain.optim,")


@pytest.mark.usefixtures("no_pictures")
def test_every_head_of_a_table_of_effects_has_words_for_who_hears_the_page(tmp_path: Path) -> None:
    recipe, records = many()
    generator = np.random.default_rng(0)
    crossed = []
    for record in records:
        better = record.point["train.optim"] == "muon" and record.point["lora.r"] == 4
        accuracy = 0.92 + 0.03 * better + float(generator.normal(0, 0.002))
        crossed.append(make_record(recipe, record.number, record.point, accuracy))
    page = write_report(write_run(tmp_path / "r", recipe, crossed)).read_text(encoding="utf-8")
    assert {"interaction-1-caption", "importances-caption"} <= set(re.findall(r'id="([^"]+)"', page))
    heads = re.findall(r"<th\b[^>]*>(.*?)</th>", page)
    heard = [re.sub(r'<span aria-hidden="true">.*?</span>|<[^>]+>', "", head) for head in heads]
    assert [head for head, words in zip(heads, heard, strict=True) if not words.strip()] == []
