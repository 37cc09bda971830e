"""Files through an adapter: every row in its place with its own values, whatever the file is and befalls it."""

from __future__ import annotations

import bz2
import contextlib
import copy
import csv
import datetime
import errno
import gc
import gzip
import io
import itertools
import json
import lzma
import os
import re
import shutil
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import DebertaV2Config

from bench.random_adapters import save_random_adapter
from loraloom import cli
from loraloom.calibration import Temperature
from loraloom.cli.adapters import run_prediction
from loraloom.cli.running import TerminatedError
from loraloom.data.rows import Record
from loraloom.errors import AdapterError, DataError, LoraloomError, OptionError, RunError
from loraloom.study.durable import write_manifest
from loraloom.use import predict as predicting
from loraloom.use import windows as windowing
from loraloom.use.adapter import load
from loraloom.use.backbones import Backbones
from loraloom.use.class_shares import Shift
from loraloom.use.ensemble import Ensemble, column_names, load_ensemble
from loraloom.use.parquet_output import _write_groups
from loraloom.use.parts import Counts, Parts, locked, parts_folder
from loraloom.use.predict import Choices, Summary, predict_file
from loraloom.use.writing import Added, CsvOutput, Predicted, output_of
from tests.commands import Commands
from tests.conftest import FILLER, WORDS
from tests.numerics.architectures import CONFIGS, save_model
from tests.use.tested_adapters import add_test_result
from website.executed import fenced

LABELS = ("animals", "food", "tools")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> list[Path]:
    place = tmp_path_factory.mktemp("adapters")
    return [
        save_random_adapter(place / name, tiny_model, labels=labels, seed=seed)
        for seed, (name, labels) in enumerate({"a": LABELS, "b": LABELS[::-1], "c": LABELS[:2]}.items())
    ]


