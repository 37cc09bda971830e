"""Compressed files: of one stream or several, and every way in which rows could be missing without a word."""

from __future__ import annotations

import io
import tracemalloc
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.data.opening import COMPRESSIONS, open_bytes
from loraloom.errors import DataError
from tests.data.files import compress

ROWS = b"".join(b"%d\n" % number for number in range(10_000))


def _read(path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    with open_bytes(path, path.suffix) as plain:
        return plain.read()


def _refusal(path: Path, content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        _read(path, content)
    return str(caught.value)


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_a_file_that_is_not_compressed_is_refused(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("zstandard")
    assert "can't be decompressed" in _refusal(tmp_path / f"rows{suffix}", b"not compressed at all")


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("before", [b"", ROWS])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, suffix: str, before: bytes) -> None:
    whole = (compress(suffix, before) if before else b"") + compress(suffix, ROWS)
    for missing in (1, 100, len(compress(suffix, ROWS)) - 2):
        assert "can't be decompressed" in _refusal(tmp_path / f"rows{suffix}", whole[:-missing])


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_streams_one_after_the_other_are_one_file(tmp_path: Path, suffix: str) -> None:
    parts = compress(suffix, b"a\n") + compress(suffix, b"") + compress(suffix, ROWS)
    assert _read(tmp_path / f"rows{suffix}", parts) == b"a\n" + ROWS


@pytest.mark.parametrize(
    ("suffix", "place"), [(".gz", 0), (".bz2", 0), (".xz", 0), (".zst", 0), (".bz2", 20), (".xz", 20)]
)
def test_damage_at_the_beginning_of_a_later_stream_is_refused(tmp_path: Path, suffix: str, place: int) -> None:
    damaged = bytearray(compress(suffix, ROWS))
    damaged[place] ^= 255
    content = compress(suffix, b"a\n") + bytes(damaged)
    assert "can't be decompressed" in _refusal(tmp_path / f"rows{suffix}", content)


@pytest.mark.parametrize("zeros", [4, 4_096])
def test_zero_bytes_after_a_stream_of_xz_do_not_end_the_file(tmp_path: Path, zeros: int) -> None:
    stream = compress(".xz", ROWS)
    assert _read(tmp_path / "rows.xz", (stream + bytes(zeros)) * 2) == ROWS * 2


@pytest.mark.parametrize("suffix", [".bz2", ".zst"])
def test_what_follows_the_last_stream_and_is_none_is_refused(tmp_path: Path, suffix: str) -> None:
    assert "can't be decompressed" in _refusal(tmp_path / f"rows{suffix}", compress(suffix, ROWS) + bytes(4))


@given(parts=st.lists(st.binary(max_size=40), min_size=1, max_size=4), size=st.integers(1, 50))
@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_no_byte_is_lost_however_few_are_asked_for(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, parts: list[bytes], size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / f"parts{suffix}"
    path.write_bytes(b"".join(compress(suffix, part * 50) for part in parts))
    with open_bytes(path, suffix) as plain:
        assert b"".join(iter(partial(plain.read, size), b"")) == b"".join(part * 50 for part in parts)


class _OneByOne(io.BytesIO):
    """A pipe that is written to slowly: what is there is one byte."""

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(min(1, size) if size is not None and size >= 0 else 1)


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_a_pipe_may_give_one_byte_after_the_other(suffix: str) -> None:
    with open_bytes("standard input", suffix, _OneByOne(2 * compress(suffix, ROWS[:900]))) as plain:
        assert plain.read() == 2 * ROWS[:900]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_what_unpacks_to_hundreds_of_times_its_size_takes_little_memory(tmp_path: Path, suffix: str) -> None:
    content = b"the same text\n" * 5_000_000
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(compress(suffix, content))
    tracemalloc.start()
    try:
        with open_bytes(path, suffix) as plain:
            assert sum(map(len, iter(partial(plain.read, 100_000), b""))) == len(content)
        assert tracemalloc.get_traced_memory()[1] < len(content) / 3
    finally:
        tracemalloc.stop()
