"""Kept rows: what is read is what was written, whatever kills, disks and other processes do meanwhile."""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from loraloom.engine.loom import prefix_file
from loraloom.engine.loom.prefix_cache import PrefixCache
from loraloom.engine.loom.prefix_file import Layout, PrefixFile, Trust, attach, create
from loraloom.study.record import Dtype

from . import killed_writers as writers

WIDTH = 8
OFFSETS = np.array([0, 3, 3, 10, 11, 30, 34], dtype=np.int64)
ALL = np.arange(6)
LAYOUT = Layout("name", OFFSETS, WIDTH, "bf16")
WRITERS = Path(writers.__file__)


def hidden_of(rows: Any, layout: Layout = LAYOUT) -> Tensor:
    """What a row holds depends on its number, so that a row in another's place is noticed."""
    tokens = [token for row in rows for token in range(layout.offsets[row], layout.offsets[row + 1])]
    grid = torch.arange(layout.width).unsqueeze(0) * 0.5 + torch.tensor(tokens).reshape(-1, 1)
    return grid.float().sin().to(layout.torch_dtype)


def kept_rows(prefix: PrefixFile, layout: Layout = LAYOUT) -> list[int]:
    """The rows that count as kept, after a look at whether each of them is the truth."""
    rows: list[int] = np.flatnonzero(~prefix.missing(np.arange(layout.rows))).tolist()
    for row in range(layout.rows):
        hidden = prefix.read(np.array([row]))
        assert (hidden is not None) == (row in rows)
        assert hidden is None or torch.equal(hidden, hidden_of([row], layout))
    return rows


@contextmanager
def reopened(path: Path, layout: Layout = LAYOUT) -> Iterator[PrefixFile]:
    prefix = attach(path, layout)
    assert prefix is not None
    with closing(prefix):
        yield prefix


def filled(path: Path) -> Path:
    with closing(create(path, LAYOUT)) as prefix:
        assert prefix.write(ALL, hidden_of(ALL)) == len(ALL)
    return path


def fail(number: int) -> Any:
    def failing(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    return failing


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_read_is_what_was_written(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    lengths = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=20))
    dtype: Dtype = data.draw(st.sampled_from(["bf16", "fp16", "fp32"]))
    layout = Layout(
        "x", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), data.draw(st.integers(1, 9)), dtype
    )
    some_rows = st.lists(st.integers(0, len(lengths) - 1), max_size=8)
    batches = data.draw(st.lists(st.tuples(some_rows, st.booleans()), max_size=8))
    path = tmp_path_factory.mktemp("prefix") / "x.prefix"
    kept: set[int] = set()
    with ExitStack() as stack:
        prefix = stack.enter_context(closing(create(path, layout)))
        for batch, reopen in batches:
            rows = np.array(batch, dtype=np.int64)
            assert prefix.missing(rows).tolist() == [row not in kept for row in batch]
            assert (prefix.read(rows) is None) == (not kept.issuperset(batch))
            assert prefix.write(rows, hidden_of(batch, layout)) == len(set(batch) - kept)
            kept.update(batch)
            if reopen:
                prefix.close()
                prefix = stack.enter_context(reopened(path, layout))
            read = prefix.read(rows)
            assert read is not None
            assert torch.equal(read, hidden_of(batch, layout))
        assert kept_rows(prefix, layout) == sorted(kept)


@pytest.mark.parametrize("layout", [LAYOUT, Layout("name", OFFSETS, WIDTH, "fp32")], ids=["bf16", "fp32"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 77, 151])
def test_a_row_that_is_not_finite_is_left_out_and_the_others_kept(
    tmp_path: Path, layout: Layout, value: float, place: int
) -> None:
    hidden = hidden_of(ALL, layout)
    hidden[int(OFFSETS[4]) :].view(-1)[place] = value
    with closing(create(tmp_path / "x.prefix", layout)) as prefix:
        assert prefix.write(ALL, hidden) == 5
        assert kept_rows(prefix, layout) == [0, 1, 2, 3, 5]
        assert prefix.write(ALL, hidden_of(ALL, layout)) == 1
        assert kept_rows(prefix, layout) == ALL.tolist()


def test_a_kept_row_is_not_written_again(tmp_path: Path) -> None:
    with closing(create(tmp_path / "x.prefix", LAYOUT)) as prefix:
        prefix.write(ALL, hidden_of(ALL))
        assert prefix.write(ALL, -hidden_of(ALL)) == 0
        assert kept_rows(prefix) == ALL.tolist()


