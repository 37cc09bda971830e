"""What is asked: the sets of texts that every contender is tested on, and the rows that it is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from study.robustness import rows, texts
from study.robustness.rows import Labels

CLEAN, OTHER_SOURCE = "clean", "other source"


def _typos(share: float) -> texts.Change:
    return lambda text, generator: texts.with_typos(text, share, generator)


def _plain(change: Callable[[str], str]) -> texts.Change:
    return lambda text, _: change(text)


CHANGES: dict[str, texts.Change] = {
    "typos 2 %": _typos(0.02),
    "typos 5 %": _typos(0.05),
    "typos 10 %": _typos(0.10),
    "upper case": _plain(str.upper),
    "lower case": _plain(str.lower),
    "title case": _plain(str.title),
    "first 16 words": _plain(lambda text: texts.first_words(text, 16)),
    "first 32 words": _plain(lambda text: texts.first_words(text, 32)),
    "first half": _plain(texts.first_half),
    "no punctuation": _plain(texts.without_punctuation),
}
"""How test texts are changed; beside them stand `CLEAN`, and `OTHER_SOURCE`, which is a file of its own."""


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Texts and labels (N,) to train on."""

    texts: tuple[str, ...]
    labels: Labels

    def take(self, numbers: Labels) -> TrainingRows:
        return TrainingRows(tuple(self.texts[number] for number in numbers), self.labels[numbers])

    def relabelled(self, labels: Labels) -> TrainingRows:
        return TrainingRows(self.texts, labels)


Worsen = Callable[[TrainingRows, int, int], TrainingRows]
"""Rows, the number of classes and a seed, to the rows that are trained on."""


def _noise(share: float) -> Worsen:
    return lambda given, classes, seed: given.relabelled(rows.with_noise(given.labels, share, classes, seed))


def _skew(ratio: int) -> Worsen:
    return lambda given, classes, seed: given.take(rows.skewed(given.labels, ratio, classes, seed))


TRAININGS: dict[str, Worsen] = {
    CLEAN: lambda given, classes, seed: given,
    "noise 5 %": _noise(0.05),
    "noise 10 %": _noise(0.10),
    "noise 20 %": _noise(0.20),
    "skew 1:10": _skew(10),
    "skew 1:100": _skew(100),
    "16 a class": lambda given, classes, seed: given.take(rows.few(given.labels, 16, classes, seed)),
}
"""What contenders are trained on, by name."""


def sets_of(clean: Sequence[str], other_source: Sequence[str]) -> dict[str, list[str]]:
    """All test texts by name; the changes' seed is 0, so that every contender and seed reads the same."""
    found = {CLEAN: list(clean)}
    found |= {name: texts.changed(clean, change, seed=0) for name, change in CHANGES.items()}
    return found | ({OTHER_SOURCE: list(other_source)} if other_source else {})


def with_typo_copies(given: TrainingRows, share: float, seed: int) -> TrainingRows:
    """The rows, and each again with typos in `share` of its characters."""
    copies = texts.changed(given.texts, _typos(share), seed=1000 + seed)
    return TrainingRows((*given.texts, *copies), np.concatenate([given.labels, given.labels]))
