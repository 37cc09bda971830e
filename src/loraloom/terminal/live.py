"""What a person sees: the budget as a bar, trials as a live table, the best with its interval, the time, the way on.

Without a terminal that it can be drawn on the same is said in plain lines; `quiet` says only the result, and what
failed beside the run.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loraloom.data import Finding, shorten
from loraloom.errors import shell_path
from loraloom.recipe import Recipe
from loraloom.recipe.fields import Metric
from loraloom.report.wording import cut_short, duration, roughly, share
from loraloom.search.next_search import (
    SEEDS,
    AllRows,
    MoreConfigurations,
    is_to_be_mixed,
    more_passes,
    more_time,
    passes_command,
    search_command,
    seeds_of,
    time_of_seeds,
    to_use_the_rest,
)
from loraloom.search.outlook import Outlook
from loraloom.search.proposals import Proposal
from loraloom.search.watcher import SearchPlan, Watcher
from loraloom.study.choice import Choice, chosen, is_better_mixed
from loraloom.study.commands import command_on, go_on_command
from loraloom.study.leaderboard import Standing, metric_name, validation
from loraloom.study.provenance import rows_of, unbeaten
from loraloom.study.record import Evaluation, Timings, TrialRecord, trained_point
from loraloom.study.run import BEST
from loraloom.terminal.console import is_drawn_on, make_console, make_table, say
from loraloom.terminal.outlook import in_words, is_over, no_more, plan_lines
from loraloom.terminal.wording import (
    finding_lines,
    labels_in_words,
    point_in_words,
    trial_in_words,
    with_interval,
)
from loraloom.wording import percent, plural

SHOWN_TRIALS = 12


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A trial that is trained now, and its latest evaluation."""

    proposal: Proposal
    parameters: int
    latest: Evaluation | None = None


