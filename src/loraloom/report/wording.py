"""How the report writes numbers, values and text: rounded to what is known, and showable."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from loraloom.wording import in_passes

LEVEL = 0.05
"""Below it a p, corrected where there are several, is said to be more than chance."""
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """`text` with U+FFFD for control characters and halves of surrogate pairs, which HTML, XML and UTF-8 refuse.

    And for embeddings, overrides and isolates, which would turn the words of ours that stand after them.
    """
    return _UNSHOWABLE.sub("\ufffd", text)


def share(value: float | None) -> str:
    """A share in [0, 1] with three decimals; only a whole one is written 1.000, and only none 0.000."""
    if value is None:
        return "–"
    text = f"{value:.3f}"
    if text == "0.000" and value > 0:
        return "<0.001"
    return ">0.999" if text == "1.000" and value < 1 else text


def loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def count(value: float | None) -> str:
    return "–" if value is None else f"{round(value):,}"


def passes(epochs: float) -> str:
    """Epochs with two decimals where they are needed: 4, 10.6, 0.67."""
    return f"{round(epochs, 2):g}"


def cut_short(epochs: float | None, planned: float) -> str:
    """What is said of a trial that a clock ended before so many epochs were done as were planned."""
    return f"cut short by the clock after {passes(epochs or 0.0)} of {in_passes(planned)}"


def trained_on(rows: int) -> str:
    """What is said where so many of the rows that an adapter is measured on are some that it was trained on."""
    says = "it says nothing about new texts, and raises" if rows == 1 else "they say nothing about new texts, and raise"
    return f"{rows:,} of these rows {'was' if rows == 1 else 'were'} for training in its run: {says} the figures"


def duration(seconds: float | None) -> str:
    """`42 s`, `4 min 12 s`, `2 h 05 min`: of what was measured."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def roughly(seconds: float) -> str:
    """`42 s`, `12 min`, `1.5 h`: of what is estimated, or goes on."""
    if seconds < 1:
        return "1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def value(given: Any) -> str:
    """A recipe's value as a user would write it: 0.001, 1e-5, true, null, query, value."""
    if given is None:
        return "null"
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, float):
        return re.sub(r"e([-+])0", r"e\1", f"{given:.4g}").replace("e+", "e")
    if isinstance(given, list | tuple):
        return ", ".join(map(value, given))
    if isinstance(given, Mapping):
        return ", ".join(f"{key}: {value(inner)}" for key, inner in given.items())
    return str(given)


def listed(items: list[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`; `last` is what stands before the last."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}" if items else ""


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def one_line(text: str) -> str:
    """A text as one line that can be shown."""
    return " ".join(clean(text).split())


def in_a_line(text: str, length: int) -> str:
    """The beginning of a text, as one line."""
    return shortened(one_line(text), length)


def told_apart(labels: Sequence[str], *lengths: int) -> list[tuple[str, ...]]:
    """The labels on one line each, in so many signs: their beginnings, or their ends where some begin alike.

    Where some end alike too, they stand behind their numbers.
    """
    lines = [*map(one_line, labels)]
    for short in (shortened, _end):
        found = [tuple(short(line, length) for line in lines) for length in lengths]
        if all(len(set(names)) == len(names) for names in found):
            return found
    numbered = [f"{number} {line}" for number, line in enumerate(lines, start=1)]
    return [tuple(shortened(line, length) for line in numbered) for length in lengths]


def named(labels: Sequence[str], length: int) -> dict[str, str]:
    """What each label is called in so many signs, by which it is told from the others."""
    (short,) = told_apart(labels, length)
    return dict(zip(labels, short, strict=True))


def _end(text: str, length: int) -> str:
    return text if len(text) <= length else "…" + text[1 - length :].lstrip()


def p_value(p: float) -> str:
    """With three decimals, or two of a larger one; with more where one below LEVEL would be written as that."""
    if p < 0.001:
        return "p < 0.001"
    places = 3 if p < 0.1 else 2
    while p < LEVEL <= float(f"{p:.{places}f}"):
        places += 1
    return f"p = {p:.{places}f}"
