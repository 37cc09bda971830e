"""What every tracker must do, read back from the stores that the real libraries made."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from loraloom.tracking.channel import Channel, Limits
from loraloom.tracking.child import CLASSES
from loraloom.tracking.mlflow import MLflow
from loraloom.tracking.tracker import Told
from tests.tracking.telling import (
    KEY,
    NOT_NICE,
    Stored,
    begin,
    begin_trial,
    crown,
    end_trial,
    log,
    read,
    tell,
    trackers,
)

NO_NETWORK = """import socket
connect, look_up = socket.socket.connect, socket.getaddrinfo
def note(host):
    if host not in ("127.0.0.1", "localhost", "::1"):
        open({attempts!r}, "a").write(f"{{host}}\\n")
        raise OSError(f"no network: {{host}}")
def guarded(self, address):
    if self.family != socket.AF_UNIX:
        note(address[0])
    return connect(self, address)
def looked_up(host, *rest, **options):
    note(host)
    return look_up(host, *rest, **options)
socket.socket.connect, socket.getaddrinfo = guarded, looked_up
open({guarded!r}, "w").close()
"""


LONG = dict.fromkeys(range(1, 1_102), 0.5)
"""Points of a trial that are told in one call, as of a run that goes on; MLflow takes 1,000 in a request."""


@dataclass(frozen=True)
class Store:
    """What one life of a tracker's process left, of three trials that were under way side by side."""

    tracker: str
    folder: Path
    trials: dict[str, Stored]


@pytest.fixture(scope="module")
def mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where MLflow's database lies without a run, once MLflow has made one: by dozens of migrations."""
    return tmp_path_factory.mktemp("mlflow_tables") / "mlflow.db"


