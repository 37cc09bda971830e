"""Makes matplotlib's SVG at home in an HTML page: the page's colours and fonts, unique ids, a title.

The colours are Okabe and Ito's, which people with any common kind of colour vision can tell apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from loraloom.report.wording import clean

INK, MUTED, GRID = "#1d232a", "#5d6875", "#dde2e8"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#aa4499")
WARN = "#c2410c"

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    WARN: "--strong",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)},
}
_FONT = re.compile(r"font:[^;]*?([\d.]+)px[^;]*")
_COLOUR = re.compile("|".join(_VARIABLES))
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


@dataclass(frozen=True, slots=True)
class Mark:
    """What a point of a picture stands for: a trial, and what is said of it where somebody points at it."""

    trial: int
    text: str


Marks = Mapping[str, Sequence[Mark]]
"""The points of each scatter that was given this name by `set_gid`, in its order."""


def for_page(svg: bytes, name: str, title: str, description: str, marks: Marks) -> str:
    """`svg` as an element of HTML: sized by its container, ids prefixed by `name`, no metadata.

    A marked point carries its trial's number for the page's script, and a title for readers without it.
    """
    root = ET.fromstring(svg)  # noqa: S314  # written by matplotlib a moment ago
    for gid, given in marks.items():
        _mark(root, gid, given)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _attribute(_local(key), value, name) for key, value in element.attrib.items()}
        for child in [child for child in element if _local(child.tag) in ("metadata", "style")]:
            element.remove(child)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {
        "class": "plot",
        "role": "img",
        "focusable": "false",
        "aria-labelledby": f"{name}-title {name}-desc",
    }
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        label = ET.Element(tag, {"id": f"{name}-{tag}"})
        label.text = clean(text)
        root.insert(position, label)
    return ET.tostring(root, encoding="unicode")


def _mark(root: ET.Element, gid: str, marks: Sequence[Mark]) -> None:
    """matplotlib writes a scatter's points in order: as uses of one shape, or, where they are few, as paths."""
    group = next(element for element in root.iter() if element.get("id") == gid)
    defined = {id(inner) for defs in group.iter() if _local(defs.tag) == "defs" for inner in defs.iter()}
    points = [each for each in group.iter() if _local(each.tag) in ("use", "path") and id(each) not in defined]
    for point, mark in zip(points, marks, strict=True):
        point.set("class", "mark")
        point.set("data-trial", f"{mark.trial:04d}")
        ET.SubElement(point, "title").text = clean(mark.text)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value.removeprefix('#')}"
    value = _REFERENCE.sub(rf"url(#{name}-\1)", value)
    if key == "style":
        value = _FONT.sub(r"font-size: \1px", value)
        return _COLOUR.sub(lambda match: f"var({_VARIABLES[match.group()]})", value)
    return value
