"""The compiled kernels of bf16 in plain torch, under their own schemas: for processors that can't run them.

What calls them is tried by it, whatever the processor: that each argument stands where the schema has it. What they
compute is compared with plain torch in `test_kernels.py`, where the processor has the instructions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loraloom.engine.loom import kernels
from loraloom.engine.loom.noise import Drop
from loraloom.engine.loom.ops import Attention, FrozenLinear, LowRank, Norm, PlainOps, Product
from tests.engine.loom.kernel_inputs import tokens_of

SOURCE = Path(kernels.__file__).parent / "ops.cpp"
plain = PlainOps()


@contextmanager
def in_python() -> Iterator[None]:
    """Within it torch.ops.loraloom is this module's functions, each by the schema that `ops.cpp` gives it."""
    made: Any = torch.library.Library
    library = made("loraloom", "DEF")
    try:
        for literals in re.findall(r'm\.def\(\s*((?:"[^"]*"\s*)+)', SOURCE.read_text(encoding="utf-8")):
            schema = re.sub(r'"\s*"', "", literals).strip().strip('"')
            name = schema.partition("(")[0]
            if name in globals():
                library.define(schema)
                library.impl(name, globals()[name], "CPU")
        yield
    finally:
        library._destroy()


def _product(packed: Tensor, out_features: int, bias: Tensor | None, u: Tensor | None, b: Tensor | None) -> Product:
    assert len(packed) == out_features
    low = None if u is None or b is None else LowRank(u[None], b.t()[None])
    return Product(FrozenLinear(packed), bias, low)


def _drop(p: float, key0: int, key1: int) -> Drop | None:
    return Drop(p, ((key0, key1),)) if p else None


def pack(w: Tensor) -> Tensor:
    return w.clone()


def linear(
    x: Tensor, packed: Tensor, out_features: int, bias: Tensor | None, u: Tensor | None, b: Tensor | None,
    residual: Tensor | None, p: float, key0: int, key1: int,
) -> Tensor:  # fmt: skip
    y = plain.dropout(plain.linear(x[None], _product(packed, out_features, bias, u, b)), _drop(p, key0, key1))[0]
    return y if residual is None else y + residual


def linear_gelu(
    x: Tensor,
    packed: Tensor,
    out_features: int,
    bias: Tensor | None,
    u: Tensor | None,
    b: Tensor | None,
    keep: bool = True,
) -> tuple[Tensor, Tensor]:
    a, g = plain.linear_gelu(x[None], _product(packed, out_features, bias, u, b), keep=keep)
    return (a[0] if keep else a), g[0]


def linear_gelu_backward(
    dy: Tensor, packed: Tensor, out_features: int, u: Tensor | None, b: Tensor | None, a: Tensor
) -> Tensor:
    dg = plain.linear(dy[None], _product(packed, out_features, None, u, b))[0]
    da: Tensor = torch.ops.aten.gelu_backward(dg, a)
    return da


def linear_norm(
    x: Tensor, packed: Tensor, out_features: int, bias: Tensor | None, u: Tensor | None, b: Tensor | None,
    residual: Tensor, p: float, key0: int, key1: int, gamma: Tensor, beta: Tensor, eps: float, keep: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    r = linear(x, packed, out_features, bias, u, b, residual, p, key0, key1)
    return (r if keep else r.new_empty(0)), norm(r, gamma, beta, eps)


def lowrank_project(x: Tensor, a: Tensor) -> Tensor:
    return x @ a.t()


def lowrank_gradient(z: Tensor, y: Tensor) -> Tensor:
    return z.t() @ y


def dropout(x: Tensor, p: float, key0: int, key1: int) -> Tensor:
    return plain.dropout(x[None], _drop(p, key0, key1))[0].clone()


def column_sums(y: Tensor) -> Tensor:
    return y.sum(0)


def norm(x: Tensor, gamma: Tensor, beta: Tensor | None, eps: float) -> Tensor:
    return plain.norm(x[None], Norm(gamma, beta, eps))[0]


def norm_backward(
    dh: Tensor, r: Tensor, gamma: Tensor, eps: float, p: float, key0: int, key1: int
) -> tuple[Tensor, Tensor]:
    dr, dy = plain.norm_backward(dh[None], r[None], Norm(gamma, None, eps), _drop(p, key0, key1))
    return dr[0], (dy if p else dr.clone())[0]


def attention(
    qkv: Tensor, offsets: Tensor, heads: int, scale: float, bias: Tensor | None, window: int, p: float, key0: int,
    key1: int, *, first: bool = False,
) -> Tensor:  # fmt: skip
    spec = Attention(heads, scale, window, bias, _drop(p, key0, key1), first)
    return plain.attention(qkv[None], tokens_of(offsets.diff().tolist()), spec)[0]


def attention_backward(
    dctx: Tensor, qkv: Tensor, ctx: Tensor, offsets: Tensor, heads: int, scale: float, bias: Tensor | None,
    window: int, p: float, key0: int, key1: int, *, first: bool = False,
) -> Tensor:  # fmt: skip
    spec = Attention(heads, scale, window, bias, _drop(p, key0, key1), first)
    tokens = tokens_of(offsets.diff().tolist())
    return plain.attention_backward(dctx[None], qkv[None], ctx[None], tokens, spec)[0]


def attention_first(
    qkv: Tensor, offsets: Tensor, heads: int, scale: float, bias: Tensor | None, window: int, p: float, key0: int,
    key1: int,
) -> Tensor:  # fmt: skip
    return attention(qkv, offsets, heads, scale, bias, window, p, key0, key1, first=True)


def attention_first_backward(
    dctx: Tensor, qkv: Tensor, offsets: Tensor, heads: int, scale: float, bias: Tensor | None, window: int, p: float,
    key0: int, key1: int,
) -> Tensor:  # fmt: skip
    return attention_backward(dctx, qkv, dctx, offsets, heads, scale, bias, window, p, key0, key1, first=True)
