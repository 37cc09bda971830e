"""A search's plan in words, and the clock beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from loraloom.report.wording import roughly
from loraloom.search.outlook import Outlook, Step
from loraloom.search.watcher import SearchPlan
from loraloom.study.provenance import as_list
from loraloom.wording import in_passes, percent, plural

_NOTHING_VARIES = (
    "no field varies, so nothing is searched: give lists, or --set search.sampler=auto",
    "each list has one value, so nothing is searched: give several, or no list and --set search.sampler=auto",
)

_DAY = 24 * 3600


def plan_lines(plan: SearchPlan) -> Iterator[str]:
    """What will be trained, what the time leaves out, and when it ends."""
    outlook = plan.outlook
    if outlook.finalists is None:
        known = plan.configurations is not None
        what = plural(plan.configurations, "configuration") if plan.configurations is not None else "configurations"
        done = f", {plan.finished} of {plan.finished + outlook.trials} trials done" if known else ""
        yield f"plan    {what} × {plural(outlook.seeds, 'seed')}{_passes(outlook)}{done}"
        if not plan.recipe.spans_more(1) and _is_search(plan):
            yield f"        {_NOTHING_VARIES[bool(plan.recipe.axes)]}"
    else:
        yield f"plan    {_what_is_to_come(plan)}"
    yield from (f"        {sentence}" for sentence in left_out(plan))
    if outlook.seconds_left is not None:
        form = "%H:%M:%S" if outlook.seconds_left < _DAY else "%Y-%m-%d %H:%M:%S"
        ends = time.strftime(form, time.localtime(time.time() + outlook.seconds_left))
        speed = outlook.examples_per_second
        measured = "" if speed is None else f"; measured here: {speed:,.0f} training rows/s"
        yield f"clock   {roughly(outlook.seconds_left)} left, ends by {ends}{measured}"


def is_over(plan: SearchPlan) -> bool:
    """Whether no trial is to come."""
    return plan.outlook.trials == plan.broken_off == 0 and not plan.goes_beyond


def no_more(plan: SearchPlan) -> str:
    """Why no trial is to come, or none of those that were planned."""
    if plan.goes_beyond:
        return "what was planned was trained; the time goes to further seeds and finalists"
    late = plan.lacks_some and plan.outlook.seconds_left is not None
    return "no further trial fits the time" if late else "all was trained"


def _what_is_to_come(plan: SearchPlan) -> str:
    """As `1 trial that was broken off, then …`: those that go on are none of the plan's."""
    again = f"{plural(plan.broken_off, 'trial')} that {'was' if plan.broken_off == 1 else 'were'} broken off"
    if not plan.outlook.trials:
        return again if plan.broken_off else no_more(plan)
    what = in_words(plan.outlook, plan.configurations)
    return f"{again}, then {what}" if plan.broken_off else what


def in_words(outlook: Outlook, configurations: int | None = None) -> str:
    """The rungs and the finals: `about 12 trials on 475 rows, then 3 finalists × 3 seeds on all 1,424 rows`.

    Of finals that were begun in part those that are to come are said: `5 trials of 3 finalists on all 1,424 rows`; of
    those on the rows of the only rung the further seeds: `about 4 trials on all 150 rows, then 3 finalists × 2 further
    seeds`. Where all `configurations` are finalists there: `about 2 configurations × 3 seeds on all 150 rows`.
    """
    finals, finalists = outlook.finals, outlook.finalists or 1
    seeds, rest = divmod(finals.trials, finalists)
    begun = bool(outlook.rungs) and outlook.rungs[-1].rows == finals.rows  # their first seed is of the rung
    where = _rows(finals, outlook)
    if begun and not rest and sum(step.trials for step in outlook.rungs) == finalists == configurations:
        return f"about {plural(finalists, 'configuration')} × {plural(1 + seeds, 'seed')} on {where}{_passes(outlook)}"
    steps = ", ".join(
        f"{plural(step.trials, 'trial')} on {where if begun else f'{step.rows:,} rows'}" for step in outlook.rungs
    )
    if outlook.leading is not None:
        leading = f"{plural(outlook.leading.trials, 'preset')} on {outlook.leading.rows:,} rows"
        steps = f"{leading}, {steps}" if steps else leading
    if finals.trials == 0:
        return f"about {steps}{_passes(outlook)}"
    who = plural(finalists, "finalist")
    trial, seed = ("further trial", "further seed") if begun else ("trial", "seed")
    what = f"{plural(finals.trials, trial)} of {who}" if rest else f"{who} × {plural(seeds, seed)}"
    said = f"{what}{'' if begun else f' on {where}'}{_passes(outlook)}"
    return f"about {steps}, then {said}" if steps else said


def left_out(plan: SearchPlan) -> Iterator[str]:
    """What the time does not allow for."""
    outlook = plan.outlook
    if outlook.part is not None:
        share = outlook.part / outlook.train_rows
        validated = ""
        if outlook.validated is not None:
            validated = f" and validated on {outlook.validated:,} of {outlook.eval_rows:,}"
        yield (
            f"trained on {outlook.part:,} of {outlook.train_rows:,} rows ({percent(share)}, stratified by class)"
            f"{validated}: the time does not allow for all"
        )
    if outlook.seeds < plan.recipe.search.seeds:
        yield f"{outlook.seeds} of {plan.recipe.search.seeds} seeds: the time does not allow for all"
    first = (outlook.leading, *outlook.rungs[:1])  # further rungs and finals are for those that were tried
    tried = plan.broken_off + sum(step.trials for step in first if step is not None)
    if outlook.finalists is not None and plan.finished == 0 and 0 < tried < (plan.configurations or 0):
        yield f"about {tried} of {plan.configurations:,} configurations are tried: the time does not allow for all"
    if outlook.finalists is None and plan.configurations is not None and outlook.seconds_left is not None:
        wanted = plan.configurations * outlook.seeds - plan.finished
        if outlook.trials < wanted:
            yield f"about {outlook.trials} of {wanted:,} trials fit the time"


def _is_search(plan: SearchPlan) -> bool:
    """Whether the run was not made by `loraloom train`, which is to search nothing."""
    return as_list(plan.recipe.provenance.get("command"))[1:2] != ["train"]


def _passes(outlook: Outlook) -> str:
    if outlook.passes is None:
        return ""
    least, most = outlook.passes
    if least == most:
        return f", {in_passes(most)} each"
    return f", {least:g} to {most:g} passes"


def _rows(step: Step, outlook: Outlook) -> str:
    return f"all {step.rows:,} rows" if outlook.part is None else f"{step.rows:,} rows"
