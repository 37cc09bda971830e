"""The model card of an export: that of the adapter, with how this form is used and what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from loraloom.backbone.cards import card_facts
from loraloom.errors import LoraloomError
from loraloom.intervals import Interval
from loraloom.report.markdown.text import code, fenced, table, text
from loraloom.report.model_card import Form, card_without_run, model_card, peft_use
from loraloom.report.rounding import rounded, rounded_span
from loraloom.report.wording import clean, count
from loraloom.study.provenance import describe_machine
from loraloom.study.record import read_record
from loraloom.study.run import BEST, TRIALS
from loraloom.use.export.measuring import Measured
from loraloom.use.export.onnx_folder import FP32, INT8, LABELS, TOKENIZER
from loraloom.use.export.subject import Subject
from loraloom.use.origin import run_of

ONNX_EXAMPLE = f"""import json

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder, texts = "this/folder", ["a text", "another"]
labels = json.load(open(f"{{folder}}/{LABELS}", encoding="utf-8"))
tokenizer = Tokenizer.from_file(f"{{folder}}/{TOKENIZER}")  # which cuts long texts and pads short ones
session = onnxruntime.InferenceSession(f"{{folder}}/{FP32}")
batch = tokenizer.encode_batch(texts)
ids = np.array([one.ids for one in batch], dtype=np.int64)
mask = np.array([one.attention_mask for one in batch], dtype=np.int64)
(logits,) = session.run(["logits"], {{"input_ids": ids, "attention_mask": mask}})
print([labels[row.argmax()] for row in logits])"""
"""How an ONNX export is used, in 15 lines."""


def export_card(form: str, subject: Subject, measured: Sequence[Measured], notes: Sequence[str]) -> str:
    """README.md of an export."""
    made = replace(FORMS[form](subject), measured=_measured(subject, measured, notes))
    run = run_of(subject.folder)
    if run is not None:
        try:
            return model_card(run, subject.record, made, chosen=_is_chosen(run, subject))
        except LoraloomError:  # a run that can't be read does not keep its adapter from being used
            pass
    return card_without_run(subject.record, card_facts(subject.source), made)


def _is_chosen(run: Path, subject: Subject) -> bool:
    """Whether it is what the search chose, or was made of it; one of the seeds whose mean was chosen is not."""
    folder = subject.folder.resolve()
    if folder.name == BEST:
        return True
    best = read_record(run / BEST)
    return best.number == subject.record.number and not (best.is_soup and folder.parent.name == TRIALS)


def _merged(subject: Subject) -> Form:
    example = (
        "from transformers import pipeline\n\n"
        'classify = pipeline("text-classification", "this/folder", truncation=True)\n'
        'print(classify(["…"]))'
    )
    cut = (
        f"It was trained on texts cut at {subject.max_length} tokens, as `truncation=True` cuts them. Without it "
        "transformers gives the model longer texts than it has seen, or than it can take."
    )
    return Form(
        opening="A plain transformers model, a LoRA adapter merged into its base in fp32, which sorts texts into",
        library="transformers",
        tags=("peft",),
        use=(fenced(example, "python"), cut),
    )


def _onnx(subject: Subject) -> Form:
    files = (
        f"`{FP32}` is in fp32, `{INT8}` in int8. It needs onnxruntime, tokenizers and numpy alone. `{TOKENIZER}` cuts "
        f"texts at {subject.max_length} tokens."
    )
    limit = (
        f"`{INT8}` was measured on the processor named above. One without instructions for int8 (VNNI) may saturate "
        "its sums: measure it there before it is relied on."
    )
    return Form(
        opening="ONNX models, a LoRA adapter merged into its base, which sort texts into",
        library="onnx",
        tags=("peft", "onnxruntime"),
        use=(fenced(ONNX_EXAMPLE, "python"), files),
        limits=(limit,),
    )


def _peft(subject: Subject) -> Form:
    moved = (
        "`base_model_name_or_path` in adapter_config.json is a folder of the machine that wrote this: elsewhere, name "
        "the base model's place there. The tokenizer is read from it, too."
    )
    return Form(use=tuple(peft_use(subject.record)), limits=(moved,) if subject.source.local else ())


FORMS = {"merged": _merged, "onnx": _onnx, "peft": _peft}


def _measured(subject: Subject, measured: Sequence[Measured], notes: Sequence[str]) -> tuple[str, ...]:
    machine = describe_machine()["machine"]
    adapter = measured[0]
    shown: Interval = adapter.accuracy_interval
    rows = [
        [
            code(one.name),
            size(one.bytes),
            text(rounded(one.accuracy, shown)),
            rounded_span(one.accuracy_interval),
            f"{one.same_labels:,}",
            f"{one.difference:.1e}",
            count(one.texts_per_second),
        ]
        for one in measured
    ]
    head = ("Form", "Size", "Accuracy", "95 % interval", "Same label", "Logits differ by", "Texts a second")
    return (
        f"When it was exported, its forms were compared on {adapter.rows:,} rows ({text(subject.rows.name)}):",
        table(head, rows, numbers=range(1, 7)),
        "The first line is the adapter over its base. Logits differ by at most that share of the largest one. Texts "
        f"a second are from text to label, on {text(clean(str(machine['processor'])))}, {machine['cores']} cores.",
        *map(text, notes),
    )


def size(number: int) -> str:
    """Bytes as people read them."""
    return f"{number / 1e6:,.1f} MB" if number < 999_500_000 else f"{number / 1e9:,.2f} GB"
