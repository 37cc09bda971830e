"""Bad rows of files that are predicted: told by their numbers, left out or left empty."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import DebertaV2Config

from bench.random_adapters import save_random_adapter
from loraloom.errors import AdapterError, DataError
from loraloom.use.answers import Choices
from loraloom.use.backbones import Backbones, load
from loraloom.use.ensemble import Ensemble, load_ensemble
from loraloom.use.predict import predict_file
from tests.numerics.architectures import CONFIGS, save_model
from tests.use.predicted_files import Heard, read_csv, run, write_rows


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
