"""The search: which trial comes next (`proposals.py`), when one ends early (`pruning.py`), what the time allows.

`clock.py` has the time, `costs.py` what a trial takes, `plan.py` and `pace.py` what is made of both; `watcher.py` has
those who listen. Imports no torch.
"""
