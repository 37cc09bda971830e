"""The run folder: whole or absent, held by one process."""

from __future__ import annotations

import errno
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

import loraloom
from loraloom.errors import RecipeError, RunError
from loraloom.recipe import Recipe, read_recipe
from loraloom.study import durable
from loraloom.study.durable import verify_manifest, write_manifest
from loraloom.study.record import Result, TrialRecord, read_record
from loraloom.study.run import Run, folder_to_begin, in_use, is_run, refuse_taken, trial_folders
from tests.commands import Commands
from tests.study.study_records import record, score

RECIPE = read_recipe({"data": {"dataset": "demo"}, "lora": {"r": [2, 4]}})
_HOLD = """
import signal, sys
from pathlib import Path
from loraloom.study.run import Run
with Run(Path(sys.argv[1])).locked():
    print("held", flush=True)
    signal.pause()
"""


def _finished(run: Run, trial: TrialRecord) -> Path:
    folder = run.trial_folder_to_begin(trial.number)
    (folder / "trial.json").write_text(trial.model_dump_json(), encoding="utf-8")
    write_manifest(folder)
    return folder


def test_a_new_run_holds_its_recipe(tmp_path: Path) -> None:
    assert Run.create(tmp_path / "run", RECIPE).recipe == RECIPE


def test_a_run_is_made_with_the_folders_above_it(tmp_path: Path) -> None:
    Run.create(tmp_path / "a" / "b" / "run", RECIPE)
    assert Run(tmp_path / "a" / "b" / "run").recipe == RECIPE


def test_a_run_is_made_in_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert Run.create(tmp_path / "run", RECIPE).records() == ()


@pytest.mark.parametrize("name", ["with space", "ünïcode", "-dash", "a'b\"c", "per%cent", "a?b#c&d"])
def test_a_run_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    with Run.create(tmp_path / name, RECIPE).locked():
        assert Run(tmp_path / name).recipe == RECIPE


def test_a_relative_path_makes_a_run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Run.create(Path("run"), RECIPE)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["recipe.yaml", "trials"]


def test_a_run_is_made_where_the_command_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    run = Run.create(Path(), RECIPE)
    assert (run.recipe, tmp_path.stat().st_ino) == (RECIPE, before)
    run.discard_unbegun()
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_of_a_run_in_the_making_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".run.new").mkdir()
    (tmp_path / ".run.new" / "recipe.yaml").touch()
    (tmp_path / "trials").mkdir()
    assert Run.create(tmp_path, RECIPE).recipe == RECIPE
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.yaml", "trials"}


