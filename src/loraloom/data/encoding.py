"""Texts to token ids, cut at max_length, and kept in a cache so that the trials of a search tokenize once.

A cache file is named for all that its content depends on, and holds a digest of it: what is damaged is
computed again, and what was read longest ago makes room. Token types are left out (single texts: all zero), and so are
masks (nothing is padded here).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loraloom.data.telling import SILENT, Telling
from loraloom.data.text_data import Finding, update_with_texts
from loraloom.errors import LoraloomError, RunError
from loraloom.machine import with_home
from loraloom.study.durable import write_bytes
from loraloom.study.provenance import version_of
from loraloom.wording import percent, plural

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 2
MOST_BYTES = 2 * 10**9
"""Of the cache, where a token takes 4. A result larger than that is kept alone."""

_CHUNK_ROWS = 1024
MOST_UNKNOWN = 0.1
"""Of tokens; of texts in a language that a vocabulary is not made for there are mostly far more, or none."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of rows that lie one after the other: row i is input_ids[offsets[i] : offsets[i + 1]]."""

    input_ids: NDArray[np.int32]  # (tokens,)
    offsets: NDArray[np.int64]  # (rows + 1,)
    cut: int  # rows that were longer than max_length
    whole: NDArray[np.int32] | None = None  # (rows,) tokens of each text before it was cut; None: as it is now
    by_tfidf: NDArray[np.float32] | None = None  # (rows, C) what TF-IDF says of each text, where an adapter asks it

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(rows,) tokens of each text, what was cut off included."""
        return np.diff(self.offsets) if self.whole is None else self.whole.astype(np.int64)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def part(self, start: int, stop: int) -> Encoded:
        """The rows from `start` to before `stop`, over the same memory, as if they were not cut."""
        offsets = self.offsets[start : stop + 1]
        by_tfidf = None if self.by_tfidf is None else self.by_tfidf[start:stop]
        return Encoded(self.input_ids[offsets[0] : offsets[-1]], offsets - offsets[0], 0, by_tfidf=by_tfidf)

    def beyond(self, known: int) -> dict[int, int]:
        """By row, the first token that a model has no embedding of whose embeddings are of `known` tokens."""
        places = np.flatnonzero(self.input_ids >= known)[::-1]
        rows = np.searchsorted(self.offsets, places, side="right") - 1
        return dict(zip(rows.tolist(), self.input_ids[places].tolist(), strict=True))

    def __getitem__(self, row: int) -> dict[str, list[int]]:
        """One row as DataCollatorWithPadding takes it."""
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        start, end = self.offsets[row % len(self)], self.offsets[row % len(self) + 1]
        ids: list[int] = self.input_ids[start:end].tolist()
        return {"input_ids": ids, "attention_mask": [1] * len(ids)}

    def __iter__(self) -> Iterator[dict[str, list[int]]]:
        return (self[row] for row in range(len(self)))


def default_cache() -> Path:
    """$LORALOOM_CACHE, or ~/.cache/loraloom.

    Raises:
        LoraloomError: it is in the home folder of a user who has none, as in a container by a number for a user.
    """
    named = os.environ.get("LORALOOM_CACHE") or "~/.cache/loraloom"
    folder = with_home(named)
    if str(folder).startswith("~"):
        raise LoraloomError(f"{named}: there is no home folder to keep the cache in; name a folder in LORALOOM_CACHE")
    return folder


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_length: int,
    cache: Path | None,
    telling: Telling = SILENT,
) -> Encoded:
    """Token ids of each text, special ones included, at most `max_length` of them.

    With `cache`, a folder, a result is kept there and found again; one that can't be written is done without.
    A tokenizer that can't be written out whole (a slow one) has no name to be found by, and is not cached.
    `telling` hears how far it is.
    """
    state = _state_of(tokenizer) if cache is not None else None
    if cache is None or state is None:
        return _tokenized(tokenizer, texts, max_length, telling)
    path = cache / "encoded" / f"{_key(state, texts, max_length)}.safetensors"
    encoded = _read(path)
    if encoded is None or len(encoded) != len(texts):
        encoded = _tokenized(tokenizer, texts, max_length, telling)
        with contextlib.suppress(OSError, RunError):
            _write(path, encoded)
            _make_room(path.parent)
    else:
        with contextlib.suppress(OSError):
            os.utime(path)
    return encoded


def truncation_finding(encoded: Encoded, max_length: int) -> Finding | None:
    """How many training texts lost their end, or None where none did."""
    if not encoded.cut:
        return None
    share = encoded.cut / len(encoded)
    sentence = (
        f"Training: {plural(encoded.cut, 'text')} ({percent(share)}) longer than "
        f"data.max_length = {max_length} tokens: cut."
    )
    return Finding("truncated", "warning" if share > 0.1 else "note", encoded.cut, sentence)


def unknown_finding(encoded: Encoded, tokenizer: PreTrainedTokenizerBase, model: str) -> Finding | None:
    """How many tokens of training texts are the one that stands for what the tokenizer of `model` does not know.

    None up to a tenth of them, special ones aside: names and signs are unknown in any language.
    """
    unknown = encoded.input_ids == (-1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id)
    if not unknown.any():
        return None
    share = unknown.sum() / (unknown | ~np.isin(encoded.input_ids, tokenizer.all_special_ids)).sum()
    if share <= MOST_UNKNOWN:
        return None
    texts = len(np.unique(np.searchsorted(encoded.offsets, np.flatnonzero(unknown), side="right")))
    sentence = (
        f"Training: {percent(share)} of the tokens, in {plural(texts, 'text')}, are unknown to {model!r}, which reads "
        "them all alike: take an encoder that was pretrained on the language of these texts."
    )
    return Finding("unknown_tokens", "warning", texts, sentence)


def _tokenized(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int, telling: Telling) -> Encoded:
    """In chunks, so that memory is the result's."""
    rows: list[NDArray[np.int32]] = []
    whole: list[int] = []
    for start in range(0, len(texts), _CHUNK_ROWS):
        telling.far("tokenising", start, len(texts))
        for ids, length in _cut_ids(tokenizer, list(texts[start : start + _CHUNK_ROWS]), max_length):
            rows.append(np.array(ids, dtype=np.int32))
            whole.append(length)
    cut = sum(length > max_length for length in whole)
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    flat = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int32)
    return Encoded(flat, offsets, cut, np.array(whole, dtype=np.int32))


