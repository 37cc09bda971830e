"""Predictions that are broken off: what is kept of them, and that the command goes on to the same bytes."""

from __future__ import annotations

import copy
import errno
import gzip
import io
import itertools
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.random_adapters import save_random_adapter
from loraloom import cli
from loraloom.calibration import Temperature
from loraloom.cli.running import TerminatedError
from loraloom.errors import DataError, RunError
from loraloom.study.durable import write_manifest
from loraloom.use import predict as predicting
from loraloom.use import windows as windowing
from loraloom.use.class_shares import Shift
from loraloom.use.ensemble import Ensemble, load_ensemble
from loraloom.use.parts import Counts, Parts, locked, parts_folder
from loraloom.use.writing import Added, output_of
from tests.commands import Commands
from tests.use.predicted_files import LABELS, Heard, read_csv, run, sentences, write_rows
from tests.use.tested_adapters import add_test_result


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.jsonl", "out.parquet", "out.jsonl.gz", "out.csv.zst"])
@pytest.mark.parametrize("kind", ["in.csv", "in.jsonl.gz", "in.parquet"])
@pytest.mark.usefixtures("small_windows")
def test_a_run_that_was_broken_off_ends_with_the_same_bytes(
    one: Ensemble, tmp_path: Path, name: str, kind: str
) -> None:
    source = tmp_path / kind
    write_rows(tmp_path / "rows.csv", 30)
    run(one, tmp_path / "rows.csv", source) if kind != "in.csv" else write_rows(source, 30)
    if kind != "in.csv":  # its own predictions would be written over
        rename(source)
    whole, broken = tmp_path / "whole" / name, tmp_path / "broken" / name
    whole.parent.mkdir()
    broken.parent.mkdir()
    run(one, source, whole)
    for end_after, by in ((2, KeyboardInterrupt), (3, TerminatedError)):
        with pytest.raises(by):
            run(one, source, broken, Heard(end_after, by))
    assert not broken.exists()
    heard = Heard()
    summary, _ = run(one, source, broken, heard)
    assert heard.notes == [f"{broken}: goes on after row 20"]
    assert (summary.rows, summary.counts.rows, summary.counts.by_label.total()) == (10, 30, 30)
    assert broken.read_bytes() == whole.read_bytes()
    assert not parts_folder(broken).exists()


def rename(path: Path) -> None:
    """Leaves the columns id, text and note of a file of predictions."""
    pq: Any = pytest.importorskip("pyarrow.parquet")

    if path.suffix == ".parquet":
        pq.write_table(pq.read_table(path).select(["id", "text", "note"]), path)
        return
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    lines = [json.dumps({name: row[name] for name in ("id", "text", "note")}) + "\n" for row in rows]
    path.write_bytes(gzip.compress("".join(lines).encode()))


@pytest.mark.usefixtures("small_windows")
def test_parts_of_another_input_or_adapter_or_version_are_not_gone_on_with(
    folders: list[Path], one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, ensemble = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv", one
    for why in ("its input has changed", "an adapter has changed", "another version of loraloom wrote it"):
        with pytest.raises(KeyboardInterrupt):
            run(ensemble, source, out, Heard(3))
        if "input" in why:
            write_rows(source, 29)
        elif "adapter" in why:
            ensemble = load_ensemble(folders[1:2])
        else:
            monkeypatch.setattr(predicting, "own_version", lambda: "another")
        heard = Heard()
        run(ensemble, source, out, heard)
        assert heard.notes == [f"{out}: begins anew, since {why}"]
        assert len(read_csv(out)) == 29


@pytest.mark.usefixtures("small_windows")
def test_parts_are_of_the_adapter_that_was_loaded_also_where_its_folder_holds_another_by_then(
    folders: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders[0], tmp_path / "best"))
    ensemble, source, out = load_ensemble([folder]), write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    shutil.rmtree(folder)
    save_random_adapter(folder, tiny_model, labels=LABELS, seed=7)  # as a search does that ends meanwhile
    with pytest.raises(KeyboardInterrupt):
        run(ensemble, source, out, Heard(3))
    heard = Heard()
    run(load_ensemble([folder]), source, out, heard)
    assert heard.notes == [f"{out}: begins anew, since an adapter has changed"]


