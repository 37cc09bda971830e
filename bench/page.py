"""Makes docs/performance.md of the results: `python -m bench.page`. No number on that page is typed by hand.

Here are its introduction and what is said of adapters in use and of reports; the other sections are in
`page_engines.py` and `page_searches.py`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.cases import CASES, MEGA_BATCH
from bench.comparison import Comparison, met
from bench.measure import RESULTS, ROOT
from bench.page_engines import accuracy, in_short, machine_section
from bench.page_searches import deadlines, grid, ledger
from bench.serve import CLIENTS
from loraloom.report.markdown.text import figures

PAGE = ROOT / "docs" / "performance.md"
_INTRODUCTION = """\
# Performance

<!-- Made by `python -m bench.page` of bench/results/; its text is in bench/page.py. Don't edit it here. -->

How fast loraloom trains beside HF Trainer + PEFT, on the same rows, with the same parameters trained, side by side in
one run. `make bench` repeats it on your machine (but for the grid and the deadlines, which are `python -m bench.grid`
and `python -m bench.deadlines`) and writes this page anew; `python -m bench.engines base` measures one case
(`{names}`), and `--quick` shows in a few minutes that everything runs.

{short}## How it was measured

- **Each measurement is a process of its own**, so that its peak memory is its own and nothing is left in a cache
  (but for loraloom's compiled kernels, which a machine makes once). Peers take turns, in an order that is turned round
  each round. After the first round loraloom and the fastest of HF's tuned ways go on, and HF Trainer as it comes where
  a goal is against it; the others have one sample. Times are the best over the rounds, memory is the median. The
  processor alone is used, with as many threads as it has cores.
- **Examples per second are those of additional rows**: training takes *t*₁ with *n*₁ rows and *t*₂ with *n*₂, and the
  rate is (*n*₂ − *n*₁) / (*t*₂ − *t*₁), so that start-up does not count. "process, s" and "peak, MiB" are of the whole
  process with *n*₂ rows, imports and tokenizing included.
- **HF Trainer + PEFT as it comes**: fp32, random order, `DataCollatorWithPadding`, LoRA of rank 4 on PEFT's default
  layers, their biases and the head trained too, AdamW without decay, rate 1e-3, one epoch; no evaluation, nothing
  saved.
- **The same, tuned** with what a good user would do: bf16 autocast, batches of rows of like length
  (`train_sampling_strategy: group_by_length`; its sampler is told to sort among {mega} batches, as it does by itself
  where rows are many; of the few here it would sort among a quarter), eager or SDPA attention, the frozen weights in
  fp32 or in bf16 (what is trained stays in fp32), rows in memory. All combinations are measured; goals are against the
  fastest.
- **loraloom**: jobs as `loraloom search` makes them, by its engine. Its time holds the loading of weights, its
  evaluations (of 16 rows) and the saving of the adapter; HF's time is `Trainer.train` alone. In fp32 it multiplies by
  oneDNN on a processor with AVX-512 that is not Intel's, where torch by itself asks MKL, which does not use it there.
- **top3** times whole trainings, the first epoch and all that it fills for later ones included; of 8 trials, with
  seeds and rates of their own, the time of one is an eighth. **eval** times the way from texts to logits, tokenizing
  included, in batches of 64 rows of like length (HF's, tuned, are sorted before); of HF's ways, those with bf16 weights
  merge the adapter before.
- **The base model** has roberta-base's size and random weights, which cost what trained ones cost; its tokenizer is
  that of the demo encoder, since roberta's own is not to be had offline. Rows are the first of AG News, which doesn't
  come along: `LORALOOM_AGNEWS` names a folder of its train.csv and test.csv, with the columns `text` and `label`.
- **Share of the peak**: operations that training takes without shortcuts, over the fastest matrix product that the
  machine was seen to do in the same run (the model's own layers with 1,024 tokens, and squares of 1,024 and 2,048, in
  each layout, in the dtype of the case). Operations are 2 P a token forward and 2 P for the gradients of layers'
  inputs, P being the parameters of the encoder's linear layers, counted for all real tokens and all layers. Attention
  itself, and padding, are not counted as work.
- **Ratios depend on the processor.** One with a matrix unit (AMX) computes products so fast that all else decides,
  which favours loraloom in ratios and costs it in shares of the peak; one without is busy with products under any
  engine, and where a peer reaches 70 % of the peak nothing can be twice as fast as it. Virtual machines name their
  processor loosely: of "AMD EPYC" without a family no more is known. **fp32** is for processors without bf16, such as
  Intel's Xeon at 2.5 GHz and AMD's EPYC of family 25, model 1, here; they measured it with loraloom's kernels for fp32,
  the others when it still computed in plain torch.
"""
_REPORT = """\
## The report of a search of 10,000 trials

Synthetic trials over {axes} axes, four evaluations each; of ten trials one is a second seed: `python -m bench.report`.
Measured {date} on {processor}, {cores} cores{others}.
**report** is `loraloom report` without the start of Python, imports included; **page** and **folder** are what it
writes. The rest is chromium with the page from its file: until it can be used, to sort the leaderboard, to filter it
(from 500 rows on, 120 ms of which wait for more typing), to turn it over, and the median and longest frame while the
page is scrolled from end to end.
"""

_PREDICT = """\
## From texts to labels, on {processor}

An adapter in use, tokenising included, on the first rows of AG News' test set, beside what would be used in its place:
`python -m bench.predict`. Each is a process of its own, they take turns, and the best time counts. Measured {date} on
{processor}, {threads} threads. {models} "same labels" is the share of
rows that get loraloom's label. loraloom computes in the number type that its adapter was trained in: bf16, where the
machine is faster in it.
"""
_PREDICTED_BY = {
    "demo": "The demo's adapter was trained on 2,000 rows.",
    "base": "The base-size model has random weights, so that its accuracy says nothing.",
}
_MEMORY = """\
## Memory of files of any size

`loraloom predict` over files of growing size, with a tiny model: `python -m bench.predict_memory`. Measured {date} on
{processor}, cores: {cores}, which others may have used: what is asked is memory. Parquet is one row group. The limit is
{limit:,} MB.
"""
_SERVE = """\
## Serving

`loraloom serve` with {adapters} adapters of random weights over `{model}`, asked by a client on the same machine, which
shares its processor: `python -m bench.serve --soak {soak:g}`. Measured {date} on {processor}, {cores} cores; each load
lasts {seconds:g} s, the one above what can be served {soak:g} s. The adapters' weights are bf16, in which loraloom
computes where the machine is fast in it; LitServe has transformers + PEFT compute in fp32, as they load a model.
**refused** requests were answered 503, **broken** requests lost their connection before an answer, and those **not
sent** were due while all of the client's connections were taken.
"""
_SERVE_BUDGET = """\
{clients} clients can gain {most:.1f} × over one at most on this processor, whoever serves: the model takes {alone:,.0f}
µs for a text alone and {together:,.0f} for each of {clients} together, the tokenizer {tokenizer:,.0f}, HTTP and JSON
{server:,.0f}, the client {client:,.0f}; a lone request takes {lone:,.0f} µs, and with all cores at work a text takes
{least:,.0f} at least.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results (bench/results)")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page (docs/performance.md)")
    given = parser.parse_args()
    given.out.write_text(page(given.results), encoding="utf-8")


def page(results: Path) -> str:
    """The page, from the results that are there."""
    sections: tuple[tuple[str, Callable[[dict[str, Any]], Iterator[str]]], ...] = (
        ("accuracy.json", accuracy),
        ("grid_search.json", partial(grid, results / "grid.json")),
        ("**/deadlines.json", deadlines),
        ("ledger.json", ledger),
        ("**/predict.json", _predict),
        ("predict_memory.json", _predict_memory),
        ("serve.json", _serve),
        ("report.json", _report),
    )
    machines = _machines(results / "engines")
    names = "`, `".join(case.name for case in CASES)
    parts = [_INTRODUCTION.format(names=names, mega=MEGA_BATCH, short=in_short(machines))]
    parts += ["\n".join(machine_section(found)) + "\n" for found in machines]
    for pattern, section in sections:
        for path in sorted(results.glob(pattern)):
            parts += ["\n".join(section(json.loads(path.read_text(encoding="utf-8")))) + "\n"]
    return "\n".join(parts)


def _machines(folder: Path) -> list[list[Comparison]]:
    """The cases of each machine; those of most cases first."""
    places = sorted(path for path in folder.glob("*") if path.is_dir())
    each = [[path for case in CASES if (path := place / f"{case.name}.json").is_file()] for place in places]
    found = [[Comparison.read(path) for path in paths] for paths in each if paths]
    return sorted(found, key=lambda comparisons: -len(comparisons))


def _predict(found: dict[str, Any]) -> Iterator[str]:
    """From texts to labels, by loraloom and in other ways (`bench/predict.py`)."""
    machine = found["machine"]
    measured = {line["model"] for line in found["lines"]}
    models = " ".join(said for model, said in _PREDICTED_BY.items() if model in measured)
    date, threads = machine["started"][:10], found["threads"]
    yield _PREDICT.format(date=date, threads=threads, models=models, **machine["machine"])
    header = ("model", "by", "rows", "rows/s", "peak, MiB", "accuracy", "same labels", "loraloom is", "goal", "")
    rows: list[tuple[str, ...]] = []
    for line in found["lines"]:
        goal = line["goal"]
        rows.append(
            (
                line["model"],
                line["words"],
                f"{line['rows']:,}",
                f"{line['rows_per_second']:#,.3g}".rstrip("."),
                f"{line['peak_mb']:,.0f}",
                f"{line['accuracy']:.3f}" if line["model"] == "demo" else "",
                f"{line['same_labels']:.1%}",
                "" if goal is None else f"{line['times']:.2f} ×",
                "" if goal is None else f"≥ {goal:g}",
                "" if goal is None else met(line["times"] >= goal),
            )
        )
    yield figures(header, rows)


def _predict_memory(found: dict[str, Any]) -> Iterator[str]:
    """What files of growing size take (`bench/predict_memory.py`)."""
    machine = found["machine"]
    yield _MEMORY.format(date=machine["started"][:10], limit=found["limit_mb"], **machine["machine"])
    yield figures(
        ("input", "rows", "input, MB", "s", "peak, MB"),
        [
            (
                line["source"],
                f"{line['rows']:,}",
                f"{line['input_mb']:,.1f}",
                f"{line['seconds']:,.0f}",
                f"{line['peak_mb']:,.0f}",
            )
            for line in found["lines"]
        ],
    )


def _serve(found: dict[str, Any]) -> Iterator[str]:
    """What serving costs, and what more clients and adapters do to it (`bench/serve.py`)."""
    machine, full = found["machine"], f"{CLIENTS}_clients"
    adapters = next(int(one[1]) for name in found if (one := re.fullmatch(r"memory_(\d+)_adapters_mb", name)))
    lasting = {"seconds": found["seconds"], "soak": found["soak_seconds"], "date": machine["started"][:10]}
    yield _SERVE.format(adapters=adapters, model=found["model"], **lasting, **machine["machine"])
    over, refused = found["overload"], found["overload"]["refused_p99_ms"]
    throughput, p99, memory, grown = (found[f"{name}_ratio"] for name in ("throughput", "p99", "memory", "grown"))
    rows: list[tuple[str, ...]] = [
        (f"texts a second, {CLIENTS} clients by one", f"{throughput:.2f} ×", "≥ 8 ×", met(throughput >= 8)),
        ("p99 at half of that rate, by a lone request's", f"{p99:.2f} ×", "< 3 ×", met(p99 < 3)),
        (f"memory with {adapters} adapters, by one's", f"{memory:.2f} ×", "< 2 ×", met(memory < 2)),
        (
            "p99 of a refusal, at twice that rate",
            "none was refused" if refused is None else f"{refused:.1f} ms",
            "< 50 ms",
            "" if refused is None else met(refused < 50),
        ),
        ("memory after that load, by before", f"{grown:.3f} ×", "< 1.05 ×", met(grown < 1.05)),
    ]
    yield figures(("", "reached", "goal", ""), rows)
    yield ""
    loads = [("one client", found["lone"]), (f"{CLIENTS} clients", found[full])]
    loads += [(f"{CLIENTS} clients, each request for another adapter", found["each_its_adapter"])]
    loads += [("at random times, half of that rate", found["half_load"]), ("at twice that rate", over)]
    litserve = found["litserve"]
    if isinstance(litserve, dict):
        loads += [("LitServe, one client", litserve["lone"]), (f"LitServe, {CLIENTS} clients", litserve[full])]
    header = ("load", "texts/s", "p50, ms", "p99, ms", "answered", "refused", "broken", "not sent")
    yield figures(
        header,
        [
            (
                words,
                f"{load['per_second']:,.1f}",
                *(f"{load[name]:,.1f}" for name in ("p50_ms", "p99_ms")),
                *(f"{load[name]:,}" for name in ("answered", "refused", "broken", "unsent")),
            )
            for words, load in loads
        ],
    )
    yield ""
    before, after = (f"{over[f'memory_{when}_mb']:,.0f} MiB" for when in ("before", "after"))
    other = f": {litserve}" if isinstance(litserve, str) else " serves transformers + PEFT in batches"
    yield f"Memory was {before} before the load at twice that rate and {after} after it. LitServe{other}."
    yield ""
    of = found["budget"]
    yield _SERVE_BUDGET.format(
        clients=CLIENTS,
        most=of["most_ratio"],
        alone=of["model_alone_us"],
        together=of["model_of_32_us"],
        tokenizer=of["tokenizer_us"],
        server=of["server_us"],
        client=of["client_us"],
        lone=of["lone_us"],
        least=of["least_of_32_us"],
    ).rstrip()


def _report(found: dict[str, Any]) -> Iterator[str]:
    """What the report of a large search costs (`bench/report.py`)."""
    machine = found["machine"]
    share = found.get("others_share")
    others = "; what others took of them was not counted" if share is None else f", of which others took {share:.0%}"
    about = {"date": machine["started"][:10], "axes": found["axes"], "others": others}
    yield _REPORT.format(**about, **machine["machine"])
    written = ("report, s", "peak, MiB", "page, MB", "folder, MB")
    felt = ("usable, s", "sort, ms", "filter, ms", "turn, ms", "frame, ms", "longest, ms")
    yield figures(
        ("trials", *written, *felt),
        [
            (
                f"{line['trials']:,}",
                f"{line['seconds']:.1f}",
                f"{line['peak_mb']:.0f}",
                f"{line['page_mb']:.2f}",
                f"{line['folder_mb']:.2f}",
                f"{line['usable'] / 1000:.1f}",
                *(f"{line[name]:.0f}" for name in ("sort", "filter", "turn", "frame", "longest_frame")),
            )
            for line in found["lines"]
        ],
    )


if __name__ == "__main__":
    main()
