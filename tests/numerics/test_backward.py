"""Every hand-written backward pass against numerical derivatives of its forward, in fp64 (torch.autograd.gradcheck).

Two trials of two texts of different lengths, so that there is filler; trials differ in rank, scale and dropout's keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from loraloom.backbone.anatomy import Dropouts, Embedding
from loraloom.engine.loom.encoder import _mean_backward, mean_of_texts
from loraloom.engine.loom.head import Target
from loraloom.engine.loom.layer import LayerNorm, Pass, PostNormLayer, PreNormLayer, Weights
from loraloom.engine.loom.noise import Drop, Noise
from loraloom.engine.loom.ops import Attention, FrozenLinear, Norm, PlainOps
from loraloom.engine.loom.parameters import Parameters, lay_out
from loraloom.engine.loom.projection import Part, Projection, bias_of, lora_a, lora_b
from loraloom.engine.loom.rotary import Rotary
from loraloom.engine.loom.tokens import Tokens
from loraloom.engine.loom.tokens import lay_out as lay_out_tokens
from loraloom.recipe import Lora
from tests.numerics.architectures import CONFIGS, encoded_rows
from tests.numerics.both import add_lora, pack_of, rows_for, targets
from tests.numerics.conftest import Bases

WIDTH, HEADS, INNER = 4, 2, 6
OPS = PlainOps()
NOISE = Noise((11, 12), (3, 4))
DROP = NOISE.drop(7, 0.4)
CPU = torch.device("cpu")

Backward = Callable[[Tensor], Sequence[Tensor]]
Run = Callable[..., tuple[Tensor, Backward]]


class _ByHand(torch.autograd.Function):
    """A forward and the backward that is written for it, as autograd calls them."""

    @staticmethod
    def forward(ctx: Any, run: Run, *inputs: Tensor) -> Tensor:
        output, ctx.back = run(*[tensor.detach().clone() for tensor in inputs])
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return None, *ctx.back(gradient)


def check(run: Run, *inputs: Tensor, fast: bool = False) -> None:
    """`run` gives the output and a function from its gradient to those of the inputs; `fast` projects at random."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(lambda *given: _ByHand.apply(run, *given), leaves, fast_mode=fast)  # type: ignore[no-untyped-call]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 7 * sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def two_trials(trials: int = 2) -> Tokens:
    """Texts of 3 and 1 tokens, and of 2 and 4."""
    encoded = encoded_rows([3, 1, 2, 4], seed=0)
    rows = [np.array([0, 1]), np.array([2, 3])]
    return lay_out_tokens([encoded] * trials, rows[:trials], Embedding("word", "norm"))


TOKENS = two_trials()
ROWS = TOKENS.ids.shape[1]


def parameters(shapes: dict[str, tuple[int, ...]], small: dict[str, tuple[int, ...]] | None = None) -> Parameters:
    """Random parameters of two trials; the second's shapes are `small`'s where given."""
    trials = [shapes, {**shapes, **(small or {})}]
    layout = lay_out(list(shapes), {name: [own[name] for own in trials] for name in shapes}, frozenset())
    values = [
        {name: drawn(*shape, seed=number + place) for place, (name, shape) in enumerate(own.items())}
        for number, own in enumerate(trials)
    ]
    return Parameters(layout, values, torch.float64, CPU)


def with_parameters(held: Parameters, refresh: Callable[[], None], run: Run) -> Run:
    """`run` as a function of its inputs and then of all parameters (K, P), whose gradients `held` is left with."""

    def wrapped(*inputs: Tensor) -> tuple[Tensor, Backward]:
        held.values.copy_(inputs[-1])
        refresh()
        output, back = run(*inputs[:-1])

        def backward(gradient: Tensor) -> Sequence[Tensor]:
            held.gradients.zero_()
            return [*back(gradient), held.gradients.clone()]

        return output, backward

    return wrapped


def lora(name: str, rank: int, inputs: int, outputs: int, *, bias: bool = True) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {lora_a(name): (rank, inputs), lora_b(name): (outputs, rank)}
    return shapes | ({bias_of(name): (outputs,)} if bias else {})


