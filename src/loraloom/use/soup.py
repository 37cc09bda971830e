"""The mean of adapters of one configuration, as one adapter of its rank.

What is averaged of an adapted layer is its update, the mean of B A: A and B by themselves are, of two seeds, in
different bases. The mean of n updates of rank r has up to n r; of those of rank r the truncated singular value
decomposition is the nearest in the sum of squares. All else that is trained, heads and biases, is averaged as it is.
What several weights agree on is less than each has of it, so that a mean is less sure of its answers than they are;
`divide_logits` makes it as sure, by a head that is larger throughout, which changes no answer.

Sources: Wortsman et al. 2022, "Model soups", section 2, the uniform soup; Eckart and Young 1936.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loraloom.errors import UnmixableError
from loraloom.study.record import CONFIG, WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

_A, _B = ".lora_A.weight", ".lora_B.weight"
_LAST_LAYER = re.compile(r"\.(classifier|score)(\.modules_to_save(\.default)?)?(\.out_proj)?\.(weight|bias)$")
"""As transformers and loraloom name it, and PEFT where it saves it twice; RoBERTa's is within its classifier."""
_METADATA = {"format": "pt"}


def mix(folders: Sequence[Path], target: Path) -> float:
    """Writes weights and configuration of the mean of adapters, which differ by their seeds alone, into `target`.

    Costs, a layer, a decomposition of n r by n r numbers. Returns the share of the mean updates' sum of squares that
    the rank has room for, over all layers.

    Raises:
        UnmixableError: they do not hold the same parameters in the same shapes.
    """
    from safetensors.torch import load_file, save_file

    adapters = [load_file(folder / WEIGHTS) for folder in folders]
    shapes = [{name: value.shape for name, value in adapter.items()} for adapter in adapters]
    if other := next((folder for folder, own in zip(folders, shapes, strict=True) if own != shapes[0]), None):
        raise UnmixableError(f"{other}: holds other parameters than {folders[0]}; only adapters of one kind are mixed")
    first, kept, whole = adapters[0], 0.0, 0.0
    mixed: dict[str, Tensor] = {}
    for name, value in first.items():
        if name.endswith(_A):
            name_of_b = name.removesuffix(_A) + _B
            factors = [(adapter[name], adapter[name_of_b]) for adapter in adapters]
            mixed[name], mixed[name_of_b], own, all_of_it = nearest(factors)
            kept, whole = kept + own, whole + all_of_it
        elif not name.endswith(_B):
            mixed[name] = _mean([adapter[name] for adapter in adapters]).to(value.dtype)
    save_file(mixed, target / WEIGHTS, metadata=_METADATA)
    shutil.copyfile(folders[0] / CONFIG, target / CONFIG)
    return kept / whole if whole else 1.0


def divide_logits(folder: Path, temperature: float) -> None:
    """Divides the weights and biases of the head's last layer, and so the logits, of the adapter in `folder`.

    Raises:
        UnmixableError: it holds no such layer.
    """
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / WEIGHTS)
    last = [name for name in weights if _LAST_LAYER.search(name)]
    if not last:
        raise UnmixableError(f"{folder / WEIGHTS}: has no last layer of a head that is known here")
    save_file(weights | {name: weights[name] / temperature for name in last}, folder / WEIGHTS, metadata=_METADATA)


def _mean(values: Sequence[Tensor]) -> Tensor:
    import torch

    return torch.stack([value.double() for value in values]).mean(dim=0)


def nearest(factors: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, float, float]:
    """A (r, in) and B (out, r) whose product is nearest to the mean of B A, its sum of squares, and that of the mean.

    `factors` are A and B of each. Computed in fp64 by the factors of the tall matrices, never the (out, in) product.
    Of a rank above the layer's width, what no update can fill is zero.
    """
    import torch
    from torch.nn.functional import pad

    first_a, first_b = factors[0]
    rank = len(first_a)
    tall_a = torch.cat([a.double() for a, _ in factors]).T  # (in, n r)
    tall_b = torch.cat([b.double() for _, b in factors], dim=1) / len(factors)  # (out, n r)
    (basis_a, inner_a), (basis_b, inner_b) = torch.linalg.qr(tall_a), torch.linalg.qr(tall_b)
    left, sizes, right = torch.linalg.svd(inner_b @ inner_a.T, full_matrices=False)
    roots = sizes[:rank].sqrt()
    empty = rank - len(roots)
    a = pad(roots[:, None] * right[:rank] @ basis_a.T, (0, 0, 0, empty))
    b = pad(basis_b @ left[:, :rank] * roots, (0, empty))
    squares = sizes.square()
    return a.to(first_a.dtype), b.to(first_b.dtype), float(squares[:rank].sum()), float(squares.sum())
