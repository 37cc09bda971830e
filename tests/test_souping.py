"""The winner's seeds in one adapter: what is averaged, what it is judged and tested by, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import loraloom
from bench.random_adapters import save_random_adapter
from loraloom import souping
from loraloom.calibration import temperature_towards
from loraloom.errors import AdapterError, LoraloomError, RunError
from loraloom.metrics import score
from loraloom.recipe import Head
from loraloom.recipe.fields import Metric
from loraloom.report.model_card import model_card
from loraloom.report.wording import listed
from loraloom.study import choice
from loraloom.study.durable import write_json, write_manifest
from loraloom.study.evidence import agrees, read_predicted, read_rows
from loraloom.study.leaderboard import standing
from loraloom.study.record import RECORD, Result, Score, TrialRecord, read_record
from loraloom.study.run import Run
from loraloom.terminal.souped import souped_lines
from loraloom.use.evaluate import evaluate
from loraloom.use.origin import earlier_winner
from loraloom.use.soup import divide_logits, mix
from tests.commands import Commands
from tests.conftest import make_recipe, make_rows
from tests.numerics.architectures import CONFIGS, QV, save_model
from tests.study.study_records import record as make_record

WEIGHTS = "adapter_model.safetensors"
OF_SEEDS = ["search.seeds=3", "lora.bias=lora_only"]


@pytest.fixture(scope="module")
def run_of_seeds(tiny_model: Path, rows_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one configuration with three seeds."""
    run = tmp_path_factory.mktemp("searched") / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(choice, "SOUP_ROWS", 0)  # by itself a search of so few rows mixes them
        loraloom.search(make_recipe(tiny_model, rows_file), run, overrides=OF_SEEDS, report=False)
    return run


