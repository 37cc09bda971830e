"""What is told of a run's data beside its findings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from transformers import AutoTokenizer

from loraloom.data import Split, TextData, describing, load_data
from loraloom.data.describing import class_rows, measured_lengths, overlaps, token_lengths
from loraloom.recipe import Configuration

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen {}"


def rows(texts: list[str]) -> tuple[list[str], list[str]]:
    return texts, ["ab"[index % 2] for index in range(len(texts))]


@pytest.fixture
def data() -> TextData:
    """Three training rows are in validation, one nearly in test; two of validation are in test, one of them nearly."""
    numbers = [f"{index} cats and the dogs of row {index}" for index in range(30)]
    validation = [*numbers[:3], "alone in here", "also in test", f"{LONG.format('x')} {LONG.format('y')}"]
    test = [
        "also in test",
        f"{LONG.format('x')} {LONG.format('y')} z",
        f"near {' '.join(f'w{i}' for i in range(40))}",
        "else",
    ]
    train = [*numbers, f"near {' '.join(f'w{i}' for i in range(40))} end", "and a last one"]
    return load_data(Configuration().data, seed=0, train=rows(train), validation=rows(validation), test=rows(test))


def test_overlaps_count_rows_of_the_first_split_by_pairs(data: TextData) -> None:
    assert overlaps(data.findings) == [
        {"splits": ["train", "validation"], "equal": 3, "near": 0},
        {"splits": ["train", "test"], "equal": 0, "near": 1},
        {"splits": ["validation", "test"], "equal": 1, "near": 1},
    ]


def test_class_rows_are_those_of_the_splits_as_used(data: TextData) -> None:
    counts = class_rows(data)
    assert {name: sum(of.values()) for name, of in counts.items()} == {"train": 28, "validation": 6, "test": 4}
    assert counts["test"] == {"a": 2, "b": 2}


def test_lengths_are_counted_before_texts_are_cut(data: TextData, tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    told = token_lengths(data, tokenizer, max_length=16, seed=0)
    lengths = [len(ids) for ids in tokenizer(list(data.validation.texts))["input_ids"]]
    validation = told["splits"]["validation"]
    assert validation["cut"] == sum(length > 16 for length in lengths) == 1
    assert validation["quantiles"][0] == min(lengths)
    assert validation["quantiles"][3] in np.percentile(lengths, 50, method="lower") + np.arange(9)
    assert validation["quantiles"][-1] == max(lengths) > 16
    assert told["splits"]["train"]["measured"] == 28


def test_rare_classes_have_no_more_than_their_share_of_the_texts_that_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def encode(tokenizer: Any, texts: tuple[str, ...], **_: Any) -> Any:
        return SimpleNamespace(lengths=np.array([len(text) for text in texts]))

    monkeypatch.setattr(describing, "encode", encode)
    monkeypatch.setattr(describing, "MOST_MEASURED", 200)
    labels = np.concatenate([np.zeros(19_000, np.int64), np.repeat(np.arange(1, 101), 10)])
    split = Split(tuple("aa" if label else "a" for label in labels), labels)  # rare classes have longer texts
    assert np.mean(measured_lengths(split, cast(Any, None), 16, seed=0) > 1) < 0.12


@pytest.mark.parametrize(("words", "measured"), [(1, 300), (100, 110), (1_000, 100)])
def test_of_long_texts_fewer_are_measured(words: int, measured: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "MEASURED_CHARACTERS", 110 * 200)
    seen: list[int] = []

    def encode(tokenizer: Any, texts: tuple[str, ...], **_: Any) -> Any:
        seen.append(len(texts))
        return SimpleNamespace(lengths=np.zeros(len(texts), dtype=np.int64))

    monkeypatch.setattr(describing, "encode", encode)
    split = Split(("a " * words,) * 300, np.arange(300) % 2)
    assert len(measured_lengths(split, cast(Any, None), 16, seed=0)) == seen[0] == measured
