"""Files and folders that are whole or absent, whenever the process dies."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from loraloom.errors import AdapterError, LoraloomError, RunError
from loraloom.study.durable import (
    discard,
    disk_is_full,
    files_beside,
    is_whole,
    mend_folders,
    refuse_place,
    replacing,
    replacing_folder,
    sha256,
    system_errors_of,
    verify_manifest,
    write_json,
    write_manifest,
    write_text,
)
from tests.nfs import lock_as_on_nfs


class _KilledError(BaseException):
    """Stands for a kill: no handler of ours runs after it."""


def _tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def _folder(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "weights").write_text(text, encoding="utf-8")
    write_manifest(folder)
    return folder


def _fail_after(_: object) -> None:
    raise RuntimeError


def _fail_half_way(path: Path) -> None:
    path.write_text("half", encoding="utf-8")
    raise RuntimeError


# Files


def test_a_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    write_text(tmp_path / "file", "new")
    assert _tree(tmp_path) == {"file": "new"}


def test_a_failing_write_leaves_the_old_file_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "file") as file:
        _fail_after(file.write("half of the n"))
    assert _tree(tmp_path) == {"file": "old"}


def _write_often(path: Path, writer: int) -> None:
    for number in range(50):
        write_json(path, [writer, number])


def test_processes_and_threads_may_write_to_one_path(tmp_path: Path) -> None:
    spawned = multiprocessing.get_context("spawn")
    others = [spawned.Process(target=_write_often, args=(tmp_path / "file", number)) for number in range(2)]
    for other in others:
        other.start()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(_write_often, [tmp_path / "file"] * 2, (2, 3)))
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0]
    assert json.loads((tmp_path / "file").read_text(encoding="utf-8"))[1] == 49
    assert sorted(_tree(tmp_path)) == ["file"]


def test_a_file_written_while_it_is_written_is_whole(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as file:
        file.write("the first to begin")
        write_text(tmp_path / "file", "the first to end")
    assert _tree(tmp_path) == {"file": "the first to begin"}


def test_what_a_kill_left_of_a_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".file.new").write_text("a long half", encoding="utf-8")
    write_text(tmp_path / "file", "new")
    assert _tree(tmp_path) == {"file": "new"}


def test_files_and_folders_are_mended_and_written_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    _folder(tmp_path / ".best.new", "half")
    mend_folders(tmp_path)
    assert _tree(tmp_path) == {}
    write_text(tmp_path / "file", "new")
    with replacing_folder(tmp_path / "best") as new:
        (new / "adapter").write_text("new", encoding="utf-8")
    assert _tree(tmp_path) == {"file": "new", "best/adapter": "new"}


def test_a_file_does_not_take_the_place_of_a_device_or_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match="pipe: is a device or a pipe"):
        write_text(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_does_not_take_the_place_of_a_device_that_leads_to_a_file() -> None:
    """As /dev/stdout does where that takes the output."""
    with pytest.raises(RunError, match="/dev/out: is a device or a pipe"):
        refuse_place(Path("/dev/out"))


def test_a_file_is_not_written_in_the_place_of_a_folder_or_in_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"{tmp_path.name}: is a folder$"):
        write_text(tmp_path, "text")
    with pytest.raises(RunError, match="file: there is no such folder to write into"):
        write_text(tmp_path / "absent" / "file", "text")


def test_a_file_takes_the_place_of_a_link_to_one(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    (tmp_path / "link").symlink_to("file")
    write_text(tmp_path / "link", "new")
    assert _tree(tmp_path) == {"file": "old", "link": "new"}


def test_what_is_not_utf_8_comes_back_from_json(tmp_path: Path) -> None:
    write_json(tmp_path / "file", ["caf\udce9", "café"])
    assert json.loads((tmp_path / "file").read_text(encoding="utf-8")) == ["caf\udce9", "café"]


def test_a_failing_sync_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    write_text(tmp_path / "file", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "file", "new")
    assert _tree(tmp_path) == {"file": "old"}


def test_a_file_is_synced_whole_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, int]] = []
    monkeypatch.setattr(os, "fsync", lambda file: seen.append(((tmp_path / "file").exists(), os.fstat(file).st_size)))
    write_text(tmp_path / "file", "new")
    assert [there for there, _ in seen] == [False, True]  # the file, then the folder that holds its entry
    assert seen[0] == (False, len("new"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_without_a_number_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file.json", {"loss": value})
    assert not (tmp_path / "file.json").exists()


# Folders


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = _folder(tmp_path / "best", "old")
    with replacing_folder(target) as new:
        (new / "adapter").write_text("new", encoding="utf-8")
    assert _tree(tmp_path) == {"best/adapter": "new"}


def test_all_that_a_folder_holds_is_synced_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, synced = tmp_path / "best", set[int]()
    monkeypatch.setattr(os, "fsync", lambda file: None if target.exists() else synced.add(os.fstat(file).st_ino))
    with replacing_folder(target) as new:
        (new / "inner").mkdir()
        (new / "inner" / "weights").write_text("new", encoding="utf-8")
    assert {path.stat().st_ino for path in target.rglob("*")} <= synced


def test_a_link_to_a_folder_is_replaced_again_and_again_and_that_folder_stays(tmp_path: Path) -> None:
    elsewhere, target = tmp_path / "elsewhere", tmp_path / "report"
    elsewhere.mkdir()
    target.symlink_to(elsewhere)
    for text in ("one", "two"):
        with replacing_folder(target) as new:
            (new / "index.html").write_text(text)
    assert (target / "index.html").read_text() == "two"
    assert not target.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "report"}


@pytest.mark.parametrize("kind", ["file", "link to nothing"])
def test_a_file_or_a_link_to_nothing_in_its_place_is_replaced_again_and_again(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "report"
    for text in ("one", "two"):
        discard(target)
        if kind == "file":
            target.touch()
        else:
            target.symlink_to(tmp_path / "nothing")
        with replacing_folder(target) as new:
            (new / "index.html").write_text(text, encoding="utf-8")
        assert [path.name for path in tmp_path.iterdir()] == ["report"]
        assert _tree(tmp_path) == {"report/index.html": text}


def test_a_link_in_the_place_of_the_new_folder_is_removed_and_what_lies_behind_it_is_not(tmp_path: Path) -> None:
    elsewhere = _folder(tmp_path / "elsewhere", "theirs")
    (tmp_path / ".best.new").symlink_to(elsewhere)
    with replacing_folder(tmp_path / "best") as new:
        (new / "weights").write_text("ours", encoding="utf-8")
    assert _tree(tmp_path) == {"best/weights": "ours", "elsewhere/weights": "theirs"}


def test_a_replaced_folder_has_a_manifest_that_holds(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "best") as new:
        (new / "adapter").write_text("new", encoding="utf-8")
    verify_manifest(tmp_path / "best")


def test_a_failing_block_leaves_the_old_folder_whole(tmp_path: Path) -> None:
    target = _folder(tmp_path / "best", "old")
    with pytest.raises(RuntimeError), replacing_folder(target) as new:
        _fail_half_way(new / "weights")
    assert _tree(tmp_path) == {"best/weights": "old"}


def test_what_a_kill_left_of_an_earlier_swap_is_not_in_the_way_of_the_next(tmp_path: Path) -> None:
    _folder(tmp_path / ".best.old", "older")
    _folder(tmp_path / "best", "old")
    with replacing_folder(tmp_path / "best") as new:
        (new / "weights").write_text("new", encoding="utf-8")
    assert _tree(tmp_path) == {"best/weights": "new"}


def test_what_a_kill_left_half_built_does_not_get_into_the_next(tmp_path: Path) -> None:
    stale = _folder(tmp_path / ".best.new", "stale")
    _folder(stale / "inner", "stale")
    (stale / "link").symlink_to(_folder(tmp_path / "elsewhere", "kept"))
    with replacing_folder(tmp_path / "best") as new:
        (new / "adapter").write_text("new", encoding="utf-8")
    assert _tree(tmp_path) == {"best/adapter": "new", "elsewhere/weights": "kept"}


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_swap_that_dies_after_any_rename_is_mended_to_a_whole_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """It dies at the rename after the first `renames`, or at the folder's sync after the last."""
    target = _folder(tmp_path / "best", "old")
    done = 0
    rename = Path.rename

    def dying(self: Path, to: Path) -> Path:
        nonlocal done
        if done == renames:
            raise _KilledError
        done += 1
        return rename(self, to)

    def dying_sync(folder: Path) -> None:
        if folder == tmp_path:
            raise _KilledError

    def fill(new: Path) -> None:
        (new / "weights").write_text("new", encoding="utf-8")
        monkeypatch.setattr(Path, "rename", dying)
        monkeypatch.setattr("loraloom.study.durable.sync_folder", dying_sync)

    with pytest.raises(_KilledError), replacing_folder(target) as new:
        fill(new)
    monkeypatch.undo()
    mend_folders(tmp_path)
    assert _tree(tmp_path) == {"best/weights": "new" if renames == 2 else "old"}


