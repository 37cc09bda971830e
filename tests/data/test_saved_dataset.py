"""A dataset saved to disk is Arrow and JSON alone, in its own folder."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets as untyped
import pytest

from loraloom.data.labels import named
from loraloom.data.rows import read_records
from loraloom.data.tables import read_table
from loraloom.data.text_folder import text_files
from loraloom.errors import DataError

datasets: Any = untyped


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    rows = {"text": ["one", "two"], "label": [1, 0]}
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    datasets.Dataset.from_dict(rows, features=features).with_format("numpy").save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_columns_and_class_names_are_read(saved: Path) -> None:
    table = read_table(str(saved))
    assert (table.cells("text"), table.cells("label")) == (["one", "two"], [1, 0])
    assert table.class_names == {"label": ("a", "b")}


@pytest.mark.parametrize("name", ["a\ud800", "a\0"])
def test_a_declared_class_whose_name_is_no_text_is_refused_where_it_has_rows(name: str) -> None:
    assert named(["1"], (name, "b")) == ["b"]
    with pytest.raises(DataError, match=r"that the file declares has U\+.* at character 1, which is no character"):
        named(["1", "0"], (name, "b"))


def test_a_label_that_is_no_class_of_the_file_s_own_is_refused() -> None:
    assert named(["0", "1"], ("a", "b")) == ["a", "b"]
    for code in ("2", "-1", "Sports"):
        with pytest.raises(DataError, match=f"label '{code}' is not one of the 2 classes"):
            named(["0", code], ("a", "b"))


@pytest.mark.parametrize("name", ["extra.pkl", "loader.py", "data.bin", "noname"])
def test_what_may_be_code_is_refused(saved: Path, name: str) -> None:
    (saved / name).write_bytes(b"x")
    with pytest.raises(DataError, match=name):
        read_table(str(saved))


def test_a_link_and_a_file_outside_are_refused(saved: Path, tmp_path: Path) -> None:
    state = json.loads((saved / "state.json").read_text())
    state["_data_files"] = [{"filename": "../elsewhere.arrow"}]
    (saved / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="not in its folder"):
        read_table(str(saved))
    outside = next(saved.glob("*.arrow")).rename(tmp_path / "outside.arrow")
    (saved / "within.arrow").symlink_to(outside)
    state["_data_files"] = [{"filename": "within.arrow"}]
    (saved / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match=r"within\.arrow: a saved dataset is \.arrow and \.json files alone"):
        read_table(str(saved))


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
@pytest.mark.parametrize("file", ["state.json", "dataset_info.json"])
def test_a_damaged_one_is_refused_in_a_sentence(saved: Path, file: str, text: str) -> None:
    (saved / file).write_text(text)
    with pytest.raises(DataError, match="not a saved dataset that can be read"):
        read_table(str(saved))


@pytest.mark.parametrize(
    ("was", "becomes"), [(b"onetwo", b"on\xff\xfewo"), (struct.pack("<3i", 0, 3, 6), struct.pack("<3i", 0, 3, 2**30))]
)
def test_damaged_rows_are_refused_in_a_sentence(saved: Path, was: bytes, becomes: bytes) -> None:
    file = next(saved.glob("*.arrow"))
    content = file.read_bytes()
    assert content.count(was) == 1
    file.write_bytes(content.replace(was, becomes))
    with pytest.raises(DataError, match="not a saved dataset that can be read"):
        read_table(str(saved))


def test_of_several_splits_one_is_to_be_named(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"text": ["one"]})
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "splits")
    with pytest.raises(DataError, match=r"holds splits, not rows; give .*splits/test or .*splits/train"):
        read_table(str(tmp_path / "splits"))
    assert len(read_table(str(tmp_path / "splits" / "test"))) == 1


def test_what_reads_row_by_row_is_told_how_to_write_rows(tmp_path: Path) -> None:
    rows, folder = datasets.Dataset.from_dict({"text": ["one", "two"]}), tmp_path / "it's saved"
    rows.save_to_disk(folder)
    for read in (lambda: list(read_records(str(folder), lenient=True)), lambda: list(text_files(folder))):
        with pytest.raises(DataError, match="is a saved dataset, which is not read row by row") as error:
            read()
    line = str(error.value).partition("python -c ")[2]
    subprocess.run(["bash", "-c", f"{sys.executable} -c {line}"], check=True)  # noqa: S607
    assert [record.cells for record in read_records(f"{folder}.parquet")] == [{"text": "one"}, {"text": "two"}]
    datasets.DatasetDict({"test": rows}).save_to_disk(tmp_path / "splits")
    with pytest.raises(DataError, match=r"holds splits, not rows; give .*splits/test"):
        list(text_files(tmp_path / "splits"))
