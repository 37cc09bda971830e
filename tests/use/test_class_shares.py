"""Answers for other class shares than training's: what is asked, what an adapter expects, what copies keep of it."""

from __future__ import annotations

import csv
import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import loraloom
from loraloom import LoraClassifier, calibration, cli, metrics
from loraloom.calibration import Temperature, at_odds, at_temperature
from loraloom.errors import AdapterError, OptionError
from loraloom.intervals import Floats
from loraloom.study.durable import write_manifest
from loraloom.study.evidence import Predicted, read_predicted, write_predicted
from loraloom.study.integrity import write_recipe
from loraloom.study.record import Result, Score, read_record, write_record
from loraloom.study.run import Run
from loraloom.use.class_shares import Shift, as_predicted, asked_shares, expected_shares
from loraloom.use.ensemble import load_ensemble
from loraloom.use.evaluate import evaluate
from loraloom.use.origin import training_rows
from loraloom.use.submit import submit
from loraloom.use.temperature import fitted_temperature
from tests.conftest import make_recipe, make_rows, write_csv
from tests.use.hub_server import hub_server, speak_to
from tests.use.validated import LABELS, TEXTS, keep_validation

SKEWED = (8.0, 1.0, 1.0)
ASKED = ("dog=1", "cat=1", "owl=8")


@pytest.fixture
def skewed(folder: Path) -> Path:
    """An adapter that expects the first class in eight rows of ten, and is too sure."""
    keep_validation(folder, 2.0, shares=SKEWED)
    return folder


def answers(adapter: Path | str, *asked: str) -> Floats:
    ensemble = load_ensemble([Path(adapter)], class_shares=asked or None)
    found: Floats = ensemble.probabilities(ensemble.encoded(TEXTS))[0]
    return found


def expected_of(adapter: Path) -> Floats:
    record = read_record(adapter)
    return expected_shares(adapter, record, fitted_temperature(adapter, record))


def test_a_model_of_skewed_rows_gives_bayes_probabilities_of_others() -> None:
    """Two classes on a line, whose densities are known: the rule is exact where probabilities are."""
    places = np.linspace(-3, 3, 50)
    densities = np.exp(-0.5 * (places[:, None] - np.array([-1.0, 1.0])) ** 2)

    def given(shares: Floats) -> Floats:
        return np.asarray(densities * shares / (densities @ shares)[:, None])

    before, after = np.array([0.95, 0.05]), np.array([0.3, 0.7])
    assert at_odds(given(before), after / before) == pytest.approx(given(after))


def test_a_class_that_does_not_occur_is_given_nothing_even_where_all_the_others_had_none() -> None:
    found = at_odds([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]], [0.0, 2.0, 1.0])
    assert found[:, 0].tolist() == [0, 0]
    assert found.sum(axis=1) == pytest.approx([1, 1])
    assert found[1] == pytest.approx([0, 6 / 11, 5 / 11])


def test_shares_are_balanced_or_of_each_label_in_any_unit() -> None:
    assert asked_shares(["balanced"], LABELS).tolist() == [1 / 3] * 3
    assert asked_shares(ASKED, LABELS).tolist() == [0.1, 0.1, 0.8]
    assert asked_shares(["a=b=30", "a=0", "=10"], ["a", "a=b", ""]).tolist() == [0, 0.75, 0.25]
    assert asked_shares(["cat=1e308", "dog=0", "owl=1e308"], LABELS).tolist() == [0.5, 0, 0.5]
    assert asked_shares(["balanced=1", "b=3"], ["balanced", "b"]).tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    "given",
    [
        {"owl": 8, "cat": 1, "dog": "1"},
        {"owl": np.float32(0.8), "cat": np.float64(0.1), "dog": 0.1},
        pd.Series({"owl": 80, "cat": 10, "dog": 10}),
        list(ASKED),
    ],
)
def test_python_gives_shares_by_label_or_in_the_words_of_the_command_line(given: Any) -> None:
    assert asked_shares(given, LABELS) == pytest.approx([0.1, 0.1, 0.8])


