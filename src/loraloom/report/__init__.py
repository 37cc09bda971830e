"""The report of a run: findings first (frozen values), then a page, pictures and tables. Imports no torch.

`findings.py` has what is said, `page.py`, `pictures/` and `tables/` how; `writing.py` does the whole.
"""

from loraloom.report.findings import Findings, findings
from loraloom.report.markdown import markdown
from loraloom.report.model_card import model_card
from loraloom.report.reading import RunRead, read_run
from loraloom.report.writing import write_report

__all__ = ["Findings", "RunRead", "findings", "markdown", "model_card", "read_run", "write_report"]
