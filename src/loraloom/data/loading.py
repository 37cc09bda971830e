"""The data of a run, from its recipe: sources, columns, labels, splits, checks, in this order.

Reads as the list of what is done to the rows. Nothing is done to them that is not said in a finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom.data.checks import (
    drop_empty,
    drop_leaks,
    find_alike,
    find_empty,
    find_joined,
    find_missing_classes,
    find_repeats,
    find_rewritten,
    find_shared,
    find_shares,
)
from loraloom.data.columns import (
    LABEL_NAMES,
    Columns,
    choose_columns,
    headerless,
    refuse_swapped,
    sources_of,
    texts_of,
)
from loraloom.data.hub import named_source
from loraloom.data.labels import (
    Labels,
    codes_of,
    ids_of,
    is_whole,
    labels_of,
    named,
    names_of,
    refuse_long,
    refuse_one_class,
)
from loraloom.data.overlap import Keys
from loraloom.data.splitting import hold_out
from loraloom.data.tables import Source, Table, read_table, table_of
from loraloom.data.telling import Telling
from loraloom.data.text_data import Finding, Split, TextData, fingerprint
from loraloom.errors import DataError
from loraloom.recipe import Data, Recipe
from loraloom.recipe.fields import Metric
from loraloom.study.provenance import data_revision
from loraloom.wording import percent, plural

Findings = tuple[Finding, ...]

_NEED_LABELS = {
    "validation": "; rows of validation need labels: leave data.validation_file out where they have none",
    "test": "; rows of test need labels: leave data.test_file out, and give rows without any to loraloom submit",
}


def load_again(recipe: Recipe, note: Callable[[str], None] = lambda _: None) -> TextData:
    """The rows that a run's `recipe` was made of, read as the run read them; `note` is as for `load_data`.

    Raises:
        DataError: see `load_data`.
        MissingExtraError: see `load_data`.
    """
    return load_data(
        recipe.data,
        seed=recipe.train.seed,
        allow_leak=bool(recipe.provenance.get("allow_leak")),
        revision=data_revision(recipe),
        note=note,
    )


def load_data(
    data: Data,
    *,
    seed: int,
    allow_leak: bool = False,
    revision: str | None = None,
    metric: Metric = "accuracy",
    note: Callable[[str], None] = lambda _: None,
    train: Any = None,
    validation: Any = None,
    test: Any = None,
) -> TextData:
    """Rows that can be trained and tested on, or a refusal.

    `train`, `validation` and `test` stand for files: each a pandas.DataFrame, a datasets.Dataset or a pair of
    sequences (texts, labels). Validation and test that are not given are held out from training by `seed`.
    `revision` is the commit of a data set on the hub, else its newest. What is advised is for a choice by `metric`.
    `note` hears that it begins, and how far it is where it takes long.

    Raises:
        DataError: rows, columns, labels or splits that can't be used.
        MissingExtraError: the demo's rows, or zstandard, are not installed.
    """
    note("reading and checking the data")
    telling = Telling(note)
    keys = Keys(telling)
    source = _source(data, revision, {"train": train, "validation": validation, "test": test}, telling)
    columns, guessed = choose_columns(source.train, data.text_column, data.label_column)
    labels, train_rows, declared = training_rows(source.train, columns)
    train_rows, emptied = drop_empty(train_rows)
    _check_enough(train_rows, labels, source.train.source, _other_column(source.train, columns))
    given, guessed_given = _given_splits(source, data, columns, labels)
    # Rows that a given split has too leave training before anything is held out of it: they must not become validation.
    train_rows, leaks, leak_kept = drop_leaks(train_rows, given, allow_leak=allow_leak, keys=keys)
    _check_left(train_rows, labels, leaks, {})
    train_rows, held, made = _held_out(train_rows, given, data.validation_share, seed, keys)
    train_rows, leaks_of_held, held_leak_kept = drop_leaks(
        train_rows, held, allow_leak=allow_leak, made=True, keys=keys
    )
    leaks += leaks_of_held
    _check_left(train_rows, labels, leaks, held)
    validation_rows, test_rows = ((given | held)[name] for name in ("validation", "test"))
    checked = _check_splits(train_rows, validation_rows, test_rows, labels, metric, leaks, keys)
    return TextData(
        name=source.name,
        labels=labels.names,
        label_codes=labels.codes,
        train=train_rows,
        validation=validation_rows,
        test=test_rows,
        findings=(*source.findings, *guessed, *guessed_given, *declared, *emptied, *made, *checked),
        fingerprint=fingerprint(labels.names, (train_rows, validation_rows, test_rows)),
        revision=source.revision,
        leak_kept=leak_kept or held_leak_kept,
        text_column=columns.text,
        label_column=columns.label,
        card=source.card,
    )


def _source(data: Data, revision: str | None, in_memory: dict[str, Any], telling: Telling) -> Source:
    """A table for each split that is given; files and rows in memory come before a data set's own splits."""
    tables = _given_tables(data, in_memory, telling)
    if data.dataset is not None and "train" in tables:
        raise DataError(f"data.dataset: {data.dataset!r} is given, and training rows too; give one")
    if data.dataset is not None:
        source = named_source(data.dataset, revision, data.label_column)
    elif "train" in tables:
        name = "rows in memory" if data.train_file is None else Path(data.train_file).name
        source = Source(name, tables["train"])
    else:
        raise DataError("data: names no training rows; give data.dataset or data.train_file")
    unused = tuple(
        Finding("split_unused", "note", len(own), f"{own.source} is not used: other rows are given for it.")
        for split, own in (("validation", source.validation), ("test", source.test))
        if own is not None and split in tables
    )
    test, validation = tables.get("test", source.test), tables.get("validation", source.validation)
    used = [table for table in (source.train, validation, test) if table is not None]
    for table in used:
        if not len(table):
            raise DataError(f"{table.source}: has no rows")
    findings = tuple(finding for table in used for finding in table.findings)
    return replace(source, validation=validation, test=test, findings=(*source.findings, *unused, *findings))


