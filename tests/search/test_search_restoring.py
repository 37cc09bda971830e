"""The ledger is what the trial folders say: where it is not, it is written anew from them."""

from __future__ import annotations

import gc
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from loraloom.errors import RunError
from loraloom.recipe import read_recipe
from loraloom.search import restoring
from loraloom.search.pace import Pace
from loraloom.search.points import distribution, ledger_params
from loraloom.search.proposals import Proposals
from loraloom.search.restoring import open_ledger
from loraloom.study import ledger
from loraloom.study.durable import write_manifest
from loraloom.study.ledger import REASON, Ledger
from loraloom.study.record import METRICS, RECORD, Evaluation
from loraloom.study.run import LEDGER, Run
from tests.study.study_records import record

RECIPE = read_recipe({"data": {"dataset": "demo"}, "lora": {"r": [2, 4, 8]}})
VALUE = 0.75


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of three trials: finished, rejected, under way."""
    made = Run.create(tmp_path / "run", RECIPE)
    ledger = open_ledger(made, _silent)
    axes = {name: distribution(axis) for name, axis in RECIPE.axes.items()}
    for r in (2, 4, 8):
        ledger.ask(axes, ledger_params(RECIPE.axes, {"lora.r": r}))
    finished = record(0).model_copy(update={"point": {"lora.r": 2}, "seed": RECIPE.train.seed})
    folder = made.trial_folder_to_begin(0)
    (folder / RECORD).write_text(finished.model_dump_json(), encoding="utf-8")
    write_manifest(folder)
    ledger.tell(0, "complete", finished.validation.accuracy)
    ledger.reject(1, "over the cap")
    return made


def _silent(_: str) -> None:
    return


def _states(ledger: Ledger) -> list[str]:
    return [entry.state for entry in ledger.entries()]


def test_a_ledger_that_agrees_is_left_alone(run: Run) -> None:
    before = (run.path / "study.db").read_bytes()
    said: list[str] = []
    open_ledger(run, said.append)
    assert said == []
    assert (run.path / "study.db").read_bytes() == before


def test_another_value_in_the_ledger_is_found_and_put_right(run: Run) -> None:
    whole = open_ledger(run, _silent).entries()
    value = open_ledger(run, _silent).trials()[0].value
    with closing(sqlite3.connect(run.path / "study.db")) as connection, connection:
        connection.execute("UPDATE trial_values SET value = value + 0.001")
    said: list[str] = []
    ledger = open_ledger(run, said.append)
    assert "the value of trial 0" in said[0]
    assert ledger.entries() == whole
    assert ledger.trials()[0].value == value
    assert (run.path / "study.db.damaged").exists()


def test_a_point_that_the_ledger_has_lost_is_put_right(run: Run) -> None:
    with closing(sqlite3.connect(run.path / LEDGER)) as connection, connection:
        connection.execute("DELETE FROM trial_params WHERE trial_id = 1")
    said: list[str] = []
    assert open_ledger(run, said.append).entry(0).params == {"lora.r": 2}
    assert "the values of trial 0 are not those in its folder" in said[0]


@pytest.fixture
def climbed(run: Run) -> Run:
    """A run of which a trial of the third seed is finished on a part of the rows."""
    ledger, axes = open_ledger(run, _silent), {name: distribution(axis) for name, axis in RECIPE.axes.items()}
    number = ledger.ask(axes, ledger_params(RECIPE.axes, {"lora.r": 8}), seed_index=2, rows=128).number
    configuration = RECIPE.configuration({"lora.r": 8}).with_fields(data={"max_train_samples": 128})
    made = record(number, point={"lora.r": 8}, seed=RECIPE.train.seed + 2)
    folder = run.trial_folder_to_begin(number)
    content = made.model_copy(update={"configuration": configuration}).model_dump_json()
    (folder / RECORD).write_text(content, encoding="utf-8")
    write_manifest(folder)
    ledger.tell(number, "complete", 0.9)
    return run


def test_a_trials_seed_and_rows_are_written_anew_too(climbed: Run) -> None:
    last = open_ledger(climbed, _silent).entries()[-1]
    assert (last.seed_index, last.rows) == (2, 128)
    (climbed.path / LEDGER).unlink()
    assert open_ledger(climbed, _silent).entries()[-1] == last


@pytest.mark.parametrize(("key", "name"), [("seed_index", "seed"), ("rows", "rows")])
def test_another_seed_or_other_rows_in_the_ledger_are_found_and_put_right(climbed: Run, key: str, name: str) -> None:
    whole = open_ledger(climbed, _silent).entries()
    with closing(sqlite3.connect(climbed.path / LEDGER)) as connection, connection:
        connection.execute("UPDATE trial_user_attributes SET value_json = '1' WHERE key = ?", (key,))
    said: list[str] = []
    assert open_ledger(climbed, said.append).entries() == whole
    assert f"the {name} of trial 3 are not those in its folder" in said[0]


def test_how_far_the_checking_of_a_run_and_the_writing_of_its_ledger_are_is_said(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloom.data.telling.SECONDS", 0)
    (run.path / "study.db").unlink()
    said: list[str] = []
    open_ledger(run, said.append)
    assert said[0] == "checking the trial folders: 0 of 1 trials so far"
    assert "reading the trial folders: 0 of 1 trials so far" in said
    assert said[-1] == "writing the ledger: 0 of 1 trials so far"


def test_a_kill_while_a_ledger_is_written_anew_leaves_the_old_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(run.path / "study.db")) as connection, connection:
        connection.execute("UPDATE trial_values SET value = value + 0.001")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "write_trials", killed)
        with pytest.raises(KeyboardInterrupt):
            open_ledger(run, _silent)
    assert _states(open_ledger(run, _silent)) == ["complete", "rejected", "running"]


@pytest.mark.parametrize("content", [b"", b"no database, but long enough to be taken for one" * 40])
def test_a_ledger_that_cant_be_read_is_written_from_the_folders(run: Run, content: bytes) -> None:
    (run.path / "study.db").write_bytes(content)
    said: list[str] = []
    assert _states(open_ledger(run, said.append)) == ["complete"]
    assert len(said) == 1


def test_a_run_without_a_finished_trial_has_an_empty_ledger_where_its_own_cant_be_read(run: Run) -> None:
    shutil.rmtree(run.trial_folder(0))
    (run.path / LEDGER).write_bytes(b"")
    assert open_ledger(run, _silent).entries() == ()


def test_no_journal_of_the_old_ledger_lies_beside_the_new_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = run.path / f"{LEDGER}-journal"
    (run.path / LEDGER).write_bytes(b"no database" * 400)
    journal.write_bytes(b"its pages before a transaction")
    written: list[bool] = []
    monkeypatch.setattr(ledger, "write_bytes", lambda *_: written.append(journal.exists()))
    with pytest.raises(RunError):  # the old one is still there
        open_ledger(run, _silent)
    assert written == [False]


def test_a_ledger_that_is_gone_is_written_from_the_folders(run: Run) -> None:
    (run.path / "study.db").unlink()
    assert _states(open_ledger(run, _silent)) == ["complete"]


def test_a_failed_trial_is_written_with_its_reason_and_what_lay_between_as_lost(run: Run) -> None:
    why = "the loss became nan"
    failed = record(2, None, point={"lora.r": 8}, state="failed", reason=why)
    folder = run.trial_folder_to_begin(2)
    (folder / RECORD).write_text(failed.model_dump_json(), encoding="utf-8")
    write_manifest(folder)
    (run.path / LEDGER).unlink()
    ledger = open_ledger(run, _silent)
    assert _states(ledger) == ["complete", "rejected", "failed"]
    assert ledger.trials()[2].user_attrs[REASON] == why
    said: list[str] = []
    open_ledger(run, said.append)
    assert said == []


def test_an_ended_trial_without_a_finished_folder_is_under_way_again(run: Run) -> None:
    (run.trial_folder(0) / RECORD).write_bytes(b"{}")
    said: list[str] = []
    assert _states(open_ledger(run, said.append)) == ["running", "rejected", "running"]
    assert "trial 0 is trained again" in said[0]


def test_a_failed_trial_that_is_trained_again_has_no_reason_any_more(run: Run) -> None:
    ledger = open_ledger(run, _silent)
    ledger.tell(2, "failed", None, "the loss became nan")
    again = open_ledger(run, _silent)
    assert _states(again) == ["complete", "rejected", "running"]
    assert REASON not in again.trials()[2].user_attrs


def test_a_folder_of_another_trial_is_refused_before_the_ledger_is_touched(run: Run) -> None:
    before = (run.path / LEDGER).read_bytes()
    shutil.copytree(run.trial_folder(0), run.trial_folder(7))
    with pytest.raises(RunError, match=r"0007/trial\.json: is of trial 0; take another copy"):
        open_ledger(run, _silent)
    assert (run.path / LEDGER).read_bytes() == before


def _train(run: Run, ledger: Ledger, number: int, gain: float = -0.05) -> None:
    """Trains a trial that is better than the one before it by as much: worse, where that is negative."""
    folder, values, state = run.trial_folder_to_begin(number), {}, "complete"
    (folder / METRICS).unlink(missing_ok=True)
    for step in range(1, 5):
        values[step] = round(0.5 + 0.01 * step + gain * number, 4)
        with (folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(_evaluation(step, values[step]).model_dump_json() + "\n")
        if not ledger.report(number, values):
            state = "pruned"
            break
    reason = None if state == "complete" else "pruned"
    point = {"lora.r": ledger.entry(number).params["lora.r"]}
    made = record(number, values[max(values)], point=point, state=state, reason=reason)  # type: ignore[arg-type]
    (folder / RECORD).write_text(made.model_dump_json(), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    write_manifest(folder)
    ledger.tell(number, state, values[max(values)], reason, values)  # type: ignore[arg-type]


def _evaluation(step: int, accuracy: float) -> Evaluation:
    return Evaluation(
        step=step,
        epoch=step,
        seconds=1,
        learning_rate=1e-3,
        train_loss=1,
        train_accuracy=0.5,
        validation_loss=1,
        validation_accuracy=accuracy,
        validation_macro_f1=accuracy,
    )


def _all_of(ledger: Ledger) -> list[tuple[object, ...]]:
    return [
        (trial.state, trial.value, trial.params, trial.user_attrs, trial.system_attrs, trial.intermediate_values)
        for trial in ledger.trials()
    ]


@pytest.fixture(scope="module", params=["halving", "hyperband"])
def pruned_once(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Run:
    """A run of six trials under a pruner that ended some of them; not to be changed."""
    made = _searched(tmp_path_factory.mktemp("pruned") / "run", request.param)
    assert {"complete", "pruned"} <= set(_states(open_ledger(made, _silent)))
    return made


def _searched(folder: Path, pruner: str, gain: float = -0.05) -> Run:
    """A run of six trials; `gain` is as for `_train`."""
    recipe = read_recipe(
        {
            "data": {"dataset": "demo"},
            "lora": {"r": [1, 2, 4, 8, 16, 32]},
            "train": {"num_train_epochs": 4},
            "search": {"pruner": pruner, "resource": "epochs"},
        }
    )
    made = Run.create(folder, recipe)
    ledger = open_ledger(made, _silent)
    proposals = Proposals(recipe, ledger, lambda _: None, Pace(), rows=(None, None))
    while proposal := proposals.next():
        _train(made, ledger, proposal.number, gain)
    return made


@pytest.fixture
def pruned(pruned_once: Run, tmp_path: Path) -> Run:
    """A copy of it."""
    return Run(shutil.copytree(pruned_once.path, tmp_path / "run"))


@pytest.mark.parametrize("damage", [b"", None], ids=["unreadable", "a value"])
def test_a_ledger_of_a_pruned_search_is_written_anew_with_its_pruners_notes(pruned: Run, damage: bytes | None) -> None:
    whole = _all_of(open_ledger(pruned, _silent))
    if damage is not None:
        (pruned.path / "study.db").write_bytes(damage)
    else:
        with closing(sqlite3.connect(pruned.path / "study.db")) as connection, connection:
            connection.execute("UPDATE trial_values SET value = value + 0.001")
    assert _all_of(open_ledger(pruned, _silent)) == whole


def test_another_note_of_a_pruner_is_found_and_put_right(pruned: Run) -> None:
    whole = _all_of(open_ledger(pruned, _silent))
    with closing(sqlite3.connect(pruned.path / "study.db")) as connection, connection:
        connection.execute("UPDATE trial_system_attributes SET value_json = '0.99'")
    said: list[str] = []
    assert _all_of(open_ledger(pruned, said.append)) == whole
    assert "the pruner's notes of trial 0" in said[0]


@pytest.mark.parametrize("number", range(6))
def test_a_damaged_trial_of_a_pruned_search_ends_as_it_did(pruned: Run, number: int) -> None:
    whole = _all_of(open_ledger(pruned, _silent))
    (pruned.trial_folder(number) / "adapter_model.safetensors").write_bytes(b"weighty")
    _train(pruned, ledger := open_ledger(pruned, _silent), number)
    assert _all_of(ledger) == whole
    assert _all_of(open_ledger(pruned, _silent)) == whole


def test_a_damaged_trial_that_went_on_does_so_again_beside_better_ones_that_came_later(tmp_path: Path) -> None:
    run = _searched(tmp_path / "run", "halving", gain=0.05)
    assert set(_states(open_ledger(run, _silent))) == {"complete"}
    (run.trial_folder(0) / "adapter_model.safetensors").write_bytes(b"weighty")
    _train(run, ledger := open_ledger(run, _silent), 0)
    assert _states(ledger)[0] == "complete"


def test_a_ledger_that_can_not_be_read_now_is_left_as_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run.path / LEDGER).read_bytes()
    locked = sqlite3.OperationalError("database is locked")
    locked.sqlite_errorcode = sqlite3.SQLITE_BUSY

    def busy(_: Ledger) -> None:
        raise locked

    monkeypatch.setattr(Ledger, "_check_pages", busy)
    with pytest.raises(RunError, match="database is locked"):
        open_ledger(run, _silent)
    assert (run.path / LEDGER).read_bytes() == before


def test_a_ledger_of_another_optuna_is_left_as_it_is(run: Run) -> None:
    with closing(sqlite3.connect(run.path / LEDGER)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    before = (run.path / LEDGER).read_bytes()
    with pytest.raises(RunError, match=r"study\.db: the ledger can't be used: .*table schema"):
        open_ledger(run, _silent)
    assert (run.path / LEDGER).read_bytes() == before


def test_a_ledger_that_can_not_be_used_has_no_connection_left_open(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(run.path / LEDGER)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    kept, connect = list[sqlite3.Connection](), ledger._connect

    def keeping(path: Path) -> sqlite3.Connection:
        kept.append(connect(path))
        return kept[-1]

    monkeypatch.setattr(ledger, "_connect", keeping)
    with pytest.raises(RunError, match="table schema"):
        open_ledger(run, _silent)
    gc.collect()
    for one in kept:
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            one.execute("SELECT 1")
    assert kept


def test_a_ledger_that_a_damaged_head_makes_read_only_is_written_from_the_folders(run: Run) -> None:
    content = bytearray((run.path / LEDGER).read_bytes())
    content[18] ^= 4  # the version of the format, by which SQLite tells whether it may write
    (run.path / LEDGER).write_bytes(content)
    said: list[str] = []
    ledger = open_ledger(run, said.append)
    assert _states(ledger) == ["complete"]
    assert "readonly" in said[0]
    ledger.ask({}, {})
