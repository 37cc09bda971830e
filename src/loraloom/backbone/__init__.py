"""The frozen encoder: where it comes from, how it is built with a head, which of its layers can be adapted.

`--help` imports nothing of it: torch, transformers and PEFT take seconds.
"""
