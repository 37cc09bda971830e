"""The counts of a run's data, from its recipe's provenance; what is missing or is no count is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loraloom.report.reading import RunRead
from loraloom.report.wording import clean
from loraloom.study.provenance import SPLITS, as_count, as_list, as_mapping, class_rows, data_stated, findings_stated


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of the texts of a split before they are cut: quantiles, and how many of `measured` rows are cut."""

    split: str
    measured: int
    quantiles: tuple[int, ...]
    cut: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many rows of `split` are equal to rows of `other`, and how many near copies of them."""

    split: str
    other: str
    equal: int
    near: int


@dataclass(frozen=True, slots=True)
class Counts:
    """`by_class` has rows of each class by split; `at` are the percents that quantiles are at.

    `model` is whose tokens are counted, where a search has several.
    """

    by_class: Mapping[str, Mapping[str, int]]
    at: tuple[int, ...]
    max_length: int | None
    model: str | None
    lengths: tuple[Lengths, ...]
    overlaps: tuple[Overlap, ...]
    repeated: Mapping[str, int]
    disputed: Mapping[str, int]
    leak_kept: bool


def counts(run: RunRead) -> Counts:
    """What the recipe's provenance says of the data."""
    given = data_stated(run.recipe)
    tokens = as_mapping(given.get("tokens"))
    at = tuple(each for each in map(as_count, as_list(tokens.get("at"))) if each is not None)
    rows = class_rows(run.recipe)
    findings = findings_stated(run.recipe)
    several_models = len(run.recipe.values("backbone.model")) > 1
    return Counts(
        by_class={split: rows[split] for split in SPLITS if sum(rows.get(split, {}).values())},
        at=at,
        max_length=as_count(tokens.get("max_length")),
        model=clean(str(tokens["model"])) if "model" in tokens and several_models else None,
        lengths=tuple(_lengths(as_mapping(tokens.get("splits")), len(at))),
        overlaps=tuple(_overlaps(as_list(given.get("overlaps")))),
        repeated=_within("duplicate", findings),
        disputed=_within("conflict", findings),
        leak_kept=bool(run.recipe.provenance.get("allow_leak")),
    )


def _lengths(splits: Mapping[str, Any], quantiles: int) -> list[Lengths]:
    found = []
    for split in SPLITS:
        of = as_mapping(splits.get(split))
        measured, cut = as_count(of.get("measured")), as_count(of.get("cut"))
        values = [as_count(value) for value in as_list(of.get("quantiles"))]
        whole = tuple(value for value in values if value is not None)
        if measured and cut is not None and cut <= measured and len(whole) == len(values) == quantiles > 0:
            found.append(Lengths(split, measured, whole, cut))
    return found


def _overlaps(given: list[Any]) -> list[Overlap]:
    found = []
    for each in map(as_mapping, given):
        names, equal, near = as_list(each.get("splits")), as_count(each.get("equal")), as_count(each.get("near"))
        if len(names) == 2 and all(name in SPLITS for name in names) and equal is not None and near is not None:
            found.append(Overlap(names[0], names[1], equal, near))
    return found


def _within(kind: str, findings: list[Mapping[str, Any]]) -> dict[str, int]:
    """Rows by split that findings of a kind are about, where they say of which."""
    found: dict[str, int] = {}
    for each in findings:
        splits, rows = as_list(each.get("splits")), as_count(each.get("count"))
        if each.get("kind") == kind and len(splits) == 1 and splits[0] in SPLITS and rows is not None:
            found[splits[0]] = rows
    return found
