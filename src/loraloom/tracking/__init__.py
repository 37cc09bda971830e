"""Telling the trackers that users have: TensorBoard, MLflow, W&B, trackio; and opening optuna-dashboard.

`reporter.tracked` makes a run's watcher one that its trackers hear too; `reporter.refuse_missing` refuses trackers
that aren't installed. Each tracker is a process of its own, so that none can hurt the run (`channel.py`); it imports
this package, so nothing is imported here: with the reporter, and all that it knows of a search, a process took two
seconds before it could answer.
"""
