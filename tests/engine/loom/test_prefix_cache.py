"""Which files are kept: one for each content, within a budget of disk, and none removed that is in use."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from loraloom.data import Encoded
from loraloom.engine.loom import prefix_cache
from loraloom.engine.loom.prefix_cache import PrefixCache, PrefixKey, rows_digest
from loraloom.engine.loom.prefix_file import Layout
from tests.nfs import lock_as_on_nfs

KEY = PrefixKey("rows", "weights", 3, "bf16")
OFFSETS = np.array([0, 30, 34], dtype=np.int64)
WIDTH = 600
ALL = np.arange(2)
SIZE = Layout("", OFFSETS, WIDTH, "bf16").total_bytes
FILE = -(-SIZE // 4096) * 4096
"""What a file takes on the disk."""
HOLDER = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_SH); print(flush=True); sys.stdin.read()"


def keep(cache: PrefixCache, key: PrefixKey) -> None:
    prefix = cache.open(key, OFFSETS, WIDTH)
    assert prefix is not None
    with closing(prefix):
        prefix.write(ALL, torch.ones(34, WIDTH).to(torch.bfloat16 if key.dtype == "bf16" else torch.float32))


def is_kept(cache: PrefixCache, key: PrefixKey) -> bool:
    return path_of(cache, key).exists()


def path_of(cache: PrefixCache, key: PrefixKey) -> Path:
    return cache.folder / f"{key.name}.prefix"


def keys(count: int) -> list[PrefixKey]:
    return [replace(KEY, layers=number) for number in range(count)]


def with_free_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """As it would be with no file kept: what files take comes off."""

    def usage(folder: Path) -> SimpleNamespace:
        taken = sum(path.stat().st_blocks * 512 for path in folder.glob("*.prefix"))
        return SimpleNamespace(free=free - taken)

    monkeypatch.setattr(shutil, "disk_usage", usage)


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, rows="other"),
        replace(KEY, weights="other"),
        replace(KEY, layers=4),
        replace(KEY, dtype="fp32"),
        replace(KEY, rows="weights", weights="rows"),
    ],
)
def test_where_any_part_of_a_key_differs_so_does_the_file(tmp_path: Path, other: PrefixKey) -> None:
    cache = PrefixCache(tmp_path, 1 << 30)
    keep(cache, KEY)
    prefix = cache.open(other, OFFSETS, WIDTH)
    assert prefix is not None
    with closing(prefix):
        assert prefix.missing(ALL).all()
    assert is_kept(cache, KEY)


def test_another_format_is_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    name = KEY.name
    monkeypatch.setattr(prefix_cache, "FORMAT", -1)
    assert KEY.name != name


def test_rows_are_told_apart_by_tokens_and_by_where_rows_begin() -> None:
    def encoded(ids: list[int], offsets: list[int], cut: int = 0) -> Encoded:
        return Encoded(np.array(ids, dtype=np.int32), np.array(offsets, dtype=np.int64), cut)

    different = [encoded([1, 2, 3], [0, 1, 3]), encoded([1, 2, 4], [0, 1, 3]), encoded([1, 2, 3], [0, 2, 3])]
    assert len({rows_digest(one) for one in different}) == 3
    assert rows_digest(different[0]) == rows_digest(encoded([1, 2, 3], [0, 1, 3], cut=1))


def test_a_file_is_found_again_by_another_cache(tmp_path: Path) -> None:
    keep(PrefixCache(tmp_path / "new" / "folder", 1 << 30), KEY)
    cache = PrefixCache(tmp_path / "new" / "folder", 1 << 30)
    prefix = cache.open(KEY, OFFSETS, WIDTH)
    assert prefix is not None
    assert cache.reason is None
    with closing(prefix):
        read = prefix.read(ALL)
        assert read is not None
        assert torch.equal(read, torch.ones(34, WIDTH, dtype=torch.bfloat16))


@pytest.mark.parametrize("damage", ["header", "shorter", "empty", "foreign"])
def test_a_damaged_file_is_begun_again(tmp_path: Path, damage: str) -> None:
    cache = PrefixCache(tmp_path, 1 << 30)
    keep(cache, KEY)
    path = path_of(cache, KEY)
    content = path.read_bytes()
    damaged = {"header": b"X" + content[1:], "shorter": content[:-5], "empty": b"", "foreign": os.urandom(len(content))}
    path.write_bytes(damaged[damage])
    prefix = cache.open(KEY, OFFSETS, WIDTH)
    assert prefix is not None
    with closing(prefix):
        assert prefix.missing(ALL).all()
    keep(cache, KEY)
    assert path.read_bytes() == content


def test_who_has_a_damaged_file_open_keeps_its_rows_while_another_is_begun(tmp_path: Path) -> None:
    cache = PrefixCache(tmp_path, 1 << 30)
    keep(cache, KEY)
    first = cache.open(KEY, OFFSETS, WIDTH)
    assert first is not None
    with path_of(cache, KEY).open("r+b") as file:
        file.write(b"X")
    second = cache.open(KEY, OFFSETS, WIDTH)
    assert second is not None
    with closing(first), closing(second):
        assert second.missing(ALL).all()
        assert not first.missing(ALL).any()


def test_the_least_recently_used_is_removed_to_make_room(tmp_path: Path) -> None:
    cache = PrefixCache(tmp_path, 3 * FILE)
    one, two, three, four, five = keys(5)
    for key in (one, two, three, one, four):  # the second opening of `one` is a use
        keep(cache, key)
        path_of(cache, key).with_suffix(".filling").touch()
    assert [is_kept(cache, key) for key in (one, two, three, four)] == [True, False, True, True]
    keep(cache, five)
    assert [is_kept(cache, key) for key in (one, two, three, four, five)] == [True, False, False, True, True]
    assert {path.suffix for path in tmp_path.iterdir()} == {".prefix", ".filling", ""}
    assert len(list(tmp_path.glob("*.filling"))) == 2  # those of `one` and `four`


def test_a_file_in_use_is_never_removed(tmp_path: Path) -> None:
    cache = PrefixCache(tmp_path, 2 * FILE)
    one, two, three, four = keys(4)
    used = cache.open(one, OFFSETS, WIDTH)
    assert used is not None
    with closing(used):
        for key in (two, three):
            keep(cache, key)
        assert [is_kept(cache, key) for key in (one, two, three)] == [True, False, True]
        also_used = cache.open(three, OFFSETS, WIDTH)
        assert also_used is not None
        with closing(also_used):
            assert cache.open(four, OFFSETS, WIDTH) is None
            assert "in use" in str(cache.reason)
        keep(cache, four)
    assert [is_kept(cache, key) for key in (one, three, four)] == [True, False, True]


def test_where_locks_can_t_be_asked_for_files_are_kept_and_none_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, which gives an exclusive lock of a file that is open for writing alone."""
    lock_as_on_nfs(monkeypatch)
    cache = PrefixCache(tmp_path, 2 * FILE)
    first, second, third = keys(3)
    keep(cache, first)
    keep(cache, second)
    keep(cache, first)
    assert cache.open(third, OFFSETS, WIDTH) is None
    assert "are in use" in str(cache.reason)
    assert is_kept(cache, first)
    assert is_kept(cache, second)


