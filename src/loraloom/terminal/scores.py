"""The scores of an adapter, for people."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loraloom.data import printable
from loraloom.use.evaluate import Evaluated

MOST_CLASSES = 10
"""Of more, the confusion is too wide to be read."""


def print_evaluation(console: Console, result: Evaluated) -> None:
    """The scores of an adapter on a file, for people."""
    scores = result.scores
    low, high = scores.accuracy_interval
    console.print(f"{result.adapter} on {result.test_file}: {scores.examples:,} rows", highlight=False, markup=False)
    console.print(
        f"accuracy {scores.accuracy:.4f} (95 % interval {low:.4f}–{high:.4f}), macro-F1 {scores.macro_f1:.4f}, "
        f"log loss {scores.log_loss:.4f}, calibration error {scores.expected_calibration_error:.4f}",
        highlight=False,
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    names = [escape(printable(name)) for name in result.labels]
    confused = names if len(names) <= MOST_CLASSES else []
    for name in ("true label", "rows", "precision", "recall", "F1", *(f"→ {name}" for name in confused)):
        table.add_column(name, justify="left" if name == "true label" else "right")
    for index, one in enumerate(scores.classes):
        figures = [f"{x:.3f}" if x is not None else "–" for x in (one.precision, one.recall, one.f1)]
        table.add_row(
            names[index], f"{one.support:,}", *figures, *(map(str, scores.confusion[index]) if confused else ())
        )
    console.print(table)
    if not confused:
        console.print(f"What {len(names)} classes are taken for is in --json.", highlight=False)
