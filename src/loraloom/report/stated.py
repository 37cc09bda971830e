"""What a recipe's provenance states, of which every part may be missing or of another kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_mapping(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}


def as_list(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else []
