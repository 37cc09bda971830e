"""Where the winner fails: by class, length, truncation and source; on which rows all fail; whether to believe it.

`failures` reads the rows that a run kept (`kept.py`), and each question has a file of its own. Tests that ask whether
accuracy depends on class, length, truncation or source are one family, corrected together by Holm's method.
"""

from loraloom.report.failures.findings import Failures, failures

__all__ = ["Failures", "failures"]
