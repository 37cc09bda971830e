"""The budget of a recipe, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from loraloom.execute.demands import NO_REMEDY
from loraloom.execute.statement import CountedPoint, Statement
from loraloom.report.wording import roughly
from loraloom.search.presets import TELLING_ROWS
from loraloom.terminal.console import make_table, say
from loraloom.wording import percent, plural

SHOWN_POINTS = 3
NULLS = {"lora.target_modules": "PEFT's choice for the model", "lora.layers_to_transform": "every layer"}
"""What no value of a field means."""


def print_statement(console: Console, statement: Statement) -> None:
    """The budget for people."""
    table = make_table("part", "how")
    table.add_column("parameters", justify="right")
    for part in statement.count.parts:
        table.add_row(escape(part.name), escape(part.formula), f"{part.parameters:,}")
    table.add_row("[bold]trainable[/bold]", "as PEFT counts it", f"[bold]{statement.count.trainable:,}[/bold]")
    say(console, f"{statement.model}, {statement.classes} classes")
    console.print(table)
    if statement.cap is not None:
        grid = Table.grid(padding=(0, 1))
        shown = min(statement.count.trainable, statement.cap)
        grid.add_row("budget", ProgressBar(total=statement.cap, completed=shown, width=40), _against_cap(statement))
        console.print(grid)
        if statement.fits:
            say(console, f"with all else as here, the largest rank that fits is r = {statement.largest_rank}")
        elif not statement.fitting:
            _print_remedies(console, statement)
    if statement.axes:
        _print_points(console, statement)
    seconds, given = "", ""
    if statement.seconds is not None:
        seconds = f" and {roughly(statement.seconds)} a trial"
    elif statement.pass_seconds is not None:
        seconds = f" and {roughly(statement.pass_seconds)} a pass over the rows"
        given = "; the clock says how many passes there are"
    if seconds:
        mean = ", as yours have in the mean" if statement.is_mean else ""
        given = f", if every text has {plural(statement.tokens, 'token')}{mean}{given}"
    memory = statement.most_memory_gb if statement.fitting else statement.memory_gb
    most = f"at most about {memory:.1f} GB of memory{seconds}"
    say(console, f"estimates: {most}, in {statement.dtype} on this machine{given}")
    if not statement.fits_memory and not statement.fitting:
        over = f"does not fit: over budget.max_memory_gb {statement.max_memory_gb:g}"
        say(console, f"{over}; {statement.memory_advice}")


def _against_cap(statement: Statement) -> str:
    assert statement.cap is not None
    spare = statement.cap - statement.count.trainable
    return f"{abs(spare):,} {'under' if spare >= 0 else 'OVER'} the cap of {statement.cap:,}"


def _print_remedies(console: Console, statement: Statement) -> None:
    share = statement.count.head / statement.count.trainable
    say(console, f"does not fit; the head alone is {statement.count.head:,} ({percent(share)} of it)")
    for remedy in statement.remedies:
        say(console, f"  would fit: {remedy.options}   ({remedy.parameters:,})")
    if not statement.remedies:
        say(console, f"  {NO_REMEDY}")


def _print_points(console: Console, statement: Statement) -> None:
    fitting, points = statement.fitting, statement.points
    this = f" ({statement.point})" if statement.point else ""
    say(console, f"this is one point of the search{this}, which varies {', '.join(statement.axes)}")
    if len(points) == 1:
        return
    limited = statement.cap is not None or statement.max_memory_gb is not None
    fit = f"; {_how_many(len(fitting), len(points))} fit the budget" if limited else ""
    say(console, f"{len(points):,} combinations differ in what is counted{fit}")
    if statement.alone:
        few = f"fewer than {TELLING_ROWS} rows are held out to choose by"
        say(console, f"{few}, so that under a clock only these are tried, unless search.n_trials asks for more:")
        lines = [f"{one.parameters:,} parameters ({one.name})" for one in statement.alone]
    else:
        if fitting and not (statement.fits and statement.fits_memory):
            say(console, "a search leaves out the one above, and trains those that fit")
        lines = [*_extremes(fitting), *_left_out(points)]
    for line in lines:
        say(console, f"  {line}")
    for field, means in NULLS.items():
        if any(f"{field}=null" in line for line in (statement.point, *lines)):
            say(console, f"  {field}=null is {means}")


def _extremes(fitting: Sequence[CountedPoint]) -> Iterator[str]:
    for what, chosen in (("fewest", min), ("most", max)):
        if fitting:
            one = chosen(fitting, key=lambda point: point.parameters)
            yield f"the {what} parameters: {one.parameters:,} ({one.name})"


def _left_out(points: Sequence[CountedPoint]) -> Iterator[str]:
    left_out = [one for one in points if one.why_not is not None]
    yield from (f"left out: {one.name}: {one.why_not}" for one in left_out[:SHOWN_POINTS])
    if len(left_out) > SHOWN_POINTS:
        yield f"and {len(left_out) - SHOWN_POINTS:,} more"


def _how_many(number: int, of: int) -> str:
    return "all" if number == of else "none" if not number else f"{number:,}"