@pytest.fixture(scope="module")
def one(folders: list[Path]) -> Ensemble:
    return load_ensemble(folders[:1])


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of four rows, each a part of its own."""
    monkeypatch.setattr(windowing, "ROWS", 4)
    monkeypatch.setattr(predicting, "ROWS", 4)
    monkeypatch.setattr("loraloom.use.parts.SECONDS", 0.0)


def sentences(count: int) -> list[str]:
    words = [*FILLER, *itertools.chain(*WORDS.values())]
    return [" ".join(words[(n * k) % len(words)] for k in range(1, 2 + n % 9)) for n in range(count)]


def write_rows(path: Path, count: int = 30) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "note"])
        writer.writerows([f"{n:03d}", text, ""] for n, text in enumerate(sentences(count)))
    return path


class Heard:
    """A watcher that keeps what it is told, and may end the run after some windows."""

    def __init__(self, end_after: int | None = None, by: type[BaseException] = KeyboardInterrupt) -> None:
        self.notes: list[str] = []
        self.windows = 0
        self._end_after, self._by = end_after, by

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def done(self, rows: int, share: float | None) -> None:
        self.windows += 1
        if self.windows == self._end_after:
            raise self._by

    def kept(self, rows: int) -> None:
        self.kept_rows = rows


def run(
    ensemble: Ensemble, source: Path | str, out: Path | str | None, watcher: Heard | None = None, **choices: Any
) -> tuple[Summary, str]:
    printed = io.StringIO()
    return predict_file(ensemble, str(source), out, printed, Choices(**choices), watcher), printed.getvalue()


def test_the_example_of_the_page_runs(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "predict.md"
    (example,) = fenced(page.read_text(encoding="utf-8"), "python")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folders[0], "runs/demo/best")
    write_rows(Path("articles.csv"))
    exec(compile(example, str(page), "exec"), {})  # noqa: S102
    assert len(read_csv(Path("predicted.csv"))) == 30
    assert capsys.readouterr().out.startswith("30 0 ")


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_values_of_csv_are_kept_as_they_stand(one: Ensemble, tmp_path: Path) -> None:
    rows = [["007", "the cat", "", ' "q", \r x\n'], ["1e3", "soup", "NA", "=x"]]
    source = tmp_path / "in.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text", "b", "c"], *rows])
    run(one, source, tmp_path / "out.csv")
    assert [list(row.values())[:4] for row in read_csv(tmp_path / "out.csv")] == rows
    assert list(read_csv(tmp_path / "out.csv")[0]) == ["id", "text", "b", "c", "prediction", "confidence"]


def test_a_line_of_json_keeps_its_own_characters(one: Ensemble, tmp_path: Path) -> None:
    lines = ['{"id": 1.50, "text": "the \\u0063at", "x": {"a": [1e3, null]}}', '{ "text" : "süß"  }', '{"text":"soup"}']
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(lines), encoding="utf-8")
    _, printed = run(one, source, None)
    for line, found in zip(lines, printed.splitlines(), strict=True):
        assert found.startswith(line.rstrip("} ") if line.startswith("{ ") else line[:-1])
        added = json.loads(found)
        assert sum(added["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert added["confidence"] == added["probabilities"][added["prediction"]]


def test_parquet_keeps_its_types_and_what_datasets_says_of_them(one: Ensemble, tmp_path: Path) -> None:
    import datetime

    pa: Any = pytest.importorskip("pyarrow")
    pq: Any = pytest.importorskip("pyarrow.parquet")
    datasets: Any = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["x", "y"]),
            "at": datasets.Value("timestamp[ns]"),
        }
    )
    when = datetime.datetime(2026, 1, 1, 12)
    columns = {"text": sentences(5), "label": [0, 1, 0, 1, 1], "at": [when] * 5}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "in.parquet")
    run(one, tmp_path / "in.parquet", tmp_path / "out.parquet")
    before, after = pq.read_table(tmp_path / "in.parquet"), pq.read_table(tmp_path / "out.parquet")
    assert after.select(before.column_names).cast(before.schema).equals(before)
    assert after.schema.field("at").type == pa.timestamp("ns")
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded.features["label"].names == ["x", "y"]
    assert set(loaded["prediction"]) <= set(LABELS)


def test_columns_of_views_are_written_with_the_values_that_they_view(one: Ensemble, tmp_path: Path) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    texts, rows = sentences(3), range(3)
    nested = [{"a": [[str(row)]], "b": b"\xff"} for row in rows]
    kind = pa.struct([("a", pa.list_(pa.large_list(pa.string_view()))), ("b", pa.binary_view())])
    columns = {
        "text": pa.array(texts, pa.string_view()),
        "id": pa.array(rows, pa.int8()),
        "pairs": pa.array([[("k", "v")]] * 3, pa.map_(pa.string(), pa.string_view())),
        "nested": pa.array(nested, kind),
        "fixed": pa.array([["x", None]] * 3, pa.list_(pa.string_view(), 2)),
        "views": pa.array([["x"]] * 3, pa.list_view(pa.string())),
    }
    cast(Any, pq).write_table(pa.table(columns), tmp_path / "in.parquet")
    run(one, tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = cast(Any, pq).read_table(tmp_path / "out.parquet")
    assert found.select(list(columns)).to_pylist() == pa.table(columns).to_pylist()
    assert (found.schema.field("text").type, found.schema.field("id").type) == (pa.string(), pa.int8())


def test_nested_values_and_what_json_has_not_are_written_so_that_they_can_be_read(
    one: Ensemble, tmp_path: Path
) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    pq: Any = pytest.importorskip("pyarrow.parquet")

    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "the cat", "x": {"a": [1, null]}, "ok": true, "no": null}\n')
    run(one, source, tmp_path / "out.csv")
    (row,) = read_csv(tmp_path / "out.csv")
    assert (row["x"], row["ok"], row["no"]) == ('{"a": [1, null]}', "true", "")
    day, nan = datetime.date(2026, 1, 2), float("nan")
    columns = {"text": ["soup"], "x": [nan], "y": [-float("inf")], "b": [b"\xff"], "d": [day], "l": [[1.5, nan]]}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    _, printed = run(one, tmp_path / "in.parquet", None)
    assert [json.loads(printed)[name] for name in "xybdl"] == [None, None, "/w==", "2026-01-02", [1.5, None]]
    run(one, tmp_path / "in.parquet", tmp_path / "out.csv")
    (row,) = read_csv(tmp_path / "out.csv")
    assert [row[name] for name in "xybdl"] == ["nan", "-inf", "/w==", "2026-01-02", "[1.5, null]"]


def test_dictionaries_that_are_too_many_together_for_their_type_are_refused_before_a_part_is_written(
    one: Ensemble, tmp_path: Path
) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    kind = pa.dictionary(pa.int8(), pa.string())
    schema = pa.schema([("text", pa.string()), ("day", kind)])
    with cast(Any, pq).ParquetWriter(tmp_path / "in.parquet", schema) as writer:
        for month in range(2):
            days = [f"{month}-{day}" for day in range(100)]
            writer.write_table(pa.table({"text": ["soup"] * 100, "day": pa.array(days, kind)}, schema))
    with pytest.raises(DataError, match=r"rows 1-200 can't be columns of Parquet \(.*dictionar.*\); write .jsonl"):
        run(one, tmp_path / "in.parquet", tmp_path / "out.parquet")
    run(one, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().count("soup") == 200


def test_parquet_that_is_broken_off_while_it_is_written_leaves_no_traceback_of_its_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    complained: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complained.append)

    def tables() -> Iterator[Any]:
        yield pa.table({"text": ["soup"]})
        raise KeyboardInterrupt

    def write() -> None:
        with (tmp_path / "out.parquet").open("wb") as file:
            _write_groups(tables(), file)

    with contextlib.suppress(KeyboardInterrupt):
        write()
    gc.collect()
    assert complained == []


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_bytes_of_parquet_that_are_not_utf_8_are_replaced_in_any_output(
    one: Ensemble, tmp_path: Path, name: str
) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    bytes_, ends = pa.py_buffer(b"soupcaf\xe9"), pa.py_buffer(np.array([0, 4, 8], dtype="<i4").tobytes())
    texts = pa.StringArray.from_buffers(2, ends, bytes_)
    cast(Any, pq).write_table(pa.table({"text": texts, "id": [7, 8]}), tmp_path / "in.parquet")
    summary, _ = run(one, tmp_path / "in.parquet", tmp_path / name, on_error="null")
    assert summary.counts.bad == 1
    if name == "out.parquet":
        rows = cast(Any, pq).read_table(tmp_path / name).to_pylist()
    elif name == "out.csv":
        rows = read_csv(tmp_path / name)
    else:
        rows = [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]
    assert [(row["text"], str(row["id"]), bool(row["prediction"])) for row in rows] == [
        ("soup", "7", True), ("caf\ufffd", "8", False),
    ]  # fmt: skip


def test_a_pipe_is_read_once_and_nothing_of_it_is_promised(one: Ensemble, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.csv")
    content = write_rows(tmp_path / "rows.csv").read_bytes()
    writer = threading.Thread(target=(tmp_path / "in.csv").write_bytes, args=(content,), daemon=True)
    writer.start()
    summary, _ = run(one, tmp_path / "in.csv", tmp_path / "out.csv")
    writer.join()
    assert summary.counts.rows == len(read_csv(tmp_path / "out.csv")) == 30


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_what_is_written_compressed_is_what_is_written_plainly(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    zstandard: Any = pytest.importorskip("zstandard") if suffix == ".zst" else None
    monkeypatch.setattr("loraloom.use.writing._BLOCK_BYTES", 100)
    source = write_rows(tmp_path / "in.csv")
    for name in ("out.csv", f"out.csv{suffix}"):
        run(one, source, tmp_path / name)
    packed = (tmp_path / f"out.csv{suffix}").read_bytes()
    unpack: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.decompress,
        ".bz2": bz2.decompress,
        ".xz": lzma.decompress,
        ".zst": lambda content: zstandard.ZstdDecompressor().decompressobj().decompress(content),
    }
    assert unpack[suffix](packed) == (tmp_path / "out.csv").read_bytes()


@pytest.mark.usefixtures("small_windows")
def test_the_share_that_was_read_is_told_where_it_is_known(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shares(Heard):
        def done(self, rows: int, share: float | None) -> None:
            told.append(share)

    table = tmp_path / "in.parquet"
    cast(Any, pq).write_table(cast(Any, pa).table({"text": sentences(10)}), table)
    packed, content = tmp_path / "in.csv.gz", write_rows(tmp_path / "in.csv", 10).read_bytes()
    packed.write_bytes(gzip.compress(content))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    for source, expected in ((table, [0.4, 0.8, 1.0]), (packed, [1.0, 1.0, 1.0]), ("-", [None])):
        told: list[float | None] = []
        run(one, source, None, Shares())
        assert told[-1] == expected[-1]
        assert source == "-" or told == expected


@pytest.mark.parametrize("share", [float("nan"), -0.1, 1.5])
def test_a_confidence_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(OptionError, match="is no share between 0 and 1"):
        Choices(min_confidence=share)


@pytest.mark.parametrize("word", ["Skip", "drop", None])
def test_what_is_not_to_be_done_at_a_bad_row_is_refused(word: Any) -> None:
    with pytest.raises(OptionError, match=f"^on_error: {word!r} is none of stop, skip, null$"):
        Choices(on_error=word)


def test_one_column_of_the_text_is_named_as_several_are(one: Ensemble, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,headline\n1,soup\n")
    _, printed = run(one, tmp_path / "in.csv", None, text_column="headline")
    assert printed == run(one, tmp_path / "in.csv", None, text_column=["headline"])[1]
    assert json.loads(printed)["prediction"]


def test_a_file_in_the_home_folder_may_be_named_from_there(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_rows(tmp_path / "in.csv")
    run(one, "~/in.csv", "~/out.csv")
    assert len(read_csv(tmp_path / "out.csv")) == 30
    with pytest.raises(DataError, match="is a file that is read"):
        run(one, "~/in.csv", tmp_path / "in.csv")


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.jsonl", "out.parquet", "out.jsonl.gz", "out.csv.zst"])
@pytest.mark.parametrize("kind", ["in.csv", "in.jsonl.gz", "in.parquet"])
@pytest.mark.usefixtures("small_windows")
def test_a_run_that_was_broken_off_ends_with_the_same_bytes(
    one: Ensemble, tmp_path: Path, name: str, kind: str
) -> None:
    source = tmp_path / kind
    write_rows(tmp_path / "rows.csv", 30)
    run(one, tmp_path / "rows.csv", source) if kind != "in.csv" else write_rows(source, 30)
    if kind != "in.csv":  # its own predictions would be written over
        rename(source)
    whole, broken = tmp_path / "whole" / name, tmp_path / "broken" / name
    whole.parent.mkdir()
    broken.parent.mkdir()
    run(one, source, whole)
    for end_after, by in ((2, KeyboardInterrupt), (3, TerminatedError)):
        with pytest.raises(by):
            run(one, source, broken, Heard(end_after, by))
    assert not broken.exists()
    heard = Heard()
    summary, _ = run(one, source, broken, heard)
    assert heard.notes == [f"{broken}: goes on after row 20"]
    assert (summary.rows, summary.counts.rows, summary.counts.by_label.total()) == (10, 30, 30)
    assert broken.read_bytes() == whole.read_bytes()
    assert not parts_folder(broken).exists()


def rename(path: Path) -> None:
    """Leaves the columns id, text and note of a file of predictions."""
    pq: Any = pytest.importorskip("pyarrow.parquet")

    if path.suffix == ".parquet":
        pq.write_table(pq.read_table(path).select(["id", "text", "note"]), path)
        return
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    lines = [json.dumps({name: row[name] for name in ("id", "text", "note")}) + "\n" for row in rows]
    path.write_bytes(gzip.compress("".join(lines).encode()))


@pytest.mark.usefixtures("small_windows")
def test_parts_of_another_input_or_adapter_or_version_are_not_gone_on_with(
    folders: list[Path], one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, ensemble = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv", one
    for why in ("its input has changed", "an adapter has changed", "another version of loraloom wrote it"):
        with pytest.raises(KeyboardInterrupt):
            run(ensemble, source, out, Heard(3))
        if "input" in why:
            write_rows(source, 29)
        elif "adapter" in why:
            ensemble = load_ensemble(folders[1:2])
        else:
            monkeypatch.setattr(predicting, "own_version", lambda: "another")
        heard = Heard()
        run(ensemble, source, out, heard)
        assert heard.notes == [f"{out}: begins anew, since {why}"]
        assert len(read_csv(out)) == 29


@pytest.mark.usefixtures("small_windows")
def test_parts_are_of_the_adapter_that_was_loaded_also_where_its_folder_holds_another_by_then(
    folders: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders[0], tmp_path / "best"))
    ensemble, source, out = load_ensemble([folder]), write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    shutil.rmtree(folder)
    save_random_adapter(folder, tiny_model, labels=LABELS, seed=7)  # as a search does that ends meanwhile
    with pytest.raises(KeyboardInterrupt):
        run(ensemble, source, out, Heard(3))
    heard = Heard()
    run(load_ensemble([folder]), source, out, heard)
    assert heard.notes == [f"{out}: begins anew, since an adapter has changed"]


@pytest.mark.parametrize("option", ["text_column", "min_confidence", "temperature", "class_shares", "type"])
@pytest.mark.usefixtures("small_windows")
def test_parts_by_other_options_are_not_gone_on_with(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    source, out, ensemble = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv", one
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(3))
    choices: dict[str, Any] = {"text_column": {"text_column": ("text",)}, "min_confidence": {"min_confidence": 0.0}}
    if option in ("temperature", "class_shares"):
        told = copy.copy(one.members[0].classifier)
        ensemble = Ensemble(one._backbones, [replace(one.members[0], classifier=told)])
        if option == "temperature":
            told.temperature = Temperature(2.0, (1.5, 2.5), 400)
        else:
            half = np.full(len(one.labels), 1 / len(one.labels))
            told.shift = Shift(one.labels, half, half)
    if option == "type":
        monkeypatch.setattr("loraloom.use.adapter.Classifier.dtype", "bf16")
    heard = Heard()
    run(ensemble, source, out, heard, **choices.get(option, {}))
    assert heard.notes == [f"{out}: begins anew, since other options were given"]


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.jsonl", "out.parquet"])
@pytest.mark.usefixtures("small_windows")
def test_several_adapters_and_nested_values_are_gone_on_with_to_the_same_bytes(
    folders: list[Path], tmp_path: Path, name: str
) -> None:
    both, source, out = load_ensemble(folders[:2]), tmp_path / "in.jsonl", tmp_path / name
    nested = {"list": [[1, None]], "object": {"a": [{"b": "x", "c": None}], "d": True}, "nothing": None}
    rows = [{"text": text, "share": number / 3, **nested} for number, text in enumerate(sentences(14))]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(both, source, tmp_path / f"whole-{name}")
    with pytest.raises(KeyboardInterrupt):
        run(both, source, out, Heard(2))
    heard = Heard()
    run(both, source, out, heard)
    assert heard.notes == [f"{out}: goes on after row 8"]
    assert out.read_bytes() == (tmp_path / f"whole-{name}").read_bytes()


@pytest.mark.usefixtures("small_windows")
def test_what_a_run_says_later_of_an_adapter_makes_it_no_other(folders: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[0], tmp_path / "adapter"))
    ensemble, source, out = load_ensemble([folder]), write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        run(ensemble, source, out, Heard(3))
    add_test_result(folder)
    (folder / "README.md").write_text("Other doubts.", encoding="utf-8")
    write_manifest(folder)
    heard = Heard()
    run(load_ensemble([folder]), source, out, heard)
    assert [note.partition(" after row")[0] for note in heard.notes] == [f"{out}: goes on"]


@pytest.mark.usefixtures("small_windows")
def test_an_output_within_the_folder_that_is_read_is_gone_on_with(one: Ensemble, tmp_path: Path) -> None:
    (tmp_path / "in" / "food").mkdir(parents=True)
    for number, text in enumerate(sentences(12)):
        (tmp_path / "in" / "food" / f"{number:02d}.txt").write_text(text)
    out = tmp_path / "in" / "out.csv"
    run(one, tmp_path / "in", out)  # one that is there already is no input either
    whole = out.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run(one, tmp_path / "in", out, Heard(2))
    heard = Heard()
    run(one, tmp_path / "in", out, heard)
    assert heard.notes == [f"{out}: goes on after row 8"]
    assert out.read_bytes() == whole
    with pytest.raises(KeyboardInterrupt):
        run(one, tmp_path / "in", out, Heard(2))
    (tmp_path / "in" / "food" / "00.txt").write_text("a saw")
    run(one, tmp_path / "in", out, heard)
    assert heard.notes[1:] == [f"{out}: begins anew, since its input has changed"]


class Changing(Heard):
    """Does something to the input after the first window; SIGTERM may come some windows later."""

    def __init__(self, change: Callable[[], Any], end_after: int | None = None) -> None:
        super().__init__(end_after, TerminatedError)
        self._change = change

    def done(self, rows: int, share: float | None) -> None:
        super().done(rows, share)
        if self.windows == 1:
            self._change()


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("change", ["edited", "removed", "added"])
def test_a_folder_whose_rows_change_while_it_is_read_is_given_up(one: Ensemble, tmp_path: Path, change: str) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.csv"
    (folder / "food").mkdir(parents=True)
    for number, text in enumerate(sentences(40)):
        (folder / "food" / f"{number:02d}.txt").write_text(text)
    file = folder / "food" / ("99.txt" if change == "added" else "39.txt")
    watcher = Changing(file.unlink if change == "removed" else lambda: file.write_text("a saw"))
    with pytest.raises(DataError, match="was changed while it was read"):
        run(one, folder, out, watcher)
    assert not out.exists()


@pytest.mark.parametrize(("seconds", "then"), [(0.0, 0.0), (60.0, 60.0), (0.0, 60.0)])
def test_what_was_read_after_the_input_was_changed_is_in_no_part(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_windows: None, seconds: float, then: float
) -> None:
    """Neither in one that is closed on the way, which a kill leaves, nor in the one that a signal closes."""
    monkeypatch.setattr("loraloom.use.parts.SECONDS", seconds)
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    was = source.read_bytes()
    run(one, source, tmp_path / "whole.csv")

    def change() -> None:
        monkeypatch.setattr("loraloom.use.parts.SECONDS", then)
        write_rows(source, 40)

    with pytest.raises(DataError, match="was changed while it was read"):
        run(one, source, out, Changing(change, end_after=3))
    assert parts_folder(out).exists() is (seconds == 0)
    source.write_bytes(was)
    heard = Heard()
    run(one, source, out, heard)
    assert heard.notes == ([f"{out}: goes on after row 4"] if seconds == 0 else [])
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("change", ["touched", "replaced", "away"])
def test_an_input_that_has_the_same_bytes_again_is_gone_on_with(one: Ensemble, tmp_path: Path, change: str) -> None:
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    run(one, source, tmp_path / "whole.csv")

    def changed() -> None:
        if change == "touched":
            os.utime(source)
        elif change == "replaced":
            write_rows(tmp_path / "new.csv").replace(source)
        else:
            source.rename(tmp_path / "away.csv")

    with pytest.raises(DataError, match=r"was changed while it was read; give|can't be read: No such file"):
        run(one, source, out, Changing(changed))
    if change == "away":
        (tmp_path / "away.csv").rename(source)
    heard = Heard()
    run(one, source, out, heard)
    assert heard.notes == [f"{out}: goes on after row 4"]
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_part_is_closed_when_so_much_is_in_it(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_windows: None
) -> None:
    monkeypatch.setattr("loraloom.use.parts.SECONDS", 60.0)
    monkeypatch.setattr("loraloom.use.parts.BYTES", 150)  # of a header and windows of some 100
    source, out, closed = tmp_path / "in.csv", tmp_path / "out.csv", list[int]()
    source.write_text("text\n" + 16 * "the cat\n")

    class Counting(Heard):
        def done(self, rows: int, share: float | None) -> None:
            closed.append(len(list(parts_folder(out).glob("*.csv"))))

    run(one, source, out, Counting())
    assert closed == [0, 1, 1, 2]


def test_parts_are_longer_where_it_takes_long_to_see_that_the_input_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def looked() -> None:
        nonlocal now
        now += 2.0

    monkeypatch.setattr("loraloom.use.parts.time", SimpleNamespace(monotonic=lambda: now))
    out, numbers = tmp_path / "out.jsonl", list[int]()
    with locked(out):
        parts = Parts(out, output_of(out, Added(LABELS, ()), "in"), None, looked)
        for _ in range(20):
            now += 2.5
            parts.add(b"{}\n", Counts(1, 1))
            numbers.append(parts.number)
    assert numbers == [0, *[1] * 16, *[2] * 3]  # after 5 seconds, and then after 38


@pytest.mark.usefixtures("small_windows")
def test_what_is_no_row_may_come_and_go_in_a_folder_that_is_read(one: Ensemble, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.csv"
    (folder / "food").mkdir(parents=True)
    for number, text in enumerate(sentences(12)):
        (folder / "food" / f"{number:02d}.txt").write_text(text)

    def others() -> None:
        (folder / ".other.csv.parts").mkdir()
        (folder / "notes.md").write_text("mine")
        (folder / "food" / "notes.md").write_text("mine")

    run(one, folder, out, Changing(others))
    assert len(read_csv(out)) == 12


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("lost", [False, True])
def test_a_damaged_part_is_predicted_again(one: Ensemble, tmp_path: Path, *, lost: bool) -> None:
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    run(one, source, tmp_path / "whole.csv")
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(4))
    part = sorted(parts_folder(out).glob("*.csv"))[1]
    part.unlink() if lost else part.write_bytes(part.read_bytes().replace(b"0", b"1", 1))
    heard = Heard()
    run(one, source, out, heard)
    assert heard.notes == [f"{out}: goes on after row 4"]
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.usefixtures("small_windows")
def test_parts_behind_a_damaged_one_are_gone_with_it_since_those_made_anew_may_end_elsewhere(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    run(one, source, tmp_path / "whole.csv")
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(4))
    (parts_folder(out) / "00001.csv").unlink()
    monkeypatch.setattr("loraloom.use.parts.SECONDS", 60.0)
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(2))
    heard = Heard()
    run(one, source, out, heard)
    assert heard.notes == [f"{out}: goes on after row 12"]
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.usefixtures("small_windows")
def test_a_run_that_goes_on_with_bad_rows_treated_otherwise_takes_up_the_parts_before_the_first(
    one: Ensemble, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\n" + "\n".join([*sentences(5), " ", *sentences(10)]))
    run(one, source, tmp_path / "whole.csv", on_error="null")
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(3), on_error="skip")
    alike = Heard(1)
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, alike, on_error="skip")
    assert alike.notes[0] == f"{out}: goes on after row 12"
    heard = Heard()
    run(one, source, out, heard, on_error="null")
    assert heard.notes[0] == f"{out}: goes on after row 4"
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_an_output_is_written_by_one_process(one: Ensemble, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with locked(out):
        for _ in range(2):  # one that is refused leaves the other's folder and lock as they are
            with pytest.raises(RunError, match="another process is writing it"):
                run(one, write_rows(tmp_path / "in.csv"), out)
        assert parts_folder(out).is_dir()
    run(one, write_rows(tmp_path / "in.csv"), out)
    assert not parts_folder(out).exists()


def test_an_output_where_there_are_no_locks_is_refused_and_nothing_is_left(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    source = write_rows(tmp_path / "in.csv")
    monkeypatch.setattr("fcntl.flock", without)
    with pytest.raises(RunError, match=r"out\.csv: can't be locked \(Function not implemented\), so that two commands"):
        run(one, source, tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_where_there_is_no_room_for_parts_that_is_said(one: Ensemble, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    parts_folder(out).write_text("a file")
    with pytest.raises(RunError, match=r"out\.csv: can't be written: File exists$"):
        run(one, write_rows(tmp_path / "in.csv"), out)
    assert parts_folder(out).read_text() == "a file"


def test_a_signal_that_comes_while_a_window_is_added_loses_no_row_and_doubles_none(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the counting, which was after the rows were held: the part had rows that it did not count."""
    monkeypatch.setattr(windowing, "ROWS", 4)
    monkeypatch.setattr(predicting, "ROWS", 4)
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    run(one, source, tmp_path / "whole.csv")
    add, heard = Counts.__add__, itertools.count()

    def interrupted(own: Counts, other: Counts) -> Counts:
        if next(heard) == 2:
            raise KeyboardInterrupt
        return add(own, other)

    monkeypatch.setattr(Counts, "__add__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out)
    run(one, source, out)
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl"])
def test_half_a_pair_of_surrogates_ends_no_run(one: Ensemble, tmp_path: Path, kind: str) -> None:
    """A text cut within an emoji: such a row is a bad one, and whatever is written can be read."""
    source = tmp_path / "in.jsonl"
    lines = [("soup \\ud83d", "x"), ("a saw", "\\ud83d"), ("the cat", "y")]
    source.write_text("".join(f'{{"text": "{text}", "meta": {{"a": "{a}"}}}}\n' for text, a in lines))
    summary, _ = run(one, source, tmp_path / f"out.{kind}", on_error="null")
    assert (summary.counts.rows, summary.counts.bad) == (3, 1)
    if kind != "parquet":
        assert (tmp_path / f"out.{kind}").read_text(encoding="utf-8")


def test_columns_of_parquet_are_those_of_the_first_row_that_can_be_read(one: Ensemble, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "\n{"id": 2, "text": "soup"}\n')
    run(one, source, tmp_path / "out.parquet", on_error="null", text_column=("text",))
    rows = cast(Any, pq).read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["id"], row["prediction"] is None) for row in rows] == [(None, True), (2, False)]