def test_a_folder_that_holds_trials_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trials" / "0000").mkdir(parents=True)
    with pytest.raises(RunError, match="is not empty; choose another folder"):
        Run.create(tmp_path, RECIPE)


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunError, match="is not empty; choose another folder"):
        Run.create(tmp_path, RECIPE)
    with pytest.raises(RunError, match="is a file; choose another folder"):
        Run.create(tmp_path / "thesis.tex", RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_of_searches_begun_at_the_same_moment_one_has_the_folder(there: bool, tmp_path: Path) -> None:
    together, recipes = Barrier(2), [RECIPE, read_recipe({"data": {"dataset": "demo"}, "lora": {"r": 3}})]

    def begin(run: Path, recipe: Recipe) -> Recipe | str:
        together.wait()
        try:
            return Run.create(run, recipe).recipe
        except RunError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        for number in range(5):
            run = tmp_path / f"{number}"
            if there:
                run.mkdir()
            told = list(pool.map(begin, [run] * 2, recipes))
            (refused,) = (one for one in told if isinstance(one, str))
            assert "holds a run already; choose another folder, or go on by: loraloom resume" in refused
            assert Run(run).recipe in told
            assert {path.name for path in run.iterdir()} == {"recipe.yaml", "trials"}
    assert len(list(tmp_path.iterdir())) == 5


def test_a_run_whose_rows_a_program_gave_goes_on_by_that_program(tmp_path: Path) -> None:
    run = tmp_path / "run"
    Run.create(run, read_recipe({}))
    with pytest.raises(RunError, match=r"holds a run already; .* by: loraloom\.resume\('.*run', train=…\)$"):
        Run.create(run, read_recipe({}))
    with pytest.raises(RunError, match=r"given from Python; .* by: loraloom\.resume\('.*run', train=…\)$"):
        loraloom.resume(run)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(RunError, match="choose another folder"):
        Run.create(tmp_path / "run", RECIPE)


@pytest.mark.parametrize("name", ["link", "link/run"])
def test_a_link_to_nothing_is_refused_as_that(name: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nothing")
    with pytest.raises(RunError, match=r"link: is a link to nothing \(nothing\); make that folder, or remove the"):
        refuse_taken(tmp_path / name)
    (tmp_path / "nothing").mkdir()
    assert Run.create(tmp_path / name, RECIPE).recipe == RECIPE


def test_an_existing_run_is_refused_with_the_way_to_go_on(tmp_path: Path) -> None:
    Run.create(tmp_path / "a run", RECIPE)
    with pytest.raises(RunError, match=r"holds a run already; .* by: loraloom resume '.*a run'"):
        Run.create(tmp_path / "a run", RECIPE)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("loraloom.study.integrity.write_text", full)
    with pytest.raises(RunError, match="can't make the run folder: No space left on device"):
        Run.create(tmp_path / "run", RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run folder \(it has no recipe\.yaml\)"):
        Run(tmp_path)


def test_a_recipe_alone_makes_no_run_of_its_folder(tmp_path: Path) -> None:
    """It may be one to search, beside the folder of its runs."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "recipe.yaml").write_text("data: {dataset: demo}\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"is not a run folder \(it has no trials/\); a run is made by"):
        Run(tmp_path)
    with pytest.raises(RunError, match=r"is not a run folder \(it has no recipe\.yaml\); a run is made by"):
        Run(tmp_path / "runs")
    with pytest.raises(RunError, match="is not empty; choose another folder"):
        Run.create(tmp_path, RECIPE)


def test_a_run_of_which_the_winner_alone_was_kept_is_one(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE).path
    (run / "trials").rename(run / "best")
    assert is_run(run)


@pytest.mark.parametrize("inner", ["best", "trials/0007"])
def test_of_a_folder_within_a_run_the_run_is_named(tmp_path: Path, inner: str) -> None:
    run = Run.create(tmp_path / "run", RECIPE).path
    (run / inner).mkdir(parents=True, exist_ok=True)
    with pytest.raises(RunError, match=rf"{inner}: is not a run folder .*; it lies in one: give {run}$"):
        Run(run / inner)


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        Run(tmp_path / "run")


def test_a_run_with_a_damaged_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    (tmp_path / "recipe.yaml").write_text("lora: {r: 0}", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"lora\.r: 0 is too small"):
        Run(tmp_path)


def test_a_run_held_by_another_process_is_refused_with_its_number(commands: Commands, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    with commands.start(run.path, code=_HOLD) as holder:
        assert holder.line() == "held"
        with pytest.raises(RunError, match=rf"is in use by process {holder.pid} on .+; wait for it"), run.locked():
            pass
    with run.locked():  # the lock ends with its process, even a killed one
        assert (run.path / ".lock").read_text(encoding="utf-8") == f"{os.getpid()} on {platform.node()}\n"


def test_a_lock_is_free_after_its_block(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    with run.locked():
        pass
    with run.locked():
        assert (run.path / ".lock").exists()


def test_a_run_held_by_this_process_is_refused_too(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    with run.locked(), pytest.raises(RunError, match=f"in use by process {os.getpid()}"), run.locked():
        pass


def test_taking_the_lock_mends_what_a_kill_left(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    (run.path / ".best.old").mkdir()
    (run.path / "trials" / ".0001.new").mkdir()
    with run.locked():
        assert (run.path / "best").is_dir()
        assert list((run.path / "trials").iterdir()) == []


def test_only_finished_trials_have_records_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    for number in (10, 2, 10_000):
        _finished(run, record(number))
    (run.trial_folder_to_begin(3) / "trial.json").write_text("{", encoding="utf-8")
    assert [trial.number for trial in run.records()] == [2, 10, 10_000]


def test_what_a_person_puts_beside_the_trials_is_none(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    assert trial_folders(tmp_path) == []
    for name in ("0002", "10000", "9999", "backup", "0002 (copy)", ".0003.new", "²"):
        (run.path / "trials" / name).mkdir()
    (run.path / "trials" / "0004").touch()
    assert [folder.name for folder in trial_folders(run.path)] == ["0002", "9999", "10000"]


def test_each_record_is_read_once_and_again_where_it_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, read = Run.create(tmp_path / "run", RECIPE), list[str]()

    def counted(folder: Path) -> TrialRecord:
        read.append(folder.name)
        return read_record(folder)

    monkeypatch.setattr("loraloom.study.run.read_record", counted)
    for number in range(5):
        _finished(run, record(number))
        assert len(run.records()) == number + 1
    assert read == ["0000", "0001", "0002", "0003", "0004"]
    run.publish_best(run.trial_folder(2), record(2, 0.99), {}, "a card")
    assert run.records()[2] == record(2, 0.99)
    assert read[5:] == ["0002"]


def test_a_trial_that_begins_again_begins_empty(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    _finished(run, record(0))
    assert list(run.trial_folder_to_begin(0).iterdir()) == []


def test_a_link_to_a_folder_in_it_is_removed_and_the_folder_is_not(tmp_path: Path) -> None:
    run, elsewhere = Run.create(tmp_path / "run", RECIPE), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run.trial_folder_to_begin(0) / "link").symlink_to(elsewhere)
    assert list(run.trial_folder_to_begin(0).iterdir()) == []
    assert elsewhere.is_dir()


@pytest.mark.parametrize("inner", ["", "checkpoint"])
def test_a_link_in_the_place_of_a_folder_to_train_in_is_removed_and_what_lies_behind_it_is_not(
    tmp_path: Path, inner: str
) -> None:
    folder, elsewhere = tmp_path / "0000", tmp_path / "elsewhere"
    (elsewhere / "1").mkdir(parents=True)
    place = folder / inner
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(elsewhere)
    assert list(folder_to_begin(folder).iterdir()) == []
    assert not folder.is_symlink()
    assert (elsewhere / "1").is_dir()


def test_a_file_in_the_place_of_a_folder_to_train_in_is_removed(tmp_path: Path) -> None:
    (tmp_path / "0000").write_text("", encoding="utf-8")
    assert folder_to_begin(tmp_path / "0000").is_dir()


def test_there_is_no_best_before_one_is_published(tmp_path: Path) -> None:
    assert Run.create(tmp_path / "run", RECIPE).best() is None


def test_the_best_is_the_trials_folder_with_its_test_result(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    trial = record(1)
    (_finished(run, trial) / "adapter_model.safetensors").write_bytes(b"weights")
    tested = trial.model_copy(update={"result": Result(validation=score(0.9), test=score(0.88))})
    run.publish_best(run.trial_folder(tested.number), tested, {"test_predictions.jsonl": "{}\n"}, "a card")
    assert run.best() == tested
    assert run.records() == (tested,)
    for folder in (run.path / "best", run.trial_folder(1)):
        verify_manifest(folder)
        assert (folder / "adapter_model.safetensors").read_bytes() == b"weights"
    assert (run.path / "best" / "test_predictions.jsonl").read_text(encoding="utf-8") == "{}\n"
    assert not (run.trial_folder(1) / "test_predictions.jsonl").exists()


def test_a_later_best_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    for number in (1, 2):
        _finished(run, record(number))
        run.publish_best(run.trial_folder(number), record(number), {f"extra{number}": ""}, f"card {number}")
    assert run.best() == record(2)
    assert not (run.path / "best" / "extra1").exists()


def test_a_best_that_is_tested_on_more_rows_has_its_result_and_its_predictions_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between two would leave a result that its predictions are not of, and no resume would test it again."""
    run = Run.create(tmp_path / "run", RECIPE)
    _finished(run, record(1))
    run.publish_best(run.trial_folder(1), record(1), {"test_predictions.jsonl": "before"}, "a card")
    made, steps = durable.write_manifest, list[tuple[bool, str]]()

    def noted(folder: Path) -> None:
        made(folder)
        steps.append((read_record(folder) == record(1, 0.99), (folder / "test_predictions.jsonl").read_text()))

    monkeypatch.setattr(durable, "write_manifest", noted)
    run.publish_best(run.path / "best", record(1, 0.99), {"test_predictions.jsonl": "after"}, "a card")
    assert steps == [(True, "after")]
    assert run.best() == record(1, 0.99)


def test_the_card_stands_in_best_alone_and_is_renewed_where_it_differs(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    _finished(run, record(1))
    run.publish_best(run.trial_folder(1), record(1), {}, "a card")
    manifest = run.path / "best" / "manifest.json"
    before = manifest.stat()
    run.renew_card("a card")
    assert manifest.stat().st_ino == before.st_ino
    run.renew_card("another")
    assert (run.path / "best" / "README.md").read_text(encoding="utf-8") == "another"
    assert not (run.trial_folder(1) / "README.md").exists()
    verify_manifest(run.path / "best")
    assert run.best() == record(1)


def test_who_holds_a_run_is_told_without_asking_for_its_lock(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    assert in_use(run.path) is False
    with run.locked():
        assert in_use(run.path) is True
    assert in_use(run.path) is False
