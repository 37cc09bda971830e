"""The winner trained again with the validation rows: what it is trained and tested on, what it says of itself."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import loraloom
from loraloom import metrics, refitting
from loraloom.engine import Job, Outcome
from loraloom.errors import LoraloomError, RunError, StoppedError
from loraloom.execute.stopping import Stop
from loraloom.recipe import Configuration
from loraloom.study.durable import MANIFEST, write_manifest, write_text
from loraloom.study.provenance import class_rows
from loraloom.study.record import CHECKPOINT, TrialRecord, read_record, write_record
from loraloom.study.run import Run
from loraloom.terminal.refitted import refitted_lines
from loraloom.use.evaluate import evaluate
from loraloom.use.origin import training_rows
from loraloom.use.submit import submit
from tests.commands import Commands
from tests.conftest import make_recipe, make_rows, write_csv
from tests.ears import Ear
from tests.faults.signals import SIGNALLED_STEP, signalled_in_a_step
from tests.study.study_records import record as make_record

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def run_of_two(tiny_model: Path, rows_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two configurations."""
    run = tmp_path_factory.mktemp("searched") / "run"
    loraloom.search(make_recipe(tiny_model, rows_file), run, overrides=["lora.r=1,2"], report=False)
    return run


@pytest.fixture(scope="module")
def run_refitted(run_of_two: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and its refit."""
    run = shutil.copytree(run_of_two, tmp_path_factory.mktemp("refitted") / "run")
    loraloom.refit(run)
    return run


@pytest.fixture
def searched(run_of_two: Path, tmp_path: Path) -> Path:
    """A run of two configurations, for a test to change."""
    return shutil.copytree(run_of_two, tmp_path / "run")


@pytest.fixture
def refitted(run_refitted: Path, tmp_path: Path) -> Path:
    """The same, and its refit."""
    return shutil.copytree(run_refitted, tmp_path / "run")


def test_a_refit_is_the_winner_trained_on_validation_rows_too_and_tested_once_more(searched: Path) -> None:
    run = Run(searched)
    winner, data = run.best(), run.recipe.provenance["data"]["rows"]
    assert winner is not None
    refitted = loraloom.refit(searched)
    assert refitted.train_rows == data["train"] + data["validation"]
    assert winner.train_rows == data["train"]
    assert (refitted.number, refitted.seed, refitted.epochs) == (winner.number, winner.seed, winner.epochs)
    assert refitted.configuration == winner.configuration
    assert refitted.validation == winner.validation
    assert refitted.test.examples == data["test"]
    assert run.best() == winner
    assert read_record(searched / "refit") == refitted
    assert (searched / "refit" / WEIGHTS).read_bytes() != (searched / "best" / WEIGHTS).read_bytes()
    loaded = loraloom.load(searched / "refit")
    assert loaded.record.is_refitted
    assert not loraloom.load(searched / "best").record.is_refitted
    assert {path.name for path in (searched / "refit").iterdir()} == {
        *(WEIGHTS, "adapter_config.json", "trial.json", "test_predictions.jsonl", "README.md", "manifest.json"),
        "class_shares.json",
    }
    assert not (searched / "refitting").exists()
    lines = (searched / "refit" / "test_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert sum(row["label"] == row["prediction"] for row in rows) == refitted.test.correct


def test_its_card_claims_no_validation_accuracy_of_its_own(run_refitted: Path) -> None:
    own, winners = ((run_refitted / name / "README.md").read_text(encoding="utf-8") for name in ("refit", "best"))
    assert "Validation accuracy" in winners
    assert "Validation accuracy" not in own
    assert "Test accuracy" in own
    assert "validation, before it was trained on them" in own
    assert "after the search it was trained on its validation rows too" in own


def test_rows_that_it_was_trained_on_are_said_where_it_is_evaluated(run_refitted: Path, rows_file: Path) -> None:
    data = Run(run_refitted).recipe.provenance["data"]["rows"]
    of_best, of_refit = (evaluate(run_refitted / name, rows_file) for name in ("best", "refit"))
    assert (of_best.trained_on, of_best.chosen_on) == (data["train"], data["validation"])
    assert (of_refit.trained_on, of_refit.chosen_on) == (data["train"] + data["validation"], 0)
    assert of_best.tested_on == of_refit.tested_on == data["test"]


def test_one_of_an_earlier_winner_is_named_where_it_is_used(
    commands: Commands, refitted: Path, rows_file: Path, tmp_path: Path
) -> None:
    own = read_record(refitted / "refit")
    assert evaluate(refitted / "refit", rows_file).note is None
    other = next(folder for folder in sorted((refitted / "trials").iterdir()) if int(folder.name) != own.number)
    shutil.rmtree(refitted / "best")
    shutil.copytree(other, refitted / "best")
    so = f"is of trial {own.number}, where the winner of its run is trial {int(other.name)} by now"
    said = f"{refitted / 'refit'} {so}: loraloom refit {refitted} makes it anew"
    assert evaluate(refitted / "refit", rows_file).note == said
    assert evaluate(other, rows_file).note is None
    assert said in commands.run("predict", refitted / "refit", "--text", "the cat").err
    assert said in submit(refitted / "refit", rows_file, tmp_path / "out.csv", text_column=("text",)).notes
    pytest.importorskip("fastapi")
    home = {"HOME": str(refitted.parent)}
    with commands.start("serve", f"a=~/{refitted.name}/refit", "--port", "0", environment=home) as serving:
        serving.line()
        serving.send(signal.SIGTERM)
        assert said in serving.wait().err


def test_the_shares_of_a_submission_are_beside_those_of_all_rows_that_it_was_trained_on(run_refitted: Path) -> None:
    of_run = class_rows(Run(run_refitted).recipe)
    assert training_rows(run_refitted / "best", read_record(run_refitted / "best")) == of_run["train"]
    of_refit = training_rows(run_refitted / "refit", read_record(run_refitted / "refit"))
    assert of_refit == {name: of_run["train"][name] + of_run["validation"][name] for name in of_run["train"]}


def test_a_winner_of_a_part_of_the_rows_is_trained_on_all_of_them(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    record = loraloom.search(tiny_recipe, run, report=False)
    data = Run(run).recipe.provenance["data"]["rows"]
    for folder in (Run(run).trial_folder(record.number), run / "best"):  # as the clock leaves it
        own = read_record(folder)
        part = own.configuration.with_fields(data={"max_train_samples": 30})
        write_record(folder, own.model_copy(update={"configuration": part, "train_rows": 30}))
        write_manifest(folder)
    assert loraloom.refit(run).train_rows == data["train"] + data["validation"]


def test_rows_that_the_recipe_leaves_out_are_not_trained_on(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    loraloom.search(tiny_recipe, run, overrides=["data.max_train_samples=30"], report=False)
    refitted = loraloom.refit(run)
    assert refitted.train_rows == 30 + Run(run).recipe.provenance["data"]["rows"]["validation"]
    shares = training_rows(run / "refit", refitted)
    assert shares is not None
    assert sum(shares.values()) == pytest.approx(refitted.train_rows, abs=2)


def test_validation_rows_that_test_has_too_or_nearly_are_not_trained_on(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    rows = make_rows(130, seed=1)
    train, own, test = rows[:80], rows[80:100], rows[100:]
    long = " ".join(f"word{number}" for number in range(60))
    test[-1] = (long, test[-1][1])
    near = (f"{long} more", test[-1][1])
    for split, of_split in (("train", train), ("validation", [*own, *test[:8], near]), ("test", test)):
        tiny_recipe["data"][f"{split}_file"] = str(write_csv(tmp_path / f"{split}.csv", of_split))
    loraloom.search(tiny_recipe, tmp_path / "run", report=False)
    ear = Ear()
    assert refitting.refit(tmp_path / "run", watcher=ear).train_rows == 100
    assert "leaving out 9 validation rows without a text, or in test too, or nearly" in ear.notes
    assert "adding 20 validation rows to 80 training rows" in ear.notes
    scored = evaluate(tmp_path / "run" / "refit", tmp_path / "test.csv")
    assert (scored.trained_on, scored.chosen_on, scored.tested_on) == (0, 8, 30)
    shares = training_rows(tmp_path / "run" / "refit", read_record(tmp_path / "run" / "refit"))
    assert shares is not None
    assert sum(shares.values()) == 100


def test_where_all_validation_rows_are_test_rows_there_is_no_refit(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    rows = make_rows(110, seed=1)
    tiny_recipe["data"]["train_file"] = str(write_csv(tmp_path / "train.csv", rows[:80]))
    for split in ("validation", "test"):
        tiny_recipe["data"][f"{split}_file"] = str(write_csv(tmp_path / f"{split}.csv", rows[80:]))
    loraloom.search(tiny_recipe, tmp_path / "run", report=False)
    with pytest.raises(
        RunError, match="run: validation has no row that test has not, or nearly: there is nothing more"
    ):
        loraloom.refit(tmp_path / "run")


@pytest.mark.parametrize("engine", ["loom", "trainer"])
def test_one_that_was_stopped_is_gone_on_with_to_the_same_bytes(
    tiny_recipe: dict[str, Any], tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loraloom.search(tiny_recipe, tmp_path / "run", overrides=[f"engine={engine}"], report=False)
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    loraloom.refit(tmp_path / "run")
    stop, train = Stop(), refitting._train

    def stopped(*given: Any) -> Outcome:
        asks = iter([False] * 5)

        def asked() -> bool:
            if next(asks, True):
                stop.ask(StoppedError(tmp_path / "other", "stopped by SIGTERM"))
            return Stop.asked(stop)

        monkeypatch.setattr(stop, "asked", asked)
        return train(*given)

    with monkeypatch.context() as patched:
        patched.setattr(refitting, "_train", stopped)
        with pytest.raises(StoppedError, match="stopped by SIGTERM"):
            refitting.refit(tmp_path / "other", stop=stop)
    assert (tmp_path / "other" / "refitting" / "0000" / "checkpoint").is_dir()
    assert not (tmp_path / "other" / "refit").exists()
    loraloom.refit(tmp_path / "other")
    one, other = ((tmp_path / name / "refit" / WEIGHTS).read_bytes() for name in ("run", "other"))
    assert one == other


def _of_less(outcome: Outcome) -> Outcome:
    assert outcome.result is not None
    worse = outcome.result.validation.model_copy(update={"accuracy": 0.0})
    return replace(outcome, result=outcome.result.model_copy(update={"validation": worse}))


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (
            _of_less,
            "came to an accuracy of 0.000 on the validation rows, which it was trained on, where trial",
        ),
        (lambda outcome: replace(outcome, state="failed", result=None, reason="the loss became nan"), "became nan"),
    ],
)
def test_a_training_that_came_to_nothing_or_to_less_is_not_kept(
    refitted: Path, spoilt: Callable[[Outcome], Outcome], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, train = read_record(refitted / "refit"), refitting._train
    monkeypatch.setattr(refitting, "_train", lambda *given: spoilt(train(*given)))
    with pytest.raises(LoraloomError, match=said):
        loraloom.refit(refitted)
    assert read_record(refitted / "refit") == kept
    assert (refitted / "refitting").exists() == (said == "became nan")


def test_a_training_that_was_lost_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = SimpleNamespace(lost="its process died", outcomes=())
    executor = SimpleNamespace(start=lambda _: None, wait=lambda *_: lost, close=lambda: None)
    monkeypatch.setattr(refitting, "InProcess", lambda *_: executor)
    monkeypatch.setattr(refitting, "choose_engine", lambda _: SimpleNamespace(engine=None))
    given: Any = SimpleNamespace(recipe=None, configuration=Configuration())
    with pytest.raises(LoraloomError, match="the training failed: its process died; best/ is as it was"):
        refitting._train(given, given, Stop(), lambda _: None)


def test_one_that_was_stopped_once_it_was_trained_is_not_trained_again(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, train = Stop(), refitting._train

    def stopped_in_its_last_step(*given: Any) -> Outcome:
        outcome = train(*given)
        with stop.politely():
            stop.ask(StoppedError(searched, "stopped by SIGTERM"))
        return outcome

    with monkeypatch.context() as patched:
        patched.setattr(refitting, "_train", stopped_in_its_last_step)
        with pytest.raises(StoppedError, match="stopped by SIGTERM"):
            refitting.refit(searched, stop=stop)
    (folder,) = (searched / "refitting").iterdir()
    trained = (folder / WEIGHTS).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(refitting, "_train", lambda *given: pytest.fail("trained again"))
        loraloom.refit(searched)
    assert (searched / "refit" / WEIGHTS).read_bytes() == trained
    assert not (searched / "refitting").exists()


@pytest.mark.parametrize("spoilt", ["another winner", "no refit", "other passes", "damage"])
def test_what_lies_there_and_is_not_the_winner_trained_again_is_not_taken_for_it(
    searched: Path, run_refitted: Path, spoilt: str
) -> None:
    winner = Run(searched).best()
    assert winner is not None
    other = winner.number if spoilt == "no refit" else 1 - winner.number
    of_refit = spoilt in ("other passes", "damage")
    lying = run_refitted / "refit" if of_refit else searched / "trials" / f"{other:04d}"
    work = shutil.copytree(lying, searched / "refitting" / f"{winner.number:04d}")
    if spoilt == "damage":
        (work / WEIGHTS).write_bytes(b"")
    elif spoilt == "other passes":
        record = read_record(work)
        once = record.configuration.with_fields(train={"num_train_epochs": 1})
        write_text(work / "trial.json", record.model_copy(update={"configuration": once}).model_dump_json())
        write_manifest(work)
    refitted = loraloom.refit(searched)
    assert (refitted.train_rows, refitted.configuration) == (120, winner.configuration)


def test_a_link_in_the_place_of_its_folder_is_not_followed(searched: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "kept").mkdir(parents=True)
    (searched / "refitting").symlink_to(elsewhere)
    assert loraloom.refit(searched).is_refitted
    assert [path.name for path in elsewhere.iterdir()] == ["kept"]


@pytest.fixture(scope="module")
def run_of_soup(tiny_model: Path, rows_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose winner is the mean of two seeds."""
    run = tmp_path_factory.mktemp("souped") / "run"
    loraloom.search(make_recipe(tiny_model, rows_file), run, overrides=["search.seeds=2"], report=False)
    assert Run(run).winner().is_soup
    return run


def test_a_mean_of_seeds_has_each_of_them_trained_again_and_is_their_mean(run_of_soup: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run_of_soup, tmp_path / "run")
    stop, train, trained = Stop(), refitting._train, list[Job]()

    def stopped_after_one(place: Any, job: Job, *given: Any) -> Outcome:
        outcome = train(place, job, *given)
        trained.append(job)
        if len(trained) == 1:
            with stop.politely():
                stop.ask(StoppedError(run, "stopped by SIGTERM"))
        return outcome

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(refitting, "_train", stopped_after_one)
        with pytest.raises(StoppedError):
            refitting.refit(run, stop=stop)
        refitted = loraloom.refit(run)
    winner = Run(run).winner()
    assert sorted(job.number for job in trained) == [0, 1]
    assert len({job.configuration.train.seed for job in trained}) == 2
    assert {len(job.rows.train) for job in trained} == {refitted.train_rows} == {120}
    assert refitted.is_refitted
    assert refitted.soup_of == winner.soup_of == "0 and 1"
    assert refitted.validation == winner.validation
    assert read_record(run / "refit") == refitted == loraloom.load(run / "refit").record
    assert not (run / "refitting").exists()
    assert refitted_lines(refitted, Run(run))[0] == "refitted    the mean of trials 0 and 1, on 120 rows"
    card = (run / "refit" / "README.md").read_text(encoding="utf-8")
    assert "the mean of those of trials 0 and 1, seeds of one configuration" in card
    assert "after the search it was trained on its validation rows too" in card


def test_a_mean_that_knows_less_than_the_winner_is_not_kept(
    run_of_soup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(run_of_soup, tmp_path / "run")
    score = metrics.score
    monkeypatch.setattr(metrics, "score", lambda *of: replace(score(*of), accuracy=0.0))
    monkeypatch.setattr(refitting, "_train_again", lambda place, trial, folder, *_: _trained(run, trial, folder))
    with pytest.raises(LoraloomError, match=r"accuracy of 0\.000 .* where the mean of trials 0 and 1 has"):
        loraloom.refit(run)
    assert not (run / "refit").exists()
    assert not (run / "refitting").exists()


def _trained(run: Path, trial: TrialRecord, folder: Path) -> None:
    shutil.copytree(Run(run).trial_folder(trial.number), folder)


def test_a_mean_of_which_a_seed_is_gone_is_not_trained_again(run_of_soup: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run_of_soup, tmp_path / "run")
    shutil.rmtree(run / "trials" / f"{1 - Run(run).winner().number:04d}")
    with pytest.raises(RunError, match=r"is the mean of trials 0 and 1, of which the run has \d; go on by: loraloom"):
        loraloom.refit(run)


def test_a_run_without_a_winner_is_refused(searched: Path) -> None:
    shutil.rmtree(searched / "best")
    with pytest.raises(RunError, match="has no winner yet; go on by: loraloom resume"):
        loraloom.refit(searched)


def test_other_rows_than_the_run_had_are_refused(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    file = write_csv(tmp_path / "rows.csv", make_rows(150, seed=1))
    tiny_recipe["data"]["train_file"] = str(file)
    loraloom.search(tiny_recipe, tmp_path / "run", report=False)
    write_csv(file, make_rows(150, seed=2))
    with pytest.raises(RunError, match="has changed since the run began"):
        loraloom.refit(tmp_path / "run")


def test_rows_from_python_are_given_again(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    del tiny_recipe["data"]["train_file"]
    rows = make_rows(90, seed=7)
    train = [text for text, _ in rows], [label for _, label in rows]
    loraloom.search(tiny_recipe, tmp_path / "run", train=train, report=False)
    with pytest.raises(RunError, match=r"go on by: loraloom\.refit\('.*run', train=…\)"):
        loraloom.refit(tmp_path / "run")
    assert loraloom.refit(tmp_path / "run", train=train).train_rows == 72


def test_one_that_the_clock_cut_short_has_as_many_passes_as_it_had(run_of_two: Path) -> None:
    winner = read_record(run_of_two / "best")
    assert refitting._configuration(winner).train.num_train_epochs == 2
    cut = winner.model_copy(update={"epochs": 0.5})
    assert refitting._configuration(cut).train.num_train_epochs == 0.5


def test_the_command_prints_both_accuracies_and_how_the_adapter_is_used(commands: Commands, searched: Path) -> None:
    ended = commands.run("refit", searched)
    assert ended.code == 0
    assert re.search(r"^refitted    trial \d, on 120 rows$", ended.out, re.MULTILINE)
    assert re.search(r"^accuracy    0\.\d+ \(95 % interval .*\) on 30 test rows$", ended.out, re.MULTILINE)
    assert re.search(r"^winner      0\.\d+ .* on the same, trained on 90 rows$", ended.out, re.MULTILINE)
    assert "\n            whoever keeps the better of the two by these rows has chosen by the test, " in ended.out
    assert f"loraloom predict {searched / 'refit'} --text" in ended.out
    told = json.loads(commands.run("refit", searched, "--json").out)
    assert told["refit"]["train_rows"] == 120


def test_one_that_is_stopped_by_a_signal_is_saved_and_says_how_it_goes_on(commands: Commands, searched: Path) -> None:
    with signalled_in_a_step(commands, "refit", searched, number=signal.SIGTERM) as child:
        ended = child.wait()
    assert ended.code == 75
    assert ended.sentence.endswith(f"Go on with: loraloom refit {searched}")
    saved = [int(path.parent.name) for path in (searched / "refitting").glob(f"*/{CHECKPOINT}/*/{MANIFEST}")]
    assert saved == [SIGNALLED_STEP]
    assert commands.run("refit", searched).code == 0


def test_passes_are_said_as_they_are_done_where_they_take_long(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = Ear(), Ear()
    refitting.refit(searched, watcher=short)
    monkeypatch.setattr(refitting, "SAID_EVERY", 0.0)
    refitting.refit(searched, watcher=long)
    assert any(re.fullmatch(r"training trial \d again on 120 rows, in about .* s", said) for said in short.notes)
    assert any(sentence.startswith("2 of 2 passes done, training loss") for sentence in long.notes)
    assert not any("done, training loss" in sentence for sentence in short.notes)


def test_what_a_training_takes_is_foreseen_by_its_rows() -> None:
    trial = make_record(3, train_rows=100)  # whose training took 10 s
    assert refitting._foreseen(trial, 1_250) == "training trial 3 again on 1,250 rows, in about 2 min"
    for unknown in ({"timings": None}, {"train_rows": None}):
        said = refitting._foreseen(trial.model_copy(update=unknown), 1_250)
        assert said == "training trial 3 again on 1,250 rows"


@pytest.mark.parametrize(
    ("epoch", "passes", "said"), [(12 / 23, 1.0, "0.52 of 1 pass"), (1.056, 1.0528, "1.05 of 1.05 passes")]
)
def test_a_part_of_a_pass_is_said_with_two_decimals(epoch: float, passes: float, said: str) -> None:
    assert refitting._done(epoch, passes) == f"{said} done"
