"""What was handed over, for people: an export beside the adapter, a submission beside the training data."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from loraloom.data import in_column
from loraloom.report.rounding import with_span
from loraloom.terminal.console import make_table, say
from loraloom.use.export import Exported
from loraloom.use.export.card import size
from loraloom.use.submit import Submitted
from loraloom.wording import percent, plural


def print_export(console: Console, exported: Exported) -> None:
    """Each form of an export beside the adapter, and where it is."""
    table = make_table()
    for name in ("form", "size", "accuracy", "95 % interval", "same labels", "logits off", "texts/s"):
        table.add_column(name, justify="left" if name == "form" else "right", overflow="fold")
    for one in exported.measured:
        accuracy = with_span(one.accuracy, one.accuracy_interval)
        figures = [size(one.bytes), *accuracy, percent(one.same_labels / one.rows), f"{one.difference:.0e}"]
        table.add_row(one.name, *figures, f"{one.texts_per_second:,.0f}")
    rows = exported.measured[0].rows
    say(console, f"compared on {plural(rows, 'row')}: {exported.rows}")
    console.print(table)
    for note in exported.notes:
        say(console, note)
    say(console, f"written to {exported.out}")


def print_submission(console: Console, result: Submitted, *, checked: bool) -> None:
    """What a submission holds, by class, and what was taken for what."""
    for note in result.notes:
        say(console, note)
    table = make_table()
    named = any(one.name not in (None, one.label) for one in result.classes)
    for name in ("label", *(["class"] if named else []), "rows", "share", "in training"):
        table.add_column(name, justify="left" if name in ("label", "class") else "right", overflow="fold")
    for one in result.classes:
        before = "–" if one.training_share is None else percent(one.training_share)
        cells = [escape(in_column(one.label)), *([escape(in_column(one.name or ""))] if named else [])]
        table.add_row(*cells, f"{one.rows:,}", percent(one.share), before)
    console.print(table)
    say(console, result.verdict)
    said = "fits the template" if checked else "is written"
    say(console, f"{result.path} {said}: {plural(result.rows, 'row')}")
