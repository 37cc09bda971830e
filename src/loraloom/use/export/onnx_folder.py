"""`onnx`: the classifier as ONNX in fp32 and in int8, with a tokenizer file that cuts and pads by itself.

    model.onnx, model_int8.onnx   input_ids, attention_mask (B, T) int64 → logits (B, C) float32; any B, any T
    tokenizer.json                of the library `tokenizers`; truncation and padding are part of it
    labels.json                   names, by the column of the logits

The graph is torch.export's (the TorchScript exporter is deprecated), then simplified by onnxruntime once: only so are
the weights of products constants in the file, without which nothing could be quantized. int8 is onnxruntime's dynamic
quantization: weights by channel, activations as they come, so that no rows are needed to calibrate it. What torch
writes into the graph beside it (its source's places on this machine) is taken out.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loraloom.errors import LoraloomError, MissingExtraError, first_line, is_installed
from loraloom.machine import read_machine
from loraloom.silenced import silenced
from loraloom.study.durable import disk_is_full, write_json
from loraloom.use.export.subject import Subject

if TYPE_CHECKING:
    from torch import nn

FP32, INT8, TOKENIZER, LABELS = "model.onnx", "model_int8.onnx", "tokenizer.json", "labels.json"
TOKENS = 4096
"""Of a batch, padding included: 32 texts of 128."""
_MOST_INLINE = 1_800_000_000
"""Bytes of weights beyond which they lie in a file beside the graph: a protobuf holds 2 GB."""


def refuse_missing() -> None:
    """Raises MissingExtraError where a package of the extra `export` is not installed."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if not is_installed(name):
            raise MissingExtraError("loraloom export --format onnx", "export")


def write_onnx(subject: Subject, folder: Path) -> None:
    """Writes all four files into `folder`; the subject's model is used up.

    Raises:
        LoraloomError: torch can't export the model, or its tokenizer has no file, or does what none can say.
    """
    from loraloom.use.export.transformers_folder import merged_model

    write_json(folder / LABELS, list(subject.record.labels))
    _write_tokenizer(subject, folder / TOKENIZER)
    model = merged_model(subject)
    beside = sum(p.numel() * p.element_size() for p in model.parameters()) > _MOST_INLINE
    traced, simple = folder / "traced.onnx", folder / FP32
    try:
        _trace(model, subject, traced, beside)
        _simplify(traced, simple, beside)
    finally:
        for left in folder.glob("traced.onnx*"):
            left.unlink()
    _quantize(simple, folder / INT8, beside)
    for path in (simple, folder / INT8):
        _strip(path)


def _write_tokenizer(subject: Subject, path: Path) -> None:
    from tokenizers import Tokenizer

    fast = getattr(subject.tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise LoraloomError(
            f"{subject.source.model}: its tokenizer has no fast form, so it can't be written as {TOKENIZER}"
        )
    given = subject.tokenizer
    if given.split_special_tokens:  # nothing in the file says so: what a text has of them would be read as such
        raise LoraloomError(
            f"{subject.source.model}: its tokenizer splits special tokens that stand in a text (split_special_tokens), "
            f"which {TOKENIZER} can't say; export it by --format merged"
        )
    tokenizer = Tokenizer.from_str(fast.to_str())
    tokenizer.enable_truncation(subject.max_length, direction=given.truncation_side)
    tokenizer.enable_padding(direction=given.padding_side, pad_id=given.pad_token_id, pad_token=given.pad_token)
    tokenizer.save(str(path))


def _trace(model: nn.Module, subject: Subject, path: Path, beside: bool) -> None:
    import torch

    class Logits(torch.nn.Module):
        """The model as a function of two tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.classifier = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.classifier(input_ids=input_ids, attention_mask=attention_mask).logits
            return logits

    texts = ["a text", "another text that is longer"]  # what is traced is any text's; sizes above 1 stay free
    batch = subject.tokenizer(texts, padding=True, return_tensors="pt")
    free = {0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens")}
    try:
        # What fails torch prints as well, a graph of hundreds of lines.
        with warnings.catch_warnings(), silenced("torch"), redirect_stderr(StringIO()), torch.inference_mode():
            warnings.simplefilter("ignore")  # of torch's and transformers' own makings; what is written is compared
            torch.onnx.export(
                Logits().eval(),
                (batch["input_ids"], batch["attention_mask"]),
                path,
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_shapes={"input_ids": free, "attention_mask": free},
                dynamo=True,
                external_data=beside,
                verbose=False,
            )
    except Exception as error:  # what an exporter can't do, it says by any kind of error
        if disk_is_full(error):
            raise
        why = first_line(error.__cause__ or error)  # an exporter's own words are of which step failed
        raise LoraloomError(f"{subject.source.model}: torch can't export this model to ONNX: {why}") from error


def _simplify(source: Path, target: Path, beside: bool) -> None:
    """onnxruntime's basic level: constants folded, standard operators alone, so that it means the same anywhere.

    Raises:
        LoraloomError: it can't write it; of a full disk it says that serialization failed.
    """
    import onnxruntime

    options = _options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    if beside:
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", f"{target.name}.data"
        )
    try:
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have nothing else in common
        raise LoraloomError(
            f"{target.name}: onnxruntime can't write it: {first_line(error)}; see whether the disk has room"
        ) from error


def _quantize(source: Path, target: Path, beside: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with silenced(""):  # on the root logger it advises to do what was done
        quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8, use_external_data_format=beside)


def _strip(path: Path) -> None:
    """Takes out all that is said beside the graph: names of source files on this machine."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    for holder in (model.graph, *model.functions):
        for item in (holder, *holder.node, *holder.value_info):
            item.ClearField("doc_string")
            item.ClearField("metadata_props")
    for item in (model, *model.graph.input, *model.graph.output, *model.graph.initializer):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    onnx.save(model, str(path))


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = read_machine().logical_cores
    return options


class OnnxFolder:
    """A written folder, by onnxruntime and tokenizers alone."""

    def __init__(self, folder: Path, file: str = FP32) -> None:
        """Loads one of the folder's two models."""
        import onnxruntime
        from tokenizers import Tokenizer

        self.labels: tuple[str, ...] = tuple(json.loads((folder / LABELS).read_text(encoding="utf-8")))
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        padding = self._tokenizer.padding
        assert padding is not None  # it was written with it
        self._padding: int = padding["pad_id"]
        self._tokenizer.no_padding()  # batches are padded below, when texts of like length are together
        self._session = onnxruntime.InferenceSession(str(folder / file), _options(), providers=["CPUExecutionProvider"])

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Logits (N, C), computed in batches of texts of like length."""
        from loraloom.engine.loom.evaluation import by_length

        ids = [encoding.ids for encoding in self._tokenizer.encode_batch([*texts])]
        logits = np.empty((len(ids), len(self.labels)), dtype=np.float32)
        for rows in by_length(np.array([len(own) for own in ids]), TOKENS):
            shape = len(rows), len(ids[rows[-1]])
            tokens, mask = np.full(shape, self._padding, dtype=np.int64), np.zeros(shape, dtype=np.int64)
            for place, row in enumerate(rows):
                tokens[place, : len(ids[row])], mask[place, : len(ids[row])] = ids[row], 1
            logits[rows] = self._session.run(["logits"], {"input_ids": tokens, "attention_mask": mask})[0]
        return logits