def test_hidden_states_that_carry_a_graph_or_strides_are_kept_by_value(tmp_path: Path) -> None:
    with closing(create(tmp_path / "x.prefix", LAYOUT)) as prefix:
        assert prefix.write(ALL, hidden_of(ALL).t().contiguous().t().requires_grad_()) == 6
        assert kept_rows(prefix) == ALL.tolist()


def test_another_shape_or_dtype_and_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with closing(create(tmp_path / "x.prefix", LAYOUT)) as prefix:
        with pytest.raises(ValueError, match=r"float32; these rows take \(34, 8\) torch.bfloat16"):
            prefix.write(ALL, hidden_of(ALL).float())
        with pytest.raises(ValueError, match=r"\(30, 8\)"):
            prefix.write(ALL, hidden_of(ALL[:5]))
        for rows in (np.array([6]), np.array([-1])):
            with pytest.raises(IndexError):
                prefix.read(rows)
            with pytest.raises(IndexError):
                prefix.missing(rows)
            with pytest.raises(IndexError):
                prefix.write(rows, hidden_of([]))


def test_the_file_is_its_users_alone_and_all_its_space_is_taken(tmp_path: Path) -> None:
    with closing(create(tmp_path / "x.prefix", LAYOUT)):
        state = (tmp_path / "x.prefix").stat()
        assert stat.S_IMODE(state.st_mode) == 0o600
        assert state.st_size == LAYOUT.total_bytes
        assert state.st_blocks * 512 >= LAYOUT.total_bytes


def test_a_closed_file_has_no_rows_and_takes_none(tmp_path: Path) -> None:
    with closing(create(tmp_path / "x.prefix", LAYOUT)) as prefix:
        prefix.write(ALL, hidden_of(ALL))
    with reopened(tmp_path / "x.prefix"):  # takes the number that the closed file had
        assert prefix.read(ALL) is None
        assert prefix.write(ALL, hidden_of(ALL)) == 0
        prefix.close()


