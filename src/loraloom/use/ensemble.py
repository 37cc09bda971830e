"""One or several adapters as one classifier: the mean of their probabilities, each at its own temperature.

A text is tokenised once for all adapters that cut it alike over one backbone, and passes each backbone once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom.data import Encoded
from loraloom.data.wording import listed
from loraloom.errors import AdapterError, OptionError
from loraloom.use.adapter import Classifier, adapter_folder, read_adapter_record, refuse_unreadable
from loraloom.use.adapter_checks import identity
from loraloom.use.backbones import Backbones
from loraloom.use.class_shares import ClassShares
from loraloom.use.temperature import fitted_temperature


@dataclass(frozen=True, slots=True)
class Member:
    """An adapter, its name in columns, and what it was when it was loaded: its folder may hold another one later."""

    name: str
    folder: Path
    classifier: Classifier
    identity: tuple[str | None, ...]


class Ensemble:
    """Adapters with the same labels; one alone is an ensemble, too."""

    def __init__(self, backbones: Backbones, members: Sequence[Member]) -> None:
        """Columns of all probabilities are the first member's labels, whatever their order in the others.

        Raises:
            AdapterError: two members have other labels.
        """
        self._backbones, self.members = backbones, tuple(members)
        self.labels = members[0].classifier.labels
        for member in members:
            own = member.classifier.labels
            if apart := sorted(set(own) ^ set(self.labels)):
                raise AdapterError(
                    f"{member.folder}: its labels are not those of {members[0].folder} (only one of the two has "
                    f"{listed(apart)}), so their probabilities have no mean; predict by each alone"
                )
        places = [{label: place for place, label in enumerate(member.classifier.labels)} for member in members]
        self._columns = [[own[label] for label in self.labels] for own in places]
        keys = [_tokenisation(member.classifier) for member in members]
        self._cuts = list(dict.fromkeys(keys))
        self._cut_of = [self._cuts.index(key) for key in keys]
        self._encoders = [members[keys.index(key)].classifier for key in self._cuts]

    @property
    def text_columns(self) -> tuple[str, ...] | None:
        """Where the members were trained to find the text.

        Raises:
            AdapterError: they differ.
        """
        named = {member.classifier.record.configuration.data.text_column for member in self.members}
        if len(named) > 1:
            raise AdapterError("the adapters were trained on different columns; name the text's by --text_column")
        return named.pop()

    def encoded(self, texts: Sequence[str]) -> list[Encoded]:
        """Token ids of texts, once for each way in which the members cut them."""
        return [classifier.encoded(texts) for classifier in self._encoders]

    def unreadable(self, encoded: Sequence[Encoded]) -> dict[int, str]:
        """What a tokenizer makes of the texts that one of the members can't read, by their rows."""
        found: dict[int, str] = {}
        for classifier, one in zip(self._encoders, encoded, strict=True):
            found |= classifier.unreadable(one)
        return found

    def probabilities(self, encoded: Sequence[Encoded]) -> NDArray[np.float64]:
        """Each member's probabilities (K, N, C) of what `encoded` gives, at its temperature and by its shift.

        NaN of a text of which its logits are not finite.

        Raises:
            AdapterError: a member can't read a text.
        """
        refuse_unreadable(self.unreadable(encoded), len(encoded[0]))
        rows = [encoded[cut] for cut in self._cut_of]
        logits = self._backbones.logits([member.classifier for member in self.members], rows)
        found = []
        for member, values, columns in zip(self.members, logits, self._columns, strict=True):
            finite, shares = np.isfinite(values).all(axis=1), np.full(values.shape, np.nan)
            shares[finite] = member.classifier.probabilities_of(values[finite])
            found.append(shares[:, columns])
        return np.stack(found)


def load_ensemble(
    given: Sequence[str | Path], *, temperature: bool = True, class_shares: ClassShares | None = None
) -> Ensemble:
    """Loads adapters, folders or names on the hub, each backbone once.

    `class_shares`: where the texts to come have classes in other shares than training had (`asked_shares`).

    Raises:
        OptionError: `class_shares` are none, or are asked for without the temperature, for which they hold.
        AdapterError: a folder can't be used, or is replaced meanwhile; two hold one adapter, as RUN/best and its trial
            do; labels differ.
        BackboneError: a backbone can't be had.
    """
    if class_shares is not None and not temperature:
        raise OptionError("class_shares hold for probabilities at the fitted temperature; leave out no_temperature")
    places = [Path(place) for place in given]
    folders = [adapter_folder(place) for place in places]
    backbones, members, held = Backbones(), list[Member](), dict[tuple[str | None, ...], Path]()
    for folder, name in zip(folders, column_names(places), strict=True):
        read_adapter_record(folder)
        own = tuple(identity(folder))
        classifier = backbones.add(folder)
        if tuple(identity(folder)) != own:  # which takes seconds with its backbone, in which a search may end
            raise AdapterError(f"{folder}: another adapter took its place while it was loaded; give the command again")
        if (same := held.setdefault(own, folder)) is not folder:
            raise AdapterError(f"{folder}: is the same adapter as {same}; an ensemble is of different ones")
        if class_shares is not None:
            classifier = classifier.for_class_shares(class_shares)
        elif temperature:
            classifier.temperature = fitted_temperature(folder, classifier.record)
        members.append(Member(name, folder, classifier, own))
    return Ensemble(backbones, members)


def column_names(folders: Sequence[Path]) -> list[str]:
    """As many of the last parts of each path as tell all apart: "a", or "runs_a_best"."""
    parts = [Path(os.path.realpath(folder)).parts[1:] for folder in folders]  # also of a link to itself
    for count in range(1, max(1, *map(len, parts)) + 1):  # the root has no part
        names = ["_".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name}_{number}" for number, name in enumerate(names, start=1)]


def _tokenisation(classifier: Classifier) -> tuple[Any, ...]:
    """What tells whether two read a text alike; of a blend, TF-IDF's part is its own."""
    record, own = classifier.record, classifier.tfidf and id(classifier.tfidf)
    return record.configuration.backbone.model, record.backbone_revision, record.configuration.data.max_length, own
