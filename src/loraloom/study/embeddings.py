"""RUN/similarity/: what the frozen backbone makes of a run's rows, kept so that a report needs neither model nor torch.

    RUN/similarity/similarity.json, embeddings.safetensors, manifest.json (SHA-256 of both, written last)

A row's embedding is the mean of its tokens' last hidden states, of unit length. They are kept in fp16: a coordinate is
then off by 1/2,000 of itself, and equal texts stay at distance 0. 9,000 rows of a base-size model take 14 MB.
Rejected: keeping only distances and test statistics, which a later method could not be computed from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from loraloom.errors import AdapterError, RunError, first_line
from loraloom.recipe import Recipe
from loraloom.study.durable import replacing_folder, verify_manifest, write_json
from loraloom.study.provenance import SPLITS, fingerprint_of, model_revision, rows_of
from loraloom.study.record import TrialRecord

SIMILARITY = "similarity"
ABOUT, VECTORS = "similarity.json", "embeddings.safetensors"
FORMAT = 1
ANEW = "`loraloom report RUN` makes it anew"


@dataclass(frozen=True, slots=True)
class Key:
    """What embeddings depend on: those of another key are stale. `trained_rows` are the winner's."""

    data: str
    model: str
    revision: str
    max_length: int
    trained_rows: int


LENGTH_TOLERANCE = 0.01
"""How far from 1 rounding to fp16 can move a length."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Rows of a split or a file of `rows` in all: their `numbers` (N,) in it, and `vectors` (N, D) of unit length.

    `again` (N,) marks those whose text, but for case and signs, an earlier one of them has; None where an earlier
    version kept none.
    """

    rows: int
    numbers: NDArray[np.int64]
    vectors: NDArray[np.float32]
    again: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def different(self) -> NDArray[np.float32]:
        """The vectors of different texts: for tests, to which copies are no further evidence."""
        return self.vectors if self.again is None else self.vectors[~self.again]


@dataclass(frozen=True, slots=True)
class SecondAbout:
    """The file that a run is compared with: `digest` is of its texts and labels, `rows` those that had a text.

    `unlabelled` says why its labels can't be used; `winner` is the trial whose predictions of them are kept, or, with
    `soup_of`, the best of the trials whose mean's predictions they are.
    `note` says where they were read as others than they are. `trained_on`: of the texts that are embedded, those that
    are a training row's too, each once; None where the run's rows were not to be had.
    """

    file: str
    digest: str
    rows: int
    empty: int
    unlabelled: str | None
    winner: int
    note: str | None = None
    soup_of: str | None = None
    trained_on: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Second:
    """A second set; `labels` (N,) and `correct` (N,) are None where it has none that the run knows."""

    about: SecondAbout
    embedded: Embedded
    labels: NDArray[np.int64] | None
    correct: NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """All that is kept; `seconds` is what the run's own rows took."""

    key: Key
    train: Embedded
    validation: Embedded
    test: Embedded
    seconds: float
    second: Second | None = None


class _About(BaseModel):
    """similarity.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int
    key: Key
    rows: dict[str, int]
    seconds: float
    second: SecondAbout | None


def embeddings_key(recipe: Recipe, winner: TrialRecord) -> Key | None:
    """The key of a run's embeddings; None where its provenance does not say what its data and models were."""
    model, fingerprint = winner.configuration.backbone.model, fingerprint_of(recipe)
    revision = model_revision(recipe, model)
    trained = winner.train_rows or rows_of(recipe).get("train")
    if fingerprint is None or revision is None or trained is None:
        return None
    return Key(fingerprint, model, revision, winner.configuration.data.max_length, trained)


