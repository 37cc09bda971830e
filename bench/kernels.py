"""The compiled kernels, and Muon's step, beside what torch does in their place: milliseconds and TFLOP/s.

At the sizes of base and small.

python bench/kernels.py [--rows 848 4096] [--threads 2]. A time is the least of several runs, taken in turns with the
other's, and each run works on buffers that the one before it has not just touched (`COPIES` of them), as in a model.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from loraloom.engine.loom import kernels
from loraloom.engine.optimizers import StackedMuon

COPIES = 6
RANK, P, EPS, LENGTH = 8, 0.1, 1e-12, 53
KEYS = (123456789, 987654321)
Call = Callable[[int], Any]


def seconds(calls: list[Call], rounds: int = 15) -> list[float]:
    """The least time of each call, the calls taken in turns; a call gets the number of the copy to work on."""
    best = [float("inf")] * len(calls)
    for turn in range(rounds):
        for place, call in enumerate(calls):
            for copy in range(COPIES if turn == 0 else 1):
                start = time.perf_counter()
                call((turn + copy) % COPIES)
                elapsed = time.perf_counter() - start
            best[place] = min(best[place], elapsed)
    return best


def line(name: str, times: list[float], flops: float = 0) -> None:
    ours, theirs = times
    rate = f"{flops / ours / 1e12:6.2f} {flops / theirs / 1e12:6.2f}" if flops else " " * 13
    print(f"{name:44} {ours * 1e3:8.3f} {theirs * 1e3:8.3f}  {theirs / ours:5.2f}x  {rate}", flush=True)


def draw(*shape: int) -> Tensor:
    return (torch.randn(*shape) * 0.05).bfloat16()


def products(n: int, hidden: int) -> None:
    ops = torch.ops.loraloom
    wide = 4 * hidden
    u, gamma = draw(n, RANK), torch.ones(hidden)

    def layer(depth: int, width: int) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor, Tensor]:
        weights = [draw(width, depth) for _ in range(COPIES)]
        inputs = [draw(n, depth) for _ in range(COPIES)]
        return weights, [ops.pack(w) for w in weights], inputs, draw(width).float(), draw(width, RANK)

    for depth, width in ((hidden, 3 * hidden), (3 * hidden, hidden), (hidden, hidden), (wide, hidden), (hidden, wide)):
        flops = 2.0 * n * depth * width
        weights, packed, x, bias, b = layer(depth, width)
        narrow = bias.bfloat16()

        def linear(i: int) -> Any:
            return ops.linear(x[i], packed[i], width, bias, u, b, None, 0.0, 0, 0)  # noqa: B023

        def plain(i: int) -> Any:
            return functional.linear(x[i], weights[i], narrow)  # noqa: B023

        def plain_low(i: int) -> Any:
            return functional.linear(x[i], weights[i], narrow).addmm_(u, b.T)  # noqa: B023

        ours, theirs, both = seconds([linear, plain, plain_low])
        line(f"linear {depth}->{width} + rank {RANK} | linear", [ours, theirs], flops)
        line(f"linear {depth}->{width} + rank {RANK} | linear + addmm", [ours, both], flops)
        if width == hidden and depth != 3 * hidden:
            residual = draw(n, width)

            def normed(i: int) -> Any:
                arguments = (x[i], packed[i], width, bias, u, b, residual, P, *KEYS)  # noqa: B023
                return ops.linear_norm(*arguments, gamma, gamma, EPS)

            def plain_normed(i: int) -> Any:
                y = functional.linear(x[i], weights[i], narrow).addmm_(u, b.T)  # noqa: B023
                r = functional.dropout(y, P) + residual  # noqa: B023
                return functional.layer_norm(r, (width,), gamma.bfloat16(), gamma.bfloat16(), EPS)  # noqa: B023

            line(f"linear_norm {depth}->{width}", seconds([normed, plain_normed]), flops)
        if width == wide:
            a = [draw(n, width) for _ in range(COPIES)]

            def gelu(i: int) -> Any:
                return ops.linear_gelu(x[i], packed[i], width, bias, u, b)  # noqa: B023

            def plain_gelu(i: int) -> Any:
                return functional.gelu(plain_low(i))

            def back(i: int) -> Any:
                return ops.linear_gelu_backward(x[i], packed[i], width, u, b, a[i])  # noqa: B023

            def plain_back(i: int) -> Any:
                return torch.ops.aten.gelu_backward(plain_low(i), a[i])  # noqa: B023

            line(f"linear_gelu {depth}->{width}", seconds([gelu, plain_gelu]), flops)
            line(f"linear_gelu_backward {depth}->{width}", seconds([back, plain_back]), flops)


def rows(n: int, hidden: int) -> None:
    ops = torch.ops.loraloom
    r, dh = ([draw(n, hidden) for _ in range(COPIES)] for _ in range(2))
    gamma = torch.ones(hidden)
    narrow = gamma.bfloat16()
    line(
        f"norm {hidden}",
        seconds(
            [
                lambda i: ops.norm(r[i], gamma, gamma, EPS),
                lambda i: functional.layer_norm(r[i], (hidden,), narrow, narrow, EPS),
            ]
        ),
    )
    mean, deviation = torch.zeros(n, 1), torch.ones(n, 1)

    def plain(i: int) -> Any:
        mask = [True, False, False]
        return torch.ops.aten.native_layer_norm_backward(
            dh[i], r[i], [hidden], mean.bfloat16(), deviation.bfloat16(), narrow, narrow, mask
        )

    line(
        f"norm_backward {hidden} (p = {P})",
        seconds([lambda i: ops.norm_backward(dh[i], r[i], gamma, EPS, P, *KEYS), plain]),
    )
    a, z = draw(RANK, hidden), draw(n, RANK)
    y = [draw(n, 3 * hidden) for _ in range(COPIES)]
    line(f"lowrank_project {hidden}->{RANK}", seconds([lambda i: ops.lowrank_project(r[i], a), lambda i: r[i] @ a.T]))
    line(
        f"lowrank_gradient {RANK} x {3 * hidden}",
        seconds([lambda i: ops.lowrank_gradient(z, y[i]), lambda i: z.T @ y[i]]),
    )


def attention(n: int, hidden: int) -> None:
    ops = torch.ops.loraloom
    heads = 12
    depth = hidden // heads
    for length in (LENGTH, 300):
        texts = n // length
        total = texts * length
        offsets = (torch.arange(texts + 1) * length).int()
        qkv, dctx = ([draw(total, k * hidden) for _ in range(COPIES)] for k in (3, 1))
        split = [
            [part.contiguous() for part in x.view(texts, length, 3, heads, depth).permute(2, 0, 3, 1, 4)] for x in qkv
        ]
        for p in (0.0, P):
            spec = (offsets, heads, depth**-0.5, None, 0, p, *KEYS)

            def ours(i: int) -> Any:
                return ops.attention(qkv[i], *spec)  # noqa: B023

            def flash(i: int) -> Any:
                q, k, v = split[i]  # noqa: B023
                return functional.scaled_dot_product_attention(q, k, v, dropout_p=p)  # noqa: B023

            flops = 4.0 * total * length * hidden
            line(f"attention {texts} x {length}, p = {p} | sdpa", seconds([ours, flash]), flops)
            ctx = [ours(i) for i in range(COPIES)]

            def ours_back(i: int) -> Any:
                return ops.attention_backward(dctx[i], qkv[i], ctx[i], *spec)  # noqa: B023

            leaves = [[part.requires_grad_() for part in parts] for parts in split]

            def flash_back(i: int) -> Any:
                q, k, v = leaves[i]  # noqa: B023
                gradient = dctx[i].view(texts, length, heads, depth).transpose(1, 2)  # noqa: B023
                out = functional.scaled_dot_product_attention(q, k, v, dropout_p=p)  # noqa: B023
                return torch.autograd.grad(out, leaves[i], gradient)  # noqa: B023

            line("  backward | sdpa, both ways", seconds([ours_back, flash_back]), 2.5 * flops)
            for parts in split:
                for part in parts:
                    part.requires_grad_(False)


def muon(hidden: int) -> None:
    """A step over A and B of 24 adapted layers, in `COPIES` models."""
    shapes = [(RANK, hidden), (hidden, RANK)] * 24
    optimizers: list[list[torch.optim.Optimizer]] = []
    for make in (StackedMuon, partial(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")):
        made: list[torch.optim.Optimizer] = []
        for _ in range(COPIES):
            matrices = [nn.Parameter(torch.randn(shape) * 0.05) for shape in shapes]
            for matrix in matrices:
                matrix.grad = torch.randn_like(matrix) * 1e-3
            made.append(make(matrices))
        optimizers.append(made)
    ours, theirs = optimizers
    line(
        f"Muon, {len(shapes)} matrices of {RANK} x {hidden}",
        seconds([lambda i: ours[i].step(), lambda i: theirs[i].step()]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[848, 4096])
    parser.add_argument("--hidden", type=int, nargs="+", default=[768, 384])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="+", default=["products", "rows", "attention", "muon"])
    wish = parser.parse_args()
    torch.set_num_threads(wish.threads)
    if reason := kernels.load():
        raise SystemExit(reason)
    for hidden in wish.hidden:
        for n in wish.rows:
            print(f"\nN = {n}, D = {hidden}: ours ms, torch ms, ratio, ours TFLOP/s, torch TFLOP/s")
            for part in (products, rows, attention):
                if part.__name__ in wish.only:
                    part(n, hidden)
        if muon.__name__ in wish.only:
            print()
            muon(hidden)


if __name__ == "__main__":
    main()
