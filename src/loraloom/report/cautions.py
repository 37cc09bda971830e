"""What a run can't claim: each doubt that its own records give cause for, as a sentence with its numbers."""

from __future__ import annotations

from collections.abc import Iterator

from loraloom.report.answer import Answer, Winner
from loraloom.report.leaderboard import Leaderboard, Row, describe
from loraloom.report.reading import RunRead
from loraloom.report.rounding import rounded_span
from loraloom.report.test_rows import of_disputed, of_few, of_leaks, of_looks, of_part, of_repeats, of_shared
from loraloom.report.testset import Tested
from loraloom.report.wording import listed, share, shortened
from loraloom.search.next_search import fell_behind
from loraloom.study.choice import chosen
from loraloom.study.commands import Command
from loraloom.study.provenance import class_rows, commonest, rows_of
from loraloom.study.record import LEAKED
from loraloom.wording import plural

FEW_SEEDS = 3


def cautions(
    run: RunRead, board: Leaderboard, found: Answer, test: Tested | None, commands: tuple[Command, ...]
) -> tuple[str, ...]:
    """The doubts, those about the winner first."""
    sentences = list(_of_winner(run, board, found, test, commands)) if found.winner else []
    sentences += _of_search(run, board, found)
    return tuple(dict.fromkeys(sentences))


def _of_winner(
    run: RunRead, board: Leaderboard, found: Answer, test: Tested | None, commands: tuple[Command, ...]
) -> Iterator[str]:
    winner, row = found.winner, board.winner
    assert winner is not None  # the caller asks about a winner alone
    if run.best is None:
        yield (
            "The search has not chosen its winner: this is the best so far by validation, and nothing was "
            "tested. An accuracy by which a configuration was chosen flatters it."
        )
    elif winner.split != "test":
        flatters = " by which this configuration was chosen, and flatters it" if found.had_choice else ""
        yield f"There are no test rows: the accuracy is of the validation rows{flatters}."
    yield from of_looks(run, commands)
    leaks = list(of_leaks(run))
    yield from leaks
    chosen_then_tested = found.had_choice and winner.split == "test"
    if chosen_then_tested:
        yield from of_shared(run)
    yield from of_few(winner.interval, winner.score.examples, winner.split)
    yield from of_repeats(run, winner.split)
    yield from of_disputed(run, winner.split)
    yield from of_part(run)
    yield from _of_rows(run)
    for mark in winner.record.doubts:
        if leaks and mark == LEAKED:  # said at more length of the run
            continue
        yield f"Its record says: {mark}."
    if row is not None:
        yield from _of_margin(run, board, row, winner)
    by_accuracy = chosen_then_tested and board.metric == "accuracy"
    if by_accuracy and winner.interval and winner.validation.accuracy > winner.interval[1]:
        by = "its trials were chosen by theirs" if winner.record.is_soup else "it was chosen by it"
        yield (
            f"Its validation accuracy, {share(winner.validation.accuracy)}, lies above the whole interval of its test "
            f"accuracy: {by}, which flatters; chance, or splits that differ, may add to that."
        )
    constant = _constant(run, test, winner.split)
    if constant and winner.interval and constant[1] >= winner.interval[0]:
        yield (
            f"It is not shown to beat a constant answer: “{shortened(constant[0], 60)}” for every {winner.split} row "
            f"would reach an accuracy of {share(constant[1])}."
        )


def _constant(run: RunRead, test: Tested | None, split: str) -> tuple[str, float] | None:
    """The commonest class of a split and its share, by predictions of its rows or by what is stated of the data."""
    if test is not None:
        return test.majority_label, test.majority_share
    return commonest(class_rows(run.recipe).get(split, {}))


def _of_rows(run: RunRead) -> Iterator[str]:
    """Whether the winner has seen all rows."""
    if run.best is None:
        return
    record, rows = run.best.record, rows_of(run.recipe).get("train")
    seen = record.rows_seen
    if seen is not None and rows is not None and seen < rows:
        part = "a part stratified by class" if seen == record.train_rows else "in less than a pass over them"
        better = "on all of them it would probably be better"
        if fell_behind(record, run.records):
            better = "trained on more of them, its configuration failed or came to less"
        yield f"It was trained on {seen:,} of {plural(rows, 'row')}, {part}: {better}."


