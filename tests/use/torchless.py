"""`make torchless`: an ONNX export's example, run by an interpreter that has onnxruntime, tokenizers and numpy alone.

Makes a fresh environment with pip, which takes a minute and the packages' download; the tests block torch instead.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import loraloom
from loraloom.use.export import export
from tests.conftest import make_rows, write_csv, write_model

NEEDED = ("onnxruntime", "tokenizers", "numpy")
TEXTS = [text for text, _ in make_rows(40, seed=9)]


def main() -> None:
    """Trains, exports, and compares the labels that the fresh environment prints with the adapter's."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        write_model(place / "model")
        recipe = {
            "data": {"train_file": str(write_csv(place / "rows.csv", make_rows(150, seed=1))), "max_length": 16},
            "backbone": {"model": str(place / "model")},
            "train": {"learning_rate": 0.02, "num_train_epochs": 10, "bf16": False},
        }
        loraloom.search(recipe, place / "run")
        export(place / "run" / "best", "onnx", place / "onnx")
        example = (
            (place / "onnx" / "README.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
        )
        code = example.replace("this/folder", str(place / "onnx")).replace('["a text", "another"]', repr(TEXTS))
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *NEEDED], check=True)
        assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode != 0
        printed = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        if printed != repr(loraloom.load(place / "run" / "best").predict(TEXTS)):
            sys.exit(f"the export gave other labels than the adapter: {printed}")
    print(f"{len(TEXTS)} texts have the adapter's labels, by {', '.join(NEEDED)} alone")


if __name__ == "__main__":
    main()
