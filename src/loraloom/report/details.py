"""What opens under the first rows of the leaderboard: a recipe to copy, curves, the confusion on validation.

Those of the other rows are packed (packed_rows.py). A confusion is that of the trial's record, or else of the
validation predictions that it left (`validation.safetensors`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loraloom.errors import RunError
from loraloom.metrics import confusion
from loraloom.report.curves import Points, finite
from loraloom.report.leaderboard import Leaderboard, Row, describe
from loraloom.report.reading import RunRead, read_evaluations
from loraloom.report.row_recipes import RowRecipes
from loraloom.report.wording import count, duration, loss, passes, share, told_apart
from loraloom.study.evidence import read_predicted
from loraloom.study.record import CONFUSED_CLASSES, Evaluation, TrialRecord
from loraloom.wording import in_passes, plural

MOST_ROWS = 100
WHY_NONE_KEPT = "It has no confusion: it left no predictions of validation rows."


@dataclass(frozen=True, slots=True)
class Sketch:
    """A small picture: `train` and `validation` over epochs, as (epoch, value), how such a value is `written`."""

    title: str
    train: Points
    validation: Points
    written: Callable[[float], str]
    sentence: str

    @property
    def ends(self) -> tuple[float, float, float, float]:
        """The first and last epoch, the lowest and highest value."""
        epochs, values = zip(*self.train, *self.validation, strict=True)
        return min(epochs), max(epochs), min(values), max(values)

    def path(self, points: Points, width: float, height: float) -> str:
        """An SVG path of `points` within (0, 0, width, height); of one epoch they stand in its middle."""
        left, right, low, high = self.ends
        start, across = (0.0, width / (right - left)) if right > left else (width / 2, 0.0)
        up = height / (high - low) if high > low else 0.0
        places = (f"{start + (x - left) * across:.1f} {height - (y - low) * up:.1f}" for x, y in points)
        return "M" + "L".join(places)

    def at(self, point: tuple[float, float], width: float, height: float) -> tuple[str, str]:
        across, _, up = self.path((point,), width, height)[1:].partition(" ")
        return across, up


@dataclass(frozen=True, slots=True)
class Matrix:
    """Validation rows of true class t that were predicted as p; `across` and `down` are short labels."""

    labels: tuple[str, ...]
    across: tuple[str, ...]
    down: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    rows: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Detail:
    """Of one row; curves and confusion are of trial `number`, its best, or else its first."""

    number: int
    place: str
    name: str
    recipe: str
    facts: tuple[tuple[str, str], ...]
    reasons: tuple[str, ...]
    sketches: tuple[Sketch, ...]
    matrix: Matrix | None
    why_no_matrix: str = ""


def details(run: RunRead, board: Leaderboard, recipes: RowRecipes, problems: list[str]) -> tuple[Detail, ...]:
    rows = board.rows[:MOST_ROWS]
    evaluations = read_evaluations(run, [row.record.number for row in rows], problems)
    return tuple(_detail(run, board, recipes, row, evaluations, problems) for row in rows)


def _detail(
    run: RunRead,
    board: Leaderboard,
    recipes: RowRecipes,
    row: Row,
    evaluations: Mapping[int, Sequence[Evaluation]],
    problems: list[str],
) -> Detail:
    record = row.record
    matrix = _matrix(run.folders[record.number], record, problems)
    return Detail(
        number=record.number,
        place=f"Rank {row.rank}" if row.rank else row.state.capitalize(),
        name=describe(board.axes, row.values),
        recipe=recipes.text(row),
        facts=tuple(_facts(row)),
        reasons=row.reasons,
        sketches=tuple(_sketches(record.number, evaluations.get(record.number, ()))),
        matrix=matrix if isinstance(matrix, Matrix) else None,
        why_no_matrix=matrix if isinstance(matrix, str) else "",
    )


def _facts(row: Row) -> Iterator[tuple[str, str]]:
    record = row.record
    counts, timings = record.counts, record.timings
    parts = [(counts.lora, "LoRA"), (counts.bias, "biases"), (counts.head, "head")]
    yield "Trial", f"{record.number:04d}, seed {record.seed}, {record.engine}, {record.dtype}"
    if len(row.numbers) > 1:
        yield "All its trials", row.trials
    yield "Parameters", " + ".join(f"{name} {count(number)}" for number, name in parts if number)
    if record.train_rows is not None:
        over = "" if record.epochs is None else f", {in_passes(record.epochs)}"
        yield "Trained on", plural(record.train_rows, "row") + over
    if timings is not None:
        yield "Time", f"{duration(timings.seconds)}, {count(timings.examples_per_second)} rows a second in training"
    if record.marks:
        yield "Its record says", "; ".join(record.marks)


def _sketches(number: int, lines: Sequence[Evaluation]) -> Iterator[Sketch]:
    for title, field, most, best, written in (
        ("Loss", "loss", "lowest", min, loss),
        ("Accuracy", "accuracy", "highest", max, share),
    ):
        train, validation = (
            finite((line.epoch, getattr(line, f"{split}_{field}")) for line in lines)
            for split in ("train", "validation")
        )
        if not validation:
            continue
        epoch, extreme = best(validation, key=lambda point: point[1])
        sentence = (
            f"{title} of trial {number:04d} over {plural(len(validation), 'evaluation')}: on validation {most} at "
            f"epoch {passes(epoch)} ({written(extreme)}), {written(validation[-1][1])} at the end."
        )
        yield Sketch(title, train, validation, written, sentence)


def _matrix(folder: Path, record: TrialRecord, problems: list[str]) -> Matrix | str:
    """The confusion, or why there is none, in a sentence."""
    if why := why_left_out(record.labels):
        return why
    counts = record.result.validation.confusion if record.result else None
    if counts is None:
        try:
            found = read_predicted(folder, len(record.labels))
        except RunError as error:
            problems.append(str(error))
            return "It has no confusion: its predictions of validation rows can't be read."
        if found is None:
            return WHY_NONE_KEPT
        counted = confusion(found.labels, found.predictions, len(record.labels))
        counts = tuple(tuple(map(int, line)) for line in counted)
    rows, right = sum(map(sum, counts)), sum(line[at] for at, line in enumerate(counts))
    return Matrix(record.labels, *short_labels(record.labels), counts, rows, rows - right)


def why_left_out(labels: Sequence[str]) -> str | None:
    """Why classes are too many for a confusion, where they are."""
    if len(labels) <= CONFUSED_CLASSES:
        return None
    return f"Its confusion is left out: of {len(labels):,} classes, and more than {CONFUSED_CLASSES} do not fit."


def short_labels(labels: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As a confusion's columns and rows have room for them."""
    across, down = told_apart(labels, 14 if len(labels) < 8 else 8, 24)
    return across, down
