"""optuna-dashboard on a run: what it shows, and that it changes nothing."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

import loraloom
from loraloom.errors import LoraloomError, MissingExtraError, RunError, is_installed
from loraloom.study.run import Run
from loraloom.tracking import dashboard
from loraloom.tracking.dashboard import address, make_dashboard
from tests.commands import Commands
from tests.conftest import make_recipe
from tests.serving import answering

needs_dashboard = pytest.mark.skipif(not is_installed("optuna_dashboard"), reason="optuna-dashboard is not installed")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, rows_file: Path) -> Path:
    run = tmp_path_factory.mktemp("dashboard") / "run"
    loraloom.search(make_recipe(tiny_model, rows_file), run, overrides=["lora.r=1,2"], report=False)
    return run


@contextmanager
def served(run: Path, host: str = "127.0.0.1") -> Iterator[str]:
    """The root of a dashboard's addresses, while it is served on a port that is free."""
    with make_dashboard(run, host, 0) as server, answering(server):
        yield address(server).removesuffix("/dashboard")


def get(
    url: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    sent = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, method=method, data=body, headers=sent)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def study(root: str) -> dict[str, Any]:
    (summary,) = json.loads(get(f"{root}/api/studies")[1])["study_summaries"]
    detail: dict[str, Any] = json.loads(get(f"{root}/api/studies/{summary['study_id']}")[1])
    return detail


def digest(run: Path) -> str:
    return hashlib.sha256((run / "study.db").read_bytes()).hexdigest()


@needs_dashboard
def test_it_shows_the_trials_and_leaves_the_ledger_as_it_is(trained: Path) -> None:
    before = digest(trained)
    with served(trained) as root:
        assert b"<html" in get(f"{root}/dashboard")[1]
        shown = study(root)
    assert [trial["state"] for trial in shown["trials"]] == ["Complete", "Complete"]
    values = [record.result.validation.accuracy for record in Run(trained).records() if record.result]
    assert [trial["values"] for trial in shown["trials"]] == [[value] for value in values]
    assert digest(trained) == before
    assert not list(trained.glob("study.db-*"))


@needs_dashboard
@pytest.mark.parametrize(
    ("method", "place", "body"),
    [
        ("DELETE", "/api/studies/1", {}),
        ("POST", "/api/studies", {"study_name": "another", "directions": ["maximize"]}),
        ("POST", "/api/studies/1/rename", {"study_name": "another"}),
        ("PUT", "/api/studies/1/note", {"version": 1, "body": "a note"}),
        ("POST", "/api/trials/1/tell", {"state": "Fail"}),
    ],
)
def test_what_would_change_the_study_is_refused(trained: Path, method: str, place: str, body: dict[str, Any]) -> None:
    before = digest(trained)
    with served(trained) as root:
        code, answer = get(f"{root}{place}", method, json.dumps(body).encode())
        assert code == 403
        assert "read-only" in json.loads(answer)["reason"]
        assert len(study(root)["trials"]) == 2
    assert digest(trained) == before


@needs_dashboard
@pytest.mark.parametrize(
    ("name", "code"),
    [("evil.example", 421), ("evil.example:8080", 421), ("", 421), ("127.0.0.1", 200), ("LOCALHOST:8000", 200)],
)
def test_a_name_that_was_made_to_lead_here_is_refused(trained: Path, name: str, code: int) -> None:
    with served(trained) as root:
        answered, answer = get(f"{root}/api/studies", headers={"Host": name})
        assert answered == code
        assert (json.loads(answer) == {"reason": "ask for this by 127.0.0.1 or localhost"}) == (code == 421)


@needs_dashboard
def test_an_address_for_others_is_asked_by_any_name(trained: Path) -> None:
    with served(trained, "0.0.0.0") as root:  # noqa: S104
        assert get(f"{root}/api/studies", headers={"Host": "machine.example"})[0] == 200


