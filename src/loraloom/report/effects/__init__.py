"""What each axis of a search does: effects, interactions and importances, from all trials as they were first seen.

`observations.py` chooses what is compared, `axes.py` says along what, `model.py` fits and tests, `pairs.py`,
`interactions.py` and `importances.py` stand beside it, `analysis.py` puts it together, `verdicts.py` puts it in words.
"""
