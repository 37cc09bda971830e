"""What README.md and docs/defaults.md repeat of the comparison with other tools is what its results say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from loraloom.metrics import mcnemar
from study.compared import Results, read_results
from study.comparison import PAGE
from study.first import right_rows
from study.others import is_disturbed

ROOT = Path(__file__).parent.parent.parent
README, DEFAULTS = ROOT / "README.md", ROOT / "docs" / "defaults.md"
PROCESSORS = {
    "AMD EPYC (family 26, model 2)": "AMD EPYC, family 26",
    "AMD EPYC": "AMD EPYC, under older defaults",
    "Intel(R) Xeon(R) Processor": "Intel Xeon with a matrix unit (AMX), under older defaults",
}
ENCODERS = {"demo": "six layers", "mpnet": "base size"}
TIMES = {1200: "20 minutes", 3600: "1 hour"}


def cells(line: str) -> list[str]:
    return [cell.strip().replace("**", "") for cell in line.strip().strip("|").split("|")]


def published(results: Results) -> Results:
    """Those that the documents repeat: by their processors, two cores, encoders and times, of all rows."""
    return [
        one
        for one in results
        if one["machine"]["machine"]["processor"] in PROCESSORS
        and (one["machine"]["machine"]["cores"], one["asked_rows"], one["seed"]) == (2, None, 0)
        and one["encoder"] in (None, *ENCODERS)
        and one["seconds"] in (120, *TIMES)
    ]


def of_two_minutes(name: str, peer: str) -> dict[str, Any]:
    """The newest result of a peer on a set, by the six-layer encoder if by any."""
    own = [
        one
        for one in published(read_results())
        if (one["set"], one["peer"], one["seconds"]) == (name, peer, 120) and one["encoder"] in (None, "demo")
    ]
    return dict(max(own, key=lambda one: one["date"])["tests"]["test"])


def of_ag_news(peer: str) -> Results:
    """Results of a peer in more than two minutes."""
    return [
        one
        for one in published(read_results())
        if (one["set"], one["peer"]) == ("agnews", peer) and one["seconds"] > 120
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"encoder": "x"},
        {"seconds": 600},
        {"asked_rows": 500},
        {"seed": 1},
        {"processor": "another"},
        {"cores": 8},
    ],
)
def test_results_of_ones_own_are_none_that_the_documents_repeat(changed: dict[str, Any]) -> None:
    one = of_ag_news("loraloom")[0]
    machine = {name: changed.get(name, value) for name, value in one["machine"]["machine"].items()}
    assert published([one]) == [one]
    assert published([one | changed | {"machine": {"machine": machine}}]) == []


def test_the_readme_has_every_search_of_ag_news_and_marks_those_that_others_disturbed() -> None:
    found = [
        (
            PROCESSORS[one["machine"]["machine"]["processor"]],
            ENCODERS[one["encoder"]],
            TIMES[one["seconds"]],
            f"{one['tests']['test']['accuracy']:.3f}{'*' * is_disturbed(one['others_share'])}",
        )
        for one in of_ag_news("loraloom")
    ]
    table = README.read_text(encoding="utf-8").split("| processor | encoder | time | accuracy |")[1].split("\n\n")[0]
    written = [tuple(cells(line)) for line in table.strip().splitlines()[1:]]
    assert sorted(written) == sorted(found)


def test_the_readme_says_which_searches_of_ag_news_are_ahead_of_the_svm() -> None:
    others = {
        one["machine"]["machine"]["processor"]: one["tests"]["test"]
        for one in of_ag_news("svm")
        if one["seconds"] == 1200
    }
    level = []
    for one in of_ag_news("loraloom"):
        ours, other = one["tests"]["test"], others[one["machine"]["machine"]["processor"]]
        assert f"{other['accuracy']:.3f}" == "0.922"
        if ours["correct"] <= other["correct"] or mcnemar(right_rows(ours), right_rows(other)) >= 0.001:
            level.append(f"the {ours['accuracy']:.3f}")
    page = " ".join(README.read_text(encoding="utf-8").split())
    assert (
        f"TF-IDF with a linear SVM has 0.922 there (each but {' and '.join(level)} is ahead of it by p < 0.001)" in page
    )


def test_the_readmes_mean_ranks_are_those_of_the_comparison() -> None:
    page = PAGE.read_text(encoding="utf-8")
    overview = page.split("## 2 min, encoder demo, AMD EPYC (family 26, model 2)")[1].split("### trec")[0]
    ranked = {row[0]: (row[-3], row[-1].split(" pp")[0]) for row in map(cells, overview.splitlines()) if len(row) > 8}
    table = README.read_text(encoding="utf-8").split("| tool | mean rank |")[1].split("\n\n")[0]
    for tool, rank, worst in map(cells, table.strip().splitlines()[2:]):
        assert ranked[tool] == (rank, worst.removesuffix(" points")), tool


def test_the_defaults_page_has_the_newest_figures_of_the_sets_held_out() -> None:
    page = " ".join(DEFAULTS.read_text(encoding="utf-8").split())
    ours, probe, svm = (f"{of_two_minutes('clinc150', peer)['accuracy']:.4f}" for peer in ("loraloom", "probe", "svm"))
    assert (
        f"has {ours} on CLINC150, where logistic regression on frozen embeddings has {probe} and an SVM {svm}" in page
    )
    own, other = of_two_minutes("r8", "loraloom"), of_two_minutes("r8", "svm")
    rows = f"by {other['correct'] - own['correct']} rows of {own['rows']:,}"
    assert f"{own['accuracy']:.4f} on R8, where the SVM has {other['accuracy']:.4f}, {rows}" in page


def test_setfit_is_said_to_be_behind_where_it_is() -> None:
    sets = "trec", "sst2", "banking77", "subj16", "bbc", "r8", "clinc150"
    assert all(of_two_minutes(name, "setfit")["correct"] < of_two_minutes(name, "loraloom")["correct"] for name in sets)
    assert re.search(r"seven sets measured here.*SetFit was behind", (ROOT / "docs" / "alternatives.md").read_text())
