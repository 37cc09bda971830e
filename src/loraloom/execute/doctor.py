"""What `loraloom doctor` says: what this machine is, what it was measured to do, and what will be used for training.

Takes the time of importing torch and, with a recipe, transformers, and about half a second of measuring; ten seconds
more where the kernels are not compiled yet.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from loraloom import machine
from loraloom.backbone import sources
from loraloom.backbone.anatomy import ARCHITECTURES, anatomy
from loraloom.data import default_cache
from loraloom.engine import device, gemm_rates, precision
from loraloom.engine.device import Gpu
from loraloom.engine.gemm_rates import BASE, DEMO, GemmRates, LayerSize
from loraloom.execute.in_process import choose_engine
from loraloom.machine import Machine
from loraloom.recipe import Configuration, Head, Recipe

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Choice(Generic[Value]):
    """What will be used, and why."""

    value: Value
    reason: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `doctor` prints. `rates` are for the base and the demo size, or for the base size and the recipe's model."""

    model: str | None
    machine: Machine
    memory_available_gb: float | None
    cache_folder: Path
    disk_free_gb: float | None
    gpu: Gpu | None
    rates: tuple[tuple[LayerSize, GemmRates], ...]
    dtype: Choice[str]
    engine: Choice[str]
    kernels: Choice[bool]
    threads: Choice[int]
    trials_per_pack: Choice[int]
    notes: tuple[str, ...]
    """What keeps the machine from what it could do, and the remedy."""

    def as_json(self) -> dict[str, Any]:
        """Keys are stable; units stand in their names (gb: 10^9 bytes, gflop: 10^9 FLOPs)."""
        return {
            "model": self.model,
            "cpu": self.machine.cpu,
            "architecture": self.machine.architecture,
            "instructions": list(self.machine.instructions),
            "physical_cores": self.machine.physical_cores,
            "logical_cores": self.machine.logical_cores,
            "cpu_quota_cores": self.machine.cpu_quota_cores,
            "memory_total_gb": round(self.machine.memory_total_gb, 2),
            "memory_available_gb": _rounded(self.memory_available_gb),
            "cache_folder": str(self.cache_folder),
            "disk_free_gb": _rounded(self.disk_free_gb),
            "gpu": asdict(self.gpu) if self.gpu else None,
            "gemm": [_rates_as_json(size, rates) for size, rates in self.rates],
            "dtype": self.dtype.value,
            "dtype_reason": self.dtype.reason,
            "engine": self.engine.value,
            "engine_reason": self.engine.reason,
            "kernels_in_use": self.kernels.value,
            "kernels_reason": self.kernels.reason,
            "threads": self.threads.value,
            "threads_reason": self.threads.reason,
            "trials_per_pack": self.trials_per_pack.value,
            "trials_per_pack_reason": self.trials_per_pack.reason,
            "notes": list(self.notes),
        }


def diagnose(recipe: Recipe | None = None) -> Diagnosis:
    """Reads and measures the machine, and asks each part what it would choose for `recipe` (its first point).

    Raises:
        LoraloomError: the recipe's model or its engine is not to be had.
    """
    import torch

    load = machine.load_average()  # before our own measurement adds to it
    facts, threads = machine.read_machine(), torch.get_num_threads()
    configuration = recipe.configuration({}) if recipe else Configuration()
    backbone = configuration.backbone
    model = backbone.model if recipe else None
    source = sources.find(backbone.model, backbone.revision) if recipe else None
    config = sources.shape_config(source) if source else sources.known_config(backbone.model)
    sizes = (BASE, _layer_size(model, config) if model else DEMO)
    engine = _engine(recipe)
    train = configuration.train if engine.value != "trainer" else precision.without_fp16(configuration.train)
    dtype: Choice[str] = Choice(*precision.explain_dtype(train))
    by_kernels = kernels(engine.value, dtype.value, config, configuration.head)
    size = next(size for size in reversed(sizes) if size)
    rates = tuple((size, gemm_rates.measure(size)) for size in sizes if size is not None)
    on_cpu = device.device().type == "cpu"
    return Diagnosis(
        model=model,
        machine=facts,
        memory_available_gb=machine.available_memory_gb(),
        cache_folder=default_cache(),
        disk_free_gb=machine.free_disk_gb(default_cache()),
        gpu=device.read_gpu(),
        rates=rates,
        dtype=dtype,
        engine=engine,
        kernels=by_kernels,
        threads=Choice(threads, _threads_reason(threads)),
        trials_per_pack=pack_advice(engine.value, size, dtype.value, by_kernels=by_kernels.value),
        notes=_notes(facts, threads, load, any(each.one_thread for _, each in rates)) if on_cpu else (),
    )


