"""read_table and table_of: files, folders and sources in memory as named columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest
from datasets import Audio
from datasets.arrow_dataset import Dataset
from pyarrow import parquet

from loraloom.data.tables import read_table, table_of
from tests.data.files import write_jsonl


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_what_is_missing_in_a_pair_is_what_is_missing_in_a_frame(missing: Any) -> None:
    cells = {"text": ["a", missing], "label": [missing, "b"]}
    for source in ((cells["text"], cells["label"]), pd.DataFrame(cells)):
        table = table_of(source, "rows")
        assert (table.cells("text"), table.cells("label")) == (["a", None], [None, "b"])


def test_a_key_that_rows_of_jsonl_lack_is_none_in_these(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "a"}, {"label": "x", "text": "b"}, {"more": 1, "text": "c"}, {}]
    table = read_table(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert {name: table.cells(name) for name in table.columns} == {
        "text": ["a", "b", "c", None],
        "label": [None, "x", None, None],
        "more": [None, None, 1, None],
    }


@pytest.mark.parametrize(
    "metadata", [b"{", b"[]", b'{"info": {"features": {"label": {"_type": "ClassLabel"}}}}', b"[" * 100_000]
)
def test_parquet_whose_metadata_tell_no_classes_has_the_labels_that_it_holds(tmp_path: Path, metadata: bytes) -> None:
    file = tmp_path / "rows.parquet"
    pa: Any = pyarrow
    rows = pa.table({"text": ["a", "b"], "label": [1, 0]}).replace_schema_metadata({"huggingface": metadata})
    write: Any = parquet.write_table
    write(rows, file)
    table = read_table(str(file))
    assert (table.cells("label"), table.class_names) == ([1, 0], {})


def test_a_sound_beside_texts_is_not_decoded() -> None:
    cells = {"sound": [{"bytes": b"no sound", "path": "a.wav"}], "text": ["a"], "label": [1]}
    table = table_of(Dataset.from_dict(cells).cast_column("sound", Audio()), "rows")
    assert (table.cells("sound"), table.cells("text")) == (cells["sound"], ["a"])


def test_columns_of_pandas_own_types_are_a_pair() -> None:
    texts, labels = pd.Series(["a", None], dtype="string"), pd.Series([1, None], dtype="Int64")
    table = table_of((texts, labels), "rows")
    assert (table.cells("text"), table.cells("label")) == (["a", None], [1, None])


def test_files_of_a_folder_are_named_in_characters_that_can_be_written_and_shown(tmp_path: Path) -> None:
    """A recipe with the half of a surrogate pair would be no YAML, and a terminal obeys what it is sent."""
    for label in ("food", "sport"):
        (tmp_path / label).mkdir()
    for name in ("food/caf\udce9.txt", "sport/\x1b]0;x\x07.jpg"):
        (tmp_path / name).write_bytes(b"caf\xe9")
    (tmp_path / "sport" / "1.txt").write_text("a goal")
    examples = [finding.examples for finding in read_table(str(tmp_path)).findings]
    assert examples == [("food/caf\ufffd.txt",), ("sport/\ufffd]0;x\ufffd.jpg",)]
