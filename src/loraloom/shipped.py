"""The recipes that come with loraloom, by name: `loraloom search demo --out runs/demo` needs no file.

A file of that name goes first, so that a name never hides what somebody wrote. They lie in `recipes/` beside this file,
which the repository's `recipes` is a link to. A module of its own, since the Tab key asks it and should not wait for
what `loraloom.recipe` imports.
"""

from __future__ import annotations

import difflib
import re
from itertools import takewhile
from pathlib import Path

from loraloom.errors import RecipeError

FOLDER = Path(__file__).parent / "recipes"


def shipped_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def shipped_recipes() -> dict[str, str]:
    """What each is, in the first sentence of its comment, by name."""
    return {name: _first_sentence(shipped_text(name)) for name in shipped_names()}


def find_recipe(path: Path) -> Path:
    """The path, or where the shipped recipe lies that it names and no file does."""
    return path if path.is_file() or not is_shipped(str(path)) else _place(str(path))


def is_shipped(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9-]+", name) is not None and _place(name).is_file()


def shipped_text(name: str) -> str:
    """A shipped recipe as it stands, comments and all.

    Raises:
        RecipeError: there is none of that name.
    """
    if not is_shipped(name):
        raise RecipeError(
            f"{name}: no such recipe comes with loraloom{near_name(name)}; there are {', '.join(shipped_names())}"
        )
    return _place(name).read_text(encoding="utf-8")


def near_name(name: str) -> str:
    """`; did you mean demo?`, where a shipped recipe is called nearly so, else nothing."""
    near = difflib.get_close_matches(name, shipped_names(), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _place(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


def _first_sentence(text: str) -> str:
    comment = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return re.split(r"(?<=\.)\s", " ".join(line.removeprefix("#").strip() for line in comment))[0]
