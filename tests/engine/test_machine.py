"""Facts of a machine from files that stand for /proc and /sys, and what the measurement promises."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from loraloom.engine import machine
from loraloom.engine.machine import LayerSize

GB = 10**9
MEMINFO = f"MemTotal: {64 * GB // 1024} kB\nMemAvailable: {48 * GB // 1024} kB\n"
OWN = "sys/fs/cgroup/box/job"

Files = dict[str, str]
Root = Callable[[Files], Path]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """Writes files below a folder that stands for /."""

    def write(files: Files) -> Path:
        for name, text in ({"proc/meminfo": MEMINFO} | files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda cores: monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))


@pytest.mark.parametrize(
    ("cpuinfo", "architecture", "instructions"),
    [
        (
            "processor : 0\nflags : fpu amx_bf16 avx2 avx512f\n\nprocessor : 1\nflags : fpu\n",
            "x86_64",
            "avx2 avx512f amx_bf16",
        ),
        ("processor : 0\nFeatures : fp asimd sve bf16\n", "aarch64", "neon sve bf16"),
        ("processor : 0\nflags : fpu sse2 avx2x\n", "x86_64", ""),
        ("", "x86_64", ""),
        ("", "arm64", "neon"),
    ],
)
def test_instructions_are_those_that_matter_for_products(
    root: Root, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, architecture: str, instructions: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: architecture)
    assert machine.read_machine(root({"proc/cpuinfo": cpuinfo})).instructions == tuple(instructions.split())


def test_the_processor_is_named_by_cpuinfo_or_by_its_architecture(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert machine.read_machine(root({}) / "empty").cpu == platform.machine()
    assert machine.read_machine(root({"proc/cpuinfo": "model name\t: A: fast one\n"})).cpu == "A: fast one"


def test_threads_of_one_core_are_one_physical_core(root: Root, allow: Callable[[int], None]) -> None:
    allow(4)
    topology = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    read = machine.read_machine(root({topology.format(cpu): f"{cpu % 3},{cpu % 3 + 3}" for cpu in range(6)}))
    assert (read.physical_cores, read.logical_cores, read.cpu_quota_cores) == (3, 4, None)


def test_without_topology_every_logical_core_counts_as_physical(root: Root, allow: Callable[[int], None]) -> None:
    allow(5)
    read = machine.read_machine(root({}))
    assert (read.physical_cores, read.logical_cores) == (5, 5)


@pytest.mark.parametrize(
    ("files", "quota", "cores"),
    [
        ({"proc/self/cgroup": "0::/box/job\n", f"{OWN}/cpu.max": "150000 100000\n"}, 1.5, 2),
        ({"proc/self/cgroup": "0::/box/job\n", f"{OWN}/cpu.max": "max 100000\n"}, None, 8),
        (
            {
                "proc/self/cgroup": "0::/box/job\n",
                f"{OWN}/cpu.max": "600000 100000\n",
                "sys/fs/cgroup/box/cpu.max": "300000 100000\n",
            },
            3,
            3,
        ),
        ({"proc/self/cgroup": "0::/seen/from/outside\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5, 1),
        ({"proc/self/cgroup": "0::/../sibling\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2, 2),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/a:b\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/a:b/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/a:b/cpu.cfs_period_us": "100000\n",
            },
            4,
            4,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
            8,
        ),
        ({}, None, 8),
    ],
    ids=["own", "no limit", "parent is stricter", "container", "moved", "version 1", "version 1 without limit", "none"],
)
def test_cores_respect_the_strictest_quota_of_processor_time(
    root: Root, allow: Callable[[int], None], files: Files, quota: float | None, cores: int
) -> None:
    allow(8)
    read = machine.read_machine(root(files))
    assert (read.cpu_quota_cores, read.logical_cores, read.physical_cores) == (quota, cores, cores)


def test_memory_is_the_machines_where_no_group_limits_it(root: Root) -> None:
    place = root({"proc/self/cgroup": "0::/box/job\n", f"{OWN}/memory.max": "max\n"})
    assert machine.read_machine(place).memory_total_gb == pytest.approx(64, abs=0.01)
    assert machine.available_memory_gb(place) == pytest.approx(48, abs=0.01)


@pytest.mark.parametrize(
    "files",
    [
        {
            "proc/self/cgroup": "0::/box/job\n",
            "sys/fs/cgroup/box/memory.max": str(8 * GB),
            "sys/fs/cgroup/box/memory.current": str(5 * GB),
            "sys/fs/cgroup/box/memory.stat": f"anon {3 * GB}\ninactive_file {2 * GB}\n",
        },
        {
            "proc/self/cgroup": "2:memory:/box\n0::/\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": str(8 * GB),
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": str(5 * GB),
            "sys/fs/cgroup/memory/box/memory.stat": f"inactive_file 0\ntotal_inactive_file {2 * GB}\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096),
        },
    ],
    ids=["version 2", "version 1"],
)
def test_memory_respects_a_groups_limit_and_counts_droppable_files_as_available(root: Root, files: Files) -> None:
    place = root(files)
    assert machine.read_machine(place).memory_total_gb == 8
    assert machine.available_memory_gb(place) == 5


def test_a_group_over_its_limit_has_nothing_available(root: Root) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "10", "sys/fs/cgroup/memory.current": "20"}
    assert machine.available_memory_gb(root(files)) == 0


def test_without_proc_memory_is_asked_of_the_system_and_what_is_available_is_not_known(tmp_path: Path) -> None:
    assert machine.read_machine(tmp_path).memory_total_gb > 0
    assert machine.available_memory_gb(tmp_path) is None


def test_free_disk_is_that_of_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    assert machine.free_disk_gb(tmp_path / "not" / "yet") == pytest.approx(machine.free_disk_gb(tmp_path), rel=0.1)


def test_this_machine_can_be_read() -> None:
    read = machine.read_machine()
    assert 1 <= read.physical_cores <= read.logical_cores
    assert 0 < (machine.available_memory_gb() or 0) <= read.memory_total_gb


def test_the_layer_is_no_faster_than_its_best_product() -> None:
    rates = machine.measure(LayerSize("tiny", hidden=32, intermediate=64))
    assert 0 < rates.fp32 <= rates.fp32_best
    assert 0 < rates.bf16 <= rates.bf16_best


def test_a_size_is_measured_once_and_the_peak_is_of_the_same_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {torch.float32: machine._Rates(1, 2, False), torch.bfloat16: machine._Rates(3, 4, True)}
    measured = []

    def fake(dtype: torch.dtype, products: tuple[tuple[int, int], ...]) -> machine._Rates:
        measured.append((dtype, products))
        return rates[dtype]

    monkeypatch.setattr(machine, "_rates", fake)
    machine._measured.cache_clear()
    try:
        base = LayerSize("the same by another name", machine.BASE.hidden, machine.BASE.intermediate)
        assert machine.measure() == machine.measure(base) == machine.GemmRates(1, 3, 2, 4, one_thread=True)
        assert (machine.gemm_peak("fp32"), machine.gemm_peak("bf16")) == (2, 4)
        assert [dtype for dtype, _ in measured] == [torch.float32, torch.bfloat16]
        assert measured[0][1] == ((768, 2304), (768, 768), (3072, 768), (768, 3072))
    finally:
        machine._measured.cache_clear()


class FakeProduct:
    """Takes the seconds that `rate` (FLOP/s) says for the threads that torch has now; remembers how it was made."""

    made: ClassVar[list[int]] = []
    rate: ClassVar[Callable[[int], float]]

    def __init__(self, dtype: torch.dtype, tokens: int, d_in: int, d_out: int) -> None:
        self.flops = 2 * tokens * d_in * d_out
        self.made.append(tokens)

    def seconds(self) -> float:
        return self.flops / type(self).rate(torch.get_num_threads())


def measured_as(monkeypatch: pytest.MonkeyPatch, rate: Callable[[int], float], threads: int = 1) -> machine._Rates:
    """What the measurement makes of a machine whose products have this rate at a number of threads."""
    current = [threads]
    monkeypatch.setattr(torch, "get_num_threads", lambda: current[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: current.__setitem__(0, count))
    monkeypatch.setattr(machine, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(machine, "_SECONDS", 0)
    monkeypatch.setattr(FakeProduct, "made", [])
    monkeypatch.setattr(FakeProduct, "rate", staticmethod(rate), raising=False)
    monkeypatch.setattr(machine, "_Product", FakeProduct)
    rates = machine._rates(torch.float32, machine.DEMO.products)
    assert current == [threads]
    return rates


@pytest.mark.parametrize(("faster", "tokens"), [(1.1, machine._TOKENS), (0.9, machine._FEW_TOKENS)])
def test_a_type_that_is_only_emulated_is_measured_on_few_tokens(
    monkeypatch: pytest.MonkeyPatch, faster: float, tokens: int
) -> None:
    rate = faster * machine._SLOW_RATE
    rates = measured_as(monkeypatch, lambda _: rate)
    assert FakeProduct.made[1:] == [tokens] * len(machine.DEMO.products)
    assert (rates.layer, rates.best) == pytest.approx((rate, rate))


@pytest.mark.parametrize(("together", "alone"), [(8e11, 1e11), (1e10, 1e11)])
def test_where_threads_wait_for_other_programs_the_rate_is_that_of_one(
    monkeypatch: pytest.MonkeyPatch, together: float, alone: float
) -> None:
    rates = measured_as(monkeypatch, lambda threads: alone if threads == 1 else together, threads=8)
    assert (rates.layer, rates.best) == pytest.approx((max(together, alone),) * 2)
    assert rates.one_thread == (alone > together)


def test_measuring_takes_nothing_from_the_random_generator_that_seeds_are_set_for() -> None:
    before = torch.random.get_rng_state()
    machine._rates(torch.float32, LayerSize("tiny", hidden=16, intermediate=32).products)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((8, 6), ["sm_80", "sm_90"], True),
        ((7, 0), ["sm_75", "sm_80"], False),
        ((7, 0), ["sm_50", "sm_70"], True),
        ((9, 0), ["sm_80", "compute_80"], True),
        ((12, 0), ["sm_90", "sm_120a"], True),
        ((8, 0), ["compute_90"], False),
        ((6, 1), [], True),
    ],
)
def test_a_gpu_is_one_that_torch_was_built_for(capability: tuple[int, int], built: list[str], runs: bool) -> None:
    assert machine._built_for(capability, built) is runs


@pytest.mark.parametrize(
    ("instructions", "ratios", "asked", "ratio"),
    [
        (("avx2", "amx_bf16"), (1.0, 5.0), 2, 5.0),
        (("avx2", "amx_bf16"), (1.1, 1.2, 1.0, 9.0), 3, 1.2),
        (("avx2", "amx_bf16"), (4.0,), 1, 4.0),
        (("avx2",), (1.0, 5.0), 1, 1.0),
    ],
)
def test_a_processor_with_bf16_that_looks_slow_in_it_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, instructions: tuple[str, ...], ratios: tuple[float, ...], asked: int, ratio: float
) -> None:
    coming = iter(ratios)
    times: list[float] = []

    def both(products: object) -> machine.GemmRates:
        times.append(next(coming))
        return machine.GemmRates(1.0, times[-1], 1.0, times[-1])

    facts = replace(machine.read_machine(), instructions=instructions)
    monkeypatch.setattr(machine, "_both", both)
    monkeypatch.setattr(machine, "read_machine", lambda: facts)
    assert machine._measured.__wrapped__(768, 3072).ratio == ratio
    assert len(times) == asked
