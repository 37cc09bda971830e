"""The licence and card of models and data, as they were stated when the search began."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loraloom.report import wording
from loraloom.report.reading import RunRead
from loraloom.study.provenance import as_mapping, data_stated

NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class SourceCard:
    """A model or the data; `license` and `card` are texts, `NOT_STATED` where nothing is known."""

    kind: str
    name: str
    license: str
    card: str


def source_cards(run: RunRead) -> tuple[SourceCard, ...]:
    """The data, then each model."""
    name = data_stated(run.recipe).get("name") or run.recipe.data.dataset or run.recipe.data.train_file
    return (
        source_card("data", name or "rows in memory", as_mapping(_cards(run).get("data"))),
        *(source_card("model", model, model_facts(run, str(model))) for model in run.recipe.values("backbone.model")),
    )


def model_facts(run: RunRead, model: str) -> Mapping[str, Any]:
    """What is stated of one model."""
    return as_mapping(as_mapping(_cards(run).get("models")).get(model))


def _cards(run: RunRead) -> Mapping[str, Any]:
    return as_mapping(run.recipe.provenance.get("cards"))


def source_card(kind: str, name: Any, facts: Mapping[str, Any]) -> SourceCard:
    """The model or the data by the facts that its card gives (`backbone/cards.py`)."""
    stated = facts.get("license")
    if facts.get("package_license"):
        own = f"{wording.value(facts['package_license'])} (of the package {wording.value(facts.get('package', ''))})"
        stated = own if stated is None else f"{wording.value(stated)}; {own}"
    called = wording.value(facts["name"]) if facts.get("name") not in (None, name) else None
    return SourceCard(
        kind=kind,
        name=f"{wording.value(name)} ({called})" if called else wording.value(name),
        license=wording.value(stated) if stated else NOT_STATED,
        card=wording.value(facts.get("card") or NOT_STATED),
    )
