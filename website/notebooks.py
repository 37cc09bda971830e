"""The examples: run and stored with their outputs, and shown as pages.

    python -m website.notebooks            runs examples/*.ipynb in a scratch folder and stores what they print

What is stored holds no place of this machine: notebooks run in an empty folder and name their files relative to it, and
a path that gets into an output all the same is refused.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"
SECONDS = 900
"""What one cell may take."""
NO_WIDGETS = "ignore:IProgress not found"
"""tqdm says where it lies, for lack of widgets that a stored output could not show."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PATHS = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|work|usr|opt|var|Users|private|mnt)/\S+")


def run(path: Path, folder: Path) -> Any:
    """Runs the notebook `path` in `folder`, and returns it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
        ValueError: an output names a place of this machine.
    """
    notebook: Any = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}})
    client.execute(env={**os.environ, "PYTHONWARNINGS": NO_WIDGETS})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
    for text in outputs(notebook):
        if found := _PATHS.search(text):
            raise ValueError(f"{path.name}: an output names {found[0]}")
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def outputs(notebook: Any) -> Iterator[str]:
    """The text of every output."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            yield output.get("text") or output.get("data", {}).get("text/plain", "")


def notebook_page(path: Path) -> str:
    """The notebook as Markdown: its words, its code, and below each cell what it printed."""
    notebook: Any = nbformat.read(path, as_version=4)
    parts: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        said = "".join(outputs(nbformat.from_dict({"cells": [cell]})))
        if said.strip():
            parts.append(f"```text\n{_COLOURS.sub('', said).rstrip()}\n```")
    parts.insert(1, f"[The notebook]({path.name})")
    return "\n\n".join(parts) + "\n"


def main(names: Sequence[str]) -> None:
    os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
    for path in [EXAMPLES / name for name in names] or sorted(EXAMPLES.glob("*.ipynb")):
        with tempfile.TemporaryDirectory(prefix="loraloom-example-") as folder:
            done = run(path, Path(folder))
        nbformat.write(done, path)
        print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
