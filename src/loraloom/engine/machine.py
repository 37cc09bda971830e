"""What this machine is and how fast it multiplies: facts from the system, rates by measurement.

Facts take milliseconds. Rates take about 0.1 s a type where both are fast, once in a process and size, and are the only
measurement that the choice of type, the estimates of time and the share of the peak are built on. One square product
was rejected as the measure: for some shapes torch uses a single thread, so that one shape can be off by a factor of two
from what a layer reaches. Limits of a cgroup (a container's) are read since neither the system's totals nor torch
respect all of them.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from torch.nn import functional

from loraloom.errors import LoraloomError

Dtype = Literal["fp32", "bf16"]

ROOT = Path("/")
"""Where /proc and /sys are."""

_INSTRUCTIONS = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_bf16": "avx512_bf16",
    "amx_bf16": "amx_bf16",
    "asimd": "neon",
    "sve": "sve",
    "bf16": "bf16",
}
"""Instructions that decide how fast products are: the kernel's name for each, and ours."""

_SECONDS = 0.1
"""Time given to a type's measurement; whole passes over the layer's products, so it may take somewhat more."""
_SLOW_SECONDS = 0.5
"""Where the first pass took this long, there is no second."""
_TOKENS, _FEW_TOKENS = 1024, 128
_DOUBTFUL, _DOUBTS = 1.5, 2
"""A processor with bf16 that looks no faster in it than this was measured in a busy moment: it is measured again."""
_SLOW_RATE = 20e9
"""FLOP/s under which products have few tokens: a type that the processor only emulates would take seconds."""
_GPU_REPEATS = 20
"""Products between two clock readings on a GPU: a single one is shorter than its launch."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first of the GPUs that torch sees; memory in 10^9 bytes."""

    name: str
    count: int
    memory_gb: float
    memory_free_gb: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may use. Cores respect affinity and the cgroup's quota; memory is in 10^9 bytes."""

    cpu: str
    architecture: str
    instructions: tuple[str, ...]
    physical_cores: int
    logical_cores: int
    cpu_quota_cores: float | None
    """The cgroup's share of processor time, in cores; None where there is no limit."""
    memory_total_gb: float


@dataclass(frozen=True, slots=True)
class LayerSize:
    """The widths that an encoder layer's products have."""

    name: str
    hidden: int
    intermediate: int

    @property
    def products(self) -> tuple[tuple[int, int], ...]:
        """(D_in, D_out) of query, key and value as one, the attention's output, and the two of the MLP."""
        wide, narrow = self.intermediate, self.hidden
        return ((narrow, 3 * narrow), (narrow, narrow), (wide, narrow), (narrow, wide))


BASE = LayerSize("base", hidden=768, intermediate=3072)
DEMO = LayerSize("demo", hidden=384, intermediate=1536)


@dataclass(frozen=True, slots=True)
class GemmRates:
    """FLOPs per second of an encoder layer's products, as measured: over one whole layer, and the best product's."""

    fp32: float
    bf16: float
    fp32_best: float
    bf16_best: float
    one_thread: bool = False
    """The rates are those of one thread, since other programs took the cores and all threads together were slower."""

    @property
    def ratio(self) -> float:
        """How many times as fast a layer is in bf16."""
        return self.bf16 / self.fp32


def device() -> torch.device:
    """The device that trains.

    Raises:
        LoraloomError: it is a GPU for which this torch was not built.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    _check_gpu()
    return torch.device("cuda")


@functools.cache
def _check_gpu() -> None:
    if torch.version.cuda and not _built_for(torch.cuda.get_device_capability(), torch.cuda.get_arch_list()):
        major, minor = torch.cuda.get_device_capability()
        raise LoraloomError(
            f"this torch has no kernels for {torch.cuda.get_device_name()} (sm_{major}{minor}); install one that has, "
            "or set CUDA_VISIBLE_DEVICES= to train on the processor"
        )


def _built_for(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Whether one of torch's builds (`sm_86`, `compute_90`) runs on a GPU.

    Binaries run within their generation, from their number on; PTX on all that come later. True where torch does not
    say what it was built for.
    """
    major, minor = capability
    found = [(kind, int(digits)) for kind, digits in re.findall(r"(sm|compute)_(\d+)", " ".join(built))]
    return not found or any(
        number // 10 == major and number % 10 <= minor if kind == "sm" else number <= 10 * major + minor
        for kind, number in found
    )


