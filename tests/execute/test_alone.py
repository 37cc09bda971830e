"""Runs of one process take turns, and leave it as they found it."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from transformers import set_seed

from loraloom.calibration import fit_temperature
from loraloom.errors import LoraloomError
from loraloom.execute.alone import alone, left_as_found


def drawn() -> tuple[Any, ...]:
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: S311  # the global ones are meant


def test_generators_and_optunas_level_are_as_before_however_it_ends() -> None:
    set_seed(3)
    expected = drawn()
    verbosity = optuna.logging.get_verbosity()
    set_seed(3)

    def failing() -> None:
        with left_as_found():
            set_seed(42)
            drawn()
            optuna.logging.set_verbosity(optuna.logging.CRITICAL)
            raise ValueError("a trial")

    with pytest.raises(ValueError, match="a trial"):
        failing()
    assert drawn() == expected
    assert optuna.logging.get_verbosity() == verbosity


def test_within_torch_computes_in_fp32_and_with_gradients_wherever_a_run_is_begun() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), left_as_found():
            weight = torch.ones(2, requires_grad=True)
            weight.square().sum().backward()  # type: ignore[no-untyped-call]
            assert weight.dtype == torch.float32
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_within_tensors_lie_on_the_cpu_whatever_torchs_default_device_is() -> None:
    """On a GPU kept states were read into its memory, where numpy has no place, and Trainer's sampler failed."""
    torch.set_default_device("meta")
    try:
        with left_as_found():
            assert torch.ones(2).device.type == "cpu"
        assert torch.ones(2).device.type == "meta"
    finally:
        torch.set_default_device(None)
    with torch.device("meta"), left_as_found():
        assert torch.ones(2).device.type == "cpu"


def test_within_a_probability_may_be_0_though_numpy_is_to_raise_errors() -> None:
    """A search came to its end, and no report, since a temperature is looked for where probabilities underflow."""
    labels, shares = np.array([0, 1]), np.array([[1 - 1e-12, 1e-12], [0.1, 0.9]])
    with np.errstate(all="raise"):
        with left_as_found():
            assert fit_temperature(labels, shares).value > 0
        assert set(np.geterr().values()) == {"raise"}


@pytest.mark.parametrize("enabled", [True, False])
def test_within_autocast_no_run_is_begun(enabled: bool) -> None:
    """By HF Trainer in bf16 it learnt nothing: each step computed with the first one's casts of the weights."""
    within = torch.autocast("cpu", enabled=enabled)
    with within, pytest.raises(LoraloomError, match=r"within torch\.autocast"), left_as_found():
        raise AssertionError("it was begun")
    with left_as_found():
        pass


def test_one_thread_is_within_at_a_time_and_its_time_counts_from_its_turn() -> None:
    begun, goes_on, order = threading.Event(), threading.Event(), []

    def first() -> None:
        with alone():
            begun.set()
            assert goes_on.wait(60)
            order.append("first")

    def second() -> float | None:
        with alone(started=100.0) as started:
            order.append("second")
            return started

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        assert begun.wait(60)
        other = pool.submit(second)
        assert not order
        goes_on.set()
        one.result()
        started = other.result()
    assert order == ["first", "second"]
    assert started is not None
    assert started > 100.0


def test_a_run_within_a_run_does_not_wait_for_itself() -> None:
    with alone(), alone(started=None) as started:
        assert started is None


def interrupted_in_alone(thread: int) -> None:
    """Sends Ctrl-C to a thread once it is in `alone` and has had time to come to the lock.

    To that thread, as the kernel does where a terminal's comes: one to another would wake nobody.
    """
    code: Any = alone.__wrapped__.__code__  # type: ignore[attr-defined]
    while sys._current_frames()[thread].f_code is not code:
        time.sleep(0.001)
    time.sleep(0.1)
    signal.pthread_kill(thread, signal.SIGINT)


def test_ctrl_c_ends_the_waiting() -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def first() -> None:
        with alone():
            begun.set()
            goes_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(first)
        assert begun.wait(60)
        ask = threading.Thread(target=interrupted_in_alone, args=(threading.get_ident(),))
        ask.start()
        try:
            with pytest.raises(KeyboardInterrupt), alone():
                raise AssertionError("it did not wait")
        finally:
            goes_on.set()
            ask.join()
        one.result()
