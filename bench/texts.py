"""The rows and the models that all peers share: AG News, the demo encoder, and a random one of roberta-base's size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from bench.cases import Work
from loraloom.backbone import sources
from loraloom.data import TextData, load_data
from loraloom.recipe import Data
from study.agnews_files import agnews_rows

HELD_OUT = 16
"""Rows of validation, and of test: an engine evaluates, the peers don't, so that part is kept small."""
_JOINED_CHARACTERS = 1800
"""Texts joined to this length have well over 256 tokens."""


def read_data(work: Work, rows: int) -> TextData:
    """The first `rows` rows of AG News for training, and a few others held out; checked as loraloom checks rows.

    Raises:
        DataError: the rows are not where LORALOOM_AGNEWS says.
        ValueError: the checks left out rows, so that peers would not train on as many as they are credited with.
    """
    found = _joined_rows() if work.joined else agnews_rows("train.csv")
    held_out = (list(islice(found, HELD_OUT)), list(islice(found, HELD_OUT)))
    validation, test, train = (_pair(part) for part in (*held_out, list(islice(found, rows))))
    data = load_data(Data(), seed=0, train=train, validation=validation, test=test)
    if len(data.train) != rows:
        raise ValueError(f"AG News: {len(data.train)} of {rows} rows passed the checks")
    return data


def model_folder(work: Work, folder: Path) -> Path:
    """Where the work's model is, `make_models(folder)` having been called."""
    if work.model == "demo":
        return Path(sources.find("demo").location)
    return folder / ("tiny" if work.tiny else "base")


def make_models(folder: Path, *, tiny: bool, depth: int = 12) -> None:
    """Saves a random encoder, as safetensors, with the demo encoder's tokenizer.

    Roberta's own can't be had offline; random weights cost what trained ones cost. Padding is given roberta's id, 1,
    so that the tokenizer suits the model.
    """
    import torch
    from transformers import RobertaConfig, RobertaModel

    width = 64 if tiny else 768
    config = RobertaConfig(
        vocab_size=50265,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // 64 if not tiny else 2,
        intermediate_size=4 * width,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    place = folder / ("tiny" if tiny else "base")
    RobertaModel(config, add_pooling_layer=False).save_pretrained(place)
    _padding_at_1().save_pretrained(place)


def _padding_at_1() -> Any:
    import transformers
    from tokenizers import Tokenizer

    fast: Any = transformers.PreTrainedTokenizerFast
    special = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    state = json.loads(Tokenizer.from_file(str(Path(sources.find("demo").location) / "tokenizer.json")).to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary["[PAD]"], vocabulary["[unused0]"] = 1, 0
    for token in state["added_tokens"]:
        token["id"] = vocabulary[token["content"]]
    state.update(padding=None, truncation=None)
    return fast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in special.items()},
    )


def _joined_rows() -> Iterator[tuple[str, str]]:
    found = agnews_rows("train.csv")
    for text, label in found:
        joined = text
        while len(joined) < _JOINED_CHARACTERS:
            joined += " " + next(found)[0]
        yield joined, label


def _pair(rows: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    texts, labels = zip(*rows, strict=True)
    return list(texts), list(labels)
