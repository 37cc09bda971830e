"""The recipe: a YAML file that describes a whole run.

`fields.py` has its words, `axes.py` the space that lists and ranges span, `reading.py` reads and refuses (axes by
`axis_reading.py` and `conditions.py`, in the words of `problems.py`), `schema.py` writes the JSON Schema.
"""

from loraloom.recipe.axes import Axis, Choices, Condition, Range, Recipe
from loraloom.recipe.fields import (
    Backbone,
    Budget,
    Configuration,
    Data,
    Head,
    Lora,
    Search,
    Tracker,
    Train,
)
from loraloom.recipe.reading import dump_recipe, read_recipe, sections_of
from loraloom.recipe.schema import json_schema

__all__ = [
    "Axis",
    "Backbone",
    "Budget",
    "Choices",
    "Condition",
    "Configuration",
    "Data",
    "Head",
    "Lora",
    "Range",
    "Recipe",
    "Search",
    "Tracker",
    "Train",
    "dump_recipe",
    "json_schema",
    "read_recipe",
    "sections_of",
]
