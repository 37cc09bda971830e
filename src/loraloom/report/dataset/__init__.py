"""What the data are like, and whether it matters: class shares, lengths, and what the splits have in common.

From what a run's recipe keeps of its data, and the winner's results by class; `shares.py` has the tests.
"""

from loraloom.report.dataset.findings import Dataset, dataset

__all__ = ["Dataset", "dataset"]
