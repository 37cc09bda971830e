"""Embeddings by the frozen backbone: loom's pass gives what transformers gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from transformers import DebertaV2Config

from loraloom.backbone import sources
from loraloom.errors import BackboneError
from loraloom.use import embedding
from loraloom.use.embedding import Embedder
from tests.numerics.architectures import CONFIGS, VOCABULARY, save_model

LONGER = [" ".join(f"w{5 + (row + at) % 20}" for at in range(row)) for row in range(1, 40)]
TEXTS = ["w7 w8 w9", "w10", "unknown", *LONGER]


@pytest.mark.parametrize("architecture", list(CONFIGS))
def test_loom_gives_what_transformers_gives(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sources.find(str(save_model(architecture, tmp_path)))
    heard: list[int] = []
    by_loom = Embedder(source, 16).embed(TEXTS, heard.append)
    assert sum(heard) == len(TEXTS)
    monkeypatch.setattr(embedding, "_by_loom", lambda *_, **__: None)
    by_transformers = Embedder(source, 16).embed(TEXTS)
    np.testing.assert_allclose(by_loom, by_transformers, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(by_loom, axis=1), 1, atol=1e-5)


def test_bf16_is_near_fp32(tmp_path: Path) -> None:
    source = sources.find(str(save_model("bert", tmp_path)))
    wide, narrow = Embedder(source, 16).embed(TEXTS), Embedder(source, 16, "bf16").embed(TEXTS)
    assert 0 < np.abs(wide - narrow).max() < 0.05


def test_an_architecture_that_loom_does_not_know_is_embedded_by_transformers(tmp_path: Path) -> None:
    config = DebertaV2Config(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    source = sources.find(str(save_model("bert", tmp_path, config)))
    assert embedding._by_loom(source, "fp32") is None
    vectors = Embedder(source, 16).embed(TEXTS)
    assert vectors.shape == (len(TEXTS), 16)


def test_no_texts_have_no_vectors(tmp_path: Path) -> None:
    assert len(Embedder(sources.find(str(save_model("bert", tmp_path))), 16).embed([])) == 0


def test_a_vector_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    weights = save_model("bert", tmp_path) / "model.safetensors"
    tensors = load_file(weights)
    tensors["encoder.layer.0.output.dense.weight"][0, 0] = float("nan")
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(BackboneError, match="not finite"):
        Embedder(sources.find(str(tmp_path)), 16).embed(TEXTS)


def test_a_text_without_a_token_or_with_one_that_the_model_has_not_got_can_not_be_read(tmp_path: Path) -> None:
    config = CONFIGS["bert"]()
    config.vocab_size = 30  # where its tokenizer has 60
    embedder = Embedder(sources.find(str(save_model("bert", tmp_path, config))), 16)
    assert embedder.readable(["w7 w29", "w30", "", "w7 w59 w30"]).tolist() == [True, False, False, False]
    assert embedder.readable(["w7", "w8"]).all()
