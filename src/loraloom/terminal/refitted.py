"""What `loraloom refit` came to, for people: the adapter beside the winner, on the same test rows."""

from __future__ import annotations

from loraloom.errors import shell_path
from loraloom.study.record import TrialRecord
from loraloom.study.run import REFIT, Run
from loraloom.terminal.wording import with_interval
from loraloom.wording import plural


def refitted_lines(record: TrialRecord, run: Run) -> tuple[str, ...]:
    """Its rows, its accuracy and the winner's, what these are not for, and how it is used."""
    winner, metric = run.winner(), run.recipe.search.metric
    return (
        f"refitted    {record.called}, on {record.train_rows or 0:,} rows",
        f"accuracy    {with_interval(record.test, metric)} on {plural(record.test.examples, 'test row')}",
        f"winner      {with_interval(winner.test, metric)} on the same, trained on {winner.train_rows or 0:,} rows",
        "            whoever keeps the better of the two by these rows has chosen by the test, which flatters it",
        f"use         loraloom predict {shell_path(run.path / REFIT)} --text …",
    )
