"""Plain PEFT over an encoder's upper half: a small loop in which methods are tried that a recipe has no field for.

As the first preset has it, the upper half of the layers is adapted and the lower is frozen; what the lower makes of a
text is computed once. The rest is transformers' own layers, PEFT's adapters, the mean of the tokens, or a learned one,
a linear head and AdamW. Rejected: the engines, which would take a field of the recipe for each method before one is
known to be of use.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, TaskType, get_peft_model
from torch import Tensor, nn
from torch.nn import functional
from transformers import set_seed

from loraloom.backbone import sources
from loraloom.backbone.classifier import mean_of_tokens
from loraloom.backbone.frozen_encoder import load_encoder
from loraloom.backbone.quiet import quietly
from loraloom.data import encode
from loraloom.metrics import softmax

RANK, ALPHA = 16, 32
BATCH, EVALUATION_BATCH = 16, 64
WINDOW = 8
"""Batches whose rows are sorted by length, so that little is padded."""
SMOOTHING, DECAY, MOST_NORM, WARM_UP = 0.1, 0.01, 1.0, 0.1
TEMPERATURE, HARD = 2.0, 0.5
"""Of a student's soft labels, and the weight of the hard ones beside them."""
States = Sequence[Tensor]
"""Of each text what the lower half makes of it, (T, D)."""


@dataclass(frozen=True, slots=True)
class Method:
    """A way to adapt: PEFT's `init_lora_weights` and `use_dora`; R-Drop's alpha, and the dropout that it needs.

    With `attention` a learned query weighs the tokens that are pooled.
    """

    start: bool | str = True
    dora: bool = False
    consistency: float = 0.0
    dropout: float = 0.0
    attention: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts as the lower half has them, and their labels (N,); `soft` (N, C) are a student's, at `TEMPERATURE`."""

    states: States
    labels: NDArray[np.int64]
    soft: NDArray[np.float64] | None = None


class _Given(nn.Module):
    """In the place of the embeddings: the states that are given are the first layer's."""

    def forward(self, inputs_embeds: Tensor, **_: Any) -> Tensor:
        return inputs_embeds


