"""Logits of texts by an adapter, as fast as the machine allows: the engine's forward pass, without a way back.

A classifier that PEFT has loaded is taken over: its frozen weights are laid out in the type to be computed in, its
adapter, biases and head as they are, and the model itself is emptied. 2 FLOPs a weight and token, and attention's.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel

from loraloom.backbone.anatomy import Anatomy
from loraloom.data import Encoded
from loraloom.engine.loom.allocator import keep_freed_memory
from loraloom.engine.loom.evaluation import chunks, gather
from loraloom.engine.loom.frozen import freeze
from loraloom.engine.loom.pack import Member, Pack
from loraloom.engine.loom.setting import DTYPES, choose_ops, plan_layout, trained_parameters
from loraloom.recipe import Configuration


class Inference:
    """A classifier's forward pass. `model` is emptied of what it takes over."""

    def __init__(
        self,
        model: PeftModel,
        found: Anatomy,
        configuration: Configuration,
        dtype: Literal["fp32", "bf16"],
        device: torch.device,
    ) -> None:
        base = cast(Any, model.get_base_model())
        ops = choose_ops(DTYPES[dtype], device, found, base.config)
        self._frozen = freeze(base, found, ops, DTYPES[dtype], device, lowest=found.layer_count)
        member = Member(configuration.train, configuration.lora, trained_parameters(model), None)
        layout, decayed = plan_layout([member], self._frozen)
        self._pack = Pack([member], self._frozen, layout, decayed)
        keep_freed_memory()

    def logits(self, encoded: Encoded, classes: int) -> NDArray[np.float32]:
        """Logits (N, C) of encoded rows, in their order."""
        parts = chunks(encoded, self._frozen.anatomy.embedding, self._frozen.device)
        return gather(parts, (len(encoded), classes), lambda part: self._pack.logits(part.tokens, 0))
