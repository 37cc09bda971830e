"""How a run was made: versions, machine, git revision, and what data and models were.

What a recipe's provenance states is read here too. Every part of it may be missing or of another kind: it is then as if
nothing were stated.
"""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.machine import read_machine
from loraloom.recipe import Recipe

if TYPE_CHECKING:
    from loraloom.study.record import TrialRecord

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "optuna",
    "numpy",
    "scipy",
    "scikit-learn",
)
SPLITS = ("train", "validation", "test")
"""Of a run's rows, in the order in which all tell of them."""


def describe_machine() -> dict[str, Any]:
    """Versions, machine and git revision of this process."""
    machine = read_machine()
    return {
        "loraloom": own_version(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := version_of(name)) is not None},
        "machine": {
            "processor": machine.cpu,
            "cores": machine.logical_cores,
            "memory_gb": round(machine.memory_total_gb, 1),
            "gpu": ", ".join(machine.gpus) or None,
            "system": platform.platform(),
        },
        "git_revision": _git_revision(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def own_version() -> str:
    """loraloom's version, or that it is run from its source."""
    return version_of("loraloom") or "not installed"


@functools.cache
def version_of(package: str) -> str | None:
    """The version of a package that is installed; None of one that is not.

    A process uses the one that it found first, whatever is installed meanwhile.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def changed(pinned: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What differs between what a run pinned (data fingerprint, model revisions) and what is there now; or None."""
    data = as_mapping(pinned.get("data"))
    if data.get("fingerprint") != now["data"]["fingerprint"]:
        return f"the data {data.get('name', now['data']['name'])!r}"
    for model, revision in as_mapping(pinned.get("model_revisions")).items():
        if now["model_revisions"].get(model) != revision:
            return f"the model {model!r}"
    return None


def data_revision(recipe: Recipe) -> str | None:
    """The commit of `data.dataset` on the hub that a run was made of; None where its recipe names none for it."""
    pinned = data_stated(recipe)
    revision = pinned.get("revision")
    return revision if isinstance(revision, str) and pinned.get("name") == recipe.data.dataset else None


def model_revision(recipe: Recipe, model: str) -> str | None:
    """What the weights of `model` were that a run was made with; None where its recipe names nothing for it."""
    revision = as_mapping(recipe.provenance.get("model_revisions")).get(model)
    return revision if isinstance(revision, str) else None


def as_mapping(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}


def as_list(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else []


def as_count(given: Any) -> int | None:
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 2**53 else None


def data_stated(recipe: Recipe) -> Mapping[str, Any]:
    """All that is stated of the data."""
    return as_mapping(recipe.provenance.get("data"))


def findings_stated(recipe: Recipe) -> list[Mapping[str, Any]]:
    """What the data's checks found."""
    return [*map(as_mapping, as_list(data_stated(recipe).get("findings")))]


def fingerprint_of(recipe: Recipe) -> str | None:
    """The SHA-256 of the rows of all splits."""
    found = data_stated(recipe).get("fingerprint")
    return found if isinstance(found, str) else None


def rows_of(recipe: Recipe) -> dict[str, int]:
    """Rows by split."""
    return _counts(data_stated(recipe).get("rows"))


def class_rows(recipe: Recipe) -> dict[str, dict[str, int]]:
    """Rows of each class, by split."""
    given = as_mapping(data_stated(recipe).get("class_rows"))
    return {str(split): _counts(of_split) for split, of_split in given.items()}


def commonest(rows: Mapping[str, int]) -> tuple[str, float] | None:
    """The class that most of the `rows` are of, and its share of them; None where there are none."""
    label = max(rows, key=rows.__getitem__, default="")
    return (label, rows[label] / sum(rows.values())) if rows.get(label) else None


def unbeaten(winner: TrialRecord, recipe: Recipe) -> tuple[str, float] | None:
    """The commonest class of the test rows, and the accuracy of always answering it, where `winner` may not beat that.

    It is told by the rows that were tested, or, where classes are too many for a confusion, by all. None where it is
    shown to beat it, was not tested, or classes were not counted.
    """
    score = winner.result.test if winner.result else None
    if score is None or not score.examples:
        return None
    tested = dict(zip(winner.labels, map(sum, score.confusion or ()), strict=False))
    constant = commonest(tested or class_rows(recipe).get("test", {}))
    return None if constant is None or score.is_above(constant[1]) else constant


def dropped_points(recipe: Recipe) -> tuple[tuple[Any, ...], int]:
    """The points of its grid that the run did not try, the first of them named with the reason, and how many more."""
    more = as_count(recipe.provenance.get("more_dropped_points"))
    return tuple(as_list(recipe.provenance.get("dropped_points"))), more or 0


def _counts(given: Any) -> dict[str, int]:
    found = {str(name): as_count(value) for name, value in as_mapping(given).items()}
    return {name: value for name, value in found.items() if value is not None}


@functools.cache
def _git_revision() -> str | None:
    """The commit of the checkout that this code is run from, `+` where it has changes; None outside a checkout.

    Code that is installed below another project's checkout, as in its .venv, is not that project's. A process runs what
    it imported, whatever becomes of the checkout meanwhile.
    """
    folder, file = Path(__file__).parent, Path(__file__).name
    try:
        _git(folder, "ls-files", "--error-unmatch", file)
        revision = _git(folder, "rev-parse", "HEAD")
        return revision + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
