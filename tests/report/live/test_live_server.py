"""`loraloom watch`: a report that grows with its run, for this machine's browsers alone, with nothing written."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import socket
import sys
import threading
import webbrowser
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from loraloom.cli.showing import _open
from loraloom.errors import LoraloomError, RunError
from loraloom.report.live import address, make_server
from loraloom.report.live.rendering import LiveReport
from loraloom.report.live.server import WatchServer
from loraloom.report.live.shell import SCRIPT, STYLE, WAITING_POLICY, shell, waiting
from loraloom.report.live.state import State, stamp_of, state_of
from loraloom.report.reading import RunRead, read_run
from loraloom.study.commands import Command
from loraloom.study.durable import MANIFEST, write_manifest
from loraloom.study.run import BEST, BLEND, LOCK, SOUP, Run
from tests.commands import Commands, wait_for
from tests.report.live.watched import finish, served
from tests.report.report_runs import SEARCH, whole_run, write_commands


def ask(
    server: WatchServer, place: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """An answer to exactly this request: no client makes the path fit."""
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        sent = {"Host": f"127.0.0.1:{server.server_port}", **(headers or {})}
        connection.putrequest(method, place, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def status(server: WatchServer) -> dict[str, Any]:
    """What the page's script is told, once no render is under way."""
    ask(server, "/status")
    server.report.wait()
    told: dict[str, Any] = json.loads(ask(server, "/status")[2])
    server.report.wait()
    return told


def page_of(server: WatchServer) -> tuple[int, dict[str, str], bytes]:
    """The page around the report, once that is made."""
    ask(server, "/")
    server.report.wait()
    return ask(server, "/")


def bytes_of(run: Path) -> dict[str, str]:
    return {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*"))
        if path.is_file()
    }


def test_it_shows_trials_as_they_end_and_writes_nothing(growing: Path) -> None:
    with served(growing) as server:
        first = status(server)
        assert "1 finished trial." in first["detail"]
        before = bytes_of(growing)
        assert status(server)["version"] == first["version"]
        assert bytes_of(growing) == before
        finish(growing, 1)
        before = bytes_of(growing)
        second = status(server)
        assert second["version"] != first["version"]
        assert "2 finished trials." in second["detail"]
        page = ask(server, "/report/index.html")[2].decode()
        assert "best of 2 configurations so far reaches a validation accuracy" in page
        assert bytes_of(growing) == before


