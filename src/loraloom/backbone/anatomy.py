"""What an encoder is made of: one small description per architecture, read by the loom engine.

An architecture is a table of names (which module is the query, which the norm) and a few facts (where positions begin,
which dropout comes where). The engine knows two kinds of block, norm after the residual sum (BERT and its kin) and
before it (ModernBERT), and nothing of any architecture. Names are those of the transformers model: within a layer for
`Block`, within the encoder for `Embedding`, within the classifier for `HeadStep`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from loraloom.recipe import Head

HeadStep = tuple[Literal["dropout"], float] | tuple[Literal["linear", "norm", "activation"], str]
"""A step of a head: dropout with its probability, a linear layer or a norm by name, an activation by name."""


@dataclass(frozen=True, slots=True)
class Block:
    """Names within one layer. `qkv` are one module of three outputs, or three modules."""

    qkv: tuple[str, ...]
    out: str
    up: str
    down: str
    attention_norm: str
    mlp_norm: str


@dataclass(frozen=True, slots=True)
class Embedding:
    """Names of the tables; `pad` is the id that positions do not count, and the first one is beyond it (None: 0)."""

    word: str
    norm: str
    position: str | None = None
    token_type: str | None = None
    project: str | None = None
    pad: int | None = None


@dataclass(frozen=True, slots=True)
class Dropouts:
    """Probabilities of the frozen encoder: after the embeddings, on attention's probabilities, and on each branch."""

    embedding: float
    attention: float
    attention_output: float
    mlp_inner: float
    mlp_output: float

    @property
    def any(self) -> bool:
        """Whether the encoder drops anything in training."""
        return any((self.embedding, self.attention, self.attention_output, self.mlp_inner, self.mlp_output))


@dataclass(frozen=True, slots=True)
class Anatomy:
    """An encoder and its head as the engine computes them."""

    layers: str
    block: Block
    embedding: Embedding
    dropouts: Dropouts
    head: tuple[HeadStep, ...]
    mean_pooling: bool
    hidden: int
    heads: int
    layer_count: int
    norm_eps: float
    pre_norm: bool = False
    final_norm: str | None = None
    windows: tuple[int, ...] = ()
    """Half-widths of each layer's attention window; 0 sees all. Empty where no layer has one."""
    rope_thetas: tuple[float, ...] = ()
    """Each layer's base of rotary positions; empty where positions are embedded."""
    relative_bias: str | None = None
    """The table of T5-style relative position biases, shared by the layers."""


def anatomy(config: Any, head: Head) -> Anatomy | str:
    """The anatomy of a transformers configuration under a recipe's head, or why there is none, in a few words."""
    describe = _DESCRIBED.get(config.model_type)
    if describe is None:
        return f"{config.model_type} is not among the architectures that it knows ({', '.join(_DESCRIBED)})"
    activation = getattr(config, _ACTIVATIONS.get(config.model_type, "hidden_act"))
    if activation != "gelu":
        return f"the activation {activation!r} is not gelu"
    if getattr(config, "position_embedding_type", "absolute") not in (None, "absolute"):
        return f"positions of type {config.position_embedding_type!r} are not computed"
    if getattr(config, "is_decoder", False):
        return "the model is a decoder"
    return describe(config, head)


_ACTIVATIONS = {"distilbert": "activation", "modernbert": "hidden_activation"}
"""Fields of the MLP's activation that are not called hidden_act, which a configuration may hold beside them, unread."""

_BERT = Block(
    qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
    out="attention.output.dense",
    up="intermediate.dense",
    down="output.dense",
    attention_norm="attention.output.LayerNorm",
    mlp_norm="output.LayerNorm",
)
_BERT_EMBEDDING = Embedding(
    word="embeddings.word_embeddings",
    position="embeddings.position_embeddings",
    token_type="embeddings.token_type_embeddings",  # noqa: S106
    norm="embeddings.LayerNorm",
)


def _bert(config: Any, head: Head) -> Anatomy:
    native: tuple[HeadStep, ...] = (
        ("linear", "bert.pooler.dense"),
        ("activation", "tanh"),
        ("dropout", _classifier_dropout(config)),
        ("linear", "classifier"),
    )
    return _post_norm(config, head, _BERT, _BERT_EMBEDDING, native)


def _roberta(config: Any, head: Head) -> Anatomy:
    embedding = replace(_BERT_EMBEDDING, pad=config.pad_token_id)
    return _post_norm(config, head, _BERT, embedding, _dense_head(_classifier_dropout(config), "tanh"))


def _electra(config: Any, head: Head) -> Anatomy:
    projected = config.embedding_size != config.hidden_size
    embedding = replace(_BERT_EMBEDDING, project="embeddings_project" if projected else None)
    return _post_norm(config, head, _BERT, embedding, _dense_head(_classifier_dropout(config), "gelu"))


