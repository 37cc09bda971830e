"""Markdown in which what came from outside stays text: no HTML, no link, no mention, no broken table.

CommonMark lets every ASCII punctuation character be escaped by a backslash. Renderers link more than that: bare
addresses, @names and #numbers; a zero-width space inside each of them keeps it text. Values stand in code spans.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from loraloom.report.wording import clean, one_line

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$&]|^[-+=#])")
_TOP_LEVEL = (
    "[A-Za-z]{2}|xn--[a-z0-9-]+|aero|app|asia|biz|cloud|com|coop|dev|edu|gov|info|museum|name|net|news|online|org|pro|"
    "shop|site|tech|top|web|xxx|xyz|рф"
)
"""Ends of names that renderers link without being asked to."""
_LINKED = (
    (re.compile(r"@"), "@\u200b"),
    (re.compile(r"(?i)(https?|ftp|mailto|xmpp)(?=:)"), "\\1\u200b"),
    (re.compile(r"(?i)(www)(?=\.)"), "\\1\u200b"),
    (re.compile(r"#(?=\d)"), "#\u200b"),
    (re.compile(rf"\.(?=(?:{_TOP_LEVEL})(?![\w-]))"), ".\u200b"),
    (re.compile(r"^(\d+)(?=[.)](\s|$))"), "\\1\u200b"),
)


def text(given: str) -> str:
    """One line of prose, as it is."""
    return _escaped(one_line(given))


def told(given: str) -> str:
    """One line of prose of ours, in which commands stand between backticks."""
    parts = enumerate(one_line(given).split("`"))
    return "".join(code(part) if place % 2 else _escaped(part) for place, part in parts)


def _escaped(line: str) -> str:
    for pattern, with_space in _LINKED:
        line = pattern.sub(with_space, line)
    return _SPECIAL.sub(r"\\\1", line)


def code(given: str) -> str:
    """A code span; its fence is longer than any run of backticks in it."""
    line = one_line(given)
    if not line:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def fenced(given: str, language: str) -> str:
    """A block of code."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", given)), default=0))
    return f"{fence}{language}\n{clean(given).rstrip()}\n{fence}"


def bullets(items: Iterable[str]) -> str:
    """A list; the items are Markdown already."""
    return "\n".join(f"- {item}" for item in items)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table; the cells are Markdown already. The columns in `numbers` stand to the right."""
    rules = ["---:" if place in numbers else "---" for place in range(len(head))]
    return "\n".join(_line(cells) for cells in (head, rules, *rows))


def figures(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of figures, which stand to the right of what they are of."""
    return table(head, rows, range(1, len(head)))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(given: str) -> str:
    """A bar that is not escaped would end the cell, in a code span too."""
    return re.sub(r"(\\*)\|", lambda found: found[0] if len(found[1]) % 2 else found[1] + r"\|", given) or " "