def _of_margin(run: RunRead, board: Leaderboard, row: Row, winner: Winner) -> Iterator[str]:
    if row.rank is not None and row.rank > 1 and board.ranked[0].metric != row.metric:
        metric, first = run.recipe.search.metric, board.ranked[0]
        choice = chosen(run.records, metric)
        if choice and winner.record.number not in {trial.number for trial in choice.winner.trials}:
            choice = None  # best/ is from before the search went on, and another would be chosen now
        why = choice.sentence if choice else None
        rule = (
            "what the clock cut short does not win"
            if choice and choice.preferred == "done"
            else "repeated seeds and then fewer parameters win"
        )
        above = (
            "is above it"
            if (first.metric or 0) > (row.metric or 0)
            else "saw more rows, but was stopped before its last epoch and is below it"
            if first.cut_short
            else "saw more rows, but is far below it, as a training that has collapsed"
        )
        yield (
            f"The folder best/ holds {winner.record.called}, whose configuration has rank {row.rank}: by the mean "
            f"over seeds, {describe(board.axes, first.values)} {above}"
            + (f". It was chosen since {why}: within noise, {rule}." if why else ".")
        )
    if row.lost_seeds:
        yield (
            f"Not all seeds of its configuration came to their end ({shortened('; '.join(row.reasons), 400)}): its "
            "accuracy is that of the others, and trained with another seed it may fail as well."
        )
    if row.seeds == 1 and not row.lost_seeds:
        every = len(board.rows) > 1 and all(each.seeds <= 1 and not each.lost_seeds for each in board.rows)
        yield (
            "Every configuration was trained with one seed: how far another seed would move the accuracies, "
            "and with them the order, is not known."
            if every
            else "It was trained with one seed: how far another seed would move its accuracy is not known."
        )
    elif 1 < row.seeds < FEW_SEEDS:
        yield (
            f"It was trained with {plural(row.seeds, 'seed')}, which say little of what another would reach: the "
            f"95 % interval of their mean on validation is {rounded_span(row.interval)}."
        )
    near = board.in_noise
    if near and row.accuracy is not None:
        own = row.accuracy
        yield _margin(row, min(near, key=lambda each: abs((each.accuracy or 0) - own)), len(near))
    if board.metric != "accuracy" and board.compared and row.rank in (None, 1):
        level = sum(each.metric == row.metric for each in board.compared)
        others = f"{plural(level, 'other configuration')} {'reaches' if level == 1 else 'reach'}"
        yield (
            f"It has no lead: {others} the same {board.metric_name} on validation."
            if level
            else f"Whether its lead is more than chance is not known: no interval is made of {board.metric_name}."
        )


def _margin(row: Row, second: Row, near: int) -> str:
    gap = abs((row.accuracy or 0) - (second.accuracy or 0))
    rows = round(gap * row.examples)
    few = plural(rows, "row") if rows else "less than a row"
    apart = f"{few} of {row.examples:,} away" if gap else "level with it"
    if near == 1:
        return f"{_lead(row, gap)}: the next configuration is {apart} on validation and may be better."
    return (
        f"{_lead(row, gap)}: {near:,} other configurations can't be told from it by their validation "
        f"accuracy, the nearest of them {apart}."
    )


def _lead(row: Row, gap: float) -> str:
    if row.rank not in (None, 1):
        return "It is not the leader, but within its noise"
    return "Its lead is within noise" if gap else "It has no lead"


def _of_search(run: RunRead, board: Leaderboard, found: Answer) -> Iterator[str]:
    tally = found.tally
    if tally.failed:
        they = "it" if tally.failed == 1 else "they"
        yield (
            f"{tally.failed:,} of {plural(tally.finished, 'trial')} failed, so what {they} would have "
            "reached is not known."
        )
    if tally.pruned:
        yield (
            f"{tally.pruned:,} of {plural(tally.finished, 'trial')} ended early because others were ahead; "
            "slow starters may be among them."
        )
    yield from _of_survivors(board)
    if run.best is None and tally.under_way:
        yield f"{plural(tally.under_way, 'trial')} had not ended when this page was written."
    marks = sorted({mark for record in run.records for mark in record.marks})
    if run.best and marks and not run.best.record.doubts:
        marked = sum(bool(record.marks) for record in run.records)
        shown = [*marks[:3], f"{len(marks) - 3:,} more"] if len(marks) > 4 else marks
        of = "record of 1 other trial says" if marked == 1 else f"records of {marked:,} other trials say"
        yield f"The {of}: {listed(shown)}."


def _of_survivors(board: Leaderboard) -> Iterator[str]:
    """Whether some were compared on fewer rows alone: those that were not taken further are no fair sample."""
    winner = board.winner
    if winner is None:
        return
    reached: dict[str, int] = {}
    for row in board.ranked:
        key = row.record.point_key
        reached[key] = max(row.reach, reached.get(key, 0))
    # one that failed there, or was cut short, was taken as far, and is told of elsewhere
    taken = {row.record.point_key for row in board.rows if (row.record.train_rows or 0) >= winner.reach}
    if fewer := sum(reach < winner.reach and key not in taken for key, reach in reached.items()):
        yield (
            f"{fewer:,} of {plural(len(reached), 'configuration')} {'was' if fewer == 1 else 'were'} compared on "
            "fewer rows than the winner and not taken further: on all rows the order may be another."
        )
