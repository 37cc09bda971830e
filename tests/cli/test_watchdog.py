"""The deadline as a promise: a command that hangs is ended, and says how to go on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from loraloom.cli import watchdog
from loraloom.cli.watchdog import _last_word, ended_in_time
from loraloom.search.clock import MOST_SECONDS, SLURM_END, Clock
from loraloom.study.commands import COMMANDS
from loraloom.study.durable import MANIFEST
from loraloom.study.run import BEST, TRIALS
from loraloom.study.sealed import write_sealed

HANGS = """
import sys, time
from pathlib import Path
from loraloom.cli.watchdog import ended_in_time
with ended_in_time(Path(sys.argv[1]), float(sys.argv[2]), None):
    time.sleep(600)
"""


def _begin(run: Path) -> None:
    """A run of which a trial was begun."""
    (run / TRIALS / "0000").mkdir(parents=True)
    (run / "recipe.yaml").touch()


def _hang(run: Path, seconds: float, before: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", before + HANGS, str(run), str(seconds)],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        timeout=60,
    )


def test_a_run_that_is_not_done_at_its_deadline_ends_and_says_how_to_go_on(tmp_path: Path) -> None:
    _begin(tmp_path)
    ended = _hang(tmp_path, 1)
    assert ended.returncode == 75
    assert ended.stderr == (
        "loraloom: the 1 s (budget.max_seconds) were over before the winner was tested and the report written; nothing "
        f"that was finished is lost. Go on with: loraloom resume {tmp_path}\n"
    )


def test_a_run_whose_name_is_no_text_is_ended_too(tmp_path: Path) -> None:
    _begin(run := tmp_path / "run\udcfc")
    ended = _hang(run, 1)
    assert ended.returncode == 75
    assert str(run) in ended.stderr


def test_a_run_that_can_t_be_read_any_more_is_ended_too(tmp_path: Path) -> None:
    ended = _hang(tmp_path, 1, "import loraloom.study.run\nloraloom.study.run.trial_folders = open\n")
    assert ended.returncode == 75
    assert ended.stderr.startswith(f"loraloom: the time is over, and {tmp_path}: IsADirectoryError: ")


def test_a_search_that_could_not_begin_in_its_time_says_what_would_do(tmp_path: Path) -> None:
    ended = _hang(tmp_path / "run", 0.1)
    assert ended.returncode == 2
    assert "does not suffice" in ended.stderr
    assert "give it 60 s (budget.max_seconds)" in ended.stderr


def test_a_run_of_which_no_trial_was_begun_in_its_time_is_to_have_more_than_as_much_again(tmp_path: Path) -> None:
    """A script that goes on at 75 would else measure what a row costs until the time is over, again and again."""
    (tmp_path / TRIALS).mkdir()
    (tmp_path / "recipe.yaml").touch()
    write_sealed(
        tmp_path / COMMANDS, {"commands": [{"started": "", "again_seconds": 120, "placement": {"workers": 2}}]}
    )
    code, said = _last_word(tmp_path, Clock(120), time.time())
    assert code == 2
    assert said == (
        "loraloom: the time does not suffice for one trial: 120 s were over before a trial was begun; give it 360 s "
        "(budget.max_seconds), or a machine that has less to do: "
        f"loraloom resume {tmp_path} --max_seconds 360 --workers 2"
    )


def test_what_is_to_be_changed_for_more_time_is_what_the_deadline_is_of(tmp_path: Path) -> None:
    code, said = _last_word(tmp_path / "run", Clock(20, option="--deadline"), time.time())
    assert code == 2
    assert "give it 60 s (--deadline)" in said


def test_a_job_s_end_that_has_passed_is_said_to_have(tmp_path: Path) -> None:
    """As in one that was given more time than it began with."""
    clock = Clock(-100, option=SLURM_END)
    passed = "the SLURM job's end has passed (SLURM_JOB_END_TIME); unset it where the job was given more time"
    assert _last_word(tmp_path, clock, time.time()) == (2, f"loraloom: {passed}")
    _begin(tmp_path)
    code, said = _last_word(tmp_path, clock, time.time())
    assert (code, said.partition("; nothing")[0]) == (75, f"loraloom: {passed}")


@pytest.mark.parametrize(
    ("ended", "seconds_ago", "lacks"),
    [
        (None, 0, "the winner was tested and the report written"),
        ("done", 600, "the winner was tested and the report written"),
        ("done", 0, "the report was written"),
    ],
)
def test_a_winner_of_an_earlier_command_is_not_taken_for_this_one_s(
    tmp_path: Path, ended: str | None, seconds_ago: int, lacks: str
) -> None:
    began = time.time()
    assert _last_word(tmp_path, Clock(60), began)[0] == 2
    _begin(tmp_path)
    (tmp_path / BEST).mkdir()
    (tmp_path / BEST / MANIFEST).touch()  # which says nothing of when it was made
    started = datetime.fromtimestamp(began - seconds_ago, UTC).isoformat(timespec="seconds")
    write_sealed(tmp_path / COMMANDS, {"commands": [{"started": started, "ended": ended}]})
    code, said = _last_word(tmp_path, Clock(60), began)
    assert code == 75
    assert f"the 60 s (budget.max_seconds) were over before {lacks}; nothing" in said


def test_a_run_that_needs_a_deadline_and_whose_recipe_has_none_is_gone_on_with_in_as_much_time(tmp_path: Path) -> None:
    _begin(tmp_path)
    write_sealed(tmp_path / COMMANDS, {"commands": [{"started": "", "again_seconds": 60}]})
    assert _last_word(tmp_path, Clock(60, option="--deadline"), time.time())[1].endswith(" --max_seconds 60")


def test_what_ends_in_time_is_left_alone(tmp_path: Path) -> None:
    for seconds in (None, 10_000.0, float(MOST_SECONDS)):
        with ended_in_time(tmp_path, seconds, None):
            """Nothing to do."""


def test_an_error_within_is_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ended_in_time(tmp_path, 10_000, None):
        raise ZeroDivisionError


@pytest.mark.parametrize("passed", [0, 40])
def test_the_time_that_a_process_takes_to_go_is_a_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: float
) -> None:
    intervals = list[float]()

    def timer(interval: float, *_: object) -> threading.Timer:
        intervals.append(interval)
        return threading.Timer(interval, lambda: None)

    monkeypatch.setattr(watchdog, "process_start", lambda: time.monotonic() - passed)
    monkeypatch.setattr(watchdog, "threading", SimpleNamespace(Timer=timer))
    with ended_in_time(tmp_path, 1_000, None):
        """Nothing to do."""
    (left,) = intervals
    assert 900 < left <= 1_000 - passed - watchdog.EXIT_SECONDS
