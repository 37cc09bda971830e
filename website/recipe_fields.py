"""The page of a recipe's fields: each with its default, its rule, and what it does, as the models have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from loraloom.recipe import json_schema
from loraloom.recipe.axes import Recipe
from loraloom.recipe.fields import NOT_AXES, SECTIONS, Section

HEAD = """---
search: {boost: 2}  # who looks for a field is to find it here, and then where else it is spoken of
---

# Recipe

A recipe is a YAML file. Every field has a default, and any can be set from the command line: `--set lora.r=8`. Names
are those of PEFT's `LoraConfig` and transformers' `TrainingArguments`. This page is made of the code, as `loraloom
schema` is, which prints the JSON Schema by which an editor completes a recipe.

Fields with a ✓ may be **axes** of the search: a list of values (`r: [2, 4, 8]`), or, for numbers and with the samplers
`random`, `tpe` and `auto`, a range (`{min: 1e-4, max: 1e-2, log: true}`). An axis may say where it varies; elsewhere
its field has its default, or what `otherwise` says:

```yaml
train:
  lr_scheduler_type: [constant, linear, cosine]
  warmup_steps:
    values: [0, 100]
    when: {train.lr_scheduler_type: [linear, cosine]}
    otherwise: 0
```

An unknown field, a wrong type or a value that breaks its rule is refused with the file, the line, the field, the value
and the rule, all at once. `loraloom new` asks a few questions and writes a recipe with comments.

"""
MANY = ", or a list of such"
BESIDE = "## Beside the sections {#beside}\n\n| field | default | may be | does |\n| --- | --- | --- | --- |"


def recipe_page() -> str:
    """The page, Markdown."""
    return HEAD + "\n".join(
        [*map("\n".join, (_section(name, model) for name, model in sections().items())), *_top_level()]
    )


def sections() -> dict[str, type[Section]]:
    """All sections of a recipe, by name."""
    others = {name: info.annotation for name, info in Recipe.model_fields.items() if name not in SECTIONS}
    return SECTIONS | {
        name: model for name, model in others.items() if isinstance(model, type) and issubclass(model, Section)
    }


def _section(name: str, model: type[Section]) -> Iterator[str]:
    axes = name in SECTIONS
    properties = model.model_json_schema(mode="validation")["properties"]
    yield f"## {name} {{#{name}}}\n\n{(model.__doc__ or '').splitlines()[0]}\n"
    yield f"| field | default | may be |{' axis |' if axes else ''} does |"
    yield f"| --- | --- | --- |{' --- |' if axes else ''} --- |"
    for field, schema in properties.items():
        axis = f" {'' if f'{name}.{field}' in NOT_AXES else '✓'} |" if axes else ""
        yield f"| `{field}` | {_default(schema)} | {rule(schema)} |{axis} {_words(schema)} |"
    yield ""


def _top_level() -> Iterator[str]:
    """Fields that stand in no section."""
    properties = json_schema()["properties"]
    yield BESIDE
    for field, schema in properties.items():
        if field in sections():
            continue
        yield f"| `{field}` | {_default(schema)} | {rule(schema)} | {_words(schema)} |"


def rule(schema: dict[str, Any]) -> str:
    """What a JSON Schema allows, in words."""
    if "anyOf" in schema:
        options = dict.fromkeys(rule(one) for one in schema["anyOf"] if one.get("type") != "null")
        narrower = {"whole number"} if "number" in options else set()
        narrower |= {one for one in options if one + MANY in options}
        return " or ".join(one for one in options if one not in narrower) + _limits(schema)
    if "enum" in schema:
        return ", ".join(f"`{_plain(value)}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{_plain(schema['const'])}`"
    match schema.get("type"):
        case "integer" | "number" as kind:
            return ("whole number" if kind == "integer" else "number") + _limits(schema)
        case "array":
            return rule(schema["items"]) + MANY
        case "string":
            return "text"
        case "boolean":
            return "`true`, `false`"
        case "object":
            return "mapping"
        case other:
            raise ValueError(f"a rule of kind {other!r} has no words yet: {schema}")


def _limits(schema: dict[str, Any]) -> str:
    least, most = schema.get("minimum", schema.get("ge")), schema.get("maximum", schema.get("le"))
    above, below = schema.get("exclusiveMinimum", schema.get("gt")), schema.get("exclusiveMaximum", schema.get("lt"))
    said = [f"{least:,} or more"] if least is not None else [f"above {above:,}"] if above is not None else []
    said += [f"{most:,} at most"] if most is not None else [f"below {below:,}"] if below is not None else []
    return f", {' and '.join(said)}" if said else ""


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    return "–" if value is None or value in ([], {}, ()) else f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}".replace(",", "_") if isinstance(value, int) and value >= 100_000 else str(value)


def _words(schema: dict[str, Any]) -> str:
    return " ".join(schema.get("description", "").split()).replace("|", "\\|")
