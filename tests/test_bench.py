"""The benches: an overrun fails, requests that met no answer are counted, machines are not mixed, the page says it."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import pickle
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import comparison, deadlines, engines, grid, predict, scale, scale_page, serve
from bench.comparison import Comparison, machine_folder, refuse_other_machine
from bench.deadlines import Search
from bench.http_load import CONNECTIONS, Load, free_port, open_loop, serving
from bench.measure import RESULTS
from bench.page import PAGE, page
from bench.serve import texts_of
from loraloom.errors import DataError
from loraloom.study.durable import write_json
from study.machine import described
from tests.pages import text_of


@pytest.mark.parametrize(("seconds", "code"), [(19.5, 0), (20.5, 1)])
def test_a_search_that_is_late_fails_the_bench_and_is_on_the_page(
    seconds: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Load:
        def __init__(self, **_: Any) -> None: ...
        def start(self) -> None: ...
        def terminate(self) -> None: ...

    def searched(number: int, deadline: float) -> Search:
        return Search(deadline, seconds, 0, 7 + number, 1, 500, 0.6 * deadline, 0.9, "")

    monkeypatch.setattr(deadlines, "FOLDER", tmp_path / "runs")
    monkeypatch.setattr(deadlines, "RESULTS", tmp_path)
    monkeypatch.setattr(deadlines, "run", searched)
    monkeypatch.setattr(multiprocessing, "Process", Load)
    monkeypatch.setattr(sys, "argv", ["deadlines", "--searches", "1"])
    assert deadlines.main() == code
    kept = json.loads((machine_folder(tmp_path) / "deadlines.json").read_text(encoding="utf-8"))
    assert kept["machine"]["machine"] == described()["machine"]
    text = page(tmp_path)
    assert f"| 20 | {seconds} | 0 | 7 | 60% |" in text
    assert f"{code} overrun{'s' * (code == 0)} in 1 search; 60% of the time on average, 60% of all of it." in text
    write_json(machine_folder(tmp_path) / "deadlines.json", kept | {"refused": 3})
    assert "in 1 search; 3 refused, since the time suffices for no trial; by the others 60% of" in page(tmp_path)
    broken = replace(searched(0, 20.0), code=2, trials=0)
    refused = replace(broken, said="loraloom: the time does not suffice for one trial: …")
    assert (refused.refused, refused.failed) == (True, False)
    assert (broken.refused, broken.failed) == (False, True)
    assert not searched(0, 20.0).refused
    assert not searched(0, 20.0).failed


def test_what_is_published_is_what_the_results_say() -> None:
    assert page(RESULTS) == PAGE.read_text(encoding="utf-8"), "python -m bench.page writes it"


def test_the_page_begins_with_the_ratios_and_the_processor_of_most_cases_stands_first() -> None:
    _, short, *machines = re.split(r"^## (?:In short|On .*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in short.splitlines() if line.startswith("| ")
    ]
    (_, *cases), *places = (line for line in lines if not line[0].startswith("---"))
    measured = [
        dict(re.findall(r"^### (\w+):[^#]*?\(fastest\)[^\n]* ([\d.]+ ×)", machine, re.MULTILINE))
        for machine in machines
    ]
    assert [len(one) for one in measured] == sorted(map(len, measured), reverse=True)
    assert [place[1:] for place in places] == [[one.get(case, "") for case in cases] for one in measured]


def test_the_docs_say_between_which_ratios_training_is_as_fast_as_the_fastest_trainer() -> None:
    times: dict[bool, list[float]] = {True: [], False: []}
    for path in (RESULTS / "engines").glob("*/*.json"):
        others = deadlines.NAME, predict.NAME
        if path.name not in others and (found := Comparison.read(path)).measure != "evaluation":
            (line,) = (line for line in found.lines if line.peer.endswith("(fastest)"))
            assert line.loom_is_times is not None
            times[found.work["bf16"]].append(line.loom_is_times)
    bf16, fp32 = (f"{min(times[kind]):.1f} to {max(times[kind]):.1f} times" for kind in (True, False))
    for name, sentence in {
        "README.md": f"In bf16 on a CPU it trains {bf16} as fast as the fastest tuned Trainer, in fp32 {fp32}:",
        "docs/engine.md": f"{bf16} the fastest tuned HF Trainer in bf16 on a CPU, {fp32} in fp32",
        "docs/cpu.md": f"loom is {fp32} as quick as a tuned HF Trainer",
    }.items():
        assert sentence in text_of(name), name


def test_the_docs_say_what_more_clients_and_litserve_have() -> None:
    found = json.loads(serve.RESULT.read_text(encoding="utf-8"))
    text = text_of("docs/serve.md")
    many, other = (one[f"{serve.CLIENTS}_clients"]["per_second"] for one in (found, found["litserve"]))
    assert f"{serve.CLIENTS} clients have {found['throughput_ratio']:.1f} times the texts a second of one there" in text
    assert f"and {found['budget']['most_ratio']:.1f} times is all that any server could have" in text
    assert round(many / other) == 7
    assert "LitServe, with transformers and PEFT, has a seventh of that" in text


def test_a_comparison_is_not_written_beside_those_of_other_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = machine_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "demo.json").write_text(json.dumps({"machine": described()}), encoding="utf-8")
    refuse_other_machine(tmp_path)
    here = described()
    another = here | {"machine": here["machine"] | {"instructions": ["another"]}}
    monkeypatch.setattr(comparison, "described", lambda: another)
    with pytest.raises(DataError, match="with different instructions"):
        refuse_other_machine(tmp_path)


@pytest.mark.parametrize("command", [engines, grid], ids=["engines", "grid"])
def test_without_ag_news_nothing_is_measured(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LORALOOM_AGNEWS", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["bench"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert f"{tmp_path / 'train.csv'}: is missing; set LORALOOM_AGNEWS" in capsys.readouterr().err
    assert len(texts_of(3)) == 3  # servers can do without


def test_what_serving_costs_is_written_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dict.fromkeys(("throughput_ratio", "p99_ratio", "memory_ratio", "grown_ratio"), 1.0)
    monkeypatch.setattr(serve, "measure", lambda *_: found)
    monkeypatch.setattr(sys, "argv", ["serve", "--out", str(tmp_path / "new" / "serve.json")])
    serve.main()
    assert json.loads((tmp_path / "new" / "serve.json").read_text(encoding="utf-8")) == found


def test_a_grid_is_compared_with_the_table_beside_which_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "need_agnews", lambda _: None)
    monkeypatch.setattr(grid, "FOLDER", tmp_path / "runs")
    monkeypatch.setattr(sys, "argv", ["grid", "--out", str(tmp_path / "new")])
    with pytest.raises(SystemExit, match=r"new/grid\.json: is missing; make the table by --whole"):
        grid.main()
    write_json(tmp_path / "new" / "grid.json", {"rows": 7})
    with pytest.raises(SystemExit, match="the table is of 7 rows"):
        grid.main()


def test_what_serving_costs_is_on_the_page(tmp_path: Path) -> None:
    lone, full = (Load((0.002,) * count, (), 10.0).as_json() for count in (50, 450))
    over = Load((0.02,) * 900, (0.06,) * 100, 10.0, {"IncompleteReadError, kept connection": 1}, unsent=2).as_json()
    names = "model_alone_us", "model_of_32_us", "tokenizer_us", "server_us", "client_us", "lone_us", "least_of_32_us"
    found = {"machine": described(), "model": "demo", "seconds": 10.0, "lone": lone, "32_clients": full}
    found |= {"each_its_adapter": full, "half_load": full, "litserve": {"lone": lone, "32_clients": lone}}
    found |= {"overload": {**over, "memory_before_mb": 700.0, "memory_after_mb": 710.0}}
    found |= {"memory_1_adapter_mb": 600.0, "memory_100_adapters_mb": 660.0, "memory_ratio": 1.1}
    found |= {"soak_seconds": 600.0, "grown_ratio": 1.014}
    found |= {"throughput_ratio": 9.0, "p99_ratio": 3.1, "budget": dict.fromkeys(names, 100.0) | {"most_ratio": 12.34}}
    (tmp_path / "serve.json").write_text(json.dumps(found), encoding="utf-8")
    text = page(tmp_path)
    assert "with 100 adapters of random weights over `demo`" in text
    assert "| texts a second, 32 clients by one | 9.00 × | ≥ 8 × | met |" in text
    assert "| p99 at half of that rate, by a lone request's | 3.10 × | < 3 × | missed |" in text
    assert "| p99 of a refusal, at twice that rate | 60.0 ms | < 50 ms | missed |" in text
    assert "| at twice that rate | 90.0 | 20.0 | 20.0 | 900 | 100 | 1 | 2 |" in text
    assert "`python -m bench.serve --soak 600`" in text
    assert "| memory after that load, by before | 1.014 × | < 1.05 × | met |" in text
    assert "32 clients can gain 12.3 × over one at most" in text
    assert "**broken** requests lost their connection before an answer" in text
    (tmp_path / "serve.json").write_text(json.dumps(found | {"litserve": "not installed"}), encoding="utf-8")
    assert "LitServe: not installed." in page(tmp_path)


def test_the_figures_of_many_workers_stand_between_their_marks() -> None:
    part = {"calls": 8, "first_ms": 1.25, "last_ms": 2.5}
    case = {"pruner": "none", "ledger": "as it is", "trials": 8, "reports": 80, "seconds": 4.0}
    case |= {"reports_per_second": 1234.0, "parts": dict.fromkeys(("report", "start", "end"), part)}
    slow = case | {"pruner": "halving", "reports_per_second": 120.0}
    row = {"workers": 1000, "trial_seconds": 60.0, "share_of_ideal": 0.5, "driver_busy": 1.0}
    found: dict[str, Any] = {"machine": described(), "load_average": 0.3, "workers": 2, "measured": [case, slow, case]}
    found |= {"limits_with_pruner": {"60": 8.4}}
    found |= {"wanted_reports_per_second": 200, "reports_per_trial": 10, "simulated": [row], "limits": {"60": 64.4}}
    found |= {"failures": {"mean_seconds_between": 21600.0, "lost_seconds": 10.0, "begin_seconds": 30.0}}
    marked = f"before\n{scale_page.BEGIN}\nold figures\n{scale_page.END}\nafter\n"
    text = scale_page.replaced(marked, "\n".join(scale_page.section(found)))
    assert text.startswith("before\n")
    assert text.endswith(f"{scale_page.END}\nafter\n")
    assert "old figures" not in text
    assert "| none | as it is | 2.5 | 1,234 |" in text
    assert "| 1,000 | 50% (100%) |" in text
    assert "200 reports a second are the goal: met without a pruner, missed with halving." in text
    assert "64 for trials of 60 s;\nwith a pruner that hears each report 8 for trials of 60 s." in text
    with pytest.raises(DataError, match="each of these lines once"):
        scale_page.replaced("a page without marks", "")


def test_a_server_is_ended_with_what_it_started(tmp_path: Path) -> None:
    code = """
