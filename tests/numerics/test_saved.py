"""What loom trains and saves, plain PEFT loads: the same logits for texts of every sort."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from loraloom.backbone.classifier import build_pretrained
from loraloom.backbone.quiet import quietly
from loraloom.data import Encoded
from loraloom.data.encoding import encode
from loraloom.engine import Job, Rows
from loraloom.engine.loom import LoomEngine
from loraloom.engine.loom.trial import Trial
from tests.numerics.architectures import CONFIGS, encoded_rows, make_job, pad_of, save_model
from tests.numerics.both import padded, targets
from tests.numerics.conftest import Folders
from tests.numerics.tolerances import TOLERANCES

LONGEST = 38
"""The most tokens that the tiny models have positions for (RoBERTa's begin at 2)."""
LENGTHS = [1, 2, LONGEST, 5, 9, 20, 3, 1, 2, LONGEST, 12, 7]


def rows_of_every_sort(architecture: str) -> Encoded:
    """One token; an empty text's two special ones; as long as can be; the padding's id in the midst of a text."""
    encoded = encoded_rows(LENGTHS, seed=8)
    for row in (3, 5, 9):
        encoded.input_ids[encoded.offsets[row] + 2] = pad_of(architecture)
    return encoded


def trained(job: Job, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Trains a job; returns loom's own last validation logits (N, C)."""
    seen: list[Tensor] = []
    score = Trial.evaluated

    def evaluated(trial: Trial, logits: Any, listener: Any) -> None:
        seen.append(torch.from_numpy(logits.copy()))
        score(trial, logits, listener)

    monkeypatch.setattr(Trial, "evaluated", evaluated)
    (outcome,) = LoomEngine().train_pack([job], lambda *_: True)
    assert outcome.state == "complete"
    return seen[-1]


def job_of(folder: Path, out: Path, architecture: str, head: str, pooling: str, **lora: Any) -> Job:
    recipe = {
        "lora": {"r": 2, "bias": "all", "target_modules": targets("all-linear", architecture), **lora},
        "head": {"kind": head, "pooling": pooling},
        "train": {"bf16": False, "learning_rate": 0.01, "num_train_epochs": 2, "per_device_train_batch_size": 4},
    }
    job = make_job(folder, out, recipe)
    return replace(job, rows=Rows(job.rows.data, job.rows.train, rows_of_every_sort(architecture)))


def assert_peft_gives(logits: Tensor, base: Any, job: Job, architecture: str) -> None:
    """By batches that pad, and text by text."""
    with quietly():
        model = PeftModel.from_pretrained(base, str(job.folder)).eval()
    allowed = TOLERANCES.logits * float(logits.abs().max())
    for rows in (range(12), *([row] for row in range(12))):
        ids, mask = padded(architecture, job.rows.validation, rows)
        with torch.inference_mode():
            found = model(input_ids=ids, attention_mask=mask).logits
        torch.testing.assert_close(found, logits[list(rows)], rtol=0, atol=allowed)


@pytest.mark.parametrize("fields", [{}, {"bias": "lora_only", "use_rslora": True}, {"layers_to_transform": [1]}])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_plain_peft_gives_the_logits_of_loom(
    folder_of: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, fields: dict[str, Any]
) -> None:
    job = job_of(folder_of(architecture), tmp_path, architecture, "native", "native", **fields)
    logits = trained(job, monkeypatch)
    with quietly():
        base = AutoModelForSequenceClassification.from_pretrained(
            folder_of(architecture), num_labels=3, dtype=torch.float32
        )
    assert_peft_gives(logits, base, job, architecture)


@pytest.mark.parametrize(("head", "pooling"), [("native", "mean"), ("linear", "mean")])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_peft_over_our_classifier_gives_the_logits_of_loom(
    folder_of: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, head: str, pooling: str
) -> None:
    job = job_of(folder_of(architecture), tmp_path, architecture, head, pooling)
    logits = trained(job, monkeypatch)
    base = build_pretrained(job.source, job.configuration, job.rows.data.labels)
    assert_peft_gives(logits, base, job, architecture)


@pytest.mark.parametrize("architecture", ["roberta", "modernbert"])
def test_plain_peft_gives_the_logits_of_loom_for_texts_through_the_tokenizer_an_empty_and_a_cut_one_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    with quietly():
        folder = save_model(architecture, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    special = {"single": "[CLS] $A [SEP]", "special_tokens": [("[CLS]", 2), ("[SEP]", 3)]}
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(**special)
    longer = " ".join(f"w{number}" for number in range(5, 30))
    texts = ["", "w7", " ", longer, *(f"w{number} w20" for number in range(10, 18))]
    job = job_of(folder, tmp_path / "job", architecture, "native", "native")
    job = replace(job, rows=replace(job.rows, validation=encode(tokenizer, texts, max_length=16, cache=None)))
    logits = trained(job, monkeypatch)
    with quietly():
        base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3, dtype=torch.float32)
        model = PeftModel.from_pretrained(base, str(job.folder)).eval()
    cut = {"padding": True, "truncation": True, "max_length": 16}
    with torch.inference_mode():
        found = model(**tokenizer(texts, **cut, return_token_type_ids=False, return_tensors="pt")).logits
    torch.testing.assert_close(found, logits, rtol=0, atol=TOLERANCES.logits * float(logits.abs().max()))


def test_the_rows_are_of_every_sort() -> None:
    rows = rows_of_every_sort("roberta")
    lengths = np.diff(rows.offsets)
    assert {1, 2, LONGEST} <= set(lengths.tolist())
    assert any(pad_of("roberta") in row["input_ids"][1:-1] for row in rows)
