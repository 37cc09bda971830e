"""What a signal to a run comes to where a library makes an error of its own of it."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from safetensors import SafetensorError

from loraloom import cli, machine
from loraloom.cli import adapters, entry, runs
from loraloom.cli.running import (
    TerminatedError,
    follow,
    print_json,
    run_search,
    say_doing,
    say_line,
    stoppable,
)
from loraloom.errors import LoraloomError, RunError, StoppedError
from loraloom.execute.placement import IN_PROCESS
from loraloom.recipe import read_recipe
from loraloom.study.commands import COMMANDS
from loraloom.study.record import TrialRecord
from loraloom.study.run import TRIALS
from loraloom.study.sealed import write_sealed
from loraloom.wording import unobeyed
from tests.cli.hanging_up import GONE, VARIABLE
from tests.commands import Commands

NOWHERE = Path("nowhere")


@pytest.fixture
def _hang_up_is_heard() -> Iterator[None]:
    """Also where these tests are kept from it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def _make_run(folder: Path) -> None:
    """As far as it is to be told for one."""
    (folder / TRIALS).mkdir()
    (folder / "recipe.yaml").touch()


def _compared() -> None:
    """As numpy's comparisons do."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise TypeError("can't be compared") from None


def _unread() -> None:
    """As rich does."""
    try:
        raise BrokenPipeError
    except BrokenPipeError:
        raise SystemExit(1)  # noqa: B904


def _signalled_while_cleared_away(number: int) -> None:
    lock = {0}
    kept = weakref.ref(lock, lambda _: signal.raise_signal(number))
    del lock
    assert kept() is None
    time.sleep(10)


def _ended_and_hung_up(number: int) -> None:
    """While what the signal raised is under way."""
    try:
        signal.raise_signal(number)
    finally:
        signal.raise_signal(signal.SIGHUP)


def test_it_is_noted_that_a_run_stood_still_and_went_on() -> None:
    before = signal.getsignal(signal.SIGCONT)
    with stoppable(NOWHERE, 0) as stop:
        signal.raise_signal(signal.SIGCONT)
    assert (stop.pauses, stop.asked()) == (1, False)
    assert signal.getsignal(signal.SIGCONT) == before


def test_a_signal_that_a_library_takes_for_an_error_of_its_own_is_a_stop_all_the_same(tmp_path: Path) -> None:
    _make_run(tmp_path)
    with pytest.raises(StoppedError, match="stopped by Ctrl-C") as stopped, stoppable(tmp_path, 0):
        _compared()
    assert stopped.value.exit_code == 130


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGHUP, 75)])
@pytest.mark.usefixtures("_hang_up_is_heard")
def test_a_run_that_needs_a_deadline_and_whose_recipe_has_none_is_gone_on_with_in_as_much_time(
    tmp_path: Path, number: int, code: int
) -> None:
    _make_run(tmp_path)
    write_sealed(tmp_path / COMMANDS, {"commands": [{"started": "", "again_seconds": 90}]})
    with pytest.raises(StoppedError, match=r" --max_seconds 90$") as stopped, stoppable(tmp_path, 0):
        signal.raise_signal(number)
    assert stopped.value.exit_code == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("_hang_up_is_heard")
def test_a_hang_up_after_a_signal_is_no_second_one(tmp_path: Path, number: int) -> None:
    """A terminal's end is told by its shell, and by the kernel when the shell ends."""
    with stoppable(tmp_path, 0) as stop, stop.politely():
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGHUP)
        assert stop.asked()
    with pytest.raises(TerminatedError, match=f"by {signal.Signals(number).name} before"), stoppable(tmp_path, 0):
        _ended_and_hung_up(number)