class Terminal(Watcher):
    """Follows a run on a console."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console, self._quiet = console, quiet
        self._plan: SearchPlan | None = None
        self._latest_records: deque[TrialRecord] = deque(maxlen=SHOWN_TRIALS)
        self._ended = 0
        self._first: Standing | None = None
        self._under_way: dict[int, _UnderWay] = {}
        self._started = time.monotonic()
        self._live: Live | None = None
        self.winner: TrialRecord | None = None
        self._outlook: Outlook | None = None
        self._outlook_at = self._started

    def note(self, sentence: str) -> None:
        self._say(f"[dim]… {escape(sentence)}[/dim]")

    def warned(self, sentence: str) -> None:
        if self._quiet:
            say(make_console(stderr=True), f"loraloom: {sentence}")
        else:
            self.note(sentence)

    def found(self, finding: Finding) -> None:
        for line in finding_lines(finding):
            self._say(line)

    def planned(self, plan: SearchPlan) -> None:
        self._plan = plan
        train, validation, test = plan.rows
        self._say(
            f"data    {escape(plan.data)}: {train:,} training, {validation:,} validation, {plural(test, 'test row')}"
        )
        self._say(f"labels  {escape(labels_in_words(plan.labels))}")
        for sentence in plan.dropped[:5]:
            self._say(f"[yellow]![/yellow] dropped {escape(sentence)}")
        if more := len(plan.dropped[5:]) + plan.more_dropped:
            self._say(f"[yellow]![/yellow] dropped {plural(more, 'more point')} over the budget")
        self._outlook = plan.outlook
        for line in plan_lines(plan):
            self._say(escape(line))
        self._say(f"engine  {plan.engine} ({escape(plan.engine_reason)})")
        if is_over(plan):
            self._say(f"run     {escape(str(plan.run))}: {no_more(plan)}")
        else:
            self._say(
                f"run     {escape(str(plan.run))}; if it is broken off: {escape(go_on_command(plan.run, plan.recipe))}"
            )
        if is_drawn_on(self._console) and not self._quiet:
            self._live = Live(self, console=self._console, refresh_per_second=4)
            self._live.start()

    def trial_started(self, proposal: Proposal, parameters: int) -> None:
        self._under_way[proposal.number] = _UnderWay(proposal, parameters)

    def evaluated(self, number: int, evaluation: Evaluation) -> None:
        self._under_way[number] = replace(self._under_way[number], latest=evaluation)

    def trial_ended(self, record: TrialRecord, standings: tuple[Standing, ...], outlook: Outlook) -> None:
        self._latest_records.append(record)
        self._ended += 1
        self._outlook, self._outlook_at = outlook, time.monotonic()
        self._first = next(iter(standings), None)
        self._under_way.pop(record.number, None)  # one that was settled as it was found was not begun here
        if self._live is None:
            words = self._in_words(record)
            self._say(
                f"trial {record.number}: {escape(self._outcome(record))}{escape(f'  ({words})') if words else ''}"
            )

    def crowned(self, winner: TrialRecord) -> None:
        self.winner = winner

    def closed(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The view; where it is live, as much as the screen has lines for: the clock first, then the newest trials."""
        assert self._plan is not None
        under_way, footer = min(SHOWN_TRIALS, len(self._under_way)), self._footer()
        rows = len(self._latest_records) + under_way

        def view(rows: int) -> Group:
            return Group(self._table(max(0, rows - under_way), min(rows, under_way)), *footer)

        def lines(rows: int) -> int:
            return len(console.render_lines(view(rows), options, pad=False))

        if self._live is not None:  # it is drawn four times a second, beside the training
            rows = bisect_right(range(1, rows + 1), options.size.height, key=lines)
        yield view(rows)

    def _table(self, finished: int, under_way: int) -> Table:
        """The newest finished trials, and the first of those under way; how each is stands below its configuration."""
        table = make_table()
        for name in ("trial", "configuration", "parameters", "accuracy", "macro-F1", "time"):
            words = name == "configuration"
            table.add_column(name, justify="left" if words else "right", overflow="fold", no_wrap=not words)
        records = tuple(self._latest_records)  # another thread changes them
        for record in records[len(records) - finished :]:
            score = record.result.validation if record.result else None
            why = f"\n{lacks}" if (lacks := _lacks(record)) else ""
            table.add_row(
                str(record.number),
                escape(f"{self._in_words(record)}{why}"),
                f"{record.counts.trainable:,}",
                share(score.accuracy if score else None),
                share(score.macro_f1 if score else None),
                f"{record.timings.seconds:.0f} s" if record.timings else "–",
            )
        trials = tuple(self._under_way.values())
        for one in trials[:under_way]:
            latest = one.latest
            accuracy = share(latest.validation_accuracy) if latest else "…"
            macro_f1 = share(latest.validation_macro_f1) if latest else "…"
            state = f"epoch {latest.epoch:.1f}{_speed(latest)}" if latest else "training"
            what = escape(f"{self._in_words(one.proposal)}\n{state}")
            table.add_row(str(one.proposal.number), what, f"{one.parameters:,}", accuracy, macro_f1, style="cyan")
        if more := len(trials[under_way:]):
            table.add_row("…", f"{more:,} more in training", style="cyan")
        return table

    def _footer(self) -> list[Any]:
        assert self._plan is not None
        lines: list[Any] = []
        cap = self._plan.recipe.budget.max_trainable_parameters
        first, under_way = self._first, tuple(self._under_way.values())  # another thread changes them
        if first is not None:
            leader = first.leader
            reached = with_interval(leader.validation, self._plan.recipe.search.metric)
            lines.append(Text(f"best: trial {leader.number}, accuracy {reached} on validation"))
        if cap is not None and under_way:
            grid = Table.grid(padding=(0, 1))
            grid.add_row("budget", ProgressBar(total=cap, completed=under_way[-1].parameters, width=40), f"of {cap:,}")
            lines.append(grid)
        lines.append(Text(self._progress()))
        return lines

    def _progress(self) -> str:
        """Plan against clock."""
        assert self._plan is not None
        assert self._outlook is not None
        done = self._plan.finished + self._ended
        passed, to_come_trials = time.monotonic() - self._started, max(0, self._outlook.trials)
        if self._outlook.seconds_left is not None:
            left = max(0.0, self._outlook.seconds_left - (time.monotonic() - self._outlook_at))
            to_come = ""
            if self._outlook.finalists and to_come_trials:
                to_come = f"; to come: {in_words(self._outlook, self._plan.configurations)}"
            return f"{plural(done, 'trial')} done; {roughly(left)} of {roughly(passed + left)} left{to_come}"
        said = f"{done} of {done + to_come_trials} trials, {roughly(passed)} so far"
        if not self._ended or not to_come_trials:
            return said
        return f"{said}, about {roughly(passed / self._ended * to_come_trials)} left"

    def _outcome(self, record: TrialRecord) -> str:
        assert self._plan is not None
        if record.state != "complete" or record.result is None:
            return _lacks(record)
        seconds = f", {record.timings.seconds:.0f} s" if record.timings else ""
        reached = with_interval(record.result.validation, self._plan.recipe.search.metric)
        speed = _speed(record.timings) if record.timings else ""
        why = f", {lacks}" if (lacks := _lacks(record)) else ""
        return f"validation accuracy {reached}, {record.counts.trainable:,} parameters{seconds}{speed}{why}"

    def _in_words(self, trial: TrialRecord | Proposal) -> str:
        assert self._plan is not None
        return trial_in_words(self._plan.recipe, trial.point, trial.configuration, self._plan.outlook.seeds)

    def _say(self, line: str) -> None:
        if not self._quiet:
            say(self._console, line, markup=True)


