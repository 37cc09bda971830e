"""Where a command may write: not over what an adapter consists of, but beside anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loraloom.errors import AdapterError, DataError
from loraloom.study.durable import write_manifest
from loraloom.study.outputs import refuse_over


def test_what_a_manifest_names_is_written_over_by_nobody(tmp_path: Path) -> None:
    for name in ("trial.json", "rows.csv"):
        (tmp_path / name).touch()
        if name == "trial.json":
            write_manifest(tmp_path)
    refuse_over(tmp_path / "rows.csv")
    for name in ("trial.json", "manifest.json"):
        with pytest.raises(DataError, match="is a file of an adapter or an export"):
            refuse_over(tmp_path / name)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(AdapterError, match="can't be read"):
        refuse_over(tmp_path / "rows.csv")


def test_a_file_that_is_read_is_written_over_by_nobody_also_where_it_is_named_from_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    rows = tmp_path / "rows.csv"
    rows.touch()
    for read in (rows, Path("~/rows.csv")):
        with pytest.raises(DataError, match="is a file that is read; choose another --out"):
            refuse_over(rows, read)
    refuse_over(rows, Path("~/others.csv"))


@pytest.mark.parametrize("manifest", [json.dumps({"name": "site", "icons": []}), "[]", "no JSON"])
def test_a_manifest_of_something_else_is_in_nobodys_way(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    (tmp_path / "rows.csv").touch()
    refuse_over(tmp_path / "rows.csv")
