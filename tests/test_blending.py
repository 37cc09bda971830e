"""The winner with TF-IDF's scores blended in: what it answers, wherever it is used, and what is refused."""

from __future__ import annotations

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy.special import log_softmax

import loraloom
from loraloom import LoraClassifier, blending
from loraloom.data import telling
from loraloom.errors import AdapterError, RunError
from loraloom.intervals import Paired, wilson_interval
from loraloom.metrics import softmax
from loraloom.recipe.fields import Metric
from loraloom.report import reading
from loraloom.report.beside import beside
from loraloom.report.findings import findings
from loraloom.report.markdown import markdown
from loraloom.report.page import page
from loraloom.report.points import points
from loraloom.report.reading import read_run
from loraloom.report.rounding import rounded, rounded_span
from loraloom.search.watcher import Watcher
from loraloom.study.durable import write_manifest, write_text
from loraloom.study.evidence import agrees, read_predicted, read_rows
from loraloom.study.record import TrialRecord, read_record
from loraloom.study.run import Run, read_trial
from loraloom.terminal.blended import blended_lines
from loraloom.use.adapter_checks import identity
from loraloom.use.backbones import Backbones
from loraloom.use.ensemble import load_ensemble
from loraloom.use.evaluate import evaluate
from loraloom.use.export.exporting import export
from loraloom.use.origin import earlier_winner, run_of
from loraloom.use.serve.registry import named_adapters
from loraloom.use.submit import submit
from loraloom.use.tfidf import PART, read
from tests.commands import Commands
from tests.conftest import make_recipe, make_rows

TEXTS = ["the cat near a hammer", "some old cheese", "", "a drill and a saw with bread"]


