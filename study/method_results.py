"""What is kept of the trainings of `study.methods`: their rows and steps, and how many rows each has right."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loraloom.study.durable import write_json
from study.machine import described


@dataclass(frozen=True, slots=True)
class Case:
    """Rows that are drawn from a set, and how often they are passed over."""

    name: str
    rows: int
    passes: int


@dataclass(frozen=True, slots=True)
class Training:
    """One training: rows that it has right of so many, of validation and of test; `parameters` are those that predict.

    `rows` are those trained on, `steps` are with those of teachers.
    """

    validation: tuple[int, int]
    test: tuple[int, int]
    rows: int
    steps: int
    parameters: int

    @property
    def valid(self) -> float:
        return self.validation[0] / self.validation[1]

    @property
    def accuracy(self) -> float:
        return self.test[0] / self.test[1]


class Kept:
    """The trainings of one file, by key, which is written after each; `times` of a step, by method in LoRA's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self._trainings: dict[str, dict[str, Any]] = there.get("trainings", {})
        self.times: dict[str, float] = there.get("times", {})

    def get(self, case: Case, name: str, rate: float, seed: int) -> Training | None:
        found = self._trainings.get(key_of(case, name, rate, seed))
        if found is None:
            return None
        counts: dict[str, Any] = {each: found[each] for each in Training.__slots__}
        return Training(**counts | {each: tuple(counts[each]) for each in ("validation", "test")})

    def add(self, case: Case, name: str, rate: float, seed: int, training: Training) -> None:
        self._trainings[key_of(case, name, rate, seed)] = asdict(training) | {"machine": described()}
        self.write()

    def write(self) -> None:
        write_json(self._path, {"times": self.times, "trainings": self._trainings})


def key_of(case: Case, name: str, rate: float, seed: int) -> str:
    return f"{case.name}, {case.rows} rows, {case.passes} passes, {name}, rate {rate:g}, seed {seed}"
