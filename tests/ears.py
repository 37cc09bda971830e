"""Who follows a run in a test, and keeps what is noted."""

from __future__ import annotations

from loraloom.search.watcher import Watcher


class Ear(Watcher):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)
