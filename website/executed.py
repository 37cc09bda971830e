"""Pages by executed code: runs the commands of a page, in order, and puts what they print below them.

    python -m website.executed                       docs/tutorial.md and docs/budget.md, some minutes
    python -m website.executed docs/budget.md        one of them

A block of `sh` or `python` that a block of `text` follows is run, and that block becomes what it printed. Blocks of a
page share one empty folder, and those of Python their names, so that a later block has what an earlier one made. A
block that fails ends it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "docs" / "tutorial.md", ROOT / "docs" / "budget.md")
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```\n(?:(\n*)^```text\n(.*?)^```\n)?", flags=re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"""(?<![\w/.'"-])(?<!--tag )loraloom[ \t]+((?:"[^"]*"|'[^']*'|>&|[^|;&)#\n"'])+)""")
_REDIRECTION = re.compile(r"\s*\d?[<>]+\s*\S+")
_NOISE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[ \t]+$", flags=re.MULTILINE)

SILENT = """import contextlib, io, sys
with contextlib.redirect_stdout(io.StringIO()):
    exec(sys.argv[1], globals())
exec(sys.argv[2], globals())
"""


@dataclass(frozen=True, slots=True)
class Block:
    """Code of a page, and the output that stands below it; None where no output is shown, so that it is not run."""

    language: str
    code: str
    output: str | None
    span: tuple[int, int]
    """Where the output stands in the page."""


def blocks(page: str) -> tuple[Block, ...]:
    """The blocks of `sh` and `python` of a page, in order."""
    return tuple(Block(found[1], found[2], found[4], found.span(4)) for found in _BLOCK.finditer(page))


def fenced(page: str, *languages: str) -> Iterator[str]:
    """The blocks of a page that are in one of these languages."""
    yield from (found[2] for found in _FENCED.finditer(page) if found[1] in languages)


def commands(code: str) -> Iterator[str]:
    """Command lines of a block of `sh` that are loraloom's, without `loraloom`, pipes and redirections."""
    for found in _COMMAND.finditer(code.replace("\\\n", " ")):
        yield _REDIRECTION.sub("", found[1]).strip()


def executed(page: str, folder: Path, *, upto: int | None = None) -> str:
    """The page with what its blocks print now; `folder` is where they run, `upto` the number of blocks that are run.

    Raises:
        RuntimeError: a block failed.
    """
    parts: list[str] = []
    end = 0
    python = Python(folder)
    for block in [block for block in blocks(page) if block.output is not None][:upto]:
        said = python.run(block.code) if block.language == "python" else shell(block.code, folder)
        parts += [page[end : block.span[0]], shown(said, folder)]
        end = block.span[1]
    return "".join([*parts, page[end:]])


def shell(code: str, folder: Path) -> str:
    """What a block of `sh` prints, on both streams."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],  # noqa: S607
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode} of\n{code}\n{done.stdout}")
    return done.stdout


class Python:
    """The blocks of `python` of a page: each is run after those before it, whose names it has."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._before = folder, ""

    def run(self, code: str) -> str:
        """What `code` prints; what earlier blocks print is not shown again."""
        done = subprocess.run(
            [sys.executable, "-c", SILENT, self._before, code],
            cwd=self._folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode} of\n{code}\n{done.stderr}")
        self._before += code
        return done.stdout


def environment() -> dict[str, str]:
    """As a reader's, but without colours, at a page's width, and with this checkout's loraloom first.

    A dumb terminal would be 80 columns wide, whatever COLUMNS says.
    """
    places = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    here = {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(filter(None, places)), "TERM": "xterm"}
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, **here, "PATH": binaries, "HF_HUB_OFFLINE": "1"}


def shown(said: str, folder: Path) -> str:
    """Output as a page has it: no colours, no trailing blanks, no place of this machine."""
    text = _NOISE.sub("", said).replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "").strip("\n")
    for place in (str(ROOT), str(Path.home())):
        if place in text:
            raise RuntimeError(f"{place}: a place of this machine is in the output\n{text}")
    return text + "\n"


def main(names: Sequence[str]) -> None:
    for path in [Path(name) for name in names] or PAGES:
        with tempfile.TemporaryDirectory(prefix="loraloom-page-") as folder:
            text = executed(path.read_text(encoding="utf-8"), Path(folder))
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
