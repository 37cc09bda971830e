"""table_of: sources in memory as named columns."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from loraloom.data.tables import table_of


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
def test_what_is_missing_in_a_pair_is_what_is_missing_in_a_frame(missing: Any) -> None:
    cells = {"text": ["a", missing], "label": [missing, "b"]}
    for source in ((cells["text"], cells["label"]), pd.DataFrame(cells)):
        table = table_of(source, "rows")
        assert (table.cells("text"), table.cells("label")) == (["a", None], [None, "b"])


def test_columns_of_pandas_own_types_are_a_pair() -> None:
    texts, labels = pd.Series(["a", None], dtype="string"), pd.Series([1, None], dtype="Int64")
    table = table_of((texts, labels), "rows")
    assert (table.cells("text"), table.cells("label")) == (["a", None], [1, None])
