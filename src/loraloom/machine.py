"""What this machine is: cores, memory, GPUs, instructions and disk, as far as this process may use them.

Limits of a cgroup (a container's) are read since neither the system's totals nor torch respect all of them.
"""

from __future__ import annotations

import functools
import math
import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOT = Path("/")
"""Where /proc and /sys are."""
BUSY_SHARE = 0.25
"""Load average, as a share of the machine's cores, from which other programs are taken to need them."""
MOST_WAITED = 0.1
"""Of the time of a measurement: where it waited longer for a core, others had it, and it says little of the machine."""
THREADS = "OMP_NUM_THREADS", "MKL_NUM_THREADS"
"""Environment variables by which torch is told how many threads to take; the second goes before the first."""

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


def with_home(path: str | Path) -> Path:
    """The path with the home folder in place of a first `~`; as it is where it names a user that there is not."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises RuntimeError for such a name


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
    gpus: tuple[str, ...]
    """What NVIDIA's driver calls the machine's, each name once; empty where CUDA is to see none."""


@functools.cache
def read_machine(root: Path = ROOT) -> Machine:
    """The facts that stay while a process runs; `root` holds /proc and /sys."""
    cpuinfo = _fields(root / "proc/cpuinfo")
    physical, logical = _cores(root)
    quota = _cpu_quota(root)
    return Machine(
        cpu=_processor(cpuinfo),
        architecture=platform.machine(),
        instructions=_instructions(cpuinfo, platform.machine()),
        physical_cores=_within_quota(physical, quota),
        logical_cores=_within_quota(logical, quota),
        cpu_quota_cores=quota,
        memory_total_gb=_total_memory(root) / 1e9,
        gpus=_gpus(root),
    )


def quota_threads(root: Path = ROOT) -> int | None:
    """Threads that a quota of processor time has cores for, where those are fewer than there are; None elsewhere.

    Torch asks for no quota: it would take a thread for each core of a machine of which a container has two.
    """
    quota, (physical, logical) = _cpu_quota(root), _cores(root)
    return _within_quota(physical, quota) if quota is not None and quota < logical else None


def available_memory_gb(root: Path = ROOT) -> float | None:
    """Memory that could be taken now, in 10^9 bytes: the system's or what the cgroup leaves, whichever is less.

    None where the system does not say. Files that a cgroup caches and can drop count as available, as the system's do.
    """
    free = _meminfo(root).get("MemAvailable")
    if free is None:
        return None
    left = (limit - used for limit, used in _memory_limits(root))
    return max(0, min((free, *left))) / 1e9


def load_average() -> float | None:
    """Processes that ran or waited for a core in the last minute, on the whole machine; None where it does not say."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def is_busy(load: float | None) -> bool:
    """Whether other programs are taken to need the cores, by a load average from before work of our own began.

    It counts the processes of the whole machine, so that it is a share of all cores, not of those of this process.
    """
    return load is not None and load > BUSY_SHARE * (os.cpu_count() or 1)


class CoreSeconds(NamedTuple):
    """Seconds that a process's first thread has had a core, and waited for one that others had."""

    had: float
    waited: float


UNKNOWN_CORE_SECONDS = CoreSeconds(math.inf, 0.0)
"""Where the system does not say, or they are of more than what is asked for."""


def core_seconds(root: Path = ROOT) -> CoreSeconds:
    """Those of this process by now.

    Not those in which it slept, waited for a disk, or was stopped (SIGSTOP, Ctrl-Z, SLURM's suspend).
    """
    had, waited, *_ = (*(_text(root / "proc/self/schedstat") or "").split(), "", "")
    if not (had.isdecimal() and waited.isdecimal() and int(had) + int(waited)):
        return UNKNOWN_CORE_SECONDS
    return CoreSeconds(int(had) / 1e9, int(waited) / 1e9)


def crowding(seconds: float = 0.2) -> float:
    """Times as long as it has a core that a thread of this process takes for its work now: 1 where no other needs it.

    Seen by one that does nothing for so many `seconds`.
    """
    begun, had = time.monotonic(), time.thread_time()
    while (passed := time.monotonic() - begun) < seconds:
        pass
    return max(1.0, passed / max(time.thread_time() - had, 1e-3))


def waited_seconds(root: Path = ROOT) -> float:
    """Seconds that this thread has waited for a core that others had; 0 where the system does not say."""
    _, waited, *_ = (*(_text(root / "proc/thread-self/schedstat") or "").split(), "", "")
    return int(waited) / 1e9 if waited.isdecimal() else 0.0


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


def _processor(cpuinfo: dict[str, str]) -> str:
    """What the system calls it; a name without a number, as virtual machines have it, with the family and model."""
    name = cpuinfo.get("model name") or platform.processor() or platform.machine()
    family, model = cpuinfo.get("cpu family"), cpuinfo.get("model")
    if family is None or model is None or any(map(str.isdigit, name)):
        return name
    return f"{name} (family {family}, model {model})"


def _gpus(root: Path) -> tuple[str, ...]:
    """Names of NVIDIA's GPUs by files alone: asking CUDA would take one into use. Empty where CUDA is to see none."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return ()
    about = map(_fields, root.glob("proc/driver/nvidia/gpus/*/information"))
    return tuple(sorted({name for fields in about if (name := fields.get("Model"))}))


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


def _within_quota(cores: int, quota: float | None) -> int:
    """Of so many cores those that a quota of processor time leaves, a part of one counted as one."""
    return cores if quota is None else min(cores, max(1, math.ceil(quota)))


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