@pytest.fixture(scope="module")
def run_blended(tiny_model: Path, rows_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("blended") / "run"
    recipe = make_recipe(tiny_model, rows_file)
    loraloom.search(recipe, run, overrides=["train.num_train_epochs=4"], report=False)
    loraloom.blend(run)
    return run


@pytest.fixture
def blended(run_blended: Path, tmp_path: Path) -> Path:
    """The same, for a test to change."""
    return shutil.copytree(run_blended, tmp_path / "run")


def expected(run: Path, texts: list[str]) -> Any:
    own = log_softmax(loraloom.load(run / "best").logits(texts), axis=1)
    return softmax((1 - PART) * own + PART * read(run / "blend", 3).log_probabilities(texts))


def test_its_answers_are_the_winners_and_tfidfs_in_their_parts(run_blended: Path) -> None:
    classifier = loraloom.load(run_blended / "blend")
    np.testing.assert_allclose(classifier.predict_proba(TEXTS), expected(run_blended, TEXTS), atol=1e-6)
    best = loraloom.load(run_blended / "best").predict_proba(TEXTS)
    assert np.abs(best - classifier.predict_proba(TEXTS)).max() > 0.01


def test_how_far_it_is_with_the_validation_rows_and_the_test_rows_is_told(
    blended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, watcher = list[str](), Watcher()
    monkeypatch.setattr(telling, "SECONDS", 0.0)
    monkeypatch.setattr(watcher, "note", heard.append)
    blending.blend(blended, watcher=watcher)
    assert any(re.fullmatch(r"fitting TF-IDF to \d+ training rows, which takes seconds", note) for note in heard)
    for what in ("asking it of validation rows", "testing"):
        assert any(note.startswith(f"{what}: ") and note.endswith(" rows so far") for note in heard)


def test_the_trials_of_a_run_of_which_there_may_be_thousands_are_read_once(
    blended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[Path]()

    def noted(folder: Path) -> TrialRecord:
        read.append(folder)
        return read_trial(folder)

    monkeypatch.setattr(reading, "read_trial", noted)
    blending.blend(blended)
    assert read == [blended / "trials" / "0000"]  # for its card


def test_all_ways_to_ask_it_answer_alike(run_blended: Path) -> None:
    folders = [run_blended / "best", run_blended / "blend"]
    own = [loraloom.load(folder).predict_proba(TEXTS) for folder in folders]
    ensemble = load_ensemble(folders, temperature=False)
    np.testing.assert_allclose(ensemble.probabilities(ensemble.encoded(TEXTS)), own, atol=1e-5)
    backbones = Backbones()
    best, blend = (backbones.add(folder) for folder in folders)
    encoded = blend.encoded(TEXTS)
    parts = [encoded.part(0, 1), encoded.part(1, 4), best.encoded(TEXTS)]  # as a server asks
    first, rest, other = backbones.logits([blend, blend, best], parts)
    np.testing.assert_allclose(softmax(np.concatenate([first, rest])), own[1], atol=1e-5)
    np.testing.assert_allclose(softmax(other), own[0], atol=1e-5)
    streamed = [one.probabilities for one in blend.stream(iter(TEXTS))]
    np.testing.assert_allclose(streamed, own[1], atol=1e-5)


def test_it_is_asked_of_the_validation_rows_and_tested_as_loaded(run_blended: Path, rows_file: Path) -> None:
    folder = run_blended / "blend"
    record, before = read_record(folder), read_record(run_blended / "best")
    assert record.is_blend
    assert not before.is_blend
    assert not record.doubts
    predicted = read_predicted(folder, 3)
    assert predicted is not None
    assert agrees(predicted, record)
    assert (record.number, record.counts) == (before.number, before.counts)
    lines = [json.loads(line) for line in (folder / "test_predictions.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(
        [line["probabilities"] for line in lines], expected(run_blended, [line["text"] for line in lines]), atol=1e-5
    )
    assert record.test.accuracy == np.mean([line["prediction"] == line["label"] for line in lines])
    found = evaluate(folder, rows_file)
    assert (found.trained_on, found.chosen_on, found.tested_on) != (None, None, None)


def test_what_it_gains_is_of_the_same_rows(blended: Path) -> None:
    made = blending.blend(blended)
    best, own = read_record(blended / "best"), made.record
    assert made.gain is not None
    assert made.gain.difference == pytest.approx(own.test.accuracy - best.test.accuracy)
    assert made.apart.test is not None
    assert made.apart.test.accuracy > 0.9  # a word tells these classes
    rows = read_rows(blended, 3).values()
    said = made.tfidf.log_probabilities([row.text for row in rows]).argmax(axis=1)
    assert made.apart.validation.accuracy == np.mean(said == [row.label for row in rows])
    path = blended / "best" / "test_predictions.jsonl"
    first, *others = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), "text": "another"}), *others]), encoding="utf-8")
    write_manifest(blended / "best")
    assert blending.blend(blended).gain is None  # since they are of other rows
    path.unlink()
    write_manifest(blended / "best")
    assert blending.blend(blended).gain is None


def test_the_winner_and_the_runs_answer_stay_as_they_were(blended: Path) -> None:
    before = {path: path.read_bytes() for path in (blended / "best").rglob("*") if path.is_file()}
    loraloom.blend(blended)
    assert {path: path.read_bytes() for path in (blended / "best").rglob("*") if path.is_file()} == before
    assert Run(blended).winner() == read_record(blended / "best")


def test_its_card_says_what_no_cap_counts_and_what_peft_has(run_blended: Path) -> None:
    card = loraloom.load(run_blended / "blend").card
    count, rows = read(run_blended / "blend", 3).parameters, read_record(run_blended / "best").train_rows
    assert "with TF-IDF's scores blended in" in card
    assert f"of {rows} training rows. Its {count:,} weights are not among the trainable parameters above" in card
    assert "has the adapter alone. `tfidf.json` holds words of the training texts, and pairs of neighbours." in card


