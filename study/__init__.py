"""What is true: the study that answers the contest's claims on AG News, and where loraloom's defaults come from.

`make study` runs all of it, from recipes and tables that lie here; its results are JSON in study/results/, its page is
docs/study.md.
"""
