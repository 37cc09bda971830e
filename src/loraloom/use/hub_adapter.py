"""An adapter on the hub: brought here whole at one commit, or pushed there with what a stranger needs and no more.

Only kinds of files that hold no code are asked for, and a repository that has others beside them is refused, as a
folder is. What comes is then checked as any folder (`adapter.py: read_adapter_record`). Pushed are the adapter, its
record, TF-IDF's part, its temperature and its card: the predictions beside them hold texts and labels of the rows, and
the record's paths are this machine's.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loraloom import hub
from loraloom.data import default_cache
from loraloom.errors import AdapterError, first_line
from loraloom.machine import with_home
from loraloom.study.durable import disk_is_full, held_folder, verify_manifest, write_json, write_manifest
from loraloom.study.record import CARD, CONFIG, RECORD, WEIGHTS, TrialRecord, write_record
from loraloom.study.run import is_run
from loraloom.use.adapter_checks import CLASSES, SCORES, TERMS, refuse_code
from loraloom.use.copies import KEPT, keep_fitted

_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}\w)?"
NAME = re.compile(rf"(?!.*(?:--|\.\.|\.git$)){_PART}/{_PART}", re.ASCII)
"""As the hub's client has it."""
SAFE = ("*.json", "*.jsonl", "*.safetensors", CARD)
OPTIONAL = (CARD, CLASSES, TERMS, SCORES)
_FILES = "train_file", "validation_file", "test_file"
_SECONDS = 10
_COMMITS = "commits.json"
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
"""What alone may name a folder of the cache, which is removed where it is damaged."""


def is_name(given: Path | str) -> bool:
    """Whether it can be `owner/name`, and is nothing on this machine, nor missing in a run."""
    if NAME.fullmatch(str(given)) is None:
        return False
    return not Path(given).exists() and not is_run(Path(given).parent)


def download(name: str, revision: str | None) -> Path:
    """The folder of the adapter `name` at the commit that `revision` (a branch, tag or commit) now stands for.

    Where the hub can't be reached, or doesn't answer, what it was when it was last asked is taken.

    Raises:
        AdapterError: there is none, it is not an adapter, or it has files that can hold code.
    """
    from huggingface_hub import HfApi, snapshot_download

    place, wanted = default_cache() / "adapters" / name.replace("/", "--"), revision or "main"
    fetched = _fetched(place, wanted)
    if not hub.reachable():
        if fetched is None:
            raise AdapterError(
                f"{name}: there is no such folder, and as a name on the hub it can't be had: the hub can't be reached"
            )
        return fetched
    with _explained(name):
        try:
            info = HfApi().model_info(name, revision=revision, timeout=_SECONDS)
        except Exception as error:  # what a network can do to a request is no closed list
            if not _is_answer(error) and fetched is not None:
                return fetched
            raise
        _check_files(name, [file.rfilename for file in info.siblings or ()])
        commit = str(info.sha)
        if _COMMIT.fullmatch(commit) is None:
            raise AdapterError(f"{name}: the hub's answer can't be used: {commit[:64]!r} is no commit")
        kept = snapshot_download(name, revision=commit, allow_patterns=list(SAFE), etag_timeout=_SECONDS)
        folder = _plain(Path(kept), place / commit)
        write_json(place / _COMMITS, {**_commits(place), wanted: commit})
        return folder


def _fetched(place: Path, wanted: str) -> Path | None:
    """The copy of the commit that `wanted` is, or stood for when the hub was last asked; None where there is none."""
    commit = _commits(place).get(wanted, wanted)
    folder = place / commit
    return folder if _COMMIT.fullmatch(commit) and folder.is_dir() else None