def test_no_export_holds_it(run_blended: Path, tmp_path: Path) -> None:
    for form in ("merged", "onnx", "peft"):
        with pytest.raises(AdapterError, match="which no export holds; export the adapter alone"):
            export(run_blended / "blend", form, tmp_path / form)


def test_without_its_files_it_is_not_loaded_as_the_adapter_alone(blended: Path) -> None:
    for name in ("tfidf.json", "tfidf.safetensors"):
        copy = shutil.copytree(blended / "blend", blended / f"without-{name}")
        (copy / name).unlink()
        with pytest.raises(AdapterError, match=re.escape(name)):
            loraloom.load(copy)  # by its manifest
        write_manifest(copy)
        with pytest.raises(AdapterError, match=re.escape(name)):
            loraloom.load(copy)


@pytest.mark.parametrize("name", ["tfidf.json", "tfidf.safetensors", "adapter_config.json", "trial.json"])
def test_a_prediction_goes_on_by_no_other_tfidf(blended: Path, name: str) -> None:
    """Nor by another of the files of which what it answers depends."""
    before = identity(blended / "blend")
    path = blended / "blend" / name
    content = path.read_bytes()
    path.write_bytes(content + b" " if name == "tfidf.safetensors" else content.replace(b"e", b"a", 1))
    assert identity(blended / "blend") != before


def test_one_of_an_earlier_winner_is_named(blended: Path) -> None:
    record = read_record(blended / "blend")
    assert run_of(blended / "blend") == blended
    assert earlier_winner(blended / "blend", record) is None
    other = record.model_copy(update={"number": record.number + 1})
    assert f"loraloom blend {blended} makes it anew" in str(earlier_winner(blended / "blend", other))


def test_a_server_names_it_after_its_run(run_blended: Path) -> None:
    assert [name for name, _ in named_adapters([str(run_blended / one) for one in ("best", "blend")])] == [
        "run",
        "run-blend",
    ]


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_the_gain_is_said_in_what_chooses_and_its_test_is_of_accuracy(blended: Path, metric: Metric) -> None:
    run, made = Run(blended), blending.blend(blended)
    first = points(made.record.test.macro_f1 - run.winner().test.macro_f1)
    searched = run.recipe.model_copy(update={"search": run.recipe.search.model_copy(update={"metric": metric})})
    lines = list(blended_lines(made, cast(Any, SimpleNamespace(recipe=searched, path=blended, winner=run.winner))))
    gain = next(place for place, line in enumerate(lines) if line.startswith("gain"))
    by_f1 = f"gain        {first} of macro-F1 over the winner, of which no interval is made"
    assert (lines[gain] == by_f1) is (metric == "macro_f1")
    tested = lines[gain + (metric == "macro_f1")]
    assert re.search(r"pp of accuracy.* McNemar's test, corrected for two tests$", tested)
    assert (" over the winner" in tested) is (metric == "accuracy")


