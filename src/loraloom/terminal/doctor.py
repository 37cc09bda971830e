"""What doctor found, for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loraloom.execute.doctor import Diagnosis
from loraloom.terminal.console import make_table, say


def print_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """The machine, its rates, and what will be used; then what could be better."""
    facts = make_table("machine", "")
    for name, value in _facts(diagnosis):
        facts.add_row(name, escape(value))
    console.print(facts)
    console.print()
    console.print(_rates(diagnosis))
    say(console, "under a type: all products of an encoder layer together; best: the fastest one of them")
    console.print()
    choices = make_table("used here" if diagnosis.model is None else f"used for {escape(diagnosis.model)}", "", "why")
    for name, value, reason in _choices(diagnosis):
        choices.add_row(name, f"[bold]{escape(value)}[/bold]", escape(reason))
    console.print(choices)
    for note in diagnosis.notes:
        say(console, f"note: {note}")


def _facts(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    machine, gpu = diagnosis.machine, diagnosis.gpu
    quota = "" if machine.cpu_quota_cores is None else f", of which a quota gives {machine.cpu_quota_cores:g}"
    yield "processor", f"{machine.cpu}, {machine.architecture}"
    yield "instructions", ", ".join(machine.instructions) or "none of those that matter"
    yield "cores", f"{machine.physical_cores} physical, {machine.logical_cores} logical{quota}"
    free = diagnosis.memory_available_gb
    yield "memory", f"{machine.memory_total_gb:.1f} GB" + ("" if free is None else f", {free:.1f} GB available")
    disk = diagnosis.disk_free_gb
    yield "disk", f"{'unknown' if disk is None else f'{disk:.1f} GB'} free for {diagnosis.cache_folder}"
    more = "" if gpu is None or gpu.count == 1 else f"; the first of {gpu.count}"
    yield (
        "GPU",
        "none" if gpu is None else f"{gpu.name}, {gpu.memory_gb:.1f} GB, {gpu.memory_free_gb:.1f} GB free{more}",
    )


def _rates(diagnosis: Diagnosis) -> Table:
    table, has_fp16 = make_table("products, GFLOP/s"), any(rates.fp16 for _, rates in diagnosis.rates)
    for name in ("fp32", "best", "bf16", "best", "bf16 / fp32", *(("fp16", "best") if has_fp16 else ())):
        table.add_column(name, justify="right")
    for size, rates in diagnosis.rates:
        figures = [f"{figure / 1e9:,.0f}" for figure in (rates.fp32, rates.fp32_best, rates.bf16, rates.bf16_best)]
        figures.append(f"{rates.ratio:.1f} ×")
        if has_fp16:
            figures += [f"{rates.fp16 / 1e9:,.0f}", f"{rates.fp16_best / 1e9:,.0f}"]
        size_name = f"{escape(size.name)}, a layer of {size.hidden} × {size.intermediate}"
        table.add_row(size_name, *figures)
    return table


def _choices(diagnosis: Diagnosis) -> Iterator[tuple[str, str, str]]:
    yield "dtype", diagnosis.dtype.value, diagnosis.dtype.reason
    yield "engine", diagnosis.engine.value, diagnosis.engine.reason
    yield "compiled kernels", "yes" if diagnosis.kernels.value else "no", diagnosis.kernels.reason
    yield "threads", str(diagnosis.threads.value), diagnosis.threads.reason
    yield "trials in a pack", str(diagnosis.trials_per_pack.value), diagnosis.trials_per_pack.reason
