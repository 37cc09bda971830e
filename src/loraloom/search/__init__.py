"""The search: which trial comes next (`proposals.py`), when one ends early (`pruning.py`), what the time allows.

`clock.py` has the time, `watcher.py` those who listen. Imports no torch.
"""