import socket, subprocess, sys
child = subprocess.Popen(["sleep", "60"])
open(sys.argv[2], "w").write(str(child.pid))
socket.create_server(("127.0.0.1", int(sys.argv[1]))).accept()
socket.create_server(("127.0.0.1", 0)).accept()
"""
    port, noted = free_port(), tmp_path / "pid"
    with serving([sys.executable, "-c", code, str(port), str(noted)], port):
        child = Path("/proc") / noted.read_text()
        assert child.exists()
    for _ in range(50):
        if not child.exists() or child.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("it goes on")


def test_requests_without_a_connection_or_an_answer_are_counted() -> None:
    closed = asyncio.run(open_loop(free_port(), lambda _: b"", per_second=200, seconds=0.2))
    assert closed.broken > 0
    assert closed.as_json()["broken"] == closed.broken
    assert closed.as_json()["breaks"] == {"ConnectionRefusedError, new connection": closed.broken}

    async def silent() -> int:
        """All connections wait for an answer; when they have for half a second, the server closes them."""
        done = asyncio.Event()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await done.wait()
            writer.close()

        def ask(number: int) -> bytes:
            if number == CONNECTIONS - 1:
                asyncio.get_running_loop().call_later(0.5, done.set)
            return b""

        server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=CONNECTIONS)
        load = await open_loop(server.sockets[0].getsockname()[1], ask, per_second=4 * CONNECTIONS, seconds=1.0)
        server.close()
        assert not load.answered
        return load.unsent

    assert asyncio.run(silent()) > 0


def test_an_answer_that_a_kept_connection_does_not_bring_is_told_from_one_of_a_new_connection() -> None:
    async def closing() -> Load:
        """A server that answers the first request of a connection, and closes it at the second."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await reader.read(1)
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        async with server:
            return await open_loop(server.sockets[0].getsockname()[1], lambda _: b"x", per_second=100, seconds=0.5)

    load = asyncio.run(closing())
    assert load.answered
    assert set(load.breaks) == {"IncompleteReadError, kept connection"}
    assert load.as_json()["broken"] == load.breaks["IncompleteReadError, kept connection"] > 0


