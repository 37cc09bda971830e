"""JSON with its own SHA-256 in it: another number in a small file that a run depends on is found when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loraloom.study.durable import write_json

SEAL = "sha256"


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Writes `values`, whole or not at all."""
    write_json(path, {SEAL: _digest(values), **values})


def read_sealed(path: Path) -> dict[str, Any]:
    """The values of a file that `write_sealed` wrote.

    Raises:
        OSError: it can't be read.
        ValueError: it is not as it was written.
    """
    try:
        kept = dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if kept.pop(SEAL, None) != _digest(kept):
        raise ValueError("it is not as the run wrote it")
    return kept


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
