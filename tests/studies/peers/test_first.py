"""The runner keeps a result for each peer, runs none twice and scores answers; the page says what was found."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraloom.errors import DataError
from loraloom.intervals import mcnemar
from loraloom.machine import read_machine
from study import first, sets
from study.agnews_files import AGNEWS
from study.compared import critical_difference, pairs_of, read_results
from study.comparison import PAGE, PAIRS, page_of
from study.first import right_rows, score
from study.peers import PEERS
from study.peers.environments import RECORD
from study.peers.running import Outcome

TRAIN = [(f"words of a kind {number}", "xy"[number % 2]) for number in range(20)]
TEST = [(f"other words {number}", "xxy"[number % 3]) for number in range(30)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Peers always answer class 0; what they were given is kept."""
    made = sets.TextSet("trec", "kind", "About it.", "none", "official", lambda _: (TRAIN, TEST))
    monkeypatch.setitem(sets.SETS, "trec", made)
    tasks: list[dict[str, Any]] = []

    def run(name: str, task: dict[str, Any]) -> Outcome:
        tasks.append(task | {"name": name})
        if name == "logreg":
            return Outcome("stopped", task["seconds"], reason="no answer within 60 s")
        answer = {"predictions": [0] * len(task["test"]), "settings": {"C": 1}, "packages": {}, "peak_mb": 100.0}
        return Outcome("answered", 12.5, answer)

    monkeypatch.setattr(first, "run", run)
    return tasks


