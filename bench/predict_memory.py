"""Memory of `loraloom predict` over files of growing size: `python -m bench.predict_memory [--sizes 10000,1000000]`.

Texts are AG News' test rows over and over, with an id; the model is tiny (two layers of width 64), since what is asked
is whether memory grows with the file. Each command is a process of its own, from a compressed CSV to a compressed CSV,
and from Parquet to Parquet in one row group, and its peak of resident memory is the kernel's. Takes half an hour.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

from bench.agnews import need_agnews
from bench.cases import Work
from bench.measure import RESULTS, ROOT, Task, environment, run
from loraloom.study.durable import write_json
from study.agnews_files import agnews_rows
from study.machine import described
from study.surroundings import own_cache

RESULT = RESULTS / "predict_memory.json"
SIZES = (10_000, 100_000, 1_000_000)
LIMIT_MB = 1_500
KINDS = (("rows.csv.gz", "out.csv.gz"), ("rows.parquet", "out.parquet"))


@dataclass(frozen=True, slots=True)
class Line:
    """One command: its rows, seconds, and peak of resident memory in 10^6 bytes."""

    source: str
    rows: int
    input_mb: float
    seconds: float
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.predict_memory", description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="rows of the files")
    parser.add_argument("--out", type=Path, default=RESULT, help="where the result is written")
    given = parser.parse_args()
    need_agnews(parser)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run(Task("prepare", Work("base", (16, 64), tiny=True, depth=2), folder, rows=64))
        own_cache(folder, folder / "kernels")
        for rows in map(int, given.sizes.split(",")):
            for source, out in KINDS:
                write_rows(folder / source, rows)
                lines.append(measure(folder, source, out, rows))
                print(json.dumps(asdict(lines[-1])), flush=True)
    result = {"machine": described(), "limit_mb": LIMIT_MB, "lines": [asdict(line) for line in lines]}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.out, result)
    if worst := [line for line in lines if line.peak_mb > LIMIT_MB]:
        sys.exit(f"{worst[0].rows:,} rows of {worst[0].source} took {worst[0].peak_mb:,.0f} MB, over {LIMIT_MB:,}")


def write_rows(path: Path, count: int) -> None:
    """The file, written by and by."""
    if path.suffix == ".parquet":
        _write_parquet(path, count)
        return
    with gzip.open(path, "wb", 1) as packed, io.TextIOWrapper(packed, encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows(_rows(count))


def _write_parquet(path: Path, count: int) -> None:
    """In a process of its own, so that the memory of a row group that is written is not counted here."""
    code = (
        "import sys, pyarrow as pa, pyarrow.parquet as pq\n"
        "from bench.predict_memory import _rows\n"
        "ids, texts = zip(*_rows(int(sys.argv[2])))\n"
        "pq.write_table(pa.table({'id': ids, 'text': texts}), sys.argv[1], row_group_size=len(ids))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(count)], cwd=ROOT, check=True)


def _rows(count: int) -> Iterator[tuple[str, str]]:
    texts = [text for text, _ in agnews_rows("test.csv")]
    return ((f"{number:07d}", text) for number, text in enumerate(islice(cycle(texts), count)))


def measure(folder: Path, source: str, out: str, rows: int) -> Line:
    """Runs the command and reads what it took.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "loraloom", "predict", str(folder / "adapter")]
    command += ["--file", str(folder / source), "--out", str(folder / out)]
    start = time.monotonic()
    around = environment(folder / "cache", TOKENIZERS_PARALLELISM="true")
    with subprocess.Popen(command, cwd=ROOT, env=around) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"predicting {source} ended with {process.returncode}")
    size = (folder / source).stat().st_size
    return Line(source, rows, size / 1e6, time.monotonic() - start, used.ru_maxrss * 1024 / 1e6)


if __name__ == "__main__":
    main()
