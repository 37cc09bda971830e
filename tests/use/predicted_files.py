"""Files of rows to be predicted, and what hears of it while they are."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path
from typing import Any

from loraloom.use.answers import Choices
from loraloom.use.ensemble import Ensemble
from loraloom.use.predict import Summary, predict_file
from tests.conftest import FILLER, WORDS

LABELS = ("animals", "food", "tools")


def sentences(count: int) -> list[str]:
    words = [*FILLER, *itertools.chain(*WORDS.values())]
    return [" ".join(words[(n * k) % len(words)] for k in range(1, 2 + n % 9)) for n in range(count)]


def write_rows(path: Path, count: int = 30) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "note"])
        writer.writerows([f"{n:03d}", text, ""] for n, text in enumerate(sentences(count)))
    return path


class Heard:
    """A watcher that keeps what it is told, and may end the run after some windows."""

    def __init__(self, end_after: int | None = None, by: type[BaseException] = KeyboardInterrupt) -> None:
        self.notes: list[str] = []
        self.windows = 0
        self._end_after, self._by = end_after, by

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def done(self, rows: int, share: float | None) -> None:
        self.windows += 1
        if self.windows == self._end_after:
            raise self._by

    def kept(self, rows: int) -> None:
        self.kept_rows = rows


def run(
    ensemble: Ensemble, source: Path | str, out: Path | str | None, watcher: Heard | None = None, **choices: Any
) -> tuple[Summary, str]:
    printed = io.StringIO()
    return predict_file(ensemble, str(source), out, printed, Choices(**choices), watcher), printed.getvalue()


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
