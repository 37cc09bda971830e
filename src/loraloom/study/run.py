"""A run folder: made whole or not at all, opened by one process at a time.

    RUN/recipe.yaml, study.db, plan.json, commands.json, rows/, trials/0007/, leaderboard.csv,
    best/, refit/, soup/, blend/, similarity/, cross_fitted/, report/

A trial's folder is finished when its manifest stands; whatever else is in trials/ is a trial that was broken off.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loraloom.errors import LoraloomError, RunError, RunInUseError, shell_path
from loraloom.machine import with_home
from loraloom.recipe import Recipe
from loraloom.study.commands import go_on_command
from loraloom.study.durable import (
    MANIFEST,
    file_stamp,
    held_folder,
    is_whole,
    mend_folders,
    refuse_bytes,
    refuse_dangling,
    remove,
    replacing_folder,
    sync_folder,
)
from loraloom.study.integrity import RECIPE, read_sealed_recipe, write_recipe
from loraloom.study.record import CARD, CHECKPOINT, METRICS, RECORD, TrialRecord, read_record, write_record

LEDGER, PLAN, TRIALS, LOCK = "study.db", "plan.json", "trials", ".lock"
BEST, REFIT, SOUP, BLEND = "best", "refit", "soup", "blend"
REFITTING = "refitting"
"""In a run, what becomes its refit/."""
_OF_TRIALS = TRIALS, BEST, REFIT, SOUP, BLEND
_NEW = ".run.new"
"""In which a run is made where its folder is there; a kill may leave it."""
_NUMBER = re.compile("[0-9]+")


def is_run(path: Path) -> bool:
    """Whether a folder holds a run: trials, or what came of them, and the recipe that it has from its first moment on.

    A recipe alone can be one to search: `loraloom new` gives it the same name.
    """
    return (path / RECIPE).is_file() and any((path / name).is_dir() for name in _OF_TRIALS)


class Run:
    """An existing run folder."""

    def __init__(self, path: Path) -> None:
        """Opens the run in `path`, in which a first `~` is the home folder.

        Raises:
            RunError: there is none.
        """
        self.path = path = with_home(path)
        if not is_run(path):
            lacks = TRIALS + "/" if (path / RECIPE).is_file() else RECIPE
            what = f"is not a run folder (it has no {lacks})" if path.is_dir() else "no such run folder"
            above = [each for each in path.parents[:2] if path.is_dir() and is_run(each)]  # as of RUN/trials/0007
            way = f"it lies in one: give {above[0]}" if above else "a run is made by: loraloom search RECIPE --out RUN"
            raise RunError(f"{path}: {what}; {way}")
        self.recipe: Recipe = read_sealed_recipe(path / RECIPE)
        self._read: dict[str, tuple[tuple[int, ...] | None, TrialRecord]] = {}

    @classmethod
    def create(cls, path: Path, recipe: Recipe) -> Run:
        """Makes the folder with its recipe; it appears whole or not at all. An empty folder that is there is filled.

        Raises:
            RunError: `path` holds something, or can't be made.
        """
        new = path.absolute() / _NEW if path.is_dir() else path.absolute().with_name(f".{path.name}.new")
        try:
            with held_folder(new):
                try:
                    refuse_taken(path)  # another search may have been begun at the same moment
                    _fill(path.absolute(), new, recipe)
                except BaseException:
                    shutil.rmtree(new, ignore_errors=True)
                    raise
        except OSError as error:
            raise RunError(f"{path}: can't make the run folder: {error.strerror}") from None
        try:
            return cls(path)
        except LoraloomError:
            _remove_run(path)  # it holds nothing yet, and could not be gone on with
            raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for this process; the lock ends with the process, however it ends.

        Raises:
            RunInUseError: another process holds it.
            RunError: it can't be held, since its file system has no locks, or can't be written to.
        """
        try:
            handle = os.open(self.path.absolute() / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(f"{self.path}: can't be written to: {error.strerror}") from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(handle, 300, 0).decode(errors="replace").strip() or "unknown"
                raise RunInUseError(f"{self.path}: is in use by process {holder}; wait for it, or stop it") from None
            except OSError as error:
                raise RunError(
                    f"{self.path}: can't be locked ({error.strerror}), so that two processes could write to it; "
                    "put runs on a file system with locks"
                ) from None
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()} on {platform.node()}\n".encode(), 0)
            mend_folders(self.path)
            mend_folders(self.path / TRIALS)
            yield
        finally:
            os.close(handle)

    @property
    def is_begun(self) -> bool:
        """Whether a trial was begun."""
        return any((self.path / TRIALS).iterdir())

    def discard_unbegun(self) -> None:
        """Removes a run in which no trial was begun: a failure then leaves nothing behind."""
        if not self.is_begun:
            _remove_run(self.path)

    def trial_folder(self, number: int) -> Path:
        return self.path / TRIALS / f"{number:04d}"

    def trial_folder_to_begin(self, number: int) -> Path:
        """The folder of a trial that begins, see `folder_to_begin`."""
        return folder_to_begin(self.trial_folder(number))

    def records(self) -> tuple[TrialRecord, ...]:
        """Records of finished trials, in the order of their numbers; each is read once, and if replaced once more."""
        return tuple(self._record(folder) for folder in trial_folders(self.path) if is_whole(folder))

    def _record(self, folder: Path) -> TrialRecord:
        """A finished trial's record, as read before where its manifest, which is written last, is the same file."""
        stamp = file_stamp(folder / MANIFEST)
        if folder.name not in self._read or self._read[folder.name][0] != stamp:
            self._read[folder.name] = stamp, read_trial(folder)
        return self._read[folder.name][1]

    def best(self) -> TrialRecord | None:
        """The winner's record, test result included, once there is one."""
        folder = self.path / BEST
        return read_record(folder) if is_whole(folder) else None

    def winner(self) -> TrialRecord:
        """As `best`.

        Raises:
            RunError: there is none yet.
        """
        if (best := self.best()) is None:
            raise RunError(f"{self.path}: has no winner yet; go on by: {go_on_command(self.path)}")
        return best

    def publish(self, folder: Path, record: TrialRecord, extra: dict[str, str]) -> None:
        """Gives a finished folder of this run its `record` with the test result, and the `extra` files (name to text).

        In one step.
        """
        _copy(folder, folder, extra, record)

    def publish_best(self, folder: Path, record: TrialRecord, extra: dict[str, str], card: str) -> None:
        """Makes best/ what `folder` holds, a trial's or soup/, with the test result, the `extra` files and its card.

        The folder itself gets the result alone: the files may be large, and are read in best/. It may be best/, which
        then has all in one step.
        """
        best = self.path / BEST
        if folder != best:
            self.publish(folder, record, {})
        _copy(folder, best, {**extra, CARD: card}, record)

    def renew_card(self, card: str) -> None:
        """Writes the model card of best/ anew, where it is not `card` already: what is said of a winner can change."""
        best = self.path / BEST
        try:
            same = (best / CARD).read_text(encoding="utf-8") == card
        except (OSError, ValueError):
            same = False
        if not same:
            _copy(best, best, {CARD: card})


