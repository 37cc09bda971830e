"""What a peer is given and gives back. The standard library alone: peers' environments have not got loraloom."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """The rows, the encoder and the time. Labels are ids 0..C-1; `test` has no labels, so that nobody can look."""

    texts: list[str]
    labels: list[int]
    classes: list[str]
    test: list[str]
    encoder: str  # a folder
    seconds: float  # from the start of the process to its answer, after which it is ended
    started: float  # time.time() when the process was started
    seed: int
    threads: int
    folder: str  # to write into; it is removed
    max_length: int = 128  # tokens of a text; loraloom chooses for itself

    def remaining(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.time() - self.started)


@dataclass(frozen=True, slots=True)
class Answer:
    """A class id for each row of `Task.test`, and what was chosen on the way, for people to read."""

    predictions: list[int]
    settings: dict[str, Any] = field(default_factory=dict)
