"""Opens data files: tells their kind by suffix, decompresses as it reads, and decodes strictly, line by line.

Nothing is read whole: a file of any size, compressed or not, takes the memory of its longest line.
Rejected: sniffing kinds from content, and replacing bytes that are not UTF-8; both turn damage into data.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import IO, Literal, cast

from loraloom.data.zstd import open_zstd, zstd_error
from loraloom.errors import DataError

Kind = Literal["csv", "tsv", "jsonl", "parquet", "folder"]

MAX_LINE_BYTES = 64_000_000
BOM = b"\xef\xbb\xbf"
_KINDS: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
_PICKLES = {".pkl", ".pickle"}
_UNSAFE = {".pt", ".pth", ".bin", ".joblib", ".npy", ".npz"}


@dataclass(frozen=True, slots=True)
class Format:
    """How a file is to be read: what it holds, and the suffix of its compression, or ''."""

    kind: Kind
    compression: str


def format_of(path: Path) -> Format:
    """Told by the suffixes alone: rows.csv, rows.jsonl.zst, or a folder."""
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from None
    if is_folder:
        return Format("folder", "")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in _COMPRESSIONS else ""
    suffix = suffixes[-1] if suffixes else ""
    if suffix in _PICKLES:
        raise DataError(f"{path}: {_pickle_refused(path)}")
    if suffix in _UNSAFE:
        raise DataError(f"{path}: {suffix} files can run code when they are read; give CSV, JSONL or Parquet")
    if not exists:
        raise DataError(f"{path}: there is no such file or folder")
    if suffix not in _KINDS:
        raise DataError(
            f"{path}: its kind can't be told by its suffix; it must be {', '.join(_KINDS)} "
            f"(also with {', '.join(_COMPRESSIONS)}) or a folder of folders of .txt files"
        )
    return Format(_KINDS[suffix], compression)


def _pickle_refused(path: Path) -> str:
    """Why, and a line that the user may run: both pandas' frames and datasets' have `to_parquet`."""
    code = f"import pandas; pandas.read_pickle({str(path)!r}).to_parquet({f'{path}.parquet'!r})"
    return (
        "a pickle can run code when it is read, so it is never read here; if you trust whoever made it, convert it "
        f"yourself, once, where nothing can be harmed, and give {path}.parquet: python -c {quote(code)}"
    )


@contextmanager
def open_bytes(path: Path, compression: str) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed as they are read; a DataError where that fails, also half-way."""
    failures: list[type[Exception]] = [OSError, EOFError, zlib.error, lzma.LZMAError]
    if compression == ".zst":
        failures.append(zstd_error())
    try:
        with _opened(path, compression) as file:
            yield file
    except tuple(failures) as error:
        does = "decompressed" if compression else "read"
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: can't be {does} ({reason})") from None


def _opened(path: Path, compression: str) -> IO[bytes]:
    if compression == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if compression == ".bz2":
        return cast(IO[bytes], bz2.open(path, "rb"))
    if compression == ".xz":
        return cast(IO[bytes], lzma.open(path, "rb"))
    if compression == ".zst":
        return open_zstd(path)
    return path.open("rb")


def lines_of(file: IO[bytes], source: str) -> Iterator[str]:
    """Lines with their ends, decoded as UTF-8 with or without a byte order mark.

    Raises:
        DataError: a byte that is not UTF-8 or is NUL, with its position from 0; a line beyond 64 MB.
    """
    position = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        if len(raw) > MAX_LINE_BYTES:
            raise DataError(f"{source}: the line at byte {position} is longer than {MAX_LINE_BYTES:,} bytes")
        start, position = position, position + len(raw)
        if (nul := raw.find(b"\0")) >= 0:
            raise DataError(f"{source}: has a NUL byte at byte {start + nul}; this is not a text file")
        if start == 0 and raw.startswith(BOM):
            raw, start = raw[len(BOM) :], len(BOM)
        yield _decoded(raw, start, source)


def _decoded(raw: bytes, start: int, source: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = start + error.start
        raise DataError(
            f"{source}: byte {bad} (0x{raw[error.start]:02x}) is not UTF-8; convert the file to UTF-8"
        ) from None
