"""The hashes by which a content security policy lets a page's own scripts and styles through."""

from __future__ import annotations

import pytest

from loraloom.report.policy import source_hash


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_source_is_hashed_as_a_browser_reads_it_whatever_its_line_ends(line_end: str) -> None:
    """The digest is openssl's, of the bytes with LF."""
    assert source_hash(f"{line_end}let a;{line_end}") == "sha256-mVUM17+Pgbr9k4nIeoTtZL1k7gaurHNmkpipEynFfgk="
