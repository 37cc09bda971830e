"""Backbones in memory, each once, with any number of adapters over it.

The first adapter of a backbone loads its weights; each further one reads its own file alone (some 3 MB at base size)
and is checked against what PEFT trains in the same model on the meta device. Rows of several adapters are computed in
one pass over the frozen weights (`engine/loom/mixed.py`). Architectures that loom does not know are computed by
transformers and PEFT, with a model for each adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from loraloom.backbone import sources
from loraloom.backbone.anatomy import Anatomy, anatomy
from loraloom.backbone.sources import Source
from loraloom.data import Encoded
from loraloom.errors import AdapterError
from loraloom.recipe import Configuration, Head, Train
from loraloom.study.record import Dtype, TrialRecord
from loraloom.use.adapter import Classifier, Forward, adapter_folder, read_adapter_record, unreplaced
from loraloom.use.adapter_checks import backbone_of, check_backbone, check_config, check_labels
from loraloom.use.class_shares import ClassShares
from loraloom.use.peft_forward import PeftForward
from loraloom.use.peft_weights import Expected, build_adapted, checked_weights
from loraloom.use.tfidf import read as read_tfidf

if TYPE_CHECKING:
    from loraloom.engine.loom.frozen import FrozenEncoder

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Key:
    location: str
    revision: str | None
    dtype: Dtype


@dataclass(slots=True)
class _Shared:
    """What the adapters of a backbone have in common; `pin` is what the weights of a folder were when it was opened."""

    source: Source
    dtype: Dtype
    pin: str | None
    config: Any
    tokenizer: Any
    frozen: FrozenEncoder | None = None
    expected: dict[str, Expected] = field(default_factory=dict)


class Backbones:
    """Adapters over their backbones. Adding may go on in one thread while another computes."""

    def __init__(self) -> None:
        self._shared: dict[_Key, _Shared] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        """How many backbones are in memory."""
        return len(self._shared)

    def add(self, path: Path | str, *, only_known: bool = False) -> Classifier:
        """Loads the adapter in `path` (a trial's folder, such as RUN/best) over its backbone.

        With `only_known` an adapter whose backbone is not in memory is refused, so that nothing is looked up that a
        folder from outside names. One that was trained in 16 bits is then computed over fp32 where the backbone is
        there in that type alone, as on a machine that is slow in them; they are too coarse for one that was trained
        in fp32.

        Raises:
            AdapterError: the folder is not a finished trial's, is damaged, or holds what is not safe to load; its
                backbone here is not the one that it was trained on; or another adapter takes its place meanwhile.
            BackboneError: its backbone can't be had.
        """
        folder = Path(path)
        with unreplaced(folder):
            return self._load(folder, only_known=only_known)

    def _load(self, folder: Path, *, only_known: bool) -> Classifier:
        record = read_adapter_record(folder)
        check_config(folder, record.configuration.lora)
        check_labels(folder, record.labels)
        with self._lock:
            known = self._known(record) if only_known else backbone_of(folder, record)
            if known is None:
                raise AdapterError(f"{folder}: its backbone is not in memory; start with an adapter of it")
            key = _Key(known.location, known.revision, _dtype(record))
            if only_known and key not in self._shared:
                key = replace(key, dtype="fp32")
            shared = self._shared.get(key)
            if shared is None and only_known:
                there = " and ".join(sorted(own.dtype for own in self._shared if own.location == known.location))
                other = f"was trained in {record.dtype}, and its backbone is in memory in {there} alone"
                raise AdapterError(f"{folder}: {other}; start with an adapter of it that was trained in fp32")
            if shared is None:
                shared = _open(folder, record, known, key.dtype)
            else:
                check_backbone(folder, record, shared.pin)
            most, wanted = sources.longest(shared.config), record.configuration.data.max_length
            if most is not None and wanted > most:
                raise AdapterError(f"{folder}: data.max_length is {wanted:,}, and its backbone reads {most:,} tokens")
            known_tokens = sources.known_tokens(shared.config, shared.tokenizer)
            tfidf = read_tfidf(folder, len(record.labels)) if record.is_blend else None
            forward = _forward(folder, record, shared)
            classifier = Classifier(forward, shared.tokenizer, record, known_tokens, folder, tfidf)
            self._shared[key] = shared
        return classifier

    def attempt(self, classifiers: Sequence[Classifier], encoded: Sequence[Encoded]) -> list[Logits | AdapterError]:
        """As `logits`, with an error in the place of those that are not finite; it is not their neighbours'."""
        why = "of a text the adapter gives logits that are not finite"
        found = self.logits(classifiers, encoded)
        return [logits if np.isfinite(logits).all() else AdapterError(why) for logits in found]

    def logits(self, classifiers: Sequence[Classifier], encoded: Sequence[Encoded]) -> list[Logits]:
        """Logits (N, C) of each classifier on its own encoded rows; rows over the same backbone pass together.

        A classifier may stand there several times, with other rows. Of a text whose numbers overflow, as in fp16 they
        may, its own are not finite.
        """
        found: dict[int, Logits] = {}
        groups: dict[int, list[int]] = {}
        for place, classifier in enumerate(classifiers):
            frozen = getattr(classifier.forward, "frozen", None)
            groups.setdefault(id(classifier if frozen is None else frozen.layers), []).append(place)
        for places in groups.values():
            outcomes = _together([classifiers[place] for place in places], [encoded[place] for place in places])
            found.update(zip(places, outcomes, strict=True))
        return [found[place] for place in range(len(classifiers))]

    def _known(self, record: TrialRecord) -> Source | None:
        """The backbone in memory that a record names; nothing is opened for it."""
        backbone = record.configuration.backbone
        for shared in self._shared.values():
            same = shared.source.model == backbone.model
            allowed = (None, shared.pin) if shared.source.local else (shared.source.revision,)
            if same and record.backbone_revision in allowed:
                return shared.source
        return None


def load(path: Path | str, *, revision: str | None = None, class_shares: ClassShares | None = None) -> Classifier:
    """Loads the adapter in `path` (a trial's folder, such as RUN/best, or owner/name on the hub) over its backbone.

    Raises:
        OptionError: `class_shares` are none.
        AdapterError: see `adapter_folder`, `read_adapter_record` and `Classifier.for_class_shares`; or its backbone on
            this machine is not the one that it was trained on.
        BackboneError: its backbone can't be had.
    """
    classifier = Backbones().add(adapter_folder(path, revision))
    return classifier if class_shares is None else classifier.for_class_shares(class_shares)


def load_as_read(folder: Path, record: TrialRecord, class_shares: ClassShares | None = None) -> Classifier:
    """Loads the adapter in `folder`, whose `record` was read before, and by its labels the rows that it is to answer.

    Raises:
        OptionError: `class_shares` are none.
        AdapterError: another adapter took its place meanwhile; see `load`.
        BackboneError: its backbone can't be had.
    """
    classifier = load(folder, class_shares=class_shares)
    if not classifier.has_record(record):
        raise AdapterError(f"{folder}: another adapter took its place while rows were read; give the command again")
    return classifier


def _dtype(record: TrialRecord) -> Dtype:
    """The type that the adapter was trained in if this machine is fast in it, else fp32."""
    if record.dtype == "fp32":  # on any machine, whose products need not be measured
        return "fp32"
    from loraloom.engine.precision import choose_dtype

    return record.dtype if record.dtype == choose_dtype(Train()) else "fp32"


def _open(folder: Path, record: TrialRecord, source: Source, dtype: Dtype) -> _Shared:
    """A backbone without its weights yet."""
    pin = sources.pin(source) if source.local else None
    check_backbone(folder, record, pin)
    return _Shared(source, dtype, pin, sources.load_config(source), sources.load_tokenizer(source))


def _forward(folder: Path, record: TrialRecord, shared: _Shared) -> Forward:
    from loraloom.engine.device import device
    from loraloom.engine.loom.inference import Inference

    configuration = record.configuration
    weights = checked_weights(folder, record, shared.config, shared.expected)
    frozen = _frozen(configuration, shared)
    if frozen is None:
        model = build_adapted(shared.source, record, shared.config, weights)
        return PeftForward(model.to(device()), shared.tokenizer)
    try:
        return Inference(frozen, weights, configuration)
    except AdapterError as error:
        raise AdapterError(f"{folder}: {error}") from None


def _frozen(configuration: Configuration, shared: _Shared) -> FrozenEncoder | None:
    """The shared weights under this adapter's head and pooling; None where loom does not know the architecture."""
    found = anatomy(shared.config, configuration.head)
    if isinstance(found, str):
        return None
    if shared.frozen is None:
        shared.frozen = _freeze(found, shared)
    return shared.frozen.under(found)


def _freeze(found: Anatomy, shared: _Shared) -> FrozenEncoder:
    """Loads the weights, with the frozen layers that the architecture's own head reads if the checkpoint has them."""
    from loraloom.backbone.frozen_encoder import encoder_prefix, load_encoder
    from loraloom.engine.loom.inference import freeze_for_use
    from loraloom.engine.precision import DTYPES

    prefix = encoder_prefix(shared.config)
    native = anatomy(shared.config, Head())
    found = found if isinstance(native, str) else native
    pooler = any(str(argument).startswith(f"{prefix}.") for _, argument in found.head)
    encoder, has_pooler = load_encoder(shared.source, pooler=pooler)
    if pooler and not has_pooler:
        found = replace(found, head=())
    return freeze_for_use(encoder, shared.config, found, DTYPES[shared.dtype])


def _together(classifiers: Sequence[Classifier], encoded: Sequence[Encoded]) -> list[Logits]:
    """Classifiers over one backbone, each with its rows, in as few passes as may be."""
    from loraloom.engine.loom.inference import Inference, mixed_logits

    lengths = np.concatenate([np.diff(rows.offsets) for rows in encoded])
    joined = Encoded(np.concatenate([rows.input_ids for rows in encoded]), np.append(0, np.cumsum(lengths)), 0)
    counts = [len(rows) for rows in encoded]
    adapters = list({id(own.forward): own.forward for own in classifiers}.values())
    found: Sequence[Logits]
    if len(adapters) == 1:
        found = list(adapters[0].logits(joined, len(classifiers[0].labels))) if len(joined) else []
    else:
        places = {id(own): place for place, own in enumerate(adapters)}
        owners = np.repeat([places[id(own.forward)] for own in classifiers], counts)
        found = mixed_logits(cast(list[Inference], adapters), joined, owners)
    return [
        _answers(own, rows, found[end - len(rows) : end])
        for own, rows, end in zip(classifiers, encoded, np.cumsum(counts).tolist(), strict=True)
    ]


def _answers(classifier: Classifier, encoded: Encoded, rows: Sequence[Logits]) -> Logits:
    """Logits (N, C) of what `encoded` gives, whose forward pass gave `rows`."""
    logits = np.stack(rows) if rows else np.zeros((0, len(classifier.labels)), dtype=np.float32)
    return classifier.answers(logits, encoded)
