"""The budget of a recipe, stated: parameters by part against the cap, what would fit, memory and time."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from loraloom import budget
from loraloom.backbone import sources
from loraloom.data import encode
from loraloom.data.counting import Counted, count_classes
from loraloom.errors import BackboneError, LoraloomError
from loraloom.execute.demands import MOST_POINTS, Demands, point_name, refusal
from loraloom.recipe import Choices, Range, Recipe
from loraloom.search.presets import leading, preset_points, too_few_to_choose
from loraloom.search.space import default_space
from loraloom.study.provenance import data_revision

MOST_RANKS = 256
"""Of a range; a longer one stands at its ends."""


@dataclass(frozen=True, slots=True)
class CountedPoint:
    """One of the points that differ in what is counted: in words, what it trains, and why it is left out, if it is."""

    name: str
    parameters: int
    why_not: str | None


@dataclass(frozen=True, slots=True)
class Statement:
    """What `budget` prints: of the recipe's first point by part, of the others in sum.

    The first point of a recipe without axes is what it writes, also where `auto` varies the rest.
    """

    model: str
    classes: int
    count: budget.ParameterCount
    cap: int | None
    rank: int
    largest_rank: int | None
    remedies: tuple[budget.Remedy, ...]
    memory_gb: float
    most_memory_gb: float
    """Of all that a search would train, where that is anything."""
    max_memory_gb: float | None
    memory_advice: str
    seconds: float | None
    """Of the dearest trial; None where a clock says how long trials are, or it can't be told."""
    pass_seconds: float | None
    """Of one pass over the rows of what is dearest; None where rows or the machine's rate aren't known."""
    tokens: int
    """Of each text, by which times are estimated: the mean of the rows' own, or the most that are kept."""
    is_mean: bool
    dtype: str
    axes: tuple[str, ...]
    point: str
    """What the first point has in fields that vary and are counted, in words; '' where there are none."""
    points: tuple[CountedPoint, ...]
    """Ranks of a range stand singly."""
    alone: tuple[CountedPoint, ...]
    """What a search under a clock tries alone, since few rows are held out to choose by; none where it tries others."""

    @property
    def fits(self) -> bool:
        """Whether the first point fits the cap on parameters."""
        return self.cap is None or self.count.trainable <= self.cap

    @property
    def fits_memory(self) -> bool:
        """Whether it fits `budget.max_memory_gb`, as far as can be estimated."""
        return self.max_memory_gb is None or self.memory_gb <= self.max_memory_gb

    @property
    def fitting(self) -> tuple[CountedPoint, ...]:
        """Those of `points` that a search would train."""
        return tuple(point for point in self.points if point.why_not is None)

    @property
    def refusal(self) -> str | None:
        """Why a search of it would be refused, in a sentence; None where one of `points` fits."""
        if self.fitting:
            return None
        first = self.points[0]
        return refusal(first.name, str(first.why_not), len(self.points))

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "classes": self.classes,
            "trainable_parameters": self.count.trainable,
            "parts": {"lora": self.count.lora, "bias": self.count.bias, "head": self.count.head},
            "lines": [{"name": p.name, "formula": p.formula, "parameters": p.parameters} for p in self.count.parts],
            "max_trainable_parameters": self.cap,
            "fits": self.fits and self.fits_memory,
            "r": self.rank,
            "largest_r": self.largest_rank,
            "changes": [{"change": x.change, "parameters": x.parameters} for x in self.remedies],
            "estimated_memory_gb": round(self.memory_gb, 2),
            "estimated_most_memory_gb": round(self.most_memory_gb, 2),
            "max_memory_gb": self.max_memory_gb,
            "estimated_seconds": None if self.seconds is None else round(self.seconds, 1),
            "estimated_seconds_per_pass": None if self.pass_seconds is None else round(self.pass_seconds, 1),
            "dtype": self.dtype,
            "points": [
                {"point": one.name, "parameters": one.parameters, "fits": one.why_not is None} for one in self.points
            ],
            "points_that_fit": len(self.fitting),
            "tried_alone": [{"point": one.name, "parameters": one.parameters} for one in self.alone],
        }