def measure(size: LayerSize = BASE) -> GemmRates:
    """Rates of both types on the device that trains; measured once in a process for each size."""
    return _measured(size.hidden, size.intermediate)


def gemm_peak(dtype: Dtype) -> float:
    """FLOP/s of the best product of a base-size layer: what a share of the machine's peak is a share of."""
    rates = measure()
    return rates.bf16_best if dtype == "bf16" else rates.fp32_best


@functools.cache
def read_machine(root: Path = ROOT) -> Machine:
    """The facts that stay while a process runs; `root` holds /proc and /sys."""
    cpuinfo = _fields(root / "proc/cpuinfo")
    physical, logical = _cores(root)
    quota = _cpu_quota(root)
    usable = logical if quota is None else min(logical, max(1, math.ceil(quota)))
    return Machine(
        cpu=cpuinfo.get("model name") or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        instructions=_instructions(cpuinfo, platform.machine()),
        physical_cores=min(physical, usable),
        logical_cores=usable,
        cpu_quota_cores=quota,
        memory_total_gb=_total_memory(root) / 1e9,
    )


def available_memory_gb(root: Path = ROOT) -> float | None:
    """Memory that could be taken now, in 10^9 bytes: the system's or what the cgroup leaves, whichever is less.

    None where the system does not say. Files that a cgroup caches and can drop count as available, as the system's do.
    """
    free = _meminfo(root).get("MemAvailable")
    if free is None:
        return None
    left = (limit - used for limit, used in _memory_limits(root))
    return max(0, min((free, *left))) / 1e9


def free_disk_gb(folder: Path) -> float | None:
    """Free space for files in `folder`, which need not be there yet, in 10^9 bytes; None where it can't be told."""
    for place in (folder, *folder.absolute().parents):
        try:
            return shutil.disk_usage(place).free / 1e9
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def read_gpu() -> Gpu | None:
    """The GPU that trains, or None."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return Gpu(torch.cuda.get_device_name(), torch.cuda.device_count(), total / 1e9, free / 1e9)


@functools.cache
def _measured(hidden: int, intermediate: int) -> GemmRates:
    products = LayerSize("", hidden, intermediate).products
    found = _both(products)
    for _ in range(_DOUBTS):
        if found.ratio > _DOUBTFUL or not any("bf16" in name for name in read_machine().instructions):
            break
        found = max(found, _both(products), key=lambda rates: rates.ratio)
    return found


def _both(products: tuple[tuple[int, int], ...]) -> GemmRates:
    fp32, bf16 = (_rates(dtype, products) for dtype in (torch.float32, torch.bfloat16))
    return GemmRates(fp32.layer, bf16.layer, fp32.best, bf16.best, fp32.one_thread or bf16.one_thread)


@dataclass(frozen=True, slots=True)
class _Rates:
    """One type's FLOP/s."""

    layer: float
    best: float
    one_thread: bool


def _rates(dtype: torch.dtype, products: tuple[tuple[int, int], ...]) -> _Rates:
    """FLOP/s over the layer and of its best product, each product by its fastest run.

    Where other programs take a core, threads wait for each other at every product, for longer than a quick product
    takes, and both types look alike. There a single thread is the faster one, and the rate is that of single threads.
    """
    probe = _Product(dtype, _FEW_TOKENS, *products[1])
    probe.seconds()  # torch prepares each type on its first use
    tokens = _TOKENS if probe.flops / probe.seconds() > _SLOW_RATE else _FEW_TOKENS
    layer = [_Product(dtype, tokens, *product) for product in products]
    work = [product.flops for product in layer]
    fastest, crowded = _fastest(layer), False
    if device().type == "cpu" and torch.get_num_threads() > 1:
        with _one_thread():
            crowded = probe.flops / min(probe.seconds() for _ in range(3)) > sum(work) / sum(fastest)
            if crowded:
                fastest = list(map(min, fastest, _fastest(layer)))
    best = max(flops / seconds for flops, seconds in zip(work, fastest, strict=True))
    return _Rates(sum(work) / sum(fastest), best, crowded)


