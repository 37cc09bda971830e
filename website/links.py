"""Looks at a built site: every link holds, and no page fetches anything from another host.

    python -m website.links site

Links are those in the pages as built, with their anchors. What a browser fetches by itself (scripts, styles, fonts,
pictures, frames) must be a file of the site, also where a style sheet names it; a link that a person follows may lead
elsewhere.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {
    ("audio", "src"), ("embed", "src"), ("iframe", "src"), ("img", "src"), ("input", "src"), ("link", "href"),
    ("object", "data"), ("script", "src"), ("source", "src"), ("video", "src"), ("image", "href"), ("use", "href"),
}  # fmt: skip
"""(element, attribute) of which a browser fetches what it names without being asked."""
NOT_FETCHED = {"canonical", "next", "prev", "alternate"}
"""Kinds of <link> that only say where something is."""
_IN_STYLE = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")


@dataclass
class Page(HTMLParser):
    """What one page names: (where, what) of links, and of what is fetched; and its anchors."""

    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    in_style: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.in_style = tag == "style"
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        kinds = set(given.get("rel", "").split())
        for name, value in given.items():
            if (tag, name) in FETCHED and not kinds & NOT_FETCHED:
                self.fetched.append(value)
            elif name == "srcset":
                self.fetched += [one.split()[0] for one in value.split(",") if one.strip()]
            elif name == "style":
                self.fetched += styled(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self.fetched += styled(data)

    def handle_endtag(self, tag: str) -> None:
        self.in_style = False


def problems(site: Path) -> Iterator[str]:
    """A sentence for each link that leads nowhere, and each thing that would be fetched from elsewhere."""
    found = sorted(path for path in site.rglob("*.html") if path.name != "404.html")  # which a server alone shows
    pages = {path: read(path) for path in found}
    for path, page in pages.items():
        name = path.relative_to(site)
        for target in page.fetched:
            if is_elsewhere(target):
                yield f"{name}: fetches {target}"
            elif not target.startswith("data:") and not resolved(path, target, site).is_file():
                yield f"{name}: fetches {target}, which is not there"
        for target in page.links:
            if not is_elsewhere(target) and not target.startswith("mailto:"):
                yield from _broken(path, target, site, pages)
    for path in sorted(site.rglob("*.css")):
        for target in styled(path.read_text(encoding="utf-8")):
            if is_elsewhere(target):
                yield f"{path.relative_to(site)}: fetches {target}"


def _broken(path: Path, target: str, site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    found, anchor = resolved(path, target, site), unquote(urlsplit(target).fragment)
    name = path.relative_to(site)
    if not found.is_file():
        yield f"{name}: links to {target}, which is not there"
    elif anchor and anchor not in pages[found].anchors:
        yield f"{name}: links to {target}, and {found.relative_to(site)} has no such place"


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def resolved(path: Path, target: str, site: Path) -> Path:
    """The file that a link in the page `path` leads to, as where the folder is opened without a server."""
    place = unquote(urlsplit(target).path)
    if place.startswith("/"):
        return site / "no-such-file-without-a-server"
    return (path.parent / place).resolve() if place else path


def is_elsewhere(target: str) -> bool:
    return bool(urlsplit(target).scheme in ("http", "https", "ftp") or target.startswith("//"))


def styled(text: str) -> list[str]:
    """What a style sheet names."""
    return [first or second for first, second in _IN_STYLE.findall(text)]


def main(arguments: Sequence[str]) -> int:
    site = Path(arguments[0] if arguments else "site").resolve()
    if not (site / "index.html").is_file():
        print(f"{site}: is no built site; make docs builds it", file=sys.stderr)
        return 2
    found = list(problems(site))
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"{len(found)} problems in {len(list(site.rglob('*.html')))} pages")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
