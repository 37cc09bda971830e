"""The JSON Schema of a recipe, by which editors complete and check it as one types."""

from __future__ import annotations

from typing import Any

from loraloom.recipe.axes import Recipe
from loraloom.recipe.fields import NOT_AXES, SECTIONS

_HEADING = ("default", "description", "title")


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of recipe files: each field also as a list, numbers also as {min, max, log}.

    Both may say where they vary: {values, when, otherwise}, {min, max, log, when, otherwise}.
    """
    schema = Recipe.model_json_schema(mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "loraloom recipe"
    schema["properties"].pop("axes")
    conditions: dict[str, Any] = {}
    for section, model in SECTIONS.items():
        properties = schema["$defs"][model.__name__]["properties"]
        for leaf, value in properties.items():
            bare = {key: inner for key, inner in value.items() if key not in _HEADING}
            conditions[f"{section}.{leaf}"] = {"anyOf": [bare, {"type": "array", "items": bare, "minItems": 1}]}
            if f"{section}.{leaf}" not in NOT_AXES:
                properties[leaf] = _or_axis(bare, {key: value[key] for key in _HEADING if key in value})
    schema["$defs"]["When"] = {
        "description": "Fields, and the values with which the axis varies.",
        **_mapping(conditions),
        "minProperties": 1,
    }
    return schema


def _or_axis(value: dict[str, Any], heading: dict[str, Any]) -> dict[str, Any]:
    values = {"type": "array", "items": value, "minItems": 1, "uniqueItems": True}
    where = {"when": {"$ref": "#/$defs/When"}, "otherwise": value}
    options = [value, values]
    kinds = {option.get("type") for option in (value, *value.get("anyOf", ()))}
    if kinds & {"integer", "number"}:
        ends = {"min": value, "max": value, "log": {"type": "boolean", "default": False}}
        options.append({**_mapping({**ends, **where}, ["min", "max"]), "dependentRequired": {"otherwise": ["when"]}})
    options.append({**_mapping({"values": values, **where}, ["values"]), "dependentRequired": {"otherwise": ["when"]}})
    return {"anyOf": options, **heading}


def _mapping(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    asked = {"required": required} if required else {}
    return {"type": "object", "properties": properties, **asked, "additionalProperties": False}