def closing_lines(winner: TrialRecord, run: Path, recipe: Recipe, records: Sequence[TrialRecord]) -> tuple[str, ...]:
    """What won and why, its accuracy with an interval, its parameters, where the report is, what to try next.

    `records` are those of the run's trials.
    """
    cap, metric = recipe.budget.max_trainable_parameters, recipe.search.metric
    against = "" if cap is None else f", {percent(winner.counts.trainable / cap)} of the cap of {cap:,}"
    marked = f" ({'; '.join(winner.doubts)})" if winner.doubts else ""
    what = point_in_words(trained_point(winner.point, winner.configuration)) or "the recipe's one configuration"
    rows, page = rows_of(recipe), run / "report" / "index.html"
    every, tested = rows.get("train"), winner.tested_rows
    seen = winner.rows_seen
    on_part = every is not None and seen is not None and seen < every
    return (
        f"winner      trial {winner.number}: {what}",
        *([_soup(winner, metric)] if winner.is_soup else []),
        *([f"trained on  {seen:,} of {every:,} training rows"] if on_part else []),
        *_why(chosen(records, metric), records),
        f"accuracy    {with_interval(winner.test, metric)} on {_of_all(tested, rows.get('test'))}{marked}",
        *_constant(winner, recipe),
        f"parameters  {winner.counts.trainable:,} trainable{against}",
        f"report      {page if page.is_file() else f'loraloom report {shell_path(run)}   (there is none yet)'}",
        f"use         loraloom predict {shell_path(run / BEST)} --text …",
        *(f"next        {command}" for command in _next(winner, run, recipe, records)),
    )


def _of_all(tested: int, every: int | None) -> str:
    """`7,600 test rows`, or `2,000 of 7,600 test rows`."""
    return (
        plural(tested, "test row") if every is None or tested == every else f"{tested:,} of {plural(every, 'test row')}"
    )


def _constant(winner: TrialRecord, recipe: Recipe) -> Iterator[str]:
    """Where one class for all may be as good: of skewed classes a high accuracy alone would look like a good one."""
    if constant := unbeaten(winner, recipe):
        answer, reached = shorten(constant[0]), share(constant[1])
        beaten = f"would reach an accuracy of {reached}: it is not shown to beat that"
        yield f"constant    “{answer}” for every test row {beaten}"