def pack_advice(engine: str, size: LayerSize, dtype: str, *, by_kernels: bool) -> Choice[int]:
    """How many trials are trained together, by measurement at a model's widths."""
    if engine == "trainer":
        return Choice(1, "the trainer engine trains one trial after another")
    from loraloom.engine.loom.packing import measure_pack

    advice = measure_pack(size, precision.DTYPES[dtype], device.device(), by_kernels=by_kernels)
    return Choice(advice.trials, advice.reason)


def kernels(engine: str, dtype: str, config: Any, head: Head) -> Choice[bool]:
    """Whether loom's compiled kernels compute a model in a type, and why or why not; their first use compiles them.

    `config` is the model's configuration (transformers' `PretrainedConfig`).
    """
    found = anatomy(config, head)
    if engine == "trainer" or isinstance(found, str):  # `auto` may have loom for others of the recipe's models
        return Choice(False, "the trainer engine has no use for them")
    from loraloom.engine.loom.kernels import passed_over
    from loraloom.engine.loom.setting import why_plain

    why_not = why_plain(precision.DTYPES[dtype], device.device(), found, config)
    if why_not is not None:
        return Choice(False, why_not)
    said = passed_over()
    return Choice(True, "compiled, and loaded" if said is None else f"compiled, and loaded; {said}")


def _engine(recipe: Recipe | None) -> Choice[str]:
    if recipe is None:
        return Choice("auto", f"loom for {', '.join(ARCHITECTURES)}; trainer for others")
    chosen = choose_engine(recipe)
    return Choice(chosen.engine.name, chosen.reason)


def _layer_size(model: str, config: Any) -> LayerSize | None:
    """The widths of a model's layers; None where they are the base size's."""
    hidden, wide = int(config.hidden_size), sources.intermediate_size(config)
    return None if (hidden, wide) == (BASE.hidden, BASE.intermediate) else LayerSize(model, hidden, wide)


def _threads_reason(threads: int) -> str:
    if threads == machine.quota_threads():
        return "as many as the quota of processor time has cores for"
    said = {name: value for name in machine.THREADS if (value := os.environ.get(name))}
    if not said:
        return "torch's own choice"
    settings = " and ".join(f"{name}={value}" for name, value in said.items())
    taken = [*said.values()][-1] == str(threads)  # MKL gives no more threads than there are cores
    return settings if taken else f"{settings}, of which torch takes {threads}"


def _notes(facts: Machine, threads: int, load: float | None, crowded: bool) -> tuple[str, ...]:
    """What slows down training on a processor, and what to do about it."""
    notes = []
    setting = next((name for name in reversed(machine.THREADS) if os.environ.get(name)), machine.THREADS[0])
    if threads < facts.physical_cores:
        notes.append(
            f"torch uses {threads} of {facts.physical_cores} cores ({_threads_reason(threads)}): "
            f"set {setting}={facts.physical_cores} to train faster"
        )
    elif threads > facts.logical_cores:
        notes.append(
            f"torch uses {threads} threads, but this process may use {facts.logical_cores} cores: "
            f"set {setting}={facts.logical_cores}, since threads that wait for each other are slow"
        )
    if crowded:
        notes.append(
            f"one thread multiplies faster than all {threads} together: other programs take the cores, and training "
            "will be slow until they end"
        )
    elif load is not None and machine.is_busy(load):
        notes.append(
            f"the load average of the last minute is {load:.1f}: where that is other programs, the machine is faster "
            "than measured here"
        )
    return tuple(notes)


def _rates_as_json(size: LayerSize, rates: GemmRates) -> dict[str, Any]:
    return {
        "size": size.name,
        "hidden": size.hidden,
        "intermediate": size.intermediate,
        "fp32_gflop_per_second": round(rates.fp32 / 1e9, 1),
        "fp32_best_gflop_per_second": round(rates.fp32_best / 1e9, 1),
        "bf16_gflop_per_second": round(rates.bf16 / 1e9, 1),
        "bf16_best_gflop_per_second": round(rates.bf16_best / 1e9, 1),
        "bf16_to_fp32_ratio": round(rates.ratio, 2),
        "fp16_gflop_per_second": round(rates.fp16 / 1e9, 1),
        "fp16_best_gflop_per_second": round(rates.fp16_best / 1e9, 1),
    }


def _rounded(gigabytes: float | None) -> float | None:
    return None if gigabytes is None else round(gigabytes, 2)
