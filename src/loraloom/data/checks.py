"""Checks before training: what is odd about the rows is counted, shown, and said with what was done.

Rows are only ever dropped from training: those without a text, and those that are also in validation or test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from loraloom.data.labels import FORMS, form_of
from loraloom.data.overlap import Keys, near_copies
from loraloom.data.text_data import Finding, Split, TextData
from loraloom.data.wording import MAX_EXAMPLES, beside_figure, examples_of, listed, quoted, shorten
from loraloom.errors import DataError
from loraloom.recipe.fields import Metric
from loraloom.wording import percent, plural

MOST_LEAKING = 0.5  # of the test rows
_JOINING = "|;,/+&"
"""Between the labels of a text that has several."""
ASIDE = " (signs, capitals and the like aside)"
"""Said of texts that count as equal, and are not."""
NEARLY_ALL = 0.9  # of the training rows
_ENCLOSING = " []'\""
UNBALANCED = 8  # times as many rows; the least at which weighing is shown to help, 1:10 of docs/robustness.md, is 9.9


def drop_empty(split: Split) -> tuple[Split, tuple[Finding, ...]]:
    """The training rows that have a text."""
    found = find_empty(split, "training", "dropped")
    if not found:
        return split, ()
    return split.take(row for row, text in enumerate(split.texts) if text.strip()), found


def find_empty(split: Split, where: str, done: str = "kept") -> tuple[Finding, ...]:
    """Rows without a text; in validation and test they stay, since dropping them would change the score."""
    empty = [row for row, text in enumerate(split.texts) if not text.strip()]
    if not empty:
        return ()
    sentence = f"{where.capitalize()} has {plural(len(empty), 'empty text')}: {done}."
    examples = tuple(f"row {split.number(row)}" for row in empty[:3])
    return (Finding("empty_text", "warning", len(empty), sentence, examples),)


def find_repeats(split: Split, keys: Sequence[str], names: Sequence[str], where: str) -> tuple[Finding, ...]:
    """Equal texts within a split: repeated with one label, or standing under several."""
    labels = split.labels.tolist()
    first: dict[str, int] = {}
    others: set[tuple[str, int]] = set()  # that a text stands under beside the label of its first row
    repeated: list[int] = []
    disputed: dict[str, int] = {}
    for row, (key, label) in enumerate(zip(keys, labels, strict=True)):
        if not key:
            continue
        earlier = first.setdefault(key, row)
        if label != labels[earlier] and (key, label) not in others:
            others.add((key, label))
            disputed.setdefault(key, row)
        elif earlier != row:
            repeated.append(row)
    findings = []
    if repeated:
        sentence = f"{where.capitalize()} has {plural(len(repeated), 'repeated row')} (equal text and label): kept."
        examples = examples_of(split.texts, repeated)
        findings.append(Finding("duplicate", "note", len(repeated), sentence, examples, _named(where)))
    if disputed:
        aside = _aside((split.texts[row] for row in disputed.values()), (split.texts[first[key]] for key in disputed))
        sentence = f"{where.capitalize()} has {plural(len(disputed), 'text')} with more than one label{aside}: kept."
        shown = examples_of([_disputed(split, first[key], row, names) for key, row in disputed.items()])
        findings.append(Finding("conflict", "warning", len(disputed), sentence, shown, _named(where)))
    return tuple(findings)


def _named(where: str) -> tuple[str, ...]:
    return ("train" if where == "training" else where,)


def _disputed(split: Split, one: int, other: int, names: Sequence[str]) -> str:
    said = (f"row {split.number(row)} {names[split.labels[row]]}" for row in (one, other))
    texts = split.texts[one], split.texts[other]
    return f"{', '.join(said)}: {' / '.join(texts if _aside(texts[:1], texts[1:]) else texts[:1])}"


def _aside(texts: Iterable[str], others: Iterable[str]) -> str:
    """What is said of `texts` that count as equal to `others`, where some of them are not but for spaces."""
    return "" if _unspaced(texts) <= _unspaced(others) else ASIDE


def _unspaced(texts: Iterable[str]) -> set[str]:
    return {"".join(text.split()) for text in texts}


def find_shares(train: Split, labels: Sequence[str], metric: Metric) -> Finding:
    """How many rows the classes have; a warning where the largest has over eight times the smallest's.

    Where the `metric` that chooses is accuracy, and one class is nearly all, the other one is advised.
    """
    counts = np.bincount(train.labels, minlength=len(labels))
    largest, smallest = int(counts.argmax()), int(counts.argmin())

    def share(label: int) -> str:
        return f"{beside_figure(labels[label])} {percent(counts[label] / len(train))}"

    sentence = f"Training has {plural(len(train), 'row')} of {plural(len(labels), 'class')}"
    if len(labels) <= 6:
        sentence += f": {', '.join(map(share, range(len(labels))))}."
    else:
        most, least = plural(int(counts[largest]), "row"), f"{counts[smallest]:,}"
        named = f"from {most} ({shorten(labels[largest])}) to {least} ({shorten(labels[smallest])})"
        sentence += f": {f'{most} of each' if largest == smallest else named}."
    unbalanced = counts[largest] > UNBALANCED * counts[smallest]
    if unbalanced:
        sentence += (
            " Where classes are more alike in what is to be predicted, give their shares by --class_shares to predict, "
            "submit, evaluate or serve, by class_shares in Python."
        )
    if counts[largest] > NEARLY_ALL * len(train):
        sentence += (
            f" Accuracy tells little: always answering “{shorten(labels[largest])}” would reach "
            f"{percent(counts[largest] / len(train))} of training."
        )
        if metric == "accuracy":
            sentence += " Where rare classes matter as much, search.metric: macro_f1 chooses by each alike."
    return Finding("class_shares", "warning" if unbalanced else "note", len(train), sentence)


def find_alike(labels: Sequence[str]) -> tuple[Finding, ...]:
    """Classes that are very likely one, in several spellings: 'Sports' and 'sports', or '1' and '1.0' beside names."""
    ways: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        ways[form_of(label)].append(label)
    alike = [names for names in ways.values() if len(names) > 1]
    if not alike:
        return ()
    count = sum(map(len, alike))
    sentence = f"{count:,} classes differ from another in {FORMS} alone: kept apart."
    return (Finding("alike_classes", "warning", count, sentence, tuple(map(listed, alike[:MAX_EXAMPLES]))),)


def find_rewritten(cells: Sequence[Any], labels: Sequence[str], source: str) -> tuple[Finding, ...]:
    """Labels that are not as they stand in `cells`: ' a' is read as 'a', and '01', where '1' is too, as '1'."""
    read = {cell: label for cell, label in zip(cells, labels, strict=True) if isinstance(cell, str) and cell != label}
    if not read:
        return ()
    shown = ", ".join(f"{quoted(cell)} as {quoted(label)}" for cell, label in islice(read.items(), MAX_EXAMPLES))
    more = f" and {len(read) - MAX_EXAMPLES:,} more" if len(read) > MAX_EXAMPLES else ""
    sentence = f"{source}: {plural(len(read), 'label')} read in another form than written: {shown}{more}."
    return (Finding("rewritten_labels", "note", len(read), sentence),)


def find_joined(labels: Sequence[str]) -> tuple[Finding, ...]:
    """Classes that are very likely several labels of a text, as `billing|login` is beside `billing` and `login`.

    A list that was written as text is too, whatever else there is: `['billing', 'login']`.
    """
    known = {label.strip(_ENCLOSING) for label in labels}
    joined = [label for label in labels if any(_joins(label, sign, known) for sign in _JOINING)]
    if not joined:
        return ()
    them = ("is", "a class of its own") if len(joined) == 1 else ("are", "classes of their own")
    sentence = (
        f"{len(joined):,} of {len(labels):,} classes {them[0]} several others in one: taken as {them[1]}, "
        "since a text has one class here; for several labels train a classifier for each."
    )
    return (Finding("joined_classes", "warning", len(joined), sentence, examples_of(joined)),)


def _joins(label: str, sign: str, known: Set[str]) -> bool:
    parts = {part.strip(_ENCLOSING) for part in label.split(sign)}
    is_list = sign == "," and label[0] + label[-1] == "[]"
    return len(parts) > 1 and (is_list or parts <= known)


def find_missing_classes(split: Split, labels: Sequence[str], where: str) -> tuple[Finding, ...]:
    """Classes that a held-out split has no row of."""
    counts = np.bincount(split.labels, minlength=len(labels)).tolist()
    missing = [label for label, count in zip(labels, counts, strict=True) if not count]
    if not missing:
        return ()
    them = "it" if len(missing) == 1 else "them"
    sentence = f"{where.capitalize()} has no row of {plural(len(missing), 'class')}: nothing is measured on {them}."
    return (Finding("missing_class", "warning", len(missing), sentence, examples_of(missing)),)


@dataclass(frozen=True, slots=True)
class _Leak:
    """Rows of training (or of validation) that are also held out, the held-out rows that they are in, and `_aside`."""

    train: set[int]
    held: set[int]
    aside: str = ""


def drop_leaks(
    train: Split,
    held_out: Mapping[str, Split],
    *,
    allow_leak: bool,
    made: bool = False,
    keys: Keys | None = None,
) -> tuple[Split, tuple[Finding, ...], bool]:
    """Training without the rows that are equal to, or near copies of, rows of `held_out` ("validation", "test").

    The last value is whether such rows were kept because `allow_leak` asks for it. `held_out` that was `made` of
    training's own rows may well have near copies there, and no other could be given.

    Raises:
        DataError: over half of the test rows are in training, were given, and `allow_leak` is off.
    """
    keys = Keys() if keys is None else keys
    equals = {where: _equal_rows(train, split, keys) for where, split in held_out.items()}
    nears = _near_rows(train, held_out, equals, keys)
    leaking: set[int] = set()
    findings = []
    for where, split in held_out.items():
        equal, near = equals[where], nears[where]
        if where == "test" and not (allow_leak or made):
            _refuse_most_leaking(len(equal.held | near.held), len(split))
        done = "kept, since leaks are allowed" if allow_leak else "dropped from training"
        for kind, leak in (("leak", equal), ("near_copy", near)):
            if leak.train:
                sentence = f"{plural(len(leak.train), 'training row')} {_is(leak, kind, where)}: {done}."
                examples = examples_of(train.texts, sorted(leak.train))
                findings.append(Finding(kind, "warning", len(leak.train), sentence, examples, ("train", where)))
        leaking |= equal.train | near.train
    if allow_leak or not leaking:
        return train, tuple(findings), bool(leaking)
    return train.take(row for row in range(len(train)) if row not in leaking), tuple(findings), False


def _is(leak: _Leak, kind: str, where: str) -> str:
    one = len(leak.train) == 1
    if kind == "leak":
        return f"{'is' if one else 'are'} also in {where}{leak.aside}"
    return f"{'is a near copy of a row' if one else 'are near copies of rows'} of {where}"


def _equal_rows(split: Split, held_out: Split, known: Keys) -> _Leak:
    rows_of: dict[str, list[int]] = {}
    for row, key in enumerate(known.of(held_out.texts)):
        if key:
            rows_of.setdefault(key, []).append(row)
    keys = known.of(split.texts)
    train = {row for row, key in enumerate(keys) if key in rows_of}
    held = {row for key in {keys[row] for row in train} for row in rows_of[key]}
    aside = _aside((split.texts[row] for row in train), (held_out.texts[row] for row in held))
    return _Leak(train, held, aside)


def _near_rows(train: Split, held_out: Mapping[str, Split], equal: Mapping[str, _Leak], keys: Keys) -> dict[str, _Leak]:
    """Near copies of each split among the rows that are not equal; a row is looked up once for all of these."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row in range(len(train)):
        groups[tuple(name for name in held_out if row not in equal[name].train)].append(row)
    near = {name: _Leak(set(), set()) for name in held_out}
    for names, rows in groups.items():
        places = [(name, row) for name in names for row in range(len(held_out[name]))]
        texts = [held_out[name].texts[row] for name, row in places]
        found = near_copies([train.texts[row] for row in rows], texts, keys.telling) if names else {}
        for row, matches in found.items():
            for name, match in map(places.__getitem__, matches):
                near[name].train.add(rows[row])
                near[name].held.add(match)
    return near


