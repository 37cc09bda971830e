"""Of encoders that are not refused: a text's states don't depend on its padding, and its first token sees its last.

Each is tiny and random, its padding's embedding too, as a checkpoint's may be. transformers has more than these, and
which of them read padding it does not say: a new one can be tried here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel

from loraloom.backbone import sources

_COMMON: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 80,
    "pad_token_id": 1,
}
_XLM: dict[str, Any] = {"vocab_size": 120, "emb_dim": 32, "n_layers": 2, "n_heads": 2, "pad_index": 1}
_OWN: dict[str, dict[str, Any]] = {
    "albert": _COMMON | {"embedding_size": 16},
    "distilbert": {"vocab_size": 120, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "pad_token_id": 1},
    "deberta": _COMMON | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": _COMMON | {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["c2p", "p2c"]},
    "electra": _COMMON | {"embedding_size": 16},
    "esm": _COMMON | {"position_embedding_type": "rotary"},
    "eurobert": _COMMON | {"num_key_value_heads": 2, "head_dim": 16},
    "flaubert": _XLM,
    "longformer": _COMMON | {"attention_window": 8},
    "luke": _COMMON | {"entity_vocab_size": 8, "entity_emb_size": 8},
    "modernbert": _COMMON | {"local_attention": 8, "global_attn_every_n_layers": 2},
    "xlm": _XLM,
    "xmod": _COMMON | {"languages": ["en_XX"], "default_language": "en_XX"},
}
_PLAIN = (
    *("bert", "big_bird", "camembert", "data2vec-text", "ernie", "ibert", "layoutlm", "markuplm", "megatron-bert"),
    *("mpnet", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl"),
)


def _encoder(kind: str, folder: Path) -> Any:
    """Random weights, of what `load_config` makes of a folder."""
    AutoConfig.for_model(kind, **_OWN.get(kind, _COMMON)).save_pretrained(folder)
    (folder / "model.safetensors").touch()
    torch.manual_seed(0)
    encoder = cast(Any, AutoModel).from_config(sources.load_config(sources.find(str(folder)))).eval()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            is_scale = "norm" in name.lower() and name.endswith("weight")
            parameter.copy_(torch.randn_like(parameter) * 0.2 + is_scale)
    return encoder


def _states(encoder: Any, rows: list[list[int]]) -> Tensor:
    """Hidden states (T, D) of the first row, padded to the longest."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [1] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    with torch.inference_mode():
        states: Tensor = encoder(input_ids=ids, attention_mask=mask).last_hidden_state[0, : len(rows[0])]
    return states


@pytest.mark.parametrize("kind", [*_PLAIN, *_OWN])
def test_an_encoder_reads_a_text_whole_and_no_padding(kind: str, tmp_path: Path) -> None:
    encoder, text = _encoder(kind, tmp_path), [0, 50, 60, 70, 80, 90, 2]
    alone = _states(encoder, [text])
    for length in (9, 33):
        beside = _states(encoder, [text, [5 + number for number in range(length)]])
        torch.testing.assert_close(beside, alone, atol=1e-4, rtol=1e-4)
    other = _states(encoder, [[*text[:-1], 77]])
    assert (other[0] - alone[0]).abs().max() > 1e-3
