"""The verdicts of the sections that answer why: effects, training, failures, data, similarity, two runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from loraloom.report.effects.interactions import Interaction
from loraloom.report.effects.verdicts import BADGES
from loraloom.report.failures.missed import MissedRow
from loraloom.report.findings import Findings
from loraloom.report.markdown.text import bullets, code, fenced, figures, text, told
from loraloom.report.pictures.effects import MOST_INTERACTIONS
from loraloom.report.rounding import rounded, rounded_span
from loraloom.report.testset import Error
from loraloom.report.wording import count, duration, listed, named, share, shortened, told_apart
from loraloom.wording import percent, plural

MOST_TEXTS = 5
TEXT, NAME = 240, 60
"""Characters of a row's text, and of a label or an axis."""


def tradeoffs(found: Findings) -> Iterator[str]:
    """What accuracy costs in parameters and in time."""
    if found.tradeoffs:
        yield bullets([text(found.tradeoffs.on_size), text(found.tradeoffs.on_time)])


def effects(found: Findings) -> Iterator[str]:
    """A verdict on each axis, where it was measured, what to run to know more, importances and interactions."""
    measured = found.effects
    said = [f"**{text(axis.badge)}**: {text(axis.sentence)}" for axis in measured.axes if axis.verdict != "few"]
    if few := [code(axis.name) for axis in measured.axes if axis.verdict == "few"]:
        said.append(f"**{text(BADGES['few'])}**: {listed(few)}.")
    if said:
        yield bullets(said)
    yield text(" ".join(part for part in (*measured.where, measured.on_model, measured.on_interactions) if part))
    if measured.advice:
        yield text(measured.advice.sentence)
        if measured.advice.command:
            yield fenced(measured.advice.command, "sh")
    if measured.importances:
        shares = ", ".join(f"{code(name)} {percent(part)}" for name, part in measured.importances.items())
        yield f"How much varies with each axis (fANOVA's shares, without sign or certainty): {shares}."
    found_pairs = measured.analysis.interactions.found if measured.analysis else ()
    for each in found_pairs[:MOST_INTERACTIONS]:
        yield from _interaction(each)
    if len(found_pairs) > MOST_INTERACTIONS:
        yield f"Not shown: {plural(len(found_pairs) - MOST_INTERACTIONS, 'other interaction')}."


def _interaction(found: Interaction) -> Iterator[str]:
    yield f"Adjusted means by {code(found.first)} (down) and {code(found.second)} (across), in brackets configurations:"
    (across,), (down,) = told_apart(found.second_labels, NAME), told_apart(found.first_labels, NAME)
    head = ["", *map(code, across)]
    rows = [
        [code(label), *("–" if c.mean is None else f"{c.mean:.3f} ({c.count})" for c in line)]
        for label, line in zip(down, found.cells, strict=True)
    ]
    yield figures(head, rows)


def training(found: Findings) -> Iterator[str]:
    """How the best trial learned, and whether the gap between training and validation widens."""
    if found.curves:
        yield bullets(map(text, (found.curves.on_loss, found.curves.on_accuracy, found.curves.on_rate)))
    if found.gap:
        yield bullets(told(claim.sentence) for claim in found.gap.claims)


def failures(found: Findings) -> Iterator[str]:
    """The errors that the winner is surest of, what errors depend on, whether confidence holds, and what to read."""
    names = named(found.labels, NAME)
    if found.test and found.test.errors:
        counted = "a row's number is its place in its split, from 0, and not that in your file"
        yield f"The wrong test rows that it is surest of ({counted}):"
        yield bullets(
            _mistaken(each, names, "taken for", f"{share(each.confidence)}; test row {each.row}")
            for each in found.test.errors[:MOST_TEXTS]
        )
    failed = found.failures
    if failed is None:
        return
    if found.on_judged:
        yield found.on_judged
    asked = {
        "Classes": failed.by_class,
        "Length": failed.by_length,
        "Truncation": failed.by_cut,
        "Source": failed.by_source,
    }
    said = [f"{name}: {each.verdict}" for name, each in asked.items() if each is not None]
    said += [each.verdict for each in (failed.missed, *failed.judged_labels) if each is not None]
    said = [*map(text, (*said, failed.on_judge, failed.calibrated.verdict)), told(failed.calibrated.remedy)]
    yield bullets(each for each in (*said, told(failed.training.how), text(failed.selective.verdict)) if each)
    if conflicts := [each for each in found.dataset.findings if each.kind == "conflict"]:
        yield "Texts with several labels; of one text, one at most is right:"
        yield bullets(text(f"{each.sentence} {'; '.join(each.examples)}") for each in conflicts)
    if failed.missed and failed.missed.worst:
        yield "Of the rows that all trials miss, those whose label they find least likely:"
        yield bullets(
            _mistaken(each, names, "mostly taken for", f"validation row {each.row}")
            for each in failed.missed.worst[:MOST_TEXTS]
        )


def _mistaken(row: Error | MissedRow, names: Mapping[str, str], how: str, where: str) -> str:
    """A row's text, where it was kept, its label, and what it is taken for."""
    quoted = "A text that was not kept," if row.text is None else f"“{text(shortened(row.text, TEXT))}”"
    label, prediction = (code(names[name]) for name in (row.label, row.prediction))
    return f"{quoted} labelled {label}, {how} {prediction} ({where})"


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
        yield told(f"Not measured: {alike}.")
        return
    lacking = "What was asked for last could not be embedded: {}. This is what was kept from before."
    said = [lacking.format(alike.lacking)] if alike.lacking else []
    said += [f"{' and '.join(each.names)}: {each.verdict}" for each in alike.comparisons]
    said += [f"{each.trend.name}: {each.verdict}" for each in alike.trends]
    yield bullets(map(text, filter(None, (*said, f"a higher rank: {alike.on_rank}", alike.on_second))))


def against(found: Findings) -> Iterator[str]:
    """The other run, where there is one: the verdict, both winners, and what that can't claim."""
    two = found.against
    if two is None:
        return
    yield text(two.verdict)
    sides = two.first, two.second
    (names,) = told_apart([side.name for side in sides], NAME)
    rows = [
        [
            code(name),
            rounded(side.accuracy, side.interval),
            rounded_span(side.interval),
            count(side.trainable),
            duration(side.trial_seconds),
        ]
        for name, side in zip(names, sides, strict=True)
    ]
    head = ("Run", f"Accuracy on {plural(two.rows, 'shared row')}", "95 % interval", "Parameters", "Time of the trial")
    yield figures(head, rows)
    yield bullets(map(text, (two.on_cost, *two.cautions)))
