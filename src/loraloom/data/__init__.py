"""Data: from any source to checked splits under one mapping of labels, and from texts to token ids.

`loading.py` reads as the list of what is done to the rows; every guess and every dropped row is a `Finding`.
Torch-free: heavy libraries are imported by the functions that need them.
"""

from loraloom.data.columns import text_of
from loraloom.data.encoding import Encoded, default_cache, encode, truncation_finding, unknown_finding
from loraloom.data.labels import read_labelled
from loraloom.data.loading import load_again, load_data
from loraloom.data.text_data import Finding, Split, TextData
from loraloom.data.wording import beside_figure, in_column, printable, shorten

__all__ = [
    "Encoded",
    "Finding",
    "Split",
    "TextData",
    "beside_figure",
    "default_cache",
    "encode",
    "in_column",
    "load_again",
    "load_data",
    "printable",
    "read_labelled",
    "shorten",
    "text_of",
    "truncation_finding",
    "unknown_finding",
]
