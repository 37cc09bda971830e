"""How counts with their nouns and shares in per cent are written; what a terminal obeys; UTF-8."""

from __future__ import annotations

import re

OBEYED = "[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
"""A regular expression of the characters that a terminal obeys: ESC and its like, and what turns the direction of
writing."""
_IN_A_LINE = re.compile(rf"(?![\n\t]){OBEYED}")


def is_utf8(text: str) -> bool:
    """Whether it can be written: JSON and names of files can bring half of a surrogate pair, which can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def unobeyed(text: str) -> str:
    """The text with `\\x1b` for ESC, and so on: a path, a label or another's error may bring what a terminal obeys.

    Tabs and ends of lines stay.
    """
    return _IN_A_LINE.sub(lambda sign: repr(sign[0])[1:-1], text)


def unobeyed_json(text: str) -> str:
    """The same of JSON: as it escapes such characters, so that a program reads what it said."""
    return _IN_A_LINE.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)


def plural(number: int, noun: str) -> str:
    """`1 row`, `2,225 rows`, `2 classes`, `2 batches`, `2 epochs`, `2 queries`, `2 keys`."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return f"{number:,} {noun[:-1]}ies"
    if noun.endswith(("s", "x", "ch")) and not noun.endswith("epoch"):
        return f"{number:,} {noun}es"
    return f"{number:,} {noun}s"


def in_passes(epochs: float) -> str:
    """`1 pass`, `10.6 passes`, `less than 0.01 passes`: with two decimals where they are needed."""
    if epochs < 0.01:
        return "less than 0.01 passes"
    passes = round(epochs, 2)
    return f"{passes:g} {'pass' if passes == 1 else 'passes'}"


def percent(share: float) -> str:
    """42 %, 3.1 %, 99.7 %: two digits where the first are not all there is; only all is 100 %, and only none 0 %."""
    value = 100 * share
    if 10 <= value <= 90 or value in (0, 100):
        return f"{value:.0f} %"
    text = f"{value:.1f} %"
    return {"0.0 %": "<0.1 %", "100.0 %": ">99.9 %"}.get(text, text)
