"""What is made of errors that are not ours."""

from __future__ import annotations

import pytest

from loraloom.errors import first_line, in_a_line


@pytest.mark.parametrize(
    ("error", "line", "with_kind"),
    [
        (OSError("\nno space left\non device"), "no space left", "OSError: no space left"),
        (ValueError(), "ValueError", "ValueError"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError"),
    ],
)
def test_an_error_is_told_by_its_first_line_or_its_kind(error: Exception, line: str, with_kind: str) -> None:
    assert (first_line(error), in_a_line(error)) == (line, with_kind)
