"""How p-values are written."""

from __future__ import annotations

import pytest

from loraloom.report.wording import p_value


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0004, "p < 0.001"),
        (0.0312, "p = 0.031"),
        (0.0494, "p = 0.049"),
        (0.0497, "p = 0.0497"),
        (0.04996, "p = 0.04996"),
        (0.05, "p = 0.050"),
        (0.0503, "p = 0.050"),
        (0.0996, "p = 0.100"),
        (0.45, "p = 0.45"),
        (1, "p = 1.00"),
    ],
)
def test_a_p_value_has_as_many_digits_as_matter(p: float, text: str) -> None:
    assert p_value(p) == text
