"""X and y as scikit-learn's users have them: one column of texts, and labels of any kind that it allows.

No library of frames is imported: what a column can do is asked of it.
"""

from __future__ import annotations

import math
from collections.abc import Set
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from loraloom.data.cells import text_problem
from loraloom.data.tables import Table
from loraloom.data.wording import listed_to_answer
from loraloom.estimator.saved import is_type_of_classes


def texts_of(X: Any) -> list[str]:  # noqa: N803
    """The texts (N,) of a list, an array (N,) or (N, 1), a pandas or polars Series, or a frame of one column.

    Raises:
        TypeError: X is one text, or no column.
        ValueError: X has several columns, or a cell of it is missing or is no text.
    """
    if isinstance(X, str | bytes):
        raise TypeError("X is one text; give a column of texts, such as a list of one")
    if issparse(X):
        raise TypeError("X is a sparse matrix of numbers; LoraClassifier reads texts")
    cells = [cell.item() if isinstance(cell, np.generic) else cell for cell in _column(X)]
    for row, cell in enumerate(cells):
        if problem := _problem(cell):
            raise ValueError(f"row {row} of X {problem}")
    return cells


def _column(X: Any) -> Any:  # noqa: N803
    shape = getattr(X, "shape", None)
    if shape is None or len(shape) == 1:
        if not hasattr(X, "__len__") or isinstance(X, dict | Set):
            raise TypeError(
                f"X is of type {type(X).__name__}; give a list, an array, a Series, or a frame of one column"
            )
        return X
    if len(shape) != 2 or shape[1] != 1:
        names = listed_to_answer([*map(str, getattr(X, "columns", ()))])
        has = f"has the columns {names}" if names and len(shape) == 2 else f"has the shape {tuple(shape)}"
        raise ValueError(f"X {has}; give the one column that holds the texts, as in X['text']")
    if hasattr(X, "iloc"):
        return X.iloc[:, 0]
    return X.to_series() if hasattr(X, "to_series") else np.asarray(X)[:, 0]


def _problem(cell: Any) -> str | None:
    if isinstance(cell, str):
        return text_problem(cell)
    if cell is None or type(cell).__name__ in ("NAType", "NaTType") or (isinstance(cell, float) and cell != cell):  # noqa: PLR0124
        return "is missing; fill it, as by X.fillna(''), or drop it"
    return f"is of type {type(cell).__name__}, not a text"


def classes_of(y: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The classes (C,), sorted as scikit-learn sorts them, and the number of each row's class (N,).

    Raises:
        ValueError: y is missing or is no column of labels, a label is missing or blank, there is one class only, or
            labels are neither texts nor numbers.
    """
    labels = labels_of(y)
    classes, ids = np.unique(labels, return_inverse=True)
    if not is_type_of_classes(classes):
        raise ValueError(_other_type(classes.dtype))
    if len(classes) < 2:
        raise ValueError(f"y has one class only, {classes.tolist()[0]!r}; two or more can be told apart")
    names = [str(label) for label in classes]
    if len(set(names)) < len(names):
        raise ValueError("y has two classes that are written alike; rename one")
    for name in names:
        if not name.strip():
            raise ValueError(f"y has the blank label {name!r}; name it, or take its rows out")
        if problem := text_problem(name):
            raise ValueError(f"the class {name!a} of y {problem}")
    return classes, ids.astype(np.int64)


def ids_among(classes: NDArray[Any], y: Any, what: str) -> NDArray[np.int64]:
    """The numbers of labels among known classes.

    Raises:
        ValueError: as `classes_of`, or a label is not among them.
    """
    labels = labels_of(y)
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    ids = [numbers.get(label) for label in labels.tolist()]  # by ==: 1 is 1.0 and True, and never "1", as in NumPy
    if None in ids:
        raise ValueError(f"{what} has a label that y has not: {labels.tolist()[ids.index(None)]!r}")
    return np.array(ids, dtype=np.int64)


def labels_of(y: Any) -> NDArray[Any]:
    """The labels (N,) of a list, array or column.

    Raises:
        ValueError: see `classes_of`.
    """
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    if getattr(getattr(y, "dtype", None), "kind", None) == "T":  # NumPy's StringDType, which scikit-learn does not take
        raise ValueError(_other_type(y.dtype))
    if hasattr(y, "isna") and bool(np.any(y.isna())):
        raise ValueError("Input y contains NaN: a label is missing")
    if isinstance(y, list | tuple) and any(isinstance(label, float) and math.isnan(label) for label in y):
        raise ValueError("Input y contains NaN: a label is missing")  # NumPy writes 'nan' where others are texts
    # scikit-learn makes floats of pandas' own whole numbers and truth values; the column itself doesn't.
    given = column_or_1d(y.to_numpy() if hasattr(y, "to_numpy") else y, warn=True)
    labels: NDArray[Any] = check_array(given, ensure_2d=False, dtype=None, input_name="y")
    if labels.dtype.kind == "O" and any(label is None for label in labels):
        raise ValueError("Input y contains NaN: a label is None")
    if labels.dtype.kind == "O":
        mixed = len({isinstance(label, str) for label in labels}) > 1
    else:  # NumPy has made texts of a list's numbers
        listed = labels.dtype.kind == "U" and isinstance(y, list | tuple)
        mixed = listed and any(isinstance(one, Number | np.bool_) for one in y)
    if mixed:
        raise ValueError("y mixes texts with numbers or truth values; its labels must all be of one kind")  # 1 and '1'
    check_classification_targets(labels)
    return labels


def _other_type(dtype: Any) -> str:
    return f"y has labels of the type {dtype}; give texts or numbers, as by y.astype(str)"


def table_of_rows(what: str, texts: list[str], ids: NDArray[np.int64], classes: NDArray[Any]) -> Table:
    """Rows as the data's loader takes them: numbers of classes, whose names stand beside them in their order."""
    if len(texts) != len(ids):
        raise ValueError(f"{what}: found {len(texts)} texts but {len(ids)} labels: inconsistent numbers of samples")
    names = {"label": tuple(str(label) for label in classes)}
    return Table(what, {"text": texts, "label": ids.tolist()}, names, known=True, coded=False)
