"""Which trackers there are, and whether their libraries are installed; asked without importing any."""

from __future__ import annotations

from collections.abc import Sequence

from loraloom.errors import MissingExtraError, is_installed
from loraloom.recipe import Tracker


def refuse_missing(names: Sequence[Tracker]) -> None:
    """Refuses trackers whose library is not installed.

    Raises:
        MissingExtraError: one is not; it names the extra that brings it.
    """
    for name in names:
        if not is_installed(name):
            raise MissingExtraError(f"report_to: {name}", name)