def projection(held: Parameters, inputs: int, names: Sequence[str], outputs: int, *, bias: bool = True) -> Projection:
    """Modules of `outputs` each, side by side; frozen where `held` has nothing of them."""
    parts = tuple(Part(name, place * outputs, (place + 1) * outputs) for place, name in enumerate(names))
    weight = drawn(outputs * len(names), inputs, seed=len(names[0]))
    frozen_bias = drawn(outputs * len(names), seed=3) if bias else None
    return Projection(FrozenLinear(weight), parts, frozen_bias, held, torch.tensor([0.5, 2.0]).view(2, 1, 1).double())


def norm(held: Parameters, name: str, *, bias: bool = True) -> LayerNorm:
    frozen = Norm(1 + 0.3 * drawn(WIDTH, seed=len(name)), drawn(WIDTH, seed=9) if bias else None, 1e-5)
    return LayerNorm(name, frozen, held, frozen)


QKV = ("q", "k", "v")


@pytest.mark.parametrize("drops", [(None, None), (DROP, NOISE.drop(8, 0.4))], ids=["kept", "dropped"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_projection_of_two_adapted_modules_of_three(drops: tuple[Drop | None, ...], bias: bool) -> None:
    ranks = {name: shape for module in ("q", "v") for name, shape in lora(module, 1, WIDTH, WIDTH, bias=bias).items()}
    names = [of(module) for of in (lora_a, lora_b) for module in ("q", "v")]
    shapes = {name: size for module in ("q", "v") for name, size in lora(module, 3, WIDTH, WIDTH, bias=bias).items()}
    ordered = {name: shapes[name] for name in [*names, *(name for name in shapes if name not in names)]}
    held = parameters(ordered, {name: ranks[name] for name in ordered})
    tested = projection(held, WIDTH, QKV, WIDTH)

    def run(x: Tensor) -> tuple[Tensor, Backward]:
        product, saved = tested.product(x, OPS, drops)
        y = OPS.linear(x, product)

        def back(dy: Tensor) -> Sequence[Tensor]:
            low, extra = tested.collect(dy, saved, OPS, need_input=True)
            return [OPS.linear_backward(dy, tested.frozen, low, extra)]

        return y, back

    check(with_parameters(held, tested.refresh, run), drawn(2, ROWS, WIDTH), held.values.clone())


def test_linear_then_gelu() -> None:
    held = parameters(lora("up", 2, WIDTH, INNER))
    tested = projection(held, WIDTH, ["up"], INNER)

    def run(x: Tensor) -> tuple[Tensor, Backward]:
        product, saved = tested.product(x, OPS, [None])
        a, g = OPS.linear_gelu(x, product)

        def back(dg: Tensor) -> Sequence[Tensor]:
            # Its backward is that of a product after it: here the identity.
            da = OPS.linear_gelu_backward(dg, FrozenLinear(torch.eye(INNER, dtype=torch.float64)), None, a)
            low, _ = tested.collect(da, saved, OPS, need_input=True)
            return [OPS.linear_backward(da, tested.frozen, low)]

        return g, back

    check(with_parameters(held, tested.refresh, run), drawn(2, ROWS, WIDTH), held.values.clone())


@pytest.mark.parametrize("drop", [None, DROP], ids=["kept", "dropped"])
def test_linear_then_dropout_residual_and_norm(drop: Drop | None) -> None:
    held = parameters(lora("out", 2, INNER, WIDTH) | {"norm.bias": (WIDTH,)})
    tested, after = projection(held, INNER, ["out"], WIDTH), norm(held, "norm")

    def refresh() -> None:
        tested.refresh()
        after.refresh()

    def run(x: Tensor, residual: Tensor) -> tuple[Tensor, Backward]:
        product, saved = tested.product(x, OPS, [None])
        r, h = OPS.linear_norm(x, product, residual, drop, after.now)

        def back(dh: Tensor) -> Sequence[Tensor]:
            after.collect(dh, OPS)
            dr, dy = OPS.norm_backward(dh, r, after.now, drop)
            low, _ = tested.collect(dy, saved, OPS, need_input=True)
            return [OPS.linear_backward(dy, tested.frozen, low), dr]

        return h, back

    inputs = drawn(2, ROWS, INNER), drawn(2, ROWS, WIDTH)
    check(with_parameters(held, refresh, run), *inputs, held.values.clone())


@pytest.mark.parametrize("bias", [True, False])
def test_norm(bias: bool) -> None:
    frozen = Norm(1 + 0.3 * drawn(WIDTH), drawn(WIDTH, seed=1) if bias else None, 1e-5)
    check(
        lambda r: (OPS.norm(r, frozen), lambda dh: [OPS.norm_backward(dh, r, frozen, None)[0]]), drawn(2, ROWS, WIDTH)
    )


@pytest.mark.parametrize("drop", [None, DROP], ids=["kept", "dropped"])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("window", [0, 1])
@pytest.mark.parametrize("first", [False, True])
def test_attention(first: bool, window: int, relative: bool, drop: Drop | None) -> None:
    spec = Attention(HEADS, 0.7, window, drawn(HEADS, 5, 5) if relative else None, drop, first)

    def run(qkv: Tensor) -> tuple[Tensor, Backward]:
        context = OPS.attention(qkv, TOKENS, spec)
        return context, lambda dc: [OPS.attention_backward(dc, qkv, context, TOKENS, spec)]

    check(run, drawn(2, ROWS, 3 * WIDTH))


def test_rotary_positions() -> None:
    rotary = Rotary(100.0, 1, WIDTH, torch.device("cpu"))
    places = TOKENS.places
    check(lambda qkv: (rotary.turn(qkv, places), lambda d: [rotary.turn_back(d, places)]), drawn(2, ROWS, 3 * WIDTH))


def test_mean_pooling() -> None:
    check(lambda x: (mean_of_texts(x, TOKENS), lambda d: [_mean_backward(d, TOKENS)]), drawn(2, ROWS, WIDTH))


def layer_parameters(adapted: Sequence[str], *, biases: bool, gated: bool) -> Parameters:
    sizes = {
        **dict.fromkeys(QKV, (WIDTH, WIDTH)),
        "out": (WIDTH, WIDTH),
        "up": (WIDTH, 2 * INNER if gated else INNER),
        "down": (INNER, WIDTH),
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for of in (lora_a, lora_b):
        for name in adapted:
            shapes[of(name)] = lora(name, 2, *sizes[name])[of(name)]
    if biases:
        shapes |= {bias_of(name): (size[1],) for name, size in sizes.items()}
        shapes |= {"attention_norm.bias": (WIDTH,), "mlp_norm.bias": (WIDTH,)}
    return parameters(shapes)


ALL = (*QKV, "out", "up", "down")


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("lora_dropout", [0.0, 0.3])
@pytest.mark.parametrize("adapted", [ALL, ("q", "v"), ("down",), ()], ids="+".join)
@pytest.mark.parametrize("kind", ["post", "pre"])
def test_a_layer(kind: str, adapted: tuple[str, ...], lora_dropout: float, dropout: float, first: bool) -> None:
    """With respect to its input, A and B of all modules, and all biases."""
    gated = kind == "pre"
    held = layer_parameters(adapted, biases=True, gated=gated)
    weights = Weights(
        number=1,
        qkv=projection(held, WIDTH, QKV, WIDTH),
        out=projection(held, WIDTH, ["out"], WIDTH),
        up=projection(held, WIDTH, ["up"], 2 * INNER if gated else INNER),
        down=projection(held, INNER, ["down"], WIDTH),
        attention_norm=norm(held, "attention_norm"),
        mlp_norm=norm(held, "mlp_norm"),
        attention=Attention(HEADS, 0.7, 2 if gated else 0),
    )
    rotary = Rotary(100.0, HEADS, WIDTH // HEADS, torch.device("cpu"))
    layer = PreNormLayer(weights, OPS, rotary) if gated else PostNormLayer(weights, OPS)
    at = Pass(TOKENS, NOISE, Dropouts(0.0, dropout, dropout, dropout if gated else 0.0, dropout), lora_dropout)

    def run(x: Tensor) -> tuple[Tensor, Backward]:
        h, kept = layer.forward(x, at, first=first)
        assert kept is not None

        def back(dh: Tensor) -> Sequence[Tensor]:
            dx = layer.backward(dh, kept, at, to_input=True)
            assert dx is not None
            return [dx]

        return h, back

    check(with_parameters(held, layer.weights.refresh, run), drawn(2, ROWS, WIDTH), held.values.clone(), fast=True)


@pytest.mark.parametrize("kind", ["post", "pre"])
@pytest.mark.parametrize("lowest", ["q", "out", "up", "down", "attention_norm.bias", "mlp_norm.bias"])
@pytest.mark.parametrize("lora_dropout", [0.0, 0.3])
def test_a_layer_with_nothing_trained_below_gives_the_same_gradients_and_stops(
    kind: str, lowest: str, lora_dropout: float
) -> None:
    gated = kind == "pre"
    order = (
        ["attention_norm.bias", "q", "out", "mlp_norm.bias", "up", "down"]
        if gated
        else ["q", "out", "attention_norm.bias", "up", "down", "mlp_norm.bias"]
    )
    names = order[order.index(lowest) :]
    sizes = {"q": (WIDTH, WIDTH), "out": (WIDTH, WIDTH), "up": (WIDTH, (1 + gated) * INNER), "down": (INNER, WIDTH)}
    shapes = {
        of(name): lora(name, 2, *sizes[name])[of(name)] for name in names if name in sizes for of in (lora_a, lora_b)
    }
    shapes |= {name: (WIDTH,) for name in names if name not in sizes}
    held = parameters(shapes)
    weights = Weights(
        number=0,
        qkv=projection(held, WIDTH, QKV, WIDTH),
        out=projection(held, WIDTH, ["out"], WIDTH),
        up=projection(held, WIDTH, ["up"], (1 + gated) * INNER),
        down=projection(held, INNER, ["down"], WIDTH),
        attention_norm=norm(held, "attention_norm"),
        mlp_norm=norm(held, "mlp_norm"),
        attention=Attention(HEADS, 0.7),
    )
    layer = PreNormLayer(weights, OPS, None) if gated else PostNormLayer(weights, OPS)
    weights.refresh()
    at = Pass(TOKENS, NOISE, Dropouts(0.0, 0.2, 0.2, 0.0, 0.2), lora_dropout)
    found = []
    for to_input in (True, False):
        held.gradients.zero_()
        h, kept = layer.forward(drawn(2, ROWS, WIDTH), at, first=False)
        assert kept is not None
        dx = layer.backward(drawn(*h.shape, seed=1), kept, at, to_input=to_input)
        assert (dx is not None) == to_input
        found.append(held.gradients.clone())
    assert torch.equal(*found)
    assert all(bool(held.view(found[0], name).abs().sum() > 0) for name in shapes)


@pytest.mark.parametrize(("lora_dropout", "pooling"), [(0.2, "native"), (0.0, "mean")])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_whole_model_with_all_its_dropout(
    base_of: Bases, architecture: str, lora_dropout: float, pooling: str
) -> None:
    """The loss with respect to every trained parameter of two trials: embeddings' biases, LoRA, norms, and the head."""
    base = base_of(architecture, pooling=pooling, dropout="keep")
    fields = {"bias": "all", "target_modules": targets("all-linear", architecture), "lora_dropout": lora_dropout}
    loras = [Lora.model_validate(fields | {"r": r}) for r in (2, 1)]
    models = [add_lora(base, own, seed=seed, dtype=torch.float64) for seed, own in enumerate(loras)]
    pack = pack_of(base, models, loras)
    encoded, _ = rows_for(architecture)
    tokens = lay_out_tokens([encoded] * 2, [np.array([2, 0]), np.array([3])], base.anatomy.embedding)
    held = pack.parameters
    target = Target(
        labels=torch.tensor([[0, 1], [2, 0]]),
        real=torch.tensor([[1.0, 1.0], [1.0, 0.0]]).double(),
        normalisers=torch.tensor([2.0, 0.5]).double(),
        class_weights=torch.tensor([[1.0, 2.0, 0.5], [1.0, 1.0, 1.0]]).double(),
        smoothing=torch.tensor([[0.1], [0.0]]).double(),
    )

    def run() -> tuple[Tensor, Backward]:
        pooled, _ = pack.encoder.forward(tokens, NOISE)
        loss = (pack.head.score(pooled, target, NOISE).examples.sum(dim=1) / target.normalisers).sum()

        def back(gradient: Tensor) -> Sequence[Tensor]:
            pooled, way = pack.encoder.forward(tokens, NOISE)
            pack.encoder.backward(pack.head.score(pooled, target, NOISE).gradient, way)
            held.gradients.mul_(gradient)
            return []

        return loss, back

    check(with_parameters(held, pack._refresh, run), held.values.clone(), fast=True)
