"""Batches without padding: every token is found again, and knows its text, its place and its position."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

from loraloom.backbone.anatomy import Embedding
from loraloom.data import Encoded
from loraloom.engine.loom.tokens import Tokens, lay_out

PAD = 1
PLAIN = Embedding("word", "norm")
ROBERTA = Embedding("word", "norm", pad=PAD)
Text = list[int]
TEXTS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=9), min_size=1, max_size=5)


def encoded(texts: list[Text]) -> Encoded:
    offsets = np.cumsum([0, *map(len, texts)])
    return Encoded(np.array([token for text in texts for token in text], dtype=np.int32), offsets, 0)


def laid_out(trials: list[list[Text]], embedding: Embedding = PLAIN) -> Tokens:
    return lay_out([encoded(texts) for texts in trials], [np.arange(len(texts)) for texts in trials], embedding)


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_every_token_is_found_and_knows_its_place(trials: list[list[Text]]) -> None:
    tokens = laid_out(trials)
    batch = max(map(len, trials))
    assert (tokens.trials, tokens.batch) == (len(trials), batch)
    texts = [text for own in trials for text in own + [[0]] * (batch - len(own))]  # filler is one token
    ids, places = tokens.ids.reshape(-1), tokens.places.reshape(-1)
    for number, text in enumerate(texts):
        rows = tokens.index[number][tokens.real[number]]
        assert ids[rows].tolist() == text
        assert places[rows].tolist() == list(range(len(text)))
        assert int(tokens.first[number]) == int(rows[0])
        assert tokens.index[number][~tokens.real[number]].eq(rows[0]).all()
    assert tokens.longest == max(map(len, texts))
    assert torch.equal(tokens.real_flat, tokens.real.reshape(-1).nonzero()[:, 0])
    assert torch.equal(tokens.real_rows, tokens.index[tokens.real])
    assert len(set(tokens.real_rows.tolist())) == sum(map(len, texts))


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_a_trials_rows_lie_in_its_own_share_of_the_batch(trials: list[list[Text]]) -> None:
    tokens = laid_out(trials)
    width = tokens.ids.shape[1]
    assert (tokens.index // width).eq(torch.arange(len(trials)).repeat_interleave(tokens.batch)[:, None]).all()
    for trial, own in enumerate(trials):
        flat = [token for text in own for token in text]
        assert tokens.ids[trial, : len(flat)].tolist() == flat
        assert tokens.ids[trial, len(flat) :].eq(0).all()


@given(TEXTS)
def test_offsets_of_one_trial_say_where_its_texts_begin_and_end(texts: list[Text]) -> None:
    tokens = laid_out([texts])
    assert tokens.offsets.dtype == torch.int32
    assert tokens.offsets.tolist() == np.cumsum([0, *map(len, texts)]).tolist()


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_positions_of_roberta_are_transformers_own(trials: list[list[Text]]) -> None:
    """Also where the padding's id is a text's token, and where a shorter trial is filled up."""
    tokens, embeddings = laid_out(trials, ROBERTA), cast(Any, RobertaEmbeddings)
    batch, at = tokens.batch, 0
    for own in trials:
        for text in own:
            expected = embeddings.create_position_ids_from_input_ids(torch.tensor([text]), PAD)[0]
            rows = tokens.index[at][tokens.real[at]]
            assert torch.equal(tokens.positions.reshape(-1)[rows], expected)
            at += 1
        at += batch - len(own)
    assert int(tokens.positions.min()) >= 0


def test_positions_of_others_are_places() -> None:
    tokens = laid_out([[[1, 2, 1], [4]]])
    assert tokens.positions.tolist() == tokens.places.tolist() == [[0, 1, 2, 0]]


def test_rows_are_taken_in_the_order_asked_for() -> None:
    rows = encoded([[1], [2, 3], [4]])
    tokens = lay_out([rows, rows], [np.array([2, 1]), np.array([1])], PLAIN)
    assert tokens.ids.tolist() == [[4, 2, 3], [2, 3, 0]]
    assert tokens.index.tolist() == [[0, 0], [1, 2], [3, 4], [5, 5]]


def test_a_text_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="no tokens"):
        lay_out([Encoded(np.array([1], dtype=np.int32), np.array([0, 1, 1]), 0)], [np.array([0, 1])], PLAIN)
