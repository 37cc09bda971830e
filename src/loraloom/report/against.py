"""Two runs on the same test rows: whose winner is better, by how much, whether that is more than chance, and where.

Rows are the same where text and label are, whatever their numbers; a text that stands twice is matched twice. Two runs
must share at least half of their test rows, and only shared rows are compared. Of a run that the clock had tested on a
part of its test rows, those that it left out are not counted. Everything is a function of the counts of rows that one
run alone has right, so that it costs nothing beside reading the second run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loraloom.errors import RunError
from loraloom.intervals import Interval, Paired, least_lead, paired, wilson_interval
from loraloom.metrics import class_scores, confusion, macro_f1
from loraloom.report.effects.analysis import MARGIN
from loraloom.report.leaderboard import as_written, axis_names
from loraloom.report.points import decimals, spread
from loraloom.report.reading import Best, Prediction, RunRead, read_run
from loraloom.report.test_rows import left_out
from loraloom.report.wording import LEVEL, duration, p_value, share, value
from loraloom.study.commands import go_on_command
from loraloom.study.provenance import fingerprint_of
from loraloom.study.run import BEST
from loraloom.wording import percent, plural

FEWEST_SHARED = 0.5
MOST_TEXTS = 20
"""Texts that changed sides shown on the page, of each side; the CSV has all."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the runs: its winner on the shared rows, and what that cost.

    `soup_of` are the trials whose mean it is, in words; `trial` is then the best of them.
    """

    name: str
    path: str
    trial: int
    soup_of: str | None
    settings: tuple[tuple[str, str], ...]
    correct: int
    accuracy: float
    interval: Interval
    test_rows: int
    trainable: int
    trial_seconds: float | None
    search_seconds: float | None
    trials: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A row that one run alone has right; `first` and `second` are what they predicted, with their confidences."""

    row: int
    text: str
    label: str
    first: str
    second: str
    first_confidence: float
    second_confidence: float

    @property
    def lost(self) -> bool:
        """Whether the first run is the one that is wrong."""
        return self.first != self.label


@dataclass(frozen=True, slots=True)
class Against:
    """`difference` is the first run's accuracy less the second's on `rows` shared rows; `changed` is all such rows.

    `interval` is None where too few rows changed sides for one.
    """

    first: Side
    second: Side
    rows: int
    both: int
    neither: int
    difference: float
    interval: Interval | None
    p: float
    verdict: str
    on_cost: str
    cautions: tuple[str, ...]
    changed: tuple[Changed, ...]

    @property
    def gained(self) -> tuple[Changed, ...]:
        """Rows that the first run alone has right, the second's surest errors first."""
        return tuple(each for each in self.changed if not each.lost)

    @property
    def lost(self) -> tuple[Changed, ...]:
        """Rows that the second run alone has right, the first's surest errors first."""
        return tuple(each for each in self.changed if each.lost)


def against(run: RunRead, other_path: Path) -> Against:
    """Compares the winner of `run` with that of the run in `other_path`.

    Raises:
        RunError: it is the same run, one of them has no tested winner, or they share under half of their test rows.
        RecipeError: the other's recipe can't be read.
    """
    if run.path.resolve() == other_path.resolve():
        raise RunError(f"{other_path}: is the run itself; name another to compare it with")
    other = read_run(other_path)
    (best, predictions), (other_best, other_predictions) = _tested(run), _tested(other)
    pairs = _shared(best, other_best)
    if len(pairs) < FEWEST_SHARED * _comparable(run, other):
        raise RunError(
            f"{other_path}: shares {len(pairs):,} test rows with {run.path}, of {len(predictions):,} here and "
            f"{len(other_predictions):,} there{_labelled_otherwise(best, other_best, len(pairs))}; two runs are "
            "compared on the same test rows (at least half of them)"
        )
    return _compared(run, other, best, other_best, pairs)


def _tested(run: RunRead) -> tuple[Best, tuple[Prediction, ...]]:
    if run.best is None:
        raise RunError(f"{run.path}: has no tested winner to compare; finish it by: {go_on_command(run.path)}")
    if not run.best.predictions:
        of_best = (problem for problem in run.problems if problem.startswith(f"{run.path / BEST}/"))
        why = next(of_best, "it left no predictions of single rows")
        raise RunError(f"{run.path}: its test rows can't be compared: {why}")
    return run.best, run.best.predictions


def _comparable(run: RunRead, other: RunRead) -> int:
    """Test rows that two runs of the same data would share: of the fewer, where one was tested on a part of its own."""
    rows = [len(_tested(each)[1]) for each in (run, other)]
    return min(rows) if left_out(run) or left_out(other) else max(rows)


