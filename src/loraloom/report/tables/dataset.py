"""Section 7 as CSV: class_shares.csv, lengths.csv, overlaps.csv."""

from __future__ import annotations

from loraloom.report.dataset import Dataset
from loraloom.report.tables.cells import csv_text


def dataset_tables(found: Dataset) -> dict[str, str]:
    """File names and their text; a table that has no rows is left out."""
    made = {}
    if found.classes:
        made["class_shares.csv"] = csv_text(
            ("class", *(f"{split}_{what}" for split in found.splits for what in ("rows", "share"))),
            (
                (each.label, *(cell for split in found.splits for cell in (each.rows[split], each.shares[split])))
                for each in found.classes
            ),
        )
    counts = found.counts
    if counts.lengths:
        made["lengths.csv"] = csv_text(
            ("split", "rows_measured", *(f"tokens_at_{at}_percent" for at in counts.at), "rows_cut"),
            ((each.split, each.measured, *each.quantiles, each.cut) for each in counts.lengths),
        )
    if counts.overlaps:
        made["overlaps.csv"] = csv_text(
            ("split", "other", "rows_equal", "rows_nearly_equal"),
            ((each.split, each.other, each.equal, each.near) for each in counts.overlaps),
        )
    return made
