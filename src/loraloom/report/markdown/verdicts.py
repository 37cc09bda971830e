"""The verdicts of the sections that answer why: effects, training, failures, data, similarity, two runs."""

from __future__ import annotations

from collections.abc import Iterator

from loraloom.report.findings import Findings
from loraloom.report.markdown.text import bullets, fenced, text


def tradeoffs(found: Findings) -> Iterator[str]:
    """What accuracy costs in parameters and in time."""
    if found.tradeoffs:
        yield bullets([text(found.tradeoffs.on_size), text(found.tradeoffs.on_time)])


def effects(found: Findings) -> Iterator[str]:
    """A verdict on each axis, where it was measured, and what to run to know more."""
    measured = found.effects
    if measured.axes:
        yield bullets(f"**{text(axis.badge)}**: {text(axis.sentence)}" for axis in measured.axes)
    yield text(" ".join(part for part in (*measured.where, measured.on_model, measured.on_interactions) if part))
    if measured.advice:
        yield text(measured.advice.sentence)
        yield fenced(measured.advice.command, "sh")


def training(found: Findings) -> Iterator[str]:
    """Whether the gap between training and validation widens."""
    if found.gap:
        yield bullets(text(claim.sentence) for claim in found.gap.claims)


def failures(found: Findings) -> Iterator[str]:
    """What the errors depend on, whether confidence holds, and what to read."""
    failed = found.failures
    if failed is None:
        return
    parts = (failed.by_class, failed.by_length, failed.by_cut, failed.by_source, failed.missed, *failed.judged_labels)
    said = [part.verdict for part in parts if part is not None]
    yield bullets(text(each) for each in (*said, failed.calibrated.verdict, failed.calibrated.remedy,
                                          failed.training.how, failed.selective.verdict) if each)  # fmt: skip


def dataset(found: Findings) -> Iterator[str]:
    """Whether class shares matter, what is cut off, and what the splits have in common."""
    data = found.dataset
    said = [part.verdict for part in (data.balance, data.effect) if part is not None]
    said += [f"{drift.split}: {drift.verdict}" for drift in data.drifts]
    if said := [each for each in (*said, data.on_lengths, data.on_overlaps) if each]:
        yield bullets(text(each) for each in said)


def similarity(found: Findings) -> Iterator[str]:
    """How alike the texts are, and what depends on it."""
    alike = found.similarity
    if isinstance(alike, str):
        yield text(f"Not measured: {alike}.")
        return
    said = [f"{' and '.join(each.names)}: {each.verdict}" for each in alike.comparisons]
    said += [f"{each.trend.name}: {each.verdict}" for each in alike.trends]
    said += [str(alike.on_rank), *filter(None, (alike.on_second, alike.lacking))]
    yield bullets(map(text, said))


def against(found: Findings) -> Iterator[str]:
    """The other run, where there is one."""
    if found.against:
        yield text(found.against.verdict)
        yield bullets(map(text, (found.against.on_cost, *found.against.cautions)))
