"""When a trial is evaluated, and which errors are of memory."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
import torch

from loraloom.engine.progress import evaluation_steps, is_out_of_memory
from loraloom.recipe import Train


@pytest.mark.parametrize("epochs", [0.5, 1, 1.5, 2, 3, 10])
@pytest.mark.parametrize("kind", ["constant", "cyclic", "reduce_lr_on_plateau"])
@pytest.mark.parametrize("when", ["auto", "end"])
def test_there_are_as_many_evaluations_as_are_planned_for(epochs: float, kind: Any, when: Any) -> None:
    train = Train(num_train_epochs=epochs, lr_scheduler_type=kind, eval_strategy=when)
    steps = evaluation_steps(train, 1000)
    assert len(steps) == train.evaluations
    assert max(steps) == 1000


def test_at_the_end_alone_where_the_schedule_does_not_follow_the_loss() -> None:
    assert evaluation_steps(Train(num_train_epochs=3, eval_strategy="end"), 1000) == {1000}
    following = Train(lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="end")
    assert following.evaluations == Train(lr_scheduler_type="reduce_lr_on_plateau").evaluations


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("x"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (ImportError("/lib/_isfinite.so: failed to map segment from shared object"), True),  # as under ulimit -v
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (MemoryError(), True),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
    ],
)
def test_memory_that_did_not_suffice_is_told_from_other_errors(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one
