"""What `loraloom blend` came to, for people: beside the winner, and TF-IDF alone, on the same rows."""

from __future__ import annotations

from collections.abc import Iterator

from loraloom.blending import Blend
from loraloom.errors import shell_path
from loraloom.intervals import Paired
from loraloom.recipe.fields import Metric
from loraloom.report.points import points, spread
from loraloom.report.wording import p_value, share
from loraloom.study.leaderboard import metric_name, validation
from loraloom.study.run import BEST, BLEND, Run
from loraloom.terminal.wording import with_interval
from loraloom.wording import plural


def blended_lines(made: Blend, run: Run) -> Iterator[str]:
    """What TF-IDF goes by, the figures of the blend, of the winner and of TF-IDF alone, and what is gained."""
    metric, winner = run.recipe.search.metric, run.winner()
    each = made.record, winner, made.record.model_copy(update={"result": made.apart})
    own, before, apart = (share(validation(one, metric)) for one in each)
    yield (
        f"TF-IDF      {plural(len(made.tfidf.terms), 'word')} and pairs of words of "
        f"{plural(made.train_rows, 'training row')}; {plural(made.tfidf.parameters, 'weight')}, which no cap counts"
    )
    yield f"validation  {metric_name(metric)} {own}, the winner's {before}, TF-IDF's alone {apart}"
    for name, one in zip(("test", "winner", "TF-IDF"), each, strict=True):
        rows = f" on {plural(one.test.examples, 'test row')}" if name == "test" else " on the same"
        yield f"{name:<11} {with_interval(one.test, metric)}{rows}"
    if made.gain is not None:
        yield from _gain(made.gain, made.record.test.macro_f1 - winner.test.macro_f1, metric)
    chosen, why = run.path / BLEND, ""
    if (blend := validation(made.record, metric)) <= (best := validation(winner, metric)):
        beside = "behind it" if blend < best else "no better"
        chosen, why = run.path / BEST, f"   (the blend is {beside} on the validation rows)"
    yield f"use         loraloom predict {shell_path(chosen)} --text …{why}"


def _gain(gain: Paired, of_macro_f1: float, metric: Metric) -> Iterator[str]:
    """In accuracy, which the test is of; where macro-F1 is what chooses, that first."""
    interval = "" if gain.interval is None else f" (95 % interval {spread(gain.interval)})"
    tested = f"{interval}; {p_value(gain.p)} by McNemar's test, corrected for two tests"
    accuracy = f"{points(gain.difference, gain.interval)} of accuracy"
    if metric == "macro_f1":
        yield f"gain        {points(of_macro_f1)} of macro-F1 over the winner, of which no interval is made"
        yield f"            {accuracy}{tested}"
    else:
        yield f"gain        {accuracy} over the winner{tested}"
