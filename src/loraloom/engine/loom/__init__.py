"""The fast engine: our own forward and backward over a frozen encoder, with LoRA as PEFT has it. `engine.py` is the
door."""

from loraloom.engine.loom.engine import LoomEngine

__all__ = ["LoomEngine"]
