"""An estimator in a folder: an adapter's, as RUN/best is, and estimator.json with its classes and parameters.

The folder is one that `loraloom.load`, `evaluate` and PEFT take as well. No pickle: classes are JSON beside the type of
their array. A recipe's file is kept by what it holds. The run's folder is left out, and, with a warning, what JSON
can't hold (a random generator, say).
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loraloom.errors import AdapterError, RecipeError
from loraloom.estimator.settings import only_written
from loraloom.recipe import read_recipe
from loraloom.recipe.reading import plain
from loraloom.study.durable import MANIFEST, files_beside, is_whole, read_verified, replacing_folder
from loraloom.study.evidence import VALIDATION
from loraloom.study.record import BY_TFIDF, METRICS, PROFILE, TEST_PREDICTIONS, TrialRecord, read_record
from loraloom.use.adapter_checks import CLASSES, identity
from loraloom.use.copies import KEPT, keep_fitted

if TYPE_CHECKING:
    from loraloom.use.adapter import Classifier

FORMAT = 1
_TYPE = re.compile(r"[<>|=]?(U\d{1,6}|[iu][1248]|b1|f[248])|object")
MOST_CHARACTERS = 16_000_000
"""Of all classes, each as wide as the widest: an array of texts has them so."""
_TRIAL_ONLY = METRICS, VALIDATION, PROFILE, TEST_PREDICTIONS, BY_TFIDF
"""Files of a trial that using its adapter does not need; some hold texts of the rows, or their labels."""


@dataclass(eq=False)
class Kept:
    """An adapter's folder, and the classifier in it, loaded when it is first asked for.

    Others may replace a folder until then, and their adapter would answer with this one's classes: so its identity is
    that of when this was made, or it is refused.
    """

    folder: Path
    _identity: list[str | None] = field(init=False)

    def __post_init__(self) -> None:
        self._identity = identity(self.folder)

    @cached_property
    def classifier(self) -> Classifier:
        """The classifier.

        Raises:
            AdapterError: the folder was replaced, or can't be read.
        """
        from loraloom.use.backbones import load

        classifier = load(self.folder)
        self._refuse_another(self.folder)
        return classifier

    def let_go(self) -> None:
        """Frees the classifier, which is loaded anew when it is asked for again."""
        vars(self).pop("classifier", None)

    def copy_to(self, target: Path) -> None:
        """Copies what using the adapter needs into the folder `target`, of validation rows what they tell `predict`.

        Raises:
            AdapterError: the folder was replaced, or can't be read.
        """
        unneeded = shutil.ignore_patterns(MANIFEST, *KEPT, *_TRIAL_ONLY)
        try:
            shutil.copytree(self.folder, target, dirs_exist_ok=True, ignore=unneeded)
        except FileNotFoundError:
            raise AdapterError(f"{self.folder}: is no longer there; load the estimator again") from None
        self._refuse_another(target)
        keep_fitted(self.folder, read_record(target), target)
        self._refuse_another(self.folder)

    def _refuse_another(self, folder: Path) -> None:
        if identity(folder) != self._identity:
            another = "holds another adapter than when this estimator was made of it"
            raise AdapterError(f"{self.folder}: {another}; load the estimator again")


def save(
    kept: Kept,
    target: Path,
    classes: NDArray[Any],
    parameters: dict[str, Any],
    *,
    partial: bool = False,
    columns: Sequence[str] | int | None = None,
) -> None:
    """Makes `target` of a kept adapter, whole or not at all; one that was saved before is replaced.

    Parameters that can't be kept are warned of; `partial`: fit ended before its plan was done. `columns` are the names
    of a frame's, or how many X had, or None where it was of one dimension.

    Raises:
        AdapterError: `target` holds something else, or more, or lies within the adapter's folder, or that was replaced.
    """
    _refuse_others(target)
    if kept.folder.resolve() in target.resolve().parents:
        raise AdapterError(f"{target}: lies within {kept.folder}, the adapter's own folder; choose another one")
    about = {
        "format": FORMAT,
        "classes": {"dtype": _type_of(classes), "values": classes.tolist()},
        "parameters": _kept_of(parameters),
        "partial": partial,
        "columns": columns,
    }
    with replacing_folder(target.resolve()) as new:  # a link stays one
        kept.copy_to(new)
        (new / CLASSES).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _refuse_others(target: Path) -> None:
    """Refuses a place that holds what was not saved there as an estimator, and would be lost."""
    if target.exists() and target.samefile("."):  # it would be removed, and whoever stands in it be nowhere
        raise AdapterError(f"{target}: is the folder that you are in; name one in it, or another")
    if not target.is_file() and (not target.is_dir() or not any(target.iterdir())):
        return
    if not (target / CLASSES).is_file() or not is_whole(target):
        raise AdapterError(f"{target}: is not empty, and is no estimator that was saved before; choose another folder")
    if others := files_beside(target):
        raise AdapterError(
            f"{target / others[0]}: is no part of the estimator that was saved there; choose another folder"
        )


def read(folder: Path, record: TrialRecord) -> tuple[NDArray[Any], dict[str, Any], bool, tuple[str, ...] | int | None]:
    """The classes, by the columns of the adapter's logits, the parameters, whether fit was ended early, X's columns.

    A folder that tells none of them has its labels, no parameters, and whether a clock ended its training.

    Raises:
        AdapterError: estimator.json can't be read, is another version's, or is not of this adapter.
    """
    path = folder / CLASSES
    if not path.is_file():
        return np.array(record.labels), {}, record.cut_short, None
    try:
        about = json.loads(read_verified(folder, CLASSES))
        if about["format"] != FORMAT:
            why = f"another version of loraloom wrote it (format {about['format']!r:.40}, this one has {FORMAT})"
            raise AdapterError(f"{path}: can't be read: {why}; load it by that version")
        classes = _array(about["classes"]["dtype"], about["classes"]["values"], count=len(record.labels))
        parameters = {name: value for name, value in dict(about["parameters"]).items() if _is_kept(name, value)}
        partial = bool(about.get("partial", record.cut_short))
        columns = about.get("columns")
        columns = tuple(map(str, columns)) if isinstance(columns, list) else None if columns is None else int(columns)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise AdapterError(f"{path}: can't be read: {error}") from None
    if tuple(str(label) for label in classes) != record.labels:
        raise AdapterError(f"{path}: does not belong to the adapter beside it; save the estimator again")
    return classes, parameters, partial, columns


def is_type_of_classes(classes: NDArray[Any]) -> bool:
    """Whether classes of this type can be saved: texts, whole numbers, numbers of 64 bits at most, or truths."""
    return _TYPE.fullmatch(_type_of(classes)) is not None


def _type_of(classes: NDArray[Any]) -> str:
    return "object" if classes.dtype.kind == "O" else classes.dtype.str


def _array(dtype: str, values: list[Any], count: int) -> NDArray[Any]:
    """As wide as its texts are: a width that is only claimed could take all memory."""
    if _TYPE.fullmatch(dtype) is None:
        raise ValueError(f"{dtype!r} is no type of classes")
    if not isinstance(values, list) or not all(isinstance(value, str | int | float) for value in values):
        raise ValueError("a class is a text or a number")
    if len(values) != count:
        raise ValueError(f"it has {len(values)} classes, and the adapter {count}")
    if "U" in dtype and count * max(len(str(value)) for value in values) > MOST_CHARACTERS:
        raise ValueError("its classes are too long")
    classes = np.array(values, dtype="U" if "U" in dtype else dtype)
    np.sort(classes)  # raises TypeError where they have no order, as a text and a number have not
    return classes


def _kept_of(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as JSON has them, with a warning of those that it can't hold: who fits again would train otherwise."""
    kept = {}
    for name, value in parameters.items():
        if name == "run_dir":
            continue
        written, why = plain(value), f"it is {value!r}"
        if name == "recipe" and isinstance(written, dict):
            written.pop("provenance", None)  # of a run's: texts of rows, its machine
        if name == "recipe" and isinstance(value, str | Path):
            try:
                written = only_written(read_recipe(value))
            except RecipeError as error:
                written, why = value, str(error)
        if _is_kept(name, written):
            kept[name] = written
        else:
            lost = f"{name}: can't be saved ({why}), so that the estimator that is loaded has none"
            warnings.warn(f"{lost}; set it before you fit that one again", stacklevel=4)
    return kept


def _is_kept(name: str, value: Any) -> bool:
    if name == "run_dir" or (name == "recipe" and isinstance(value, str)):
        return False
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
