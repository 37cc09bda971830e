"""Rows of several adapters in one pass have the logits that each adapter gives them alone, and PEFT gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel

from bench.random_adapters import save_random_adapter
from loraloom.backbone import sources
from loraloom.backbone.classifier import build_pretrained
from loraloom.backbone.quiet import quietly
from loraloom.data import Encoded
from loraloom.engine.loom import kernels
from loraloom.engine.loom.compiled import CompiledOps
from loraloom.engine.loom.inference import MOST_COLUMNS, Inference
from loraloom.engine.loom.mixed import Owners
from loraloom.engine.loom.ops import PlainOps, Product
from loraloom.engine.loom.tokens import lay_out
from loraloom.use.adapter import Classifier
from loraloom.use.backbones import Backbones
from tests.numerics.architectures import CONFIGS, encoded_rows, save_model
from tests.numerics.both import padded, targets
from tests.numerics.conftest import Folders
from tests.numerics.tolerances import TOLERANCES

FIELDS: tuple[dict[str, Any], ...] = (
    {"lora": {"r": 2, "bias": "lora_only"}, "head": {"kind": "native"}},
    {"lora": {"r": 5, "bias": "none", "lora_alpha": 3, "use_rslora": True}, "head": {"kind": "linear"}},
    {"lora": {"r": 1, "bias": "all"}, "head": {"kind": "native", "pooling": "mean"}},
    {"lora": {"r": 3, "bias": "lora_only", "layers_to_transform": [1]}, "head": {"kind": "linear", "pooling": "mean"}},
    {"lora": {"r": 4, "bias": "lora_only"}, "head": {"kind": "native"}},
)
"""All biases, heads and poolings; ranks and labels that differ; one of them by itself, for its norms' biases."""
LABELS = ("ab", "abc", "abcd", "ab", "abc")
ROWS = (3, 1, 2, 4, 2)


@dataclass(frozen=True)
class Loaded:
    """Adapters over one backbone, and rows for each."""

    folders: list[Path]
    backbones: Backbones
    classifiers: list[Classifier]
    rows: list[Encoded]


def save_all(folder: Path, place: Path, architecture: str) -> list[Path]:
    folders = []
    for number, (fields, labels) in enumerate(zip(FIELDS, LABELS, strict=True)):
        named = targets(("q,v", "all-linear")[number % 2], architecture)
        recipe = fields | {"lora": fields["lora"] | {"target_modules": named}}
        folders.append(save_random_adapter(place / str(number), folder, recipe, labels=labels, seed=number))
    return folders


@pytest.fixture(scope="module")
def folders_of(folder_of: Folders, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Path]]:
    """Folders of adapters over an architecture's model."""
    return cache(lambda architecture: save_all(folder_of(architecture), tmp_path_factory.mktemp("saved"), architecture))


def load_all(folders: list[Path]) -> Loaded:
    backbones = Backbones()
    classifiers = [backbones.add(path) for path in folders]
    lengths = np.random.default_rng(3).integers(1, 20, sum(ROWS)).tolist()
    rows = [encoded_rows([lengths.pop() for _ in range(count)], seed=count) for count in ROWS]
    return Loaded(folders, backbones, classifiers, rows)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_mixed_rows_have_the_logits_of_their_adapter_alone_and_of_peft(
    folder_of: Folders, folders_of: Callable[[str], list[Path]], architecture: str
) -> None:
    given = load_all(folders_of(architecture))
    assert len(given.backbones) == 1
    order = [3, 0, 4, 2, 1, 0]  # any order, and one of them twice
    together = given.backbones.logits([given.classifiers[n] for n in order], [given.rows[n] for n in order])
    for number, found in zip(order, together, strict=True):
        alone = given.classifiers[number].logits_of(given.rows[number])
        allowed = TOLERANCES.logits * float(np.abs(alone).max())
        np.testing.assert_allclose(found, alone, rtol=0, atol=allowed)
        record = given.classifiers[number].record
        base = build_pretrained(sources.find(str(folder_of(architecture))), record.configuration, record.labels)
        with quietly():
            model = PeftModel.from_pretrained(base, str(given.folders[number])).eval()
        ids, mask = padded(architecture, given.rows[number], range(len(found)))
        with torch.inference_mode():
            expected = model(input_ids=ids, attention_mask=mask).logits.numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)


@pytest.mark.parametrize(("dtype", "off"), [("bf16", TOLERANCES.mixed_bf16), ("fp16", TOLERANCES.mixed_bf16 / 8)])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_in_16_bits_they_differ_by_rounding(
    folders_of: Callable[[str], list[Path]], architecture: str, monkeypatch: pytest.MonkeyPatch, dtype: str, off: float
) -> None:
    monkeypatch.setattr("loraloom.use.backbones._dtype", lambda _: dtype)
    given = load_all(folders_of(architecture))
    together = given.backbones.logits(given.classifiers, given.rows)
    for own, rows, found in zip(given.classifiers, given.rows, together, strict=True):
        alone = own.logits_of(rows)
        distance = np.linalg.norm(found - alone) / np.linalg.norm(alone)
        assert distance <= off
        assert own.dtype == dtype


