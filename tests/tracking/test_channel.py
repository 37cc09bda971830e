"""A tracker that fails in any way ends, with a reason; nothing of it reaches who tells it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from loraloom.deaf import ENDS
from loraloom.tracking.channel import Channel, Limits
from tests.commands import wait_for
from tests.tracking.telling import Call, begin, begin_trial, crown, end_trial, log, tell

CALLS: list[Call] = [begin_trial(0, r=2), log(0, (1, 0.5)), log(0, (2, 0.5)), end_trial(0), crown(0)]


def told(folder: Path, tracker: str, limits: Limits | None = None, *, seconds: float = 60) -> Channel:
    channel = Channel("fake", f"tests.tracking.failing:{tracker}", folder, limits or Limits())
    for call, arguments in [begin(folder, "fake"), *CALLS]:
        channel.send(call, **arguments)
    channel.close(finished=True)
    channel.wait(seconds)
    return channel


def is_running(channel: Channel) -> bool:
    process = channel._process
    return process is not None and process.poll() is None


@pytest.mark.parametrize(
    ("tracker", "why"),
    [
        ("RaisingAtOnce", r"^PermissionError: the server says no$"),
        ("Raising", r"^RuntimeError: can't keep a metric$"),
        ("NotImportable", r"^ModuleNotFoundError: No module named 'no_such_library'$"),
        ("NoSuchClass", r"^AttributeError: .*NoSuchClass"),
        ("Dying", r"^its process ended by signal 11$"),
        ("Leaving", r"^its process ended by exit code 3$"),
    ],
)
def test_a_tracker_that_fails_is_ended_with_its_reason(tmp_path: Path, tracker: str, why: str) -> None:
    channel = told(tmp_path, tracker)
    assert re.search(why, str(channel.why_ended)), channel.why_ended
    assert not is_running(channel)


def test_the_log_has_what_a_failed_tracker_said(tmp_path: Path) -> None:
    channel = told(tmp_path, "RaisingAtOnce")
    assert "the server says no\nand more" in channel.log.read_text()


@pytest.mark.parametrize(("tracker", "call"), [("Hanging", "begin_trial"), ("HangingDeafly", "begin")])
def test_a_call_that_hangs_ends_the_tracker(tmp_path: Path, tracker: str, call: str) -> None:
    channel = told(tmp_path, tracker, Limits(begin_seconds=3 if call == "begin" else 60, call_seconds=0.5))
    assert channel.why_ended is not None
    assert channel.why_ended.endswith(f"for one call ({call})")
    assert not is_running(channel)


def test_a_tracker_that_hangs_at_the_end_is_waited_for_no_longer_than_told(tmp_path: Path) -> None:
    channel = told(tmp_path, "HangingAtTheEnd", seconds=1)
    assert channel.why_ended == "it was not done in time when the run ended"
    assert channel._process is not None
    channel._process.wait(60)


def test_a_tracker_that_falls_behind_is_ended(tmp_path: Path) -> None:
    channel = told(tmp_path, "HangingDeafly", Limits(waiting_calls=4))
    assert channel.why_ended == "it fell 4 calls behind"
    channel._thread.join(60)
    assert not is_running(channel)


def test_calls_that_are_made_when_their_turn_comes_are_not_behind(tmp_path: Path) -> None:
    """As many finished trials as a long run has, told before what goes on."""
    channel = Channel("fake", "tests.tracking.failing:Noting", tmp_path, Limits(waiting_calls=4))
    made = [call for number in range(20) for call in (begin_trial(number), log(number, (1, 0.5)), end_trial(number))]
    call, arguments = begin(tmp_path, "fake")
    channel.send(call, **arguments)
    channel.send_all(iter(made))
    channel.send("crown", **crown(0)[1])
    channel.close(finished=True)
    channel.wait(60)
    assert channel.why_ended is None
    assert channel.ended_trials() == set(range(20))
    calls = [json.loads(line)["call"] for line in (tmp_path / "fake" / "calls.jsonl").read_text().splitlines()]
    assert calls == ["begin", *["begin_trial", "log", "end_trial"] * 20, "crown", "close"]


def test_an_error_in_making_a_call_ends_the_tracker(tmp_path: Path) -> None:
    def broken() -> Iterator[Call]:
        yield begin_trial(0)
        raise ValueError("metrics.jsonl: is damaged")

    channel = Channel("fake", "tests.tracking.failing:Noting", tmp_path, Limits())
    channel.send("begin", **begin(tmp_path, "fake")[1])
    channel.send_all(broken())
    channel.close(finished=True)
    channel.wait(60)
    assert channel.why_ended == "ValueError: metrics.jsonl: is damaged"


def test_what_a_library_prints_is_no_answer(tmp_path: Path) -> None:
    tell(tmp_path, "fake", begin(tmp_path, "fake"), *CALLS, tracker="tests.tracking.failing:Talking")
    assert (tmp_path / "fake" / "calls.jsonl").read_text().count('"log"') == 2
    assert "not an answer" in (tmp_path / "fake.log").read_text()


def test_a_folder_that_is_not_to_be_had_ends_the_tracker(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    channel = told(tmp_path / "file" / "tracking", "Noting")
    assert channel.why_ended is not None
    assert channel.why_ended.startswith(("NotADirectoryError", "FileExistsError"))


def test_a_signal_to_all_that_ends_the_run_leaves_a_tracker_to_be_closed(tmp_path: Path) -> None:
    """In its first moment, and after it has begun."""
    channel = Channel("fake", "tests.tracking.failing:Noting", tmp_path, Limits())
    channel.send("begin", **begin(tmp_path, "fake")[1])
    for come in (lambda: is_running(channel), (tmp_path / "fake" / "calls.jsonl").exists):
        wait_for(come)
        assert channel._process is not None
        for number in ENDS:
            os.killpg(channel._process.pid, number)
    channel.close(finished=True)
    channel.wait(60)
    assert channel.why_ended is None


def test_trials_whose_end_was_told_are_known_to_the_next_process(tmp_path: Path) -> None:
    told(tmp_path, "Noting")
    file = tmp_path / "fake.ended"
    file.write_text(file.read_text() + "1")  # of 12, say: a kill cut the line off
    channel = Channel("fake", "tests.tracking.failing:Noting", tmp_path, Limits())
    assert channel.ended_trials() == {0}
    channel.close(finished=True)
    channel.wait(60)