def _copy(source: Path, target: Path, files: dict[str, str], record: TrialRecord | None = None) -> None:
    """Makes `target` a copy of the folder `source` with other `files` (name to text) in it, in one step.

    `record` takes the place of its own, where it is given.
    """
    with replacing_folder(target) as folder:
        try:
            shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        except shutil.Error as error:  # of all files that could not be copied
            raise RunError(f"{target}: can't be written: {error.args[0][0][2]}") from None
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        if record is not None:
            write_record(folder, record)


def _fill(run: Path, new: Path, recipe: Recipe) -> None:
    """Makes a run in `new`, which becomes the folder, or what the folder holds.

    That may be a mount, or where the command stands: no other can take its place.
    """
    (new / TRIALS).mkdir()
    write_recipe(new / RECIPE, recipe)
    if new.parent == run:
        (new / TRIALS).rename(run / TRIALS)
        (new / RECIPE).rename(run / RECIPE)  # with it the folder is a run
        new.rmdir()
        sync_folder(run)
    else:
        new.rename(run)
        sync_folder(run.parent)


def folder_to_begin(folder: Path) -> Path:
    """A folder to train in, made or emptied but for the checkpoint and metrics that a trial goes on from.

    Its name is synced: else a power cut could take a folder that the ledger knows as finished. A link that stands in
    its place or in it is removed: what lies behind it is not the run's to empty.
    """
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    kept = (CHECKPOINT, METRICS) if (folder / CHECKPOINT).is_dir() else ()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in kept or path.is_symlink():
            remove(path)
    sync_folder(folder.parent)
    return folder


def read_trial(folder: Path) -> TrialRecord:
    """The record of a finished trial in its run.

    Raises:
        RunError: as `read_record`, or it is another trial's.
    """
    record = read_record(folder)
    if record.number != int(folder.name):
        raise RunError(f"{folder / RECORD}: is of trial {record.number}; take another copy of the folder")
    return record


def trial_folders(run: Path) -> list[Path]:
    """The folders of trials, ended or not, in the order of their numbers; what else is in trials/ is none."""
    try:
        found = [path for path in (run / TRIALS).iterdir() if _NUMBER.fullmatch(path.name) and path.is_dir()]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda path: int(path.name))


def in_use(run: Path) -> bool | None:
    """Whether a process of this machine holds the run, as Linux's table of locks says; None where there is none.

    Asking for the lock would keep a command that begins at that moment from having it.
    """
    try:
        inode = (run / LOCK).stat().st_ino
    except OSError:
        return False
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    return any(" FLOCK " in line and f":{inode} " in line for line in lines)


def refuse_taken(path: Path) -> None:
    """Refuses a path that holds anything, since a run never writes over another, or where no run can be made or read.

    Raises:
        RunError: it does.
    """
    refuse_bytes(path)
    refuse_dangling(path)
    if is_run(path) and in_use(path):
        way = f"choose another folder, or see how far it is: loraloom watch {shell_path(path)}"
        raise RunError(f"{path}: holds a run that another command is at work on; {way}")
    if is_run(path):
        raise RunError(f"{path}: holds a run already; choose another folder, or go on by: {go_on_command(path)}")
    if path.is_file():
        raise RunError(f"{path}: is a file; choose another folder")
    if path.is_dir() and not all(map(_of_a_kill, path.iterdir())):
        raise RunError(f"{path}: is not empty; choose another folder")


def _of_a_kill(entry: Path) -> bool:
    """Whether it is what a kill may leave of a run that was being made in a folder."""
    return entry.name == _NEW or (entry.name == TRIALS and entry.is_dir() and not any(entry.iterdir()))


def _remove_run(run: Path) -> None:
    """Removes a run in which nothing was begun, and its folder where nobody stands in it or has mounted it."""
    for entry in list(run.iterdir()):
        remove(entry)
    if run.resolve() != Path.cwd():
        with suppress(OSError):
            run.rmdir()
