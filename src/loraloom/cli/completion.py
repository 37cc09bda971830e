"""What the Tab key offers for a recipe, a run and an adapter: by names alone: no file is read, and torch not imported.

Where all that matches are plain folders, nothing is offered: the shell then completes paths itself, and goes on behind
a folder's slash, which it does not do for what a program offers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

from loraloom.machine import with_home
from loraloom.shipped import shipped_names
from loraloom.use.serve.names import written_name

MOST_ENTRIES = 2000
"""Of a folder; a larger one is not a place where people keep recipes and runs."""


def complete_recipe(incomplete: str) -> list[str]:
    """YAML files, and the names of the recipes that come with loraloom."""

    def yaml_file(path: str) -> str | None:
        return path if path.endswith((".yaml", ".yml")) else None

    return _beside_folders(incomplete, yaml_file, complete_shipped(incomplete))


def complete_shipped(incomplete: str) -> list[str]:
    """The names of the recipes that come with loraloom."""
    return [name for name in shipped_names() if name.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """Folders that hold a run."""

    def run(path: str) -> str | None:
        return path if _is_file(f"{path}/recipe.yaml") and _is_folder(f"{path}/trials") else None

    return _beside_folders(incomplete, run)


def complete_adapter(incomplete: str) -> list[str]:
    """Folders that hold an adapter; of a run, its winner."""

    def adapter(path: str) -> str | None:
        return next((place for place in (path, f"{path}/best") if _is_file(f"{place}/adapter_config.json")), None)

    return _beside_folders(incomplete, adapter)


def complete_served(incomplete: str) -> list[str]:
    """The same, also behind NAME=."""
    _, place = written_name(incomplete)
    return [f"{incomplete.removesuffix(place)}{path}" for path in complete_adapter(place)]


def _beside_folders(incomplete: str, found: Callable[[str], str | None], names: list[str] | None = None) -> list[str]:
    """What `found` makes of the entries that match, and `names`, beside other folders; nothing where those are all."""
    wanted, folders = list(names or ()), []
    for path in _entries(incomplete):
        what = found(path)
        if what is not None:
            wanted.append(what)
        elif _is_folder(path):
            folders.append(f"{path}/")
    return sorted([*wanted, *folders]) if wanted else []


def _entries(incomplete: str) -> Iterator[str]:
    """The paths that what is typed may become, as they would be typed."""
    start = incomplete.rpartition("/")[2]
    folder = incomplete.removesuffix(start)
    with suppress(OSError), os.scandir(with_home(folder)) as entries:
        for entry in islice(entries, MOST_ENTRIES):
            if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
                yield f"{folder}{entry.name}"


def _is_file(path: str) -> bool:
    return os.path.isfile(with_home(path))  # noqa: PTH113 - Path.is_file raises where it may not look


def _is_folder(path: str) -> bool:
    return os.path.isdir(with_home(path))  # noqa: PTH112 - the same of Path.is_dir