def _fastest(layer: list[_Product]) -> list[float]:
    """Seconds of each product's fastest run.

    Passes go round the layer, so that what disturbs one moment does not fall on one product alone.
    """
    fastest = [math.inf] * len(layer)
    start = time.perf_counter()
    for passes in itertools.count(1):
        fastest = [min(best, product.seconds()) for best, product in zip(fastest, layer, strict=True)]
        spent = time.perf_counter() - start
        if spent > _SLOW_SECONDS or (spent > _SECONDS and passes > 1):
            break
    return fastest


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Product:
    """(N, D_in) × (D_in, D_out) as a linear layer has it, ready to be timed."""

    def __init__(self, dtype: torch.dtype, tokens: int, d_in: int, d_out: int) -> None:
        self.flops = 2 * tokens * d_in * d_out
        self._place = device()
        self._repeats = _GPU_REPEATS if self._place.type == "cuda" else 1
        self._input = self._filled(dtype, tokens, d_in)
        self._weight = self._filled(dtype, d_out, d_in)
        self._bias = self._filled(dtype, 1, d_out)[0]

    def _filled(self, dtype: torch.dtype, rows: int, columns: int) -> torch.Tensor:
        """Values that differ, without taking any from the global random generator, which seeds are set for."""
        return torch.linspace(-1, 1, rows * columns, device=self._place).view(rows, columns).to(dtype)

    def seconds(self) -> float:
        self._wait()
        start = time.perf_counter()
        for _ in range(self._repeats):
            functional.linear(self._input, self._weight, self._bias)  # (N, D_out)
        self._wait()
        return (time.perf_counter() - start) / self._repeats

    def _wait(self) -> None:
        if self._place.type == "cuda":
            torch.cuda.synchronize()


def _instructions(cpuinfo: dict[str, str], architecture: str) -> tuple[str, ...]:
    """Those that matter, by /proc/cpuinfo; elsewhere by what the architecture always has."""
    said = cpuinfo.get("flags") or cpuinfo.get("Features")
    if said is None:
        return ("neon",) if architecture in ("arm64", "aarch64") else ()
    have = set(said.split())
    return tuple(ours for theirs, ours in _INSTRUCTIONS.items() if theirs in have)


def _cores(root: Path) -> tuple[int, int]:
    """(physical, logical) that the process may run on; where threads of a core can't be told apart, both are alike."""
    if not hasattr(os, "sched_getaffinity"):  # macOS
        count = os.cpu_count() or 1
        return count, count
    allowed = os.sched_getaffinity(0)
    topology = root / "sys/devices/system/cpu"
    siblings = {_text(topology / f"cpu{cpu}/topology/thread_siblings_list") for cpu in allowed}
    return len(allowed) if None in siblings else len(siblings), len(allowed)


def _cpu_quota(root: Path) -> float | None:
    """Cores' worth of time by the strictest group; None where no group limits it."""
    quotas = []
    for group in _groups(root, "cpu"):
        match (_text(group / "cpu.max") or "").split():  # version 2: "150000 100000", or "max 100000"
            case [quota, period] if quota != "max":
                quotas.append(int(quota) / int(period))
        old, period_us = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if old is not None and period_us and old > 0:  # version 1: -1 is no limit
            quotas.append(old / period_us)
    return min(quotas, default=None)


def _total_memory(root: Path) -> int:
    """Bytes: the machine's, or the strictest group's."""
    total = _meminfo(root).get("MemTotal") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min((total, *(limit for limit, _ in _memory_limits(root))))


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes of every group that has a limit; used leaves out cached files that can be dropped."""
    for group in _groups(root, "memory"):
        for limit_name, used_name, cached_name in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _number(group / limit_name), _number(group / used_name)
            if limit is not None:
                stat = (_text(group / "memory.stat") or "").splitlines()
                cached = next((int(line.split()[1]) for line in stat if line.startswith(f"{cached_name} ")), 0)
                yield limit, max(0, (used or 0) - cached)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's control groups, its own first and then each that holds it, of both versions.

    A container may see its own group as the root while /proc/self/cgroup names it from outside: folders that are not
    there are passed over by those who read from them.
    """
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            mounts = {"", "unified"}
        elif controller in controllers.split(","):
            mounts = {controllers, controller}
        else:
            continue
        inside = PurePosixPath(path.lstrip("/"))
        for mount in mounts:
            for group in (inside, *inside.parents):
                if ".." not in group.parts:
                    yield root / "sys/fs/cgroup" / mount / group


def _meminfo(root: Path) -> dict[str, int]:
    """/proc/meminfo in bytes; empty where there is none."""
    return {name: 1024 * int(said.split()[0]) for name, said in _fields(root / "proc/meminfo").items()}


def _fields(path: Path) -> dict[str, str]:
    """`name : value` lines up to the first empty one (/proc/cpuinfo repeats itself for each core)."""
    first = (_text(path) or "").split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    """None for a file that is not there or says `max`."""
    text = _text(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None
