"""The page's sections in their order: each is a template `<name>.html.jinja` whose `<section>` has the id `<name>`.

A section that has nothing to say renders nothing, and then has no entry in the navigation either.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """`title` is what the navigation calls it."""

    name: str
    title: str


SECTIONS = (
    Section("answer", "Answer"),
    Section("leaderboard", "Leaderboard"),
    Section("tradeoffs", "Size and time"),
    Section("effects", "Effects"),
    Section("training", "Training"),
    Section("failures", "Where it fails"),
    Section("data", "Data"),
    Section("similarity", "Similarity"),
    Section("against", "Two runs"),
    Section("making", "How it was made"),
)