def _commits(place: Path) -> dict[str, str]:
    """The commits that branches and tags stood for when they were asked for."""
    try:
        found = json.loads((place / _COMMITS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(commit) for name, commit in found.items()} if isinstance(found, dict) else {}


def _plain(snapshot: Path, folder: Path) -> Path:
    """A copy of plain files: the hub's client keeps links to another folder, which an adapter's may not hold.

    One that is there is taken, unless it is damaged: then another is made.
    """
    if folder.is_dir() and not _is_sound(folder):
        shutil.rmtree(folder)
    if not folder.is_dir():
        new = folder.with_name(f".{folder.name}.copy")
        with held_folder(new):  # what a kill has left there goes
            try:
                if not folder.is_dir():  # else another process was first
                    shutil.copytree(snapshot, new, dirs_exist_ok=True)
                    new.rename(folder)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    return folder


def _is_sound(folder: Path) -> bool:
    try:
        verify_manifest(folder, but=(CARD,))
    except AdapterError:
        return False
    return True


def _check_files(name: str, files: list[str]) -> None:
    refuse_code(f"{name}/{file}" for file in files)
    for file in (RECORD, WEIGHTS):
        if file not in files:
            raise AdapterError(f"{name}: has no {file}: it is not an adapter that loraloom has pushed to the hub")


def push(folder: Path, record: TrialRecord, name: str, *, private: bool, message: str) -> str:
    """Makes the repository `name` where there is none, and commits the adapter to it; returns the commit's address.

    A card, classes or a temperature of an adapter that was there before and that this one has not are deleted.

    Raises:
        AdapterError: `name` is no name, a public repository where a private one is asked for, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if NAME.fullmatch(name) is None:
        raise AdapterError(
            f"{name!r} is no name on the hub; it must be owner/name, each of at most 96 ASCII letters, digits, -, _ "
            "and ., without -- or .. in it, and .git at its end"
        )
    backbone = record.configuration.backbone.model
    if with_home(backbone).is_dir():
        warnings.warn(
            f"the backbone of this adapter is a folder of this machine, {backbone}: elsewhere it can't be loaded, and "
            "that name of it is pushed",
            stacklevel=3,
        )
    if record.is_blend:
        warnings.warn(
            f"of a blend {TERMS} is pushed, too: words of the training texts, the rare ones among them, and pairs of "
            f"neighbours, from which much of a text can be read by whoever may read {name}",
            stacklevel=3,
        )
    if not hub.reachable():
        raise AdapterError(f"{name}: the hub can't be reached")
    with tempfile.TemporaryDirectory(prefix="loraloom-push-") as place, _explained(name):
        _write_public(folder, record, Path(place))
        api, files = HfApi(), list[str]()
        try:
            there = api.model_info(name)
        except GatedRepoError:  # is one that is not found, too
            raise
        except RepositoryNotFoundError:
            api.create_repo(name, private=private)
        else:
            name, files = there.id, [file.rfilename for file in there.siblings or ()]
            if private and not there.private:
                raise AdapterError(f"{name}: is there already, and public; nothing was pushed")
            _refuse_what_is_there(name, files)
        # One commit, so that nobody finds half of it: upload_folder may make several.
        added = [CommitOperationAdd(path.name, path) for path in sorted(Path(place).iterdir())]
        lacked = (file for file in (*OPTIONAL, *KEPT) if not (Path(place) / file).exists())
        deleted = [CommitOperationDelete(file) for file in lacked if file in files]
        return str(api.create_commit(name, [*added, *deleted], commit_message=message).commit_url)


def _refuse_what_is_there(name: str, files: list[str]) -> None:
    """Refuses a repository in which files can hold code, since nobody could load from it what is pushed."""
    try:
        refuse_code(files)
    except AdapterError as error:
        raise AdapterError(f"{name}: {error}; nothing was pushed: delete that file there first") from None


def _write_public(folder: Path, record: TrialRecord, target: Path) -> None:
    """The files that are pushed, under a manifest of their own."""
    for file in (WEIGHTS, CONFIG, *OPTIONAL):
        if (folder / file).is_file():
            shutil.copyfile(folder / file, target / file)
    keep_fitted(folder, record, target)
    configuration = record.configuration.with_fields(data=dict.fromkeys(_FILES))
    public = record.model_copy(update={"configuration": configuration})
    if (target / CLASSES).is_file():
        _leave_places_out(target / CLASSES, record.configuration.backbone.model)
    write_record(target, public)
    config: dict[str, Any] = json.loads((target / CONFIG).read_text(encoding="utf-8"))
    if Path(str(config.get("base_model_name_or_path"))).is_absolute():
        config["base_model_name_or_path"] = record.configuration.backbone.model
    write_json(target / CONFIG, config)
    write_manifest(target)


def _leave_places_out(path: Path, model: str) -> None:
    """Takes out of an estimator's parameters what names places of this machine: models but the winner's, and files."""
    about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    parameters = about["parameters"]
    if isinstance(parameters.get("model"), list):
        parameters["model"] = model
    recipe = parameters.get("recipe")
    backbone, data = (recipe.get(name) if isinstance(recipe, dict) else None for name in ("backbone", "data"))
    if isinstance(backbone, dict) and "model" in backbone:
        backbone["model"] = model
    if isinstance(data, dict):
        for name in _FILES:
            data.pop(name, None)
    write_json(path, about)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """What the hub's client raises, as one sentence."""
    from huggingface_hub import errors

    try:
        yield
    except AdapterError:
        raise
    except errors.RevisionNotFoundError:
        raise AdapterError(f"{name}: has no such revision on the hub") from None
    except errors.GatedRepoError:
        raise AdapterError(f"{name}: is gated on the hub; ask for access there, and log in by: hf auth login") from None
    except errors.RepositoryNotFoundError:
        raise AdapterError(
            f"{name}: there is no such folder, and no such repository on the hub (a private one needs: hf auth login)"
        ) from None
    except errors.LocalTokenNotFoundError:
        raise AdapterError(f"{name}: the hub does not know you; log in by: hf auth login") from None
    except Exception as error:
        if _status(error) in (401, 403):
            raise AdapterError(f"{name}: the hub does not allow it; log in as its owner by: hf auth login") from None
        if disk_is_full(error):
            raise AdapterError(f"{name}: there is no room for a copy of it here: the disk is full") from None
        raise AdapterError(f"{name}: the hub's answer can't be used: {first_line(error)}") from None


def _is_answer(error: Exception) -> bool:
    """Whether the hub has said what it has, and not that it is overloaded or out of order."""
    status = _status(error)
    return status is not None and status < 500 and status != 429


def _status(error: Exception) -> int | None:
    """That of the hub's answer, where it gave one."""
    return getattr(getattr(error, "response", None), "status_code", None)
