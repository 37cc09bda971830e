"""An adapter loaded from its folder, or from the hub: from texts to logits, probabilities and labels.

Computed by the loom engine's forward pass where it knows the architecture, in the type that the adapter was trained
in if this machine is fast in it, else in fp32; by transformers and PEFT where it does not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from loraloom import metrics
from loraloom.calibration import Temperature
from loraloom.data import Encoded, encode
from loraloom.data.cells import no_character
from loraloom.data.telling import SILENT, Telling
from loraloom.errors import AdapterError, DataError, RunError, without_path
from loraloom.machine import with_home
from loraloom.study.commands import go_on_command
from loraloom.study.durable import MANIFEST, file_stamp, verify_manifest
from loraloom.study.record import CARD, RECORD, WEIGHTS, TrialRecord, read_record
from loraloom.study.run import BEST, TRIALS, is_run
from loraloom.use import hub_adapter
from loraloom.use.adapter_checks import check_files, refuse_code
from loraloom.use.class_shares import ClassShares, Shift, as_predicted, asked_shares, expected_shares
from loraloom.use.temperature import fitted_temperature
from loraloom.use.tfidf import Tfidf, blended

_TOKENIZING = Lock()
"""Where a text is cut is a state of a tokenizer, which calls change: one thread at a time. It uses all cores itself."""
WINDOW = 4096
"""Texts read ahead: within a window they are batched by length, and given back in order."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A text's label, its probability, and the probabilities (C,) of all labels."""

    label: str
    confidence: float
    probabilities: NDArray[np.float64]


class Forward(Protocol):
    """What gives logits (N, C) of encoded rows, and tells `done` after each batch how many rows have theirs."""

    def logits(self, encoded: Encoded, classes: int, done: Callable[[int], None] = ...) -> NDArray[np.float32]: ...