def _mpnet(config: Any, head: Head) -> Anatomy:
    block = Block(
        qkv=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        out="attention.attn.o",
        up="intermediate.dense",
        down="output.dense",
        attention_norm="attention.LayerNorm",
        mlp_norm="output.LayerNorm",
    )
    pad = 1  # MPNetEmbeddings fixes it, whatever the configuration says
    embedding = Embedding(
        word="embeddings.word_embeddings",
        position="embeddings.position_embeddings",
        norm="embeddings.LayerNorm",
        pad=pad,
    )
    native = _dense_head(config.hidden_dropout_prob, "tanh")
    return _post_norm(config, head, block, embedding, native, relative_bias="encoder.relative_attention_bias")


def _distilbert(config: Any, head: Head) -> Anatomy:
    block = Block(
        qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        out="attention.out_lin",
        up="ffn.lin1",
        down="ffn.lin2",
        attention_norm="sa_layer_norm",
        mlp_norm="output_layer_norm",
    )
    embedding = Embedding(
        word="embeddings.word_embeddings", position="embeddings.position_embeddings", norm="embeddings.LayerNorm"
    )
    native: tuple[HeadStep, ...] = (
        ("linear", "pre_classifier"),
        ("activation", "relu"),
        ("dropout", config.seq_classif_dropout),
        ("linear", "classifier"),
    )
    return Anatomy(
        layers="transformer.layer",
        block=block,
        embedding=embedding,
        dropouts=Dropouts(config.dropout, config.attention_dropout, 0.0, 0.0, config.dropout),
        head=native if head.kind == "native" else _linear_head(config),
        mean_pooling=head.pooling == "mean",
        hidden=config.dim,
        heads=config.n_heads,
        layer_count=config.n_layers,
        norm_eps=1e-12,
    )


def _modernbert(config: Any, head: Head) -> Anatomy | str:
    parameters = config.rope_parameters
    if any(parameters[kind].get("rope_type", "default") != "default" for kind in set(config.layer_types)):
        return "its rotary positions are scaled, which is not computed"
    if config.classifier_activation != "gelu":
        return f"the head's activation {config.classifier_activation!r} is not gelu"
    sliding = [kind == "sliding_attention" for kind in config.layer_types]
    if any(sliding) and config.sliding_window < 1:  # 0 stands for no window
        return f"windows of attention without a neighbour (local_attention {config.local_attention}) are not computed"
    native: tuple[HeadStep, ...] = (
        ("linear", "head.dense"),
        ("activation", "gelu"),
        ("norm", "head.norm"),
        ("dropout", config.classifier_dropout),
        ("linear", "classifier"),
    )
    return Anatomy(
        layers="layers",
        block=Block(("attn.Wqkv",), "attn.Wo", "mlp.Wi", "mlp.Wo", "attn_norm", "mlp_norm"),
        embedding=Embedding(word="embeddings.tok_embeddings", norm="embeddings.norm"),
        dropouts=Dropouts(
            config.embedding_dropout, config.attention_dropout, config.attention_dropout, config.mlp_dropout, 0.0
        ),
        head=native if head.kind == "native" else _linear_head(config),
        mean_pooling=head.pooling == "mean" or config.classifier_pooling == "mean",
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        layer_count=config.num_hidden_layers,
        norm_eps=config.norm_eps,
        pre_norm=True,
        final_norm="final_norm",
        windows=tuple(config.sliding_window if slides else 0 for slides in sliding),
        rope_thetas=tuple(float(parameters[kind]["rope_theta"]) for kind in config.layer_types),
    )


def _post_norm(
    config: Any,
    head: Head,
    block: Block,
    embedding: Embedding,
    native: tuple[HeadStep, ...],
    relative_bias: str | None = None,
) -> Anatomy:
    hidden, attention = config.hidden_dropout_prob, config.attention_probs_dropout_prob
    return Anatomy(
        layers="encoder.layer",
        block=block,
        embedding=embedding,
        dropouts=Dropouts(hidden, attention, hidden, 0.0, hidden),
        head=native if head.kind == "native" else _linear_head(config),
        mean_pooling=head.pooling == "mean",
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        layer_count=config.num_hidden_layers,
        norm_eps=config.layer_norm_eps,
        relative_bias=relative_bias,
    )


def _dense_head(dropout: float, activation: str) -> tuple[HeadStep, ...]:
    return (
        ("dropout", dropout),
        ("linear", "classifier.dense"),
        ("activation", activation),
        ("dropout", dropout),
        ("linear", "classifier.out_proj"),
    )


def _linear_head(config: Any) -> tuple[HeadStep, ...]:
    from loraloom.backbone.classifier import linear_head_dropout

    return (("dropout", linear_head_dropout(config)), ("linear", "classifier"))


def _classifier_dropout(config: Any) -> float:
    own = config.classifier_dropout
    return float(config.hidden_dropout_prob if own is None else own)


_DESCRIBED: dict[str, Callable[[Any, Head], Anatomy | str]] = {
    "bert": _bert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
    "distilbert": _distilbert,
    "mpnet": _mpnet,
    "electra": _electra,
    "modernbert": _modernbert,
}
ARCHITECTURES = tuple(_DESCRIBED)
"""Model types of transformers that are described here."""
