"""Engines: what trains trials. `loom/` is the fast one, `trainer.py` the reference (HF Trainer and PEFT).

`job.py` is their interface, `course.py` what a trial goes through in either, `checkpoint.py` how one is gone on with.
`schedules.py`, `optimizers.py`, `objective.py` and `precision.py` are what a recipe's words mean, for any engine.
"""

from loraloom.engine.job import Engine, Job, Listener, Outcome, Rows, in_type, memory_key, never, pack_key, silent

__all__ = ["Engine", "Job", "Listener", "Outcome", "Rows", "in_type", "memory_key", "never", "pack_key", "silent"]