def _shared(best: Best, other: Best) -> list[tuple[Prediction, Prediction]]:
    """Pairs of predictions of rows with one text and one label, in the order of the first run's."""
    waiting: dict[tuple[str, str], list[Prediction]] = {}
    for row in reversed(other.predictions):
        waiting.setdefault((row.text, other.record.labels[row.label]), []).append(row)
    pairs = []
    for row in best.predictions:
        if same := waiting.get((row.text, best.record.labels[row.label])):
            pairs.append((row, same.pop()))
    return pairs


def _labelled_otherwise(best: Best, other: Best, shared: int) -> str:
    """That texts are in both under other labels, where more are than the `shared` rows; else nothing."""
    first, second = (Counter(row.text for row in each.predictions) for each in (best, other))
    texts = (first & second).total()
    if texts <= shared:
        return ""
    return f", where {plural(texts, 'text')} {'is' if texts == 1 else 'are'} in both, some under other labels"


def _compared(
    run: RunRead, other: RunRead, best: Best, other_best: Best, pairs: Sequence[tuple[Prediction, Prediction]]
) -> Against:
    right, right_there = [one.is_right for one, _ in pairs], [two.is_right for _, two in pairs]
    tally = Counter(zip(right, right_there, strict=True))
    rows, names, stand = len(pairs), _names(run, other), paired(right, right_there)
    both = {names[0]: run, names[1]: other}
    first = _side(run, best, names[0], sum(right), rows)
    second = _side(other, other_best, names[1], sum(right_there), rows)
    return Against(
        first=first,
        second=second,
        rows=rows,
        both=tally[True, True],
        neither=tally[False, False],
        difference=stand.difference,
        interval=stand.interval,
        p=stand.p,
        verdict=verdict_of(names, stand),
        on_cost=_on_cost(first, second),
        cautions=(
            *_by_macro_f1(both, pairs),
            *_of_parts(both),
            *_cautions(first, second, rows, _comparable(run, other)),
            *_on_training(run, other, best, other_best, names),
        ),
        changed=_changed(best, other_best, pairs),
    )


def _names(run: RunRead, other: RunRead) -> tuple[str, str]:
    """The folders' names, or their paths where the names are the same."""
    names = run.path.resolve().name, other.path.resolve().name
    return names if names[0] != names[1] else (str(run.path), str(other.path))


def _side(run: RunRead, best: Best, name: str, correct: int, rows: int) -> Side:
    record = best.record
    return Side(
        name=name,
        path=str(run.path),
        trial=record.number,
        soup_of=record.soup_of,
        settings=tuple((axis, value(as_written(record, axis))) for axis in axis_names(run)),
        correct=correct,
        accuracy=correct / rows,
        interval=wilson_interval(correct, rows),
        test_rows=len(best.predictions),
        trainable=record.counts.trainable,
        trial_seconds=record.timings.seconds if record.timings else None,
        search_seconds=run.seconds,
        trials=len(run.records),
    )


def verdict_of(names: tuple[str, str], stand: Paired, tests: int = 1) -> str:
    """Which of two, by their names, has more of the same rows right, by how much, and whether that may be chance.

    Where no difference is found and one of `MARGIN` may be there, the rows are too few, and it is said what would be
    found. `tests` is for how many tests its p-value was corrected.
    """
    rows, changed, difference, interval, p = stand.rows, stand.changed, stand.difference, stand.interval, stand.p
    if not changed:
        most = 1 - 0.05 ** (1 / rows)  # if more did, none of so many would be seen to in under 5 % of cases
        return (
            f"No difference was found: {names[0]} and {names[1]} are right and wrong on the same rows, all {rows:,} of "
            f"them. Of rows like these {percent(most)} at most can be expected to change sides (95 %)."
        )
    better, worse = names if difference > 0 else names[::-1]
    counts = f"McNemar {p_value(p)}, {rows:,} shared rows of which {changed:,} changed sides"
    low, high = 0.0, 0.0
    if interval is None:
        figures, room = f"{counts}, too few for an interval", wilson_interval(changed, rows)[1]
    else:
        low, high = interval if difference > 0 else (-interval[1], -interval[0])
        figures, room = f"95 % {spread((low, high))}, {counts}", max(-low, high)
    too_few = room > MARGIN
    lead = least_lead(changed, LEVEL / tests) if too_few and p >= LEVEL else None
    least, places = None if lead is None else 100 * lead / rows, decimals(interval)
    while least is not None and f"{100 * abs(difference):.{places}f}" == f"{least:.{places}f}":
        places += 1  # a lead that may be chance is less than the least that is not
    ahead = f"{100 * abs(difference):.{places}f}"
    ahead = f"{ahead if float(ahead) else f'{100 * abs(difference):.1g}'} points"
    if p < LEVEL:
        return f"{better} is better than {worse} by {ahead} ({figures})."
    if not too_few:
        level = "they are level" if difference == 0 else f"the {ahead} that {better} is ahead of {worse} may be chance"
        said = f"No difference was found: {level} ({figures})."
    else:
        level = "they are level" if difference == 0 else f"{better} is {ahead} ahead of {worse}, which may be chance"
        said = f"The rows are too few to tell which is better: {level} ({figures}). "
        said += (
            "Where so few change sides, no lead is more than chance."
            if least is None
            else f"Where as many change sides, a lead is more than chance from {least:.{places}f} points on."
        )
    test = "the exact test, which is the stricter," if tests == 1 else f"the exact test, corrected for {tests} tests,"
    strict = f" The interval leaves out 0, but {test} is not convinced." if low > 0 else ""
    return f"{said}{strict}"


