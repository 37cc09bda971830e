"""What `loraloom soup` came to, for people: beside its seeds on validation rows, beside the winner on test rows."""

from __future__ import annotations

from loraloom.errors import shell_path
from loraloom.report.wording import share
from loraloom.souping import Soup
from loraloom.study.leaderboard import metric_name, validation
from loraloom.study.run import BEST, SOUP, Run
from loraloom.terminal.wording import with_interval
from loraloom.wording import plural


def souped_lines(made: Soup, run: Run) -> tuple[str, ...]:
    """What it is of, its figures and its seeds', and which of the two adapters the validation rows are for."""
    record, metric, winner = made.record, run.recipe.search.metric, run.winner()
    own, test = validation(record, metric), record.test
    if winner.soup_of == record.soup_of:
        used, why = BEST, "   (it is this soup already)"
    elif made.is_advised:
        used, why = SOUP, ""
    else:
        used, why = BEST, "   (the soup is behind its seeds where it was judged)"
    return (
        f"soup        of trials {record.soup_of}; its rank holds {share(made.kept)} of their mean",
        f"validation  {metric_name(metric)} {share(own)}, its seeds' mean {share(made.mean)}, the winner's "
        f"{share(validation(winner, metric))}",
        f"test        {with_interval(test, metric)} on {plural(test.examples, 'test row')}",
        f"winner      {with_interval(winner.test, metric)} on the same",
        f"use         loraloom predict {shell_path(run.path / used)} --text …{why}",
    )
