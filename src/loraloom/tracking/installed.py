"""Which trackers there are, and whether their libraries are installed; asked without importing any."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from loraloom.errors import MissingExtraError
from loraloom.recipe import Tracker


def refuse_missing(names: Sequence[Tracker]) -> None:
    """Refuses trackers whose library is not installed.

    Raises:
        MissingExtraError: one is not; it names the extra that brings it.
    """
    for name in names:
        if not is_installed(name):
            raise MissingExtraError(f"report_to: {name}", name)


def is_installed(package: str) -> bool:
    """Whether `import package` would find a package; a mere folder of its name (W&B makes ./wandb) is none."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None