def test_while_the_first_report_is_made_a_page_says_so_and_asks_again(
    growing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()

    def slow(run: Path) -> RunRead:
        assert goes_on.wait(60)
        return read_run(run)

    monkeypatch.setattr("loraloom.report.live.rendering.read_run", slow)
    with served(growing) as server:
        for _ in range(2):
            code, headers, page = ask(server, "/")
            assert (code, headers["Content-Security-Policy"]) == (200, WAITING_POLICY)
            assert b"The report is being made." in page
            assert b'http-equiv="refresh"' in page
        goes_on.set()
        server.report.wait()
        assert b"<iframe" in ask(server, "/")[2]


def test_the_page_is_the_reports_own_with_its_policy(growing: Path, tmp_path: Path) -> None:
    from loraloom.report.writing import write_report

    copy = shutil.copytree(growing, tmp_path / "copy" / "run")
    written = write_report(copy).read_bytes().replace(str(copy).encode(), str(growing).encode())
    with served(growing) as server:
        code, headers, page = ask(server, "/report/index.html")
        assert (code, page) == (200, written)
        assert b"Content-Security-Policy" in page
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert ask(server, "/report/leaderboard.csv")[1]["Content-Type"] == "text/csv; charset=utf-8"


def test_an_unchanged_page_is_not_sent_again(growing: Path) -> None:
    with served(growing) as server:
        tag = ask(server, "/report/index.html")[1]["ETag"]
        code, _, content = ask(server, "/report/index.html", headers={"If-None-Match": tag})
        assert (code, content) == (304, b"")


def test_head_answers_without_a_body(growing: Path) -> None:
    with served(growing) as server:
        code, headers, content = ask(server, "/report/index.html", "HEAD")
        assert (code, content) == (200, b"")
        assert int(headers["Content-Length"]) == len(ask(server, "/report/index.html")[2])


@pytest.mark.parametrize(
    "place",
    [
        "/report/../recipe.yaml",
        "/report/..%2frecipe.yaml",
        "/report/%2e%2e/recipe.yaml",
        "/report/..\\recipe.yaml",
        "/report//etc/passwd",
        "/report/./index.html",
        "/report/index.html/",
        "/report/index.html%00.csv",
        "/report/",
        "/recipe.yaml",
        "//etc/passwd",
        "/../../etc/passwd",
        "http://127.0.0.1/report/index.html",
        "http://evil.example/",
        "file:///etc/passwd",
        "*",
        "/status/",
    ],
)
def test_a_name_that_is_not_of_the_report_is_not_found(growing: Path, place: str) -> None:
    with served(growing) as server:
        code, _, content = ask(server, place)
        assert (code, content) == (404, b"there is no such file in the report\n")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", ""])
def test_a_name_that_was_made_to_lead_here_is_refused(growing: Path, host: str) -> None:
    with served(growing) as server:
        code, _, content = ask(server, "/", headers={"Host": host.format(port=server.server_port)})
        assert code == 421
        assert b"accuracy" not in content


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:1", "LOCALHOST"])
def test_a_port_may_be_forwarded(growing: Path, host: str) -> None:
    with served(growing) as server:
        assert ask(server, "/", headers={"Host": host})[0] == 200


def test_a_request_without_a_host_or_with_two_is_refused(growing: Path) -> None:
    with served(growing) as server:
        hosts = ["", f"Host: localhost\r\nHost: 127.0.0.1:{server.server_port}\r\n"]
        for sent in hosts:
            with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as plug:
                plug.sendall(f"GET / HTTP/1.1\r\n{sent}Connection: close\r\n\r\n".encode())
                assert plug.makefile("rb").readline().split()[1] == b"421"
        assert ask(server, "/status", headers={"Host": f"localhost:{server.server_port}"})[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_only_get_and_head_are_answered(growing: Path, method: str) -> None:
    with served(growing) as server:
        code, headers, _ = ask(server, "/status", method)
        assert (code, headers["Allow"]) == (405, "GET, HEAD")


def test_it_listens_on_this_machine_alone(growing: Path) -> None:
    with served(growing) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert address(server) == f"http://127.0.0.1:{server.server_port}/"
        with pytest.raises(LoraloomError, match=r"can't be listened on: .*choose another --port"):
            make_server(growing, server.server_port)


def test_a_damaged_trial_is_named_and_the_rest_is_shown(growing: Path) -> None:
    finish(growing, 1)
    finish(growing, 2)
    (growing / "trials" / "0001" / "trial.json").write_text("{")
    with served(growing) as server:
        assert "2 finished trials." in status(server)["detail"]
        assert b"0001/trial.json: is damaged" in ask(server, "/report/index.html")[2]


def test_a_folder_that_vanishes_leaves_the_last_report(growing: Path) -> None:
    with served(growing) as server:
        version = status(server)["version"]
        shutil.rmtree(growing)
        told = status(server)
        assert told["version"] == version
        assert (told["goes_on"], told["sentence"].split(".")[0]) == (False, "The run's folder is gone")
        assert "could not be renewed" in told["detail"]
        assert ask(server, "/report/index.html")[0] == 200


def test_a_recipe_that_can_not_be_read_at_first_is_said_and_mended_later(growing: Path) -> None:
    recipe = (growing / "recipe.yaml").read_bytes()
    with served(growing) as server:
        (growing / "recipe.yaml").write_bytes(b"")
        code, _, said = page_of(server)
        assert code == 503
        assert b"recipe.yaml: is cut off or empty" in said
        (growing / "recipe.yaml").write_bytes(recipe)
        assert ask(server, "/")[0] == 200


def test_what_is_something_else_than_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    for place in ("photos", "photos/cat.jpg"):
        with pytest.raises(RunError, match=r"not a run folder|no such run folder"):
            make_server(tmp_path / place, 0)


@pytest.mark.parametrize("empty", [False, True], ids=["no folder", "an empty folder"])
def test_it_waits_for_a_run_that_is_yet_to_come(tmp_path: Path, growing: Path, empty: bool) -> None:
    run = tmp_path / "later"
    if empty:
        run.mkdir()
    with served(run) as server:
        code, headers, page = ask(server, "/")
        assert code == 200
        assert b"There is no run here yet" in page
        assert b'http-equiv="refresh"' in page
        assert "script-src" not in headers["Content-Security-Policy"]
        told = status(server)
        assert (told["goes_on"], told["version"]) == (True, "")
        assert ask(server, "/report/index.html")[0] == 503
        if empty:
            run.rmdir()
        growing.rename(run)
        assert b"<iframe" in page_of(server)[2]
        assert "1 finished trial." in status(server)["detail"]


def test_a_render_costs_the_search_a_tenth_of_a_core_at_most(growing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraloom.report.live.rendering.LEAST_SECONDS", 3.0)
    monkeypatch.setattr("loraloom.report.live.rendering.PAUSES", 9)
    times = {"now": 100.0, "used": 0.0}

    def used() -> float:
        times["used"] += 2  # a render takes 2 s
        return times["used"]

    live = LiveReport(growing, now=lambda: times["now"], used=used)
    with Run(growing).locked():
        first = live.latest()
        finish(growing, 1)
        for wait, trials in ((2, 1), (10, 1), (10, 2)):
            times["now"] += wait
            live.latest()
            live.wait()
            assert live.latest().trials == trials
            assert live.is_behind() is (trials == 1)
    assert first.trials == 1


def test_a_run_that_has_ended_is_shown_without_that_pause(growing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraloom.report.live.rendering.PAUSES", 1e9)
    live = LiveReport(growing)
    live.latest()
    finish(growing, 1)
    live.latest()
    live.wait()
    assert live.latest().trials == 2


@pytest.mark.parametrize(
    ("last", "name", "said"),
    [
        (SEARCH, "ended", "The search has ended."),
        (
            Command(started="x", ended="stopped", why="stopped by SIGTERM; go on"),
            "broken off",
            "The search was stopped by SIG",
        ),
        (Command(started="x", ended="stopped", why="Ctrl-C"), "broken off", "The search was stopped: Ctrl-C."),
        (Command(started="x", ended="failed", why="the disk is full"), "broken off", "failed: the disk is full."),
        (Command(started="x", ended="failed", why="runs/\udcff: no trial was finished"), "broken off", "runs/\ufffd:"),
        (Command(started="x"), "broken off", "it was broken off, or runs elsewhere"),
    ],
)
def test_the_state_is_that_of_the_last_command(growing: Path, last: Command, name: str, said: str) -> None:
    write_commands(growing, SEARCH, last)
    state = state_of(growing)
    assert (state.name, state.goes_on) == (name, False)
    assert said in state.sentence


def test_a_run_that_a_process_holds_is_under_way(growing: Path) -> None:
    write_commands(growing, SEARCH)
    with Run(growing).locked():
        assert state_of(growing).goes_on
    assert not state_of(growing).goes_on


@pytest.mark.parametrize(
    ("last", "said"),
    [(Command(started="x"), "The search is under way."), (SEARCH, "A command is at work on the run.")],
)
def test_of_a_run_whose_search_has_ended_none_is_said_to_be_under_way(growing: Path, last: Command, said: str) -> None:
    """As while it is blended."""
    write_commands(growing, last)
    with Run(growing).locked():
        assert state_of(growing).sentence == said


@pytest.mark.parametrize(
    ("commands", "name"), [((SEARCH,), "ended"), ((SEARCH, Command(started="x")), "unknown"), ((), "unknown")]
)
def test_where_no_table_of_locks_says_who_has_a_run_it_is_followed_until_its_command_has_ended(
    growing: Path, monkeypatch: pytest.MonkeyPatch, commands: tuple[Command, ...], name: str
) -> None:
    """As on macOS."""
    monkeypatch.setattr("loraloom.report.live.state.in_use", lambda run: None)
    if commands:
        write_commands(growing, *commands)
    state = state_of(growing)
    assert (state.name, state.goes_on) == (name, name == "unknown")


@pytest.mark.parametrize("name", [BEST, SOUP, BLEND])
def test_what_a_command_after_the_search_leaves_is_shown(growing: Path, name: str) -> None:
    before = stamp_of(growing)
    (growing / name).mkdir()
    assert stamp_of(growing) == before
    write_manifest(growing / name)
    assert stamp_of(growing) != before


def test_a_run_of_an_older_version_has_ended_where_it_has_a_winner(tmp_path: Path) -> None:
    assert state_of(whole_run(tmp_path / "r")).name == "ended"


def test_the_shell_lets_its_own_script_and_style_alone_run(growing: Path) -> None:
    with served(growing) as server:
        _, headers, page = page_of(server)
    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    for text, tag in ((SCRIPT, "script"), (STYLE, "style")):
        assert re.findall(f"<{tag}>(.*?)</{tag}>", page.decode(), re.DOTALL) == [text]
    assert b'<noscript><meta http-equiv="refresh"' in page


def test_hostile_names_are_text_in_the_shell() -> None:
    hostile = "</title><script>alert(1)</script>\"'{x}"
    state = State("broken off", hostile)
    for page, times in ((shell(hostile, state, hostile, hostile), 4), (waiting(hostile, state, hostile), 3)):
        assert "<script>alert" not in page
        assert page.count("&lt;script&gt;alert(1)") == times


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_the_command_ends_at_any_time_and_leaves_the_run_as_it_was(
    commands: Commands, growing: Path, number: signal.Signals, code: int
) -> None:
    before = bytes_of(growing)
    with commands.start("watch", growing, "--port", "0") as watching:
        port = int(re.findall(r"http://127\.0\.0\.1:(\d+)/", watching.line())[0])
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/status")
        assert json.loads(connection.getresponse().read())["version"]
        connection.close()
        watching.send(number)
        ended = watching.wait(60)
    assert (ended.code, ended.err) == (code, "")
    assert bytes_of(growing) == before
    assert not (growing / LOCK).exists()
    with Run(growing).locked():
        assert (growing / "trials" / "0000" / MANIFEST).is_file()


BROWSER = """
import sys, urllib.request
from pathlib import Path
page = urllib.request.urlopen(sys.argv[1], timeout=10).read()
Path("page").write_bytes(page)
"""


def test_a_browser_that_keeps_the_terminal_is_answered(commands: Commands, growing: Path, tmp_path: Path) -> None:
    (tmp_path / "browser.py").write_text(BROWSER)
    environment = {"BROWSER": f"{sys.executable} {tmp_path / 'browser.py'} %s"}
    arguments = "watch", growing, "--port", "0", "--open"
    with commands.start(*arguments, environment=environment, folder=tmp_path) as watching:
        wait_for((tmp_path / "page").exists, seconds=60)
        watching.send(signal.SIGINT)
        ended = watching.wait(60)
    assert (ended.code, ended.err) == (0, "")


def test_that_no_browser_was_found_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda page: False)
    _open("http://127.0.0.1:8000/")
    assert capsys.readouterr().err == "loraloom: no browser was found that opens it; give the address to yours\n"
