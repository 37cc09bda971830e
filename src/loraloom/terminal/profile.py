"""Where the winner's steps spent their time, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from loraloom.study.record import PROFILE


def profile_lines(trial: Path) -> Iterator[str]:
    """The profile in a trial's folder, longest section first; a sentence where its engine wrote none."""
    path = trial / PROFILE
    if not path.is_file():
        yield "profile     none: the trainer engine does not time its operations"
        return
    profile = json.loads(path.read_text(encoding="utf-8"))
    yield f"profile     {path}: {profile['steps']} steps, {profile['seconds']:.1f} s timed"
    for section in profile["sections"]:
        milliseconds, calls = section["milliseconds_per_step"], section["calls_per_step"]
        percent = 100 * section["share"]
        yield f"  {percent:6.1f} %  {milliseconds:9.2f} ms a step  {calls:6.1f} calls  {section['section']}"
