"""The page of Python's public names: signatures and docstrings, read off the objects.

mkdocstrings was not taken: it reads sources, where `loraloom.search` is a package and a function of one name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import loraloom
from loraloom.study.record import TrialRecord
from loraloom.use.adapter import Classifier, Prediction

HEAD = """# Python

What `import loraloom` gives, made of the code; [from Python](../python.md) shows how it is used.
"""
RETURNED = {
    "Classifier": (Classifier, "What `loraloom.load` returns."),
    "Prediction": (Prediction, "What `Classifier.stream` yields."),
    "TrialRecord": (
        TrialRecord,
        "What `search`, `resume`, `refit`, `soup` and `blend` return, and `LoraClassifier.record_` is.",
    ),
}
WIDTH = 100
_SECTION = re.compile(r"^(Args|Attributes|Raises):\n", flags=re.MULTILINE)
_ITEM = re.compile(r"^ {4}(\S[^:]*): ", flags=re.MULTILINE)


def python_page() -> str:
    """The page, Markdown."""
    public = {name: getattr(loraloom, name) for name in loraloom.__all__}
    functions = [name for name, value in public.items() if inspect.isfunction(value)]
    errors = [name for name, value in public.items() if _is_error(value)]
    lines = [HEAD, "## Functions {#functions}\n"]
    for name in functions:
        lines += _entry(f"loraloom.{name}", public[name], level=3)
    lines += ["## Classes {#classes}\n"]
    for name, value in public.items():
        if name not in functions and name not in errors:
            lines += _class(f"loraloom.{name}", value)
    for name, (value, where) in RETURNED.items():
        lines += _class(name, value, where)
    lines += [
        "## Errors {#errors}\n",
        "All are in `loraloom`, and [what they mean](exits.md#python) is with the exit codes:",
    ]
    lines += [", ".join(f"`{name}`" for name in errors) + ".\n"]
    return "\n".join(lines)


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _class(name: str, value: Any, where: str = "") -> Iterator[str]:
    yield from _entry(name, value, level=3, where=where)
    fields = getattr(value, "model_fields", None)
    if fields is not None:
        yield "\n".join(f"- `{field}`: `{_annotation(info.annotation)}`" for field, info in fields.items()) + "\n"
    for member, inner in vars(value).items():
        if member.startswith("_") or fields is not None:
            continue
        if isinstance(inner, property):
            yield f"#### `{member}` {{#{_anchor(f'{name}.{member}')}}}\n\n{documented(inspect.getdoc(inner) or '')}\n"
        elif isinstance(inner, classmethod) or inspect.isfunction(inner):
            yield from _entry(f"{name.removeprefix('loraloom.')}.{member}", getattr(value, member), level=4)


def _entry(name: str, value: Any, *, level: int, where: str = "") -> Iterator[str]:
    yield f"{'#' * level} `{name}` {{#{_anchor(name)}}}\n"
    if not hasattr(value, "model_fields"):
        yield f"```python\n{signature(name.rpartition('.')[2], value)}\n```\n"
    yield f"{where}\n" if where else ""
    yield documented(inspect.getdoc(value) or "") + "\n"


def signature(name: str, value: Any) -> str:
    """As code has it, a parameter a line where they are many; without `self`, and without the annotation Any."""
    shape = inspect.signature(value)
    words: list[str] = []
    for parameter in shape.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        if parameter.name != "self":
            words.append(_parameter(parameter))
    returned = "" if shape.return_annotation in (shape.empty, "None", None) else f" -> {shape.return_annotation}"
    line = f"{name}({', '.join(words)}){returned}"
    return line if len(line) <= WIDTH else "\n".join([f"{name}(", *(f"    {word}," for word in words), f"){returned}"])


def _parameter(parameter: inspect.Parameter) -> str:
    typed = parameter.annotation not in (parameter.empty, "Any", Any)
    said = f"{parameter.name}: {parameter.annotation}" if typed else parameter.name
    if parameter.default is parameter.empty:
        return said
    return f"{said} = {parameter.default!r}" if typed else f"{said}={parameter.default!r}"


def documented(text: str) -> str:
    """A docstring as Markdown: its sections as lists."""
    prose, *sections = _SECTION.split(text)
    parts = [prose.strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        items = _ITEM.split(body)[1:]
        pairs = zip(items[::2], items[1::2], strict=True)
        parts.append(f"**{title}**\n\n" + "\n".join(f"- `{name}`: {_line(what)}" for name, what in pairs))
    return "\n\n".join(parts)


def _line(text: str) -> str:
    return " ".join(text.split())


def _annotation(annotation: Any) -> str:
    shown = inspect.formatannotation(annotation)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", shown)


def _anchor(name: str) -> str:
    return name.removeprefix("loraloom.").lower().replace(".", "-")
