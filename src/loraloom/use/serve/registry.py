"""The adapters that are served, by name: a dictionary that is replaced whole, so that a request sees one state of it.

A name from a request is a key to look up, never a part of a path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from loraloom.errors import AdapterError, LoraloomError, OptionError
from loraloom.use.adapter import Classifier
from loraloom.use.backbones import Backbones
from loraloom.use.class_shares import ClassShares
from loraloom.use.serve.names import NAME, written_name


class UnknownAdapterError(LoraloomError):
    """No adapter of this name is served."""


class TakenNameError(LoraloomError):
    """The name is another adapter's."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """An adapter and the name that it is asked by."""

    name: str
    classifier: Classifier


class Registry:
    """Adapters by name, over `backbones`, each for `class_shares` where these are told."""

    def __init__(self, class_shares: ClassShares | None = None) -> None:
        self.backbones = Backbones()
        self._class_shares = class_shares
        self._served: dict[str, Served] = {}
        self._changing = Lock()

    def all(self) -> tuple[Served, ...]:
        """In the order in which they were added."""
        return tuple(self._served.values())

    def find(self, name: str | None) -> Served:
        """The adapter called `name`; the only one where none is named.

        Raises:
            UnknownAdapterError: there is none of this name.
            AdapterError: none is named, and several are served.
        """
        served = self._served
        if name is None:
            if len(served) != 1:
                raise AdapterError(f"adapter: name one of {listed(served)}" if served else "adapter: none is served")
            return next(iter(served.values()))
        if name not in served:
            raise UnknownAdapterError(f"adapter: no such adapter; there are {listed(served)}")
        return served[name]

    def add(self, name: str, folder: Path, *, only_known: bool = False) -> Served:
        """Loads the adapter in `folder` and serves it as `name`.

        Raises:
            TakenNameError: the name is taken.
            LoraloomError: the name is not one, or the adapter can't be loaded.
        """
        check_name(name)
        self._refuse_taken(name)
        # Not within the lock: it may take long, and other adapters are added and removed meanwhile.
        served = Served(name, self._told(self.backbones.add(folder, only_known=only_known), folder))
        with self._changing:
            self._refuse_taken(name)
            self._served = {**self._served, name: served}
        return served

    def _refuse_taken(self, name: str) -> None:
        if name in self._served:
            raise TakenNameError(f"name: {name!r} is served already; remove it first, or choose another name")

    def _told(self, classifier: Classifier, folder: Path) -> Classifier:
        if self._class_shares is None:
            return classifier
        try:
            return classifier.for_class_shares(self._class_shares)
        except OptionError as error:  # which of several has other labels
            raise OptionError(f"{folder}: {error}") from None

    def remove(self, name: str) -> None:
        """Serves `name` no more; requests under way are still answered. Its backbone stays, for the next adapter of it.

        Raises:
            UnknownAdapterError: there is none of this name.
        """
        with self._changing:
            if name not in self._served:
                raise UnknownAdapterError(f"adapter: no such adapter; there are {listed(self._served)}")
            self._served = {other: served for other, served in self._served.items() if other != name}


def check_name(name: str) -> None:
    """Raises LoraloomError where `name` can't be an adapter's."""
    if re.fullmatch(NAME, name) is None:
        raise LoraloomError(
            "name: must be 1 to 64 of a-z, 0-9, _ and -, and begin with a letter or a digit; "
            f"{name[:80]!r} is not such a name"
        )


def listed(names: Sequence[str] | dict[str, Served], most: int = 10) -> str:
    """Some names in a sentence."""
    known = list(names)
    return (", ".join(known[:most]) + f" and {len(known) - most} more" * (len(known) > most)) or "none"


def named_adapters(arguments: Sequence[str]) -> list[tuple[str, Path]]:
    """Names and folders of `ADAPTER` or `NAME=ADAPTER` arguments; RUN/best is named after its run.

    Raises:
        LoraloomError: a name is not one, or two adapters have the same.
    """
    found: dict[str, Path] = {}
    for argument in arguments:
        written, place = written_name(argument)
        name = _name_of(Path(place)) if written is None else written
        check_name(name)
        if name in found:
            raise LoraloomError(f"{argument}: its name {name!r} is taken by {found[name]}; give a name: NAME={place}")
        found[name] = Path(place)
    return list(found.items())


def _name_of(folder: Path) -> str:
    """A name after the run for RUN/best and its like and RUN/trials/7, after the folder itself for others."""
    match Path(os.path.realpath(folder)).parts:  # also of a link to itself
        case (_, *_, run, "best"):
            name = run
        case (_, *_, run, ("refit" | "soup" | "blend") as made):
            name = f"{run}-{made}"
        case (_, *_, run, "trials", trial):
            name = f"{run}-{trial}"
        case (*_, name):
            pass
    name = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:64]
    return name or "adapter"