def _in_test(split: Split, test: Split, keys: Keys) -> tuple[_Leak, _Leak]:
    """Rows of a split that are equal to rows of test, and near copies of such."""
    equal = _equal_rows(split, test, keys)
    return equal, _near_rows(split, {"test": test}, {"test": equal}, keys)["test"]


def _refuse_most_leaking(leaking: int, rows: int) -> None:
    if leaking > MOST_LEAKING * rows:
        raise DataError(
            f"test: {leaking:,} of its {rows:,} rows are in training, which is more than half; "
            "give other test data, or allow it by --allow_leak (in Python allow_leak=True): the result is marked then"
        )


def find_shared(validation: Split, test: Split, keys: Keys) -> tuple[Finding, ...]:
    """Texts that validation and test share, or nearly: the choice between trials has then seen them."""
    findings = []
    for kind, shared in zip(("leak", "near_copy"), _in_test(validation, test, keys), strict=True):
        if shared.train:
            sentence = f"{plural(len(shared.train), 'validation row')} {_is(shared, kind, 'test')}: kept."
            examples = examples_of(validation.texts, sorted(shared.train))
            splits = ("validation", "test")
            findings.append(Finding(kind, "warning", len(shared.train), sentence, examples, splits))
    return tuple(findings)


def with_validation(data: TextData) -> Split:
    """Training and validation rows together, without what training may not have: no text, or one that test has too.

    Training rows that are in test, or nearly, were dropped; those of validation were kept, and must not come back here.
    """
    held, _ = drop_empty(data.validation)
    equal, near = _in_test(held, data.test, Keys())
    added = held.take(row for row in range(len(held)) if row not in equal.train | near.train)
    return Split(data.train.texts + added.texts, np.concatenate((data.train.labels, added.labels)))
