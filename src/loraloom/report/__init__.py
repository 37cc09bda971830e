"""The report of a run: findings first (frozen values), then a page, pictures and tables. Imports no torch.

`findings.py` has what is said, `page.py`, `pictures/` and `tables.py` how; `writing.py` does the whole. This file
imports nothing: a server takes the page's style sheet from here, and needs none of the statistics.
"""