@pytest.fixture(scope="module")
def given(folders_of: Callable[[str], list[Path]]) -> Loaded:
    """Adapters over a BERT in fp32."""
    return load_all(folders_of("bert"))


@pytest.mark.parametrize(("first", "second"), list(product(range(5), repeat=2)))
def test_any_two_pass_together(given: Loaded, first: int, second: int) -> None:
    chosen = [given.classifiers[first], given.classifiers[second]]
    rows = [given.rows[first], given.rows[second]]
    for own, of, found in zip(chosen, rows, given.backbones.logits(chosen, rows), strict=True):
        alone = own.logits_of(of)
        np.testing.assert_allclose(found, alone, rtol=0, atol=TOLERANCES.logits * float(np.abs(alone).max()))


def test_an_adapter_that_overflows_harms_its_own_rows_alone(folder_of: Folders, tmp_path: Path) -> None:
    lora = {"lora": {"r": 2, "lora_alpha": 2, "bias": "lora_only"}}
    folders = [
        save_random_adapter(tmp_path / str(spread), folder_of("bert"), lora, spread=spread) for spread in (0.1, 1e25)
    ]
    backbones = Backbones()
    sane, wild = (backbones.add(folder) for folder in folders)
    rows = encoded_rows([4, 9, 2], seed=1)
    alone = sane.logits_of(rows)
    found, failed = backbones.attempt([sane, wild], [rows, rows])
    assert isinstance(failed, Exception)
    assert "not finite" in str(failed)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, alone, rtol=0, atol=TOLERANCES.logits * float(np.abs(alone).max()))


def test_a_batch_of_many_adapters_goes_in_one_pass_over_the_frozen_weights(
    folder_of: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbones = Backbones()
    recipe = {"lora": {"r": 4, "target_modules": targets("q,v", "bert")}}
    classifiers = [
        backbones.add(save_random_adapter(tmp_path / str(n), folder_of("bert"), recipe, seed=n)) for n in range(8)
    ]
    passes: list[int] = []
    linear = PlainOps.linear

    def counted(self: PlainOps, x: Any, product: Product) -> Any:
        passes.append(product.frozen.out_features)
        return linear(self, x, product)

    monkeypatch.setattr(PlainOps, "linear", counted)
    backbones.logits(classifiers, [encoded_rows([3, 5], seed=n) for n in range(8)])
    assert passes.count(96) == 2  # query, key and value of each of the two layers, once
    assert sum(own.forward.columns for own in classifiers if isinstance(own.forward, Inference)) <= MOST_COLUMNS


def test_rows_of_tokens_and_rows_of_texts_have_their_owners() -> None:
    owners = Owners(torch.tensor([0, 0, 1]), torch.tensor([0, 1]))
    assert owners.others(3, (0, 1, 1)).tolist() == [[False, True, True], [False, True, True], [True, False, False]]
    assert owners.others(2, (0, 1)).tolist() == [[False, True], [True, False]]


def test_tokens_of_a_batch_lie_in_the_order_of_its_texts(folder_of: Folders) -> None:
    """What `Owners` relies on: token rows are those of the first text, then those of the second."""
    del folder_of
    from loraloom.backbone.anatomy import Embedding

    tokens = lay_out([encoded_rows([2, 3], seed=0)], [np.array([1, 0])], Embedding("word", "norm"))
    assert tokens.first.tolist() == [0, 3]


WIDE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "initializer_range": 0.1}


@pytest.mark.skipif(kernels.load() is not None, reason=kernels.load() or "")
@pytest.mark.parametrize("architecture", ["bert", "mpnet", "modernbert"])
def test_the_compiled_kernels_mix_as_plain_torch_does(
    tmp_path: Path, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIGS[architecture]()
    for name, value in WIDE.items():
        setattr(config, name, value)
    with quietly():
        folder = save_model(architecture, tmp_path / "model", config)
    monkeypatch.setattr("loraloom.use.backbones._dtype", lambda _: "bf16")
    given = load_all(save_all(folder, tmp_path / "saved", architecture))
    used = {type(own.forward.frozen.ops) for own in given.classifiers if isinstance(own.forward, Inference)}
    assert used == {CompiledOps}
    together = given.backbones.logits(given.classifiers, given.rows)
    for own, rows, found in zip(given.classifiers, given.rows, together, strict=True):
        alone = own.logits_of(rows)
        assert np.linalg.norm(found - alone) / np.linalg.norm(alone) <= TOLERANCES.mixed_bf16


def test_requests_for_one_adapter_are_one_pass_too(given: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    of_batch = Inference.of_batch

    def counted(self: Inference, tokens: Any) -> Any:
        batches.append(tokens.batch)
        return of_batch(self, tokens)

    monkeypatch.setattr(Inference, "of_batch", counted)
    one, rows = given.classifiers[0], [encoded_rows([4, 7], seed=n) for n in range(3)]
    together = given.backbones.logits([one] * 3, rows)
    assert batches == [6]
    for own, found in zip(rows, together, strict=True):
        np.testing.assert_allclose(found, one.logits_of(own), rtol=0, atol=1e-4)
