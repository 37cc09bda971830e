"""ARCHITECTURE.md names files that are there, and names that they define."""

from __future__ import annotations

import re
from pathlib import Path

from tests.test_imports import ORDER

REPOSITORY = Path(__file__).parent.parent
FOLDERS = "src/loraloom", "bench", "docs", "scripts", "study", "tests", "website"
FILES = [path.relative_to(REPOSITORY) for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.*")]
TEXT = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w./]+\.(?:py|h|jinja|css|js))(?:: ([\w., ]+))?`", TEXT)


def meant(name: str) -> list[Path]:
    """Files that are called so: from the repository or the package on, or "there", in a folder that was named."""
    own = [path for path in FILES if path.as_posix() in (name, f"src/loraloom/{name}")]
    return own or [path for path in FILES if path.as_posix().endswith(f"/{name}")]


def defines(file: str, name: str) -> bool:
    """Whether a function, a class, a variable or a field in such a file is called so."""
    text = "\n".join((REPOSITORY / path).read_text(encoding="utf-8") for path in meant(file))
    return re.search(rf"^\s*(?:(?:def|class) {name}\b|{name}(?::[^=\n]*)? =|{name}: )", text, re.MULTILINE) is not None


def test_every_file_is_there() -> None:
    assert [name for name, _ in NAMED if not meant(name)] == []


def test_every_name_is_defined_in_its_file() -> None:
    named = [(file, name) for file, names in NAMED for name in re.findall(r"\w+", names)]
    assert len(named) > 50
    assert [f"{file}: {name}" for file, name in named if not defines(file, name)] == []


def test_the_order_of_imports_is_the_one_that_is_enforced() -> None:
    assert f"\n    {', '.join(ORDER)}\n" in TEXT
