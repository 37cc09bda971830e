"""Tiny models of every architecture that loom knows, saved as folders, and jobs over them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForSequenceClassification as Classifier
from transformers import (
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

from loraloom.backbone import sources
from loraloom.backbone.adapting import Shapes
from loraloom.budget import count
from loraloom.data import Encoded, TextData, load_data
from loraloom.engine import Job, Rows
from loraloom.recipe import Configuration

VOCABULARY = 60
_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
# A larger spread of initial weights than usual: attention and norms are then far from trivial.
_WIDE: dict[str, Any] = {"initializer_range": 0.3}
CONFIGS: dict[str, Any] = {
    "bert": lambda: BertConfig(**_COMMON, **_WIDE),
    "roberta": lambda: RobertaConfig(**_COMMON, **_WIDE, pad_token_id=1, type_vocab_size=1),
    "xlm-roberta": lambda: XLMRobertaConfig(**_COMMON, **_WIDE, pad_token_id=1, type_vocab_size=1),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=VOCABULARY, dim=32, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=40, **_WIDE
    ),
    "mpnet": lambda: MPNetConfig(**_COMMON, **_WIDE, pad_token_id=1),
    "electra": lambda: ElectraConfig(**_COMMON, **_WIDE, embedding_size=16),
    "modernbert": lambda: cast(Any, ModernBertConfig)(
        **_COMMON, **_WIDE, pad_token_id=0, bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3,
        local_attention=8, global_attn_every_n_layers=2,
    ),
}  # fmt: skip
QV = {
    "bert": ("query", "value"),
    "roberta": ("query", "value"),
    "xlm-roberta": ("query", "value"),
    "distilbert": ("q_lin", "v_lin"),
    "mpnet": ("attn.q", "attn.v"),
    "electra": ("query", "value"),
    "modernbert": ("Wqkv",),
}
QKVO = {
    "bert": ("query", "key", "value", "attention.output.dense"),
    "roberta": ("query", "key", "value", "attention.output.dense"),
    "xlm-roberta": ("query", "key", "value", "attention.output.dense"),
    "distilbert": ("q_lin", "k_lin", "v_lin", "out_lin"),
    "mpnet": ("attn.q", "attn.k", "attn.v", "attn.o"),
    "electra": ("query", "key", "value", "attention.output.dense"),
    "modernbert": ("Wqkv", "attn.Wo"),
}


def pad_of(architecture: str) -> int:
    return 1 if architecture in ("roberta", "xlm-roberta", "mpnet") else 0


def save_model(architecture: str, folder: Path, config: Any = None) -> Path:
    """A model with random weights, biases and norms, and a tokenizer that says what pads."""
    torch.manual_seed(5)
    model = cast(Any, Classifier).from_config(CONFIGS[architecture]() if config is None else config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # zeros and ones would hide what is left out
                parameter.copy_(torch.randn_like(parameter) * 0.2 + ("bias" not in name))
    model.base_model.save_pretrained(folder)
    words = [f"w{index}" for index in range(VOCABULARY)]
    special = {pad_of(architecture): "[PAD]", 2: "[CLS]", 3: "[SEP]", 4: "[UNK]"}
    for index, name in special.items():
        words[index] = name
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    cast(Any, PreTrainedTokenizerFast)(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    return folder


def encoded_rows(lengths: list[int], seed: int) -> Encoded:
    """Rows of random tokens that begin with [CLS] and end with [SEP] where they have two tokens or more."""
    generator = np.random.default_rng(seed)
    rows = [generator.integers(5, VOCABULARY, size=length, dtype=np.int32) for length in lengths]
    for row in rows:
        row[0] = 2
        row[-1] = 3 if len(row) > 1 else 2
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Encoded(np.concatenate(rows), offsets, 0)


@cache
def text_data(rows: int) -> TextData:
    """Data of `rows` training rows and 12 validation rows in three classes; their texts are not read by engines."""

    def split(count: int, word: str) -> tuple[list[str], list[str]]:
        return [f"{word} {index}" for index in range(count)], ["abc"[(index * 7) % 3] for index in range(count)]

    configuration = Configuration.model_validate({})
    return load_data(
        configuration.data, seed=0, train=split(rows, "row"), validation=split(12, "other"), test=split(12, "last")
    )


@cache
def shapes_of(labels: tuple[str, ...]) -> Shapes:
    """Each model is described once."""
    return Shapes(labels)


def make_job(
    folder: Path, out: Path, recipe: dict[str, Any], *, rows: int = 21, number: int = 0, dropout: str = "off"
) -> Job:
    """A job over the model in `folder` with random rows of 1 to 20 tokens."""
    configuration = Configuration.model_validate(recipe | {"backbone": {"model": str(folder), "dropout": dropout}})
    data = text_data(rows)
    generator = np.random.default_rng(3)
    train = encoded_rows([1, 20, *generator.integers(2, 20, rows - 2).tolist()], seed=1)
    validation = encoded_rows([1, *generator.integers(2, 20, 11).tolist()], seed=2)
    source = sources.find(str(folder))
    out.mkdir(parents=True, exist_ok=True)
    expected = count(shapes_of(data.labels).adaptation(source, configuration)).trainable
    return Job(number, configuration, source, Rows(data, train, validation), out, expected, None)
