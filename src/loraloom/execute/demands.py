"""What the configurations of a recipe demand, counted without weights, and which of them its budget allows."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from loraloom import budget
from loraloom.backbone import sources
from loraloom.backbone.sources import Source
from loraloom.budget import Adaptation, ParameterCount
from loraloom.engine import in_type
from loraloom.errors import BackboneError, BudgetError, RecipeError
from loraloom.recipe import Backbone, Configuration, Head, Lora, Recipe
from loraloom.recipe.axes import Point, as_option
from loraloom.search.costs import TextKey, text_key
from loraloom.study.provenance import model_revision
from loraloom.study.record import Dtype

LEAST_TOKENS = 16
"""Of texts so short that what they need is lost in what the model does."""
_COUNTED = (
    "backbone.model",
    "lora.r",
    "lora.bias",
    "lora.target_modules",
    "lora.layers_to_transform",
    "head.kind",
)
_REMEMBERED = ("train.per_device_train_batch_size", "data.max_length", "train.optim", "train.bf16", "train.fp16")
"""What counts beside them for memory."""
_RISING = ("lora.r", "train.per_device_train_batch_size")
"""The more, the more is demanded: what lies between the least and the most is told by these."""
MOST_POINTS = 10_000
"""That are each looked at, in some seconds; of more, the lists of `_RISING` are looked at as ranges are."""
NO_REMEDY = "no single change would fit, nor another with a smaller rank: raise the cap or take a smaller model"
"""What is said of a configuration over the cap that has no `remedies`."""


class Demands:
    """Parameters and memory of a recipe's configurations, for the classes `labels`; each model is described once.

    `dtype` is the number type that `train.bf16: auto` means, where that is known.
    """

    def __init__(self, recipe: Recipe, labels: Sequence[str], dtype: Dtype | None = None) -> None:
        from loraloom.backbone.adapting import Shapes

        self.recipe, self._dtype = recipe, dtype
        self._shapes = Shapes(labels)
        self._sources: dict[Backbone, Source] = {}
        self._adaptations: dict[tuple[Backbone, Lora, Head], Adaptation] = {}

    def source(self, backbone: Backbone) -> Source:
        """Where a model comes from, at the run's pinned revision where it is of the hub."""
        if backbone not in self._sources:
            pinned = model_revision(self.recipe, backbone.model)
            kept = pinned if pinned is not None and ":" not in pinned else None
            self._sources[backbone] = sources.find(backbone.model, backbone.revision or kept)
        return self._sources[backbone]

    def adaptation(self, configuration: Configuration) -> Adaptation:
        key = configuration.backbone, configuration.lora, configuration.head
        if key not in self._adaptations:
            self._adaptations[key] = self._shapes.adaptation(self.source(configuration.backbone), configuration)
        return self._adaptations[key]

    def in_type(self, configuration: Configuration) -> Configuration:
        """The configuration as it is trained: in the number type of the run's other trials."""
        return in_type(configuration, self._dtype)

    def parameters(self, configuration: Configuration) -> ParameterCount:
        """What a configuration trains."""
        return budget.count(self.adaptation(configuration))

    def peft_count(self, configuration: Configuration) -> int:
        """What PEFT itself says that it trains."""
        return self._shapes.peft_count(self.source(configuration.backbone), configuration)

    def memory_gb(self, configuration: Configuration) -> float:
        """Estimated peak memory of a trial."""
        from loraloom.engine.precision import choose_dtype

        train = self.in_type(configuration).train
        return budget.estimate_memory_gb(
            self.adaptation(configuration),
            batch=train.per_device_train_batch_size,
            tokens=configuration.data.max_length,
            states=budget.OPTIMIZER_STATES[train.optim],
            halves=choose_dtype(train) != "fp32",
        )

    def most_memory_gb(self) -> float:
        """The most that a trial under the cap on parameters takes by `memory_gb`, as far as memory is not limited."""
        cap, limit = self.recipe.budget.max_trainable_parameters, self.recipe.budget.max_memory_gb
        searched = map(self.recipe.configuration, self.outermost(*_REMEMBERED))
        counted = (one for one in searched if cap is None or self.parameters(one).trainable <= cap)
        most = max(map(self.memory_gb, counted), default=0.0)
        return most if limit is None else min(most, limit)

    def most_together(self, configuration: Configuration, advised: int) -> int:
        """Of `advised` trials like this one as many as the limit on memory lets be trained together.

        Each is counted with a backbone of its own, though a pack has one: what packs take was not measured.
        """
        limit = self.recipe.budget.max_memory_gb
        return advised if limit is None else min(advised, max(1, int(limit / self.memory_gb(configuration))))

    def memory_advice(self, configuration: Configuration) -> str:
        """What would bring a configuration that is over `budget.max_memory_gb` under it."""
        tokens, batch = configuration.data.max_length, configuration.train.per_device_train_batch_size
        smallest = {"data": {"max_length": LEAST_TOKENS}, "train": {"per_device_train_batch_size": 1}}
        least = self.memory_gb(configuration.with_fields(**smallest))
        if self.recipe.budget.max_memory_gb is not None and least > self.recipe.budget.max_memory_gb:
            return f"with batches of one short text it takes {least:.1f} GB: raise the limit or take a smaller model"
        return f"lower data.max_length ({tokens}) or train.per_device_train_batch_size ({batch})"

    def why_not(self, configuration: Configuration) -> str | None:
        """Why a configuration does not fit the budget, in a sentence; None where it fits."""
        limits = self.recipe.budget
        cap, counted = limits.max_trainable_parameters, self.parameters(configuration)
        if cap is not None and counted.trainable > cap:
            return (
                f"it trains {counted.trainable:,} parameters, {counted.trainable - cap:,} over the cap of {cap:,} "
                f"(budget.max_trainable_parameters)"
            )
        if limits.max_memory_gb is not None:
            memory = self.memory_gb(configuration)
            if memory > limits.max_memory_gb:
                return f"it would take about {memory:.1f} GB, over budget.max_memory_gb {limits.max_memory_gb:g}"
        return None

    def points(self, *also: str) -> Iterator[Point]:
        """The points that count differently, or differ in `also`; ranges at both of their ends."""
        yield from self._narrowed(also).grid()

    def outermost(self, *also: str) -> Iterator[Point]:
        """`points`, but where they are very many, lists of ranks and of batch sizes at both of their ends too.

        What fits nowhere there fits nowhere, and no other takes more memory.
        """
        points = self._narrowed(also)
        yield from (self._narrowed(also, at_ends=_RISING) if points.spans_more(MOST_POINTS) else points).grid()

    def _narrowed(self, also: tuple[str, ...], *, at_ends: tuple[str, ...] = ()) -> Recipe:
        limited = self.recipe.budget.max_memory_gb is not None
        return self.recipe.narrowed((*_COUNTED, *also, *(_REMEMBERED if limited else ())), at_ends=at_ends)

    def fitting(self) -> dict[TextKey, Configuration]:
        """By model and longest text the first configuration that fits the budget, where one does."""
        found: dict[TextKey, Configuration] = {}
        for configuration in map(self.recipe.configuration, self.outermost("data.max_length")):
            key = text_key(configuration)
            if key not in found and self.why_not(configuration) is None:
                found[key] = configuration
        return found

    def check_revision(self) -> None:
        """Refuses a commit where no model is of the hub: it would not be heeded.

        Raises:
            RecipeError: there is one.
            BackboneError: a model is not to be had.
        """
        models, revision = self.recipe.values("backbone.model"), self.recipe.backbone.revision
        if revision is not None and all(sources.find(model).local for model in models):
            them = " and ".join(map(repr, models))
            of_hub = f"{revision!r} is of a model on the hub, and not of {them}; leave it out"
            raise RecipeError(f"backbone.revision: {of_hub}")

    def check_lengths(self) -> None:
        """Refuses texts that are longer than a model reads.

        Raises:
            BackboneError: `data.max_length` is, or a model is not to be had.
        """
        searched = self.recipe.narrowed(("backbone.model", "data.max_length"))
        longest: dict[Backbone, int] = {}
        for configuration in map(searched.configuration, searched.grid()):
            backbone, tokens = configuration.backbone, configuration.data.max_length
            longest[backbone] = max(tokens, longest.get(backbone, 0))
        for backbone, tokens in longest.items():
            limit = sources.longest(sources.shape_config(self.source(backbone)))
            if limit is not None and tokens > limit:
                raise BackboneError(
                    f"data.max_length: {tokens} is too long for {backbone.model!r}, which reads {limit} tokens"
                )

    def check(self) -> tuple[str, ...]:
        """Refuses a recipe of which no point fits; returns what a grid drops, in sentences.

        Raises:
            BudgetError: no point fits; with the smallest changes that would.
            BackboneError: a model, a target or a layer is not to be had.
        """
        grid = self.recipe.search.sampler == "grid"
        telling, known = self._narrowed(()).axes, dict[Hashable, str | None]()
        dropped: list[tuple[Point, str]] = []
        fits = False
        for point in self.recipe.grid() if grid else self.outermost():
            # A grid has thousands of points, of which few count differently.
            told = tuple((name, value) for name, value in point.items() if name in telling)
            if told not in known:
                known[told] = self.why_not(self.recipe.configuration(point))
            if (why := known[told]) is None:
                fits = True
            else:
                dropped.append((point, why))
        if not fits:
            raise BudgetError(self._refusal(dropped))
        return tuple(f"{point_name(point)}: {why}" for point, why in dropped) if grid else ()

    def _refusal(self, dropped: list[tuple[Point, str]]) -> str:
        first, why = dropped[0]
        configuration, cap = self.recipe.configuration(first), self.recipe.budget.max_trainable_parameters
        counted = self.parameters(configuration)
        if cap is None or counted.trainable <= cap:
            advice = self.memory_advice(configuration)
        else:
            remedies = " or ".join(remedy.options for remedy in self.remedies(configuration))
            would = f"it would fit with {remedies}" if remedies else NO_REMEDY
            advice = f"the head alone is {counted.head:,} of them; {would}"
        return f"{refusal(point_name(first), why, len(dropped))}; {advice}"

    def remedies(self, configuration: Configuration) -> tuple[budget.Remedy, ...]:
        """The smallest changes by which a configuration that is over the cap on parameters fits it."""
        cap, head = self.recipe.budget.max_trainable_parameters, configuration.head
        if cap is None or self.parameters(configuration).trainable <= cap:
            return ()
        linear = head.model_copy(update={"kind": "linear"})
        source = self.source(configuration.backbone)
        lighter = None if head.kind == "linear" else self._shapes.shape(source, linear)
        return budget.remedies(self.adaptation(configuration), cap, lighter)


def refusal(first: str, why: str, points: int) -> str:
    """Of a recipe of which none of `points` points fits: why the first does not, which `first` names."""
    if points > 1:
        return f"no point of the search fits the budget; the first, {first}: {why}"
    return f"the recipe does not fit: {f'{first}: ' if first else ''}{why}"


def point_name(point: Point) -> str:
    """`lora.r=4, lora.target_modules=null`, values as `--set` takes them."""
    return ", ".join(f"{name}={as_option(value)}" for name, value in point.items())
