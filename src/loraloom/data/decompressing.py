"""Reads what bzip2, xz or zstd compressed, in one stream or several, one after the other.

Rejected: the standard library's readers of bzip2 and xz, which take damage at the beginning of a later stream, and
the zero bytes that xz may have between streams, for the end of the file; and zstandard's own reader, which takes a
file that was cut off for a whole one. Rows would be missing without a word.
"""

from __future__ import annotations

import io
from bz2 import BZ2Decompressor
from collections.abc import Callable
from lzma import LZMADecompressor
from typing import IO, Any, cast

from loraloom.errors import MissingExtraError

_PACKED_BYTES = 1_024  # a frame of zstd can have 128 KiB in four bytes, and all of them are had at once


def zstd_error() -> type[Exception]:
    """What zstandard raises for damaged data.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("reading .zst files", "zstd") from None
    return zstandard.ZstdError


def open_bzip2(file: IO[bytes]) -> IO[bytes]:
    """What `file`, which is left open, holds compressed."""
    return _opened(_Streams(file, BZ2Decompressor))


def open_xz(file: IO[bytes]) -> IO[bytes]:
    """The same of xz, which may have zero bytes after a stream."""
    return _opened(_Streams(file, LZMADecompressor, padding=b"\0"))


def open_zstd(file: IO[bytes]) -> IO[bytes]:
    """The same of zstd, whose streams are called frames."""
    return _opened(_Streams(file, _Frame))


def _opened(streams: _Streams) -> IO[bytes]:
    return cast(IO[bytes], io.BufferedReader(streams))


class _Streams(io.RawIOBase):
    def __init__(self, file: IO[bytes], decompressor: Callable[[], Any], padding: bytes = b"") -> None:
        self._file, self._decompressor, self._padding = file, decompressor, padding
        self._stream = decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        plain = b""
        while not plain and (packed := self._packed()) is not None:
            plain = self._stream.decompress(packed, len(buffer))
        buffer[: len(plain)] = plain
        return len(plain)

    def _packed(self) -> bytes | None:
        """What the stream goes on with, or another begins with; None after the last."""
        if self._stream.eof:
            return self._begun()
        if not self._stream.needs_input:
            return b""
        if packed := self._file.read(_PACKED_BYTES):
            return packed
        raise EOFError("the file ends in the middle of a stream")

    def _begun(self) -> bytes | None:
        packed: bytes = self._stream.unused_data
        while not (begin := packed.lstrip(self._padding)):
            if not (packed := self._file.read(_PACKED_BYTES)):
                return None
        self._stream = self._decompressor()
        return begin


class _Frame:
    """A frame's decompressor as the standard library has them: zstandard's gives all at once, however much it is."""

    def __init__(self) -> None:
        import zstandard

        self._frame: Any = zstandard.ZstdDecompressor().decompressobj()
        self._plain = memoryview(b"")

    @property
    def eof(self) -> bool:
        return self._frame.eof and not self._plain

    @property
    def needs_input(self) -> bool:
        return not self._plain

    @property
    def unused_data(self) -> bytes:
        unused: bytes = self._frame.unused_data
        return unused

    def decompress(self, packed: bytes, most: int) -> memoryview:
        if packed:
            self._plain = memoryview(self._frame.decompress(packed))
        given, self._plain = self._plain[:most], self._plain[most:]
        return given
