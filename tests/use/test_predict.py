"""Files through an adapter: every row in its place with its own values, whatever the file is."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import shutil
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loraloom import cli
from loraloom.cli.adapters import run_prediction
from loraloom.errors import DataError, LoraloomError, OptionError
from loraloom.use import windows as windowing
from loraloom.use.answers import Choices
from loraloom.use.backbones import Backbones
from loraloom.use.ensemble import Ensemble
from loraloom.use.predict import predict_file
from loraloom.wording import unobeyed
from tests.use.predicted_files import Heard, read_csv, run, sentences, write_rows
from website.executed import fenced


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


def test_that_a_file_was_replaced_is_told(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out.csv")]
    arguments = ["predict", str(folders[0]), "--file", str(write_rows(tmp_path / "in.csv")), *out]
    monkeypatch.setattr("sys.argv", ["loraloom", *arguments])
    told = [(cli.run(), "in place of a file that was there" in capsys.readouterr().err) for _ in "12"]
    assert told == [(0, False), (0, True)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_pipe_is_read_once_and_nothing_of_it_is_promised(one: Ensemble, tmp_path: Path, kind: str) -> None:
    pipe, rows = tmp_path / f"in.{kind}", tmp_path / f"rows.{kind}"
    if kind == "csv":
        write_rows(rows)
    else:  # which is read from its end
        cast(Any, pq).write_table(cast(Any, pa).table({"text": sentences(30)}), rows)
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(rows.read_bytes(),), daemon=True)
    writer.start()
    summary, _ = run(one, pipe, tmp_path / "out.csv")
    writer.join()
    assert summary.counts.rows == len(read_csv(tmp_path / "out.csv")) == 30


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


@pytest.mark.usefixtures("small_windows")
def test_a_file_that_is_separated_by_semicolons_is_answered_in_commas_and_that_is_said_once(
    one: Ensemble, tmp_path: Path
) -> None:
    texts = "".join(f'"{n};{n}";{text}, yes\n' for n, text in enumerate(sentences(10)))
    (tmp_path / "in.csv").write_text(f"id;text\n{texts}")
    heard = Heard()
    run(one, tmp_path / "in.csv", tmp_path / "out.csv", heard)
    assert heard.notes == [f"{tmp_path}/in.csv: its cells are separated by ';'"]
    rows = read_csv(tmp_path / "out.csv")
    assert [(row["id"], row["text"]) for row in rows] == [
        (f"{n};{n}", f"{text}, yes") for n, text in enumerate(sentences(10))
    ]
    assert all(row["prediction"] for row in rows)


def test_what_is_printed_holds_on_a_terminal_nothing_that_it_obeys(one: Ensemble, tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    source, shown = tmp_path / "in.jsonl", Terminal()
    source.write_text('{"text": "a caf\u00e9", "by": "\x9b31m\u202e"}\n', encoding="utf-8")
    _, printed = run(one, source, None)
    predict_file(one, source, None, shown)
    assert "\x9b31m\u202e" in printed
    assert unobeyed(shown.getvalue()) == shown.getvalue()
    assert "caf\u00e9" in shown.getvalue()
    assert json.loads(shown.getvalue()) == json.loads(printed)


def test_a_file_in_the_home_folder_may_be_named_from_there(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_rows(tmp_path / "in.csv")
    run(one, "~/in.csv", "~/out.csv")
    assert len(read_csv(tmp_path / "out.csv")) == 30
    with pytest.raises(DataError, match="is a file that is read"):
        run(one, "~/in.csv", tmp_path / "in.csv")


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


def test_a_prediction_of_just_the_confidence_is_given(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sure(_: Backbones, __: Any, encoded: Any) -> list[Any]:
        return [np.tile(np.array([900, 0, 0], np.float32), (len(rows), 1)) for rows in encoded]

    monkeypatch.setattr(Backbones, "logits", sure)
    summary, _ = run(one, write_rows(tmp_path / "in.csv", 3), None, min_confidence=1.0)
    assert summary.counts.abstained == 0


@pytest.mark.parametrize("text", ["", " ", "\0"])
def test_what_is_no_text_is_refused_before_a_model_is_loaded(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="--text"):
        cli.app(["predict", str(tmp_path / "nothing"), "--text", "a cat", "--text", text], standalone_mode=False)


def test_of_a_long_text_that_is_none_the_beginning_is_shown(tmp_path: Path) -> None:
    """A text that a shell took from a file in another encoding: its byte is far behind."""
    with pytest.raises(DataError, match=r"^--text 'words words .*…': has U\+DCE9 at character 60000, which is") as told:
        cli.app(["predict", str(tmp_path), "--text", 10_000 * "words " + "\udce9"], standalone_mode=False)
    assert len(str(told.value)) < 250


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


def test_windows_end_also_by_characters(monkeypatch: pytest.MonkeyPatch, one: Ensemble, tmp_path: Path) -> None:
    monkeypatch.setattr(windowing, "CHARACTERS", 100)
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": "cat " * 30}) + "\n" for _ in range(5)))
    heard = Heard()
    run(one, source, None, heard)
    assert heard.windows == 5
