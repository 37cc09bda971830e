"""commands.json: what was done with a run, however each command ended."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loraloom.errors import RunError, StoppedError
from loraloom.study import commands
from loraloom.study.commands import COMMANDS, Command, CommandLog, logged, read_commands

MADE = {"loraloom": "1", "python": "3.12", "packages": {"torch": "2.9"}, "machine": {"cores": 2}, "git_revision": "x"}


@contextmanager
def command(run: Path, *words: str, said: list[str] | None = None) -> Iterator[CommandLog]:
    with logged(
        run,
        words,
        MADE,
        allowed_seconds=120.0,
        seconds=lambda: 61.5,
        finished=lambda: 7,
        say=(said if said is not None else []).append,
    ) as log:
        yield log


def test_a_command_is_noted_before_and_after(tmp_path: Path) -> None:
    with command(tmp_path, "loraloom", "search") as log:
        (begun,) = read_commands(tmp_path)
        log.tests(3)
    (ended,) = read_commands(tmp_path)
    assert (begun.ended, begun.seconds, begun.tested) == (None, None, ())
    assert (ended.ended, ended.seconds, ended.allowed_seconds, ended.finished) == ("done", 61.5, 120.0, 7)
    assert (ended.command, ended.tested) == (("loraloom", "search"), (3,))
    assert (ended.packages, ended.machine) == (MADE["packages"], MADE["machine"])
    assert 60 < (datetime.now(UTC) - datetime.fromisoformat(ended.started)).total_seconds() < 600  # not as it is noted


def test_later_commands_stand_after_earlier_ones(tmp_path: Path) -> None:
    with command(tmp_path, "loraloom", "search"):
        pass
    with command(tmp_path, "loraloom", "resume"):
        pass
    assert [each.command[1] for each in read_commands(tmp_path)] == ["search", "resume"]


@pytest.mark.parametrize(("error", "doubtful"), [(RunError("a GPU is lost"), {2}), (KeyboardInterrupt(), set())])
def test_what_two_commands_failed_with_at_one_step_may_have_done_it(
    tmp_path: Path, error: BaseException, doubtful: set[int]
) -> None:
    with command(tmp_path, "loraloom", "search") as log:
        assert log.doubted({}) == set()
    with suppress(RunError, KeyboardInterrupt), command(tmp_path, "loraloom", "resume") as log:
        assert log.doubted({1: 40, 2: 0, 4: 0}) == set()
        log.takes_up(1, 40)
        log.takes_up(2, 0)
        raise error  # before the fourth was begun
    with command(tmp_path, "loraloom", "resume") as log:
        assert log.doubted({1: 80, 2: 0, 3: 0, 4: 0}) == doubtful


@pytest.mark.parametrize(
    ("before", "doubts"),
    [
        ([], False),
        ([{"ended": None}], True),
        ([{"ended": None, "planned": True}], False),
        ([{"ended": "done", "planned": True}], False),
        ([{"ended": "stopped"}], False),
        ([{"ended": "failed"}], False),
        ([{"ended": None}, {"ended": "failed"}], True),
        ([{"ended": None}, {"ended": "stopped"}], False),
    ],
)
def test_a_command_that_was_killed_before_its_plan_was_made_may_have_been_killed_by_what_was_timed_for_it(
    tmp_path: Path, before: list[dict[str, Any]], *, doubts: bool
) -> None:
    commands = [Command(started="", **one) for one in before]
    log = CommandLog(tmp_path / COMMANDS, [*commands, Command(started="")])
    assert log.doubts_planning == doubts
    log.plans()
    assert read_commands(tmp_path)[-1].planned


@pytest.mark.parametrize(
    ("error", "ended", "why"),
    [
        (StoppedError(Path("run"), "stopped by SIGTERM"), "stopped", "stopped by SIGTERM; nothing that was finished"),
        (KeyboardInterrupt(), "stopped", "Ctrl-C"),
        (RunError("no space is left\nat all"), "failed", "no space is left"),
    ],
)
def test_how_a_command_was_broken_off_is_noted(tmp_path: Path, error: BaseException, ended: str, why: str) -> None:
    with pytest.raises(type(error)), command(tmp_path):
        raise error
    (kept,) = read_commands(tmp_path)
    assert kept.ended == ended
    assert kept.why is not None
    assert kept.why.startswith(why)


def test_a_command_whose_output_was_closed_is_noted_as_stopped(tmp_path: Path) -> None:
    unread = SystemExit(1)
    unread.__context__ = BrokenPipeError()  # as rich leaves it
    with pytest.raises(SystemExit), command(tmp_path):
        raise unread
    with pytest.raises(BrokenPipeError), command(tmp_path):
        raise BrokenPipeError  # by a worker
    assert [(each.ended, each.why) for each in read_commands(tmp_path)] == [
        ("stopped", "its output was closed"),
        ("failed", "BrokenPipeError"),
    ]


def test_a_kill_leaves_the_command_and_its_test_without_an_end(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with command(tmp_path) as log:
            log.tests(4)
            os._exit(9)
    os.waitpid(child, 0)
    (kept,) = read_commands(tmp_path)
    assert (kept.ended, kept.tested) == (None, (4,))


def test_a_run_that_vanishes_hides_no_error(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()

    def vanish() -> None:
        with command(run):
            (run / COMMANDS).unlink()
            run.rmdir()
            raise RunError("the first")

    with pytest.raises(RunError, match="the first"):
        vanish()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"sha256": "0", "commands": []}', "[" * 100_000])
def test_a_damaged_file_is_refused_by_readers_and_put_aside_by_the_next_command(tmp_path: Path, damage: str) -> None:
    (tmp_path / COMMANDS).write_text(damage)
    with pytest.raises(RunError, match=r"commands\.json: is damaged"):
        read_commands(tmp_path)
    said: list[str] = []
    with command(tmp_path, said=said):
        pass
    lost, ended = read_commands(tmp_path)
    assert "is damaged" in said[0]
    assert (lost.started, ended.ended) == ("", "done")
    assert (tmp_path / f"{COMMANDS}.damaged").read_text() == damage


def test_a_damaged_file_stays_where_there_is_no_space_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next command took the run for one of which nothing was ever tested."""
    (tmp_path / COMMANDS).write_text("{")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(commands, "write_sealed", full)
    with pytest.raises(OSError, match="No space left"), command(tmp_path):
        pass
    assert (tmp_path / COMMANDS).read_text() == "{"


def test_another_number_in_it_is_damage(tmp_path: Path) -> None:
    with command(tmp_path) as log:
        log.tests(3)
    values = json.loads((tmp_path / COMMANDS).read_text())
    values["commands"][0]["tested"] = [2]
    (tmp_path / COMMANDS).write_text(json.dumps(values))
    with pytest.raises(RunError, match="not as the run wrote it"):
        read_commands(tmp_path)


def test_a_run_of_an_older_version_has_none(tmp_path: Path) -> None:
    assert read_commands(tmp_path) == ()


def test_a_file_that_can_not_be_read_now_is_not_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / COMMANDS).write_text("whole")

    def unreadable(_: Path, **__: Any) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_text", unreadable)
    about: dict[str, Any] = {"allowed_seconds": None, "seconds": lambda: 0.0, "finished": lambda: 0, "say": print}
    with pytest.raises(RunError, match="can't be read: Input/output error"), logged(tmp_path, ("x",), {}, **about):
        pass
    monkeypatch.undo()
    assert (tmp_path / COMMANDS).read_text() == "whole"
