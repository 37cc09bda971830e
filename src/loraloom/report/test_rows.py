"""Doubts about the test rows: how few they are, whether they were looked at before, whether training has them too."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from loraloom.data.checks import ASIDE
from loraloom.intervals import Interval, normal_quantile
from loraloom.report.reading import RunRead
from loraloom.report.rounding import rounded
from loraloom.report.wording import listed, share
from loraloom.study.commands import Command
from loraloom.study.provenance import as_count, as_list, findings_stated, rows_of
from loraloom.study.record import TrialRecord
from loraloom.wording import plural

WIDE = 0.05
"""An interval of this width, in shares, hides what most choices of a recipe are worth."""
MANY_SHARED = 0.05
"""Of the validation rows. Of splits that are made by chance a row or two are near copies, which choose nothing."""
MANY_REPEATED = 0.1
"""Of the rows that a winner is told by: where so many are the second of a pair, its interval is 9 % too short."""
MANY_DISPUTED = 0.01
"""Of the rows that a winner is told by: a point of accuracy that can't be had."""


def of_few(interval: Interval | None, examples: int, split: str) -> Iterator[str]:
    """Whether there are too few rows for a narrow interval."""
    if interval is None or round(100 * (width := interval[1] - interval[0])) <= 100 * WIDE:
        return
    middle = (interval[0] + interval[1]) / 2  # where more rows are likelier to end than at what so few have
    need = ceil(middle * (1 - middle) * (2 * normal_quantile(0.95) / WIDE) ** 2 / 100) * 100
    yield (
        f"From {plural(examples, f'{split} row')} the accuracy is known to an interval of {100 * width:.0f} points of "
        f"a hundred; for one of {100 * WIDE:.0f} it would take about {need:,} rows."
    )


def of_repeats(run: RunRead, split: str) -> Iterator[str]:
    """Whether many rows say again what others say: intervals and tests take all rows for independent."""
    found = (each for each in findings_stated(run.recipe) if each.get("kind") == "duplicate")
    repeated = sum(as_count(each.get("count")) or 0 for each in found if as_list(each.get("splits")) == [split])
    rows = rows_of(run.recipe).get(split)
    if rows and repeated > MANY_REPEATED * rows:
        yield (
            f"{repeated:,} of {plural(rows, f'{split} row')} repeat the text and label of another, and are no further "
            "evidence: intervals and tests, which take rows for independent, are surer than they should be."
        )


def of_disputed(run: RunRead, split: str) -> Iterator[str]:
    """Whether so many texts have several labels that what any model can reach is well below 1.

    Texts that differ in signs count as equal, but a model may tell them apart.
    """
    found = (each for each in findings_stated(run.recipe) if each.get("kind") == "conflict")
    same = (each for each in found if as_list(each.get("splits")) == [split] and ASIDE not in str(each.get("sentence")))
    disputed = sum(as_count(each.get("count")) or 0 for each in same)
    rows = rows_of(run.recipe).get(split)
    if rows and disputed > MANY_DISPUTED * rows:
        stand = "text stands" if disputed == 1 else "texts stand"
        yield (
            f"{disputed:,} {split} {stand} under several labels, of which one at most is right: no answers "
            f"have more than {share(1 - disputed / rows)} of {rows:,} rows right."
        )


def left_out(run: RunRead) -> int:
    """Test rows that the clock had the winner not tested on."""
    tested, every = run.best.record.tested_rows if run.best else 0, rows_of(run.recipe).get("test", 0)
    return max(0, every - tested) if tested else 0


def of_part(run: RunRead) -> Iterator[str]:
    """Whether the clock left test rows out."""
    if run.best and (rest := left_out(run)):
        tested = run.best.record.tested_rows
        every = tested + rest
        yield (
            f"It was tested on {tested:,} of {plural(every, 'test row')}, a part stratified by class: there was no "
            "time for all of them. Resumed with more time, it is tested on more."
        )


def tested_trials(run: RunRead, commands: tuple[Command, ...], best: TrialRecord) -> tuple[int, ...]:
    """The trials that the test rows were read with, `best` the last: by their records, and by the log of commands.

    One that is the mean of several goes by the number of the best of them, which may have been tested before: by
    itself, or in the mean of other seeds, where trials were finished between two tests.
    """
    *before, last = [command.finished for command in commands if best.number in command.tested] or [None]
    again = any(count not in (None, len(run.records) if last is None else last) for count in before)
    logged = [number for command in commands for number in command.tested if number != best.number or again]
    recorded = [record.number for record in run.records if record.result is not None and record.result.test]
    earlier = dict.fromkeys((*(number for number in recorded if number != best.number or best.is_soup), *logged))
    return (*earlier, best.number)


def of_looks(run: RunRead, commands: tuple[Command, ...]) -> Iterator[str]:
    """Whether another winner was tested before, so that whoever went on had seen an accuracy on these rows."""
    if run.best is None or run.best.record.result is None or run.best.record.result.test is None:
        return
    trials = tested_trials(run, commands, run.best.record)
    if len(trials) > 1:
        again = None if run.best.record.is_soup else run.best.record.number  # its record has its last test's result
        results = {record.number: record.result for record in run.records if record.number != again}
        named = []
        for number in trials[:-1]:
            result = results.get(number)
            had = f" ({rounded(result.test.accuracy, None)})" if result and result.test else ""
            named.append(f"{number}{had}")
        yield (
            f"The test rows were looked at before: {'trial' if len(named) == 1 else 'trials'} {listed(named)} "
            f"{'was' if len(named) == 1 else 'were'} tested on them, and the search went on. Every choice was by "
            "validation alone, but whoever went on may have known the test; rows that nobody has seen would settle it."
        )
    if any(not command.started for command in commands):
        yield (
            "How often the test rows were looked at is not known: the record of the run's earlier commands was damaged."
        )


def of_leaks(run: RunRead) -> Iterator[str]:
    """Whether training rows that are in validation or test were kept on request.

    What validation and test share is kept in any case. A finding that names no splits is taken for one of training.
    """
    if not run.recipe.provenance.get("allow_leak"):
        return
    found = [
        str(finding.get("sentence", "")).rstrip(".")
        for finding in findings_stated(run.recipe)
        if finding.get("kind") in ("leak", "near_copy") and "train" in (as_list(finding.get("splits")) or ("train",))
    ]
    if found:
        yield (
            "Leaked rows were kept on request (--allow_leak), and flatter the accuracies of the splits that they are "
            f"in: {'; '.join(found)}."
        )


def shared_rows(run: RunRead) -> int:
    """How many validation rows are in test too, or nearly."""
    kept = (each for each in findings_stated(run.recipe) if as_list(each.get("splits")) == ["validation", "test"])
    return sum(as_count(each.get("count")) or 0 for each in kept)


def of_shared(run: RunRead) -> Iterator[str]:
    """Whether the winner was chosen by rows that it was tested on."""
    shared, rows = shared_rows(run), rows_of(run.recipe).get("validation")
    if rows and shared > MANY_SHARED * rows:
        yield (
            f"{shared:,} of {plural(rows, 'validation row')} are in test too, or nearly: it was chosen by rows that it "
            "is tested on, which flatters its test accuracy."
        )