def measured(monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> list[dict[str, Any]]:
    arguments = ["--set", "trec", "--seconds", "60", "--peers", "svm,logreg", "--results", str(folder), *more]
    monkeypatch.setattr(sys, "argv", ["first", *arguments])
    first.main()
    return read_results(folder)


def test_a_result_is_scored_here_and_kept(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, answered = measured(monkeypatch, tmp_path)
    assert answered["tests"]["test"]["correct"] == 20
    assert answered["tests"]["test"]["accuracy"] == pytest.approx(2 / 3)
    assert (answered["taken_seconds"], answered["settings"], answered["rows"]) == (12.5, {"C": 1}, 20)
    assert (stopped["state"], stopped["reason"]) == ("stopped", "no answer within 60 s")
    assert set(asked[0]) == {
        "name", "texts", "labels", "classes", "test", "encoder", "seconds", "seed", "threads"
    }  # fmt: skip


def test_what_is_there_is_not_run_again_unless_asked(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, tmp_path)
    measured(monkeypatch, tmp_path)
    assert [task["name"] for task in asked] == ["svm", "logreg"]
    measured(monkeypatch, tmp_path, "--again", "--peers", "svm")
    assert [task["name"] for task in asked] == ["svm", "logreg", "svm"]


def test_other_rows_are_another_result(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, tmp_path)
    results = measured(monkeypatch, tmp_path, "--rows", "10", "--peers", "svm")
    assert sorted(result["rows"] for result in results) == [10, 20, 20]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--peers", "svn"), "--peers svn: is none"),
        (("--encoder", "/some/folder"), "must be demo, or NAME=FOLDER"),
        (("--set", "agnew"), "agnew: is no set of the study"),
    ],
)
def test_a_users_error_is_a_sentence_and_exit_2(
    arguments: tuple[str, ...], said: str, asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with pytest.raises(SystemExit) as ended:
        measured(monkeypatch, tmp_path, *arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_of_all_sets_those_that_cannot_be_had_are_left_out_and_said(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv(AGNEWS, str(tmp_path))
    both = {name: sets.SETS[name] for name in ("agnews", "trec")}
    monkeypatch.setattr(first, "SETS", both)
    results = measured(monkeypatch, tmp_path, "--set", "all")
    assert [result["set"] for result in results] == ["trec", "trec"]
    assert f"left out: {tmp_path / 'train.csv'}: is missing; set LORALOOM_AGNEWS" in capsys.readouterr().err


def test_results_on_other_rows_go_into_a_folder_of_their_own(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    measured(monkeypatch, tmp_path, "--peers", "svm")
    other = replace(sets.SETS["trec"], read=lambda _: (TRAIN[2:], TEST))
    monkeypatch.setitem(sets.SETS, "trec", other)
    with pytest.raises(SystemExit):
        measured(monkeypatch, tmp_path)
    assert "has results of trec on other rows" in capsys.readouterr().err
    assert len(asked) == 1


def test_rows_that_are_right_are_kept_whole() -> None:
    labels, predictions = np.array([0, 1, 1, 0, 1, 1, 1, 0, 1]), np.array([0, 1, 0, 0, 1, 1, 0, 0, 1])
    scored = score(labels, predictions, 2)
    assert right_rows(scored).tolist() == (labels == predictions).tolist()
    with pytest.raises(DataError, match="it was changed"):
        right_rows(scored | {"correct": 8})


def made_up(peer: str, right: int, *, set_name: str = "trec", **changed: Any) -> dict[str, Any]:
    """A result with the first `right` of 200 rows right."""
    labels = np.arange(200) % 2
    predictions = np.where(np.arange(200) < right, labels, 1 - labels)
    machine = {"machine": {"processor": "Processor", "cores": 2, "memory_gb": 25.3}}
    encoder = "demo" if PEERS[peer].encoder else None
    result = {"set": set_name, "peer": peer, "seconds": 1200, "encoder": encoder, "seed": 0, "rows": 500}
    result |= {"asked_rows": None, "data": set_name, "date": "2026-11-26T04:00:00+00:00", "others_share": 0.01}
    result |= {
        "setup": PEERS[peer].setup,
        "state": "answered",
        "taken_seconds": 61.0,
        "peak_mb": 900.0,
        "machine": machine,
    }
    return result | {"tests": {"test": score(labels, predictions, 2)}} | changed


def test_the_page_ranks_by_accuracy_and_tests_against_the_first() -> None:
    results = [made_up("svm", 150), made_up("loraloom", 190), made_up("finetune", 188)]
    page = page_of(results, {})
    table = re.search(r"### trec\n.*?\n\n(.*?)\n\n", page, re.DOTALL)
    assert table is not None
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[1].splitlines()[2:]]
    assert [row[:3] for row in rows] == [
        ["1", "loraloom, default search", "0.9500"],
        ["2", "full fine-tuning, HF Trainer", "0.9400"],
        ["3", "TF-IDF + linear SVM", "0.7500"],
    ]
    assert [row[5] for row in rows] == ["", "0.500", "< 0.001"]
    right = [right_rows(result["tests"]["test"]) for result in results]
    assert mcnemar(right[1], right[2]) == pytest.approx(0.5)  # two rows, both loraloom's
    assert "loraloom − full fine-tuning, HF Trainer: +1.0 pp, p = 0.50." in page


def test_mean_ranks_and_the_worst_case_are_over_all_sets() -> None:
    results = [made_up("svm", 150), made_up("loraloom", 190)]
    results += [made_up("svm", 150, set_name="r8"), made_up("loraloom", 140, set_name="r8")]
    failed = {"state": "failed", "tests": {}, "reason": "no | weights"}
    results += [made_up("probe", 195), made_up("probe", 0, set_name="r8", **failed)]
    earlier = [made_up("finetune", 20, setup=1), made_up("finetune", 20, set_name="r8", setup=1)]
    page = page_of([*results, *earlier], {})
    overview = re.search(r"### All sets\n\n(.*?)\n\n", page, re.DOTALL)
    assert overview is not None
    lines = {line.split("|")[1].strip(): line for line in overview[1].splitlines()[2:]}
    assert "| 0.1000 ‡ | 0.1000 ‡ |   |   |" in lines["full fine-tuning, HF Trainer"]
    assert [cell.strip() for cell in lines["loraloom, default search"].split("|")[2:-1]] == [
        "0.9500", "0.7000", "1.50", "−5.0 pp (r8)"
    ]  # fmt: skip
    baseline = [cell.strip() for cell in lines["TF-IDF + linear SVM"].split("|")[2:-1]]
    assert baseline == ["0.7500", "0.7500", "1.50", ""]
    assert "| no answer |   | no answer |" in lines["logistic regression on frozen embeddings"]
    assert r"failed: no \| weights" in page
    assert page.count(f"- full fine-tuning, HF Trainer: {PEERS['finetune'].earlier}") == 1
    alone = page_of([made_up("loraloom", 190), made_up("loraloom", 190, set_name="r8"), *earlier], {})
    assert "mean rank |" not in alone  # of one tool


def test_how_far_apart_mean_ranks_must_be_is_as_demsar_has_it() -> None:
    """Table 5 (a) there: the quantile that the root of k (k + 1) / 6 N is multiplied by, at 5 %."""
    for tools, quantile in {2: 1.960, 3: 2.343, 5: 2.728, 8: 3.031, 10: 3.164}.items():
        per_root = math.sqrt(tools * (tools + 1) / (6 * 7))
        assert critical_difference(tools, 7) / per_root == pytest.approx(quantile, abs=1e-3)


def test_the_page_says_from_whose_mean_rank_that_of_the_first_is_told() -> None:
    rights = {"loraloom": 190, "finetune": 180, "svm": 150}
    names = list(sets.SETS)[:6]
    results = [made_up(peer, right, set_name=name) for peer, right in rights.items() for name in names]
    said = "mean ranks of 3 tools over 6 sets are told apart where they differ by 1.35 or more. From the first so far: "
    assert page_of(results, {}).count(f"{said}TF-IDF + linear SVM.\n") == 2
    two = page_of([one for one in results if one["set"] in names[:2]], {})
    assert "over 2 sets are told apart where they differ by 2.34 or more. None is so far from the first." in two


def test_a_tool_that_was_not_run_on_all_sets_is_not_ranked_and_not_said_to_have_failed() -> None:
    results = [made_up("svm", 150), made_up("loraloom", 190), made_up("logreg", 195), made_up("fasttext", 199)]
    results += [made_up("svm", 150, set_name="r8"), made_up("loraloom", 140, set_name="r8")]
    page = page_of(results, {})
    overview = re.search(r"### All sets\n\n(.*?)\n\n", page, re.DOTALL)
    assert overview is not None
    lines = {cells[1]: cells[2:-1] for line in overview[1].splitlines()[2:]
             if (cells := [cell.strip() for cell in line.split("|")])}  # fmt: skip
    assert lines["fastText"] == ["0.9950", "not run", "", "+24.5 pp (trec)"]
    assert [cells[2] for cells in lines.values()] == ["1.50", "1.50", "", ""]


def test_a_result_of_an_earlier_set_up_is_marked_and_measured_again(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "full fine-tuning, HF Trainer ‡ |" in page_of([made_up("finetune", 150, setup=1)], {})
    assert "‡" not in page_of([made_up("finetune", 150)], {})
    assert "‡" not in page_of([made_up("probe", 150, setup=1, settings={"rows_embedded": 500})], {})
    long, short = (made_up("finetune", 150, setup=2, settings={"planned_steps": steps}) for steps in (200, 40))
    assert "‡" not in page_of([long], {})
    assert "full fine-tuning, HF Trainer ‡ |" in page_of([short], {})
    svm = replace(PEERS["svm"], setup=1)
    monkeypatch.setitem(PEERS, "svm", svm)
    measured(monkeypatch, tmp_path)
    monkeypatch.setitem(PEERS, "svm", replace(PEERS["svm"], setup=2))
    measured(monkeypatch, tmp_path)
    measured(monkeypatch, tmp_path)
    assert [task["name"] for task in asked] == ["svm", "logreg", "svm"]


def test_machines_of_one_name_with_other_instructions_are_not_mixed(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def of(*instructions: str) -> dict[str, Any]:
        machine = {"processor": "Processor", "cores": 2, "memory_gb": 25.3, "instructions": list(instructions)}
        return {"machine": {"machine": machine}}

    page_of([made_up("svm", 150, **of("avx2")), made_up("loraloom", 150, **of("avx2")), made_up("logreg", 1)], {})
    with pytest.raises(DataError, match=r"with different instructions \(avx2 and avx2, amx_bf16\)"):
        page_of([made_up("svm", 150, **of("avx2")), made_up("loraloom", 150, **of("avx2", "amx_bf16"))], {})
    measured(monkeypatch, tmp_path)
    kept = next(tmp_path.glob("trec-svm-*.json"))
    assert json.loads(kept.read_text())["machine"]["machine"]["instructions"] == list(read_machine().instructions)
    monkeypatch.setattr(first, "described", lambda: json.loads(kept.read_text())["machine"] | _other(kept))
    with pytest.raises(SystemExit):
        measured(monkeypatch, tmp_path, "--rows", "10")
    assert "with different instructions" in capsys.readouterr().err


def _other(kept: Path) -> dict[str, Any]:
    machine = json.loads(kept.read_text())["machine"]["machine"]
    return {"machine": machine | {"instructions": ["another"]}}


def test_every_two_tools_are_tested_against_each_other() -> None:
    table = pairs_of([made_up("svm", 150), made_up("loraloom", 190), made_up("finetune", 188)])
    rows = list(csv.DictReader(table.splitlines()))
    assert [(row["a"], row["b"], row["p_uncorrected"]) for row in rows if "svm" not in (row["a"], row["b"])] == [
        ("loraloom", "finetune", "0.5")
    ]
    raw = [float(row["p_uncorrected"]) for row in rows]
    holm = [float(row["p_holm"]) for row in rows]
    assert [least * 3 for least in raw if least == min(raw)] == pytest.approx([min(holm)], rel=1e-3)  # of three pairs
    assert {row["machine"][:7] for row in rows} == {"2cores-"}


def test_tools_without_an_encoder_stand_beside_each_encoder_and_busy_times_are_marked() -> None:
    results = [made_up("svm", 150, others_share=0.2), made_up("probe", 160), made_up("probe", 170, encoder="mpnet")]
    page = page_of(results, {})
    assert "## 20 min, encoder demo" in page
    assert "## 20 min, encoder mpnet" in page
    assert page.count("| 61* |") == 2


def test_the_page_begins_with_the_ranks_where_most_was_measured_and_that_section_stands_first() -> None:
    def on(processor: str, *peers: str) -> list[dict[str, Any]]:
        machine = {"machine": {"processor": processor, "cores": 2, "memory_gb": 25.3}}
        rights = {"svm": 150, "loraloom": 190, "probe": 160}
        return [
            made_up(peer, rights[peer], set_name=name, machine=machine) for peer in peers for name in ("trec", "r8")
        ]

    page = page_of([*on("A", "loraloom", "svm"), *on("Z (family 7)", "loraloom", "svm", "probe")], {})
    assert re.findall(r"^## 20 min, encoder demo, (.*)", page, re.MULTILINE) == ["Z (family 7)", "A"]
    short = page.partition("## In short")[2].partition("## How it was measured")[0]
    assert (
        "[20 min, encoder demo, Z (family 7)](#20-min-encoder-demo-z-family-7): mean ranks by accuracy on 2 sets"
        in short
    )
    assert [line.split("|")[1:4] for line in short.splitlines() if line.startswith("| ")][2:] == [
        [" loraloom, default search ", " 1.00 ", " +20.0 pp (r8) "],
        [" logistic regression on frozen embeddings ", " 2.00 ", " +5.0 pp (r8) "],
        [" TF-IDF + linear SVM ", " 3.00 ", "   "],
    ]
    assert "## In short" not in page_of(on("A", "loraloom"), {})


def test_results_of_different_rows_are_not_compared() -> None:
    with pytest.raises(DataError, match="trec: results are of different rows"):
        page_of([made_up("svm", 150), made_up("probe", 160, data="other")], {})


def test_a_tool_that_would_not_install_is_named_with_the_reason() -> None:
    made = {"setfit": {"installed": False, "reason": "ERROR: no <matching> version"}}
    page = page_of([], made)
    assert "| not installed: ERROR: no &lt;matching> version | no |" in page


def test_the_commands_of_the_page_measure_every_set_that_is_on_it() -> None:
    short = [made_up(peer, 150, set_name=name, seconds=120) for peer in ("svm", "loraloom") for name in ("r8", "trec")]
    other = made_up("loraloom", 190, encoder="mpnet", asked_rows=300, seed=1)
    commands = re.findall(r"^python -m study\.first (.*)", page_of([*short, other], {}), re.MULTILINE)
    assert commands == [
        "--set trec r8 --seconds 120",
        "--set trec --seconds 1200 --encoder mpnet=FOLDER --rows 300 --seed 1",
        "--page  # writes this page",
    ]


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trec-svm.json").write_text(json.dumps({"set": "trec"}))
    with pytest.raises(DataError, match=r"trec-svm\.json: can't be read as a result"):
        read_results(tmp_path)


def test_who_was_not_run_is_said_but_not_who_could_not_be_installed() -> None:
    made = {"setfit": {"installed": False, "reason": "none"}, "fasttext": {"installed": True}}
    page = page_of([made_up("svm", 150), made_up("loraloom", 190)], made)
    (line,) = re.findall(r"Not run here: (.*)\.\n", page)
    assert "fastText" in line.split("; ")
    assert not {"SetFit", "TF-IDF + linear SVM"} & set(line.split("; "))
    listed = {cells[1].strip(): cells[-2].strip() for row in page.split("## The sets")[1].splitlines()
              if len(cells := row.split("|")) > 2}  # fmt: skip
    assert (listed["trec"], listed["r8"]) == ("yes", "not yet")
    assert "No default was chosen by `clinc150` (not measured yet)" in page


def test_each_reading_of_test_rows_is_counted_also_of_the_set_that_no_default_was_chosen_by() -> None:
    days = "2026-11-26", "2030-01-01"
    before = [{"date": f"{day}T04:00:00+00:00", "git_revision": "a", "accuracy": {}} for day in days]
    results = [made_up("loraloom", 190, set_name="clinc150", earlier=before), made_up("svm", 150, set_name="clinc150")]
    page = page_of(results, {})
    assert "by planning that was undone" not in page_of(results[1:], {})
    assert "No default was chosen by `clinc150` (read by 3 default searches, at 2 revisions)" in page
    assert "Later than what stands here 1 search read test rows too, by planning that was undone." in page
    assert "0 default searches read AG News' test rows" in page


def without_ends(page: str) -> tuple[str, list[float]]:
    """A page without the ends of its intervals in points, and these."""
    ends = re.findall(r"([+−]?[\d.]+) pp(?= …|, p)", page)
    return re.sub(r"[+−]?[\d.]+ pp(?= …|, p)", "", page), [float(end.replace("−", "-")) for end in ends]


def test_what_is_published_is_what_the_results_say() -> None:
    """To a tenth of a point where an interval is drawn: other versions of numpy draw otherwise."""
    found = read_results()
    environments = json.loads(RECORD.read_text(encoding="utf-8"))
    (published, ends), (made, ends_made) = map(
        without_ends, (PAGE.read_text(encoding="utf-8"), page_of(found, environments))
    )
    assert published == made, "python -m study.first --page writes it"
    assert ends == pytest.approx(ends_made, abs=0.11)
    assert PAIRS.read_text(encoding="utf-8") == pairs_of(found)
