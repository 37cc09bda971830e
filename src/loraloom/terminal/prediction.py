"""What is said of a file that was predicted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from loraloom.data import beside_figure
from loraloom.use.ensemble import Ensemble
from loraloom.use.origin import earlier_winner
from loraloom.use.predict import Summary
from loraloom.wording import percent, plural

MOST_CLASSES = 20


def adjustment_lines(ensemble: Ensemble) -> Iterator[str]:
    """Adapters of an earlier winner, temperatures that are applied, and class shares that are asked for."""
    for member in ensemble.members:
        if said := earlier_winner(member.folder, member.classifier.record):
            yield said
        if (fitted := member.classifier.temperature) is not None:
            yield (
                f"temperature {fitted.value:.2f} of {member.folder}, fitted on {fitted.rows:,} validation rows "
                "(--no_temperature leaves it out)"
            )
        if (shift := member.classifier.shift) is not None:
            yield f"class shares of {member.folder}: {shift}"


def summary_lines(ensemble: Ensemble, summary: Summary, out: Path | None, *, replaced: bool = False) -> Iterator[str]:
    """What was applied, bad rows and abstentions, and last: rows, seconds, rows/s, shares of classes.

    `replaced`: `out` took the place of a file that was there.
    """
    yield from adjustment_lines(ensemble)
    counts = summary.counts
    if counts.bad:
        did = "written without a prediction" if counts.written == counts.rows else "left out"
        yield f"bad rows: {counts.bad:,} of {counts.rows:,} {did}"
    if counts.abstained:
        yield f"abstained: {counts.abstained:,} of {counts.rows:,} rows are below --min_confidence"
    predicted = counts.by_label.total()
    shares = [
        f"{beside_figure(label)} {percent(number / predicted)}"
        for label, number in counts.by_label.most_common(MOST_CLASSES)
    ]
    more = len(counts.by_label) - len(shares)
    place = ", in place of a file that was there," if replaced else ""
    where = "" if out is None else f" written to {out}{place}"
    rate = f", {summary.rows_per_second:,.0f} rows/s" if summary.rows else ""  # all may have been there
    among = f"of {predicted:,} with a prediction " if 0 < predicted < counts.written else ""
    yield (
        f"{plural(counts.written, 'row')}{where} in {summary.seconds:.1f} s{rate}: {among}"
        + (", ".join(shares) or "none has a prediction")
        + (f", {plural(more, 'other label')}" if more > 0 else "")
    )
