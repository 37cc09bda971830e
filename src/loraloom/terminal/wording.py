"""How figures and points are worded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from loraloom.data import Finding, printable, shorten
from loraloom.recipe import Configuration, Recipe
from loraloom.recipe.axes import as_option
from loraloom.recipe.fields import Metric
from loraloom.report.rounding import with_span
from loraloom.report.wording import share
from loraloom.study.leaderboard import metric_name
from loraloom.study.record import Score, trained_point

_SHOWN_LABELS = 8


def point_in_words(point: dict[str, Any]) -> str:
    return "  ".join(f"{name.split('.')[-1]}={_shown(value)}" for name, value in point.items())


def trial_in_words(recipe: Recipe, point: dict[str, Any], configuration: Configuration, seeds: int = 1) -> str:
    """The point, and what tells trials of one point apart: the part of the rows, and the seed where there are more.

    `seeds` are those that are planned: a clock may have time for more than the recipe asks for.
    """
    said = [point_in_words(trained_point(point, configuration))] if point else []
    rows = configuration.data.max_train_samples
    if rows is not None and rows != recipe.data.max_train_samples and "data.max_train_samples" not in point:
        said.append(f"{rows:,} rows")
    if seeds > 1 or recipe.tells_seeds(configuration):
        said.append(f"seed {configuration.train.seed}")
    return "  ".join(said)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else as_option(value)


def labels_in_words(labels: Sequence[str]) -> str:
    """The first of them, and how many more there are; in quotes where a comma would make two of one."""
    named = (f"“{label}”" if "," in label else label for label in map(shorten, labels[:_SHOWN_LABELS]))
    more = len(labels) - _SHOWN_LABELS
    return ", ".join(named) + (f" … and {more:,} more" if more > 0 else "")


def with_interval(score: Score, metric: Metric) -> str:
    """`0.971 (95 % interval 0.951–0.983)`, an accuracy, by Wilson; then the metric, where another is maximised."""
    assert score.interval is not None  # what is said was measured on rows
    accuracy, span = with_span(score.accuracy, score.interval)
    also = "" if metric == "accuracy" else f", {metric_name(metric)} {share(score.macro_f1)}"
    return f"{accuracy} (95 % interval {span}){also}"


def finding_lines(finding: Finding) -> list[str]:
    """What was found in the data, with examples where it is a warning, in rich's markup."""
    warning = finding.severity == "warning"
    mark = "[yellow]![/yellow]" if warning else "·"
    examples = finding.examples if warning else ()
    return [
        f"{mark} {escape(printable(finding.sentence))}",
        *(f"    [dim]{escape(example)}[/dim]" for example in examples),
    ]
