"""How alike test and training texts are, and a second set; and whether accuracy, or what rank brings, depends on it.

`findings.py` has what is said; `two_sample.py`, `nearest.py`, `trend.py` and `rank.py` what is computed. The
embeddings are read from RUN/similarity/, which `use/similarity.py` makes.
"""

from loraloom.report.similarity.findings import Similarity, similarity

__all__ = ["Similarity", "similarity"]
