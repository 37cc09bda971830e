"""Hands a trained classifier over: as plain transformers (merged), as ONNX, or as the adapter alone for plain PEFT.

`exporting.py` is the order of things. Each form is written by a module of its own, loaded again from its folder by what
its users would load it with, and compared with the adapter on labelled rows before the folder takes its name.
"""

from loraloom.use.export.exporting import FORMATS, Exported, export

__all__ = ["FORMATS", "Exported", "export"]