class Classifier:
    """A trained classifier: backbone, adapter and head in one; made by `load`."""

    def __init__(
        self,
        forward: Forward,
        tokenizer: Any,
        record: TrialRecord,
        known_tokens: int,
        folder: Path | None = None,
        tfidf: Tfidf | None = None,
    ) -> None:
        self.forward, self._tokenizer, self.record, self._folder = forward, tokenizer, record, folder
        self._known_tokens, self.tfidf = known_tokens, tfidf
        self._card = _card_in(folder)
        self.temperature: Temperature | None = None
        """What its logits are divided by, where it was told (`load_ensemble`, `for_class_shares`)."""
        self.shift: Shift | None = None
        """For which class shares it answers, where it was told (`for_class_shares`)."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, by the column of `logits` and `predict_proba`."""
        return self.record.labels

    @property
    def dtype(self) -> str:
        """The type that it is computed in here: "fp32", "bf16" or "fp16"."""
        frozen = getattr(self.forward, "frozen", None)
        return {"torch.bfloat16": "bf16", "torch.float16": "fp16"}.get(str(getattr(frozen, "dtype", "")), "fp32")

    @property
    def card(self) -> str:
        """The model card, Markdown after the hub's metadata: results, limits, licences; '' where the folder has none.

        A winner (RUN/best) has one, other trials have not.
        """
        return self._card

    def push_to_hub(self, repo_id: str, *, private: bool = False, commit_message: str = "Add the adapter") -> str:
        """Uploads the adapter to the hub as `repo_id` (owner/name), made if need be; returns the commit's URL.

        `loraloom.load(repo_id)` then gives the same classifier. Uploaded are weights, configuration, record, card, the
        temperature and the class shares that it expects; not the predictions beside them, which hold texts and labels
        of the rows. Of a blend TF-IDF's part is uploaded, too, which holds words of the training texts: it is warned.

        Raises:
            AdapterError: `repo_id` is no such name, the hub can't be reached or refuses, or the folder holds another
                adapter by now.
        """
        folder, record = self._own_folder()
        return hub_adapter.push(folder, record, repo_id, private=private, message=commit_message)

    def for_class_shares(self, class_shares: ClassShares) -> Classifier:
        """This classifier for texts whose classes are in other shares than training's, over the same weights.

        `class_shares` are "balanced", or a share for each label, in any unit. Labels and probabilities are those of
        `loraloom predict --class_shares`, which are at the adapter's temperature; `logits` stay the model's own.

        Raises:
            OptionError: `class_shares` are none.
            AdapterError: the adapter's folder keeps nothing that tells which shares it expects, or holds another
                adapter by now.
        """
        asked = asked_shares(class_shares, self.labels)
        temperature, expected = self._expected  # which the copy has, too
        told = copy.copy(self)
        told.temperature, told.shift = temperature, Shift(self.labels, asked, expected)
        return told

    @cached_property
    def _expected(self) -> tuple[Temperature | None, NDArray[np.float64]]:
        """The temperature and the class shares (C,) that its folder tells, in a second of many rows."""
        folder, record = self._own_folder()
        fitted = fitted_temperature(folder, record)
        return fitted, expected_shares(folder, record, fitted)

    def _own_folder(self) -> tuple[Path, TrialRecord]:
        """Its folder and the record there: the one that it was loaded by, but for what its test may have added."""
        if self._folder is None:
            raise AdapterError("this classifier was not loaded from a folder")
        record = read_adapter_record(self._folder)
        if not self.has_record(record):
            raise AdapterError(f"{self._folder}: holds another adapter than when it was loaded; load it again")
        return self._folder, record

    def has_record(self, record: TrialRecord) -> bool:
        """Whether `record` is its own, but for what its test may have added."""
        its, own = (one.model_dump_json(exclude={"result"}) for one in (record, self.record))  # a NaN is no NaN
        return its == own

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The label of each text, an empty one included: each has its place."""
        return [self.labels[index] for index in self.predict_proba(texts).argmax(axis=1)]

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities (N, C), columns in the order of `labels`."""
        return self.probabilities_of(self.logits(texts))

    def probabilities_of(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities (N, C) of its logits (N, C), at the temperature and for the class shares that it was told."""
        return as_predicted(metrics.softmax(logits), self.temperature, self.shift)

    def stream(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """Predictions in the order of `texts`, which may be more than memory holds.

        Raises:
            TypeError: `texts` is one text, or holds something else.
            DataError: a text holds what no tokenizer reads.
            AdapterError: a logit is not finite.
        """
        if _is_no_list(texts):
            raise TypeError("texts must be a list of texts, or an iterator of them; of a frame, give one column")
        waiting = iter(texts)
        while window := list(islice(waiting, WINDOW)):
            for probabilities in self.predict_proba(window):
                best = int(probabilities.argmax())
                yield Prediction(self.labels[best], float(probabilities[best]), probabilities)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Logits (N, C).

        Raises:
            TypeError: `texts` is one text, no list of them, or holds something else.
            DataError: a text holds what no tokenizer reads.
            AdapterError: a logit is not finite.
        """
        listed = not _is_no_list(texts) and hasattr(texts, "__len__")
        if not listed:
            raise TypeError("texts must be a list of texts; of a frame, give one column")
        texts = list(texts)  # a deque can't be cut; before pandas 3 a Series is by its index, where that is of floats
        for text in texts:
            if not isinstance(text, str):  # such as the NaN of an empty cell
                raise TypeError(f"texts must be a list of texts, and {text!r:.40} is none; of a frame, give one column")
        if (broken := next(filter(no_character, texts), None)) is not None:
            raise DataError(f"text {broken[:40]!a}: {no_character(broken)}")
        return self.logits_of(self.encoded(texts))

    def encoded(self, texts: Sequence[str], telling: Telling = SILENT) -> Encoded:
        """Token ids of texts, cut as in training; of a blend with what TF-IDF says of them, whole."""
        with _TOKENIZING:
            most = self.record.configuration.data.max_length
            encoded = encode(self._tokenizer, texts, max_length=most, cache=None, telling=telling)
        return encoded if self.tfidf is None else replace(encoded, by_tfidf=self.tfidf.log_probabilities(texts))

    def unreadable(self, encoded: Encoded) -> dict[int, str]:
        """What the tokenizer makes of the texts that the model can't read, by their rows."""
        found = dict.fromkeys(np.flatnonzero(np.diff(encoded.offsets) == 0).tolist(), "no token")
        for row, token in encoded.beyond(self._known_tokens).items():
            name = self._tokenizer.convert_ids_to_tokens(token)
            found[row] = f"the token {name!r}, which its model has no embedding of"
        return found

    def logits_of(self, encoded: Encoded, done: Callable[[int], None] = lambda _: None) -> NDArray[np.float32]:
        """Logits (N, C) of what `encoded` gives; `done` hears after each batch how many rows have theirs.

        Raises:
            AdapterError: the model can't read a text, or a logit is not finite.
        """
        refuse_unreadable(self.unreadable(encoded), len(encoded))
        if not len(encoded):
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        logits = self.answers(self.forward.logits(encoded, len(self.labels), done), encoded)
        finite = np.isfinite(logits).all(axis=1)  # (N,)
        if not finite.any():
            raise not_finite()
        if not finite.all():
            which = f"text {int(finite.argmin()) + 1:,} of {len(encoded):,}"
            raise AdapterError(f"{which} is one of which the adapter gives logits that are not finite")
        return logits

    def answers(self, logits: NDArray[np.float32], encoded: Encoded) -> NDArray[np.float32]:
        """Its logits (N, C) of what `encoded` gives, from those of its forward pass: of a blend, TF-IDF's part too."""
        if self.tfidf is None:
            return logits
        assert encoded.by_tfidf is not None
        return blended(logits, encoded.by_tfidf)


def _is_no_list(texts: Any) -> bool:
    """Whether it is one text, or would be read as the names of a frame's columns, or as a mapping's keys."""
    return isinstance(texts, str | Mapping) or hasattr(texts, "columns")


def refuse_unreadable(unreadable: Mapping[int, str], texts: int) -> None:
    """Refuses texts, so many, of which some are `Classifier.unreadable`.

    Raises:
        AdapterError: one is.
    """
    if unreadable:
        row = min(unreadable)
        raise AdapterError(f"text {row + 1} of {texts} is one of which the tokenizer makes {unreadable[row]}")


def not_finite() -> AdapterError:
    """What is said of logits that are not finite."""
    return AdapterError("the adapter gives logits that are not finite; its weights can't be used")


def adapter_folder(path: Path | str, revision: str | None = None) -> Path:
    """The folder of an adapter: `path` itself, or, where that is owner/name and not here, what the hub has of it.

    Raises:
        AdapterError: the hub has no such adapter, it is not safe to load, or `revision` is given for a folder.
    """
    if hub_adapter.is_name(path):
        return hub_adapter.download(str(path), revision)
    if revision is not None:
        raise AdapterError(f"{path}: is a folder, which has no revisions; leave out revision={revision!r}")
    return with_home(path)


def _no_winner(run: Path) -> str:
    return f"there is no winner yet; go on by: {go_on_command(run)}, or give a finished trial of {run / TRIALS}"


def _card_in(folder: Path | None) -> str:
    try:
        return "" if folder is None else (folder / CARD).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def read_adapter_record(folder: Path) -> TrialRecord:
    """The record of an adapter's folder, after its files were checked.

    Raises:
        AdapterError: the folder is not a finished trial's, is damaged, or holds what is not safe to load.
    """
    try:
        return _checked_record(folder)
    except RecursionError:
        raise AdapterError(f"{folder}: can't be read: its folders are nested too deeply") from None
    except (OSError, ValueError) as error:
        raise AdapterError(f"{folder}: can't be read: {without_path(error)}") from None


@contextmanager
def unreplaced(folder: Path) -> Iterator[None]:
    """What is read of `folder` within is of one adapter: a search that ends meanwhile may replace its best/.

    Raises:
        AdapterError: it was replaced.
    """
    stamp, replaced = file_stamp(folder / MANIFEST), f"{folder}: was replaced while it was loaded; load it again"
    try:
        yield
    except (AdapterError, OSError) as error:  # as where files of the one are not those of the other's manifest
        if file_stamp(folder / MANIFEST) not in (stamp, None):
            raise AdapterError(replaced) from error
        raise
    if file_stamp(folder / MANIFEST) != stamp:
        raise AdapterError(replaced)


def _checked_record(folder: Path) -> TrialRecord:
    if folder.name == BEST and not folder.exists() and is_run(folder.parent):
        raise AdapterError(f"{folder}: {_no_winner(folder.parent)}")
    if not folder.is_dir():
        raise AdapterError(f"{folder}: no such folder; give a trial's folder, such as RUN/best")
    if is_run(folder):
        if not (folder / BEST).is_dir():
            raise AdapterError(f"{folder}: is a run; {_no_winner(folder)}")
        raise AdapterError(f"{folder}: is a run; give {folder / BEST}, or one of {folder / TRIALS}")
    if not (folder / RECORD).is_file():  # asked before all that it holds is looked at, which may be anything
        raise AdapterError(
            f"{folder}: has no {RECORD}, so it is no adapter of loraloom, or not yet; give a finished "
            f"trial's folder, such as RUN/best (an export is used as its {CARD} says)"
        )
    check_files(folder)
    refuse_code(folder.rglob("*"))
    verify_manifest(folder, but=(CARD,))
    try:
        record = read_record(folder)
    except RunError as error:
        raise AdapterError(str(error)) from None
    if not (folder / WEIGHTS).is_file():
        raise AdapterError(
            f"{folder}: holds no adapter: the trial {record.state}" + f" ({record.reason})" * bool(record.reason)
        )
    return record
