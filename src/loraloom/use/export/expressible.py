"""Which heads and base models transformers and PEFT can express plainly: others would load, and mean something else."""

from __future__ import annotations

from typing import Any

from loraloom.backbone.sources import Source, corrected
from loraloom.errors import AdapterError
from loraloom.recipe import Head


def refuse_head(form: str, head: Head, config: Any, folder: str) -> None:
    """Raises AdapterError where `form` would need loraloom's own classifier (`backbone/classifier.py`).

    `config` is the base model's transformers configuration. ModernBERT and its kin have a field for pooling,
    `classifier_pooling`: it is saved with a merged model, while PEFT loads the base model with its own.
    """
    if form == "onnx":
        return
    here = f"{folder}: its classifier is not one that plain {'PEFT' if form == 'peft' else 'transformers'} has"
    rather = (
        "export it by --format onnx, which takes any head, or search again with head.kind: native and head.pooling: "
        "native (and search.sampler: auto, to search all else)"
    )
    if head.kind != "native":
        raise AdapterError(f"{here}: head.kind is {head.kind}; {rather}")
    own = getattr(config, "classifier_pooling", None)
    if head.pooling == "mean" and (own is None or (form == "peft" and own != "mean")):
        merged = " (--format merged can as well)" if own is not None else ""
        raise AdapterError(f"{here}: head.pooling is mean{merged}; {rather}")


def refuse_corrected(form: str, source: Source, folder: str) -> None:
    """Raises AdapterError where PEFT, which loads the base model as it was saved, would have another than was trained.

    Comparing logits does not tell: the tokenizer is no part of a model, and BigBird changes with the texts before.
    """
    if form == "peft" and (what := corrected(source)) is not None:
        raise AdapterError(
            f"{folder}: its base model was saved with {what}, which loraloom corrects and plain PEFT does not; "
            "export it by --format merged or --format onnx"
        )
