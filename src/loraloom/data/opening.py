"""Opens data files: tells their kind by suffix, decompresses as it reads, and decodes strictly, line by line.

Nothing is read whole: a file of any size, compressed or not, takes the memory of its longest line.
Rejected: sniffing kinds from content, and replacing bytes that are not UTF-8; both turn damage into data.
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import IO, Any, Literal

from loraloom.data.decompressing import open_bzip2, open_xz, open_zstd, zstd_error
from loraloom.errors import DataError, without_path

Kind = Literal["csv", "tsv", "jsonl", "parquet", "folder"]

MAX_LINE_BYTES = 64_000_000
BOM = b"\xef\xbb\xbf"
_UTF16 = b"\xff\xfe", b"\xfe\xff"
_CONVERT = "convert the file to UTF-8: iconv -f {} -t UTF-8 OLD > NEW"
NOT_UTF8 = f"is not UTF-8; {_CONVERT.format('CP1252')}, where CP1252 is the encoding of Western Europe"
"""What is said of a byte."""
_KINDS: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
_MAGIC = {
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\xfd7zXZ\0": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"\x50\x2a\x4d\x18": ".zst",  # pzstd's, which begins with a frame that is passed over
}
LONGEST_MAGIC = 6
_PICKLES = {".pkl", ".pickle"}
_UNSAFE = {".pt", ".pth", ".bin", ".joblib", ".npy", ".npz"}


@dataclass(frozen=True, slots=True)
class Format:
    """How a file is to be read: what it holds, and the suffix of its compression, or ''."""

    kind: Kind
    compression: str


def format_of(path: Path) -> Format:
    """Told by the suffixes alone: rows.csv, rows.jsonl.zst, or a folder.

    Raises:
        DataError: there is no such file, or it is of a kind that is not read.
    """
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from None
    if is_folder:
        return Format("folder", "")
    suffix, compression = kind_and_compression(path)
    if suffix in _PICKLES:
        raise DataError(f"{path}: {_pickle_refused(path)}")
    if suffix in _UNSAFE:
        raise DataError(f"{path}: {suffix} files can run code when they are read; give CSV, JSONL or Parquet")
    if not exists:
        raise DataError(f"{path}: there is no such file or folder")
    if suffix not in _KINDS and path.is_relative_to("/dev"):  # a shell's <(…) is there too
        raise DataError(
            f"{path}: its kind can't be told by its suffix; write it to a file that has one, or, for predict, give it "
            "on standard input: --file -"
        )
    if suffix == ".json":
        raise DataError(f"{path}: a list in JSON is not read; write one object a line, to a file .jsonl")
    if suffix not in _KINDS:
        raise DataError(
            f"{path}: its kind can't be told by its suffix; it must be {', '.join(_KINDS)} "
            f"(also with {', '.join(COMPRESSIONS)}) or a folder of folders of .txt files"
        )
    return Format(_KINDS[suffix], compression)


def names_a_file(path: Path) -> bool:
    """Whether a file or folder is meant, be it there or not: by a suffix of a kind, also of those that are refused."""
    return path.exists() or kind_and_compression(path)[0] in {*_KINDS, *_PICKLES, *_UNSAFE}


def kind_and_compression(path: Path) -> tuple[str, str]:
    """The suffixes in small letters, '' where there is none: ('.csv', '.gz') of rows.CSV.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    return (suffixes[-1] if suffixes else ""), compression


def _pickle_refused(path: Path) -> str:
    """Why, and a line that the user may run: both pandas' frames and datasets' have `to_parquet`."""
    code = f"import pandas; pandas.read_pickle({str(path)!r}).to_parquet({f'{path}.parquet'!r})"
    return (
        "a pickle can run code when it is read, so it is never read here; if you trust whoever made it, convert it "
        f"yourself, once, where nothing can be harmed, and give {path}.parquet: python -c {quote(code)}"
    )


@contextmanager
def open_bytes(path: Path | str, compression: str, file: IO[bytes] | None = None) -> Iterator[IO[bytes]]:
    """A file's bytes, decompressed as they are read; a DataError where that fails, also half-way.

    With `file`, what it gives is decompressed, and `path` is what errors call it.
    """
    failures: list[type[Exception]] = [OSError, EOFError, zlib.error, lzma.LZMAError]
    if compression == ".zst":
        failures.append(zstd_error())
    try:
        if file is not None:
            with _decompressed(file, compression) as plain:
                yield plain
        else:
            with Path(path).open("rb") as raw, _decompressed(raw, compression) as plain:
                yield plain
    except tuple(failures) as error:
        does = "decompressed" if compression else "read"
        raise DataError(f"{path}: can't be {does} ({without_path(error)})") from None


@contextmanager
def _decompressed(file: IO[bytes], compression: str) -> Iterator[IO[bytes]]:
    if not compression:
        yield file
        return
    opens: dict[str, Any] = {".gz": gzip.open, ".bz2": open_bzip2, ".xz": open_xz, ".zst": open_zstd}
    with opens[compression](_AsItComes(file)) as plain:
        yield plain


class _AsItComes:
    """A file whose bytes are given as soon as there are some: decompressors ask for thousands at a time.

    One byte or two are waited for: gzip's reader takes what it gets for the two bytes that a member begins with.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._whole, self._there = file.read, getattr(file, "read1", file.read)

    def read(self, size: int = -1) -> bytes:
        found: bytes = self._whole(size) if 0 <= size <= 2 else self._there(size)
        return found


def compression_of(first: bytes) -> str:
    """The suffix of a compression by the first bytes of what it made, for what has no name; '' for none."""
    return next((suffix for magic, suffix in _MAGIC.items() if first.startswith(magic)), "")


def lines_of(file: IO[bytes], source: str, *, lenient: bool = False) -> Iterator[str]:
    """Lines with their ends, decoded as UTF-8 with or without a byte order mark.

    Those that are `lenient` go on after bytes that are not UTF-8, which they give as U+DC80 to U+DCFF
    (`surrogateescape`: no text in UTF-8 has these), and after NUL beyond the first line.

    Raises:
        DataError: UTF-16; a byte that is not UTF-8 or is NUL, with its position from 0; a line beyond 64 MB.
    """
    position = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        if len(raw) > MAX_LINE_BYTES:
            raise DataError(f"{source}: the line at byte {position} is longer than {MAX_LINE_BYTES:,} bytes")
        start, position = position, position + len(raw)
        if start == 0 and utf16(raw):
            raise DataError(f"{source}: is in UTF-16; {_CONVERT.format('UTF-16')}")
        if (not lenient or start == 0) and (nul := raw.find(b"\0")) >= 0:
            raise DataError(f"{source}: has a NUL byte at byte {start + nul}; this is not a text file")
        if start == 0 and raw.startswith(BOM):
            raw, start = raw[len(BOM) :], len(BOM)
        yield raw.decode("utf-8", "surrogateescape") if lenient else _decoded(raw, start, source)


def utf16(content: bytes) -> bool:
    """Whether what begins so is in UTF-16, by its byte order mark."""
    return content.startswith(_UTF16)


def _decoded(raw: bytes, start: int, source: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = start + error.start
        raise DataError(f"{source}: byte {bad} (0x{raw[error.start]:02x}) {NOT_UTF8}") from None