def _on_cost(first: Side, second: Side) -> str:
    parts = []
    if first.trainable != second.trainable:
        less, more = sorted((first, second), key=lambda side: side.trainable)
        share = percent(less.trainable / more.trainable)
        parts.append(
            f"{less.name} trains {less.trainable:,} parameters, {share} of the {more.trainable:,} of {more.name}"
        )
    else:
        parts.append(f"Both train {first.trainable:,} parameters")
    if first.search_seconds is not None and second.search_seconds is not None:
        times = " and ".join(
            f"{duration(side.search_seconds)} ({plural(side.trials, 'trial')})" for side in (first, second)
        )
        parts.append(f"their trials took {times}")
    return f"{'; '.join(parts)}."


def _of_parts(runs: Mapping[str, RunRead]) -> Iterator[str]:
    """Of which of the runs, by their names, the clock left out test rows."""
    for name, run in runs.items():
        if rest := left_out(run):
            tested = len(_tested(run)[1])
            yield (
                f"{name} was tested on {tested:,} of its {tested + rest:,} test rows, a part stratified by class: the "
                "rows that both runs were tested on are compared."
            )


def _by_macro_f1(runs: Mapping[str, RunRead], pairs: Sequence[tuple[Prediction, Prediction]]) -> Iterator[str]:
    """Where the winner of one was chosen by macro-F1: that accuracy is compared, and what both have of the other."""
    chosen = [name for name, run in runs.items() if run.recipe.search.metric == "macro_f1"]
    if not chosen:
        return
    had = (f"{share(_macro_f1(rows))} in {name}" for name, rows in zip(runs, zip(*pairs, strict=True), strict=True))
    whose = "The winners were" if len(chosen) > 1 else f"The winner of {chosen[0]} was"
    yield (
        f"{whose} chosen by macro-F1, and compared by accuracy, in which rare classes hardly count. Macro-F1 on the "
        f"shared rows is {' and '.join(had)}; of the difference no interval is made."
    )


def _macro_f1(rows: Sequence[Prediction]) -> float:
    labels, predictions = [row.label for row in rows], [row.prediction for row in rows]
    return macro_f1(class_scores(confusion(labels, predictions, len(rows[0].probabilities))))


def _cautions(first: Side, second: Side, rows: int, comparable: int) -> list[str]:
    found = []
    if rows < comparable:
        found.append(
            f"Only {rows:,} rows are in both test sets ({first.test_rows:,} and {second.test_rows:,} rows): the runs "
            "split or read their data differently, and one may have trained on rows that the other was tested on. The "
            "shared rows were test rows in both."
        )
    of = "" if first.soup_of or second.soup_of else " of one seed each,"
    found.append(
        f"Two adapters are compared,{of} and not two recipes: another seed could change the order where the difference "
        "is small."
    )
    return found


def _on_training(run: RunRead, other: RunRead, best: Best, other_best: Best, names: tuple[str, str]) -> list[str]:
    """That the two were trained on different rows, as far as their records tell."""
    found = []
    seen = best.record.train_rows, other_best.record.train_rows
    if None not in seen and seen[0] != seen[1]:
        found.append(
            f"They were trained on different numbers of rows, {seen[0]:,} in {names[0]} and {seen[1]:,} in {names[1]}: "
            "what sets them apart may be the rows, and not the configurations."
        )
    elif _data_of(run) != _data_of(other):
        found.append(
            "Their training and validation rows are not the same, or not known to be: what sets them apart may be the "
            "rows, and not the configurations."
        )
    return found


def _data_of(run: RunRead) -> object:
    """The fingerprint of all its splits; of a run that has none, something that equals nothing else."""
    known = fingerprint_of(run.recipe)
    return object() if known is None else known


def _changed(best: Best, other: Best, pairs: Sequence[tuple[Prediction, Prediction]]) -> tuple[Changed, ...]:
    """Rows on which one alone is right, the surest errors first."""
    labels, other_labels = best.record.labels, other.record.labels
    changed = [
        Changed(
            row=one.row,
            text=one.text,
            label=labels[one.label],
            first=labels[one.prediction],
            second=other_labels[two.prediction],
            first_confidence=one.confidence,
            second_confidence=two.confidence,
        )
        for one, two in pairs
        if one.is_right != two.is_right
    ]
    return tuple(
        sorted(changed, key=lambda each: (-(each.first_confidence if each.lost else each.second_confidence), each.row))
    )
