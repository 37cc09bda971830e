"""Telling the trackers that users have: TensorBoard, MLflow, W&B, trackio; and opening optuna-dashboard.

`tracked` makes a run's watcher one that its trackers hear too; `refuse_missing` refuses trackers that aren't installed.
Each tracker is a process of its own, so that none can hurt the run (`channel.py`).
"""

from loraloom.tracking.installed import refuse_missing
from loraloom.tracking.reporter import tracked

__all__ = ["refuse_missing", "tracked"]