def write_embeddings(run: Path, kept: Embeddings) -> None:
    """Makes RUN/similarity/ anew, whole or not at all."""
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {}
    parts: dict[str, Embedded] = {split: getattr(kept, split) for split in SPLITS}
    if kept.second:
        parts["second"] = kept.second.embedded
        for name, values in (("labels", kept.second.labels), ("correct", kept.second.correct)):
            if values is not None:
                tensors[f"second.{name}"] = values
    for name, part in parts.items():
        tensors[f"{name}.numbers"], tensors[f"{name}.vectors"] = part.numbers, part.vectors.astype(np.float16)
        if part.again is not None:
            tensors[f"{name}.again"] = part.again
    about = {
        "format": FORMAT,
        "key": asdict(kept.key),
        "rows": {name: part.rows for name, part in parts.items()},
        "seconds": round(kept.seconds, 3),
        "second": asdict(kept.second.about) if kept.second else None,
    }
    with replacing_folder(run / SIMILARITY) as folder:
        (folder / VECTORS).write_bytes(save({name: np.ascontiguousarray(each) for name, each in tensors.items()}))
        write_json(folder / ABOUT, about)


def read_embeddings(run: Path) -> Embeddings | None:
    """What RUN/similarity/ holds; None where there is none.

    Raises:
        RunError: it is damaged, or of another version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder = run / SIMILARITY
    if not folder.is_dir():
        return None
    try:
        verify_manifest(folder)
        about = _About.model_validate_json((folder / ABOUT).read_bytes())
        if about.format != FORMAT:
            raise RunError(f"{folder / ABOUT}: is of format {about.format}, which this version does not read; {ANEW}")
        tensors = load((folder / VECTORS).read_bytes())
        splits = {name: _embedded(tensors, name, about.rows[name]) for name in SPLITS}
        second = _second(tensors, about) if about.second else None
        widths = {part.vectors.shape[1] for part in (*splits.values(), *([second.embedded] if second else []))}
        if len(widths) > 1:
            raise ValueError(f"their widths differ: {sorted(widths)}")
    except AdapterError as error:
        raise RunError(str(error)) from None
    except (OSError, ValidationError, SafetensorError, KeyError, ValueError) as error:
        raise RunError(f"{folder}: can't be read: {first_line(error)}; {ANEW}") from None
    return Embeddings(about.key, splits["train"], splits["validation"], splits["test"], about.seconds, second)


def _embedded(tensors: dict[str, NDArray[Any]], name: str, rows: int) -> Embedded:
    numbers, vectors = tensors[f"{name}.numbers"].astype(np.int64), tensors[f"{name}.vectors"].astype(np.float32)
    if vectors.ndim != 2 or not vectors.shape[1] or numbers.shape != vectors.shape[:1]:
        raise ValueError(f"the embeddings of {name} are not rows of numbers")
    if tensors[f"{name}.numbers"].dtype.kind not in "iu" or (np.diff(numbers) <= 0).any():
        raise ValueError(f"the row numbers of {name} do not ascend")
    if len(numbers) and (numbers[0] < 0 or numbers[-1] >= rows):
        raise ValueError(f"{name} has no row {int(numbers[-1] if numbers[0] >= 0 else numbers[0])}")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # rounding to fp16 has moved them off 1
    if not (np.abs(lengths - 1) < LENGTH_TOLERANCE).all():  # what is not finite is not either
        raise ValueError(f"the embeddings of {name} are not of unit length")
    again = tensors.get(f"{name}.again")
    if again is not None and again.shape != numbers.shape:
        raise ValueError(f"what texts {name} has again is not of its rows")
    return Embedded(rows, numbers, vectors / lengths, None if again is None else again.astype(np.bool_))


def _second(tensors: dict[str, NDArray[Any]], about: _About) -> Second:
    assert about.second is not None  # the caller has looked
    embedded = _embedded(tensors, "second", about.rows["second"])
    labels, correct = tensors.get("second.labels"), tensors.get("second.correct")
    if any(each is not None and each.shape != embedded.numbers.shape for each in (labels, correct)):
        raise ValueError("the labels of the second set are not of its rows")
    return Second(
        about.second,
        embedded,
        None if labels is None else labels.astype(np.int64),
        None if correct is None else correct.astype(np.bool_),
    )
