"""All of "How it was made" as one value; every part of the provenance that it is read from may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loraloom.recipe import dump_recipe
from loraloom.report import wording
from loraloom.report.making.commands import Given, given
from loraloom.report.making.frozen_layers import frozen_layers
from loraloom.report.making.plan import PlanKept, plan_kept
from loraloom.report.making.sources import SourceCard, source_cards
from loraloom.report.reading import RunRead
from loraloom.study.commands import Command
from loraloom.study.provenance import as_mapping, dropped_points


@dataclass(frozen=True, slots=True)
class Making:
    """`facts` and `packages` are names and values; `recipe` is YAML without its provenance.

    `frozen` says whether frozen layers were computed once for all trials.
    `dropped` are the first of the points that were not tried, `dropped_count` is how many there are.
    """

    facts: tuple[tuple[str, str], ...]
    packages: tuple[tuple[str, str], ...]
    commands: tuple[Given, ...]
    plan: PlanKept | None
    frozen: str | None
    seeds: tuple[int, ...]
    sources: tuple[SourceCard, ...]
    dropped: tuple[str, ...]
    dropped_count: int
    recipe: str


def making(run: RunRead, commands: tuple[Command, ...], problems: list[str]) -> Making:
    """What is known; a file that can't be read is named in `problems`."""
    about = run.recipe.provenance
    packages = as_mapping(about.get("packages"))
    dropped, more = dropped_points(run.recipe)
    return Making(
        facts=tuple((title, wording.value(value)) for title, value in _facts(about) if value is not None),
        packages=tuple((str(name), wording.value(version)) for name, version in packages.items()),
        commands=given(run, commands),
        plan=plan_kept(run, problems),
        frozen=frozen_layers(run.records),
        seeds=tuple(sorted({record.seed for record in run.records})),
        sources=source_cards(run),
        dropped=tuple(map(wording.value, dropped)),
        dropped_count=len(dropped) + more,
        recipe=dump_recipe(run.recipe.model_copy(update={"provenance": {}})),
    )


def _facts(about: Mapping[str, Any]) -> list[tuple[str, Any]]:
    machine = as_mapping(about.get("machine"))
    memory = machine.get("memory_gb")
    return [
        ("loraloom", about.get("loraloom")),
        ("Git revision", about.get("git_revision")),
        ("Python", about.get("python")),
        ("Processor", machine.get("processor")),
        ("Cores", machine.get("cores")),
        ("Memory", f"{wording.value(memory)} GB" if memory else None),
        ("GPU", machine.get("gpu")),
        ("System", machine.get("system")),
        *((f"Revision of {model}", revision) for model, revision in as_mapping(about.get("model_revisions")).items()),
    ]
