"""Facts of a machine from files that stand for /proc and /sys."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from loraloom import machine
from loraloom.machine import with_home

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


@pytest.mark.parametrize(("load", "busy"), [(None, False), (2.0, False), (2.1, True)])
def test_a_machine_is_busy_by_its_load_as_a_share_of_all_its_cores(
    monkeypatch: pytest.MonkeyPatch, allow: Callable[[int], None], load: float | None, busy: bool
) -> None:
    allow(2)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert machine.is_busy(load) == busy


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


def test_a_processor_whose_name_has_no_number_is_told_by_family_and_model(root: Root) -> None:
    numbers = "cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: {}\n"
    found = machine.read_machine(root({"proc/cpuinfo": numbers.format("AMD EPYC")}))
    assert found.cpu == "AMD EPYC (family 26, model 2)"
    machine.read_machine.cache_clear()
    assert machine.read_machine(root({"proc/cpuinfo": numbers.format("AMD EPYC 9B45")})).cpu == "AMD EPYC 9B45"


@pytest.mark.parametrize(("visible", "gpus"), [(None, ("Tesla T4",)), ("1", ("Tesla T4",)), ("", ()), ("-1", ())])
def test_gpus_are_named_as_nvidias_driver_does_where_cuda_is_to_see_any(
    root: Root, monkeypatch: pytest.MonkeyPatch, visible: str | None, gpus: tuple[str, ...]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    about = "Model: \t\t Tesla T4\nIRQ:   \t\t 33\nGPU UUID: \t GPU-1a: b\nDevice Minor: \t 0\n"
    place = root({f"proc/driver/nvidia/gpus/0000:0{bus}:00.0/information": about for bus in (1, 2)})
    assert machine.read_machine(place).gpus == gpus


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


@pytest.mark.parametrize(("quota", "threads"), [(None, None), (0.5, 1), (1.2, 2), (3, 3), (5, 4), (8, None), (9, None)])
def test_threads_are_told_where_a_quota_gives_fewer_cores_than_there_are(
    root: Root, allow: Callable[[int], None], quota: float | None, threads: int | None
) -> None:
    """Of eight on four cores."""
    allow(8)
    siblings = {
        f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)
    }
    limit = "max" if quota is None else f"{quota * 100_000:.0f}"
    group = {"proc/self/cgroup": "0::/box/job\n", f"{OWN}/cpu.max": f"{limit} 100000\n"}
    assert machine.quota_threads(root(siblings | group)) == threads


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


def test_a_first_sign_stands_for_the_home_folder_where_there_is_such_a_one() -> None:
    assert with_home("~/rows.csv") == Path.home() / "rows.csv"
    assert with_home("~no-such-user-here.csv") == Path("~no-such-user-here.csv")
    assert with_home("runs/~a") == Path("runs/~a")


@pytest.mark.parametrize(
    ("files", "seconds"),
    [
        ({"proc/self/schedstat": "2500000000 1500000000 42\n"}, (2.5, 1.5)),
        ({"proc/self/schedstat": "0 0 0\n"}, (math.inf, 0)),
        ({}, (math.inf, 0)),
    ],
)
def test_what_a_process_had_of_cores_is_the_kernel_s_word(
    root: Root, files: Files, seconds: tuple[float, float]
) -> None:
    assert machine.core_seconds(root(files)) == seconds


@pytest.mark.parametrize(("had", "times"), [(0.2, 1.0), (0.3, 1.0), (0.05, 4.0), (0.0, 200.0)])
def test_how_crowded_the_cores_are_is_seen_by_a_thread_that_does_nothing(
    had: float, times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, own = iter([5.0, 5.1, 5.2]), iter([1.0, 1.0 + had])
    monkeypatch.setattr(machine, "time", SimpleNamespace(monotonic=wall.__next__, thread_time=own.__next__))
    assert machine.crowding() == pytest.approx(times)


@pytest.mark.parametrize(
    ("files", "seconds"), [({"proc/thread-self/schedstat": "2500000000 1500000000 42\n"}, 1.5), ({}, 0.0)]
)
def test_how_long_a_thread_waited_for_a_core_is_the_kernel_s_word(root: Root, files: Files, seconds: float) -> None:
    assert machine.waited_seconds(root(files)) == seconds
