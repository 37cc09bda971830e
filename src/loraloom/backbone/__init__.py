"""The frozen encoder: where it comes from, how it is built with a head, which of its layers can be adapted.

Imports of torch, transformers and PEFT are inside functions' modules; nothing here is imported by `--help`.
"""