@needs_dashboard
def test_the_database_itself_refuses_to_be_written_to(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a later dashboard changed something on a GET, say."""
    monkeypatch.setattr(dashboard, "read_only", lambda app: app)
    before = digest(trained)
    with served(trained) as root:
        code, _ = get(f"{root}/api/studies/1", "DELETE", b"{}")
        assert code == 500
        assert len(study(root)["trials"]) == 2
    assert digest(trained) == before


@needs_dashboard
def test_it_follows_a_search_that_goes_on(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    from loraloom import pipeline
    from loraloom.recipe import read_recipe
    from loraloom.search.watcher import Watcher

    class Look(Watcher):
        def __init__(self) -> None:
            self.states: list[list[str]] = []

        def evaluated(self, number: int, evaluation: Any) -> None:
            with served(tmp_path / "run") as root:
                self.states.append([trial["state"] for trial in study(root)["trials"]])

    look = Look()
    recipe = read_recipe(tiny_recipe, ["lora.r=1,2", "train.num_train_epochs=1"])
    pipeline.search(recipe, tmp_path / "run", watcher=look)
    assert look.states[0] == ["Running"]
    assert look.states[-1] == ["Complete", "Running"]
    assert len(Run(tmp_path / "run").records()) == 2


@needs_dashboard
def test_trials_that_have_ended_are_read_once(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    asked = RDBStorage._get_trials

    def counted(*given: Any, **options: Any) -> list[FrozenTrial]:
        trials = asked(*given, **options)
        read.append(len(trials))
        return trials

    monkeypatch.setattr(RDBStorage, "_get_trials", counted)
    monkeypatch.setattr("optuna_dashboard._storage.timedelta", lambda **_: timedelta(0))  # it keeps them for seconds
    with served(trained) as root:
        first, second = study(root), study(root)
    assert first == second
    assert len(first["trials"]) == 2
    assert (sum(read), read[-1]) == (2, 0)


@needs_dashboard
def test_a_ledger_that_a_resume_has_written_anew_is_the_one_that_is_shown(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    with served(run) as root:
        assert [trial["state"] for trial in study(root)["trials"]] == ["Complete", "Complete"]
        other = Path(shutil.copy(run / "study.db", tmp_path))
        with closing(sqlite3.connect(other)) as connection, connection:
            connection.execute("UPDATE trials SET state = 'RUNNING' WHERE number = 1")
        other.replace(run / "study.db")
        assert [trial["state"] for trial in study(root)["trials"]] == ["Complete", "Running"]
        (run / "study.db").unlink()
        assert get(f"{root}/dashboard")[0] == 200


@needs_dashboard
def test_a_write_that_a_kill_broke_off_is_undone_first(trained: Path, tmp_path: Path) -> None:
    """A journal beside the ledger, which who only reads can't play back."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    connection = sqlite3.connect(run / "study.db", isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the end of the transaction
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE other AS SELECT randomblob(100000) AS x")
    connection.execute("DELETE FROM trials")
    shutil.copytree(run, tmp_path / "killed")
    connection.close()
    assert (tmp_path / "killed" / "study.db-journal").stat().st_size > 0
    with served(tmp_path / "killed") as root:
        assert [trial["state"] for trial in study(root)["trials"]] == ["Complete", "Complete"]


@needs_dashboard
def test_what_is_no_ledger_is_said(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "study.db").write_bytes(b"not a database" * 100)
    with pytest.raises(RunError, match=r"study\.db: the ledger can't be read: .*not a database"):
        make_dashboard(tmp_path / "run", "127.0.0.1", 0)
    (tmp_path / "run" / "study.db").unlink()
    with pytest.raises(RunError, match=r"study\.db: there is no study yet"):
        make_dashboard(tmp_path / "run", "127.0.0.1", 0)
    assert not (tmp_path / "run" / "study.db").exists()


@needs_dashboard
def test_what_is_no_ledger_is_said_beside_a_broken_write_too(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "study.db").write_bytes(b"not a database" * 100)
    (tmp_path / "run" / "study.db-journal").write_bytes(b"")
    with pytest.raises(RunError, match=r"study\.db: the ledger can't be read: .*not a database"):
        make_dashboard(tmp_path / "run", "127.0.0.1", 0)


@needs_dashboard
def test_a_port_that_is_taken_is_said(trained: Path) -> None:
    with served(trained) as root:
        port = int(root.rpartition(":")[2])
        with pytest.raises(LoraloomError, match=f"127.0.0.1:{port}: can't be listened on: .*choose another --port"):
            make_dashboard(trained, "127.0.0.1", port)


@needs_dashboard
def test_the_command_says_where_it_is_and_ends_by_ctrl_c(commands: Commands, trained: Path) -> None:
    with commands.start("dashboard", trained, "--port", "0") as serving:
        said = serving.line()
        assert len(study(re.findall(r"http://127.0.0.1:\d+", said)[0])["trials"]) == 2
        serving.send(signal.SIGINT)
        ended = serving.wait(60)
    assert (ended.code, ended.out, ended.err) == (0, f"{said}\n", "")


def test_without_the_extra_it_is_named(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "is_installed", lambda package: False)
    with pytest.raises(MissingExtraError, match=r"loraloom dashboard needs the extra 'dashboard': pip install"):
        make_dashboard(trained, "127.0.0.1", 0)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        make_dashboard(tmp_path, "127.0.0.1", 0)