@pytest.mark.parametrize(
    "other",
    [
        Layout("other", OFFSETS, WIDTH, "bf16"),
        Layout("name", OFFSETS, WIDTH // 2, "fp32"),
        Layout("name", np.array([0, 2, 3, 10, 11, 30, 34]), WIDTH, "bf16"),
    ],
    ids=["name", "width", "offsets"],
)
def test_a_file_that_was_made_for_something_else_is_not_attached(tmp_path: Path, other: Layout) -> None:
    assert attach(filled(tmp_path / "x.prefix"), other) is None


def test_a_shortened_file_and_one_without_a_header_are_not_attached(tmp_path: Path) -> None:
    path = filled(tmp_path / "x.prefix")
    content = path.read_bytes()
    for damaged in (b"", content[:-1], content + b"x", bytes(prefix_file.PAGE) + content[prefix_file.PAGE :]):
        path.write_bytes(damaged)
        assert attach(path, LAYOUT) is None


def test_a_flipped_bit_costs_the_row_that_it_hit(tmp_path: Path) -> None:
    path = filled(tmp_path / "x.prefix")
    content = path.read_bytes()
    marks = range(prefix_file.PAGE, prefix_file.PAGE + LAYOUT.rows * prefix_file.MARK.size)
    rows = range(LAYOUT.data_at, len(content))
    generator = random.Random(0)  # noqa: S311
    places = [(place, bit) for place in (*marks, *rows) for bit in range(8)]
    for place, bit in generator.sample(places, 300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        with reopened(path) as prefix:
            assert len(kept_rows(prefix)) == LAYOUT.rows - 1
            assert prefix.write(ALL, hidden_of(ALL)) == 1
        with reopened(path) as prefix:
            assert kept_rows(prefix) == ALL.tolist()


def test_rows_that_were_found_whole_are_not_read_again_when_the_file_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reopened(filled(tmp_path / "x.prefix")) as prefix:
        prefix.missing(np.array([0, 2]))
    with reopened(tmp_path / "x.prefix") as again:
        again.take_up(prefix.trust)
        monkeypatch.setattr(PrefixFile, "_verify", lambda *_: False)
        assert again.missing(ALL).tolist() == [False, True, False, True, True, True]


def test_rows_of_a_file_that_was_begun_anew_in_the_same_inode_are_not_taken_for_kept(tmp_path: Path) -> None:
    with reopened(filled(tmp_path / "x.prefix")) as prefix:
        prefix.missing(ALL)
    with closing(create(tmp_path / "new.prefix", LAYOUT)) as new:
        new.write(np.array([4]), hidden_of([4]))
        new.sync()
        new.take_up(Trust(new.trust.file, prefix.trust.rows))
        assert kept_rows(new) == [4]


def test_rows_of_another_file_are_not_taken_for_kept(tmp_path: Path) -> None:
    with reopened(filled(tmp_path / "x.prefix")) as prefix:
        prefix.missing(ALL)
    with reopened(filled(tmp_path / "other.prefix")) as other:
        other.take_up(prefix.trust)
        assert not other.trust.rows.any()


def test_bytes_of_one_row_in_the_place_of_another_are_found(tmp_path: Path) -> None:
    layout = Layout("name", np.array([0, 2, 4], dtype=np.int64), WIDTH, "bf16")
    path = tmp_path / "x.prefix"
    with closing(create(path, layout)) as prefix:
        prefix.write(np.arange(2), hidden_of([0, 1], layout))
    content = bytearray(path.read_bytes())
    at, size = layout.data_at, 2 * layout.token_bytes
    content[at : at + 2 * size] = content[at + size : at + 2 * size] + content[at : at + size]
    marks, one = prefix_file.PAGE, prefix_file.MARK.size
    content[marks : marks + 2 * one] = content[marks + one : marks + 2 * one] + content[marks : marks + one]
    path.write_bytes(content)
    with reopened(path, layout) as prefix:
        assert kept_rows(prefix, layout) == []


def recorded(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, int] | None]:
    """What a writer of all rows wrote and where; None is a sync."""
    calls: list[tuple[bytes, int] | None] = []
    pwrite, fsync = os.pwrite, os.fsync

    def write(handle: int, content: memoryview, at: int) -> int:
        calls.append((bytes(content), at))
        return pwrite(handle, content, at)

    def sync(handle: int) -> None:
        calls.append(None)
        fsync(handle)

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(prefix_file, "SYNC_BYTES", 100)
    with closing(create(path, LAYOUT)) as prefix:
        for row in ALL:
            prefix.write(np.array([row]), hidden_of([row]))
    monkeypatch.undo()
    return calls


def test_marks_are_written_after_a_sync_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unsynced, marks = 0, 0
    for call in recorded(tmp_path / "x.prefix", monkeypatch):
        if call is None:
            unsynced = 0
        elif call[1] >= LAYOUT.data_at:
            unsynced += 1
        elif call[1] >= prefix_file.PAGE:
            marks += 1
            assert unsynced == 0
    assert marks == LAYOUT.rows


def test_a_power_cut_leaves_only_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may keep any part of what was written since the last sync."""
    calls = recorded(tmp_path / "x.prefix", monkeypatch)
    path = tmp_path / "cut.prefix"
    generator = random.Random(0)  # noqa: S311
    seen = set()
    for cut in list(range(len(calls) + 1)) * 10:
        synced = max((place for place in range(cut) if calls[place] is None), default=0)
        content = bytearray(LAYOUT.total_bytes)
        for place, call in enumerate(calls[:cut]):
            if call is not None:
                whole, at = call
                part = whole if place < synced else whole[: generator.choice((0, len(whole) // 2, len(whole)))]
                content[at : at + len(part)] = part
        path.write_bytes(content)
        prefix_or_none = attach(path, LAYOUT)
        if prefix_or_none is not None:
            with closing(prefix_or_none):
                seen.add(len(kept_rows(prefix_or_none)))
    assert {0, 6} < seen


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What killed writers left, by one process: most of its time goes to imports."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-W", "ignore", WRITERS, folder], check=True, timeout=300)
    return folder


def outcome(folder: Path) -> Iterator[PrefixFile]:
    """Each file that writers left, opened again, if it can be."""
    for place in sorted(folder.iterdir()):
        prefix = PrefixCache(place, 1 << 30).open(writers.KEY, writers.OFFSETS, writers.WIDTH)
        assert prefix is not None
        with closing(prefix):
            yield prefix


def rows_after(prefix: PrefixFile) -> int:
    """How many rows were kept, all of them the truth; then all the others can be kept too."""
    rows = np.arange(len(writers.OFFSETS) - 1)
    kept = rows[~prefix.missing(rows)]
    if len(kept):
        hidden = prefix.read(kept)
        assert hidden is not None
        assert torch.equal(hidden, writers.hidden_of(kept.tolist()))
    assert prefix.write(rows, writers.hidden_of(rows.tolist())) == len(rows) - len(kept)
    again = prefix.read(rows)
    assert again is not None
    assert torch.equal(again, writers.hidden_of(rows.tolist()))
    return len(kept)


def test_a_kill_in_any_call_leaves_only_whole_rows(killed: Path) -> None:
    kept = [rows_after(prefix) for prefix in outcome(killed / "calls")]
    assert kept[0] == 0
    assert kept[-1] == len(writers.OFFSETS) - 1  # the one that was not killed
    assert len(kept) > 60
    assert len(set(kept)) > 6


def test_a_kill_at_any_moment_leaves_only_whole_rows(killed: Path) -> None:
    assert len([rows_after(prefix) for prefix in outcome(killed / "moments")]) > writers.FILES


def test_who_does_not_write_sees_rows_once_they_are_synced_and_writes_after_that(tmp_path: Path) -> None:
    with closing(create(tmp_path / "x.prefix", LAYOUT)) as one, reopened(tmp_path / "x.prefix") as other:
        assert one.write(ALL[:3], hidden_of(ALL[:3])) == 3
        assert other.missing(ALL).all()
        one.sync()
        assert kept_rows(other) == [0, 1, 2]
        assert other.write(ALL, hidden_of(ALL)) == 3
        assert kept_rows(other) == ALL.tolist()
        assert one.missing(ALL).tolist() == [False] * 3 + [True] * 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_disk_that_fails_leaves_rows_missing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    with closing(create(tmp_path / "x.prefix", LAYOUT)) as prefix:
        prefix.write(ALL[:2], hidden_of(ALL[:2]))
        prefix.sync()
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail(number))
            prefix.write(ALL, hidden_of(ALL))
            prefix.sync()
        assert os.strerror(number) in str(prefix.reason)
        assert kept_rows(prefix) == [0, 1]
        assert prefix.write(ALL, hidden_of(ALL)) == 0
        with reopened(tmp_path / "x.prefix") as other:
            assert other.write(ALL, hidden_of(ALL)) == 4
        assert kept_rows(prefix) == ALL.tolist()


def test_rows_that_were_written_before_the_disk_was_full_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, full_from = os.pwrite, LAYOUT.data_at + int(OFFSETS[4]) * LAYOUT.token_bytes

    def write(handle: int, content: memoryview, at: int) -> int:
        room = max(0, full_from + 9 - at)
        if not room:
            fail(errno.ENOSPC)()
        return pwrite(handle, content[:room], at)

    with closing(create(tmp_path / "x.prefix", LAYOUT)) as prefix:
        monkeypatch.setattr(os, "pwrite", write)
        assert prefix.write(ALL, hidden_of(ALL)) == 4
        assert "No space left" in str(prefix.reason)
        with reopened(tmp_path / "x.prefix") as other:
            assert kept_rows(other) == [0, 1, 2, 3]


def test_a_write_that_is_taken_in_parts_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, content, at: pwrite(handle, content[:7], at))
    with reopened(filled(tmp_path / "x.prefix")) as prefix:
        assert kept_rows(prefix) == ALL.tolist()
    monkeypatch.setattr(os, "pwrite", lambda handle, content, at: 0)
    with pytest.raises(OSError, match="No space left"):
        create(tmp_path / "y.prefix", LAYOUT)
    assert not (tmp_path / "y.prefix").exists()


def test_a_row_that_the_disk_does_not_give_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reopened(filled(tmp_path / "x.prefix")) as prefix:
        for looked_at in (False, True):
            with monkeypatch.context() as patch:
                patch.setattr(os, "preadv", fail(errno.EIO))
                assert prefix.read(ALL) is None
                assert looked_at or prefix.missing(ALL).all()
            assert kept_rows(prefix) == ALL.tolist()


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_where_space_can_t_be_taken_at_once_the_file_is_sparse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", fail(number))
    with reopened(filled(tmp_path / "x.prefix")) as prefix:
        assert kept_rows(prefix) == ALL.tolist()


def test_layouts_leave_no_row_outside_the_file() -> None:
    for rows in (1, 511, 512, 513):
        offsets: NDArray[np.int64] = np.arange(rows + 1)
        layout = Layout("x", offsets, 3, "fp32")
        assert layout.mark_at(rows) <= layout.data_at < layout.mark_at(rows) + prefix_file.PAGE
        assert layout.total_bytes == layout.data_at + rows * 12
        assert len(layout.header()) == prefix_file.PAGE