_KILLED = {
    "while the new one was built": ({"best": "old", ".best.new": "half"}, "old"),
    "with the old one aside": ({".best.old": "old", ".best.new": "new"}, "old"),
    "with the new one in place": ({"best": "new", ".best.old": "old"}, "new"),
    "before there was any": ({".best.new": "half"}, None),
    "after all": ({"best": "new"}, "new"),
}


@pytest.mark.parametrize(("folders", "text"), _KILLED.values(), ids=list(_KILLED))
def test_a_swap_that_was_killed_is_mended(tmp_path: Path, folders: dict[str, str], text: str | None) -> None:
    for name, content in folders.items():
        _folder(tmp_path / name, content)
    mend_folders(tmp_path)
    assert _tree(tmp_path) == ({} if text is None else {"best/weights": text})


def test_a_file_that_was_half_written_is_mended_away(tmp_path: Path) -> None:
    (tmp_path / ".recipe.yaml.new").write_text("half", encoding="utf-8")
    mend_folders(tmp_path)
    assert _tree(tmp_path) == {}


def test_mending_leaves_all_else_alone(tmp_path: Path) -> None:
    for name in (".lock", "study.db", "a.new", "b.old"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    mend_folders(tmp_path)
    assert sorted(_tree(tmp_path)) == [".lock", "a.new", "b.old", "study.db"]


# Manifests


def test_a_folder_is_whole_once_its_manifest_stands(tmp_path: Path) -> None:
    assert not is_whole(tmp_path)
    write_manifest(tmp_path)
    assert is_whole(tmp_path)


def test_an_untouched_folder_passes(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "trial", "weights")
    (folder / "notes.txt").write_text("beside the manifest", encoding="utf-8")
    verify_manifest(folder)


@pytest.mark.parametrize("bit", [0, 17, 55])
def test_a_flipped_bit_is_found(tmp_path: Path, bit: int) -> None:
    folder = _folder(tmp_path / "trial", "weights")
    content = bytearray((folder / "weights").read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    (folder / "weights").write_bytes(content)
    with pytest.raises(AdapterError, match="weights: is damaged"):
        verify_manifest(folder)


def test_a_cut_file_is_found(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "trial", "weights")
    (folder / "weights").write_text("weigh", encoding="utf-8")
    with pytest.raises(AdapterError, match="weights: is damaged"):
        verify_manifest(folder)


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "trial", "weights")
    (folder / "weights").unlink()
    with pytest.raises(AdapterError, match="weights: is missing"):
        verify_manifest(folder)


def test_a_file_in_an_inner_folder_is_guarded(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").write_text("a", encoding="utf-8")
    write_manifest(tmp_path)
    (tmp_path / "inner" / "file").write_text("b", encoding="utf-8")
    with pytest.raises(AdapterError, match="inner/file: is damaged"):
        verify_manifest(tmp_path)


@pytest.mark.parametrize(
    ("damaged", "chosen", "found"),
    [
        ("a", {}, True),
        ("a", {"only": ("a",)}, True),
        ("b", {"only": ("a",)}, False),
        ("b", {"only": ("b",)}, True),
        ("b", {"but": ("a",)}, True),
        ("a", {"but": ("a",)}, False),
    ],
)
def test_files_are_compared_as_they_are_chosen(
    tmp_path: Path, damaged: str, chosen: dict[str, Any], found: bool
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("sound", encoding="utf-8")
    write_manifest(tmp_path)
    (tmp_path / damaged).write_text("wound", encoding="utf-8")
    with pytest.raises(AdapterError, match=f"{damaged}: is damaged") if found else nullcontext():
        verify_manifest(tmp_path, **chosen)


def test_a_chosen_file_that_the_manifest_does_not_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"manifest\.json: does not name notes; "):
        verify_manifest(_folder(tmp_path / "trial", "weights"), ("weights", "notes"))


def test_a_file_is_read_once_by_however_many_names_the_manifest_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _folder(tmp_path / "trial", "weights")
    (folder / "again").symlink_to(".")
    digest = sha256(folder / "weights")
    names = {f"{'again/' * number}{'./' * number}weights": digest for number in range(10)}
    write_json(folder / "manifest.json", {"sha256": names})
    read: list[Path] = []

    def noted(path: Path) -> str:
        read.append(path)
        return sha256(path)

    monkeypatch.setattr("loraloom.study.durable.sha256", noted)
    verify_manifest(folder)
    assert read == [folder / "weights"]
    write_json(folder / "manifest.json", {"sha256": {**names, "again/weights": "0" * 64}})
    with pytest.raises(AdapterError, match="again/weights: is damaged"):
        verify_manifest(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret"])
def test_a_path_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = _folder(tmp_path / "trial", "weights")
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    write_json(folder / "manifest.json", {"sha256": {name: "0" * 64}})
    with pytest.raises(AdapterError, match="which is outside the folder"):
        verify_manifest(folder)


def test_a_folder_without_a_manifest_is_not_a_finished_trial(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"has no manifest\.json; it is not a finished trial's folder"):
        verify_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"sha256": []}', '{"sha256": 3}', "[" * 100_000])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(AdapterError, match="take another copy of the folder"):
        verify_manifest(tmp_path)


def test_what_a_manifest_does_not_name_is_found_and_so_are_links_and_empty_folders(tmp_path: Path) -> None:
    folder, elsewhere = _folder(tmp_path / "trial", "weights"), _folder(tmp_path / "elsewhere", "theirs")
    assert files_beside(folder) == []
    (folder / "link").symlink_to(elsewhere)
    for name in ("empty", "inner"):
        (folder / name).mkdir()
    (folder / "inner" / "note").touch()
    assert files_beside(folder) == ["empty", "inner/note", "link"]


def test_saved_files_can_be_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "weights").touch(mode=0o600)
    write_manifest(tmp_path)
    assert (tmp_path / "weights").stat().st_mode & 0o777 == 0o644


def test_the_folders_that_it_lies_in_are_synced_where_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    with replacing_folder(tmp_path / "a" / "b" / "best"):
        assert synced == [folder.stat().st_ino for folder in (tmp_path, tmp_path / "a")]


@pytest.mark.parametrize("gone", ["link", "here"])
def test_a_folder_that_can_not_be_made_is_an_error(gone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if gone == "link":
        (tmp_path / "link").symlink_to(tmp_path / "nothing")
        target = tmp_path / "link" / "best"
    else:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        (tmp_path / "here").rmdir()
        target = Path("best")
    with pytest.raises(OSError, match=r"File exists|No such"), replacing_folder(target):
        pass


def test_the_manifest_does_not_name_itself(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "trial", "weights")
    write_manifest(folder)
    assert list(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["sha256"]) == ["weights"]


def test_a_folder_that_is_being_written_is_left_to_its_writer(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "report") as new:
        (new / "a").write_text("x")
        mend_folders(tmp_path)  # as a resume does, while a report is written
    assert (tmp_path / "report" / "a").read_text() == "x"


def test_a_file_that_is_being_written_is_left_to_its_writer(tmp_path: Path) -> None:
    with replacing(tmp_path / "predictions.csv") as file:
        file.write("x")
        mend_folders(tmp_path)
    assert _tree(tmp_path) == {"predictions.csv": "x"}


def test_two_files_for_one_place_are_left_to_their_writers(tmp_path: Path) -> None:
    """The second has a name of its own, and a lock too."""
    with replacing(tmp_path / "file") as first, replacing(tmp_path / "file") as second:
        first.write("the first to begin")
        second.write("the first to end")
        mend_folders(tmp_path)
    assert _tree(tmp_path) == {"file": "the first to begin"}


def test_a_file_that_is_being_written_is_left_to_its_writer_where_who_reads_gets_no_lock_for_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS."""
    lock_as_on_nfs(monkeypatch)
    with replacing(tmp_path / "predictions.csv") as file:
        file.write("x")
        mend_folders(tmp_path)
    assert _tree(tmp_path) == {"predictions.csv": "x"}


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_was_moved_aside_is_left_to_the_process_that_swaps_it(tmp_path: Path, there: bool) -> None:
    with replacing_folder(tmp_path / "report"):
        old = _folder(tmp_path / ".report.old", "old")
        if there:
            _folder(tmp_path / "report", "whole")
        mend_folders(tmp_path)
        assert old.exists()
        assert (tmp_path / "report").exists() == there


def test_who_writes_in_the_same_place_waits_for_the_other(tmp_path: Path) -> None:
    def written(text: str) -> None:
        for _ in range(20):
            with replacing_folder(tmp_path / "report") as new:
                (new / "a").write_text(text)
                (new / "b").write_text(text)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(written, "wxyz"))
    assert (tmp_path / "report" / "a").read_text() == (tmp_path / "report" / "b").read_text()
    verify_manifest(tmp_path / "report")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (Exception("I/O error: No space left on device (os error 28)"), True),
        (Exception("I/O error: Disk quota exceeded (os error 122)"), True),
        (Exception("I/O error: Permission denied (os error 13)"), False),
        (OSError(errno.EACCES, "Permission denied"), False),
        (OSError("a file ended too soon"), False),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), True),
        (RuntimeError("basic_ios::clear: iostream error"), True),
    ],
)
def test_a_full_disk_is_told_by_the_systems_number_whoever_says_it(error: Exception, full: bool) -> None:
    assert disk_is_full(error) is full
    for came_from in ("__cause__", "__context__"):
        wrapped = RuntimeError("a checkpoint could not be saved")
        setattr(wrapped, came_from, error)
        assert disk_is_full(wrapped) is full


@pytest.mark.parametrize("error", [LoraloomError("no"), OSError(errno.EACCES, "denied"), ValueError("no number")])
def test_an_error_that_the_system_has_no_number_for_and_one_that_is_plain_stay_as_they_are(
    error: Exception, tmp_path: Path
) -> None:
    with pytest.raises(type(error)) as raised, system_errors_of(tmp_path):
        raise error
    assert raised.value is error


def test_what_the_system_refused_to_a_library_is_an_error_of_the_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as raised, system_errors_of(tmp_path):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path))