def _cut_ids(tokenizer: Any, texts: list[str], max_length: int) -> Iterator[tuple[list[int], int]]:
    """Of each text the ids of at most `max_length` tokens, and how many it has whole.

    The Rust tokenizer itself is given whole texts, without the places of tokens in a text, which nobody reads: that is
    a quarter faster than by transformers. What it makes of a text is cut and has its special tokens put around
    afterwards, so that a long text is read once.
    """
    backend = _unlimited(tokenizer)
    if backend is None or tokenizer.split_special_tokens:
        yield from _cut_by_transformers(tokenizer, texts, max_length)
        return
    bare = backend.encode_batch_fast(texts, add_special_tokens=False)
    backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
    special = backend.num_special_tokens_to_add(False)
    for one in bare:
        yield backend.post_process(one).ids, len(one) + special


def _cut_by_transformers(tokenizer: Any, texts: list[str], max_length: int) -> Iterator[tuple[list[int], int]]:
    """The same. `verbose` is off since texts beyond the model's own limit are expected here, and cut afterwards."""
    options = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
    whole = tokenizer(texts, **options)["input_ids"]
    long = [text for text, ids in zip(texts, whole, strict=True) if len(ids) > max_length]
    cut = iter(tokenizer(long, truncation=True, max_length=max_length, **options)["input_ids"] if long else ())
    for ids in whole:
        yield (next(cut) if len(ids) > max_length else ids), len(ids)


def _state_of(tokenizer: Any) -> str | None:
    """All that a fast tokenizer does, and by which version; it writes its vocabulary in the order of the ids."""
    backend = _unlimited(tokenizer)
    if backend is None:
        return None
    beside = {
        "truncation_side": tokenizer.truncation_side,
        "split_special_tokens": tokenizer.split_special_tokens,  # which the backend is not told
        "tokenizers": version_of("tokenizers"),
    }
    return f"{json.dumps(beside)}{backend.to_str()}"


def _unlimited(tokenizer: Any) -> Any | None:
    """The Rust tokenizer, without the truncation and padding that calls leave in it; None where there is none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and backend.truncation is not None:
        backend.no_truncation()
    if backend is not None and backend.padding is not None:
        backend.no_padding()
    return backend


def _key(state: str, texts: Sequence[str], max_length: int) -> str:
    digest = hashlib.sha256()
    update_with_texts(digest, [str(FORMAT), state, str(max_length)])
    update_with_texts(digest, texts)
    return digest.hexdigest()


def _digest(encoded: Encoded) -> NDArray[np.uint8]:
    parts = (encoded.input_ids, encoded.offsets, encoded.lengths, np.array(encoded.cut, dtype=np.int64))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part, dtype=part.dtype.newbyteorder("<")).data)
    return np.frombuffer(digest.digest(), dtype=np.uint8)


def _read(path: Path) -> Encoded | None:
    """None for a file that is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        parts = load(path.read_bytes())
        encoded = Encoded(parts["input_ids"], parts["offsets"], int(parts["cut"]), parts["whole"])
        return encoded if np.array_equal(parts["sha256"], _digest(encoded)) else None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None


def _make_room(folder: Path) -> None:
    """Remove the files that were read longest ago, but for the last, until they are at most MOST_BYTES."""
    found = {path: path.stat() for path in folder.glob("*.safetensors")}
    newest, *others = sorted(found, key=lambda path: found[path].st_mtime_ns, reverse=True)
    taken = found[newest].st_size
    for path in others:
        taken += found[path].st_size
        if taken > MOST_BYTES:
            path.unlink(missing_ok=True)


def _write(path: Path, encoded: Encoded) -> None:
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    content = save(
        {
            "input_ids": encoded.input_ids,
            "offsets": encoded.offsets,
            "cut": np.array(encoded.cut, dtype=np.int64),
            "whole": encoded.lengths.astype(np.int32),
            "sha256": _digest(encoded),
        }
    )
    write_bytes(path, content)
