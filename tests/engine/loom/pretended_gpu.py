"""A GPU that is pretended: tensors that say they lie on one, and refuse what those of a GPU refuse.

Their values lie in the processor's memory and are computed there, so that all of a training runs. An operation on
tensors of both places raises, and so does numpy's look at one. What the host would wait for is noted. torch's own
code for a GPU is not tried, nor what its kernels compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from loraloom.engine.gemm_rates import GemmRates

PLACE = torch.device("cuda", 0)
_ALLOWED = (Tensor.copy_,)
"""Operations that take tensors of both places."""
_READS = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "unique", "masked_select"}
"""Operations of which the host must know the outcome."""


class _There(Tensor):
    """A tensor on the GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


class _Pinned(Tensor):
    """A tensor in memory from which a GPU copies by itself."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


class PretendedGpu(TorchFunctionMode):
    """Within, `device="cuda"` is understood; `waits` names what the host waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        tensors = list(_tensors([args, kwargs]))
        there = any(isinstance(each, _There) for each in tensors)
        if name == "__get__" and there and (answer := _about(func)) is not None:
            return answer
        if func is Tensor.pin_memory:
            return args[0].clone().as_subclass(_Pinned)
        if func in (Tensor.to, Tensor.cpu):
            return self._moved(name, args, kwargs)
        if there and func in (Tensor.numpy, Tensor.__array__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if there and func not in _ALLOWED and any(each.ndim and not isinstance(each, _There) for each in tensors):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, cuda:0 and cpu")
        if there and (name in _READS or _chosen_by_mask(name, args) or _of_unknown_length(name, kwargs)):
            self.waits.append(name)
        if kwargs.get("device") is not None:
            there = torch.device(kwargs["device"]).type == "cuda"
        if there and "device" in kwargs:
            kwargs["device"] = "cpu"
            if func is torch.tensor:
                self.waits.append(name)
        found = func(*args, **kwargs)
        return _placed(found) if there else found

    def _moved(self, name: str, args: Any, kwargs: Any) -> Any:
        """Of `to` and `cpu`: a copy where the place is another, as a real one is."""
        of, *rest = args
        like = next((each for each in rest if isinstance(each, Tensor)), None)
        places = [each for each in (*rest, kwargs.get("device")) if isinstance(each, torch.device | str)]
        dtypes = [each for each in (*rest, kwargs.get("dtype")) if isinstance(each, torch.dtype)]
        dtype = like.dtype if like is not None else (dtypes or [of.dtype])[0]
        was = is_there(of)
        now = is_there(like) if like is not None else torch.device(places[0]).type == "cuda" if places else was
        now = now and name != "cpu"
        if was != now and not (now and isinstance(of, _Pinned) and kwargs.get("non_blocking")):
            self.waits.append(name)
        plain = of.as_subclass(Tensor)
        found = plain.to(dtype, copy=bool(kwargs.get("copy")) or was != now)
        if found is plain:
            return of
        return _placed(found) if now else found


def is_there(tensor: Tensor) -> bool:
    """Whether a tensor says that it lies on the GPU."""
    return isinstance(tensor, _There)


@contextmanager
def pretended_gpu() -> Iterator[PretendedGpu]:
    """A machine on which torch sees a GPU, of which no rates are measured."""
    seen: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "get_device_name": lambda *_: "a pretended GPU",
        "synchronize": lambda *_: None,
        "is_current_stream_capturing": lambda: False,  # as an optimizer of a build for CUDA asks
    }
    with pytest.MonkeyPatch.context() as patch, PretendedGpu() as gpu:
        for name, answer in seen.items():
            patch.setattr(torch.cuda, name, answer)
        # Of such a build, an optimizer would ask for its stream.
        patch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
        patch.setattr("loraloom.engine.device._check_gpu", lambda: None)
        patch.setattr(
            "loraloom.engine.gemm_rates._measured",
            lambda *_: GemmRates(1e12, 1e12, 1e12, 1e12, fp16=1e12, fp16_best=1e12),
        )
        yield gpu


def _about(func: Any) -> Any:
    """What a tensor of the GPU says of where it is; None where something else is asked."""
    answers = SimpleNamespace(device=PLACE, is_cuda=True, is_cpu=False)
    return getattr(answers, getattr(getattr(func, "__self__", None), "__name__", ""), None)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _placed(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if is_there(value) else value.as_subclass(_There)
    if type(value) in (list, tuple):
        return type(value)(map(_placed, value))
    return value


def _chosen_by_mask(name: str, args: Any) -> bool:
    chosen = args[1] if name in ("__getitem__", "__setitem__") else ()
    return any(each.dtype == torch.bool for each in _tensors(chosen))


def _of_unknown_length(name: str, kwargs: Any) -> bool:
    return name == "repeat_interleave" and "output_size" not in kwargs
