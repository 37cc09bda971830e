"""RUN/similarity/ comes back as it was written, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loraloom.errors import RunError
from loraloom.study.durable import write_json, write_manifest
from loraloom.study.embeddings import ABOUT, Embedded, Embeddings, Key, read_embeddings, write_embeddings
from tests.report.similarity.embedded_runs import embedded, second_set

KEY = Key(data="abc", model="demo", revision="sha256:1", max_length=64, trained_rows=40)


def kept(**changes: object) -> Embeddings:
    values = {"train": embedded(40, 1, of=90), "validation": embedded(10, 2), "test": embedded(20, 3)}
    return Embeddings(KEY, **values, seconds=2.0, **changes)  # type: ignore[arg-type]


def test_they_come_back_within_half_precision_and_of_unit_length(tmp_path: Path) -> None:
    written = kept(second=second_set(30))
    write_embeddings(tmp_path, written)
    read = read_embeddings(tmp_path)
    assert read is not None
    assert (read.key, read.train.rows, read.seconds) == (KEY, 90, 2.0)
    assert np.allclose(read.train.vectors, written.train.vectors, atol=1e-3)
    assert np.allclose(np.linalg.norm(read.test.vectors, axis=1), 1, atol=1e-6)
    assert read.second is not None
    assert written.second is not None
    assert read.second.about == written.second.about
    assert np.array_equal(np.asarray(read.second.correct), np.asarray(written.second.correct))


def test_equal_vectors_stay_equal(tmp_path: Path) -> None:
    same = embedded(20, 3)
    write_embeddings(tmp_path, Embeddings(KEY, same, embedded(10, 2), same, 1.0))
    read = read_embeddings(tmp_path)
    assert read is not None
    assert np.array_equal(read.train.vectors, read.test.vectors)


def test_which_texts_stand_again_comes_back_and_those_of_an_earlier_version_are_all_different(tmp_path: Path) -> None:
    again = np.arange(40) % 2 == 1
    written = kept()
    write_embeddings(tmp_path, replace(written, train=replace(written.train, again=again)))
    read = read_embeddings(tmp_path)
    assert read is not None
    assert read.train.again is not None
    assert read.train.again.tolist() == again.tolist()
    assert np.array_equal(read.train.different, read.train.vectors[::2])
    assert read.test.again is None
    assert read.test.different is read.test.vectors


def test_a_run_without_them_has_none(tmp_path: Path) -> None:
    assert read_embeddings(tmp_path) is None


@pytest.mark.parametrize("name", [ABOUT, "embeddings.safetensors"])
def test_a_changed_byte_is_refused(tmp_path: Path, name: str) -> None:
    write_embeddings(tmp_path, kept())
    file = tmp_path / "similarity" / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(RunError, match="is damaged"):
        read_embeddings(tmp_path)


@pytest.mark.parametrize("values", [{}, {"format": 2}, []], ids=["nothing", "other format", "a list"])
def test_a_description_that_is_none_is_refused(tmp_path: Path, values: object) -> None:
    write_embeddings(tmp_path, kept())
    write_json(tmp_path / "similarity" / ABOUT, values)
    write_manifest(tmp_path / "similarity")
    with pytest.raises(RunError, match=r"can't be read: .*`loraloom report RUN` makes it anew"):
        read_embeddings(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda part: replace(part, numbers=part.numbers[::-1].copy()), "do not ascend"),
        (lambda part: replace(part, numbers=part.numbers + part.rows), "has no row"),
        (lambda part: replace(part, vectors=np.zeros_like(part.vectors)), "not of unit length"),
        (lambda part: replace(part, vectors=part.vectors[:, :0]), "not rows of numbers"),
        (lambda part: replace(part, vectors=np.full((len(part), 1), 1.0, np.float32)), "widths differ"),
        (lambda part: replace(part, again=np.zeros(3, np.bool_)), "is not of its rows"),
    ],
)
def test_arrays_that_can_not_be_are_refused(tmp_path: Path, spoil: Callable[[Embedded], Embedded], said: str) -> None:
    whole = kept()
    write_embeddings(tmp_path, replace(whole, test=spoil(whole.test)))
    with pytest.raises(RunError, match=said):
        read_embeddings(tmp_path)