def _soup(winner: TrialRecord, metric: Metric) -> str:
    reached = f"validation {metric_name(metric)} {share(validation(winner, metric))}"
    return f"adapter     the averaged weights of its seeds, trials {winner.soup_of}: {reached}"


def _next(winner: TrialRecord, run: Path, recipe: Recipe, records: Sequence[TrialRecord]) -> Iterator[str]:
    """What to try next: a soup of few rows' seeds; more passes where nothing was learnt that can be told.

    Else more time where it was the limit, or seeds where there was one, or what would use a time that was not used.
    """
    seeds = seeds_of(winner, records, recipe.search.metric)
    if is_to_be_mixed(run, winner, seeds):
        yield f"{command_on('soup', run, recipe)}   (the winner's {seeds} seeds in one adapter: tends to be better)"
    if most := more_passes(winner, recipe):
        more = f"over {plural(winner.train_rows or 0, 'row')} a search under a clock makes up to {most:g}"
        yield f"{passes_command(run, recipe, most)}   ({more})"
        return
    match more_time(run, recipe, winner, records):
        case AllRows(_, every, seconds) as longer:
            yield f"{longer.command(run, recipe)}   (all {every:,} rows, in about {roughly(seconds)})"
        case MoreConfigurations(_, _, again) as others:
            more = f"{duration(again)} more; another winner is tested on the same rows"
            yield f"{others.command(run, recipe)}   ({more})"
        case None if recipe.search.seeds == seeds == 1:
            why = "   (of so few rows the mean of seeds tends to be better)" if is_better_mixed(winner, SEEDS) else ""
            settings = [f"search.seeds={SEEDS}"]
            if longer_time := time_of_seeds(run, recipe, records, None):
                settings.append(f"budget.max_seconds={longer_time}")
            yield search_command(run, recipe, "seeds", *settings) + why
        case None if setting := to_use_the_rest(run, recipe, seeds):
            yield f"{search_command(run, recipe, 'more', setting)}   (half of the time or more was not used)"


def _why(choice: Choice | None, records: Sequence[TrialRecord]) -> tuple[str, ...]:
    """How sure the choice is: the mean over seeds with its interval, and why a tie did not go to the leader.

    A mean that was the best of several flatters.
    """
    if choice is None:
        return ()
    lines = []
    winner = choice.winner
    if winner.interval is not None:
        low, high = max(0.0, winner.interval[0]), min(1.0, winner.interval[1])
        several = len({record.point_key for record in records if record.state == "complete"}) > 1
        lines.append(
            f"validation  mean {metric_name(choice.metric)} {share(winner.mean)} over "
            f"{plural(len(winner.trials), 'seed')} (95 % interval {low:.3f}–{high:.3f}, of the seeds alone)"
            f"{', by which it was chosen' if several else ''}"
        )
    if choice.sentence is not None:
        lines.append(f"            {choice.sentence}")
    elif choice.level:
        others = plural(choice.level, "other configuration")
        decided = "repeated seeds, then fewer parameters, decide"
        lines.append(f"            level with {others} within the noise of seeds: {decided}")
    return tuple(lines)


def _lacks(record: TrialRecord) -> str:
    """Why it did not come to its end; nothing where it did."""
    if record.state != "complete":
        return f"{record.state}: {record.reason}"
    return cut_short(record.epochs, record.configuration.train.num_train_epochs) if record.cut_short else ""


def _speed(timed: Evaluation | Timings) -> str:
    """Examples and tokens a second, and the share of the machine's measured peak, as far as the engine says them."""
    said = "" if timed.examples_per_second is None else f", {timed.examples_per_second:,.0f} examples/s"
    if timed.tokens_per_second is not None:
        said += f", {timed.tokens_per_second:,.0f} tokens/s"
    if timed.peak_share is None:
        return said
    return f"{said}, {percent(timed.peak_share)} of peak"