@pytest.mark.parametrize("option", ["text_column", "min_confidence", "temperature", "class_shares", "type"])
@pytest.mark.usefixtures("small_windows")
def test_parts_by_other_options_are_not_gone_on_with(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    source, out, ensemble = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv", one
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(3))
    choices: dict[str, Any] = {"text_column": {"text_column": ("text",)}, "min_confidence": {"min_confidence": 0.0}}
    if option in ("temperature", "class_shares"):
        told = copy.copy(one.members[0].classifier)
        ensemble = Ensemble(one._backbones, [replace(one.members[0], classifier=told)])
        if option == "temperature":
            told.temperature = Temperature(2.0, (1.5, 2.5), 400)
        else:
            half = np.full(len(one.labels), 1 / len(one.labels))
            told.shift = Shift(one.labels, half, half)
    if option == "type":
        monkeypatch.setattr("loraloom.use.adapter.Classifier.dtype", "bf16")
    heard = Heard()
    run(ensemble, source, out, heard, **choices.get(option, {}))
    assert heard.notes == [f"{out}: begins anew, since other options were given"]


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.jsonl", "out.parquet"])
@pytest.mark.usefixtures("small_windows")
def test_several_adapters_and_nested_values_are_gone_on_with_to_the_same_bytes(
    folders: list[Path], tmp_path: Path, name: str
) -> None:
    both, source, out = load_ensemble(folders[:2]), tmp_path / "in.jsonl", tmp_path / name
    nested = {"list": [[1, None]], "object": {"a": [{"b": "x", "c": None}], "d": True}, "nothing": None}
    rows = [{"text": text, "share": number / 3, **nested} for number, text in enumerate(sentences(14))]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(both, source, tmp_path / f"whole-{name}")
    with pytest.raises(KeyboardInterrupt):
        run(both, source, out, Heard(2))
    heard = Heard()
    run(both, source, out, heard)
    assert heard.notes == [f"{out}: goes on after row 8"]
    assert out.read_bytes() == (tmp_path / f"whole-{name}").read_bytes()


@pytest.mark.usefixtures("small_windows")
def test_what_a_run_says_later_of_an_adapter_makes_it_no_other(folders: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[0], tmp_path / "adapter"))
    ensemble, source, out = load_ensemble([folder]), write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        run(ensemble, source, out, Heard(3))
    add_test_result(folder)
    (folder / "README.md").write_text("Other doubts.", encoding="utf-8")
    write_manifest(folder)
    heard = Heard()
    run(load_ensemble([folder]), source, out, heard)
    assert [note.partition(" after row")[0] for note in heard.notes] == [f"{out}: goes on"]


@pytest.mark.usefixtures("small_windows")
def test_an_output_within_the_folder_that_is_read_is_gone_on_with(one: Ensemble, tmp_path: Path) -> None:
    (tmp_path / "in" / "food").mkdir(parents=True)
    for number, text in enumerate(sentences(12)):
        (tmp_path / "in" / "food" / f"{number:02d}.txt").write_text(text)
    out = tmp_path / "in" / "out.csv"
    run(one, tmp_path / "in", out)  # one that is there already is no input either
    whole = out.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run(one, tmp_path / "in", out, Heard(2))
    heard = Heard()
    run(one, tmp_path / "in", out, heard)
    assert heard.notes == [f"{out}: goes on after row 8"]
    assert out.read_bytes() == whole
    with pytest.raises(KeyboardInterrupt):
        run(one, tmp_path / "in", out, Heard(2))
    (tmp_path / "in" / "food" / "00.txt").write_text("a saw")
    run(one, tmp_path / "in", out, heard)
    assert heard.notes[1:] == [f"{out}: begins anew, since its input has changed"]