class Classifier(nn.Module):
    """An adapted upper half, its tokens' mean or, by a query (D,), a weighted one, and one linear layer."""

    def __init__(self, encoder: nn.Module, classes: int, attention: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        width = cast(Any, encoder).config.hidden_size
        self.query = nn.Parameter(torch.zeros(width)) if attention else None
        self.head = nn.Linear(width, classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    @property
    def trained(self) -> list[nn.Parameter]:
        """The adapters' parameters, the head's, and the query."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, C) of states (B, T, D), of which `mask` (B, T) has the real ones."""
        hidden = self.encoder(inputs_embeds=states, attention_mask=mask).last_hidden_state  # (B, T, D)
        pooled = mean_of_tokens(hidden, mask) if self.query is None else attended(hidden, mask, self.query)
        logits: Tensor = self.head(pooled)
        return logits


def attended(hidden: Tensor, mask: Tensor, query: Tensor) -> Tensor:
    """The mean (B, D) of real tokens' hidden states (B, T, D), weighed by the softmax of their products with a query.

    A query (D,) of zeros gives their plain mean. Products are not divided by the root of D: at an adapter's rate the
    query of some hundred steps would leave the mean by a fiftieth.

    Source: Yang et al. 2016, "Hierarchical attention networks for document classification", equations 6 and 7, without
    the layer before the query.
    """
    scores = (hidden @ query).masked_fill(mask == 0, -torch.inf)  # (B, T)
    pooled: Tensor = (scores.softmax(dim=1).unsqueeze(-1) * hidden).sum(dim=1)
    return pooled


class Halves:
    """An encoder in two: the lower half, which computes states, and the upper, which is adapted."""

    def __init__(self, model: str, max_length: int) -> None:
        """Loads a BERT in fp32; texts are cut at `max_length` tokens.

        Raises:
            BackboneError: it can't be had.
        """
        source = sources.find(model)
        self._tokenizer, self._max_length = sources.load_tokenizer(source), max_length
        encoder: Any = load_encoder(source, pooler=False)[0]
        layers, half = encoder.encoder.layer, len(encoder.encoder.layer) // 2
        self._upper: Any = copy.deepcopy(encoder)
        self._upper.embeddings, self._upper.encoder.layer = _Given(), copy.deepcopy(layers[half:])
        encoder.encoder.layer = layers[:half]
        self._lower = encoder
        self._starts: dict[Method, nn.Module] = {}

    @torch.no_grad()
    def states(self, texts: Sequence[str]) -> States:
        """What the lower half makes of texts."""
        encoded = encode(self._tokenizer, texts, max_length=self._max_length, cache=None)
        ids = [torch.tensor(row["input_ids"]) for row in encoded]
        found: list[Tensor] = [torch.empty(0)] * len(ids)
        for batch in _by_length(ids, EVALUATION_BATCH):
            padded, mask = _padded([ids[row] for row in batch])
            hidden = self._lower(input_ids=padded, attention_mask=mask).last_hidden_state  # (B, T, D)
            for row, own in zip(batch, hidden, strict=True):
                found[row] = own[: len(ids[row])].clone()
        return found

    def adapted(self, method: Method) -> nn.Module:
        """The upper half with adapters as the method begins them: drawn, or, once, from the weights' own directions."""
        if isinstance(method.start, bool):
            return self._begun(method)
        if method not in self._starts:
            self._starts[method] = self._begun(method)
        return copy.deepcopy(self._starts[method])

    def _begun(self, method: Method) -> nn.Module:
        config = LoraConfig(
            task_type=TaskType.FEATURE_EXTRACTION,
            r=RANK,
            lora_alpha=ALPHA,
            target_modules="all-linear",
            init_lora_weights=cast(Any, method.start),
            use_dora=method.dora,
        )
        with quietly():
            model: Any = get_peft_model(copy.deepcopy(self._upper), config)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = method.dropout
        return cast(nn.Module, model)


def begin(halves: Halves, method: Method, classes: int, seed: int) -> Classifier:
    """A classifier before its first step; methods begin with the same head, and those that draw A with the same A."""
    set_seed(seed)
    encoder = halves.adapted(method)
    set_seed(seed)
    return Classifier(encoder, classes, method.attention)


def steps(model: Classifier, method: Method, rows: Rows, passes: int, rate: float, seed: int) -> Iterator[int]:
    """Trains step by step, each as it is asked for; yields its number, from 1. Methods see the same batches."""
    trained = model.trained
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=DECAY)
    total = passes * -(-len(rows.states) // BATCH)
    warm_up = max(1, round(WARM_UP * total))
    model.train()
    for step, batch in enumerate(_batches(rows.states, passes, seed)):
        factor = min((step + 1) / warm_up, (total - step) / (total - warm_up + 1))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        soft = None if rows.soft is None else torch.from_numpy(rows.soft[batch].astype(np.float32))
        loss = _loss(model, [rows.states[row] for row in batch], torch.from_numpy(rows.labels[batch]), method, soft)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, MOST_NORM)
        optimizer.step()
        optimizer.zero_grad()
        yield step + 1


@torch.no_grad()
def probabilities(model: Classifier, states: States) -> NDArray[np.float64]:
    """What a classifier gives (N, C)."""
    found = np.empty((len(states), model.head.out_features))
    model.eval()
    for batch in _by_length(states, EVALUATION_BATCH):
        found[batch] = softmax(model(*_padded([states[row] for row in batch])).numpy())
    return found


def _loss(model: Classifier, states: States, labels: Tensor, method: Method, soft: Tensor | None = None) -> Tensor:
    """Cross entropy; with R-Drop its mean over two passes, and alpha / 2 times how far these are apart.

    With soft labels (B, C) it is the mean of that with them, at their temperature and times its square, which weighs 1,
    and that with the hard ones, which weighs `HARD`.

    Sources: Liang et al. 2021, "R-Drop: Regularized dropout for neural networks", equations 2 to 4, halved. Hinton et
    al. 2015, "Distilling the knowledge in a neural network", section 2, with the weight and temperature of section 4.
    """
    given, mask = _padded(states)
    if not method.consistency:
        logits = model(given, mask)  # (B, C)
        hard = functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
        if soft is None:
            return hard
        return (TEMPERATURE**2 * functional.cross_entropy(logits / TEMPERATURE, soft) + HARD * hard) / (1 + HARD)
    logits = model(torch.cat([given, given]), torch.cat([mask, mask]))  # (2 B, C)
    loss = functional.cross_entropy(logits, torch.cat([labels, labels]), label_smoothing=SMOOTHING)
    one, other = logits.log_softmax(dim=1).chunk(2)
    apart: Tensor = ((one.exp() - other.exp()) * (one - other)).sum(dim=1).mean() / 2  # of both directions the mean
    return loss + method.consistency / 2 * apart


def _batches(states: States, passes: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Rows of each batch: in a drawn order, sorted by length within a window, whose batches are drawn again."""
    generator = np.random.default_rng(seed)
    for _ in range(passes):
        order = generator.permutation(len(states))
        for start in range(0, len(order), WINDOW * BATCH):
            window = sorted(order[start : start + WINDOW * BATCH], key=lambda row: len(states[row]))
            batches = [np.array(window[first : first + BATCH]) for first in range(0, len(window), BATCH)]
            yield from (batches[place] for place in generator.permutation(len(batches)))


def _by_length(rows: Sequence[Tensor], size: int) -> Iterator[NDArray[np.int64]]:
    order = np.argsort([len(row) for row in rows], kind="stable")
    return (order[start : start + size] for start in range(0, len(order), size))


def _padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows (T, …) of a batch as one tensor (B, T, …), and the mask (B, T) of what is real."""
    padded = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return padded, (torch.arange(padded.shape[1]) < lengths[:, None]).long()