def test_a_first_window_without_a_row_that_can_be_read_has_no_columns_for_parquet(
    one: Ensemble, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("broken\n")
    with pytest.raises(DataError, match="none of its first 1 rows can be read"):
        run(one, source, tmp_path / "out.parquet", on_error="null", text_column=("text",))


@pytest.mark.usefixtures("small_windows")
def test_nested_keys_that_parquet_would_lose_are_refused(one: Ensemble, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    metas = [*[[{"a": 1}]] * 5, [{"a": 1, "b": 2}]]
    source.write_text("".join(json.dumps({"text": "soup", "meta": meta}) + "\n" for meta in metas))
    with pytest.raises(DataError, match=r"row 6 has keys in 'meta' that the first rows have not; write \.jsonl"):
        run(one, source, tmp_path / "out.parquet")


def write_column(path: Path, *cells: Any) -> Path:
    path.write_text("".join(json.dumps({"text": "soup", "x": cell}) + "\n" for cell in cells))
    return path


@pytest.mark.parametrize(
    ("first", "other", "said"),
    [
        (3, 3.75, "3.75 in 'x', where the first rows have int64"),
        (0.5, True, "true in 'x', where the first rows have double"),
        (["a"], "abc", "\"abc\" in 'x', where the first rows have list<"),
        ({"a": 1}, [], "[] in 'x', where the first rows have struct<a: int64>"),
        ([{"a": [1]}], [{"a": [1, 2.5]}], "2.5 in 'x', where the first rows have int64"),
        ({"a": "b"}, {"a": ["c" * 99]}, '["' + "c" * 38 + "… in 'x', where the first rows have string"),
        (None, 5, "5 in 'x', where the first rows have string"),
    ],
)
@pytest.mark.usefixtures("small_windows")
def test_a_value_that_parquet_would_change_is_refused(
    one: Ensemble, tmp_path: Path, first: Any, other: Any, said: str
) -> None:
    source = write_column(tmp_path / "in.jsonl", first, first, first, first, other)
    with pytest.raises(DataError, match=r"row 5 has .*; write \.jsonl$") as caught:
        run(one, source, tmp_path / "out.parquet")
    assert said in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(("first", "other"), [(0.5, True), ([1.5], [True]), ({"a": 2.5}, {"a": True})])
def test_what_pyarrow_makes_alike_within_the_first_rows_is_refused_too(
    one: Ensemble, tmp_path: Path, first: Any, other: Any
) -> None:
    source = write_column(tmp_path / "in.jsonl", first, other)
    with pytest.raises(DataError, match=r"row 2 has true in 'x', where .*; write \.jsonl$"):
        run(one, source, tmp_path / "out.parquet")


def test_numbers_that_are_equal_fit_one_column_of_parquet(one: Ensemble, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "soup", "x": 3, "y": 0.5}\n{"text": "soup", "x": 4, "y": 2}\n{"text": "soup"}\n')
    run(one, source, tmp_path / "out.parquet")
    rows = cast(Any, pq).read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["x"], row["y"]) for row in rows] == [(3, 0.5), (4, 2.0), (None, None)]


