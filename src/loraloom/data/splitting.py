"""Holds rows out: a share of each class, equal texts on one side, a function of texts, labels and seed alone.

Groups of equal texts are ordered by a hash of their text and the seed, so the choice depends neither on the
order of rows nor on a library's generator. Rejected: StratifiedGroupKFold, whose shares are 1 / folds.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loraloom.data.overlap import Keys
from loraloom.data.telling import SILENT, Telling
from loraloom.data.text_data import Split


def hold_out(split: Split, share: float, seed: int, keys: Keys | None = None) -> tuple[Split, Split]:
    """What stays and what is held out, both in the order of their source.

    Of each class about `share` of the rows is held out, as near as its groups allow. At least one group is
    held out, and at least one stays: so a class of one group stays.
    """
    keys = Keys() if keys is None else keys
    held = held_out_rows(keys.of(split.texts), split.labels, share, seed, keys.telling)
    return split.take(np.flatnonzero(~held)), split.take(np.flatnonzero(held))


def held_out_rows(
    keys: Sequence[str], labels: NDArray[np.int64], share: float, seed: int, telling: Telling = SILENT
) -> NDArray[np.bool_]:
    """(rows,) whether each row is held out; rows with equal keys are on one side. `telling` hears how far it is."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        groups[key].append(row)
    of_class: dict[int, list[str]] = defaultdict(list)
    plain = labels.tolist()  # of single rows, which most are, numpy would take ten times as long
    for key, rows in telling.rows("holding rows out", groups.items()):
        of_class[plain[rows[0]] if len(rows) == 1 else _label_of(labels[rows])].append(key)
    held, counts = np.zeros(len(keys), dtype=np.bool_), np.bincount(labels)
    for label, class_keys in of_class.items():
        in_order = sorted(class_keys, key=lambda key: _rank(key, seed))
        sizes = [len(groups[key]) for key in in_order]
        for number in _chosen(sizes, share * int(counts[label])):
            held[groups[in_order[number]]] = True
    return held


def _label_of(labels: NDArray[np.int64]) -> int:
    """The commonest label of a group, the lowest where several are."""
    return int(np.bincount(labels).argmax())


def _rank(key: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{key}".encode()).digest()


def _chosen(sizes: Sequence[int], target: float) -> list[int]:
    """Numbers of the groups to hold out: each that still fits, in order; the smallest where none fits."""
    if len(sizes) < 2:
        return []
    room = round(target)
    chosen: list[int] = []
    for number, size in enumerate(sizes):
        if size <= room and len(chosen) < len(sizes) - 1:
            chosen.append(number)
            room -= size
    return chosen or [min(range(len(sizes)), key=sizes.__getitem__)]