@pytest.fixture(scope="module")
def run_mixed(run_of_seeds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and the soup of its seeds."""
    run = shutil.copytree(run_of_seeds, tmp_path_factory.mktemp("mixed") / "run")
    loraloom.soup(run)
    return run


@pytest.fixture
def searched(run_of_seeds: Path, tmp_path: Path) -> Path:
    """A run of three seeds, for a test to change."""
    return shutil.copytree(run_of_seeds, tmp_path / "run")


def updates(weights: dict[str, Any]) -> dict[str, Any]:
    """B A of each adapted layer."""
    return {
        name: weights[name.replace("lora_A", "lora_B")].astype(np.float64) @ value
        for name, value in weights.items()
        if "lora_A" in name
    }


def test_what_is_averaged_are_updates_heads_and_biases(run_mixed: Path) -> None:
    seeds = [load_file(run_mixed / "trials" / f"{number:04d}" / WEIGHTS) for number in range(3)]
    mixed, rank = load_file(run_mixed / "soup" / WEIGHTS), read_record(run_mixed / "best").configuration.lora.r
    assert {name: value.shape for name, value in mixed.items()} == {n: v.shape for n, v in seeds[0].items()}
    others = [name for name in mixed if "lora_" not in name]
    assert any("bias" in name for name in others)
    assert any("classifier" in name for name in others)
    last = [name for name in others if ".classifier." in name]
    ratios = np.concatenate([(mixed[name] / np.mean([seed[name] for seed in seeds], axis=0)).ravel() for name in last])
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)  # it is as sure as they are together
    for name in set(others) - set(last):
        np.testing.assert_allclose(mixed[name], np.mean([seed[name] for seed in seeds], axis=0), rtol=1e-6, atol=1e-9)
    for name, own in updates(mixed).items():
        mean = np.mean([updates(seed)[name] for seed in seeds], axis=0)
        left, sizes, right = np.linalg.svd(mean, full_matrices=False)
        np.testing.assert_allclose(own, left[:, :rank] * sizes[:rank] @ right[:rank], atol=1e-6 * sizes[0])


def test_it_is_as_sure_of_the_validation_rows_as_its_seeds_are_together(run_mixed: Path) -> None:
    of_seeds = [read_predicted(run_mixed / "trials" / f"{number:04d}", 3) for number in range(3)]
    own, together = read_predicted(run_mixed / "soup", 3), [each.probabilities for each in of_seeds if each is not None]
    assert own is not None
    assert len(together) == 3
    assert temperature_towards(own.probabilities, np.mean(together, axis=0)) == pytest.approx(1, rel=1e-3)


def test_logits_of_a_head_that_is_not_known_are_not_divided(run_of_seeds: Path, tmp_path: Path) -> None:
    weights = load_file(run_of_seeds / "trials" / "0000" / WEIGHTS)
    save_file({name.replace("classifier", "other"): value for name, value in weights.items()}, tmp_path / WEIGHTS)
    with pytest.raises(AdapterError, match="has no last layer of a head"):
        divide_logits(tmp_path, 0.5)


@pytest.mark.parametrize("head", [Head(), Head(kind="linear")], ids=["native", "linear"])
@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_logits_are_divided_whatever_an_architecture_calls_the_last_layer_of_its_head(
    architecture: str, head: Head, tmp_path: Path
) -> None:
    model, texts = save_model(architecture, tmp_path / "model"), ["w5 w6 w7", "w8", "w9 w10"]
    recipe = {"lora": {"target_modules": QV[architecture], "bias": "all"}, "head": head.model_dump()}
    folder = save_random_adapter(tmp_path / "adapter", model, recipe)
    before = loraloom.load(folder).logits(texts)
    divide_logits(folder, 2.0)
    write_manifest(folder)
    np.testing.assert_allclose(loraloom.load(folder).logits(texts), before / 2, atol=1e-5)
    held = load_file(folder / WEIGHTS)  # in which PEFT has biases of the head twice
    for name in (name for name in held if ".modules_to_save." in name):
        assert np.array_equal(held[name], held[name.replace(".modules_to_save", "").replace(".default", "")])


def test_where_a_seed_kept_no_predictions_the_head_is_the_mean_as_it_is(searched: Path) -> None:
    """As a run of an earlier version may have kept none."""
    folders = [searched / "trials" / f"{number:04d}" for number in range(3)]
    (folders[1] / "validation.safetensors").unlink()
    write_manifest(folders[1])
    loraloom.soup(searched)
    mixed, *seeds = (load_file(folder / WEIGHTS) for folder in (searched / "soup", *folders))
    for name in (name for name in mixed if ".classifier." in name):
        np.testing.assert_allclose(mixed[name], np.mean([seed[name] for seed in seeds], axis=0), rtol=1e-6, atol=1e-9)


def test_the_mean_of_an_adapter_and_itself_is_that_adapter(run_of_seeds: Path, tmp_path: Path) -> None:
    folder = run_of_seeds / "trials" / "0000"
    assert mix([folder, folder], tmp_path) == pytest.approx(1.0)
    own, mixed = load_file(folder / WEIGHTS), load_file(tmp_path / WEIGHTS)
    assert all(np.array_equal(mixed[name], own[name]) for name in own if "lora_" not in name)
    for name, update in updates(mixed).items():
        np.testing.assert_allclose(update, updates(own)[name], atol=1e-7)


def test_an_adapter_that_learnt_nothing_is_no_division_by_zero(run_of_seeds: Path, tmp_path: Path) -> None:
    weights = load_file(run_of_seeds / "trials" / "0000" / WEIGHTS)
    shutil.copytree(run_of_seeds / "trials" / "0000", tmp_path / "still")
    still = {name: np.zeros_like(value) if "lora_B" in name else value for name, value in weights.items()}
    save_file(still, tmp_path / "still" / WEIGHTS)
    (tmp_path / "mixed").mkdir()
    assert mix([tmp_path / "still"] * 2, tmp_path / "mixed") == 1.0
    assert all(not update.any() for update in updates(load_file(tmp_path / "mixed" / WEIGHTS)).values())


def test_adapters_of_other_shapes_are_refused(run_of_seeds: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run_of_seeds / "trials" / "0000", tmp_path / "other")
    weights = load_file(other / WEIGHTS)
    name = next(name for name in weights if "lora_A" in name)
    save_file({**weights, name: weights[name][:1].copy()}, other / WEIGHTS)
    with pytest.raises(AdapterError, match=r"other: holds other parameters than .*0001; only adapters of one kind"):
        mix([run_of_seeds / "trials" / "0001", other], tmp_path)


def test_a_rank_above_a_layers_width_stays_the_rank(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    loraloom.search(tiny_recipe, tmp_path / "run", overrides=["search.seeds=2", "lora.r=40"], report=False)
    assert loraloom.soup(tmp_path / "run").counts == Run(tmp_path / "run").winner().counts
    own, *seeds = (updates(load_file(tmp_path / "run" / at / WEIGHTS)) for at in ("soup", "trials/0000", "trials/0001"))
    for name, update in own.items():  # 32 wide: there is room for all of it
        np.testing.assert_allclose(update, (seeds[0][name] + seeds[1][name]) / 2, atol=1e-7)


def test_it_is_judged_by_validation_rows_and_tested_as_loaded(run_mixed: Path, rows_file: Path) -> None:
    winner, own = Run(run_mixed).winner(), read_record(run_mixed / "soup")
    assert own.is_soup
    assert not winner.is_soup
    assert "its weights are the mean of those of trials 0, 1 and 2" in own.marks
    assert (own.counts, own.configuration, own.labels) == (winner.counts, winner.configuration, winner.labels)
    assert own.result is not None
    assert own.result.test is not None
    kept = read_predicted(run_mixed / "soup", len(own.labels))
    assert kept is not None
    assert agrees(kept, own)
    classifier, texts = loraloom.load(run_mixed / "soup"), [text for text, _ in make_rows(20, seed=3)]
    assert classifier.record == own
    held_out = [read_rows(run_mixed, len(own.labels))[number] for number in kept.rows.tolist()]
    assert kept.labels.tolist() == [row.label for row in held_out]
    by_row = classifier.predict_proba([row.text for row in held_out])
    np.testing.assert_allclose(kept.probabilities, by_row, atol=1e-6)
    assert np.abs(by_row - by_row[::-1]).max() > 1e-5  # so that another order would be noticed
    assert not np.allclose(classifier.logits(texts), loraloom.load(run_mixed / "best").logits(texts))
    lines = (run_mixed / "soup" / "test_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert classifier.predict([row["text"] for row in rows]) == [own.labels[row["prediction"]] for row in rows]
    assert sum(row["label"] == row["prediction"] for row in rows) == own.result.test.correct
    data = Run(run_mixed).recipe.provenance["data"]["rows"]
    evaluated = evaluate(run_mixed / "soup", rows_file)
    assert (evaluated.trained_on, evaluated.chosen_on) == (data["train"], data["validation"])


def test_it_is_tested_on_as_many_rows_as_the_winner_was(searched: Path) -> None:
    """A part of them, where the clock left the others out."""
    winner = Run(searched).winner()
    assert winner.result is not None
    part = winner.test.model_copy(update={"examples": 20, "confusion": None})
    tested = winner.model_copy(update={"result": winner.result.model_copy(update={"test": part})})
    write_json(searched / "best" / RECORD, tested.model_dump(mode="json"))
    write_manifest(searched / "best")
    assert loraloom.soup(searched).tested_rows == 20


@pytest.mark.parametrize(
    "overrides",
    [
        ["lora.bias=all", "lora.target_modules=all-linear", "train.seed=4"],
        ["lora.bias=none", "lora.use_rslora=true", "head.kind=linear", "head.pooling=mean"],
        ["engine=trainer"],
    ],
)
def test_adapters_of_every_kind_are_mixed(tiny_recipe: dict[str, Any], tmp_path: Path, overrides: list[str]) -> None:
    loraloom.search(tiny_recipe, tmp_path / "run", overrides=["search.seeds=2", *overrides], report=False)
    own = loraloom.soup(tmp_path / "run")
    texts = [text for text, _ in make_rows(20, seed=3)]
    logits = [loraloom.load(tmp_path / "run" / name).logits(texts) for name in ("soup", "trials/0000", "trials/0001")]
    assert own.is_soup
    assert np.abs(logits[0] - np.mean(logits[1:], axis=0)).max() < np.abs(logits[1] - logits[2]).max()


def test_one_of_an_earlier_winner_is_named_where_it_is_evaluated(run_mixed: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run_mixed, tmp_path / "run")
    own = read_record(run / "soup")
    assert earlier_winner(run / "soup", own) is None
    best = read_record(run / "best").model_copy(update={"number": 7})
    write_json(run / "best" / RECORD, best.model_dump(mode="json"))
    write_manifest(run / "best")
    assert earlier_winner(run / "soup", own) is None  # whichever of its seeds leads
    another = best.model_copy(update={"point": {"lora.r": 2}})
    write_json(run / "best" / RECORD, another.model_dump(mode="json"))
    write_manifest(run / "best")
    so = f"{run / 'soup'} is of the mean of trials 0, 1 and 2, where the winner of its run is trial 7 by now"
    assert earlier_winner(run / "soup", own) == f"{so}: loraloom soup {run} makes it anew"


def test_its_card_says_of_what_it_is_and_no_seed(run_mixed: Path) -> None:
    own, winners = ((run_mixed / name / "README.md").read_text(encoding="utf-8") for name in ("soup", "best"))
    assert "the mean of those of trials 0, 1 and 2" in own
    assert ", seed " in winners
    assert ", seed " not in own
    assert "  seed: " in winners
    assert "  seed: " not in own


def test_its_card_says_that_its_trials_were_chosen(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    loraloom.search(tiny_recipe, run, overrides=["search.seeds=2", "lora.r=[1, 2]"], report=False)
    soup = loraloom.soup(run)
    best = Run(run).records()[soup.number]
    said = "The trials that it is the mean of were chosen by their validation accuracy, which flatters it there;"
    assert said in (run / "soup" / "README.md").read_text(encoding="utf-8")
    assert "\nIt was chosen by its validation accuracy" in model_card(run, best)
    of_others = model_card(run, soup, chosen=False)
    assert "It is the mean of trials of a search, and not of those that the search chose." in of_others
    for record, why in ((soup, "its trials were chosen by theirs"), (best, "it was chosen by it")):
        assert record.result is not None
        none, every = (Score.of(score(np.array([0] * 30), np.eye(3)[[kind] * 30])) for kind in (1, 0))
        flattered = record.model_copy(update={"result": Result(validation=every, test=none)})
        assert f"accuracy: {why}, which flatters" in model_card(run, flattered)


def test_the_winner_and_its_trials_stay_as_they_were(run_of_seeds: Path, run_mixed: Path) -> None:
    for name in ("best", "trials/0000", "trials/0001", "trials/0002"):
        for path in (run_of_seeds / name).iterdir():
            assert (run_mixed / name / path.name).read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("no_report")
def test_a_search_gone_on_with_counts_no_soup(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "SOUP_ROWS", 0)
    loraloom.soup(searched)
    before = (searched / "leaderboard.csv").read_bytes()
    loraloom.resume(searched)
    assert (searched / "leaderboard.csv").read_bytes() == before
    assert not Run(searched).winner().is_soup
    assert read_record(searched / "soup").is_soup


def test_a_winner_of_one_seed_is_refused(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    loraloom.search(tiny_recipe, tmp_path / "run", report=False)
    with pytest.raises(RunError, match=r"trial 0, was trained with one seed, .*search with search\.seeds=3"):
        loraloom.soup(tmp_path / "run")
    assert not (tmp_path / "run" / "soup").exists()


def test_a_run_without_a_winner_is_refused(searched: Path) -> None:
    shutil.rmtree(searched / "best")
    with pytest.raises(RunError, match="has no winner yet; go on by: loraloom resume"):
        loraloom.soup(searched)


def test_a_run_whose_winners_own_trial_is_gone_is_refused(searched: Path) -> None:
    shutil.rmtree(Run(searched).trial_folder(Run(searched).winner().number))
    with pytest.raises(RunError, match=r"trials/000\d: is missing, whose copy .*best is; take another copy of the run"):
        loraloom.soup(searched)


def test_the_seeds_of_a_winner_are_found_by_any_of_them(run_of_seeds: Path) -> None:
    """Also where a later one leads, which there was no time to mix."""
    run = Run(run_of_seeds)
    for record in run.records():
        assert {trial.number for trial in souping.standing_of(run, record).trials} == {0, 1, 2}


def test_a_seed_whose_folder_holds_another_is_refused(searched: Path) -> None:
    shutil.rmtree(searched / "trials" / "0001")
    shutil.copytree(searched / "trials" / "0000", searched / "trials" / "0001")
    with pytest.raises(RunError, match=r"0001/trial\.json: is of trial 0; take another copy"):
        loraloom.soup(searched)


def test_a_damaged_seed_is_refused_and_an_older_soup_stays(searched: Path) -> None:
    loraloom.soup(searched)
    kept = (searched / "soup" / WEIGHTS).read_bytes()
    path = searched / "trials" / "0001" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(AdapterError, match="0001"):
        loraloom.soup(searched)
    assert (searched / "soup" / WEIGHTS).read_bytes() == kept


@pytest.mark.parametrize("spoilt", ["NaN", "no B", "half a file"])
def test_a_seed_whose_weights_can_not_be_used_is_refused(searched: Path, spoilt: str) -> None:
    path = searched / "trials" / "0001" / WEIGHTS
    weights = load_file(path)
    name = next(name for name in weights if "lora_B" in name)
    if spoilt == "NaN":
        weights[name][0, 0] = np.nan
    else:
        del weights[name]
    save_file(weights, path)
    if spoilt == "half a file":
        path.write_bytes(path.read_bytes()[:100])
    write_manifest(path.parent)
    why = {"NaN": "weights that are not finite", "no B": "has no .*lora_B", "half a file": "can't hold"}[spoilt]
    with pytest.raises(AdapterError, match=f"trials/0001.*: .*{why}"):
        loraloom.soup(searched)
    assert not list(searched.glob("*soup*"))


def test_a_winner_whose_other_seeds_were_cut_short_is_refused(searched: Path) -> None:
    for folder in (searched / "trials").iterdir():
        record = read_record(folder)
        if record.number != Run(searched).winner().number:
            write_json(folder / "trial.json", record.model_copy(update={"epochs": 1.0}).model_dump(mode="json"))
            write_manifest(folder)
    with pytest.raises(RunError, match=r"has no other seed that was trained as far, .*: give its search more time"):
        loraloom.soup(searched)


def none_right() -> Score:
    return Score.of(score(np.array([0] * 30), np.eye(3)[[1] * 30]))


def collapse(run: Path, number: int) -> None:
    """Has a trial's record say that it has no validation row right."""
    folder = Run(run).trial_folder(number)
    record = read_record(folder)
    assert record.result is not None
    spoilt = record.model_copy(update={"result": Result(validation=none_right())})
    write_json(folder / "trial.json", spoilt.model_dump(mode="json"))
    write_manifest(folder)


def test_a_seed_that_collapsed_is_left_out_and_where_one_alone_did_not_there_is_no_mean(searched: Path) -> None:
    winner = Run(searched).winner().number
    other, another = (number for number in range(3) if number != winner)
    collapse(searched, other)
    souped = loraloom.soup(searched)
    assert souped.soup_of == " and ".join(map(str, sorted((winner, another))))
    assert souped.timings is not None
    mixed, *seeds = (
        updates(load_file(folder / WEIGHTS))
        for folder in (searched / "soup", *(Run(searched).trial_folder(number) for number in (winner, another)))
    )
    for name, own in mixed.items():
        mean = np.mean([seed[name] for seed in seeds], axis=0)
        assert np.linalg.norm(own - mean) < np.linalg.norm(mean)
    collapse(searched, another)
    with pytest.raises(LoraloomError, match=rf"all of its seeds but trial {winner} have collapsed"):
        loraloom.soup(searched)


@pytest.mark.parametrize(("best", "other", "mixed"), [(0.9, 0.71, 2), (0.9, 0.69, 1), (0.55, 0.46, 2)])
def test_a_seed_has_collapsed_where_it_is_nearer_to_chance_than_to_the_best(
    best: float, other: float, mixed: int
) -> None:
    """Of two classes, by 100 rows: those of 0.55 and 0.46 are no further apart than chance has them."""
    seeds = standing([make_record(0, best, point={}), make_record(1, other, point={})], "accuracy")
    assert [trial.number for trial in choice.to_mix(seeds)] == list(range(mixed))


@pytest.mark.parametrize(("other", "mixed"), [(0.90, 1), (0.94, 2)])
def test_of_classes_in_unlike_shares_a_seed_that_answers_the_commonest_for_all_has_collapsed(
    other: float, mixed: int
) -> None:
    """That is right in 90 of the 100 rows, where chance between two is taken to be right in 50."""
    best = make_record(0, 0.96, point={})
    score = Score(examples=100, accuracy=0.96, macro_f1=0.5, loss=0.25, confusion=((89, 1), (3, 7)))
    best = best.model_copy(update={"result": Result(validation=score)})
    seeds = standing([best, make_record(1, other, point={})], "accuracy")
    assert [trial.number for trial in choice.to_mix(seeds)] == list(range(mixed))


def test_a_mean_took_what_its_seeds_took_together() -> None:
    timed, untimed = make_record(0), make_record(1).model_copy(update={"timings": None})
    together = souping._together([timed] * 3)
    assert together is not None
    assert (together.seconds, together.train_seconds) == pytest.approx((3 * 12.34, 3 * 10.0))
    assert souping._together([timed, untimed]) is None


def test_seeds_whose_mean_knows_less_are_not_mixed(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = souping._refuse_less

    def of_none_right(mean: TrialRecord, trials: Sequence[TrialRecord], metric: Metric) -> None:
        refuse(mean.model_copy(update={"result": Result(validation=none_right())}), trials, metric)

    monkeypatch.setattr(souping, "_refuse_less", of_none_right)
    with pytest.raises(
        LoraloomError, match=r"mean of trials 0, 1 and 2 has accuracy 0\.\d+ .* it is not kept"
    ) as raised:
        loraloom.soup(searched)
    assert "macro-F1" not in str(raised.value)
    assert not (searched / "soup").exists()


def test_seeds_that_are_not_mixed_are_told_the_metric_that_is_maximised_too(run_of_seeds: Path) -> None:
    trials = Run(run_of_seeds).records()
    mean = trials[0].model_copy(update={"result": Result(validation=none_right())})
    with pytest.raises(LoraloomError) as raised:
        souping._refuse_less(mean, trials, "macro_f1")
    theirs = listed([f"{trial.result.validation.macro_f1:.3f}" for trial in trials if trial.result])
    assert f") and macro-F1 0.000 (they have {theirs}) on the validation rows; it is" in str(raised.value)


def test_rows_from_python_are_given_again(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    del tiny_recipe["data"]["train_file"]
    rows = make_rows(90, seed=7)
    train = [text for text, _ in rows], [label for _, label in rows]
    loraloom.search(tiny_recipe, tmp_path / "run", train=train, overrides=["search.seeds=2"], report=False)
    with pytest.raises(RunError, match=r"go on by: loraloom\.soup\('.*run', train=…\)"):
        loraloom.soup(tmp_path / "run")
    assert loraloom.soup(tmp_path / "run", train=train).is_soup


def test_the_command_prints_its_figures_beside_its_seeds_and_which_to_use(commands: Commands, searched: Path) -> None:
    ended = commands.run("soup", searched)
    assert ended.code == 0
    assert re.search(
        r"^soup        of trials 0, 1 and 2; its rank holds 0\.\d+ of their mean$", ended.out, re.MULTILINE
    )
    figures = r"^validation  accuracy \d\.\d+, its seeds' mean \d\.\d+, the winner's \d\.\d+$"
    assert re.search(figures, ended.out, re.MULTILINE)
    assert re.search(r"^test        0\.\d+ \(95 % interval .*\) on 30 test rows$", ended.out, re.MULTILINE)
    assert f"loraloom predict {searched / 'soup'} --text" in ended.out
    told = json.loads(commands.run("soup", searched, "--json").out)
    assert told["trials"] == [0, 1, 2]
    assert 0 < told["kept"] <= 1
    assert told["soup"]["result"]["test"]["examples"] == 30


@pytest.mark.parametrize(("rows", "behind", "used"), [(0, True, "best"), (0, False, "soup"), (1_000, True, "soup")])
def test_of_many_rows_the_validation_rows_say_which_to_use(
    searched: Path, monkeypatch: pytest.MonkeyPatch, rows: int, behind: bool, used: str
) -> None:
    monkeypatch.setattr(choice, "SOUP_ROWS", rows)
    monkeypatch.setattr(souping, "mean_of", lambda of: sum(of) if behind else 1.0)  # of several more than of one
    lines = souped_lines(souping.soup(searched), Run(searched))
    assert any(f"loraloom predict {searched / used} --text" in line for line in lines)


def test_that_the_winner_is_this_soup_already_is_said(searched: Path) -> None:
    made, run = souping.soup(searched), Run(searched)
    assert not any("already" in line for line in souped_lines(made, run))
    run.winner = lambda: made.record  # type: ignore[method-assign]
    assert f"predict {searched / 'best'} --text …   (it is this soup already)" in souped_lines(made, run)[-1]