class Changing(Heard):
    """Does something to the input after the first window; SIGTERM may come some windows later."""

    def __init__(self, change: Callable[[], Any], end_after: int | None = None) -> None:
        super().__init__(end_after, TerminatedError)
        self._change = change

    def done(self, rows: int, share: float | None) -> None:
        super().done(rows, share)
        if self.windows == 1:
            self._change()


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("change", ["edited", "removed", "added"])
def test_a_folder_whose_rows_change_while_it_is_read_is_given_up(one: Ensemble, tmp_path: Path, change: str) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.csv"
    (folder / "food").mkdir(parents=True)
    for number, text in enumerate(sentences(40)):
        (folder / "food" / f"{number:02d}.txt").write_text(text)
    file = folder / "food" / ("99.txt" if change == "added" else "39.txt")
    watcher = Changing(file.unlink if change == "removed" else lambda: file.write_text("a saw"))
    with pytest.raises(DataError, match="was changed while it was read"):
        run(one, folder, out, watcher)
    assert not out.exists()


@pytest.mark.parametrize(("seconds", "then"), [(0.0, 0.0), (60.0, 60.0), (0.0, 60.0)])
def test_what_was_read_after_the_input_was_changed_is_in_no_part(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_windows: None, seconds: float, then: float
) -> None:
    """Neither in one that is closed on the way, which a kill leaves, nor in the one that a signal closes."""
    monkeypatch.setattr("loraloom.use.parts.SECONDS", seconds)
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    was = source.read_bytes()
    run(one, source, tmp_path / "whole.csv")

    def change() -> None:
        monkeypatch.setattr("loraloom.use.parts.SECONDS", then)
        write_rows(source, 40)

    with pytest.raises(DataError, match="was changed while it was read"):
        run(one, source, out, Changing(change, end_after=3))
    assert parts_folder(out).exists() is (seconds == 0)
    source.write_bytes(was)
    heard = Heard()
    run(one, source, out, heard)
    assert heard.notes == ([f"{out}: goes on after row 4"] if seconds == 0 else [])
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("change", ["touched", "replaced", "away"])
def test_an_input_that_has_the_same_bytes_again_is_gone_on_with(one: Ensemble, tmp_path: Path, change: str) -> None:
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    run(one, source, tmp_path / "whole.csv")

    def changed() -> None:
        if change == "touched":
            os.utime(source)
        elif change == "replaced":
            write_rows(tmp_path / "new.csv").replace(source)
        else:
            source.rename(tmp_path / "away.csv")

    with pytest.raises(DataError, match=r"was changed while it was read; give|can't be read: No such file"):
        run(one, source, out, Changing(changed))
    if change == "away":
        (tmp_path / "away.csv").rename(source)
    heard = Heard()
    run(one, source, out, heard)
    assert heard.notes == [f"{out}: goes on after row 4"]
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_part_is_closed_when_so_much_is_in_it(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_windows: None
) -> None:
    monkeypatch.setattr("loraloom.use.parts.SECONDS", 60.0)
    monkeypatch.setattr("loraloom.use.parts.BYTES", 150)  # of a header and windows of some 100
    source, out, closed = tmp_path / "in.csv", tmp_path / "out.csv", list[int]()
    source.write_text("text\n" + 16 * "the cat\n")

    class Counting(Heard):
        def done(self, rows: int, share: float | None) -> None:
            closed.append(len(list(parts_folder(out).glob("*.csv"))))

    run(one, source, out, Counting())
    assert closed == [0, 1, 1, 2]


def test_parts_are_longer_where_it_takes_long_to_see_that_the_input_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def looked() -> None:
        nonlocal now
        now += 2.0

    monkeypatch.setattr("loraloom.use.parts.time", SimpleNamespace(monotonic=lambda: now))
    out, numbers = tmp_path / "out.jsonl", list[int]()
    with locked(out):
        parts = Parts(out, output_of(out, Added(LABELS, ()), "in"), None, looked)
        for _ in range(20):
            now += 2.5
            parts.add(b"{}\n", Counts(1, 1))
            numbers.append(parts.number)
    assert numbers == [0, *[1] * 16, *[2] * 3]  # after 5 seconds, and then after 38


