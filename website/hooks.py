"""What mkdocs asks while it builds: the pages that are made of the code, and links out of docs/.

Pages in docs/ link to other files of the repository as a forge shows them (`../Dockerfile`). Those that readers of the
site need are part of it, pages or plain files, and links to them are turned; a link to any other is an error of
--strict, as is one to nothing.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # for `mkdocs build`; `python -m mkdocs build` has it

from website.commands import commands_page  # noqa: E402
from website.exits import exits_page  # noqa: E402
from website.notebooks import notebook_page  # noqa: E402
from website.python_names import python_page  # noqa: E402
from website.recipe_fields import recipe_page  # noqa: E402

MADE = {
    "reference/commands.md": commands_page,
    "reference/recipe.md": recipe_page,
    "reference/python.md": python_page,
    "reference/exits.md": exits_page,
}
"""Pages by their place in the site."""
PAGES = {"ARCHITECTURE.md": "architecture.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""The repository's own pages that are part of the site, and their places in it."""
PLAIN = ("Dockerfile", "LICENSE", "src/loraloom/recipes/*.yaml", "examples/*.ipynb")
"""Other files that the site has."""
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")


def on_files(files: Files, config: Any) -> Files:
    """Adds what is made, and what lies outside of docs/."""
    for place, make in MADE.items():
        files.append(File.generated(config, place, content=make()))
    for name, place in PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text(encoding="utf-8")))
    for path in sorted(path for pattern in PLAIN for path in ROOT.glob(pattern)):
        files.append(File.generated(config, _plain_place(path), abs_src_path=str(path)))
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        files.append(File.generated(config, f"examples/{path.stem}.md", content=notebook_page(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links to files of the repository into links to their places in the site."""
    here = page.file.src_uri
    source = {place: name for name, place in PAGES.items()}.get(here, f"docs/{here}")

    def turned(found: re.Match[str]) -> str:
        target = found[1]
        if ":" in target:
            return target
        in_repository = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        return posixpath.relpath(place_of(in_repository), posixpath.dirname(here) or ".")

    return _LINK.sub(turned, markdown)


def place_of(name: str) -> str:
    """Where the site has a file of the repository; what it has not keeps its name, which mkdocs will not find."""
    if name in PAGES:
        return PAGES[name]
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    if name.startswith("recipes/"):
        name = f"src/loraloom/{name}"
    return _plain_place(ROOT / name) if any(Path(name).match(pattern) for pattern in PLAIN) else name


def _plain_place(path: Path) -> str:
    folder = {".yaml": "recipes/", ".ipynb": "examples/"}.get(path.suffix, "")
    return f"files/{folder}{path.name}" if path.suffix != ".ipynb" else f"examples/{path.name}"