@pytest.mark.parametrize("depth", [60, 300, 450])
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.usefixtures("small_windows")
def test_what_is_nested_more_deeply_than_parquet_is_read_is_refused(
    one: Ensemble, tmp_path: Path, depth: int, *, later: bool
) -> None:
    source = tmp_path / "in.jsonl"
    deep = f'{{"text": "soup", "x": {"[" * depth}{"]" * depth}}}\n'
    source.write_text('{"text": "soup", "x": [[1]]}\n' * 4 * later + deep)
    with pytest.raises(DataError, match=r"(nested too deeply|where the first rows have int64).*; write \.jsonl$"):
        run(one, source, tmp_path / "out.parquet")


def test_what_is_nested_too_deeply_to_be_written_as_csv_is_refused() -> None:
    """Python reads a line in a thread of few frames: what it can just read there it can't write."""
    deep: Any = float("nan")
    for _ in range(100_000):
        deep = [deep]
    rows = Predicted([Record(7, {"text": "soup", "x": deep})], ["food"], [1.0], np.ones((1, 3)), [])
    with pytest.raises(DataError, match=r"^in\.jsonl: row 7 is nested too deeply for a CSV; write \.jsonl$"):
        CsvOutput(Added(LABELS, ()), "in.jsonl", ",", "").render(rows)


