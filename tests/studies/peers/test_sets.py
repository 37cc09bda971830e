"""The study's text sets: files are taken by their SHA-256 or not at all, and readers give what stands in them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from loraloom.errors import DataError
from study import public_files, sets
from study.agnews_files import AGNEWS, agnews_rows
from study.public_files import PublicFile, local_copy
from study.sets import few, held_out_of, load, read_clinc, read_csv, read_lines, read_numbered, read_tabbed, read_trec

CONTENT = b"DESC:manner How did serfdom develop ?\n"
FILE = PublicFile("owner/name", "0" * 40, "data/train", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise AssertionError("a file that is there was fetched")

    monkeypatch.setattr(public_files, "_fetched", refuse)


def written(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_text(content, encoding=encoding, newline="")
    return path


@pytest.mark.usefixtures("no_network")
def test_a_file_that_is_in_the_folder_is_not_fetched(tmp_path: Path) -> None:
    place = FILE.place(tmp_path)
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert local_copy(FILE, tmp_path) == place


@pytest.mark.usefixtures("no_network")
def test_a_file_with_other_bytes_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    place = FILE.place(tmp_path)
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT + b" ")
    with pytest.raises(DataError, match=r"data/train: has SHA-256 .* remove it"):
        local_copy(FILE, tmp_path)
    assert place.read_bytes() == CONTENT + b" "


def test_a_fetched_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_files, "_fetched", lambda *_: CONTENT)
    assert local_copy(FILE, tmp_path).read_bytes() == CONTENT


def test_a_fetched_file_with_other_bytes_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_files, "_fetched", lambda *_: b"a page that says no")
    with pytest.raises(DataError, match="it is not the set's file"):
        local_copy(FILE, tmp_path)
    assert not FILE.place(tmp_path).exists()


def test_what_cant_be_fetched_is_said_with_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PublicFile, "address", "http://127.0.0.1:9/none")  # nobody listens on the discard port
    with pytest.raises(DataError, match=f"can't be fetched .*put the file at {FILE.place(tmp_path)}"):
        local_copy(FILE, tmp_path)


def test_trec_is_read_in_latin_1_by_its_coarse_classes(tmp_path: Path) -> None:
    path = written(tmp_path / "t", "DESC:def What is caf\u00e9 : au lait ?\nNUM:dist How far ?\n", "latin-1")
    assert read_trec(path) == [("What is caf\u00e9 : au lait ?", "DESC"), ("How far ?", "NUM")]


def test_a_number_that_is_no_class_is_refused(tmp_path: Path) -> None:
    assert read_numbered(written(tmp_path / "t", "1 good .\n0 bad .\n"), ("bad", "good")) == [
        ("good .", "good"),
        ("bad .", "bad"),
    ]
    with pytest.raises(DataError, match="0 to 1"):
        read_numbered(written(tmp_path / "t", "2 fine .\n"), ("bad", "good"))


def test_a_line_without_a_tab_is_refused(tmp_path: Path) -> None:
    assert read_tabbed(written(tmp_path / "t", "earn\tnet up \n")) == [("net up", "earn")]
    with pytest.raises(DataError, match="no tab"):
        read_tabbed(written(tmp_path / "t", "earn net up\n"))


def test_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    assert read_lines(written(tmp_path / "t", "a\u2028b\x85c\n\nd\n")) == ["a\u2028b\x85c", "d"]


def test_columns_are_read_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", 'category,text\ncard,"where, please?"\n')
    assert read_csv(path, "text", "category") == [("where, please?", "card")]
    with pytest.raises(DataError, match="no column 'label'"):
        read_csv(path, "text", "label")


def test_rows_out_of_scope_are_not_in_clinc(tmp_path: Path) -> None:
    content = {"train": [["a", "x"]], "test": [["b", "x"]], "val": [["c", "x"]], "oos_test": [["d", "oos"]]}
    assert read_clinc(written(tmp_path / "t", json.dumps(content))) == ([("a", "x")], [("b", "x")])


def test_a_drawn_split_has_every_row_once_and_is_the_same_each_time() -> None:
    pairs = [(f"text {number}", "ab"[number % 2]) for number in range(50)]
    train, test = held_out_of(pairs, 0.4)
    assert sorted(train + test) == sorted(pairs)
    assert len(test) == 20
    assert held_out_of(pairs, 0.4) == (train, test)


def test_few_rows_are_as_many_of_each_class_and_none_of_the_test() -> None:
    pairs = [(f"text {number}", "ab"[number % 5 == 0]) for number in range(100)]
    train, test = few(pairs, 4, 30)
    assert sorted(label for _, label in train) == ["a"] * 4 + ["b"] * 4
    assert len(test) == 30
    assert not {*train} & {*test}


def test_training_rows_that_are_in_the_test_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    train = [(f"a question of kind {number}", "xy"[number % 2]) for number in range(20)]
    test = [("A Question of kind 3!", "y"), ("something else", "x")]
    made = sets.TextSet("made", "kind", "about", "none", "official", lambda _: (train, test))
    monkeypatch.setitem(sets.SETS, "made", made)
    rows = load("made")
    assert (len(rows.train), rows.dropped) == (19, 1)
    assert rows.tests["test"].texts == ("A Question of kind 3!", "something else")
    part = load("made", 6).train
    assert len(part) == 6
    assert np.bincount(part.labels).tolist() == [3, 3]


def test_a_class_that_training_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = sets.TextSet("made", "kind", "about", "none", "official", lambda _: ([("a", "x"), ("b", "y")], [("c", "z")]))
    monkeypatch.setitem(sets.SETS, "made", made)
    with pytest.raises(DataError, match="made, test: has the class 'z'"):
        load("made")


def test_an_unknown_set_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(DataError, match="no set of the study; they are agnews, trec"):
        load("agnew")


def test_other_files_of_ag_news_are_taken_and_the_other_source_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(AGNEWS, str(tmp_path))
    written(tmp_path / "train.csv", "label,text\nx,a first\ny,the second\n")
    written(tmp_path / "test.csv", "text,label\nsomething else,x\n")
    assert list(load("agnews").tests) == ["test"]
    written(tmp_path / "robust.csv", "text,label\nof a third kind,y\n")
    assert list(load("agnews").tests) == ["test", "robust"]


def test_rows_of_ag_news_are_read_by_and_by_and_a_file_without_their_columns_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "test.csv", "label,text\nx,a first\n")
    rows = agnews_rows("test.csv", tmp_path)
    assert (next(rows), list(rows)) == (("a first", "x"), [])
    written(tmp_path / "train.csv", "text,class\na first,x\n")
    with pytest.raises(DataError, match=r"train\.csv: has no column 'label'"):
        next(agnews_rows("train.csv", tmp_path))
    with pytest.raises(DataError, match=r"robust\.csv: is missing"):
        next(agnews_rows("robust.csv", tmp_path))


def test_every_file_is_named_by_a_whole_commit_and_digest_and_one_set_is_held_out() -> None:
    files = [file for each in sets.SETS.values() for file in each.files]
    assert all(len(file.commit) == 40 and len(file.sha256) == 64 for file in files)
    assert len({file.sha256 for file in files}) == len(files)
    assert [each.name for each in sets.SETS.values() if each.held_out] == ["clinc150"]