def _given_tables(data: Data, in_memory: dict[str, Any], telling: Telling) -> dict[str, Table]:
    files = {"train": data.train_file, "validation": data.validation_file, "test": data.test_file}
    tables: dict[str, Table] = {}
    for split, path in files.items():
        value = in_memory[split]
        if path is not None and value is not None:
            raise DataError(f"data.{split}_file: {path!r} is given, and {split} rows in memory too; give one")
        if value is not None:
            tables[split] = table_of(value, f"{split} rows in memory")
        elif path is not None:
            tables[split] = read_table(path, telling)
    return tables


def training_rows(table: Table, columns: Columns) -> tuple[Labels, Split, Findings]:
    """The labels, whose mapping training defines, its rows, of which none is compared, and what was found of both."""
    texts = texts_of(table, columns.text)
    codes = codes_of(table, columns.label)
    class_names = table.class_names.get(columns.label)
    labels = labels_of(codes, class_names)
    if 2 * len(labels.names) > len(table):
        refuse_swapped(table, columns)
    refuse_long(labels, table.source, _other_column(table, columns))
    if not table.coded:
        labels = Labels(labels.names, labels.names)
    findings = [*find_rewritten(table.cells(columns.label), codes, table.source)]
    have = set(labels.names)
    if class_names and (unused := [name for name in class_names if name not in have]):
        sentence = f"{plural(len(unused), 'class')} declared without a training row: left out."
        findings.append(Finding("missing_class", "note", len(unused), sentence, tuple(unused[:3])))
    if all(map(is_whole, labels.codes)) and labels.codes != tuple(map(str, range(len(labels.codes)))):
        sentence = f"labels {', '.join(labels.codes[:10])} of the source are classes 0 to {len(labels.codes) - 1}."
        findings.append(Finding("label_codes", "note", len(labels.codes), sentence))
    ids = ids_of(named(codes, class_names), labels, table.source)
    return labels, _split(table, columns, texts, ids), tuple(findings)


def _other_column(table: Table, columns: Columns) -> str:
    """What may help where labels are strange, and their column could be another."""
    return "" if table.known else f"; labels are from column {columns.label!r}: data.label_column names another"


def _split(table: Table, columns: Columns, texts: tuple[str, ...], ids: NDArray[np.int64]) -> Split:
    return Split(texts, ids, sources_of(table, columns), np.arange(1, len(ids) + 1))


def _check_left(train: Split, labels: Labels, leaks: Findings, held: Mapping[str, Split]) -> None:
    """What is left of training when rows of a split that leaked have left it, and those that were `held` out."""
    if held and not leaks:
        of_each = " and ".join(f"{plural(len(split), 'row')} held out for {name}" for name, split in held.items())
        files = " and ".join(f"data.{name}_file" for name in held)
        _check_enough(train, labels, f"training, without {of_each}", f"; with {files} none are held out")
    else:
        keep = "; rows that are nearly alike are kept by --allow_leak" if leaks else ""
        _check_enough(train, labels, "training, without the rows that are also in validation or test", keep)


