"""effects.csv, a row for each comparison; importances.csv; interactions.csv, a row for each cell; gap.csv."""

from __future__ import annotations

from collections.abc import Iterator

from loraloom.report.effects.analysis import Analysis, Effect
from loraloom.report.effects.section import Effects
from loraloom.report.gap import Gap
from loraloom.report.tables.cells import Cell, csv_text

_HEAD = (
    "among",
    "axis",
    "comparison",
    "verdict",
    "difference",
    "low",
    "high",
    "p_value_corrected",
    "configurations",
    "pairs",
    "paired_difference",
    "paired_low",
    "paired_high",
    "with_axes",
    "configurations_needed",
)


def effects_tables(found: Effects) -> dict[str, str]:
    """File names and their text."""
    if found.analysis is None:
        return {}
    rows = [_row("all, as first seen", effect) for effect in found.effects]
    if found.survivors:
        rows += [_row("survivors only", effect) for effect in found.survivors.effects]
    made = {"effects.csv": csv_text(_HEAD, rows)}
    if found.importances:
        made["importances.csv"] = csv_text(("axis", "share"), found.importances.items())
    if found.analysis.interactions.found:
        head = ("first_axis", "second_axis", "p_value_corrected", "first", "second", "adjusted_mean", "configurations")
        made["interactions.csv"] = csv_text(head, _cells(found.analysis))
    return made


def gap_table(found: Gap) -> str:
    rows: list[tuple[Cell, ...]] = [
        ("by epoch", series.rank, epoch, gap, None, None, count)
        for series in found.series
        for epoch, gap, count in series.points
    ]
    for rank, gap, interval, count in found.by_rank:
        low, high = interval or (None, None)
        rows.append(("last evaluation", f"{rank:g}", None, gap, low, high, count))
    return csv_text(("what", "rank", "epoch", "gap", "low", "high", "configurations"), rows)


def _row(among: str, effect: Effect) -> tuple[Cell, ...]:
    low, high = effect.interval or (None, None)
    paired_low, paired_high = effect.pairs.interval or (None, None)
    return (
        among,
        effect.axis,
        effect.title,
        effect.verdict,
        effect.estimate,
        low,
        high,
        effect.p_value,
        effect.configurations,
        effect.pairs.count,
        effect.pairs.mean,
        paired_low,
        paired_high,
        "; ".join(effect.with_axes),
        effect.needed,
    )


def _cells(analysis: Analysis) -> Iterator[tuple[Cell, ...]]:
    for each in analysis.interactions.found:
        for first, line in zip(each.first_labels, each.cells, strict=True):
            for second, cell in zip(each.second_labels, line, strict=True):
                yield each.first, each.second, each.p_value, first, second, cell.mean, cell.count
