"""What README.md and docs/defaults.md repeat of the comparison with other tools is what its results say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from study.comparison import PAGE, read_results
from study.others import BUSY

ROOT = Path(__file__).parent.parent.parent
README, DEFAULTS = ROOT / "README.md", ROOT / "docs" / "defaults.md"


def cells(line: str) -> list[str]:
    return [cell.strip().replace("**", "") for cell in line.strip().strip("|").split("|")]


def of_two_minutes(name: str, peer: str) -> dict[str, Any]:
    """The newest result of a peer on a set."""
    own = [one for one in read_results() if (one["set"], one["peer"], one["seconds"]) == (name, peer, 120)]
    return dict(max(own, key=lambda one: one["date"])["tests"]["test"])


def test_the_readme_has_every_search_of_ag_news_and_marks_those_that_others_disturbed() -> None:
    encoders, times = {"demo": "six layers", "mpnet": "base size"}, {1200: "20 minutes", 3600: "1 hour"}
    found = [
        (
            encoders[one["encoder"]],
            times[one["seconds"]],
            f"{one['tests']['test']['accuracy']:.3f}{'*' * (one['others_share'] > BUSY)}",
        )
        for one in read_results()
        if (one["set"], one["peer"]) == ("agnews", "loraloom")
    ]
    table = README.read_text(encoding="utf-8").split("| processor | encoder | time | accuracy |")[1].split("\n\n")[0]
    written = [tuple(cells(line)[1:]) for line in table.strip().splitlines()[1:]]
    assert sorted(written) == sorted(found)


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