def _check_enough(train: Split, labels: Labels, source: str, advice: str) -> None:
    rows, classes = Counter(train.labels.tolist()), len(labels.names)
    refuse_one_class(labels.names, source)
    if len(train) <= classes:
        raise DataError(
            f"{source}: has {plural(len(train), 'row')} for {classes} classes; that is too few: give several for "
            f"each{advice}"
        )
    if gone := [name for label, name in enumerate(labels.names) if label not in rows]:
        raise DataError(
            f"{source}: the class {gone[0]!r} has no row left to train on; give more of it, or leave it out{advice}"
        )


def _given_splits(
    source: Source, data: Data, of_training: Columns, labels: Labels
) -> tuple[dict[str, Split], Findings]:
    """Validation and test as far as they are given, and what was guessed of their columns."""
    splits: dict[str, Split] = {}
    findings: list[Finding] = []
    for where, table in (("validation", source.validation), ("test", source.test)):
        if table is not None:
            splits[where], guessed = _given_rows(where, table, data, of_training, labels)
            findings += guessed
    return splits, tuple(findings)


def _given_rows(where: str, table: Table, data: Data, of_training: Columns, labels: Labels) -> tuple[Split, Findings]:
    """Rows of validation or test, in training's columns; in its own if it lacks those and none were named."""
    found = table.columns.keys() >= {*of_training.text, of_training.label}
    named = found or ((data.text_column or data.label_column) and not table.known)
    try:
        columns, guessed = choose_columns(table, *((of_training.text, of_training.label) if named else (None, None)))
    except DataError as error:
        labelled = any(name == of_training.label or name.strip().lower() in LABEL_NAMES for name in table.columns)
        raise DataError(f"{error}{'' if labelled or headerless(table) else _NEED_LABELS[where]}") from None
    if table.lacks_labels(columns.label) and "-1" not in labels.codes:
        raise DataError(f"{table.source}: column {columns.label!r} has no label in any row{_NEED_LABELS[where]}")
    values = names_of(table, columns.label, labels)
    texts, ids = texts_of(table, columns.text), ids_of(values, labels, table.source)
    rewritten = find_rewritten(table.cells(columns.label), values, table.source)
    return _split(table, columns, texts, ids), (*guessed, *rewritten)


def _held_out(
    train: Split, given: Collection[str], share: float, seed: int, keys: Keys
) -> tuple[Split, dict[str, Split], Findings]:
    """Holds out what was not `given`: `share` of the training rows for test, and as many for validation."""
    held: dict[str, Split] = {}
    rest, of_rest = train, share
    findings = []
    for where in ("test", "validation"):
        if where not in given:
            rest, held[where] = hold_out(rest, of_rest, seed, keys)
            findings.append(_split_made(where, held[where], train, seed))
            of_rest = share / (1 - share)
    return rest, {where: held[where] for where in ("validation", "test") if where in held}, tuple(findings)


def _split_made(where: str, held: Split, train: Split, seed: int) -> Finding:
    if not len(held):
        raise DataError(
            f"{where}: none is given, and training has too few different texts of each class to hold "
            f"any out; give {where} rows (in a recipe data.{where}_file), or more of training"
        )
    share = len(held) / len(train)
    sentence = (
        f"{where.capitalize()} was not given: {plural(len(held), 'row')} of training held out "
        f"({percent(share)}, about the same of each class, equal texts together, seed {seed})."
    )
    return Finding("split_made", "note", len(held), sentence)


def _check_splits(
    train: Split, validation: Split, test: Split, labels: Labels, metric: Metric, leaks: Findings, keys: Keys
) -> Findings:
    findings = [find_shares(train, labels.names, metric), *find_alike(labels.names), *find_joined(labels.names)]
    findings += [*leaks, *find_shared(validation, test, keys)]
    for split, where in ((train, "training"), (validation, "validation"), (test, "test")):
        findings += find_repeats(split, keys.of(split.texts), labels.names, where)
        if split is not train:
            findings += find_empty(split, where)
            findings += find_missing_classes(split, labels.names, where)
    return tuple(findings)
