"""Engines: what trains trials. `trainer.py` is the reference (HF Trainer and PEFT); `job.py` is the interface.

`schedules.py`, `optimizers.py`, `objective.py` and `precision.py` are what a recipe's words mean, for any engine.
"""

from loraloom.engine.job import Engine, Job, Listener, Outcome, Rows, in_type, memory_key, never, pack_key, silent

__all__ = ["Engine", "Job", "Listener", "Outcome", "Rows", "in_type", "memory_key", "never", "pack_key", "silent"]
