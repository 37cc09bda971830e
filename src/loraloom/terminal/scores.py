"""The scores of an adapter, for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loraloom.data import in_column
from loraloom.report.rounding import rounded, with_span
from loraloom.report.wording import share, trained_on
from loraloom.terminal.console import make_table, say
from loraloom.use.evaluate import Evaluated
from loraloom.wording import plural

DECIMALS = 4
"""Of the scores; of accuracies on many rows more are known."""
MOST_CLASSES = 10
"""Of more, the confusion is too wide to be read."""
MOST_LINES = 100
"""Of more classes, those of the lowest F1 are listed: all of them would push the accuracy off any screen."""
LABEL_WIDTH, LEAST_WIDTH, GAP = 24, 3, 1
"""Characters of a true label in a line at most (where that is more, a quarter of it), of what it is taken for at least,
and between columns."""


def print_evaluation(console: Console, result: Evaluated) -> None:
    """The scores of an adapter on a file, for people."""
    scores = result.scores
    accuracy, span = with_span(scores.accuracy, scores.accuracy_interval, DECIMALS)
    say(console, f"{result.adapter} on {result.test_file}: {plural(scores.examples, 'row')}")
    if result.note is not None:
        say(console, result.note)
    if result.trained_on:
        say(console, trained_on(result.trained_on))  # or in its refit
    if result.chosen_on:
        are = "is a validation row" if result.chosen_on == 1 else "are validation rows"
        by = "which its search chose by: that raises the figures a little"
        say(console, f"{result.chosen_on:,} of these rows {are} of its run, {by}")
    if result.tested_on:
        one = result.tested_on == 1
        are, them = ("is a test row", "it") if one else ("are test rows", "them")
        say(
            console,
            f"{result.tested_on:,} of these rows {are} of its run. Who chooses by these figures chooses by the test, "
            f"and its accuracy is then too high; the report does not count this look at {them}",
        )
    say(
        console,
        f"accuracy {accuracy} (95 % interval {span}), macro-F1 {rounded(scores.macro_f1, None, DECIMALS)}, "
        f"log loss {scores.log_loss:.4f}, calibration error {scores.expected_calibration_error:.4f}",
    )
    if (own := result.predicted) is not None:
        say(
            console,
            f"as predict gives confidences, at the temperature {own.temperature:.2f}, fitted on "
            f"{plural(own.rows, 'validation row')}: log loss {own.log_loss:.4f}, calibration error "
            f"{own.expected_calibration_error:.4f}",
        )
    if result.shift is not None:
        say(console, f"as predict answers for these class shares: {result.shift}")
    table = _of_classes(result, console.width)
    widths = _widths(result, console.width - console.measure(table).maximum)
    console.print(_of_classes(result, console.width, widths) if widths else table)
    classes = len(result.labels)
    if classes > MOST_LINES:
        said = f"These are the {MOST_LINES} classes of the lowest F1; all {classes:,}, and what they are taken for, are"
        say(console, f"{said} in --json.")
    elif not widths:
        say(console, f"What {classes} classes are taken for is in --json.")


def _of_classes(result: Evaluated, line: int, widths: Sequence[int] = ()) -> Table:
    """A row for each class that is listed, in a `line` so wide; with what it was taken for, where `widths` say so.

    Figures stay whole.
    """
    table = make_table(collapse_padding=True)
    table.add_column("true label", overflow="fold", max_width=max(LABEL_WIDTH, line // 4))
    for name in ("rows", "precision", "recall", "F1"):
        table.add_column(name, justify="right", no_wrap=True)
    names, classes = _names(result), result.scores.classes
    for name, width in zip(names, widths, strict=False):
        table.add_column(f"→ {escape(name)}", justify="right", overflow="fold", max_width=width)
    f1s = [math.inf if one.f1 is None else one.f1 for one in classes]  # none of a class without a row
    for label in sorted(sorted(range(len(classes)), key=f1s.__getitem__)[:MOST_LINES]):
        one, row = classes[label], result.scores.confusion[label]
        figures = map(share, (one.precision, one.recall, one.f1))
        table.add_row(escape(names[label]), f"{one.support:,}", *figures, *(map(str, row) if widths else ()))
    return table


def _widths(result: Evaluated, room: int) -> list[int]:
    """Those of the confusion's columns: names in a line, or a word in each, or cut alike; none where they don't fit."""
    names, classes = _names(result), len(result.labels)
    counts = [max(map(len, map(str, column))) for column in result.scores.confusion.T]
    words = [max(map(cell_len, name.split()), default=1) for name in names]
    room -= GAP * classes
    for wanted in ([cell_len(f"→ {name}") for name in names], words, [max(room // classes, LEAST_WIDTH)] * classes):
        widths = [max(pair) for pair in zip(wanted, counts, strict=True)]
        if classes <= MOST_CLASSES and sum(widths) <= room:
            return widths
    return []


def _names(result: Evaluated) -> list[str]:
    return [in_column(name) for name in result.labels]
