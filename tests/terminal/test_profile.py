"""Where a trial's steps spent their time, for people."""

from __future__ import annotations

from pathlib import Path

from loraloom.study.durable import write_json
from loraloom.study.record import PROFILE
from loraloom.terminal.profile import profile_lines


def test_each_section_has_its_share_its_time_and_its_calls(tmp_path: Path) -> None:
    section = {"section": "attention", "share": 0.255, "milliseconds_per_step": 73.44, "calls_per_step": 6.5}
    write_json(tmp_path / PROFILE, {"steps": 12, "seconds": 3.456, "sections": [section]})
    head, line = profile_lines(tmp_path)
    assert head == f"profile     {tmp_path / PROFILE}: 12 steps, 3.5 s timed"
    assert line.split() == ["25.5", "%", "73.44", "ms", "a", "step", "6.5", "calls", "attention"]


def test_that_an_engine_keeps_none_is_said(tmp_path: Path) -> None:
    assert [*profile_lines(tmp_path)] == ["profile     none: the trainer engine does not time its operations"]
