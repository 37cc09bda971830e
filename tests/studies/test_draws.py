"""How a study of draws is run: what is measured and kept, and what is not measured again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from study.draws import Case, draws_of, run_draws

CASES = (Case("one", 10, 1, 2), Case("two", 20, 1, 1))


@dataclass(frozen=True, slots=True)
class Draw:
    name: str
    seed: int


def lines(kept: dict[str, Any]) -> Iterator[str]:
    for case in CASES:
        yield f"{case.name}: {draws_of(kept, case)}"


def test_each_draw_is_measured_once_a_draw_of_each_case_before_the_next_of_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[tuple[str, int]] = []

    def measure(case: Case, seed: int) -> Draw:
        measured.append((case.name, seed))
        if measured == [("one", 0), ("two", 0), ("one", 1)]:
            raise KeyboardInterrupt
        return Draw(case.name, seed)

    def command(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["study.some", "--results", str(tmp_path / "some.json"), *options])
        run_draws("study.some", None, tmp_path / "other.json", CASES, measure, lines)
        return capsys.readouterr().out

    assert command("--list") == "one, 10 rows, 1 passes, 2 draws\ntwo, 20 rows, 1 passes, 1 draws\n"
    with pytest.raises(SystemExit) as stopped:
        command()
    assert stopped.value.code == 130
    assert measured == [("one", 0), ("two", 0), ("one", 1)]
    capsys.readouterr()
    assert command("--seconds", "-1") == "one: [{'name': 'one', 'seed': 0}]\ntwo: [{'name': 'two', 'seed': 0}]\n"
    out = command()
    assert measured[3:] == [("one", 1)]
    assert out.endswith(
        "one: [{'name': 'one', 'seed': 0}, {'name': 'one', 'seed': 1}]\ntwo: [{'name': 'two', 'seed': 0}]\n"
    )
    assert not (tmp_path / "other.json").exists()
