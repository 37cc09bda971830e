"""What the trials of a run share: checked rows, backbones, token ids, and what each configuration demands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from loraloom.backbone import sources
from loraloom.backbone.cards import card_facts
from loraloom.backbone.sources import Source
from loraloom.data import Encoded, Finding, TextData, default_cache, encode, truncation_finding, unknown_finding
from loraloom.data.describing import class_rows, measured_lengths, overlaps, token_lengths
from loraloom.data.sampling import part_of, part_rows
from loraloom.data.telling import Telling
from loraloom.engine import Job, Rows
from loraloom.errors import BackboneError, DataError, RecipeError
from loraloom.execute.demands import Demands
from loraloom.execute.warmup_steps import told_by_recipe
from loraloom.recipe import Backbone, Configuration, Recipe
from loraloom.search.costs import TextKey, text_key
from loraloom.study.evidence import LONGEST_TEXT, MOST_ROWS
from loraloom.study.provenance import SPLITS
from loraloom.study.record import Dtype

TIMED_TEXTS = 128
"""Texts of which token ids are made to see how long that takes."""


class Workplace:
    """Rows and backbones of one recipe; everything is refused here that can be refused before weights are loaded."""

    def __init__(
        self,
        recipe: Recipe,
        data: TextData,
        found: Callable[[Finding], None],
        dtype: Dtype | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`dtype` is the number type that the run's trials have where `train.bf16` is auto; None: it is measured.

        `note` hears how far the tokenising of many rows is.
        """
        self.recipe, self.data, self.dtype = recipe, data, dtype
        self.demands = Demands(recipe, data.labels, dtype)
        self._encoded: dict[tuple[str, int, int | None, int | None], Rows] = {}
        self._told: set[tuple[str, TextKey]] = set()
        self._revisions: dict[str, str] = {}
        self._found, self._note = found, note

    def over(self, *, recipe: Recipe | None = None, data: TextData | None = None) -> Workplace:
        """The same weights, for another recipe or other rows."""
        place = Workplace(recipe or self.recipe, data or self.data, self._found, self.dtype, self._note)
        place._revisions = self._revisions
        return place

    def source(self, backbone: Backbone) -> Source:
        """Where a model comes from; one of the hub at one commit, which is the run's, whatever its branch has by then.

        Raises:
            BackboneError: the model is not to be had.
        """
        source = self.demands.source(backbone)
        return source if source.local else replace(source, revision=self.revision(backbone))

    def revision(self, backbone: Backbone) -> str:
        """What the backbone's weights are: a commit on the hub, or a digest."""
        if backbone.model not in self._revisions:
            self._revisions[backbone.model] = sources.pin(self.demands.source(backbone))
        return self._revisions[backbone.model]

    def pins(self) -> dict[str, Any]:
        """What the run's data and models are, to be kept with it and compared when it goes on.

        Raises:
            BackboneError: a model is not to be had.
        """
        data = self.data
        return {
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "revision": data.revision,
                "labels": list(data.labels),
                "rows": {name: len(getattr(data, name).texts) for name in SPLITS},
                "findings": [asdict(finding) for finding in data.findings],
            },
            "model_revisions": {backbone.model: self.revision(backbone) for backbone in self._backbones()},
        }

    def _backbones(self) -> Iterator[Backbone]:
        """The recipe's models, each with its other fields of `backbone`."""
        for model in self.recipe.values("backbone.model"):
            yield self.recipe.backbone.model_copy(update={"model": model})

    def _first(self) -> tuple[Configuration, Any]:
        """The recipe's first configuration, and the tokenizer of its model."""
        first = self.recipe.configuration({})
        return first, sources.load_tokenizer(self.source(first.backbone))

    def cards(self) -> dict[str, Any]:
        """Licence and card of the data and of each model, as far as they are stated."""
        models = {backbone.model: card_facts(self.source(backbone)) for backbone in self._backbones()}
        return {"data": dict(self.data.card), "models": models}

    def facts(self) -> dict[str, Any]:
        """What is told of the data beside `pins`: class counts, what splits share, how long texts are."""
        first, tokenizer = self._first()
        lengths = token_lengths(self.data, tokenizer, first.data.max_length, self.recipe.train.seed)
        return {
            "class_rows": class_rows(self.data),
            "overlaps": overlaps(self.data.findings),
            "tokens": {"model": first.backbone.model, **lengths},
        }

    def encoding_seconds(self, configuration: Configuration) -> float:
        """Seconds that the token ids of a training text take, tried on some."""
        tokenizer, most = sources.load_tokenizer(self.source(configuration.backbone)), configuration.data.max_length
        texts = part_of(self.data.train, TIMED_TEXTS, self.recipe.train.seed).texts
        encode(tokenizer, texts[: TIMED_TEXTS // 8], max_length=most, cache=None)  # a first call takes longer
        start = time.monotonic()
        encode(tokenizer, texts, max_length=most, cache=None)
        return (time.monotonic() - start) / len(texts)

    def lengths(self) -> tuple[int, int | None]:
        """Tokens of which a twentieth of the training texts has more, by the first model; and the most all models read.

        None where none names a limit.
        """
        first, tokenizer = self._first()
        lengths = measured_lengths(self.data.train, tokenizer, first.data.max_length, self.recipe.train.seed)
        read = (sources.longest(sources.load_config(self.source(backbone))) for backbone in self._backbones())
        most = min((limit for limit in read if limit is not None), default=None)
        return int(np.percentile(lengths, 95, method="nearest")), most

    @property
    def most_rows(self) -> tuple[int, int]:
        """The most that a trial is trained on, and is then validated on: as many as the recipe names, or all."""
        train, validation, asked = len(self.data.train), len(self.data.validation), self.recipe.data
        return (
            train if asked.max_train_samples is None else min(train, asked.max_train_samples),
            validation if asked.max_eval_samples is None else min(validation, asked.max_eval_samples),
        )

    def rows_to_keep(self) -> Iterator[dict[str, Any]]:
        """The first validation rows as people read them; `tokens` are those of the recipe's first model."""
        (first, tokenizer), validation = self._first(), self.data.validation
        kept = validation.take(range(min(len(validation), MOST_ROWS)))
        encoded = encode(tokenizer, kept.texts, max_length=first.data.max_length, cache=default_cache())
        for row, (text, label, tokens) in enumerate(zip(kept.texts, kept.labels, encoded.lengths, strict=True)):
            line = {"row": row, "text": text[:LONGEST_TEXT], "label": int(label), "tokens": int(tokens)}
            yield line if kept.sources is None else line | {"source": kept.sources[row]}

    def check(self) -> tuple[str, ...]:
        """Refuses a recipe of which no point fits, and models that can't be trained; returns what a grid drops.

        A warm-up that no training comes to the end of is a finding.

        Raises:
            BudgetError: no point fits; with the smallest changes that would.
            BackboneError: a model, a target or a layer is not to be had, a text can't be so long, or has a token that a
                model has not got.
            DataError: a text of which a tokenizer makes no token.
            RecipeError: `data.max_train_samples` is fewer rows than there are classes, or see `Demands.check_revision`.
        """
        self._check_rows()
        self.demands.check_revision()
        self.demands.check_lengths()
        self._check_texts()
        if (warm_up := told_by_recipe(self.recipe, self.most_rows[0])) is not None:
            self._found(warm_up)
        return self.demands.check()

    def _check_rows(self) -> None:
        rows, classes = self.recipe.data.max_train_samples, len(self.data.labels)
        if rows is not None and rows < classes:
            raise RecipeError(f"data.max_train_samples: {rows} is fewer than the {classes} classes")

    def _check_texts(self) -> None:
        """No model can read a text without tokens, nor a token that it has no row of: most have both for any text.

        Nor can one be padded with such a token.
        """
        max_length = max(self.recipe.values("data.max_length"))
        for backbone in self._backbones():
            source = self.source(backbone)
            tokenizer = sources.load_tokenizer(source)
            known = sources.known_tokens(sources.load_config(source), tokenizer)
            beyond = len(tokenizer) > known
            if tokenizer.pad_token_id >= known:
                raise BackboneError(
                    f"backbone.model: {backbone.model!r} has no embedding of the token {tokenizer.pad_token!r}, with "
                    "which its tokenizer pads; name one that it has in its tokenizer_config.json, as pad_token"
                )
            if len(encode(tokenizer, [""], max_length=max_length, cache=None).input_ids) and not beyond:
                continue
            for name in SPLITS:
                split = getattr(self.data, name)
                encoded = encode(tokenizer, split.texts, max_length=max_length, cache=default_cache())
                if len(split) and not encoded.lengths.all():
                    row = split.number(int(encoded.lengths.argmin()))
                    raise DataError(f"{name} row {row}: the tokenizer of {backbone.model!r} makes no token of its text")
                if unknown := encoded.beyond(known):
                    first = min(unknown)
                    row, token = split.number(first), tokenizer.convert_ids_to_tokens(unknown[first])
                    raise BackboneError(
                        f"backbone.model: {name} row {row} has the token {token!r}, which {backbone.model!r} does "
                        f"not have: its tokenizer has {len(tokenizer):,} tokens, its embeddings {known:,}"
                    )

    def job(
        self,
        number: int,
        configuration: Configuration,
        folder: Path,
        *,
        deadline: float | None = None,
        noted: bool = True,
    ) -> Job:
        """The training of a configuration in `folder`, in the run's number type; `noted` as for `rows`."""
        return Job(
            number=number,
            configuration=self.demands.in_type(configuration),
            source=self.source(configuration.backbone),
            rows=self.rows(configuration, noted=noted),
            folder=folder,
            expected_parameters=self.demands.parameters(configuration).trainable,
            deadline=deadline,
        )

    def rows(self, configuration: Configuration, *, noted: bool = True) -> Rows:
        """The rows that the configuration is trained and validated on, as its backbone reads them.

        Texts that are cut, or can't be read, are findings, but where the rows are a mere sample (`noted` is false).
        """
        read, seed = configuration.data, self.recipe.train.seed
        key = configuration.backbone.model, read.max_length, read.max_train_samples, read.max_eval_samples
        if key not in self._encoded:
            data, part = self.data, None
            if read.max_train_samples is not None:
                data = replace(data, train=part_of(data.train, read.max_train_samples, seed))
            if read.max_eval_samples is not None:
                part = part_rows(data.validation.labels, read.max_eval_samples, seed)
                data = replace(data, validation=data.validation.take(part))
            tokenizer = sources.load_tokenizer(self.source(configuration.backbone))
            train, validation = (
                encode(
                    tokenizer,
                    split.texts,
                    max_length=read.max_length,
                    cache=default_cache(),
                    telling=Telling(self._note),
                )
                for split in (data.train, data.validation)
            )
            if noted:
                self._note_texts(train, tokenizer, configuration)
            self._encoded[key] = Rows(data, train, validation, part)
        return self._encoded[key]

    def _note_texts(self, train: Encoded, tokenizer: Any, configuration: Configuration) -> None:
        """Each finding of texts once, whatever else of a configuration varies."""
        cut = truncation_finding(train, configuration.data.max_length)
        unknown = unknown_finding(train, tokenizer, configuration.backbone.model)
        for finding in filter(None, (cut, unknown)):
            key = finding.kind, text_key(configuration)
            if key not in self._told:
                self._told.add(key)
                self._found(finding)
