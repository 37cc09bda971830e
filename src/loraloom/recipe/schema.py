"""The JSON Schema of a recipe, by which editors complete and check it as one types."""

from __future__ import annotations

from typing import Any

from loraloom.recipe.axes import Recipe
from loraloom.recipe.reading import NOT_AXES, SECTIONS


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of recipe files: each field also as a list, numbers also as {min, max, log}."""
    schema = Recipe.model_json_schema(mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "loraloom recipe"
    schema["properties"].pop("axes")
    for section, model in SECTIONS.items():
        properties = schema["$defs"][model.__name__]["properties"]
        for leaf, value in properties.items():
            if f"{section}.{leaf}" not in NOT_AXES:
                properties[leaf] = _or_axis(value)
    return schema


def _or_axis(value: dict[str, Any]) -> dict[str, Any]:
    outer: dict[str, Any] = {key: value.pop(key) for key in ("default", "description", "title") if key in value}
    options = [value, {"type": "array", "items": value, "minItems": 1, "uniqueItems": True}]
    kinds = {option.get("type") for option in (value, *value.get("anyOf", ()))}
    if kinds & {"integer", "number"}:
        options.append(
            {
                "type": "object",
                "properties": {"min": value, "max": value, "log": {"type": "boolean", "default": False}},
                "required": ["min", "max"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": options, **outer}
