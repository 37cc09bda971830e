"""`loraloom report RUN --format md`: the findings for a README or an issue.

To add a section: a function from the findings to blocks of Markdown, named in `SECTIONS`. One without blocks is left
out, with its heading.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from loraloom.report.findings import Findings
from loraloom.report.leaderboard import Leaderboard, Row
from loraloom.report.markdown import verdicts
from loraloom.report.markdown.text import bullets, code, fenced, table, text, told
from loraloom.report.rounding import rounded, rounded_span
from loraloom.report.wording import count, duration, named, share, shortened
from loraloom.wording import percent, plural

MOST_ROWS = 10
MOST_CLASSES = 40
"""Of more, those of the lowest F1: an issue takes no table of thousands."""
CELL = 60

Section = Callable[[Findings], Iterator[str]]


def markdown(found: Findings) -> str:
    """The whole text."""
    blocks = [f"# {text(found.name)}", text(found.subject)]
    for heading, section in SECTIONS.items():
        if own := list(section(found)):
            blocks += [f"## {heading}", *own]
    return "\n\n".join(blocks) + "\n"


def answer(found: Findings) -> Iterator[str]:
    """The winner in a sentence, its configuration, its size and its time."""
    winner, tally = found.answer.winner, found.answer.tally
    if winner is None:
        if tally.finished:
            yield (
                "No trial is complete, so there is no winner: "
                f"{count(tally.failed)} failed, {count(tally.pruned)} pruned. The leaderboard has the reasons."
            )
        else:
            yield "No trial has finished yet, so there is no winner."
        return
    yield (
        f"{found.answer.subject} reaches a {winner.split} accuracy of "
        f"**{text(rounded(winner.score.accuracy, winner.interval))}** "
        f"(95 % interval {rounded_span(winner.interval)}, {plural(winner.score.examples, f'{winner.split} row')}) "
        f"with {count(winner.record.counts.trainable)} trainable parameters"
        + ("" if winner.of_cap is None else f", {percent(winner.of_cap)} of the cap of {count(winner.cap)}")
        + "."
        + (f" Its weights are the mean of those of trials {winner.record.soup_of}." if winner.record.is_soup else "")
    )
    record = winner.record
    parts = ", ".join(f"{part.name} {count(part.parameters)}" for part in winner.parts)
    settings = [_settings(winner.settings)] if winner.settings else []
    settings += [f"at their defaults {_settings(winner.as_default)}"] if winner.as_default else []
    facts = [
        f"Configuration: {'; '.join(settings)}",
        f"Trainable: {parts}; beside {count(record.counts.frozen)} frozen.",
    ]
    if found.board.metric == "macro_f1":
        of_split = f"{rounded(winner.score.macro_f1, winner.interval)} on {winner.split}"
        chosen = f", {share(winner.validation.macro_f1)} on validation" if winner.split == "test" else ""
        facts.insert(0, text(f"Macro-F1, by which configurations are compared: {of_split}{chosen}."))
    if found.answer.time:
        facts.append(f"Time: {found.answer.time.sentence}.")
    seconds = record.timings.seconds if record.timings else None
    trained = "Its trials" if record.is_soup else "This trial"
    facts.append(f"{trained}: {duration(seconds)}, engine {text(record.engine)}, {record.dtype}.")
    yield bullets(facts)
    yield from map(text, found.beside)


def _settings(settings: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{code(name)} {code(shortened(value, CELL))}" for name, value in settings)


def cautions(found: Findings) -> Iterator[str]:
    """The doubts, and what could not be read."""
    if doubts := [*map(text, found.cautions), *map(told, found.problems)]:
        yield bullets(doubts)


def next_steps(found: Findings) -> Iterator[str]:
    """What to try next, and why."""
    for step in found.next_steps:
        yield text(step.sentence)
        yield fenced(step.command, "sh")


def leaderboard(found: Findings) -> Iterator[str]:
    """The first few configurations."""
    board = found.board
    if board.ranked:
        yield from _ranked(board)
        if found.answer.on_validation:
            yield found.answer.on_validation
    if reasons := [f"{row.trials}: {text('; '.join(row.reasons))}" for row in board.unranked if row.reasons]:
        yield bullets(reasons[:MOST_ROWS])
    left = max(0, len(board.ranked) - MOST_ROWS), len(board.unranked) - len(reasons[:MOST_ROWS])
    if any(left):
        yield f"Not shown: {left[0]:,} more with a result, {left[1]:,} more that were pruned or failed."
    if found.on_size:
        yield text(found.on_size)


def _ranked(board: Leaderboard) -> Iterator[str]:
    by_f1, places = board.metric == "macro_f1", board.places
    if by_f1:
        yield "By validation macro-F1."
    head = ["Rank", *(code(axis.rpartition(".")[2]) for axis in board.axes)]
    head += [*(["Macro-F1"] if by_f1 else []), "Validation accuracy", "95 % interval", "Seeds", "Parameters", "Time"]
    rows = [
        [
            f"{row.rank}{' **winner**' if row.is_winner else ''}",
            *(code(shortened(value, CELL)) for value in row.values),
            *([share(row.macro_f1)] if by_f1 else []),
            text(rounded(row.accuracy, row.interval, places)),
            _interval(row),
            str(row.seeds),
            count(row.trainable),
            duration(row.seconds),
        ]
        for row in board.ranked[:MOST_ROWS]
    ]
    yield table(head, rows, numbers=(0, *range(len(board.axes) + 1, len(head))))
    if any(row.interval and row.seeds > 1 for row in board.ranked[:MOST_ROWS]):
        yield board.intervals
    if len(board.ranked) > 1:
        yield board.rule


def _interval(row: Row) -> str:
    """`0.05–0.67 seeds` where it is of the seeds and not of the rows, as on the page."""
    of = f" {row.interval_of}" if row.interval and row.seeds > 1 else ""
    return f"{rounded_span(row.interval)}{of}"


def tested(found: Findings) -> Iterator[str]:
    """Each class on the test rows."""
    test = found.test
    if test is None:
        return
    yield test.sentence
    f1s = [math.inf if one.f1 is None else one.f1 for one in test.classes]  # none of a class without a row
    shown = sorted(sorted(range(len(f1s)), key=f1s.__getitem__)[:MOST_CLASSES])
    if len(shown) < len(f1s):
        yield f"Of {count(len(f1s))} classes the {MOST_CLASSES} of the lowest F1:"
    names = named(test.labels, CELL)
    rows = [
        [
            code(names[test.labels[at]]),
            rounded(one.recall, one.recall_interval),
            "–" if one.recall_interval is None else rounded_span(one.recall_interval),
            share(one.precision),
            share(one.f1),
            count(one.support),
        ]
        for at in shown
        for one in [test.classes[at]]
    ]
    yield table(("Class", "Recall", "95 % interval", "Precision", "F1", "Rows"), rows, numbers=range(1, 6))
    if test.pairs:
        first = test.pairs[0]
        yield (
            f"Most often {code(names[first.label])} was taken for {code(names[first.prediction])}: "
            f"{plural(first.rows, 'row')}."
        )


def data(found: Findings) -> Iterator[str]:
    """Rows and classes, and what the checks found."""
    facts = [f"{text(title)}: {code(shortened(value, 80))}" for title, value in found.dataset.facts]
    if found.dataset.rows:
        facts.append("Rows: " + ", ".join(f"{text(split)} {count(rows)}" for split, rows in found.dataset.rows))
    facts += [text(finding.sentence) for finding in found.dataset.findings]
    if facts:
        yield bullets(facts)


def making(found: Findings) -> Iterator[str]:
    """Commands, plan, versions, licences, recipe."""
    made = found.making
    if given := [each.text for each in made.commands if each.text]:
        yield fenced("\n".join(given), "sh")
    if made.plan:
        yield text(made.plan.sentence)
        rows = [
            [
                f"{'all ' if step.whole else ''}{count(step.rows)}",
                "as time allows" if step.planned is None else count(step.planned or None),
                *map(count, (step.done, step.complete, step.pruned, step.failed)),
                duration(step.seconds),
            ]
            for step in made.plan.steps
        ]
        head = ("Training rows", "Planned", "Done", "Complete", "Pruned", "Failed", "Their time")
        yield table(head, rows, numbers=range(7))
    if made.frozen:
        yield told(made.frozen)
    facts = [f"{text(title)}: {code(value)}" for title, value in made.facts]
    if made.packages:
        facts.append("Packages: " + ", ".join(f"{text(name)} {text(version)}" for name, version in made.packages))
    if made.seeds:
        facts.append(f"Seeds: {', '.join(map(str, made.seeds))}")
    facts += [f"Licence of the {each.kind} {code(each.name)}: {text(each.license)}" for each in made.sources]
    if made.dropped:
        facts.append(f"Points that were not tried: {plural(made.dropped_count, 'point')}")
    yield bullets(facts)
    yield f"<details><summary>The recipe</summary>\n\n{fenced(made.recipe, 'yaml')}\n\n</details>"


SECTIONS: dict[str, Section] = {
    "Answer": answer,
    "What this can't claim": cautions,
    "Leaderboard": leaderboard,
    "Size and time": verdicts.tradeoffs,
    "Effects": verdicts.effects,
    "Training": verdicts.training,
    "Test": tested,
    "Where it fails": verdicts.failures,
    "Data": data,
    "What the data mean": verdicts.dataset,
    "Similarity": verdicts.similarity,
    "Two runs": verdicts.against,
    "What to try next": next_steps,
    "How it was made": making,
}
