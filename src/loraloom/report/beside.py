"""What stands beside the winner where `loraloom blend` was asked for: TF-IDF alone, and blended in, on its test rows.

Sentences of paired comparisons, each of one training, by what RUN/blend keeps of single rows; costs reading them. As
in other sections, p-values are corrected for how many are tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from loraloom.errors import AdapterError, RunError, without_path
from loraloom.intervals import Paired, holm, paired, wilson_interval
from loraloom.recipe.problems import reason_of
from loraloom.report.against import verdict_of
from loraloom.report.reading import Best, RunRead, read_predictions
from loraloom.report.rounding import rounded, rounded_span
from loraloom.study.durable import is_whole, read_verified
from loraloom.study.record import BY_TFIDF, TEST_PREDICTIONS, read_record
from loraloom.study.run import BLEND

_Classes = TypeAdapter(tuple[int, ...])


def beside(run: RunRead, problems: list[str]) -> tuple[str, ...]:
    """Sentences on TF-IDF alone, on the blend, and on their p-values.

    There are none where RUN/blend is of another winner, or not there. What of it can't be read is named in `problems`.
    """
    folder = run.path / BLEND
    if run.best is None or not is_whole(folder):
        return ()
    try:
        return _compared(folder, run.best)
    except (RunError, AdapterError) as error:
        problems.append(str(error))
        return ()


def _compared(folder: Path, best: Best) -> tuple[str, ...]:
    record = read_record(folder)
    if not record.is_of(best.record):
        return ()
    rows = tuple(read_predictions(folder / TEST_PREDICTIONS, record))
    if not rows or [row.text for row in rows] != [row.text for row in best.predictions]:
        return ()
    try:
        given = _Classes.validate_json(read_verified(folder, BY_TFIDF))
    except ValidationError as error:
        raise RunError(f"{folder / BY_TFIDF}: can't be read: {reason_of(error)}") from None
    except OSError as error:
        raise RunError(f"{folder / BY_TFIDF}: can't be read: {without_path(error)}") from None
    if len(given) != len(rows):
        raise RunError(f"{folder / BY_TFIDF}: is of {len(given):,} rows, where {len(rows):,} were tested")
    of_alone = [one == row.label for one, row in zip(given, rows, strict=True)]
    each = {"TF-IDF alone": of_alone, "RUN/blend": [row.is_right for row in rows]}
    stands = corrected([row.is_right for row in best.predictions], *each.values())
    alone, blend = map(_stands, each, each.values(), stands)
    return (
        f"TF-IDF alone, a linear classifier of words and pairs of words, {alone}",
        f"RUN/blend, the winner with one part in three of its answers TF-IDF's, which counts in no cap, {blend}",
        "The p-values are corrected for these two tests (Holm).",
    )


def corrected(winner: Sequence[bool], *others: Sequence[bool]) -> list[Paired]:
    """How each of the others stands to the winner on the same rows, the p-values corrected for their number (Holm)."""
    stands = [paired(other, winner) for other in others]
    return [replace(stand, p=p) for stand, p in zip(stands, holm([stand.p for stand in stands]), strict=True)]


def _stands(name: str, right: Sequence[bool], stand: Paired) -> str:
    """Its accuracy on the winner's test rows, and how it stands to the winner."""
    interval = wilson_interval(sum(right), len(right))
    accuracy = f"has {rounded(sum(right) / len(right), interval)} ({rounded_span(interval)}) on the same test rows."
    return f"{accuracy} {verdict_of((name, 'RUN/best'), stand, tests=2)}"
