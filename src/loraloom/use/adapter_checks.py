"""What a folder of an adapter must be before any of it is believed: small plain files, JSON of sane depth, no code.

An adapter comes from anybody: a colleague, the hub, a request to a server. Its manifest shows damage, not malice,
since whoever changes a file can write the manifest anew. So its files are looked at first, and its weights must be
those that its record describes, name by name and shape by shape, before they are read.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.backbone import sources
from loraloom.backbone.sources import Source
from loraloom.errors import AdapterError, first_line, without_path
from loraloom.recipe import Lora
from loraloom.study.durable import MANIFEST, sha256
from loraloom.study.record import CARD, CONFIG, RECORD, WEIGHTS, TrialRecord

if TYPE_CHECKING:
    from torch import Tensor

MOST_JSON_BYTES = 16 * 1024 * 1024
MOST_CARD_BYTES = 1024 * 1024
MOST_FILES = 10_000
MOST_BYTES = 16 * 1024**3
"""Of a folder's files together, as long as they say that they are: all are read, also those that are one large hole."""
CLASSES = "estimator.json"
"""What a classifier of the estimator's leaves beside its adapter."""
TEMPERATURE = "temperature.json"
CLASS_SHARES = "class_shares.json"
"""What a copy of an adapter that goes without its validation predictions keeps of them."""
_UNSAFE = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py", ".so"}
TERMS, SCORES = "tfidf.json", "tfidf.safetensors"
"""Of a blend (`tfidf.py`): words and pairs of words; what each says of each class."""
_READ_AS_JSON = (RECORD, MANIFEST, CONFIG, CLASSES, TEMPERATURE, CLASS_SHARES, TERMS)


def identity(folder: Path) -> list[str | None]:
    """SHA-256 of what makes an adapter: weights, configuration, TF-IDF's part, record; None for a file it has not.

    Of the record without results, which a run adds to when it tests the adapter; the card says more as a run goes on.

    Raises:
        AdapterError: a file can't be read, the record is not one, or a file is too large for an adapter's folder.
    """
    try:
        digests = [_digest(folder / name) for name in (WEIGHTS, CONFIG, TERMS, SCORES)]
        has_record = (folder / RECORD).is_file()
    except OSError as error:
        raise AdapterError(f"{folder}: can't be read: {without_path(error)}") from None
    if not has_record:
        return [*digests, None]
    record = {name: value for name, value in read_json(folder / RECORD).items() if name != "result"}
    return [*digests, hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()]


def _digest(path: Path) -> str | None:
    if not path.is_file():
        return None
    if (size := path.stat().st_size) > MOST_BYTES:
        raise _too_large(path, size)
    return sha256(path)


def _too_large(path: Path, size: int) -> AdapterError:
    return AdapterError(f"{path}: has {size:,} bytes, where an adapter's folder has {MOST_BYTES:,} at most")


def check_files(folder: Path) -> None:
    """Refuses what is not a plain folder of plain files, and files that are too large, or JSON too deep, to be read.

    Raises:
        AdapterError: as it says.
    """
    root, total = folder.resolve(), 0
    for count, path in enumerate(folder.rglob("*"), start=1):
        if count > MOST_FILES:
            raise AdapterError(f"{folder}: holds more than {MOST_FILES:,} files; it is not an adapter's folder")
        if path.is_symlink() and not _within(path, root):
            raise AdapterError(f"{path}: is a link to a place outside its folder, which is never followed")
        found = path.stat() if path.exists() else None
        if found is None or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise AdapterError(f"{path}: is neither a file nor a folder")
        total += found.st_size
    if total > MOST_BYTES:
        raise _too_large(folder, total)
    card = folder / CARD
    if card.exists() and (size := card.stat().st_size) > MOST_CARD_BYTES:
        raise AdapterError(f"{card}: has {size:,} bytes, where a model card has {MOST_CARD_BYTES:,} at most")
    for name in _READ_AS_JSON:
        if (folder / name).exists():
            read_json(folder / name)


def refuse_code(files: Iterable[Path | str]) -> None:
    """Refuses an adapter's files of kinds that can hold code.

    Raises:
        AdapterError: one is.
    """
    for file in files:
        if Path(file).suffix.lower() in _UNSAFE:
            raise AdapterError(f"{file}: can hold code, which is never loaded; an adapter is safetensors and JSON")


