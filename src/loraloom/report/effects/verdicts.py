"""Verdicts on axes in words: what an axis does, or that it can't be told and why."""

from __future__ import annotations

from collections.abc import Sequence

from loraloom.report.effects.analysis import Effect, Verdict
from loraloom.report.points import points, size, spread
from loraloom.report.wording import listed
from loraloom.wording import plural

ORDER: tuple[Verdict, ...] = ("effect", "none", "open", "confounded", "few")
BADGES: dict[Verdict, str] = {
    "effect": "effect",
    "none": "no effect found",
    "open": "not enough trials",
    "confounded": "can't be told apart",
    "few": "not enough trials",
}
MOST_NAMED = 3


def verdict_on(effects: Sequence[Effect]) -> Verdict:
    """One verdict on an axis: what is shown weighs most; none is found where every comparison finds none."""
    found = {effect.verdict for effect in effects}
    if "effect" in found:
        return "effect"
    if "open" in found or ("none" in found and found != {"none"}):
        return "open"
    return next(verdict for verdict in ORDER if verdict in found)


def sentence_on(axis: str, effects: Sequence[Effect]) -> str:
    """The comparisons that decide the verdict on an axis, the surest first."""
    verdict = verdict_on(effects)
    # Where some find none, and no other could be tested, the axis is open and no comparison is.
    of_verdict = [each for each in effects if each.verdict == verdict] or [e for e in effects if e.verdict != "none"]
    deciding = sorted(of_verdict, key=_surest_first)
    if verdict == "effect":
        named = [f"{each.title} {in_words(each)}" for each in deciding[:MOST_NAMED]]
        return f"{axis} {'; '.join(named)}."
    first = deciding[0]
    more = len(effects) - 1
    beside = f" The same holds of {plural(more, 'other comparison')}." if more and verdict == "none" else ""
    return f"{axis} {first.title}: {in_words(first)}.{beside}"


def in_words(effect: Effect) -> str:
    """What is said of one comparison."""
    match effect.verdict:
        case "effect":
            assert effect.estimate is not None
            way = "is better" if effect.estimate > 0 else "is worse"
            return f"{way} by {size(effect.estimate, effect.interval)} ({_figures(effect)})"
        case "none":
            return f"no effect found ({points(effect.estimate, effect.interval)}, {_figures(effect)})"
        case "open":
            return f"not enough trials to tell ({points(effect.estimate, effect.interval)}, {_figures(effect)})"
        case "confounded":
            return f"can't be told apart from {listed(list(effect.with_axes))}, which changed along with it"
        case "few":
            return f"not enough trials ({plural(effect.configurations, 'configuration')})"


def _figures(effect: Effect) -> str:
    pairs = f", {plural(effect.pairs.count, 'pair')}" if effect.pairs.count else ""
    return f"95 % {spread(effect.interval)}, {plural(effect.configurations, 'configuration')}{pairs}"


def _surest_first(effect: Effect) -> tuple[float, float]:
    if effect.interval is None or effect.estimate is None:
        return 1.0, 0.0
    reach = (effect.interval[1] - effect.interval[0]) / 2
    return effect.p_value if effect.p_value is not None else 1.0, -abs(effect.estimate) / max(reach, 1e-12)
