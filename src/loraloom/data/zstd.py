"""Reads .zst files, of one frame or several.

Rejected: zstandard's own reader, which takes a file that was cut off for a whole one: rows would be missing
without a word.
"""

from __future__ import annotations

import io
from typing import IO, Any, cast

from loraloom.errors import MissingExtraError

_PACKED_BYTES = 16_384


def zstd_error() -> type[Exception]:
    """What zstandard raises for damaged data."""
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("reading .zst files", "zstd") from None
    return zstandard.ZstdError


def open_zstd(file: IO[bytes]) -> IO[bytes]:
    """What `file`, which is left open, holds compressed."""
    return cast(IO[bytes], io.BufferedReader(_ZstdReader(file)))


class _ZstdReader(io.RawIOBase):
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._frame: Any = None  # the decompressor of a frame that has begun
        self._packed = self._plain = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._plain and self._has_packed():
            self._decompress()
        given, self._plain = self._plain[: len(buffer)], self._plain[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)

    def _has_packed(self) -> bool:
        self._packed = self._packed or self._file.read(_PACKED_BYTES)
        if not self._packed and self._frame is not None:
            raise EOFError("the file ends in the middle of a frame")
        return bool(self._packed)

    def _decompress(self) -> None:
        import zstandard

        if self._frame is None:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._plain = self._frame.decompress(self._packed)
        self._packed = self._frame.unused_data
        if self._frame.eof:
            self._frame = None