def test_what_litserve_serves_can_be_handed_to_a_process() -> None:
    pytest.importorskip("litserve")
    from bench.litserve import Api

    assert pickle.loads(pickle.dumps(Api("folder"))).adapter == "folder"  # noqa: S301


@pytest.mark.parametrize("rows", [64, 320])
def test_hf_trainers_batches_are_of_like_length_however_few_the_rows_are(rows: int) -> None:
    from bench.peers import LikeLength

    lengths = np.random.default_rng(rows).permutation(rows).tolist()
    found = [lengths[row] for row in LikeLength(16, lengths=lengths)]
    assert found == sorted(lengths, reverse=True)


def test_the_driver_is_measured_with_workers_that_do_nothing(tmp_path: Path) -> None:
    scale.main(["--quick", "--workers", "1", "--out", str(tmp_path / "scale.json")])
    found = json.loads((tmp_path / "scale.json").read_text(encoding="utf-8"))
    for case in found["measured"]:
        asked = case["parts"]["report, of which the ledger"]["calls"]
        assert case["parts"]["report"]["calls"] == case["reports"] > 0
        assert (asked > 0) == (case["pruner"] != "none")
    assert found["limits_with_pruner"]["60"] < found["limits"]["60"]
    assert "reports a second are the goal" in "\n".join(scale_page.section(found))
