"""A matrix that was laid out anew gives its memory back, and none that is another's."""

from __future__ import annotations

import mmap
import sys

import pytest
import torch
from torch import Tensor

from loraloom.engine.loom.frozen import _give_back

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is given back on Linux alone")


def ones(pages: int) -> Tensor:
    """(pages, values of a page), which are no other's: what is given back reads as zeros."""
    memory = mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(memory, dtype=torch.float32).fill_(1).view(pages, -1)


def test_only_pages_that_are_wholly_its_own_are_given_back() -> None:
    found = ones(5)
    _give_back(found.view(-1)[100 : 4 * found.shape[1] - 100])
    assert [(float(page.min()), float(page.max())) for page in found] == [(1, 1), (0, 0), (0, 0), (1, 1), (1, 1)]


def test_a_matrix_between_whose_rows_others_lie_is_left() -> None:
    found = ones(6)
    _give_back(found.view(2, -1)[:, : 2 * found.shape[1]])
    assert bool(found.all())
