"""X is one column of texts, y one of labels, in whatever holds columns; else it is said what is wrong, and where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_array

from loraloom.estimator.columns import classes_of, ids_among, texts_of

TEXTS = ["one", "two", ""]


@pytest.mark.parametrize(
    "column",
    [
        TEXTS,
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        np.array(TEXTS)[:, None],
        np.array(TEXTS, dtype=np.dtypes.StringDType()),
        pd.Series(TEXTS, index=[7, 8, 9]),
        pd.Series(TEXTS, dtype="string"),
        pd.DataFrame({"text": TEXTS}),
        pl.Series("text", TEXTS),
        pl.Series("text", TEXTS, dtype=pl.Categorical),
        pl.DataFrame({"text": TEXTS}),
    ],
    ids=lambda column: f"{type(column).__module__}.{type(column).__name__}",
)
def test_texts_are_read_from(column: Any) -> None:
    texts = texts_of(column)
    assert texts == TEXTS
    assert {type(text) for text in texts} == {str}


@pytest.mark.parametrize(
    ("column", "error", "said"),
    [
        ("one text", TypeError, "X is one text"),
        (7, TypeError, "X is of type int"),
        ({"text": TEXTS}, TypeError, "X is of type dict"),
        (set(TEXTS), TypeError, "X is of type set"),
        (csr_array((3, 3)), TypeError, "sparse matrix"),
        (np.zeros((3, 1)), ValueError, "row 0 of X is of type float, not a text"),
        (pd.DataFrame({"title": TEXTS, "body": TEXTS}), ValueError, r"has the columns 'title', 'body'; .*X\['text'\]"),
        (
            pd.DataFrame(np.zeros((3, 200))),
            ValueError,
            r"has the columns '0', '1', .*, '99' and 100 more; give the one",
        ),
        (np.array([TEXTS, TEXTS]), ValueError, r"has the shape \(2, 3\)"),
        (["one", None], ValueError, "row 1 of X is missing; fill it"),
        (pd.Series(["one", None]), ValueError, "row 1 of X is missing"),
        (pd.Series(["one", pd.NA], dtype="string"), ValueError, "row 1 of X is missing"),
        (pl.Series(["one", None]), ValueError, "row 1 of X is missing"),
        (["one", ["two"]], ValueError, "row 1 of X is of type list"),
        (["one", "\ud800"], ValueError, "row 1 of X"),
    ],
)
def test_what_is_no_column_of_texts_is_refused(column: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        texts_of(column)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (["b", "a", "b"], ["a", "b"]),
        ([10, 9, 10], [9, 10]),
        ([True, False, True], [False, True]),
        (np.array([1.0, 0.0, 1.0]), [0.0, 1.0]),
        (pd.Series(["b", "a", "b"], dtype="category"), ["a", "b"]),
        (pd.Series([2, 1, 2], dtype="Int64"), [1, 2]),
        (pd.Series([2**53 + 1, 2**53, 2**53 + 1], dtype="Int64"), [2**53, 2**53 + 1]),
        (pd.Series([2, 1, 2], dtype="int64[pyarrow]"), [1, 2]),
        (pd.Series([True, False, True], dtype="boolean"), [False, True]),
        (pl.Series(["b", "a", "b"]), ["a", "b"]),
        (pl.Series(["b", "a", "b"], dtype=pl.Categorical), ["a", "b"]),
        (pl.Series(["b", "a", "b"], dtype=pl.Enum(["b", "a"])), ["a", "b"]),
    ],
)
def test_classes_are_sorted_as_scikit_learn_sorts_them(y: Any, classes: list[Any]) -> None:
    found, ids = classes_of(y)
    assert found.tolist() == classes
    assert [type(each) for each in found.tolist()] == [type(each) for each in classes]
    assert ids.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (None, "requires y to be passed"),
        (["a", "a"], "y has one class only"),
        (["1", 1, "2", 2], "y mixes texts with numbers"),
        (("a", np.True_), "y mixes texts with numbers or truth values"),
        (pd.Series(["a", 1, "b"]), "y mixes texts with numbers"),
        (pd.Series([1, "a", "b"]), "y mixes texts with numbers"),
        (np.array(["a", True], dtype=object), "y mixes texts with numbers"),
        (["", "spam"], "y has the blank label ''; name it, or take its rows out"),
        ([0.5, 1.2, 0.7], "Unknown label type"),
        (["a", None], "Input y contains NaN"),
        ([1.0, float("nan")], "Input y contains NaN"),
        (["a", float("nan"), "b"], "Input y contains NaN"),
        (pd.Series(["a", None, "b"]), "Input y contains NaN"),
        ([["a", "b"], ["b", "a"]], "1d array"),
        (np.array(["2026-01-01", "2026-01-02"], dtype="M8[D]"), r"of the type datetime64\[D\]; give texts or numbers"),
        (np.array([1, 2], dtype="m8[s]"), r"of the type timedelta64\[s\]"),
        (np.array(["a", "b"], dtype=np.dtypes.StringDType()), r"of the type StringDType\(\); give texts or numbers"),
        (np.array([1.0, 2.0], dtype=np.longdouble), "of the type float128|of the type float96"),
    ],
)
def test_what_is_no_column_of_labels_is_refused(y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        classes_of(y)


def test_labels_of_other_rows_are_numbered_by_those_of_y() -> None:
    classes, _ = classes_of(["b", "a", "c"])
    assert ids_among(classes, ["c", "a"], "y_val").tolist() == [2, 0]
    with pytest.raises(ValueError, match="y_val has a label that y has not: 'd'"):
        ids_among(classes, ["a", "d"], "y_val")


def test_labels_are_compared_by_value_and_never_as_text() -> None:
    classes, _ = classes_of([2, 10, 1])
    with pytest.raises(ValueError, match="y_val has a label that y has not: '10'"):
        ids_among(classes, ["10", "2"], "y_val")
    assert ids_among(classes, [10.0, 1.0], "y_val").tolist() == [2, 0]
    assert ids_among(classes, np.array([10, 2], dtype=np.int8), "y_val").tolist() == [2, 1]
    truths, _ = classes_of([True, False])
    assert ids_among(truths, [0, 1], "y_val").tolist() == [0, 1]
