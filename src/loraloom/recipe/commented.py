"""A first recipe, written for who has not written one: the data, the model and the limits, each with what it means.

What is left out has its default, and `sampler: auto` chooses the rest. Comments say what fields are in the words of
`fields.py`. Values are written by PyYAML, so that no path and no column can be anything but a value.
"""

from __future__ import annotations

import textwrap
from typing import Any

from loraloom.recipe.axes import Recipe
from loraloom.recipe.reading import field_line

WIDTH = 110
_HEAD = """A recipe: the rows, the model and the limits of a search. Change what you like; what is not written has its \
default, and loraloom schema has every field. Relative paths are read from the folder that you are in."""
_MORE = {
    "data.train_file": "These are the rows that are labelled already.",
    "data.label_column": "Labels are names or whole numbers.",
    "backbone.model": "A larger one is slower: in the same time it may be better or worse. Of a list, as in "
    "'model: [demo, roberta-base]', a search with max_seconds takes the one that comes further in its time.",
    "search.sampler": "A field of lora, head or train that you write stays as written; with a list or a range, as in "
    "'lora: {r: [4, 8]}', that is what is searched.",
    "budget.max_trainable_parameters": "They are counted before weights are loaded; null is no cap.",
    "budget.max_seconds": "The search plans for it: test and report are within it; null is no limit.",
}
_LEFT_OUT = {
    "data": (
        ("test_file", "test.csv", "Labelled rows too; without them, rows are held out (validation_share)."),
        ("max_length", 128, "Longer texts are cut."),
    ),
    "search": (("metric", "macro_f1", "By macro_f1 rare classes count as much as others; by default it is accuracy."),),
}
"""Fields that many will want next, as they would be written."""


def commented_recipe(recipe: Recipe) -> str:
    """The fields that `recipe` writes, as YAML with a comment for each; `read_recipe` of it gives an equal recipe.

    It has no axes: a recipe with axes is its owner's (`dump_recipe`).
    """
    sections = []
    for name in ("data", "backbone", "search", "budget"):
        section = getattr(recipe, name)
        lines = [f"{name}:"]
        for leaf in type(section).model_fields:
            if leaf in section.model_fields_set:
                lines += _field(section, name, leaf)
        for leaf, example, more in _LEFT_OUT.get(name, ()):
            if leaf not in section.model_fields_set and not (leaf == "test_file" and recipe.data.dataset):
                lines += _comment(f"{type(section).model_fields[leaf].description} {more}", "  ")
                lines.append(f"  # {field_line(leaf, example)}")
        sections.append("\n".join(lines))
    return "\n\n".join(["\n".join(_comment(_HEAD)), *sections]) + "\n"


def _field(section: Any, name: str, leaf: str) -> list[str]:
    value, about = getattr(section, leaf), type(section).model_fields[leaf].description
    if isinstance(value, tuple):
        value = value[0] if len(value) == 1 else list(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    more = _MORE.get(f"{name}.{leaf}")
    return [*_comment(f"{about} {more}" if more else str(about), "  "), f"  {field_line(leaf, value)}"]


def _comment(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
