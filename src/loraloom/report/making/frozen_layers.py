"""Whether the frozen layers below those that are adapted were computed once for all trials.

Only a backbone that drops nothing has the same states at each pass, so that they can be kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from loraloom.report.wording import duration
from loraloom.study.record import TrialRecord
from loraloom.wording import plural


def frozen_layers(records: Sequence[TrialRecord]) -> str | None:
    """Which trials kept them and which could not, in sentences; None where none is known to have had the choice."""
    kept = [record.timings for record in records if record.timings and record.timings.prefix_rows is not None]
    dropped, said = sum(_drops(record) for record in records), []
    if kept:
        seconds, rows = sum(each.prefix_seconds for each in kept), sum(each.prefix_rows or 0 for each in kept)
        said.append(
            f"The lowest layers, which are frozen, were computed once and kept for {plural(len(kept), 'trial')}: of "
            f"{plural(rows, 'row')} in this run, which took {duration(seconds)} beside the trials' own times."
            if rows
            else "The lowest layers, which are frozen, were computed before and read again for "
            f"{plural(len(kept), 'trial')}."
        )
    if dropped:
        said.append(
            f"For {plural(dropped, 'trial')} of which the lowest layers are frozen these were computed anew at each "
            "step: they are kept where the backbone drops nothing (`backbone.dropout: off`), and disk and time allow."
        )
    return " ".join(said) or None


def _drops(record: TrialRecord) -> bool:
    """Whether states could have been kept, were it not for the backbone's dropout."""
    lora, layers = record.configuration.lora, record.configuration.lora.layers_to_transform
    lowest_is_frozen = layers is not None and (layers == "top-half" or 0 not in layers) and lora.bias != "all"
    computed = record.timings is not None and record.timings.prefix_rows is None and record.engine == "loom"
    return computed and lowest_is_frozen and record.configuration.backbone.dropout == "keep"
