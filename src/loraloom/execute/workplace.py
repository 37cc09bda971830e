"""What the trials of a run share: checked rows, backbones, token ids, and what each configuration costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

from loraloom import budget
from loraloom.backbone import sources
from loraloom.backbone.cards import card_facts
from loraloom.backbone.sources import Source
from loraloom.budget import ParameterCount, Plan
from loraloom.data import Encoded, Finding, TextData, default_cache, encode, truncation_finding
from loraloom.data.describing import class_rows, overlaps, token_lengths
from loraloom.data.sampling import part_of, part_rows
from loraloom.engine import Rows
from loraloom.errors import BackboneError, BudgetError, RecipeError
from loraloom.recipe import Backbone, Configuration, Data, Head, Lora, Recipe
from loraloom.study.evidence import LONGEST_TEXT, MOST_ROWS

_COUNTED = (
    "backbone.model",
    "lora.r",
    "lora.bias",
    "lora.target_modules",
    "lora.layers_to_transform",
    "head.kind",
)
_REMEMBERED = ("train.per_device_train_batch_size", "data.max_length", "train.optim")
"""What counts beside them where memory is limited."""


class Workplace:
    """Rows and backbones of one recipe; everything is refused here that can be refused before weights are loaded."""

    def __init__(self, recipe: Recipe, data: TextData, found: Callable[[Finding], None]) -> None:
        from loraloom.backbone.adapting import Shapes

        self.recipe, self.data = recipe, data
        self._shapes = Shapes(data.labels)
        self._plans: dict[tuple[Backbone, Lora, Head], Plan] = {}
        self._encoded: dict[tuple[Backbone, Data], Rows] = {}
        self._cut: set[tuple[str, int]] = set()
        self._revisions: dict[str, str] = {}
        self._found = found

    def source(self, backbone: Backbone) -> Source:
        return sources.find(backbone.model, self._revision(backbone))

    def _revision(self, backbone: Backbone) -> str | None:
        """The run's pinned revision of a hub model, or the recipe's."""
        pinned = self.recipe.provenance.get("model_revisions", {}).get(backbone.model)
        return backbone.revision or (pinned if isinstance(pinned, str) and ":" not in pinned else None)

    def revision(self, backbone: Backbone) -> str:
        """What the backbone's weights are: a commit on the hub, or a digest."""
        if backbone.model not in self._revisions:
            self._revisions[backbone.model] = sources.pin(self.source(backbone))
        return self._revisions[backbone.model]

    def pins(self) -> dict[str, Any]:
        """What the run's data and models are, to be kept with it and compared when it goes on.

        Raises:
            BackboneError: a model is not to be had.
        """
        data = self.data
        models = self.recipe.values("backbone.model")
        backbones = {model: self.recipe.backbone.model_copy(update={"model": model}) for model in models}
        return {
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "revision": data.revision,
                "labels": list(data.labels),
                "rows": {name: len(getattr(data, name).texts) for name in ("train", "validation", "test")},
                "findings": [asdict(finding) for finding in data.findings],
            },
            "model_revisions": {model: self.revision(backbone) for model, backbone in backbones.items()},
        }

    def cards(self) -> dict[str, Any]:
        """Licence and card of the data and of each model, as far as they are stated."""
        models = self.recipe.values("backbone.model")
        backbones = {model: self.recipe.backbone.model_copy(update={"model": model}) for model in models}
        found = {model: card_facts(self.source(backbone)) for model, backbone in backbones.items()}
        return {"data": dict(self.data.card), "models": found}

    def facts(self) -> dict[str, Any]:
        """What is told of the data beside `pins`: class counts, what splits share, how long texts are."""
        first = self.recipe.configuration({})
        tokenizer = sources.load_tokenizer(self.source(first.backbone))
        lengths = token_lengths(self.data, tokenizer, first.data.max_length, self.recipe.train.seed)
        return {
            "class_rows": class_rows(self.data),
            "overlaps": overlaps(self.data.findings),
            "tokens": {"model": first.backbone.model, **lengths},
        }

    def rows_to_keep(self) -> Iterator[dict[str, Any]]:
        """The first validation rows as people read them; `tokens` are those of the recipe's first model."""
        first, validation = self.recipe.configuration({}), self.data.validation
        kept = validation.take(range(min(len(validation), MOST_ROWS)))
        tokenizer = sources.load_tokenizer(self.source(first.backbone))
        encoded = encode(tokenizer, kept.texts, max_length=first.data.max_length, cache=default_cache())
        for row, (text, label, tokens) in enumerate(zip(kept.texts, kept.labels, encoded.lengths, strict=True)):
            line = {"row": row, "text": text[:LONGEST_TEXT], "label": int(label), "tokens": int(tokens)}
            yield line if kept.sources is None else line | {"source": kept.sources[row]}

    def plan(self, configuration: Configuration) -> Plan:
        key = configuration.backbone, configuration.lora, configuration.head
        if key not in self._plans:
            self._plans[key] = self._shapes.plan(self.source(configuration.backbone), configuration)
        return self._plans[key]

    def parameters(self, configuration: Configuration) -> ParameterCount:
        """What a configuration trains."""
        return budget.count(self.plan(configuration))

    def memory_gb(self, configuration: Configuration) -> float:
        """Estimated peak memory of a trial."""
        from loraloom.engine.precision import choose_dtype

        train = configuration.train
        return budget.estimate_memory_gb(
            self.plan(configuration),
            batch=train.per_device_train_batch_size,
            tokens=configuration.data.max_length,
            states=budget.OPTIMIZER_STATES[train.optim],
            bf16=choose_dtype(train) == "bf16",
        )

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

    def fitting(self) -> dict[str, Configuration]:
        """The first configuration of each model that fits the budget; models of which none does are left out."""
        found: dict[str, Configuration] = {}
        for configuration in map(self.recipe.configuration, counted_points(self.recipe)):
            if configuration.backbone.model not in found and self.why_not(configuration) is None:
                found[configuration.backbone.model] = configuration
        return found

    def check(self) -> tuple[str, ...]:
        """Refuses a recipe of which no point fits, and models that can't be trained; returns what a grid drops.

        Raises:
            BudgetError: no point fits; with the smallest changes that would.
            BackboneError: a model, a target or a layer is not to be had, or a text can't be so long.
        """
        self._check_backbones()
        dropped, fits = [], False
        for point in self._corners():
            why = self.why_not(self.recipe.configuration(point))
            fits = fits or why is None
            if why is not None:
                dropped.append(f"{point_name(point)}: {why}" if point else why)
        if not fits:
            raise BudgetError(self._refusal(dropped))
        return tuple(dropped) if self.recipe.search.sampler == "grid" else ()

    def _check_backbones(self) -> None:
        longest = max(self.recipe.values("data.max_length"))
        fewest, classes = self.recipe.values("data.max_train_samples"), len(self.data.labels)
        if any(rows is not None and rows < classes for rows in fewest):
            raise RecipeError(f"data.max_train_samples: {min(fewest)} is fewer than the {classes} classes")
        for model in self.recipe.values("backbone.model"):
            source = self.source(self.recipe.backbone.model_copy(update={"model": model}))
            limit = sources.longest(sources.load_config(source))
            if limit is not None and longest > limit:
                raise BackboneError(f"data.max_length: {longest} is too long for {model!r}, which reads {limit} tokens")

    def _corners(self) -> Iterator[dict[str, Any]]:
        """Every point of a grid; for samplers, the points that count differently."""
        if self.recipe.search.sampler == "grid":
            yield from self.recipe.grid()
            return
        yield from counted_points(self.recipe)

    def _refusal(self, dropped: list[str]) -> str:
        if len(dropped) > 1:
            return f"no point of the search fits the budget; the first, {dropped[0]}"
        remedies = self.remedies(configuration := self.recipe.configuration({}))
        if remedies:
            advice = f"it would fit with {' or '.join(remedy.options for remedy in remedies)}"
        elif self.recipe.budget.max_memory_gb is not None:
            tokens, batch = configuration.data.max_length, configuration.train.per_device_train_batch_size
            advice = f"lower data.max_length ({tokens}) or train.per_device_train_batch_size ({batch})"
        else:
            advice = "no single change would do"
        return f"the recipe does not fit: {dropped[0]}; {advice}"

    def remedies(self, configuration: Configuration) -> tuple[budget.Remedy, ...]:
        """The smallest changes by which a configuration that is over the cap on parameters fits it."""
        cap = self.recipe.budget.max_trainable_parameters
        if cap is None or self.parameters(configuration).trainable <= cap:
            return ()
        linear = configuration.head.model_copy(update={"kind": "linear"})
        lighter = (
            None
            if configuration.head.kind == "linear"
            else self._shapes.shape(self.source(configuration.backbone), linear)
        )
        return budget.remedies(self.plan(configuration), cap, lighter)

    def rows(self, configuration: Configuration, *, noted: bool = True) -> Rows:
        """The rows that the configuration is trained and validated on, as its backbone reads them.

        Texts that are cut are a finding, but where the rows are a mere sample (`noted` is false).
        """
        key = configuration.backbone, configuration.data
        if key not in self._encoded:
            read, seed = configuration.data, self.recipe.train.seed
            data, part = self.data, None
            if read.max_train_samples is not None:
                data = replace(data, train=part_of(data.train, read.max_train_samples, seed))
            if read.max_eval_samples is not None:
                part = part_rows(data.validation.labels, read.max_eval_samples, seed)
                data = replace(data, validation=data.validation.take(part))
            tokenizer = sources.load_tokenizer(self.source(configuration.backbone))
            train, validation = (
                encode(tokenizer, split.texts, max_length=read.max_length, cache=default_cache())
                for split in (data.train, data.validation)
            )
            if noted:
                self._note_truncation(train, configuration)
            self._encoded[key] = Rows(data, train, validation, part)
        return self._encoded[key]

    def _note_truncation(self, train: Encoded, configuration: Configuration) -> None:
        key = configuration.backbone.model, configuration.data.max_length
        finding = truncation_finding(train, "training", configuration.data.max_length)
        if finding is not None and key not in self._cut:
            self._cut.add(key)
            self._found(finding)


def counted_points(recipe: Recipe) -> Iterator[dict[str, Any]]:
    """The points that count differently, ranges at both of their ends."""
    yield from recipe.narrowed(_COUNTED if recipe.budget.max_memory_gb is None else _COUNTED + _REMEMBERED).grid()


def point_name(point: dict[str, Any]) -> str:
    """`lora.r=4, lora.target_modules=null`, values as `--set` takes them."""
    return ", ".join(f"{name}={_as_set(value)}" for name, value in point.items())


def _as_set(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
