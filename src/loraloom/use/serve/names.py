"""How adapters are named where they are given to `loraloom serve`. Imports nothing: the Tab key asks it too."""

from __future__ import annotations

NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
"""What an adapter's name may be, in a request too."""


def written_name(argument: str) -> tuple[str | None, str]:
    """The name and the adapter of `NAME=ADAPTER`, or of `ADAPTER` alone; a folder may hold a sign itself."""
    name, sign, place = argument.partition("=")
    return (name, place) if sign and "/" not in name else (None, argument)
