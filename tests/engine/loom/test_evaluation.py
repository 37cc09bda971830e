"""Evaluation goes by length: each row once, in batches of bounded size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from loraloom.backbone.anatomy import Embedding
from loraloom.data import Encoded
from loraloom.engine.loom import evaluation
from loraloom.engine.loom.evaluation import by_length, chunks, gather


@given(st.lists(st.integers(1, 6000), min_size=1, max_size=60))
def test_each_row_comes_once_shortest_first_and_batches_are_bounded(lengths: list[int]) -> None:
    sizes = np.array(lengths)
    batches = list(by_length(sizes))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    ordered = sizes[np.concatenate(batches)].tolist()
    assert ordered == sorted(ordered)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * int(sizes[batch].max()) <= evaluation.TOKENS


@given(st.lists(st.integers(1, 50), min_size=2, max_size=400))
def test_batches_are_as_large_as_they_may_be(lengths: list[int]) -> None:
    sizes = np.array(lengths)
    batches = list(by_length(sizes))
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * int(sizes[following[0]]) > evaluation.TOKENS


def test_texts_of_one_token_fill_a_batch() -> None:
    batches = by_length(np.ones(2 * evaluation.TOKENS + 3, dtype=np.int64))
    assert [len(batch) for batch in batches] == [evaluation.TOKENS, evaluation.TOKENS, 3]


def test_logits_come_back_in_the_rows_own_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, size=100)
    ids = np.repeat(np.arange(100, dtype=np.int32), lengths)  # a row's tokens are its number
    encoded = Encoded(ids, np.concatenate([[0], np.cumsum(lengths)]), 0)
    parts = tuple(chunks(encoded, Embedding("word", "norm"), torch.device("cpu")))
    assert len(parts) > 2

    def logits_of(part: evaluation.Chunk) -> torch.Tensor:
        numbers = part.tokens.ids.reshape(-1)[part.tokens.first].float()
        return torch.stack([numbers, -numbers], dim=1)

    found = gather(parts, (100, 2), logits_of)
    assert found.tolist() == [[row, -row] for row in range(100)]