@pytest.mark.usefixtures("small_windows")
def test_what_is_no_row_may_come_and_go_in_a_folder_that_is_read(one: Ensemble, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.csv"
    (folder / "food").mkdir(parents=True)
    for number, text in enumerate(sentences(12)):
        (folder / "food" / f"{number:02d}.txt").write_text(text)

    def others() -> None:
        (folder / ".other.csv.parts").mkdir()
        (folder / "notes.md").write_text("mine")
        (folder / "food" / "notes.md").write_text("mine")

    run(one, folder, out, Changing(others))
    assert len(read_csv(out)) == 12


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("lost", [False, True])
def test_a_damaged_part_is_predicted_again(one: Ensemble, tmp_path: Path, *, lost: bool) -> None:
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    run(one, source, tmp_path / "whole.csv")
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(4))
    part = sorted(parts_folder(out).glob("*.csv"))[1]
    part.unlink() if lost else part.write_bytes(part.read_bytes().replace(b"0", b"1", 1))
    heard = Heard()
    run(one, source, out, heard)
    assert heard.notes == [f"{out}: goes on after row 4"]
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.usefixtures("small_windows")
def test_parts_behind_a_damaged_one_are_gone_with_it_since_those_made_anew_may_end_elsewhere(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    run(one, source, tmp_path / "whole.csv")
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(4))
    (parts_folder(out) / "00001.csv").unlink()
    monkeypatch.setattr("loraloom.use.parts.SECONDS", 60.0)
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(2))
    heard = Heard()
    run(one, source, out, heard)
    assert heard.notes == [f"{out}: goes on after row 12"]
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.usefixtures("small_windows")
def test_a_run_that_goes_on_with_bad_rows_treated_otherwise_takes_up_the_parts_before_the_first(
    one: Ensemble, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\n" + "\n".join([*sentences(5), " ", *sentences(10)]))
    run(one, source, tmp_path / "whole.csv", on_error="null")
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(3), on_error="skip")
    alike = Heard(1)
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, alike, on_error="skip")
    assert alike.notes[0] == f"{out}: goes on after row 12"
    heard = Heard()
    run(one, source, out, heard, on_error="null")
    assert heard.notes[0] == f"{out}: goes on after row 4"
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_an_output_is_written_by_one_process(one: Ensemble, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with locked(out):
        for _ in range(2):  # one that is refused leaves the other's folder and lock as they are
            with pytest.raises(RunError, match="another process is writing it"):
                run(one, write_rows(tmp_path / "in.csv"), out)
        assert parts_folder(out).is_dir()
    run(one, write_rows(tmp_path / "in.csv"), out)
    assert not parts_folder(out).exists()


def test_an_output_where_there_are_no_locks_is_refused_and_nothing_is_left(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    source = write_rows(tmp_path / "in.csv")
    monkeypatch.setattr("fcntl.flock", without)
    with pytest.raises(RunError, match=r"out\.csv: can't be locked \(Function not implemented\), so that two commands"):
        run(one, source, tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_where_there_is_no_room_for_parts_that_is_said(one: Ensemble, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    parts_folder(out).write_text("a file")
    with pytest.raises(RunError, match=r"out\.csv: can't be written: File exists$"):
        run(one, write_rows(tmp_path / "in.csv"), out)
    assert parts_folder(out).read_text() == "a file"


def test_a_signal_that_comes_while_a_window_is_added_loses_no_row_and_doubles_none(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the counting, which was after the rows were held: the part had rows that it did not count."""
    monkeypatch.setattr(windowing, "ROWS", 4)
    monkeypatch.setattr(predicting, "ROWS", 4)
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    run(one, source, tmp_path / "whole.csv")
    add, heard = Counts.__add__, itertools.count()

    def interrupted(own: Counts, other: Counts) -> Counts:
        if next(heard) == 2:
            raise KeyboardInterrupt
        return add(own, other)

    monkeypatch.setattr(Counts, "__add__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out)
    run(one, source, out)
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_standard_input_to_a_file_is_whole_or_not_at_all(
    one: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_rows(tmp_path / "in.csv", 10).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with pytest.raises(KeyboardInterrupt):
        run(one, "-", tmp_path / "out.csv", Heard(1))
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    run(one, "-", tmp_path / "out.csv")
    assert [row["id"] for row in read_csv(tmp_path / "out.csv")] == [f"{n:03d}" for n in range(10)]


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize(("number", "code", "why"), [(signal.SIGTERM, 75, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")])
def test_a_signal_ends_the_command_with_the_one_that_goes_on(
    folders: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
    why: str,
) -> None:
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    arguments = ["predict", str(folders[0]), "--file", str(source), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/loraloom", *arguments])
    windows = itertools.count(1)

    def done(self: Any, rows: int, share: float | None) -> None:
        if next(windows) == 3:
            signal.raise_signal(number)

    monkeypatch.setattr("loraloom.terminal.progress.RowsProgress.done", done)
    assert cli.run() == code
    said = capsys.readouterr().err
    assert (
        said
        == f"loraloom: stopped by {why}; 12 rows are predicted and kept. Go on with: loraloom {' '.join(arguments)}\n"
    )
    assert cli.run() == 0
    assert "goes on after row 12" in capsys.readouterr().err
    assert len(read_csv(out)) == 30


@pytest.mark.usefixtures("small_windows")
def test_a_signal_that_comes_before_kept_rows_are_known_to_be_this_commands_promises_none(
    one: Ensemble,
    folders: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        run(one, source, out, Heard(3))
    kept = sorted(parts_folder(out).iterdir())
    arguments = ["predict", str(folders[1]), "--file", str(source), "--out", str(out)]  # by another adapter
    monkeypatch.setattr(sys, "argv", ["loraloom", *arguments])
    monkeypatch.setattr(predicting, "fingerprint", lambda _: signal.raise_signal(signal.SIGINT))
    assert cli.run() == 130
    assert capsys.readouterr().err == "loraloom: stopped by Ctrl-C\n"
    assert sorted(parts_folder(out).iterdir()) == kept


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("piped", [False, True])
def test_a_signal_ends_what_can_be_read_once_with_what_becomes_of_it(
    folders: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    piped: bool,
) -> None:
    rows, out, pipe = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv", tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rows.read_bytes())))
    source = str(pipe) if piped else "-"
    monkeypatch.setattr(sys, "argv", ["loraloom", "predict", str(folders[0]), "--file", source, "--out", str(out)])

    def done(self: Any, rows: int, share: float | None) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("loraloom.terminal.progress.RowsProgress.done", done)
    if piped:
        threading.Thread(target=lambda: pipe.write_bytes(rows.read_bytes())).start()
    assert cli.run() == 75
    given = f"{pipe}, which can be read once," if piped else "standard input"
    assert capsys.readouterr().err == (
        f"loraloom: stopped by SIGTERM; {out} is not written: {given} can't be gone on with, as a file can\n"
    )
    assert not out.exists()


_KILLED = """import os, signal, sys
from loraloom import cli
from loraloom.terminal.progress import RowsProgress
from loraloom.use import answers, parts, predict, windows
windows.ROWS = answers.ROWS = predict.ROWS = 4
parts.SECONDS = 0.0
def done(self, rows, share):
    if rows == 12 or rows == 20 and "again" in sys.argv[0]:
        os.kill(os.getpid(), signal.SIGKILL)
RowsProgress.done = done
cli.main()
"""


@pytest.mark.usefixtures("small_windows")
def test_a_command_that_was_killed_goes_on_to_the_same_bytes(
    commands: Commands, folders: list[Path], one: Ensemble, tmp_path: Path
) -> None:
    source, out = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv.gz"
    run(one, source, tmp_path / "whole.csv.gz")
    arguments = ["predict", str(folders[0]), "--file", str(source), "--out", str(out)]
    for name in ("first", "again"):
        ended = commands.start(*arguments, code=f"import sys; sys.argv[0] = {name!r}\n{_KILLED}").wait()
        assert ended.code == -signal.SIGKILL, ended.err
        assert not out.exists()
    heard = Heard()
    run(one, source, out, heard)
    assert heard.notes == [f"{out}: goes on after row 20"]
    assert out.read_bytes() == (tmp_path / "whole.csv.gz").read_bytes()