@pytest.fixture(scope="module", params=trackers())
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, mlflow_tables: Path) -> Store:
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    code = NOT_NICE + NO_NETWORK.format(attempts=str(folder / "attempts"), guarded=str(folder / "guarded"))
    (folder / "sitecustomize.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=":")
        tell(
            folder,
            name,
            begin(folder, name),
            begin_trial(0, r=2, bias="none"),
            begin_trial(1, r=4, bias="all"),
            log(0, (5, 0.25), (10, 0.5)),
            begin_trial(2, r=8, bias="all"),
            log(1, (5, 0.125)),
            log(0, (15, 0.75)),
            log(1, (10, 0.0625)),
            log(2, *LONG.items()),
            end_trial(1, "pruned", "it is behind", accuracy=0.0625),
            end_trial(0, accuracy=0.75),
            end_trial(2, "failed", "its loss is not finite"),
            crown(0, accuracy=0.75, test=0.25, r=2, bias="none"),
        )
    if name == "mlflow":
        shutil.copy(folder / name / "mlflow.db", mlflow_tables)
        with closing(sqlite3.connect(mlflow_tables)) as connection, connection:
            for table in ("latest_metrics", "metrics", "params", "tags", "runs"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608
    return Store(name, folder, read(folder, name))


def test_trials_side_by_side_keep_their_metrics_by_step(store: Store) -> None:
    assert store.trials["trial-0000"].of("validation/accuracy") == {5: [0.25], 10: [0.5], 15: [0.75]}
    assert store.trials["trial-0001"].of("validation/accuracy") == {5: [0.125], 10: [0.0625]}
    assert store.trials["trial-0000"].of("result/trainable_parameters") == {0: [1000]}
    assert store.trials["trial-0001"].of("result/validation_accuracy") == {0: [0.0625]}


def test_no_point_of_a_long_trial_is_lost(store: Store) -> None:
    kept = store.trials["trial-0002"].of("validation/accuracy")
    assert kept == {step: [value] for step, value in LONG.items()}


def test_a_trial_keeps_its_parameters(store: Store) -> None:
    kept = [store.trials[f"trial-000{number}"].parameters for number in range(3)]
    values = [(str(each["lora.r"]).removesuffix(".0"), each["lora.bias"]) for each in kept]
    assert values == [("2", "none"), ("4", "all"), ("8", "all")]


def test_a_trial_keeps_how_it_ended(store: Store) -> None:
    expected = {
        "tensorboard": [("status", "1"), ("status", "1"), ("status", "2")],  # it knows success and failure
        "mlflow": [("status", "FINISHED"), ("status", "KILLED"), ("loraloom.reason", "its loss is not finite")],
        "wandb": [("exit_code", "0"), ("state", "pruned"), ("reason", "its loss is not finite")],
        "trackio": [("state", "complete"), ("state", "pruned"), ("reason", "its loss is not finite")],
    }[store.tracker]
    words = [store.trials[f"trial-000{number}"].words for number in range(3)]
    assert [said.get(key) for said, (key, _) in zip(words, expected, strict=True)] == [value for _, value in expected]


def test_the_winner_alone_gets_a_test_result(store: Store) -> None:
    place = "winner" if store.tracker == "wandb" else "trial-0000"
    assert store.trials[place].of("result/test_accuracy") == {0: [0.25]}
    assert store.trials["trial-0001"].of("result/test_accuracy") == {}


def test_a_local_store_needs_no_network(store: Store) -> None:
    """Python's own attempts are caught; W&B's service, which is not Python, is told to stay offline."""
    assert (store.folder / "guarded").exists()
    attempts = store.folder / "attempts"
    assert not attempts.exists(), attempts.read_text()


def copy_tables(name: str, folder: Path, tables: Path) -> None:
    if name == "mlflow" and tables.exists():
        (folder / name).mkdir()
        shutil.copy(tables, folder / name)


@pytest.mark.parametrize("name", trackers())
def test_what_is_told_again_is_kept_once(name: str, tmp_path: Path, mlflow_tables: Path) -> None:
    """After the run was broken off, and after the tracker died."""
    copy_tables(name, tmp_path, mlflow_tables)
    tell(tmp_path, name, begin(tmp_path, name), begin_trial(0, r=2), log(0, (5, 0.25)), finished=False)
    assert read(tmp_path, name)["trial-0000"].of("validation/accuracy") == {5: [0.25]}

    channel = Channel(name, CLASSES[name], tmp_path, Limits())
    never_begun = end_trial(7)  # at which it raises, having kept or not what was told before
    for call, arguments in [begin(tmp_path, name), begin_trial(0, r=2), log(0, (5, 0.25), (10, 0.5)), never_begun]:
        channel.send(call, **arguments)
    channel.close(finished=True)
    channel.wait(180)
    assert channel.why_ended is not None
    assert "7" in channel.why_ended

    again = [begin(tmp_path, name), begin_trial(0, r=2), log(0, (5, 0.25), (10, 0.5), (15, 0.75))]
    tell(tmp_path, name, *again, end_trial(0, accuracy=0.75), crown(0, accuracy=0.75), crown(0, accuracy=0.75))
    stored = read(tmp_path, name)
    assert stored["trial-0000"].of("validation/accuracy") == {5: [0.25], 10: [0.5], 15: [0.75]}
    assert stored["trial-0000"].of("result/validation_accuracy") == {0: [0.75]}
    assert stored["winner" if name == "wandb" else "trial-0000"].of("result/test_accuracy") == {0: [0.25]}


@pytest.mark.parametrize("name", trackers())
def test_of_a_winner_that_is_tested_again_the_last_test_is_kept_too(
    name: str, tmp_path: Path, mlflow_tables: Path
) -> None:
    """As after a resume that had the time for more rows: what did not change is kept once."""
    copy_tables(name, tmp_path, mlflow_tables)
    tell(tmp_path, name, begin(tmp_path, name), begin_trial(0, r=2), end_trial(0, accuracy=0.3), crown(0, 0.3, 0.1))
    again = crown(0, accuracy=0.4, test=0.7)  # with the validation accuracy of a mean of seeds
    tell(tmp_path, name, begin(tmp_path, name), crown(0, accuracy=0.3, test=0.1), again)
    stored = read(tmp_path, name)
    kept = stored["winner" if name == "wandb" else "trial-0000"].of("result/test_accuracy")
    assert kept == {0: pytest.approx([0.7] if name == "wandb" else [0.1, 0.7])}
    assert stored["trial-0000"].of("result/validation_accuracy") == {0: pytest.approx([0.3])}


OF_THE_USER = {
    "tensorboard": ({"TENSORBOARD_LOGGING_DIR": "{place}"}, f"demo-{KEY}/trial-0000/events.*", b""),
    "mlflow": (
        {"MLFLOW_TRACKING_URI": "sqlite:///{place}/mine.db", "MLFLOW_EXPERIMENT_NAME": "mine"},
        "mine.db",
        b"mine",
    ),
    "wandb": (
        {"WANDB_DIR": "{place}", "WANDB_PROJECT": "mine"},
        f"wandb/offline-run-*-{KEY}-0000/*.wandb",
        b"\x04mine",
    ),
    "trackio": ({"TRACKIO_DIR": "{place}", "TRACKIO_PROJECT": "mine"}, "mine.db", b""),
}
"""Variables that each tracker goes by, the file that a trial is kept in by them, and what else that holds."""


@pytest.mark.parametrize("name", trackers())
def test_the_users_own_variables_say_where_trials_are_kept(
    name: str, tmp_path: Path, mlflow_tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, file, named = OF_THE_USER[name]
    place = tmp_path / "elsewhere"
    place.mkdir()
    if name == "mlflow" and mlflow_tables.exists():
        shutil.copy(mlflow_tables, place / "mine.db")
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value.format(place=place))
    tell(tmp_path, name, begin(tmp_path, name), begin_trial(0, r=2), log(0, (5, 0.25)), end_trial(0))
    (kept,) = place.glob(file)
    content = kept.read_bytes()
    assert b"validation/accuracy" in content
    assert named in content
    assert not (tmp_path / name).exists()


def test_mlflows_store_is_not_made_beside_a_folder_whose_name_ends_its_address(tmp_path: Path) -> None:
    """`sqlite:///runs/is it?/mlflow.db` is the file `runs/is it`."""
    with pytest.raises(ValueError, match="rename that folder, or set MLFLOW_TRACKING_URI"):
        MLflow().begin(Told("run", "key", tmp_path / "is it?" / "mlflow", {}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", trackers("mlflow"))
def test_of_winners_the_last_alone_is_tagged(name: str, tmp_path: Path, mlflow_tables: Path) -> None:
    copy_tables(name, tmp_path, mlflow_tables)
    trials = [call for number in range(2) for call in (begin_trial(number, r=number + 1), end_trial(number))]
    tell(tmp_path, name, begin(tmp_path, name), *trials, crown(0))
    tell(tmp_path, name, begin(tmp_path, name), crown(1))
    stored = read(tmp_path, name)
    assert [trial for trial, each in stored.items() if each.words.get("loraloom.winner") == "true"] == ["trial-0001"]
    assert stored["winner"].words["loraloom.winner"] == "1"


@pytest.mark.parametrize("name", trackers("trackio"))
def test_trackio_is_not_believed_that_it_stored(name: str, tmp_path: Path) -> None:
    channel = Channel(name, "tests.tracking.failing:TrackioThatStoresNothing", tmp_path, Limits())
    for call, arguments in [begin(tmp_path, name), begin_trial(0, r=2), log(0, (5, 0.25)), end_trial(0)]:
        channel.send(call, **arguments)
    channel.close(finished=True)
    channel.wait(180)
    assert channel.why_ended == "OSError: trackio stored nothing for step 0 of demo-0123abcd-trial-0000"