def state_budget(
    recipe: Recipe, num_labels: int | None = None, note: Callable[[str], None] = lambda _: None
) -> Statement:
    """Counts the recipe's first point on the meta device, explains the count, and counts what a search would vary.

    `note` hears of the latter, and of reading the data, where it takes seconds.

    Raises:
        LoraloomError: the classes can't be told, the model can't be had or does not read texts so long, the counts
            disagree, or `auto` has nothing to vary.
    """
    sources.find(recipe.backbone.model)  # refuses before torch is imported, which takes seconds
    from loraloom.engine.gemm_rates import measure
    from loraloom.engine.precision import choose_dtype

    timed = recipe.budget.max_seconds is not None or recipe.search.epochs == "clock"  # which may be by --deadline
    searched = _ranks_singly(default_space(recipe, deadline=timed))
    counted = Counted(num_labels, None) if num_labels else count_classes(recipe.data, data_revision(recipe), note)
    labels = [str(index) for index in range(counted.classes)]
    demands, configuration = Demands(searched, labels), recipe.configuration({})
    demands.check_revision()
    demands.check_lengths()
    adaptation, limits = demands.adaptation(configuration), recipe.budget
    count, peft = demands.parameters(configuration), demands.peft_count(configuration)
    if count.trainable != peft:
        raise LoraloomError(
            f"the counts disagree: {count.trainable:,} by parts, {peft:,} by PEFT; please report this recipe"
        )
    cap, dtype, rates = limits.max_trainable_parameters, choose_dtype(configuration.train), measure()
    by_clock, rate = searched.search.epochs == "clock", rates.layer(dtype)
    trial, one_pass = _longest(demands, counted, rate), _longest(demands, counted, rate, epochs=1)
    tokens, is_mean = (one_pass if by_clock else trial)[1:]
    points = tuple(demands.points())
    told_by = dict.fromkeys(name for point in points for name in point)
    if len(points) > MOST_POINTS:
        note(f"counting {len(points):,} combinations")
    return Statement(
        model=configuration.backbone.model,
        classes=counted.classes,
        count=count,
        cap=cap,
        rank=configuration.lora.r,
        largest_rank=None if cap is None else budget.largest_rank(adaptation, cap),
        remedies=demands.remedies(configuration),
        memory_gb=demands.memory_gb(configuration),
        most_memory_gb=demands.most_memory_gb(),
        max_memory_gb=limits.max_memory_gb,
        memory_advice=demands.memory_advice(configuration),
        seconds=None if by_clock else trial[0],
        pass_seconds=one_pass[0],
        tokens=tokens,
        is_mean=is_mean,
        dtype=dtype,
        axes=tuple(searched.axes),
        point=point_name({name: configuration.base(name) for name in told_by}),
        points=tuple(_counted(demands, point) for point in points),
        alone=_alone(demands, counted, told_by) if timed else (),
    )


def _counted(demands: Demands, point: Mapping[str, Any]) -> CountedPoint:
    configuration = demands.recipe.configuration(point)
    return CountedPoint(point_name(point), demands.parameters(configuration).trainable, demands.why_not(configuration))


def _alone(demands: Demands, counted: Counted, told_by: Collection[str]) -> tuple[CountedPoint, ...]:
    """As `Listing.leads_alone` has it; points are named by the fields `told_by`."""
    recipe = demands.recipe
    known = (rows for rows in (counted.validation, recipe.data.max_eval_samples) if rows is not None)
    if recipe.search.sampler != "auto" or not too_few_to_choose(recipe, min(known, default=None)):
        return ()
    presets = preset_points(recipe, demands.why_not, rows=counted.train)
    if not recipe.spans_more(leading(presets)):  # all are tried
        return ()
    alike = {
        point_name({name: value for name, value in point.items() if name in told_by}): recipe.configuration(point)
        for point in presets[: leading(presets)]
    }
    return tuple(CountedPoint(name, demands.parameters(one).trainable, None) for name, one in alike.items())


def _longest(
    demands: Demands, counted: Counted, rate: float, *, epochs: float | None = None
) -> tuple[float | None, int, bool]:
    """Seconds of the dearest trial, or of its first `epochs`; the tokens of a text in it, and whether that is a mean.

    No seconds where rows or the machine's rate aren't known.
    """
    recipe, rows = demands.recipe, counted.train
    told_by = ("backbone.model", "data.max_length", "train.num_train_epochs")  # each way in which these can meet
    searched = [*map(recipe.configuration, recipe.narrowed(told_by).grid())]
    if rows is None or not rate:
        return None, max(one.data.max_length for one in searched), False
    found = []
    for one in searched:
        tokens = _mean_tokens(demands.source(one.backbone), counted.texts, one.data.max_length)
        seconds = budget.estimate_seconds(
            demands.adaptation(one),
            rows=min(rows, one.data.max_train_samples or rows),
            tokens=tokens or one.data.max_length,
            epochs=epochs or one.train.num_train_epochs,
            flops_per_second=rate,
        )
        found.append((seconds, tokens or one.data.max_length, tokens is not None))
    return max(found)


@lru_cache(maxsize=8)
def _mean_tokens(source: sources.Source, texts: tuple[str, ...], most: int) -> int | None:
    """Tokens of a text in the mean, where the tokenizer is on this machine: none is fetched to tell them."""
    if not texts or not source.local:
        return None
    try:
        tokenizer = sources.load_tokenizer(source)
    except BackboneError:
        return None
    lengths = encode(tokenizer, texts, max_length=most, cache=None).lengths
    return max(1, math.ceil(sum(min(int(length), most) for length in lengths) / len(texts)))


def _ranks_singly(recipe: Recipe) -> Recipe:
    """The recipe with each rank of a range as a choice, so that those under the cap can be counted."""
    ranks = recipe.axes.get("lora.r")
    if not isinstance(ranks, Range) or ranks.high - ranks.low >= MOST_RANKS:
        return recipe
    singly = Choices(tuple(range(int(ranks.low), int(ranks.high) + 1)), ranks.when)
    return recipe.model_copy(update={"axes": {**recipe.axes, "lora.r": singly}})