def test_labels_that_are_no_texts_are_those_written_alike() -> None:
    by_number: Any = {np.int64(4): 1, 30: 3}
    assert asked_shares(by_number, ["30", "4"]).tolist() == [0.75, 0.25]
    assert asked_shares("balanced", ["30", "4"]).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["even"], "'even' is no label's share; give balanced alone, or each label its share once: LABEL=SHARE"),
        (["balanced", "cat=1"], "'balanced' is no label's share; give balanced alone"),
        (["cat=1", "dog=1"], "'owl' has no share; give each label its share once"),
        (["cat=1"], "'dog', 'owl' have no share; give"),
        (
            ["cat=1,dog=1,owl=8"],
            "'cat=1,dog=1,owl' is none of the labels; .*; give each label its share once",
        ),
        (["cow=1"], "'cow' is none of the labels; they are 'cat', 'dog', 'owl'"),
        (["cat=1", "cat=2"], "'cat' is given twice"),
        (["cat=-1"], "'-1' is no share"),
        (["cat=nan"], "'nan' is no share"),
        (["cat=inf"], "'inf' is no share"),
        (["cat=some"], "'some' is no share"),
        (["cat=1", "dog=0", "owl=0"], "two classes or more must have a share above 0"),
        ({}, "'cat', 'dog', 'owl' have no share; give"),
        ({"cat": 1, "dog": 1}, "'owl' has no share; give"),
        ({"cat": 1, "dog": 1, "owl": None}, "'owl=None': 'None' is no share"),
        ([0.1, 0.1, 0.8], "'0.1' is no label's share"),
        (3, "'3' is no label's share"),
        ("", "'' is no label's share"),
    ],
)
def test_all_else_is_no_shares(given: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        asked_shares(given, LABELS)


def test_who_is_to_give_each_label_its_share_sees_all_labels() -> None:
    labels = [f"label {number}" for number in range(9)]
    for given in ("label=1", "label 0=1"):
        with pytest.raises(OptionError, match="'label 7', 'label 8'"):
            asked_shares([given], labels)


def test_of_many_classes_those_whose_shares_change_most_are_named_in_their_order() -> None:
    asked = np.array([0.125, 0.025, 0.225, 0.025, 0.225, 0.125, 0.05, 0.2])
    said = f"{Shift(tuple('abcdefgh'), asked, np.full(8, 1 / 8))}"
    assert [part.split()[0] for part in said.split(", ")] == ["b", "c", "d", "e", "g", "h", "and"]
    assert said.startswith("b 2.5 % where it expects ")
    assert said.endswith(", and 2 more")
    assert str(Shift(("a", "b"), np.array([0.5, 0.5]), np.array([0.75, 0.25]))) == (
        "a 50 % where it expects 75 %, b 50 % where it expects 25 %"
    )


def test_an_adapter_expects_the_mean_of_its_probabilities_at_its_temperature(skewed: Path) -> None:
    predicted, fitted = read_predicted(skewed, 3), fitted_temperature(skewed, read_record(skewed))
    assert predicted is not None
    assert fitted is not None
    mean = at_temperature(predicted.probabilities, fitted.value).mean(axis=0)
    assert expected_of(skewed) == pytest.approx(mean)
    assert mean == pytest.approx([0.8, 0.1, 0.1], abs=0.04)


def test_what_is_expected_of_many_classes_is_computed_without_a_second_copy_of_their_predictions(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes, rows = 500, 4_000
    shares = np.random.default_rng(0).dirichlet(np.ones(classes), rows).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, classes, rows)
    write_predicted(folder, Predicted(shares, labels, np.arange(rows)))
    write_manifest(folder)
    record = read_record(folder).model_copy(update={"labels": tuple(map(str, range(classes)))})
    fitted = Temperature(1.5, (1.2, 1.8), rows)
    mean = at_temperature(shares, 1.5).mean(axis=0)
    tracemalloc.start()
    try:
        found = expected_shares(folder, record, fitted)
        assert tracemalloc.get_traced_memory()[1] < 2 * shares.nbytes
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(calibration, "MOST_AT_ONCE", 7 * classes)
    assert expected_shares(folder, record, fitted) == pytest.approx(found, rel=1e-12)
    assert found == pytest.approx(mean, rel=1e-12)


def test_answers_are_those_of_the_shares_that_are_asked(skewed: Path) -> None:
    plain = answers(skewed)
    expected = expected_of(skewed)
    assert answers(skewed, *ASKED) == pytest.approx(at_odds(plain, np.array([0.1, 0.1, 0.8]) / expected))
    assert (answers(skewed, "balanced")[:, 0] < plain[:, 0]).all()
    as_before = [f"{label}={share!r}" for label, share in zip(LABELS, expected.tolist(), strict=True)]
    assert answers(skewed, *as_before) == pytest.approx(plain)


def test_an_adapter_without_its_validation_predictions_is_refused(folder: Path) -> None:
    with pytest.raises(AdapterError, match="which class shares it expects is not known: it keeps no validation"):
        load_ensemble([folder], class_shares=["balanced"])


def test_validation_predictions_of_another_trial_do_not_tell_what_is_expected(skewed: Path) -> None:
    score = Score(examples=400, accuracy=0.25, macro_f1=0.25, loss=1.0)
    record = read_record(skewed).model_copy(update={"result": Result(validation=score)})
    with pytest.raises(AdapterError, match="it keeps no validation predictions of its own"):
        expected_shares(skewed, record, None)


def test_a_loaded_adapter_answers_as_predict_does(skewed: Path) -> None:
    plain, told = loraloom.load(skewed), loraloom.load(skewed, class_shares={"dog": 1, "cat": 1, "owl": 8})
    expected = answers(skewed, *ASKED)
    assert told.predict_proba(TEXTS) == pytest.approx(expected, abs=1e-12)
    best = [LABELS[index] for index in expected.argmax(axis=1)]
    assert told.predict(TEXTS) == [each.label for each in told.stream(TEXTS)] == best != plain.predict(TEXTS)
    assert [each.confidence for each in told.stream(TEXTS)] == pytest.approx(expected.max(axis=1), abs=1e-12)
    assert told.logits(TEXTS).tolist() == plain.logits(TEXTS).tolist()
    assert told.temperature is not None
    assert told.shift is not None
    # as docs/export.md has it
    by_hand = metrics.softmax(told.logits(TEXTS) / told.temperature.value + np.log(told.shift.odds))
    assert by_hand == pytest.approx(expected, abs=1e-9)
    assert (told.predict([]), told.predict_proba([]).shape) == ([], (0, 3))


def test_one_loaded_adapter_answers_for_any_shares_and_stays_what_it_was(skewed: Path) -> None:
    classifier = loraloom.load(skewed)
    before = classifier.predict_proba(TEXTS)
    for given in ("balanced", {"cat": 0, "dog": 1, "owl": 3}):
        told = classifier.for_class_shares("balanced").for_class_shares(given)
        loaded = loraloom.load(skewed, class_shares=given)
        assert told.predict_proba(TEXTS).tolist() == loaded.predict_proba(TEXTS).tolist()
    assert not told.predict_proba(TEXTS)[:, 0].any()
    assert classifier.predict_proba(TEXTS).tolist() == before.tolist()


def test_an_adapter_that_can_not_be_told_is_refused_as_it_is_loaded(folder: Path) -> None:
    with pytest.raises(AdapterError, match="which class shares it expects is not known: it keeps no validation"):
        loraloom.load(folder, class_shares="balanced")
    with pytest.raises(OptionError, match="'even' is no label's share"):
        loraloom.load(folder, class_shares="even")


def test_what_another_adapter_expects_is_not_taken_for_what_a_loaded_one_does(
    skewed: Path, untaught: Path, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    shutil.copytree(skewed, place)
    classifier = loraloom.load(place)
    told = loraloom.load(place, class_shares="balanced")
    shutil.rmtree(place)
    shutil.copytree(untaught, place)
    with pytest.raises(AdapterError, match="holds another adapter than when it was loaded"):
        classifier.for_class_shares("balanced")
    assert told.for_class_shares("balanced").predict_proba(TEXTS).tolist() == told.predict_proba(TEXTS).tolist()


def test_shares_hold_at_the_temperature_alone(skewed: Path) -> None:
    with pytest.raises(OptionError, match="leave out no_temperature"):
        load_ensemble([skewed], temperature=False, class_shares=["balanced"])


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run whose training rows are skewed, and whose validation rows, of a file of their own, are not."""
    place = tmp_path_factory.mktemp("unlike")
    rows = make_rows(120, seed=3)
    rare = rows[0][1]
    few = [row for row in rows if row[1] != rare] + [row for row in rows if row[1] == rare][:4]
    recipe = make_recipe(tiny_model, write_csv(place / "train.csv", few))
    recipe["data"]["validation_file"] = str(write_csv(place / "validation.csv", make_rows(60, seed=4)))
    loraloom.search(recipe, place / "run", report=False)
    return place / "run"


def test_validation_rows_of_other_shares_are_weighed_as_training_rows(unlike: Path, tmp_path: Path) -> None:
    best = unlike / "best"
    record, predicted = read_record(best), read_predicted(best, 3)
    assert predicted is not None
    shares = as_predicted(predicted.probabilities.astype(np.float64), fitted_temperature(best, record), None)
    rows = training_rows(best, record)
    assert rows is not None
    assert min(rows.values()) <= 4
    by_class = [rows[label] * shares[predicted.labels == n].mean(axis=0) for n, label in enumerate(record.labels)]
    assert expected_of(best) == pytest.approx(np.sum(by_class, axis=0) / sum(rows.values()))
    alone = shutil.copytree(best, tmp_path / "alone")
    assert expected_of(alone).tolist() == expected_of(best).tolist()
    write_record(alone, record.model_copy(update={"class_rows": None}))  # as it was written by earlier versions
    write_manifest(alone)
    with pytest.raises(AdapterError, match="validation rows came from a file of their own"):
        expected_of(alone)


def test_a_copy_of_held_out_rows_expects_what_it_does_in_its_run(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> None:
    place = tmp_path_factory.mktemp("held_out")
    rows = make_rows(120, seed=3)
    few = [row for row in rows if row[1] != rows[0][1]] + [row for row in rows if row[1] == rows[0][1]][:4]
    loraloom.search(make_recipe(tiny_model, write_csv(place / "train.csv", few)), place / "run", report=False)
    best = place / "run" / "best"
    predicted, told = read_predicted(best, 3), np.array(read_record(best).class_rows)
    assert predicted is not None
    held_out = np.bincount(predicted.labels, minlength=3)
    assert np.abs(held_out / held_out.sum() - told / told.sum()).max() > 0.01  # rounded, the rare class up to a row
    alone = shutil.copytree(best, place / "alone")
    assert expected_of(alone).tolist() == expected_of(best).tolist()


def test_a_refit_expects_shares_of_all_rows_that_it_was_trained_on(unlike: Path, tmp_path: Path) -> None:
    run = shutil.copytree(unlike, tmp_path / "run")
    loraloom.refit(run)
    record, predicted = read_record(run / "refit"), read_predicted(run / "best", 3)
    rows = training_rows(run / "refit", record)
    assert predicted is not None
    assert rows is not None
    assert min(rows.values()) > 4
    fitted = fitted_temperature(run / "best", read_record(run / "best"))
    shares = as_predicted(predicted.probabilities.astype(np.float64), fitted, None)
    by_class = [rows[label] * shares[predicted.labels == n].mean(axis=0) for n, label in enumerate(record.labels)]
    assert expected_of(run / "refit") == pytest.approx(np.sum(by_class, axis=0) / sum(rows.values()), rel=1e-9)


def test_a_run_that_does_not_tell_its_training_rows_classes_is_not_believed_to_have_none(
    unlike: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(unlike, tmp_path / "run")
    recipe = Run(run).recipe
    data = {name: value for name, value in recipe.provenance["data"].items() if name != "class_rows"}
    older = recipe.model_copy(update={"provenance": {**recipe.provenance, "data": data}})
    write_recipe(run / "recipe.yaml", older)
    with pytest.raises(AdapterError, match="no run at hand tells the classes of its training rows"):
        expected_of(run / "best")


def test_a_class_without_validation_rows_counts_by_its_training_rows(
    skewed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted = read_predicted(skewed, 3)
    assert predicted is not None
    kept = predicted.labels != 2
    monkeypatch.setattr(
        "loraloom.use.class_shares.read_predicted",
        lambda *_: type(predicted)(predicted.probabilities[kept], predicted.labels[kept], predicted.rows[kept]),
    )
    monkeypatch.setattr("loraloom.use.class_shares.agrees", lambda *_: True)
    monkeypatch.setattr("loraloom.use.class_shares.training_rows", lambda *_: {"cat": 10, "dog": 10, "owl": 20})
    shares = predicted.probabilities[kept].astype(np.float64)
    means = [shares[predicted.labels[kept] == one].mean(axis=0) for one in (0, 1)]
    expected = (10 * means[0] + 10 * means[1] + np.array([0, 0, 20])) / 40
    assert expected_shares(skewed, read_record(skewed), None) == pytest.approx(expected)


def test_a_class_without_training_rows_weighs_nothing(skewed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predicted = read_predicted(skewed, 3)
    assert predicted is not None
    monkeypatch.setattr("loraloom.use.class_shares.training_rows", lambda *_: {"cat": 30, "dog": 10})
    shares = predicted.probabilities.astype(np.float64)
    means = [shares[predicted.labels == one].mean(axis=0) for one in (0, 1)]
    expected = (30 * means[0] + 10 * means[1]) / 40
    assert expected_shares(skewed, read_record(skewed), None) == pytest.approx(expected)


def test_a_class_of_which_nothing_is_ever_expected_can_be_asked_for(folder: Path) -> None:
    """Its probabilities are too small for a float, and it has no validation row."""
    generator = np.random.default_rng(0)
    shares = np.column_stack([generator.dirichlet((1, 1), 400), np.zeros(400)]).astype(np.float32)
    labels = (generator.random(400) < shares[:, 1]).astype(np.int64)
    write_predicted(folder, Predicted(shares, labels, np.arange(400)))
    write_manifest(folder)
    assert 0 < expected_of(folder)[2] < 1e-30
    assert answers(folder, "balanced").sum(axis=1) == pytest.approx([1, 1, 1])


def test_saved_copies_keep_what_is_expected(skewed: Path, tmp_path: Path) -> None:
    once = LoraClassifier.load(skewed).save(tmp_path / "once")
    for copy in (once, LoraClassifier.load(once).save(tmp_path / "twice")):
        assert answers(copy, *ASKED) == pytest.approx(answers(skewed, *ASKED), abs=1e-12)


@pytest.mark.filterwarnings("ignore:the backbone of this adapter is a folder of this machine")
def test_pushed_copies_keep_what_is_expected(skewed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server() as hub:
        speak_to(hub, monkeypatch, tmp_path)
        loraloom.load(skewed).push_to_hub("someone/words")
        assert answers("someone/words", *ASKED) == pytest.approx(answers(skewed, *ASKED), abs=1e-12)


@pytest.mark.parametrize(
    "expected",
    [
        [0.5, 0.5],
        [0.5, 0.5, 0.0],
        [0.5, 0.5, 0.5],
        [0.5, 0.6, -0.1],
        [0.5, 0.5, 5e-324],
        [0.5, 0.5, float("nan")],
        "all",
        None,
        [[1], 2, 3],
    ],
)
def test_kept_shares_that_are_none_are_refused(folder: Path, tmp_path: Path, expected: Any) -> None:
    (folder / "class_shares.json").write_text(json.dumps({"expected": expected}))
    write_manifest(folder)
    said = r"class_shares\.json: (holds no shares|can't be read)"
    with pytest.raises(AdapterError, match=said):
        expected_shares(folder, read_record(folder), None)
    with pytest.raises(AdapterError, match=said):  # and are not missing from a copy without a word
        LoraClassifier.load(folder).save(tmp_path / "copy")


def test_predict_says_what_it_took_and_gives_the_same_as_python(
    skewed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = [word for one in ASKED for word in ("--class_shares", one)]
    texts = [word for one in TEXTS for word in ("--text", one)]
    cli.app(["predict", str(skewed), *texts, *shares], standalone_mode=False)
    out, err = capsys.readouterr()
    found = [list(json.loads(line)["probabilities"].values()) for line in out.splitlines()]
    assert found == pytest.approx(answers(skewed, *ASKED), abs=1e-6)
    assert f"class shares of {skewed}: cat 10 % where it expects" in err


def test_evaluate_scores_what_predict_gives(skewed: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in zip(TEXTS, LABELS, strict=True)))
    found = evaluate(skewed, file, class_shares=ASKED).as_json()
    asked = answers(skewed, *ASKED)
    assert found["accuracy"] == (asked.argmax(axis=1) == [0, 1, 2]).mean()
    assert found["log_loss"] == pytest.approx(-np.log(asked[[0, 1, 2], [0, 1, 2]]).mean())
    assert (found["predict"], found["class_shares"]) == (None, {"cat": 0.1, "dog": 0.1, "owl": 0.8})
    assert evaluate(skewed, file).as_json()["class_shares"] is None


def test_shares_that_are_none_are_refused_before_rows_are_read(skewed: Path, tmp_path: Path) -> None:
    file = tmp_path / "not_even_read.csv"
    with pytest.raises(OptionError, match="'even' is no label's share"):
        evaluate(skewed, file, class_shares="even")
    with pytest.raises(OptionError, match="'even' is no label's share"):
        submit(skewed, file, tmp_path / "s.csv", labels="names", class_shares="even")


def test_a_submission_is_of_the_shares_that_are_asked(taught: Path, tmp_path: Path) -> None:
    texts = [text for text, _ in make_rows(60, seed=21)]
    file = tmp_path / "test.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([["text"], *([text] for text in texts)])
    asked = ["animals=1", "food=0", "tools=1"]
    plain = submit(taught, file, tmp_path / "plain.csv")
    told = submit(taught, file, tmp_path / "told.csv", class_shares=asked)
    ensemble = load_ensemble([taught], class_shares=asked)
    best = ensemble.probabilities(ensemble.encoded(texts))[0].argmax(axis=1)
    assert [one.rows for one in told.classes] == np.bincount(best, minlength=3).tolist()
    assert told.classes[1].rows == 0 < plain.classes[1].rows
    assert any(note.startswith("class shares: animals 50 % where it expects") for note in told.notes)
    assert not any("class shares" in note for note in plain.notes)


def test_a_submission_of_other_shares_than_trainings_has_the_option_named(taught: Path, tmp_path: Path) -> None:
    rows = make_rows(200, seed=22)
    skew = [text for text, label in rows if label == "animals"] + [text for text, label in rows if label == "food"][:9]
    file = tmp_path / "test.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([["text"], *([text] for text in skew)])
    causes = "It holds answers, so that the model's errors may be the cause, as well as texts of other classes."
    advice = "If you know how common the classes are in these rows, give their shares by --class_shares."
    plain = submit(taught, file, tmp_path / "plain.csv")
    assert plain.verdict.startswith("Its class shares differ")
    assert plain.verdict.endswith(f"{causes} {advice}")
    told = submit(taught, file, tmp_path / "told.csv", class_shares=["balanced"])
    assert told.verdict.startswith("Its class shares differ")
    assert told.verdict.endswith(causes)
