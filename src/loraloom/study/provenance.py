"""How a run was made: versions, machine, git revision, and what data and models were."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loraloom.machine import read_machine
from loraloom.recipe import Recipe

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


def describe_machine() -> dict[str, Any]:
    """Versions, machine and git revision of this process."""
    machine = read_machine()
    return {
        "loraloom": own_version(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES if _installed(name)},
        "machine": {
            "processor": machine.cpu,
            "cores": machine.logical_cores,
            "memory_gb": round(machine.memory_total_gb, 1),
            "system": platform.platform(),
        },
        "git_revision": _git_revision(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def own_version() -> str:
    """loraloom's version, or that it is run from its source."""
    return version("loraloom") if _installed("loraloom") else "not installed"


def changed(pinned: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What differs between what a run pinned (data fingerprint, model revisions) and what is there now; or None."""
    if pinned["data"]["fingerprint"] != now["data"]["fingerprint"]:
        return f"the data {pinned['data']['name']!r}"
    for model, revision in pinned["model_revisions"].items():
        if now["model_revisions"].get(model) != revision:
            return f"the model {model!r}"
    return None


def data_revision(recipe: Recipe) -> str | None:
    """The commit of `data.dataset` on the hub that a run was made of; None where its recipe names none for it."""
    pinned = recipe.provenance.get("data")
    if not isinstance(pinned, dict) or pinned.get("name") != recipe.data.dataset:
        return None
    revision = pinned.get("revision")
    return revision if isinstance(revision, str) else None


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _git_revision() -> str | None:
    """The commit of the checkout that this code is run from, `+` where it has changes; None outside a checkout.

    Code that is installed below another project's checkout, as in its .venv, is not that project's.
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
