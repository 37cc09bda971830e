"""The console that all is printed on: what it is given stands as it is, where rich would make a picture of `:name:`."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def make_console(**options: Any) -> Console:
    """A console of rich, which takes the `options`; texts, labels, paths and commands keep their colons."""
    return Console(emoji=False, **options)
