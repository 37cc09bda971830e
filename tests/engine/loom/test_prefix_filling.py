"""One process fills a file while others wait for it."""

from __future__ import annotations

import errno
import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import loraloom
from loraloom.engine.checkpoint import HaltError
from loraloom.engine.loom import prefix_states
from loraloom.engine.loom.prefix_filling import only_filler


def test_the_first_to_come_fills(tmp_path: Path) -> None:
    with only_filler(tmp_path / "lock", None) as alone:
        assert alone


def test_others_wait_until_the_first_is_done(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with only_filler(tmp_path / "lock", None) as alone:
            order.append(f"second, alone: {alone}")

    with only_filler(tmp_path / "lock", None):
        waiting = threading.Thread(target=second)
        waiting.start()
        order.append("first")
    waiting.join()
    assert order == ["first", "second, alone: True"]


def test_who_has_no_time_does_not_wait(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with only_filler(tmp_path / "lock", time.monotonic()) as alone:
            assert not alone


def test_who_waits_is_stopped_when_that_is_asked_for(tmp_path: Path) -> None:
    def stopped() -> None:
        raise HaltError

    with (tmp_path / "lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(HaltError), only_filler(tmp_path / "lock", time.monotonic() + 60, stopped):
            pytest.fail("it waited")


def test_who_gets_no_lock_from_the_disk_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with only_filler(tmp_path / "gone" / "lock", None) as alone:
        assert not alone
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with only_filler(tmp_path / "lock", None) as alone:
        assert not alone


def test_a_trial_that_had_no_time_to_wait_does_without_kept_states(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    @contextmanager
    def late(path: Path, *_: Any) -> Iterator[bool]:
        asked.append(path.suffix)
        yield False

    monkeypatch.setattr(prefix_states, "only_filler", late)
    monkeypatch.setenv("LORALOOM_CACHE", str(tmp_path / "cache"))  # where others have kept none
    top = {**tiny_recipe, "lora": {"r": 2, "layers_to_transform": [1]}}
    assert loraloom.search(top, tmp_path / "run", report=False).state == "complete"
    assert set(asked) == {".filling"}
