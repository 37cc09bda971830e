"""Reads an axis as written: a list, a range, or a mapping that says where it varies.

`[2, 4]`, `{min: 1, max: 8, log: true}`, `{values: [0, 100], when: {train.optim: adamw}, otherwise: 0}`; a range may
have `when` and `otherwise` too. Each value is validated as if it stood alone in the field.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic import ValidationError

from loraloom.recipe.axes import Axis, Choices, Condition, Range, is_number
from loraloom.recipe.conditions import read_when
from loraloom.recipe.fields import SECTIONS, holds_values
from loraloom.recipe.problems import Source, explain, shown

CHOICES_KEYS = ("values", "when", "otherwise")
RANGE_KEYS = ("min", "max", "log", "when", "otherwise")
A_RANGE = "a range is {min: 1, max: 16, log: true}"


def candidates_of(name: str, value: Any) -> list[Any] | None:
    """The values of an axis as written, or None where `value` is one value of the field `name`."""
    if isinstance(value, dict):
        listed = value.get("values")
        return (
            (listed if isinstance(listed, list) else []) if "values" in value else [value.get("min"), value.get("max")]
        )
    return value if isinstance(value, list) and holds_values(name, value) else None


def base_of(section: str, leaf: str, value: Any) -> Any:
    """What an axis that was read leaves in its field: its first value, or what it takes where it does not vary."""
    if isinstance(value, dict) and "when" in value:
        return value["otherwise"] if "otherwise" in value else SECTIONS[section].model_fields[leaf].get_default()
    return (candidates_of(f"{section}.{leaf}", value) or [None])[0]


def read_axis(source: Source, section: str, leaf: str, value: Any) -> Axis | None:
    """The axis that `value` describes; None where it breaks a rule, which is noted."""
    before = len(source.problems)
    path, candidates = (section, leaf), candidates_of(f"{section}.{leaf}", value) or []
    if isinstance(value, dict):
        _check_keys(source, path, value)
    if not candidates and len(source.problems) == before:
        source.refuse(path, value, "is an empty axis; list at least one value")
    if len(source.problems) > before:
        return None
    checked = [_checked(source, section, leaf, candidate) for candidate in candidates]
    when: tuple[Condition, ...] = ()
    if isinstance(value, dict) and "when" in value:
        when = read_when(source, path, value["when"])
        if "otherwise" in value:
            _checked(source, section, leaf, value["otherwise"])
    if len(source.problems) > before:
        return None
    if isinstance(value, dict) and "values" not in value:
        low, high = checked
        return _range(source, path, value, low, high, when)
    twin, times = Counter(checked).most_common(1)[0]  # 16.0 is 16, for a ledger too
    if times > 1:
        source.refuse(path, value, f"holds {shown(twin)} twice; list each once")
        return None
    return Choices(tuple(checked), when)


def _check_keys(source: Source, path: tuple[str, str], value: dict[str, Any]) -> None:
    """Whether a mapping is a range or a list of values, with all that belongs to it and no more."""
    if value.keys().isdisjoint((*CHOICES_KEYS, *RANGE_KEYS)):
        section, leaf = path
        if is_number(SECTIONS[section].model_fields[leaf].get_default()):
            source.refuse(path, value, f"is not a range; {A_RANGE}")
        else:  # nor meant as one, as a weight for each class
            _checked(source, section, leaf, value)
        return
    kind, known = ("an axis of values", CHOICES_KEYS) if "values" in value else ("a range", RANGE_KEYS)
    for key in sorted(value.keys() - set(known), key=str):
        source.refuse(path, value, f"is not {kind}: {key!r} is not one of {', '.join(known)}")
    if "values" in value:
        if not isinstance(value["values"], list):
            source.refuse(path, value, "is not an axis; values is a list, as in {values: [0, 100]}")
    elif {"min", "max"} - value.keys():
        source.refuse(path, value, f"is not a range; {A_RANGE}")
    if not isinstance(value.get("log", False), bool):
        source.refuse(path, value, "is not a range; log is true or false")
    if "otherwise" in value and "when" not in value:
        source.refuse(path, value, "has otherwise without when; say when it varies, or take otherwise out")


def _range(
    source: Source, path: tuple[str, str], value: dict[str, Any], low: Any, high: Any, when: tuple[Condition, ...]
) -> Range | None:
    for end in (low, high):
        if not is_number(end):
            source.refuse(path, value, "is a range of a field that takes no numbers; list its values")
            return None
    if not low < high:
        source.refuse(path, value, f"has min {low} not below max {high}; min must be below max")
        return None
    log = value.get("log", False)
    if log and low <= 0:
        source.refuse(path, value, "is logarithmic from 0 or below; min must be above 0")
        return None
    return Range(low, high, log, when)


def _checked(source: Source, section: str, leaf: str, value: Any) -> Any:
    """`value` as the field's model has it; a broken rule is noted."""
    try:
        return getattr(SECTIONS[section].model_validate({leaf: value}), leaf)
    except ValidationError as error:
        explain(source, error, (section,))
        return None