def test_a_file_that_another_process_uses_is_removed_only_after_its_death(tmp_path: Path) -> None:
    cache = PrefixCache(tmp_path, FILE)
    one, two = keys(2)
    keep(cache, one)
    command = [sys.executable, "-c", HOLDER, str(path_of(cache, one))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert cache.open(two, OFFSETS, WIDTH) is None
        holder.kill()
    keep(cache, two)
    assert not is_kept(cache, one)


def test_one_at_a_time_opens_and_removes_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def others_are_kept_out(*_: object) -> None:
        with (tmp_path / "lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise OSError(errno.EIO, "looked")

    monkeypatch.setattr(prefix_cache, "attach", others_are_kept_out)
    cache = PrefixCache(tmp_path, 1 << 30)
    assert cache.open(KEY, OFFSETS, WIDTH) is None
    assert "looked" in str(cache.reason)


def test_nothing_is_removed_for_a_file_that_would_not_fit_anyway(tmp_path: Path) -> None:
    cache = PrefixCache(tmp_path, 3 * FILE)
    one, two, three = keys(3)
    keep(cache, one)
    used = cache.open(two, OFFSETS, WIDTH)
    assert used is not None
    with closing(used):
        assert cache.open(three, OFFSETS * 3, WIDTH) is None
        assert cache.open(three, OFFSETS * 100, WIDTH) is None
        assert "are allowed" in str(cache.reason)
    assert is_kept(cache, one)


def test_a_smaller_budget_removes_what_is_beyond_it(tmp_path: Path) -> None:
    one, two, three = keys(3)
    for key in (one, two, three):
        keep(PrefixCache(tmp_path, 3 * FILE), key)
    cache = PrefixCache(tmp_path, 2 * FILE)
    keep(cache, one)
    assert [is_kept(cache, key) for key in (one, two, three)] == [True, False, True]


def test_a_margin_of_the_disk_is_left_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PrefixCache(tmp_path, 1 << 30)
    one, two, three = keys(3)
    with_free_disk(monkeypatch, prefix_cache.FREE_BYTES + 2 * FILE)
    for key in (one, two, three):
        keep(cache, key)
    assert [is_kept(cache, key) for key in (one, two, three)] == [False, True, True]
    with_free_disk(monkeypatch, prefix_cache.FREE_BYTES)
    assert cache.open(one, OFFSETS, WIDTH) is None
    assert "the disk has too little left" in str(cache.reason)
    assert is_kept(cache, three)


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync"])
def test_a_full_disk_is_a_reason_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = PrefixCache(tmp_path, 1 << 30)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        assert cache.open(KEY, OFFSETS, WIDTH) is None
    assert "No space left" in str(cache.reason)
    assert list(tmp_path.glob("*.prefix")) == []
    keep(cache, KEY)
    assert cache.reason is None


def test_a_folder_that_can_t_be_made_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = PrefixCache(tmp_path / "file" / "folder", 1 << 30)
    assert cache.open(KEY, OFFSETS, WIDTH) is None
    assert "Not a directory" in str(cache.reason)