@pytest.mark.usefixtures("_hang_up_is_heard")
def test_a_hang_up_that_is_kept_from_a_run_stays_so(tmp_path: Path) -> None:
    """As nohup does it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stoppable(tmp_path, 0) as stop, stop.politely():
        signal.raise_signal(signal.SIGHUP)
        assert not stop.asked()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_run_whose_output_was_closed_is_not_taken_for_done(tmp_path: Path) -> None:
    _make_run(tmp_path)
    with pytest.raises(StoppedError, match="its output was closed") as stopped, stoppable(tmp_path, 0):
        _unread()
    assert stopped.value.exit_code == 75


def test_a_run_that_was_not_begun_when_its_output_was_closed_is_not_taken_for_done(tmp_path: Path) -> None:
    with pytest.raises(TerminatedError, match="its output was closed before anything"), stoppable(tmp_path, 0):
        _unread()


def test_an_error_without_a_signal_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), stoppable(tmp_path, 0):
        _ = 1 / 0


def test_that_nothing_was_begun_is_said_only_where_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(TerminatedError, match="stopped by SIGTERM before anything was begun"), stoppable(tmp_path, 0):
        signal.raise_signal(signal.SIGTERM)


def test_a_search_that_is_broken_off_before_its_run_is_made_does_not_go_on_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make_run(tmp_path)
    monkeypatch.setattr("loraloom.pipeline.search", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(RunError, match="holds a run already; choose another folder"):
        run_search(
            read_recipe({}),
            tmp_path,
            IN_PROCESS,
            deadline=None,
            grace=0,
            allow_leak=False,
            profile=False,
            quiet=True,
            as_json=False,
        )


def test_a_command_that_sigterm_ends_does_not_say_that_nothing_was_begun(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "app", lambda **_: signal.raise_signal(signal.SIGTERM))
    assert cli.run() == 75
    assert capsys.readouterr().err == "loraloom: stopped by SIGTERM\n"


def test_a_second_sigterm_to_a_command_that_ended_before_its_run_was_begun_is_not_raised_at_its_exit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(**_: object) -> None:
        with stoppable(tmp_path, 0):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(entry, "app", begin)
    assert cli.run() == 75
    signal.raise_signal(signal.SIGTERM)
    assert capsys.readouterr().err == "loraloom: stopped by SIGTERM before anything was begun\n"


@pytest.mark.parametrize(("number", "code", "by"), [(signal.SIGTERM, 75, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")])
def test_a_signal_that_comes_while_an_object_is_cleared_away_is_heard_all_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int, code: int, by: str
) -> None:
    """As the locks of modules are while these are imported."""
    monkeypatch.setattr(entry, "app", lambda **_: _signalled_while_cleared_away(number))
    assert cli.run() == code
    assert capsys.readouterr().err == f"loraloom: stopped by {by}\n"


@pytest.mark.parametrize(
    ("raised", "by"), [(EOFError, r"the end of the answers \(Ctrl-D\)"), (KeyboardInterrupt, "Ctrl-C")]
)
def test_it_is_said_what_ended_a_question(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, raised: type[BaseException], by: str
) -> None:
    def end(*_: object) -> str:
        raise raised

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(readline=end))
    monkeypatch.setattr(entry, "app", lambda **_: typer.prompt("1. Labelled rows"))
    assert cli.run() == 130
    assert re.fullmatch(rf"\s*loraloom: stopped by {by}\n", capsys.readouterr().err)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: out of memory")])
def test_memory_that_does_not_suffice_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(**_: object) -> None:
        import torch  # noqa: F401 - whose error the second is: without it nothing is asked of a device

        raise error

    monkeypatch.setattr(entry, "app", fail)
    assert cli.run() == 2
    remedy = "end what else uses it, or use a machine that has more"  # predict and its like have no option of batches
    assert re.fullmatch(rf"loraloom: memory does not suffice: .+; {remedy}\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), ""),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ""),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.csv"), "out.csv: "),
    ],
)
def test_a_full_disk_is_a_sentence_in_whatever_words_it_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, place: str
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(entry, "app", fail)
    assert cli.run() == 2
    full = "no space is left on the disk; free some, and give the command again"
    assert capsys.readouterr().err == f"loraloom: {place}{full}\n"


@pytest.mark.parametrize(("quota", "said", "taken"), [(3, None, "3"), (3, "5", "5"), (None, None, None)])
def test_a_command_takes_as_many_threads_as_a_quota_has_cores_for_unless_it_is_told(
    monkeypatch: pytest.MonkeyPatch, quota: int | None, said: str | None, taken: str | None
) -> None:
    monkeypatch.setattr(os, "environ", {} if said is None else {"OMP_NUM_THREADS": said})
    monkeypatch.setattr(machine, "quota_threads", lambda: quota)
    entry._settle_threads()
    assert os.environ.get("OMP_NUM_THREADS") == taken


@pytest.mark.parametrize(("options", "after"), [((), "\x1b[?25l"), ((), ""), (("--quiet",), "")])
def test_a_terminal_that_goes_away_takes_neither_the_search_nor_its_winner(
    commands: Commands, recipe_file: Path, tmp_path: Path, options: tuple[str, ...], after: str
) -> None:
    """In the midst of the live table, before the first word, and before the result alone."""
    run = tmp_path / "run"
    searching = commands.start(
        "search",
        recipe_file,
        "--out",
        run,
        *options,
        environment={"TERM": "xterm", VARIABLE: after},
        before=["tests.cli.hanging_up"],
        folder=tmp_path,
    )
    assert searching.wait().code == 0
    assert (tmp_path / GONE).exists()
    assert (run / "best").is_dir()
    assert (run / "report" / "index.html").is_file()


@pytest.mark.parametrize(
    ("quiet", "as_json", "said"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_who_waits_at_a_terminal_hears_at_once_why(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    quiet: bool,
    as_json: bool,
    said: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    def work(*_: object) -> TrialRecord:
        raise StoppedError(tmp_path, "stopped")

    with pytest.raises(StoppedError):
        follow(tmp_path, work, quiet=quiet, as_json=as_json)
    assert (capsys.readouterr().err == "loading the libraries\n") is said


@pytest.mark.parametrize(
    "command",
    [
        lambda: adapters.evaluate(NOWHERE, NOWHERE / "rows.csv"),
        lambda: adapters.export(NOWHERE, adapters.ExportFormat.merged, NOWHERE / "made"),
        lambda: runs.refit(NOWHERE),
        lambda: runs.soup(NOWHERE),
    ],
)
def test_commands_that_load_a_model_say_so_at_once(
    command: Callable[[], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(LoraloomError):
        command()
    assert capsys.readouterr().err in ("loading the model\n", "loading the libraries\n")


def test_a_line_with_a_path_holds_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    say_line("use  predict runs/\x1b[2J\x9b31m/best\nand more")
    assert capsys.readouterr().out == "use  predict runs/\\x1b[2J\\x9b31m/best\nand more\n"


def test_json_says_what_it_did_and_holds_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    labels = ["caf\u00e9", "\x1b[2J\x9b31m", "\u202etxet\x7f"]
    print_json({"labels": labels})
    out = capsys.readouterr().out
    assert unobeyed(out) == out
    assert "caf\u00e9" in out
    assert json.loads(out) == {"labels": labels}


def test_what_is_done_meanwhile_holds_nothing_that_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    say_doing("reading \x1b[2J.csv: 9,000 rows so far")
    assert capsys.readouterr().err == "reading \\x1b[2J.csv: 9,000 rows so far\n"


def test_a_python_without_docstrings_is_refused_in_a_sentence() -> None:
    command = [sys.executable, "-B", "-OO", "-m", "loraloom", "doctor"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 2
    assert re.fullmatch(
        r"loraloom: python -OO \(PYTHONOPTIMIZE=2\) drops docstrings.*; run it without.*\n", ended.stderr
    )