def check_labels(folder: Path, labels: Sequence[str]) -> None:
    """Refuses labels of which results could not be told apart.

    Raises:
        AdapterError: there are fewer than two, or two are the same.
    """
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise AdapterError(f"{folder / RECORD}: labels are not two or more that differ")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a sane size and depth.

    Raises:
        AdapterError: it is not one.
    """
    if not path.is_file():
        raise AdapterError(f"{path}: is not a file")
    size = path.stat().st_size
    if size > MOST_JSON_BYTES:
        raise AdapterError(f"{path}: has {size:,} bytes, where an adapter's JSON has {MOST_JSON_BYTES:,} at most")
    try:
        value = json.loads(path.read_bytes())
    except RecursionError:
        raise AdapterError(f"{path}: is nested too deeply to be read") from None
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path}: can't be read: {error}") from None
    if not isinstance(value, dict):
        raise AdapterError(f"{path}: is not a JSON object")
    return value


def check_config(folder: Path, lora: Lora) -> None:
    """Compares PEFT's configuration with the record: both tell by what LoRA is scaled, and must say the same.

    Raises:
        AdapterError: they differ, or the configuration brings code.
    """
    path = folder / CONFIG
    config = read_json(path)
    if config.get("auto_map") is not None:
        raise AdapterError(f"{path}: brings code of its own (auto_map), which is never run")
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{path}: peft_type is {_short(config.get('peft_type'))}; only LORA can be loaded")
    expected = {
        "r": lora.r,
        "lora_alpha": lora.lora_alpha,
        "bias": lora.bias,
        "use_rslora": lora.use_rslora,
    }
    for field, value in expected.items():
        if config.get(field) != value:
            found = _short(config.get(field))
            raise AdapterError(f"{path}: {field} is {found} where trial.json says {value!r}; take another copy")
    for field in ("use_dora", "alpha_pattern", "rank_pattern", "modules_to_tie", "trainable_token_indices"):
        if config.get(field):
            raise AdapterError(f"{path}: {field} is set, which a trial of loraloom never does; its weights mean other")


def backbone_of(folder: Path, record: TrialRecord) -> Source:
    """Where the backbone of an adapter is.

    Raises:
        AdapterError: it was a folder, which is not there, as on another machine.
        BackboneError: it can't be had.
    """
    model = record.configuration.backbone.model
    if Path(model).is_absolute() and not os.path.isdir(model):  # noqa: PTH112  # Path's own raises for a long name
        there = "is not on this machine; put that folder, or a link to it, in its place"
        raise AdapterError(f"{folder}: was trained on the model in {model}, which {there}")
    return sources.find(model, record.backbone_revision)


def check_backbone(folder: Path, record: TrialRecord, pin: str | None) -> None:
    """Compares the backbone with the record's by its `pin`, which is None of one on the hub, had at its commit.

    Raises:
        AdapterError: the weights on this machine are not those that the adapter was trained over.
    """
    if pin is not None and record.backbone_revision not in (None, pin):
        other = f"was trained on another {record.configuration.backbone.model!r} than the one on this machine"
        raise AdapterError(f"{folder}: {other}; bring back the files that it was trained on, or train again")


def check_rank(folder: Path, rank: int, hidden: int) -> None:
    """Refuses a rank that the file can't hold, before anything of that size is made.

    Raises:
        AdapterError: the file is too small for it.
    """
    size = (folder / WEIGHTS).stat().st_size
    if 2 * 2 * rank * hidden > size:
        raise AdapterError(f"{folder}: lora.r is {rank:,}, which {WEIGHTS} of {size:,} bytes can't hold")


def read_weights(path: Path, expected: Mapping[str, tuple[str | None, tuple[int, ...]]]) -> dict[str, Tensor]:
    """The arrays of a safetensors file in fp32 by canonical name, in the order of `expected`.

    `expected` has canonical name and shape by the name in the file; what has no canonical name is not read. Names and
    shapes are compared before a weight is read.

    Raises:
        AdapterError: the file can't be read, an array is missing, has another shape or is not finite, or there are
            others.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            held = set(file.keys())
            if lost := sorted(set(expected) - held):
                raise AdapterError(f"{path}: has no {lost[0]} ({len(lost)} missing of {len(expected)})")
            if more := sorted(held - set(expected)):
                raise AdapterError(f"{path}: holds {_short(more[0])}, which no such adapter has ({len(more)} such)")
            weights = {}
            for name, (canonical, shape) in expected.items():
                part = file.get_slice(name)
                if tuple(part.get_shape()) != shape:
                    raise AdapterError(f"{path}: {name} is of shape {part.get_shape()}, not {list(shape)}")
                if part.get_dtype() not in ("F32", "F16", "BF16"):
                    raise AdapterError(f"{path}: {name} is of type {part.get_dtype()}; F32, F16 and BF16 can be used")
                if canonical is not None:
                    weights[canonical] = file.get_tensor(name).float()
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise AdapterError(f"{path}: can't be read: {first_line(error)}") from None
    if bad := next((name for name, value in weights.items() if not bool(torch.isfinite(value).all())), None):
        raise AdapterError(f"{path}: holds weights that are not finite: {bad}")
    return weights


def _within(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a circle of links
        return False


def _short(value: object) -> str:
    """A value that came from outside, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
