"""How a run was made: versions, machine, git revision, and what data and models were."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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
    return {
        "loraloom": own_version(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES if _installed(name)},
        "machine": {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
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


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git_revision() -> str | None:
    """The commit of the checkout that this code is run from, `+` where it has changes; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        return revision + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
