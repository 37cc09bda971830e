"""What stands on pages, for tests that hold it against what was measured."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def text_of(page: str) -> str:
    """A page, by its path in the repository, with one blank between words: where its lines break is no matter."""
    return " ".join((REPOSITORY / page).read_text(encoding="utf-8").split())
