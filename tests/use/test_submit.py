"""A submission is what the contest's template asks for, or it is not written."""

from __future__ import annotations

import csv
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets as untyped
import pandas as pd
import pytest

import loraloom
from loraloom.data import telling
from loraloom.errors import DataError, OptionError
from loraloom.report.wording import LEVEL
from loraloom.study.durable import write_manifest
from loraloom.study.record import read_record, write_record
from loraloom.use import submit as submitting
from loraloom.use.submission import (
    Submission,
    cell_text,
    constant_labels,
    problems_of,
    read_submission,
    read_template,
)
from loraloom.use.written_labels import written_labels
from tests.conftest import make_rows, write_csv
from tests.use.hub_server import hub_server, speak_to

datasets: Any = untyped
TEXTS = [text for text, _ in make_rows(60, seed=21)]
NAMES = ("World", "Sports", "Business", "Sci/Tech")
FROM_0, FROM_1 = ("0", "1", "2", "3"), ("1", "2", "3", "4")


def write(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def template_of(labels: Sequence[str | None]) -> Submission:
    return Submission("T", ("ID", "Label"), "ID", tuple(map(str, range(len(labels)))), tuple(labels))


@pytest.fixture(scope="module")
def best(taught: Path) -> Path:
    return taught


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_rows_without_ids_are_numbered_from_0_and_labelled_in_order(best: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test.csv", ["text"], [[text] for text in TEXTS])
    result = submitting.submit(best, test, tmp_path / "submission.csv")
    rows = read(tmp_path / "submission.csv")
    assert rows[0] == ["ID", "Label"]
    expected = loraloom.load(best).predict(TEXTS)
    assert rows[1:] == [[str(n), label] for n, label in enumerate(expected)]
    assert "row numbers from 0" in result.notes[0]
    assert sum(one.rows for one in result.classes) == len(TEXTS)
    assert all(one.training_share is not None for one in result.classes)
    assert "training's" in result.verdict


def test_files_in_the_home_folder_may_be_named_from_there(
    best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "test.csv", ["id", "text"], [*enumerate(TEXTS)])
    submitting.submit(best, "~/test.csv", "~/first.csv")
    submitting.submit(best, "~/test.csv", "~/second.csv", template="~/first.csv")
    assert submitting.check("~/second.csv", "~/first.csv", adapter=best).rows == len(TEXTS)
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()
    with pytest.raises(DataError, match="is a file that is read"):
        submitting.submit(best, "~/test.csv", "~/first.csv", template="~/first.csv")


def test_the_column_of_the_text_may_be_named_alone(best: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test.csv", ["id", "said"], [*enumerate(TEXTS)])
    found = [submitting.submit(best, test, tmp_path / "s.csv", text_column=own).classes for own in ("said", ["said"])]
    assert found[0] == found[1]


def test_how_far_it_is_is_told_from_the_reading_on(best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test, heard = write(tmp_path / "test.csv", ["text"], [[text] for text in TEXTS]), list[str]()
    monkeypatch.setattr(telling, "SECONDS", 0.0)
    submitting.submit(best, test, tmp_path / "s.csv", note=heard.append)
    for said in (f"reading {test}: 60 rows", "tokenising: 0 of 60 rows", "predicting: 60 of 60 rows"):
        assert f"{said} so far" in heard


def test_the_template_gives_columns_ids_and_order(best: Path, tmp_path: Path) -> None:
    ids = [f"=id-{n}" for n in range(len(TEXTS))]  # cells are left as they are
    test = write(tmp_path / "test.csv", ["note", "key", "text"], [["x", i, t] for i, t in zip(ids, TEXTS, strict=True)])
    template = write(tmp_path / "sample.csv", ["category", "key"], [["food", one] for one in reversed(ids)])
    write(tmp_path / "other.csv", ["id", "category"], [[one, "food"] for one in ids])
    with pytest.raises(DataError, match="no row numbers; name the column by --id_column"):
        submitting.submit(best, test, tmp_path / "s.csv", template=tmp_path / "other.csv")
    template.write_text(template.read_text().replace("category,key", "category,id"))
    submitting.submit(best, test, tmp_path / "s.csv", template=template, id_column="key")
    rows = read(tmp_path / "s.csv")
    assert rows[0] == ["category", "id"]
    expected = dict(zip(ids, loraloom.load(best).predict(TEXTS), strict=True))
    assert rows[1:] == [[expected[one], one] for one in reversed(ids)]
    assert submitting.check(tmp_path / "s.csv", template, adapter=best).rows == len(TEXTS)


@pytest.mark.filterwarnings("ignore:the backbone of this adapter is a folder of this machine")
def test_the_adapter_may_be_a_name_on_the_hub(best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = write(tmp_path / "test.csv", ["text"], [[text] for text in TEXTS])
    written = tmp_path / "submission.csv"
    with hub_server() as hub:
        speak_to(hub, monkeypatch, tmp_path)
        loraloom.load(best).push_to_hub("someone/words")
        submitting.submit("someone/words", test, written)
        assert [row[1] for row in read(written)[1:]] == loraloom.load(best).predict(TEXTS)
        assert submitting.check(written, written, adapter="someone/words").rows == len(TEXTS)


def test_a_dataset_saved_to_disk_and_parquet_give_what_csv_gives(best: Path, tmp_path: Path) -> None:
    saved = datasets.Dataset.from_dict({"text": TEXTS})
    saved.save_to_disk(tmp_path / "saved")
    saved.to_parquet(tmp_path / "test.parquet")
    write(tmp_path / "test.csv", ["text"], [[text] for text in TEXTS])
    for name in ("saved", "test.parquet", "test.csv"):
        submitting.submit(best, tmp_path / name, tmp_path / f"{name}.out.csv")
    assert len({(tmp_path / f"{name}.out.csv").read_bytes() for name in ("saved", "test.parquet", "test.csv")}) == 1


@pytest.mark.parametrize("what", ["datasets", "pandas"])
def test_a_pickle_is_refused_and_the_line_that_is_shown_converts_it(best: Path, tmp_path: Path, what: str) -> None:
    rows = datasets.Dataset.from_dict({"text": TEXTS})
    file = tmp_path / "it's test_unlabelled.pkl"
    file.write_bytes(pickle.dumps(rows if what == "datasets" else rows.to_pandas()))
    with pytest.raises(DataError, match="can run code when it is read") as error:
        submitting.submit(best, file, tmp_path / "s.csv")
    line = str(error.value).partition("python -c ")[2]
    subprocess.run(["bash", "-c", f"{sys.executable} -c {line}"], check=True)  # noqa: S607
    assert submitting.submit(best, f"{file}.parquet", tmp_path / "s.csv").rows == len(TEXTS)


def test_ids_that_are_doubled_or_missing_are_refused(best: Path, tmp_path: Path) -> None:
    rows = [["1", TEXTS[0]], ["1", TEXTS[1]], ["", TEXTS[2]]]
    test = write(tmp_path / "test.csv", ["id", "text"], rows)
    with pytest.raises(DataError, match=r"no id in row 3\n.* more than once: '1'"):
        submitting.submit(best, test, tmp_path / "s.csv")
    two = write(tmp_path / "two.csv", ["id", "index", "text"], [[n, n, t] for n, t in enumerate(TEXTS)])
    with pytest.raises(DataError, match="could each hold the ids"):
        submitting.submit(best, two, tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize("ids", [[b"a", b"b"], [{"$oid": "a"}, {"$oid": "b"}]])
def test_ids_that_would_be_written_as_python_has_them_are_refused(best: Path, tmp_path: Path, ids: list[Any]) -> None:
    datasets.Dataset.from_dict({"id": ids, "text": TEXTS[:2]}).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"column 'id' holds (bytes \(b'a'\)|a mapping .*), which no contest takes"):
        submitting.submit(best, tmp_path / "test.parquet", tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()


def test_a_count_or_ids_other_than_the_templates_are_refused(best: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test.csv", ["id", "text"], [[n, t] for n, t in enumerate(TEXTS)])
    short = write(tmp_path / "short.csv", ["id", "label"], [[n, "food"] for n in range(len(TEXTS) - 1)])
    with pytest.raises(DataError, match=r"has 60 rows, .* 59"):
        submitting.submit(best, test, tmp_path / "s.csv", template=short)
    moved = write(tmp_path / "moved.csv", ["id", "label"], [[n + 1, "food"] for n in range(len(TEXTS))])
    with pytest.raises(DataError, match=r"1 id that .* has not: '0'\n.*lacks 1 id of .*: '60'"):
        submitting.submit(best, test, tmp_path / "s.csv", template=moved)


def test_row_numbers_count_as_the_templates_do(best: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test.csv", ["text"], [[text] for text in TEXTS])
    sample = write(tmp_path / "t.csv", ["id", "label"], [[n + 1, "food"] for n in range(len(TEXTS))])
    assert "from 1" in submitting.submit(best, test, tmp_path / "s.csv", template=sample).notes[0]
    assert read(tmp_path / "s.csv")[1][0] == "1"


@pytest.mark.parametrize("head", ["__index_level_0__", "article_id", "", "Unnamed: 0"])
@pytest.mark.parametrize("first", [0, 1])
def test_rows_that_a_column_numbers_in_another_order_are_not_numbered_as_they_stand(
    best: Path, tmp_path: Path, head: str, first: int
) -> None:
    order = [*range(10, len(TEXTS)), *range(10)]
    test = write(tmp_path / "test.csv", [head, "text"], [[first + n, TEXTS[n]] for n in order])
    template = write(tmp_path / "sample.csv", ["ID", "Label"], [[first + n, "food"] for n in range(len(TEXTS))])
    for asked in (template, None):
        with pytest.raises(DataError, match=rf"column '{head}' numbers them in another order; .* by --id_column"):
            submitting.submit(best, test, tmp_path / "s.csv", template=asked)
    assert not (tmp_path / "s.csv").exists()
    submitting.submit(best, test, tmp_path / "s.csv", template=template, id_column=head)
    labels = loraloom.load(best).predict(TEXTS)
    assert read(tmp_path / "s.csv")[1:] == [[str(first + n), label] for n, label in enumerate(labels)]


def test_the_index_of_a_shuffled_frame_is_not_passed_over(best: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": TEXTS}).sample(frac=1, random_state=0)
    frame.to_parquet(tmp_path / "test.parquet")
    frame.to_csv(tmp_path / "test.csv")
    for name in ("test.parquet", "test.csv"):
        with pytest.raises(DataError, match="numbers them in another order"):
            submitting.submit(best, tmp_path / name, tmp_path / "s.csv")


def test_an_index_that_numbers_no_rows_is_asked_about_where_no_template_says_that_ids_do(
    best: Path, tmp_path: Path
) -> None:
    pd.DataFrame({"text": TEXTS}, index=[7 * n for n in range(len(TEXTS))]).to_csv(tmp_path / "test.csv")
    with pytest.raises(DataError, match="column '' is an index that pandas wrote; name the column of the ids"):
        submitting.submit(best, tmp_path / "test.csv", tmp_path / "s.csv")
    template = write(tmp_path / "sample.csv", ["ID", "Label"], [[n, "food"] for n in range(len(TEXTS))])
    result = submitting.submit(best, tmp_path / "test.csv", tmp_path / "s.csv", template=template)
    assert "row numbers from 0" in result.notes[0]


@pytest.mark.parametrize("head", ["Ticket ID", "tweet_id", "PassengerId", "user.id", "uid", "row_UUID"])
def test_a_column_that_is_called_after_ids_is_asked_about_where_no_template_says_what_they_are(
    best: Path, tmp_path: Path, head: str
) -> None:
    ids = [f"t{n}" for n in range(len(TEXTS))]
    test = write(tmp_path / "test.csv", [head, "text"], list(zip(ids, TEXTS, strict=True)))
    with pytest.raises(DataError, match=f"column '{head}' may hold them; name the column of the ids by --id_column"):
        submitting.submit(best, test, tmp_path / "s.csv")
    submitting.submit(best, test, tmp_path / "s.csv", id_column=head)
    assert [row[0] for row in read(tmp_path / "s.csv")[1:]] == ids


def test_a_column_that_counts_rows_from_elsewhere_is_asked_about_whatever_its_name(best: Path, tmp_path: Path) -> None:
    ids = [str(1200 + n) for n in reversed(range(len(TEXTS)))]
    test = write(tmp_path / "test.csv", ["ticket", "text"], list(zip(ids, TEXTS, strict=True)))
    with pytest.raises(DataError, match="column 'ticket' numbers them from 1200; name the column of the ids"):
        submitting.submit(best, test, tmp_path / "s.csv")
    ids[0] = "9999"  # as prices may be, each of which stands in one row
    test = write(tmp_path / "test.csv", ["ticket", "text"], list(zip(ids, TEXTS, strict=True)))
    assert "row numbers from 0" in submitting.submit(best, test, tmp_path / "s.csv").notes[0]


@pytest.mark.parametrize(("head", "alike"), [("author_id", 60), ("author_id", 2), ("covid", 1), ("Paid", 1)])
def test_a_column_that_holds_no_ids_is_not_asked_about(best: Path, tmp_path: Path, head: str, alike: int) -> None:
    cells = [f"t{max(alike, n + 1)}" for n in range(len(TEXTS))]
    test = write(tmp_path / "test.csv", [head, "text"], list(zip(cells, TEXTS, strict=True)))
    assert "row numbers from 0" in submitting.submit(best, test, tmp_path / "s.csv").notes[0]


def test_the_column_of_the_text_holds_no_ids_whatever_it_is_called(best: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test.csv", ["PostID"], [[f"{text} {n}"] for n, text in enumerate(TEXTS)])
    result = submitting.submit(best, test, tmp_path / "s.csv", text_column="PostID")
    assert result.notes[:2] == ("ids are row numbers from 0, since no column holds ids", "texts from 'PostID'")


def test_of_two_columns_of_ids_the_template_s_is_taken(best: Path, tmp_path: Path) -> None:
    rows = [[n, f"k{n}", text] for n, text in enumerate(TEXTS)]
    test = write(tmp_path / "test.csv", ["id", "key", "text"], rows)
    template = write(tmp_path / "t.csv", ["key", "label"], [[row[1], "food"] for row in rows])
    assert "ids from 'key'" in submitting.submit(best, test, tmp_path / "s.csv", template=template).notes


def test_what_can_be_refused_is_refused_before_rows_are_read(best: Path, tmp_path: Path) -> None:
    none = tmp_path / "none.csv"
    with pytest.raises(OptionError, match="class_shares"):
        submitting.submit(best, none, tmp_path / "s.csv", class_shares="even")
    with pytest.raises(DataError, match=r"s\.tsv: a submission is written as \.csv"):
        submitting.submit(best, none, tmp_path / "s.tsv")
    with pytest.raises(DataError, match=r"none\.csv"):
        submitting.submit(best, none, tmp_path / "S.CSV")
    test = write(tmp_path / "test.csv", ["text"], [[text] for text in TEXTS])
    before = test.read_bytes()
    with pytest.raises(DataError, match="is a file that is read"):
        submitting.submit(best, test, test)
    assert test.read_bytes() == before


@pytest.mark.parametrize("cell", [lambda n: n, lambda n: ""])
def test_a_column_that_numbers_rows_as_they_stand_or_is_empty_stands_in_no_way(
    best: Path, tmp_path: Path, cell: Callable[[int], Any]
) -> None:
    test = write(tmp_path / "test.csv", ["text", ""], [[text, cell(n)] for n, text in enumerate(TEXTS)])
    assert "row numbers from 0" in submitting.submit(best, test, tmp_path / "s.csv").notes[0]


@pytest.mark.parametrize(("blank", "said"), [([""], "1 row has"), (["", " "], "2 rows have")])
def test_rows_without_a_text_are_told(best: Path, tmp_path: Path, blank: list[str], said: str) -> None:
    test = write(tmp_path / "test.csv", ["id", "text"], [[n, text] for n, text in enumerate([*TEXTS, *blank])])
    result = submitting.submit(best, test, tmp_path / "s.csv")
    assert f"{said} no text, and got a label all the same" in result.notes
    assert result.rows == len(TEXTS) + len(blank)


def test_a_submission_is_separated_as_its_template_is(best: Path, tmp_path: Path) -> None:
    def separated(path: Path, head: str, rows: Sequence[str]) -> Path:
        path.write_text("\n".join((head, *rows)) + "\n")
        return path

    test = separated(tmp_path / "test.csv", "id|text", [f"{n}|{text}" for n, text in enumerate(TEXTS)])
    result = submitting.submit(best, test, tmp_path / "commas.csv")
    assert result.notes[0] == f"{test}: its cells are separated by '|'"
    template = separated(tmp_path / "t.csv", "ID;Label", [f"{n};food" for n in range(len(TEXTS))])
    out = tmp_path / "s.csv"
    told = submitting.submit(best, test, out, template=template).notes
    assert f"cells of {out} are separated by ';', as the template's are" in told
    assert out.read_text() == (tmp_path / "commas.csv").read_text().replace(",", ";")
    submitting.check(out, template)
    with pytest.raises(DataError, match=r"commas\.csv: its cells are separated by ',', the template's by ';'$"):
        submitting.check(tmp_path / "commas.csv", template, adapter=best)


def test_that_a_file_was_replaced_is_told(best: Path, tmp_path: Path) -> None:
    test, out = write(tmp_path / "test.csv", ["id", "text"], [*enumerate(TEXTS)]), tmp_path / "s.csv"
    told = [f"{out} is in place of a file that was there" in submitting.submit(best, test, out).notes for _ in "12"]
    assert told == [False, True]


def test_one_class_for_all_rows_is_refused(best: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test.csv", ["text"], [["cat dog bird"]] * 9)
    with pytest.raises(DataError, match="all 9 rows have the label 'animals'"):
        submitting.submit(best, test, tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()


def test_a_class_is_told_by_its_label_its_name_and_its_share_of_training(
    best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = write(tmp_path / "test.csv", ["text"], [[text] for text in TEXTS])
    monkeypatch.setattr(submitting, "drift", lambda *_: SimpleNamespace(p=LEVEL + 0.01, verdict="They are alike."))
    result = submitting.submit(best, test, tmp_path / "s.csv", labels="A,B,C")
    classes = result.classes
    assert [(one.label, one.name) for one in classes] == list(zip("ABC", loraloom.load(best).labels, strict=True))
    assert sum(one.training_share or 0.0 for one in classes) == pytest.approx(1)
    assert [one.share for one in classes] == pytest.approx([one.rows / len(TEXTS) for one in classes])
    assert result.verdict == "They are alike."


def test_an_adapter_away_from_its_run_compares_shares_with_those_that_it_tells(best: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(best, tmp_path / "alone")
    test = write_csv(tmp_path / "test.csv", make_rows(30, seed=3))
    result = submitting.submit(alone, test, tmp_path / "s.csv")
    in_place = submitting.submit(best, test, tmp_path / "in_place.csv")
    assert (result.verdict, result.classes) == (in_place.verdict, in_place.classes)
    write_record(alone, read_record(alone).model_copy(update={"class_rows": None}))  # as earlier versions wrote it
    write_manifest(alone)
    result = submitting.submit(alone, test, tmp_path / "older.csv")
    assert "is not known here" in result.verdict
    assert result.classes[0].training_share is None


@pytest.mark.parametrize(
    ("codes", "wanted", "template", "found"),
    [
        (FROM_0, None, ["0", "0"], FROM_0),
        (FROM_0, None, ["3", "0", "1"], FROM_0),
        (FROM_1, None, ["4", "1"], FROM_1),
        (FROM_0, None, ["World", "World"], NAMES),
        (FROM_0, "codes", ["1"], FROM_0),
        (FROM_0, "names", None, NAMES),
        (FROM_1, "0,1,2,3", ["0"], FROM_0),
        (NAMES, None, None, NAMES),
        (NAMES, None, [None, None], NAMES),
    ],
)
def test_labels_are_written_as_the_template_or_the_user_says(
    codes: tuple[str, ...], wanted: str | None, template: list[str | None] | None, found: tuple[str, ...]
) -> None:
    asked = None if template is None else template_of(template)
    assert written_labels(NAMES, codes, wanted, asked).labels == found


@pytest.mark.parametrize(
    ("codes", "wanted", "template", "why"),
    [
        (FROM_0, None, None, "--labels names or --labels codes"),
        (FROM_0, None, ["1", "1"], "does not tell how labels are written"),
        (FROM_1, None, ["1", "2"], "does not tell how labels are written"),
        (FROM_0, None, [None], "no labels"),
        (FROM_1, None, ["0", "0"], "one counts from 0 and the other from 1"),
        (FROM_1, "codes", ["0"], "has the label '0', where there are '1', '2', '3', '4' "),
        (FROM_0, None, ["0", "7"], "has the label '7', the training data '0', "),
        (FROM_0, None, ["World", "sports", "7"], "has the labels '7', 'sports', the training data '0', "),
        (NAMES, None, [*NAMES, "World "], "has the label 'World ', the training data 'World', "),
        (FROM_0, "a,b", None, "a label for each of"),
        (FROM_0, "a,b,c,", None, "a label for each of"),
        (FROM_0, "a,b,c,c", None, "a label for each of"),
        (NAMES, "names", ["?"], "where the template's mean nothing, empty that column"),
        (NAMES, "codes", None, "has no codes, only names"),
    ],
)
def test_labels_are_not_guessed(
    codes: tuple[str, ...], wanted: str | None, template: list[str | None] | None, why: str
) -> None:
    with pytest.raises(DataError, match=why):
        written_labels(NAMES, codes, wanted, None if template is None else template_of(template))


def test_a_label_that_holds_a_comma_is_given_in_quotes(tmp_path: Path) -> None:
    names = ("world", "sports")
    assert written_labels(names, names, 'World, "Sports, games"', None).labels == ("World", "Sports, games")
    for wrong in ("World,Sports, games", 'World,"Sports, games', 'World,"Sports", games'):
        with pytest.raises(DataError, match="one that holds a comma stands in double quotes"):
            written_labels(names, names, wrong, None)
    rows = write(tmp_path / "s.csv", ["ID", "Label"], [["0", "World"], ["1", "Sports, games"]])
    assert submitting.check(rows, rows, labels='World,"Sports, games"').rows == 2


@pytest.mark.parametrize(
    ("wanted", "template", "why"),
    [
        (None, ["World", "Sports"], "as in the training data (T has 'Sports', 'World' of them)"),
        (None, list(NAMES), "as in the training data and in T"),
        (None, [None, None], "as in the training data"),
        ("names", None, "as in the training data"),
    ],
)
def test_labels_that_are_names_alone_are_not_called_codes(
    wanted: str | None, template: list[str | None] | None, why: str
) -> None:
    written = written_labels(NAMES, NAMES, wanted, None if template is None else template_of(template))
    assert (written.labels, written.why) == (NAMES, why)


def test_a_file_is_checked_without_an_adapter_and_all_that_is_wrong_is_said(tmp_path: Path) -> None:
    template = write(tmp_path / "t.csv", ["ID", "Label"], [[n, n % 4] for n in range(8)])
    sound = write(tmp_path / "sound.csv", ["ID", "Label"], [[n, (n + 1) % 4] for n in reversed(range(8))])
    result = submitting.check(sound, template)
    assert [(one.label, one.rows, one.share) for one in result.classes] == [(code, 2, 0.25) for code in FROM_0]
    assert any("another order" in note for note in result.notes)
    rows: list[list[Any]] = [[0, 1], [0, 4], [2, ""], ["", 2], [9, 3]]
    wrong = write(tmp_path / "wrong.csv", ["ID", "label"], rows)
    with pytest.raises(DataError) as error:
        submitting.check(wrong, template)
    said = str(error.value).splitlines()
    for part in (
        "columns",
        "no id in row 4",
        "more than once: '0'",
        "has 5 rows, the template 8",
        "that .* has not: '9'",
    ):
        assert any(re.search(part, line) for line in said), part
    assert "no label in row 3" in str(error.value)
    assert "has the label '4'" in str(error.value)


def test_an_id_or_a_label_with_blanks_around_it_is_another_one_for_a_contest(tmp_path: Path) -> None:
    template = write(tmp_path / "t.csv", ["ID", "Label"], [["a0", "World"], ["a1", "Sports"]])
    padded = write(tmp_path / "s.csv", ["ID", "Label"], [["a0 ", "World"], ["a1", " Sports"]])
    with pytest.raises(DataError) as error:
        submitting.check(padded, template)
    assert [line.partition(" has ")[2] for line in str(error.value).splitlines()] == [
        "other blanks around the id than the template in row 1: for a contest it is another one",
        "other blanks around the label than the template in row 2: for a contest it is another one",
    ]
    template = write(tmp_path / "t.csv", ["ID", "Label"], [["a0 ", "World"], ["a1", "World"]])
    for written, rows in (("a0 ", []), ("a0", ["row 1"]), ("  a0", ["row 1"])):
        given = write(tmp_path / "s.csv", ["ID", "Label"], [[written, "World"], ["a1", "Sports"]])
        found = problems_of(read_submission(given), read_template(template), None)
        assert [sentence.partition("than the template in ")[2].partition(":")[0] for sentence in found] == rows


def test_labels_have_the_blanks_that_those_of_the_template_have_where_it_has_the_same_around_all() -> None:
    def said(given: Sequence[str | None], template: Sequence[str | None]) -> list[str]:
        found = problems_of(labelled(given), labelled(template), None)
        return [sentence.partition("around the label than the template in ")[2].partition(":")[0] for sentence in found]

    def labelled(cells: Sequence[str | None]) -> Submission:
        texts = [cell and cell.strip() for cell in cells]
        return replace(template_of(texts), padded={row: cell for row, cell in enumerate(cells, 1) if cell})

    assert said([" a", " b", " b"], [" a", None, " a"]) == []
    assert said(["a", " b", " b "], [" a", None, " a"]) == ["rows 1, 3"]
    assert said(["a", " b", "b"], ["a", " a", None]) == ["row 2"]
    assert said(["a", " b", "b"], [None, None, None]) == ["row 2"]


@pytest.mark.parametrize("label", ["", " food", "food ", " food "])
@pytest.mark.parametrize("columns", [("ID", "Label"), ("Label", "ID")])
def test_ids_and_labels_are_written_with_the_blanks_that_the_template_has_around_them(
    best: Path, tmp_path: Path, columns: tuple[str, str], label: str
) -> None:
    test = write(tmp_path / "test.csv", ["ID", "text"], [[f"a{n}", text] for n, text in enumerate(TEXTS)])
    asked = [f" a{n}" if n % 2 else f"a{n}" for n in reversed(range(len(TEXTS)))]
    cells = [{"ID": one, "Label": label} for one in asked]
    template = write(tmp_path / "t.csv", columns, [[cell[name] for name in columns] for cell in cells])
    submitting.submit(best, test, tmp_path / "s.csv", template=template)
    written = read(tmp_path / "s.csv")[1:]
    assert [row[columns.index("ID")] for row in written] == asked
    labels = [label.replace("food", one) if label else one for one in loraloom.load(best).predict(TEXTS)]
    assert [row[columns.index("Label")] for row in written] == labels[::-1]
    assert submitting.check(tmp_path / "s.csv", template).rows == len(TEXTS)


def test_a_template_without_labels_says_nothing_of_how_they_are_written(tmp_path: Path) -> None:
    template = write(tmp_path / "t.csv", ["ID", "Label"], [["a0", ""], ["a1", ""]])
    named = write(tmp_path / "s.csv", ["ID", "Label"], [["a0", "World"], ["a1", "Sports"]])
    assert "which labels there may be is not known" in submitting.check(named, template).notes[0]


@pytest.mark.parametrize(
    ("columns", "ids"),
    [
        (("label", "tweet_id"), "tweet_id"),
        (("Category ", "key"), "key"),
        (("key", "category_id"), "key"),
        (("class", "id"), "id"),
        (("label", "target"), "label"),
    ],
)
def test_the_column_beside_the_labels_is_that_of_the_ids(tmp_path: Path, columns: tuple[str, str], ids: str) -> None:
    assert read_submission(write(tmp_path / "t.csv", columns, [[1, 2]])).id_column == ids


def test_who_is_to_give_a_label_for_each_class_sees_all_classes() -> None:
    names = tuple(f"class {number}" for number in range(9))
    with pytest.raises(DataError, match=r"in the order of .*'class 7', 'class 8': --labels"):
        written_labels(names, names, None, template_of(["other", "class 1"]))


def test_a_cell_is_text_as_it_stands_but_for_blanks_and_the_point_of_a_whole_number() -> None:
    cells = [None, " ", "07 ", 7, 7.0, 7.5, True, Decimal("7.00"), Decimal("7.50"), float("inf")]
    written = [None, None, "07", "7", "7", "7.5", "True", "7", "7.50", "inf"]
    assert [cell_text(cell) for cell in cells] == written


def test_one_label_is_too_few_for_two_rows_and_not_for_one() -> None:
    assert [len(list(constant_labels(["food"] * rows, "F"))) for rows in (0, 1, 2)] == [0, 0, 1]


def test_of_many_rows_the_first_are_named_and_the_others_counted() -> None:
    blank = template_of([None] * 7 + ["1", "2"])
    assert "T: has no label in rows 1, 2, 3, 4, 5 and 2 more" in list(problems_of(blank, blank, None))


def test_of_labels_that_are_outside_the_rows_that_have_them_are_named() -> None:
    given = template_of(["a", "x", None, "b", "y"])
    said = list(problems_of(given, template_of(["a", "b", "a", "b", "a"]), ("a", "b")))
    assert "T: has the labels 'x', 'y' in rows 2, 5; it may have 'a', 'b'" in said


def test_where_the_template_alone_says_which_labels_there_are_the_refusal_says_how_to_name_others(
    tmp_path: Path,
) -> None:
    template = write(tmp_path / "t.csv", ["ID", "Label"], [[0, "World"], [1, "Sports"]])
    more = write(tmp_path / "m.csv", ["ID", "Label"], [[0, "World"], [1, "Business"]])
    with pytest.raises(DataError, match=r"may have 'Sports', 'World' as .*t\.csv has it; .* ADAPTER, or .* --labels"):
        submitting.check(more, template)
    assert submitting.check(more, template, labels="World,Sports,Business").rows == 2


def test_a_submission_of_one_class_or_of_names_where_numbers_are_asked_for_is_refused(tmp_path: Path) -> None:
    template = write(tmp_path / "t.csv", ["ID", "Label"], [[n, 0] for n in range(4)])
    constant = write(tmp_path / "c.csv", ["ID", "Label"], [[n, 0] for n in range(4)])
    with pytest.raises(DataError, match="all 4 rows have the label '0'"):
        submitting.check(constant, template)
    with pytest.raises(DataError, match="has the label '0' in rows 1, 2, 3, 4; it may have '1', '2'"):
        submitting.check(constant, template, labels="1,2")
    for wrong in ("codes", "0,1,", "0,1,1", '0,"1'):
        with pytest.raises(DataError, match="without ADAPTER it must be the labels, each once"):
            submitting.check(constant, template, labels=wrong)
    named = write(tmp_path / "n.csv", ["ID", "Label"], [[n, "ab"[n % 2]] for n in range(4)])
    with pytest.raises(DataError, match="no whole numbers"):
        submitting.check(named, template)


@pytest.mark.parametrize(("label", "whole"), [("1.0", True), ("01", True), ("-3", True), ("+-3", False), ("٣", False)])
def test_a_template_s_labels_are_whole_numbers_as_those_of_data_are(tmp_path: Path, label: str, whole: bool) -> None:
    template = read_submission(write(tmp_path / "t.csv", ["ID", "Label"], [[0, label], [1, label]]))
    named = read_submission(write(tmp_path / "n.csv", ["ID", "Label"], [[0, "a"], [1, "b"]]))
    said = " ".join(problems_of(named, template, None))
    assert ("labels that are no whole numbers" in said) == whole


@pytest.mark.parametrize(
    ("asked", "label", "said"),
    [("0", "1.0", True), ("0", "1", False), ("0.0", "1.0", False), ("0", "v1.0", False), ("a", "1.0", False)],
)
def test_whole_numbers_with_a_point_are_others_where_the_template_has_none(asked: str, label: str, said: bool) -> None:
    given, template = template_of(["0", label]), template_of([asked, asked])
    assert any(f"has the label '{label}', with a point" in one for one in problems_of(given, template, None)) == said
    assert not any("with a point" in one for one in problems_of(given, template, ["0", label]))


def test_a_template_with_more_columns_or_doubled_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 3 columns"):
        read_submission(write(tmp_path / "three.csv", ["ID", "a", "b"], [[1, 2, 3]]))
    with pytest.raises(DataError, match=r"has 1 column \('ID\\tLabel'\); .* seem to be separated by tabs"):
        read_submission(write(tmp_path / "one.csv", ["ID\tLabel"], [["1\t0"]]))
    doubled = write(tmp_path / "doubled.csv", ["ID", "Label"], [[1, 0], [1, 0]])
    with pytest.raises(DataError, match="more than once"):
        submitting.check(doubled, doubled)
