"""Scores an adapter on labelled rows: the winner on the run's test set, any adapter on a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom import metrics
from loraloom.calibration import Temperature, at_temperature
from loraloom.data import Split, read_labelled
from loraloom.data.checks import with_validation
from loraloom.data.columns import named_columns
from loraloom.data.encoding import Encoded
from loraloom.data.overlap import text_key
from loraloom.data.sampling import stratified_order
from loraloom.data.telling import SILENT, Telling
from loraloom.errors import RunError
from loraloom.study.record import Result, Score, TrialRecord
from loraloom.use.adapter import Classifier, adapter_folder, read_adapter_record
from loraloom.use.backbones import load, load_as_read
from loraloom.use.class_shares import ClassShares, Shift, asked_shares
from loraloom.use.origin import earlier_winner, rows_of
from loraloom.use.temperature import fitted_temperature
from loraloom.wording import plural

ROUND_ROWS = 64
"""Test rows after which it is asked whether there is time for as many more; the first ones are tested in any case, and
are no more than time is kept for (`execute/reserve.py: LEAST_TESTED`)."""
_SEED = 0


def tested_part(test: Split, rows: int) -> NDArray[np.int64]:
    """(rows,) numbers of test rows: the same for every adapter of a run, and among those of a larger part."""
    return np.sort(_order(test)[:rows])


def _order(test: Split) -> NDArray[np.int64]:
    return stratified_order(test.labels, _SEED, unbiased=True)


def test_winner(
    classifier: Classifier,
    test: Split,
    rows: int,
    note: Callable[[str], None],
    allows: Callable[[float], bool] | None = None,  # noqa: PT028  # no test of pytest's
) -> tuple[TrialRecord, str]:
    """The record of an adapter as loaded with its result on `rows` of `test`, and the lines of test_predictions.jsonl.

    `note` hears in some seconds how far it is. Where `allows` is given, it is asked after each `ROUND_ROWS` whether
    there are so many seconds, which the next take: if not, the result is on those that were tested.
    """
    order, telling = _order(test)[:rows], Telling(note)
    parts, done, size = [], 0, len(order) if allows is None else ROUND_ROWS
    while done < len(order):
        start, numbers = time.monotonic(), np.sort(order[done : done + size])
        encoded, found = _predicted(classifier, test.take(numbers).texts, "testing", telling, done, len(order))
        parts.append((numbers, encoded.lengths, found))
        done += len(numbers)
        next_seconds = (time.monotonic() - start) * min(size, len(order) - done) / len(numbers)
        if allows is not None and done < len(order) and not allows(next_seconds):
            break
    numbers, lengths, probabilities = (np.concatenate(each) for each in zip(*parts, strict=True))
    place = np.argsort(numbers)
    numbers, lengths, probabilities = numbers[place], lengths[place], probabilities[place]
    tested = test.take(numbers)
    scores = metrics.score(tested.labels, probabilities)
    record = classifier.record
    result = Result(validation=record.validation, test=Score.of(scores))
    lines = [_line(row, int(number), tested, probabilities, int(lengths[row])) for row, number in enumerate(numbers)]
    return record.model_copy(update={"result": result}), "".join(lines)


def predict_texts(
    classifier: Classifier, texts: Sequence[str], what: str, note: Callable[[str], None]
) -> tuple[Encoded, NDArray[np.float64]]:
    """Texts as the classifier reads them, and what it gives for them (N, C); `note` hears how far `what` is."""
    return _predicted(classifier, texts, what, Telling(note), 0, len(texts))


def _predicted(
    classifier: Classifier, texts: Sequence[str], what: str, telling: Telling, before: int, rows: int
) -> tuple[Encoded, NDArray[np.float64]]:
    """As `predict_texts`, of texts that come after `before` others of all `rows`."""
    encoded = classifier.encoded(texts, telling if len(texts) == rows else SILENT)  # of a few it takes no time
    logits = classifier.logits_of(encoded, lambda done: telling.far(what, before + done, rows))
    return encoded, classifier.probabilities_of(logits)


def rehearse_test(folder: Path, texts: Sequence[str]) -> tuple[float, float]:
    """What a test of the adapter in `folder` would take: seconds to load it, and for a text, tried on other `texts`.

    Training's own evaluations say too little: its texts are tokenised, and frozen layers may be computed already.
    """
    start = time.monotonic()
    classifier = load(folder)
    first = len(texts) // 4  # a first call costs what no other does: it counts as loading
    classifier.predict_proba(texts[:first])
    loaded = time.monotonic()
    classifier.predict_proba(texts[first:])
    return loaded - start, (time.monotonic() - loaded) / (len(texts) - first)


def _line(row: int, number: int, test: Split, probabilities: NDArray[np.float64], tokens: int) -> str:
    values: dict[str, Any] = {
        "row": number,
        "text": test.texts[row],
        "label": int(test.labels[row]),
        "prediction": int(probabilities[row].argmax()),
        "probabilities": [float(f"{p:.6g}") for p in probabilities[row]],
        "tokens": tokens,
    }
    if test.sources is not None:
        values["source"] = test.sources[row]
    return json.dumps(values, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class Divided:
    """How good the confidences of `predict` are, whose logits are divided by a temperature, fitted on `rows`."""

    temperature: float
    rows: int
    log_loss: float
    expected_calibration_error: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What `evaluate` prints: the adapter, the file, and the scores under the adapter's labels.

    `note` says where the file's labels were read as others than they are, that texts are empty, that the run is
    damaged, or that it has another winner by now. `trained_on` are its rows whose text, but for case and punctuation,
    is one of the training rows of the adapter's run, `chosen_on` one of its validation rows, by which the winner was
    chosen (a refit was trained on these, too), `tested_on` one of its test rows; None where these are not to be had.
    `scores` are of the model's own confidences; `predicted` says how good those of `predict` are, None where they are
    the same. With a `shift` they are of what `predict` gives under it.
    """

    adapter: str
    test_file: str
    labels: tuple[str, ...]
    scores: metrics.Scores
    note: str | None = None
    trained_on: int | None = None
    chosen_on: int | None = None
    tested_on: int | None = None
    predicted: Divided | None = None
    shift: Shift | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `--json` and `--out`."""
        scores = self.scores
        return {
            "adapter": self.adapter,
            "test_file": self.test_file,
            "note": self.note,
            "examples": scores.examples,
            "trained_on": self.trained_on,
            "chosen_on": self.chosen_on,
            "tested_on": self.tested_on,
            "accuracy": scores.accuracy,
            "accuracy_interval": list(scores.accuracy_interval),
            "macro_f1": scores.macro_f1,
            "log_loss": scores.log_loss,
            "expected_calibration_error": scores.expected_calibration_error,
            "predict": self.predicted and asdict(self.predicted),
            "class_shares": self.shift and dict(zip(self.labels, self.shift.asked.tolist(), strict=True)),
            "classes": [
                {"label": label, **asdict(one)} for label, one in zip(self.labels, scores.classes, strict=True)
            ],
            "confusion": scores.confusion.tolist(),
        }


def labelled_rows(
    record: TrialRecord,
    file: Path | str,
    text_column: str | Sequence[str] | None,
    label_column: str | None,
    telling: Telling = SILENT,
) -> tuple[Split, str | None]:
    """The rows of a file under an adapter's labels, and how these were read where that is not as they stand.

    Columns are the recipe's unless they are named. `telling` hears how far it is.

    Raises:
        DataError: the file can't be read, or its labels are not the adapter's.
    """
    data = record.configuration.data
    return read_labelled(
        str(file),
        text_column=named_columns(text_column) or data.text_column,
        label_column=label_column or data.label_column,
        labels=record.labels,
        label_codes=record.label_codes,
        telling=telling,
    )


def evaluate(
    adapter: Path | str,
    test_file: Path | str,
    *,
    text_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
    class_shares: ClassShares | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Evaluated:
    """Scores the adapter on a labelled file; columns are the recipe's unless they are named.

    With `class_shares` (`asked_shares`) scores are of what `predict` gives with them, at the adapter's temperature.
    `note` hears in some seconds how far it is.

    Raises:
        OptionError: `class_shares` are none.
        AdapterError: the adapter can't be loaded, or keeps nothing that tells which shares it expects.
        DataError: the file can't be read, or its labels are not the adapter's.
    """
    folder = adapter_folder(adapter)
    record = read_adapter_record(folder)
    fitted = fitted_temperature(folder, record)
    if class_shares is not None:
        asked_shares(class_shares, record.labels)  # refused before rows are read
    split, read_as = labelled_rows(record, test_file, text_column, label_column, Telling(note))
    classifier = load_as_read(folder, record, class_shares)
    _, probabilities = predict_texts(classifier, split.texts, "testing", note)
    scores = metrics.score(split.labels, probabilities)
    of_run, unknown = _of_run(folder, record, split.texts)
    said = "; ".join(filter(None, (read_as, _empty(split), unknown, earlier_winner(folder, record)))) or None
    shift = classifier.shift
    predicted = _divided(fitted, split, probabilities) if shift is None else None
    return Evaluated(
        str(adapter), str(test_file), record.labels, scores, said, **of_run, predicted=predicted, shift=shift
    )


def _empty(split: Split) -> str | None:
    empty = sum(not text.strip() for text in split.texts)
    have, are = ("has", "is") if empty == 1 else ("have", "are")
    return f"{plural(empty, 'row')} {have} no text, and {are} scored all the same" if empty else None


def _divided(fitted: Temperature | None, split: Split, probabilities: NDArray[np.float64]) -> Divided | None:
    if fitted is None:
        return None
    shares = at_temperature(probabilities, fitted.value)
    errors = metrics.log_loss(split.labels, shares), metrics.expected_calibration_error(split.labels, shares)
    return Divided(fitted.value, fitted.rows, *errors)


def _of_run(folder: Path, record: TrialRecord, texts: Sequence[str]) -> tuple[dict[str, int], str | None]:
    """How many of `texts` the adapter's run trained, chose and tested on, if that is known; or why damage hides it."""
    try:
        data = rows_of(folder)
    except RunError as error:
        return {}, f"whether these rows are its run's is not known: {error}"
    if data is None:
        return {}, None
    trained, chosen, tested = (set(map(text_key, split.texts)) for split in (data.train, data.validation, data.test))
    if record.is_refitted:
        trained = set(map(text_key, with_validation(data).texts))
        chosen -= trained
    keys = [text_key(text) for text in texts]
    sets = {"trained_on": trained, "chosen_on": chosen, "tested_on": tested}
    return {name: sum(key in own for key in keys) for name, own in sets.items()}, None