@pytest.mark.parametrize("meta", [{}, {"a": {}}, [{}]])
def test_an_empty_object_is_no_column_of_parquet(one: Ensemble, tmp_path: Path, meta: Any) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"text": "soup", "meta": meta}) + "\n")
    with pytest.raises(DataError, match=r"'meta' has an empty object, .*; write \.jsonl$"):
        run(one, source, tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_row_that_is_bad_twice_is_written_too(one: Ensemble, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"text,note,more\nsoup,,\na saw,b\x00c,caf\xe9\n")
    _, printed = run(one, tmp_path / "in.csv", None, on_error="null")
    assert [json.loads(line)["prediction"] is None for line in printed.splitlines()] == [False, True]


@pytest.mark.parametrize("by_loom", [True, False])
def test_a_token_that_the_model_has_no_embedding_of_is_told(tmp_path: Path, *, by_loom: bool) -> None:
    """As where tokens were added to the tokenizer alone, and the training rows have none of them."""
    config: Any = (
        CONFIGS["bert"]() if by_loom else DebertaV2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    )
    config.vocab_size = 30  # where its tokenizer has 60
    model = save_model("bert", tmp_path / "model", config)
    adapter = save_random_adapter(tmp_path / "adapter", model, {"lora": {"target_modules": "all-linear"}})
    with pytest.raises(
        AdapterError, match=r"text 2 of 4 is one of which .* makes the token 'w30', which its model has"
    ):
        load(adapter).predict(["w29", "w3 w30 w31", "w5", "w40"])
    (tmp_path / "in.csv").write_text('text\nw29\nw3 w30\n"..."\nw5\n')
    _, printed = run(load_ensemble([adapter]), tmp_path / "in.csv", None, heard := Heard(), on_error="null")
    assert [json.loads(line)["prediction"] is None for line in printed.splitlines()] == [False, True, False, False]
    has = "row 2 (line 3) has a text of which the tokenizer makes the token 'w30', which its model has no embedding of"
    assert heard.notes == [f"{tmp_path / 'in.csv'}: {has}"]


BAD = b'id,text\n1,the cat\n2,\n3,a,b\n4,caf\xe9\n5,soup\n6,"x"y\n7,a saw\n'


def test_a_bad_row_ends_the_run_with_its_number(one: Ensemble, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(BAD)
    with pytest.raises(DataError, match=r"in\.csv: row 2 \(line 3\) has no text; --on_error skip or null"):
        run(one, tmp_path / "in.csv", tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("on_error", ["skip", "null"])
def test_bad_rows_are_told_and_left_out_or_left_empty(one: Ensemble, tmp_path: Path, on_error: str) -> None:
    (tmp_path / "in.csv").write_bytes(BAD)
    heard = Heard()
    summary, _ = run(one, tmp_path / "in.csv", tmp_path / "out.csv", heard, on_error=on_error)
    assert [note.split(": ", 1)[1][:6].rstrip(" ,") for note in heard.notes] == ["row 2", "row 3", "row 4", "row 6"]
    assert (summary.counts.rows, summary.counts.bad) == (7, 4)
    rows = read_csv(tmp_path / "out.csv")
    good = [row for row in rows if row["prediction"]]
    assert [row["id"] for row in good] == ["1", "5", "7"]
    assert [row["id"] for row in rows] == (
        ["1", "5", "7"] if on_error == "skip" else ["1", "2", "3", "4", "5", "", "7"]
    )
    assert all(row["confidence"] == "" for row in rows if not row["prediction"])


@pytest.mark.parametrize("on_error", ["skip", "null"])
def test_a_bad_file_of_a_folder_is_a_bad_row(one: Ensemble, tmp_path: Path, on_error: str) -> None:
    (tmp_path / "in" / "food").mkdir(parents=True)
    for name, content in {"1": b"soup", "2": b"a\0", "3": b"bread", "4": b"old \xe9"}.items():
        (tmp_path / "in" / "food" / f"{name}.txt").write_bytes(content)
    heard = Heard()
    summary, printed = run(one, tmp_path / "in", None, heard, on_error=on_error)
    assert (summary.counts.rows, summary.counts.bad) == (4, 2)
    assert "row 2 ('food/2.txt') has a NUL byte" in heard.notes[0]
    assert heard.notes[1].endswith("row 4 ('food/4.txt') has a byte 0xe9 at byte 4, which is not UTF-8")
    rows = [(row["file"], row["text"]) for row in map(json.loads, printed.splitlines())]
    good, bad = [("food/1.txt", "soup"), ("food/3.txt", "bread")], [("food/2.txt", None), ("food/4.txt", "old \ufffd")]
    assert rows == (good if on_error == "skip" else sorted(good + bad))


def test_bad_lines_of_json_are_null_in_their_place(one: Ensemble, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "\n{"id": 2, "text": 5}\n{"id": 3}\n{"id": 4, "text": "soup"}\n')
    heard = Heard()
    _, printed = run(one, source, None, heard, on_error="null", text_column=("text",))
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row.get("id") for row in rows] == [None, 2, 3, 4]
    assert [row["prediction"] is None for row in rows] == [True, True, True, False]
    assert [row["probabilities"] is None for row in rows] == [True, True, True, False]
    assert [note.split(": ", 1)[1].split(" ")[1].strip(",:") for note in heard.notes] == ["1", "2", "3"]


def test_a_first_row_without_a_text_is_a_bad_row_as_any_other_is(one: Ensemble, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": 1}\n{"id": 2, "text": "soup"}\n')
    _, printed = run(one, source, None, on_error="skip", text_column=("text",))
    assert [json.loads(line)["id"] for line in printed.splitlines()] == [2]
    with pytest.raises(DataError, match="has no column 'text'"):
        run(one, source, None, text_column=("text",))
    for out in ("out.csv", "out.parquet"):  # nor does it say which columns there are
        run(one, source, tmp_path / out, on_error="null", text_column=("text",))
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["id"], row["text"], bool(row["prediction"])) for row in rows] == [
        ("1", "", False),
        ("2", "soup", True),
    ]
    table: Any = cast(Any, pq).read_table(tmp_path / "out.parquet")
    assert table.column("text").to_pylist() == [None, "soup"]


@pytest.mark.usefixtures("small_windows")
def test_rows_before_a_broken_compression_stand_and_are_counted(one: Ensemble, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv.gz", tmp_path / "out.csv"
    packed = gzip.compress(write_rows(tmp_path / "in.csv", 3000).read_bytes())
    source.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"can't be decompressed .*; the [\d,]+ rows before it are kept"):
        run(one, source, out)
    assert not out.exists()
    with pytest.raises(DataError, match=r"can't be decompressed .*; [\d,]+ of the rows before it are in") as caught:
        run(one, source, out, on_error="skip")
    written = int(str(caught.value).split("; ")[1].split()[0].replace(",", ""))
    assert [row["id"] for row in read_csv(out)] == [f"{n:03d}" for n in range(written)]


def test_rows_before_a_broken_compression_that_were_printed_are_counted(one: Ensemble, tmp_path: Path) -> None:
    source, printed = tmp_path / "in.csv.gz", io.StringIO()
    packed = gzip.compress(write_rows(tmp_path / "in.csv", 3000).read_bytes())
    source.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(
        DataError, match=r"can't be decompressed .*; [\d,]+ of the rows before it are printed"
    ) as caught:
        predict_file(one, str(source), None, printed, Choices(on_error="null"))
    count = int(str(caught.value).split("; ")[1].split()[0].replace(",", ""))
    assert 0 < count == len(printed.getvalue().splitlines())


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("on_error", ["stop", "skip", "null"])
def test_a_text_whose_numbers_overflow_is_a_bad_row(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_error: str
) -> None:
    two, source, out = load_ensemble(folders[:2]), write_rows(tmp_path / "in.csv", 10), tmp_path / "out.csv"
    run(two, source, tmp_path / "whole.csv")
    whole, logits, windows = read_csv(tmp_path / "whole.csv"), Backbones.logits, itertools.count()

    def overflowing(self: Backbones, *given: Any) -> Any:
        found = logits(self, *given)
        if next(windows) == 1:
            found[1][2] = np.inf  # of one of the two
        return found

    monkeypatch.setattr(Backbones, "logits", overflowing)
    heard, said = Heard(), "row 7 (line 8) has a text of which an adapter gives logits that are not finite"
    if on_error == "stop":
        with pytest.raises(DataError, match=f"{re.escape(said)}; --on_error .*; the 4 rows before it are kept"):
            run(two, source, out, heard)
        run(two, source, out, heard, on_error="skip")  # its first window is the second one
        assert "goes on after row 4" in heard.notes[0]
        assert read_csv(out) == whole
        return
    run(two, source, out, heard, on_error=on_error)
    assert heard.notes == [f"{source}: {said}"]
    left = {**whole[6], **dict.fromkeys(("prediction", "confidence", "prediction_a", "prediction_b"), "")}
    assert read_csv(out) == [*whole[:6], *([left] if on_error == "null" else []), *whole[7:]]


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("on_error", ["skip", "null"])
def test_a_window_of_which_all_numbers_overflow_is_of_bad_rows_where_others_were_answered_before(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_error: str
) -> None:
    """As the last one of a file is, which may be of a single row; by a command that goes on, too."""
    source, out, logits = write_rows(tmp_path / "in.csv", 9), tmp_path / "out.csv", Backbones.logits

    def overflowing(self: Backbones, *given: Any) -> Any:
        found = logits(self, *given)
        return [np.inf * own for own in found] if len(found[0]) == 1 else found

    monkeypatch.setattr(Backbones, "logits", overflowing)
    printed = run(one, source, None, on_error=on_error)[1].splitlines()
    assert len(printed) == (8 if on_error == "skip" else 9)
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(2))
    heard = Heard()
    summary, _ = run(one, source, out, heard, on_error=on_error)
    assert "goes on after row 8" in heard.notes[0]
    assert (summary.counts.rows, summary.counts.bad, len(read_csv(out))) == (9, 1, len(printed))


def test_an_adapter_all_of_whose_numbers_overflow_is_a_bad_adapter(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = Backbones.logits
    monkeypatch.setattr(Backbones, "logits", lambda *given: [np.nan * own for own in logits(*given)])
    with pytest.raises(AdapterError, match="not finite; its weights can't be used"):
        run(one, write_rows(tmp_path / "in.csv", 3), tmp_path / "out.csv", on_error="skip")


def test_a_file_without_a_good_row_is_refused(one: Ensemble, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\n \n\t\n")
    with pytest.raises(DataError, match="none of its 2 rows can be predicted"):
        run(one, tmp_path / "in.csv", tmp_path / "out.csv", on_error="skip")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_what_a_csv_would_lose_is_refused(one: Ensemble, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "the cat"}\n{"text": "soup", "id": 2}\n')
    with pytest.raises(DataError, match=r"row 2 has 'id'.*write \.jsonl"):
        run(one, tmp_path / "in.jsonl", tmp_path / "out.csv")
    (tmp_path / "in.jsonl").write_text('{"text": "the cat"}\n{"text": "soup", "prediction": 2}\n')
    with pytest.raises(DataError, match="row 2: has a column 'prediction' already"):
        run(one, tmp_path / "in.jsonl", tmp_path / "out.jsonl")


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
@pytest.mark.parametrize("on_error", ["skip", "null"])
def test_a_column_that_would_stand_twice_is_refused_though_the_first_row_is_a_bad_one(
    one: Ensemble, tmp_path: Path, name: str, on_error: str
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": ""}\n{"text": "soup", "prediction": "x"}\n')
    with pytest.raises(DataError, match=r"in\.jsonl: has a column 'prediction' already"):
        run(one, tmp_path / "in.jsonl", tmp_path / name, on_error=on_error)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("name", ["out.xlsx", "out", "out.parquet.gz", "out.gz"])
def test_kinds_that_are_not_written_are_refused(one: Ensemble, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"predictions are written as \.csv"):
        run(one, write_rows(tmp_path / "in.csv"), tmp_path / name)


def test_an_ensemble_is_the_mean_of_probabilities_whatever_the_order_of_labels(
    folders: list[Path], tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "in.csv", 20)
    both = load_ensemble(folders[:2])
    run(both, source, tmp_path / "out.csv")
    rows = read_csv(tmp_path / "out.csv")
    assert list(rows[0])[3:] == ["prediction", "confidence", "prediction_a", "prediction_b"]
    alone = [load(folder) for folder in folders[:2]]
    first, second = (own.predict_proba(sentences(20)) for own in alone)
    mean = (first + second[:, ::-1]) / 2
    assert [float(row["confidence"]) for row in rows] == pytest.approx(mean.max(axis=1).tolist(), abs=1e-4)
    assert [row["prediction"] for row in rows] == [LABELS[best] for best in mean.argmax(axis=1)]
    for own, name in zip(alone, "ab", strict=True):
        assert [row[f"prediction_{name}"] for row in rows] == own.predict(sentences(20))
    assert len(both.encoded(["the cat"])) == 1


def test_adapters_that_cut_texts_otherwise_have_token_ids_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    lengths, texts = {"short": 4, "long": 16}, sentences(20)
    places = [
        save_random_adapter(tmp_path / name, tiny_model, {"data": {"max_length": most}}, labels=LABELS, seed=most)
        for name, most in lengths.items()
    ]
    both = load_ensemble(places)
    encoded = both.encoded(texts)
    assert len(encoded) == 2
    for found, place in zip(both.probabilities(encoded), places, strict=True):
        np.testing.assert_allclose(found, load(place).predict_proba(texts), atol=1e-5)


def test_adapters_of_texts_in_other_columns_have_the_column_named(tiny_model: Path, tmp_path: Path) -> None:
    places = [
        save_random_adapter(
            tmp_path / name, tiny_model, {"data": {"text_column": [name], "max_length": 16}}, labels=LABELS, seed=seed
        )
        for seed, name in enumerate(("body", "text"))
    ]
    both, source = load_ensemble(places), write_rows(tmp_path / "in.csv", 3)
    with pytest.raises(AdapterError, match="trained on different columns; name the text's by --text_column"):
        run(both, source, None)
    assert len(run(both, source, None, text_column="text")[1].splitlines()) == 3


def test_adapters_with_other_labels_have_no_mean(folders: list[Path]) -> None:
    with pytest.raises(AdapterError, match="predict by each alone"):
        load_ensemble([folders[0], folders[2]])


def test_an_adapter_is_no_ensemble_with_a_copy_of_itself(folders: list[Path], tmp_path: Path) -> None:
    copied = shutil.copytree(folders[0], tmp_path / "best")
    for own in (copied, folders[0]):
        with pytest.raises(AdapterError, match=f"{own}: is the same adapter as .*/a; an ensemble is of different ones"):
            load_ensemble([*folders[:2], own])


def test_columns_are_named_by_as_much_of_a_path_as_tells_it_apart() -> None:
    assert column_names([Path("/runs/x"), Path("/runs/y")]) == ["x", "y"]
    assert column_names([Path("/runs/x/best"), Path("/runs/y/best")]) == ["x_best", "y_best"]
    assert column_names([Path("/")]) == [""]  # which is then found to be no adapter


def test_a_link_to_itself_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(AdapterError, match="a: no such folder"):
        load_ensemble([tmp_path / "a"])


def test_a_prediction_below_the_confidence_is_left_empty(one: Ensemble, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.csv", 20)
    run(one, source, tmp_path / "all.csv")
    every = [float(row["confidence"]) for row in read_csv(tmp_path / "all.csv")]
    least = float(np.median(every))
    summary, _ = run(one, source, tmp_path / "sure.csv", min_confidence=least)
    rows = read_csv(tmp_path / "sure.csv")
    assert [float(row["confidence"]) for row in rows] == every
    assert [row["prediction"] == "" for row in rows] == [sure < least for sure in every]
    assert summary.counts.abstained == sum(sure < least for sure in every) > 0


@pytest.mark.parametrize("text", ["", " ", "\0"])
def test_what_is_no_text_is_refused_before_a_model_is_loaded(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="--text"):
        cli.app(["predict", str(tmp_path / "nothing"), "--text", "a cat", "--text", text], standalone_mode=False)


@pytest.mark.parametrize(
    ("source", "out", "says"),
    [
        ("none.csv", "out.csv", "there is no such file or folder"),
        ("rows.json", "out.csv", "a list in JSON is not read"),
        ("rows.csv", "no/out.csv", "there is no such folder to write into"),
        ("rows.csv", "out.txt", "predictions are written as .csv"),
        ("rows.csv", "rows.csv", "rows.csv"),
        ("-", "out.parquet.gz", "predictions are written as .csv"),
    ],
)
def test_what_can_not_be_read_or_written_is_refused_before_a_model_is_loaded(
    tmp_path: Path, source: str, out: str, says: str
) -> None:
    for name in ("rows.csv", "rows.json"):
        write_rows(tmp_path / name, 1)
    given = source if source == "-" else str(tmp_path / source)
    arguments = ["predict", str(tmp_path / "nothing"), "--file", given, "--out", str(tmp_path / out)]
    with pytest.raises(LoraloomError, match=re.escape(says)):
        cli.app(arguments, standalone_mode=False)


def packed_rows(kind: str) -> tuple[bytes, bytes]:
    """Two rows of JSONL, the first of which can be decompressed before the second is there."""
    zstandard: Any = pytest.importorskip("zstandard") if "zstd" in kind else None
    rows = b'{"text": "the cat"}\n', b'{"text": "soup"}\n'
    if kind in ("gzip", "zstd"):  # of one stream
        packer: Any = zlib.compressobj(wbits=31) if kind == "gzip" else zstandard.ZstdCompressor().compressobj()
        flush = zlib.Z_SYNC_FLUSH if kind == "gzip" else zstandard.COMPRESSOBJ_FLUSH_BLOCK
        first = packer.compress(rows[0]) + packer.flush(flush)
        return first, packer.compress(rows[1]) + packer.flush()
    packs: dict[str, Any] = {
        "plain": bytes,
        "bz2 parts": bz2.compress,
        "gzip parts": gzip.compress,
        "xz parts": lzma.compress,
        "zstd parts": getattr(zstandard, "compress", None),
    }
    return packs[kind](rows[0]), packs[kind](rows[1])


@pytest.mark.parametrize("kind", ["plain", "gzip", "zstd", "gzip parts", "bz2 parts", "xz parts", "zstd parts"])
def test_standard_input_is_answered_before_it_ends(one: Ensemble, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The second row is written once the answer to the first was read: by waiting for the whole, neither would come."""
    first, second = packed_rows(kind)
    taking, giving = os.pipe()
    answers: list[str] = []

    class Answered(io.StringIO):
        def write(self, text: str) -> int:
            answers.extend(text.splitlines())
            if len(answers) == 1:
                for place in range(len(second)):  # byte by byte, as a slow line has it
                    os.write(giving, second[place : place + 1])
                    time.sleep(0.001)
                os.close(giving)
            return len(text)

    os.write(giving, first)
    with os.fdopen(taking, "r") as standard:
        monkeypatch.setattr(sys, "stdin", standard)
        predict_file(one, "-", None, Answered())
    assert [json.loads(answer)["text"] for answer in answers] == ["the cat", "soup"]


def test_standard_input_to_a_file_is_whole_or_not_at_all(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_rows(tmp_path / "in.csv", 10).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with pytest.raises(KeyboardInterrupt):
        run(one, "-", tmp_path / "out.csv", Heard(1))
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    run(one, "-", tmp_path / "out.csv")
    assert [row["id"] for row in read_csv(tmp_path / "out.csv")] == [f"{n:03d}" for n in range(10)]


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize(("number", "code", "why"), [(signal.SIGTERM, 75, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")])
def test_a_signal_ends_the_command_with_the_one_that_goes_on(
    folders: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
    why: str,
) -> None:
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    arguments = ["predict", str(folders[0]), "--file", str(source), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/loraloom", *arguments])
    windows = itertools.count(1)

    def done(self: Any, rows: int, share: float | None) -> None:
        if next(windows) == 3:
            signal.raise_signal(number)

    monkeypatch.setattr("loraloom.terminal.progress.RowsProgress.done", done)
    assert cli.run() == code
    said = capsys.readouterr().err
    assert (
        said
        == f"loraloom: stopped by {why}; 12 rows are predicted and kept. Go on with: loraloom {' '.join(arguments)}\n"
    )
    assert cli.run() == 0
    assert "goes on after row 12" in capsys.readouterr().err
    assert len(read_csv(out)) == 30


@pytest.mark.usefixtures("small_windows")
def test_a_signal_that_comes_before_kept_rows_are_known_to_be_this_commands_promises_none(
    one: Ensemble,
    folders: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(3))
    kept = sorted(parts_folder(out).iterdir())
    arguments = ["predict", str(folders[1]), "--file", str(source), "--out", str(out)]  # by another adapter
    monkeypatch.setattr(sys, "argv", ["loraloom", *arguments])
    monkeypatch.setattr(predicting, "fingerprint", lambda _: signal.raise_signal(signal.SIGINT))
    assert cli.run() == 130
    assert capsys.readouterr().err == "loraloom: stopped by Ctrl-C\n"
    assert sorted(parts_folder(out).iterdir()) == kept


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("piped", [False, True])
def test_a_signal_ends_what_can_be_read_once_with_what_becomes_of_it(
    folders: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    piped: bool,
) -> None:
    rows, out, pipe = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv", tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rows.read_bytes())))
    source = str(pipe) if piped else "-"
    monkeypatch.setattr(sys, "argv", ["loraloom", "predict", str(folders[0]), "--file", source, "--out", str(out)])

    def done(self: Any, rows: int, share: float | None) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("loraloom.terminal.progress.RowsProgress.done", done)
    if piped:
        threading.Thread(target=lambda: pipe.write_bytes(rows.read_bytes())).start()
    assert cli.run() == 75
    given = f"{pipe}, which can be read once," if piped else "standard input"
    assert capsys.readouterr().err == (
        f"loraloom: stopped by SIGTERM; {out} is not written: {given} can't be gone on with, as a file can\n"
    )
    assert not out.exists()


@pytest.mark.parametrize("kept", [False, True])
def test_no_bar_is_drawn_among_rows_that_are_printed_on_a_terminal(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    rows, errors = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", rows)
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("loraloom.terminal.progress.LONG_SECONDS", -1.0)
    run_prediction(one, str(write_rows(tmp_path / "in.csv")), tmp_path / "out.csv" if kept else None, Choices())
    assert ("predicting" in errors.getvalue()) is kept
    assert len(rows.getvalue().splitlines()) == (0 if kept else 30)


_KILLED = """import os, signal, sys
from loraloom import cli
from loraloom.terminal.progress import RowsProgress
from loraloom.use import parts, predict, windows
windows.ROWS = predict.ROWS = 4
parts.SECONDS = 0.0
def done(self, rows, share):
    if rows == 12 or rows == 20 and "again" in sys.argv[0]:
        os.kill(os.getpid(), signal.SIGKILL)
RowsProgress.done = done
cli.main()
"""


@pytest.mark.usefixtures("small_windows")
def test_a_command_that_was_killed_goes_on_to_the_same_bytes(
    commands: Commands, folders: list[Path], one: Ensemble, tmp_path: Path
) -> None:
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv.gz"
    run(one, source, tmp_path / "whole.csv.gz")
    arguments = ["predict", str(folders[0]), "--file", str(source), "--out", str(out)]
    for name in ("first", "again"):
        ended = commands.start(*arguments, code=f"import sys; sys.argv[0] = {name!r}\n{_KILLED}").wait()
        assert ended.code == -signal.SIGKILL, ended.err
        assert not out.exists()
    heard = Heard()
    run(one, source, out, heard)
    assert heard.notes == [f"{out}: goes on after row 20"]
    assert out.read_bytes() == (tmp_path / "whole.csv.gz").read_bytes()


def test_windows_end_also_by_characters(monkeypatch: pytest.MonkeyPatch, one: Ensemble, tmp_path: Path) -> None:
    monkeypatch.setattr(windowing, "CHARACTERS", 100)
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": "cat " * 30}) + "\n" for _ in range(5)))
    heard = Heard()
    run(one, source, None, heard)
    assert heard.windows == 5
