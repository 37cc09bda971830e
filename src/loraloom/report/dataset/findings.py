"""The data as one value: a section of the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loraloom.report.dataset.checks import Finding, found_by_checks
from loraloom.report.dataset.counts import Counts, counts
from loraloom.report.dataset.shares import Balance, Drift, Effect, balance, drifts, share_effect
from loraloom.report.failures import Failures
from loraloom.report.reading import RunRead
from loraloom.report.wording import listed, value
from loraloom.study.provenance import data_stated, rows_of
from loraloom.wording import percent, plural


@dataclass(frozen=True, slots=True)
class ClassRow:
    """Rows of a class by split, as a count and a share of the split."""

    label: str
    rows: Mapping[str, int]
    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Dataset:
    """`facts` are names and values, `rows` those of each split; `splits` are those whose classes were counted.

    What a run did not keep is empty or None.
    """

    facts: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, int], ...]
    findings: tuple[Finding, ...]
    splits: tuple[str, ...]
    classes: tuple[ClassRow, ...]
    balance: Balance | None
    drifts: tuple[Drift, ...]
    effect: Effect | None
    counts: Counts
    on_lengths: str
    on_overlaps: str


def dataset(run: RunRead, failed: Failures | None) -> Dataset:
    """What is known of the data, and what that means for the errors in `failed`."""
    found = counts(run)
    train = found.by_class.get("train")
    effect = None
    if train and failed is not None:
        effect = share_effect(train, failed.classes, failed.by_class, failed.split)
    others = {split: rows for split, rows in found.by_class.items() if split != "train"}
    return Dataset(
        facts=_facts(run),
        rows=tuple(rows_of(run.recipe).items()),
        findings=found_by_checks(run),
        splits=tuple(found.by_class),
        classes=_classes(found),
        balance=balance(train) if train else None,
        drifts=drifts(train, others) if train else (),
        effect=effect,
        counts=found,
        on_lengths=_on_lengths(found, failed),
        on_overlaps=_on_overlaps(found),
    )


def _facts(run: RunRead) -> tuple[tuple[str, str], ...]:
    given = data_stated(run.recipe)
    named = (("Data set", "name"), ("Revision", "revision"), ("Fingerprint", "fingerprint"))
    return tuple((title, value(given[key])) for title, key in named if given.get(key) is not None)


def _classes(found: Counts) -> tuple[ClassRow, ...]:
    totals = {split: sum(rows.values()) for split, rows in found.by_class.items()}
    names = dict.fromkeys(name for rows in found.by_class.values() for name in rows)
    return tuple(
        ClassRow(
            name,
            {split: rows.get(name, 0) for split, rows in found.by_class.items()},
            {split: rows.get(name, 0) / totals[split] for split, rows in found.by_class.items()},
        )
        for name in names
    )


def _on_lengths(found: Counts, failed: Failures | None) -> str:
    train = next((each for each in found.lengths if each.split == "train"), None)
    if train is None or found.max_length is None:
        return ""
    measured = f"{train.measured:,} training rows that were measured"
    limit = f"data.max_length = {found.max_length:,} tokens{f' of {found.model}' if found.model else ''}"
    if train.cut:
        said = f"{percent(train.cut / train.measured)} of {measured} have more than {limit}, and lose their end."
    else:
        said = f"None of {measured} has more than {limit}, so none loses its end."
    if failed is None or failed.cut is None:
        return said
    if failed.max_length != found.max_length:
        said += f" The winner cuts at {failed.max_length:,}."
    if failed.by_cut is None:
        all_or_none = "Every" if failed.cut == failed.rows else "No"
        return f"{said} {all_or_none} {failed.split} row is cut, so whether it does harm can't be told from them."
    return f"{said} {failed.by_cut.verdict}"


def _on_overlaps(found: Counts) -> str:
    """What splits have in common. A training row may be in both of the others, so these are counted apart."""
    if not found.overlaps:
        return ""
    of_train = {each.other: each.equal + each.near for each in found.overlaps if each.split == "train"}
    held = next((each for each in found.overlaps if each.split == "validation"), None)
    if not any(of_train.values()):
        said = "No training row is equal to, or a near copy of, a held-out row."
    else:
        counted = listed([f"{rows:,} in {split}" for split, rows in of_train.items() if rows])
        done = f"kept ({counted}): results flatter" if found.leak_kept else f"dropped before training ({counted})"
        said = f"Training rows that held-out rows equal, or nearly, were {done}."
    shared = held.equal + held.near if held is not None else 0
    if shared:
        said += (
            f" {plural(shared, 'validation row')} {'is' if shared == 1 else 'are'} in test too, or nearly: the choice "
        )
        said += f"of the winner has seen {'it' if shared == 1 else 'them'}."
    return said