def test_rows_from_python_are_given_again(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    del tiny_recipe["data"]["train_file"]
    rows = make_rows(90, seed=7)
    train = [text for text, _ in rows], [label for _, label in rows]
    loraloom.search(tiny_recipe, tmp_path / "run", train=train, report=False)
    with pytest.raises(RunError, match=r"go on by: loraloom\.blend\('.*run', train=…\)"):
        loraloom.blend(tmp_path / "run")
    assert loraloom.blend(tmp_path / "run", train=train).is_blend


def test_the_command_prints_all_three_on_the_same_rows(commands: Commands, blended: Path, tmp_path: Path) -> None:
    ended = commands.run("blend", blended)
    assert ended.code == 0
    of_tfidf = r"^TF-IDF +\d+ words and pairs of words of \d+ training rows; [\d,]+ weights, which no cap counts$"
    assert re.search(of_tfidf, ended.out, re.MULTILINE)
    figures = r"^validation  accuracy \d\.\d+, the winner's \d\.\d+, TF-IDF's alone \d\.\d+$"
    assert re.search(figures, ended.out, re.MULTILINE)
    for line in (r"test        [01]\.\d+ \(.*\) on 30 test rows", r"winner      [01]\.\d+ \(.*\) on the same"):
        assert re.search(f"^{line}$", ended.out, re.MULTILINE)
    gain = r"^gain        [+−]?\d.* pp of accuracy over the winner.* McNemar's test, corrected for two tests$"
    assert re.search(gain, ended.out, re.MULTILINE)
    assert re.search(rf"loraloom predict {blended}/(blend|best) --text", ended.out)
    told = json.loads(commands.run("blend", blended, "--json").out)
    assert told["blend"]["result"]["test"]["examples"] == told["tfidf"]["test"]["examples"] == 30
    assert told["gain"]["p"] <= 1
    texts = tmp_path / "texts.csv"
    texts.write_text("text\n" + "\n".join(TEXTS[:2]) + "\n")
    assert commands.run("predict", blended / "blend", "--file", texts, "--out", tmp_path / "out.jsonl").code == 0
    found = [json.loads(line)["prediction"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found == loraloom.load(blended / "blend").predict(TEXTS[:2])


@pytest.mark.parametrize(("right", "why"), [(0, "behind it"), (None, "no better"), (30, "")])
def test_the_command_advises_the_one_that_the_validation_rows_are_for(
    blended: Path, right: int | None, why: str
) -> None:
    """And not the test rows, on which it is the other way round here; where it is a tie, the one that needs less."""
    made, run = blending.blend(blended), Run(blended)
    if right is None:
        winner = run.winner().result
        assert winner is not None
        right = winner.validation.correct
    result = made.record.result
    assert result is not None
    assert result.test is not None
    validation = result.validation.model_copy(update={"accuracy": right / 30, "correct": right})
    test = result.test.model_copy(update={"accuracy": 1 - right / 30, "correct": 30 - right})
    other = result.model_copy(update={"validation": validation, "test": test})
    made = replace(made, record=made.record.model_copy(update={"result": other}))
    (line,) = (one for one in blended_lines(made, run) if one.startswith("use "))
    assert f"loraloom predict {blended / ('best' if why else 'blend')} --text" in line
    assert line.endswith(f"   (the blend is {why} on the validation rows)" if why else "--text …")


def test_it_learns_of_the_rows_that_the_recipe_lets_be_learnt_of(
    tiny_model: Path, rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    loraloom.search(make_recipe(tiny_model, rows_file), run, overrides=["data.max_train_samples=30"], report=False)
    assert blending.blend(run).train_rows == 30
    monkeypatch.setattr(blending, "MOST_ROWS", 20)
    assert blending.blend(run).train_rows == 20


def test_of_no_texts_it_answers_nothing(run_blended: Path) -> None:
    assert loraloom.load(run_blended / "blend").predict([]) == []


def test_of_very_many_rows_a_part_is_read(blended: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blending, "MOST_ROWS", 40)
    assert blending.blend(blended).train_rows == 40


def test_a_submission_by_it_says_what_no_cap_counts(run_blended: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("id,text\n" + "".join(f"{row},{text}\n" for row, (text, _) in enumerate(make_rows(20, seed=9))))
    for folder, said in (("best", False), ("blend", True)):
        made = submit(run_blended / folder, test, tmp_path / f"{folder}.csv")
        assert any("count in no cap" in note for note in made.notes) is said


def test_the_report_says_how_tfidf_and_the_blend_stand_to_the_winner(blended: Path) -> None:
    best = read_run(blended).best
    assert best is not None
    problems: list[str] = []
    alone, together, corrected = beside(read_run(blended), problems)
    right = sum(read(blended / "blend", 3).log_probabilities([row.text for row in best.predictions]).argmax(axis=1)
                == [row.label for row in best.predictions])  # fmt: skip
    interval = wilson_interval(int(right), len(best.predictions))
    assert f"has {rounded(right / len(best.predictions), interval)} ({rounded_span(interval)})" in alone
    assert "RUN/best" in alone
    assert "which counts in no cap, has" in together
    assert problems == []
    made = findings(read_run(blended))
    assert made.beside == (alone, together, corrected)
    assert "TF-IDF alone, a linear classifier" in markdown(made)
    assert alone.split(".")[0] in html.unescape(page(made, "none", ()))


def test_both_tests_against_the_winner_are_corrected_together(
    run_blended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([Paired(30, 9, -0.2, None, 0.03), Paired(30, 4, 0.1, (0.01, 0.2), 0.08)])
    monkeypatch.setattr("loraloom.report.beside.paired", lambda *_: next(found))
    alone, together, corrected = beside(read_run(run_blended), [])
    assert "RUN/best is 20.0 points ahead of TF-IDF alone, which may be chance (McNemar p = 0.060" in alone
    assert alone.endswith("a lead is more than chance from 30.0 points on.")  # nine of nine rows: two tests are done
    assert "McNemar p = 0.080" in together
    assert together.endswith("leaves out 0, but the exact test, corrected for 2 tests, is not convinced.")
    assert corrected == "The p-values are corrected for these two tests (Holm)."


def test_the_gain_that_it_tells_has_the_p_value_of_the_report(blended: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([Paired(30, 9, -0.2, None, 0.03), Paired(30, 4, 0.1, None, 0.04)])
    monkeypatch.setattr("loraloom.report.beside.paired", lambda *_: next(found))
    assert blending.blend(blended).gain == Paired(30, 4, 0.1, None, 0.06)


def test_the_report_advises_it_once(blended: Path) -> None:
    assert not any("blend" in step.command for step in findings(read_run(blended)).next_steps)
    record = read_record(blended / "blend")
    assert record.result is not None
    fewer = record.test.model_copy(update={"examples": record.tested_rows - 1, "confusion": None})
    of_fewer = record.model_copy(update={"result": record.result.model_copy(update={"test": fewer})})
    for written in (of_fewer, record.model_copy(update={"number": 99}), None):  # of an earlier winner, not there
        if written is None:
            shutil.rmtree(blended / "blend")
        else:
            write_text(blended / "blend" / "trial.json", written.model_dump_json())
            write_manifest(blended / "blend")
        assert findings(read_run(blended)).next_steps[-1].command == f"loraloom blend {blended}"


def test_the_report_says_nothing_of_a_blend_of_another_winner_and_names_what_it_can_not_read(blended: Path) -> None:
    folder = blended / "blend"
    record = read_record(folder)
    other = record.model_copy(update={"number": record.number + 1})
    for written, said in ((other.model_dump_json(), 0), (record.model_dump_json(), 3)):
        (folder / "trial.json").write_text(written)
        write_manifest(folder)
        assert len(beside(read_run(blended), [])) == said
    for content, why in (("[0, 1]", "is of 2 rows, where 30 were tested"), ('["a"]', "can't be read")):
        (folder / "test_by_tfidf.json").write_text(content)
        write_manifest(folder)
        problems: list[str] = []
        assert beside(read_run(blended), problems) == ()
        assert why in problems[0]
    (folder / "test_by_tfidf.json").write_text("[0]")
    for lost in (False, True):
        if lost:
            (folder / "test_by_tfidf.json").unlink()
        problems = []
        assert beside(read_run(blended), problems) == ()
        assert "test_by_tfidf.json" in problems[0]


def test_an_estimator_keeps_it(run_blended: Path, tmp_path: Path) -> None:
    estimator = LoraClassifier.load(run_blended / "blend")
    for _ in range(2):
        estimator.save(tmp_path / "saved")
    saved = loraloom.load(tmp_path / "saved")
    np.testing.assert_array_equal(saved.predict_proba(TEXTS), estimator.predict_proba(TEXTS))
    assert not any(path.name.startswith("test_") for path in (tmp_path / "saved").iterdir())
