"""Which columns of a file to predict are the text."""

from __future__ import annotations

import pytest

from loraloom.errors import DataError
from loraloom.use.windows import text_columns


def test_a_column_is_asked_for_by_its_option_where_it_is_not_known() -> None:
    assert text_columns({"id": 1, "text": "a"}, None, "rows.csv") == ("text",)
    with pytest.raises(DataError, match=r"has no column 'body'; it has id, text; name the text's by --text_column$"):
        text_columns({"id": 1, "text": "a"}, ("body",), "rows.csv")


@pytest.mark.parametrize("wanted", [None, ("text",)])
def test_columns_that_are_separated_otherwise_are_not_to_be_named(wanted: tuple[str, ...] | None) -> None:
    with pytest.raises(
        DataError, match=r"it has id;text; its cells seem to be separated by ';': separate them by ','$"
    ):
        text_columns({"id;text": "1;a"}, wanted, "rows.csv")
