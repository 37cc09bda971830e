"""`peft`: the adapter's two files, which plain PEFT loads over the base model.

No tokenizer beside them: PEFT would then give the base model an embedding of as many rows as the tokenizer has tokens.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loraloom.backbone.quiet import quietly
from loraloom.data import encode
from loraloom.study.durable import write_json
from loraloom.study.record import CONFIG, WEIGHTS
from loraloom.use.export.subject import Subject
from loraloom.use.peft_forward import PeftForward


def write_peft(subject: Subject, folder: Path) -> None:
    """Copies the weights, and the configuration with the base model's place as it is now."""
    shutil.copyfile(subject.folder / WEIGHTS, folder / WEIGHTS)
    config = json.loads((subject.folder / CONFIG).read_text(encoding="utf-8"))
    write_json(folder / CONFIG, config | {"base_model_name_or_path": subject.source.location})


class PeftFolder:
    """A written folder, by PEFT alone."""

    def __init__(self, folder: Path, subject: Subject) -> None:
        import torch
        from peft import AutoPeftModelForSequenceClassification

        load: Any = AutoPeftModelForSequenceClassification.from_pretrained
        self._classes = len(subject.record.labels)
        with quietly():
            # the base model may have a head of other classes; the adapter holds its own
            model = load(str(folder), num_labels=self._classes, ignore_mismatched_sizes=True, dtype=torch.float32)
        self._forward = PeftForward(model, subject.tokenizer)
        self._tokenizer, self._max_length = subject.tokenizer, subject.max_length

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Logits (N, C)."""
        return self._forward.logits(
            encode(self._tokenizer, texts, max_length=self._max_length, cache=None), self._classes
        )
