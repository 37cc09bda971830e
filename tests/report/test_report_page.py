"""The page as a reader and a browser get it: its sections, its numbers, and hostile text that stays text."""

from __future__ import annotations

import base64
import csv
import hashlib
import itertools
import json
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from loraloom.errors import RunError
from loraloom.report.findings import Findings, findings
from loraloom.report.leaderboard import leaderboard
from loraloom.report.markdown import markdown
from loraloom.report.page import SECTIONS, Scale
from loraloom.report.pictures import UNDRAWN
from loraloom.report.pictures.dataset import draw_dataset
from loraloom.report.pictures.drawing import STYLE
from loraloom.report.reading import read_run
from loraloom.report.writing import report_files, write_report
from tests.report.kept_runs import FACTS, keep, kept_predictions
from tests.report.report_runs import (
    LABELS,
    PROVENANCE,
    TEST_ROWS,
    make_predictions,
    make_recipe,
    make_record,
    make_score,
    whole_run,
    write_run,
)

HOSTILE = "</td></svg><script>alert(1)</script><img src=x onerror=alert(2)>\u202e$x^2$\x00 &amp; {{ 7*7 }}"
SHOWN = "</td></svg><script>alert(1)</script><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """Elements with their attributes, ids, and the text of the body."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self.codes: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        place = self._open[-1] if self._open else ""
        {"style": self.styles, "script": self.scripts}.get(place, self.words).append(data)
        if place == "code":
            self.codes.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def undrawn(found: Findings) -> Page:
    """Without pictures; its tables are written too."""
    return Page(report_files(found, UNDRAWN)["index.html"].decode())


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its report."""
    run = whole_run(tmp_path_factory.mktemp("run") / "demo")
    write_report(run)
    return run


@pytest.fixture(scope="module")
def demo(demo_run: Path) -> Page:
    return Page((demo_run / "report" / "index.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page]:
    """A run in which everything that can come from outside is the payload."""
    provenance: dict[str, Any] = {
        **dict.fromkeys(("loraloom", "python", "git_revision", "command", "started"), HOSTILE[:60]),
        "packages": {"torch</dd><script>": SHOWN},
        "machine": {"cores": SHOWN, "memory_gb": SHOWN, "processor": SHOWN, "gpu": SHOWN},
        "model_revisions": {SHOWN: SHOWN},
        "dropped_points": [SHOWN],
        "data": {
            **dict.fromkeys(("name", "fingerprint", "revision"), SHOWN),
            "rows": {SHOWN: 3},
            "findings": [{"kind": SHOWN, "severity": '"><script>', "count": 1, "sentence": SHOWN, "examples": [SHOWN]}],
        },
    }
    labels = (HOSTILE, "=cmd|' /C calc'!A0", "$x$", "\\frac{", "日本語 🙂")
    recipe = make_recipe(
        provenance,
        data={"dataset": SHOWN},
        backbone={"model": ["demo", SHOWN]},
        lora={"target_modules": [["query"], [SHOWN]]},
        train={},
    )
    points = list(recipe.grid())
    records = [make_record(recipe, n, point, 0.9, labels=labels) for n, point in enumerate(points[:3])]
    records.append(make_record(recipe, 3, points[3], None, state="failed", reason=SHOWN, labels=labels))
    best = make_record(recipe, 2, points[2], 0.9, labels=labels, marks=(SHOWN,), test=make_score(0.9, TEST_ROWS))
    lines = make_predictions(labels, text=HOSTILE + "\ud800")
    folder = tmp_path_factory.mktemp("run") / "<b onmouseover=alert(3)>run"
    run = write_run(folder, recipe, records, best=best, predictions=lines)
    return run, read(run)


def test_the_answer_states_accuracy_interval_rows_parameters_and_time(demo: Page) -> None:
    assert "The best of 6 configurations reaches a test accuracy of 0.971" in demo.text
    assert "(95 % interval 0.951–0.983, 445 test rows)" in demo.text
    assert "184,864 trainable parameters, 18 % of the cap, trained in 1 min 06 s" in demo.text
    assert "18\u00a0% of the cap, trained in 1\u00a0min\u00a006\u00a0s." in "".join(demo.words)


@pytest.mark.usefixtures("no_pictures")
def test_of_a_search_by_macro_f1_the_page_leads_with_it(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4]}, train={}, search={"metric": "macro_f1"})
    records = [make_record(recipe, n, point, 0.9 + n / 100) for n, point in enumerate(recipe.grid())]
    best = make_record(recipe, 1, records[1].point, 0.91, test=make_score(0.9, TEST_ROWS))
    page = read(write_run(tmp_path / "r", recipe, records, best=best)).text
    assert "reaches a test macro-F1 of 0.898 and an accuracy of 0.899 (95" in page
    assert "Test macro-F1 0.898 accuracy 0.899, 95 % interval" in page
    assert re.search(r"Rank validation ?Accuracy Macro-F1 lora ?r Loss Parameters Time Trials", page)


def test_sections_begin_with_what_they_found(demo: Page) -> None:
    assert "Leaderboard 2 other configurations can't be told from the winner by validation accuracy." in demo.text
    assert "Data 1,558 train , 222 validation , 445 test rows; the checks found 1 thing to know, below." in demo.text
    assert "Training The validation loss of trial 0003 is lowest at epoch" in demo.text


def test_the_answer_gives_commands_to_copy(demo: Page) -> None:
    assert re.search(r"loraloom predict \S+/demo/best --text", demo.text)
    assert re.search(r"loraloom evaluate \S+/demo/best --test_file", demo.text)
    assert "AutoPeftModelForSequenceClassification.from_pretrained" in demo.text
    assert "AutoTokenizer.from_pretrained(base.base_model_name_or_path, revision=base.revision)" in demo.text


@pytest.mark.usefixtures("no_pictures")
def test_a_head_that_peft_does_not_know_is_loaded_by_loraloom(tmp_path: Path) -> None:
    recipe = make_recipe(head={"kind": "linear"}, lora={"r": 4}, train={})
    best = make_record(recipe, 0, {}, test=make_score(0.9, TEST_ROWS))
    page = read(write_run(tmp_path / "run", recipe, [best], best=best))
    assert re.search(r"print\(loraloom\.load\('\S+/run/best'\)\.predict\(", page.text)
    assert "loraloom resume" not in page.text


@pytest.mark.usefixtures("no_pictures")
def test_a_single_trial_is_not_said_to_be_chosen_by_validation(demo_run: Path, tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": 4}, train={})
    best = make_record(recipe, 0, {}, 0.95, test=make_score(0.9, TEST_ROWS))
    alone = read(keep(write_run(tmp_path / "run", recipe, [best], best=best)))
    assert "judged by the winner." in alone.text
    assert "Validation chose the order" not in alone.text
    assert "222 rows, which chose it" not in alone.text
    several = read(keep(Path(shutil.copytree(demo_run, tmp_path / "several"))))
    assert "judged by the winner; it was chosen by the validation rows" in several.text
    assert "Validation chose the order, so its best figures flatter." in several.text
    assert "(222 rows, which chose it)" in several.text


def test_every_section_has_its_heading_and_its_link(demo: Page) -> None:
    ids = {attributes.get("id") for attributes in demo.all("section")}
    links = {(attributes.get("href") or "").removeprefix("#") for attributes in demo.all("a")}
    assert ids == SECTIONS.keys() - {"against"}  # there is no second run
    assert ids <= links


def test_pruned_and_failed_trials_stand_with_their_reasons(demo: Page) -> None:
    assert "halving: 3 of 6 were ahead after epoch 1" in demo.text
    assert "its loss is not finite at step 12" in demo.text


def test_data_and_provenance_are_told(demo: Page) -> None:
    for told in ("1,558", "98 training rows stand twice", "torch 2.9.1", "x86_64 with AVX512-BF16"):
        assert told in demo.text
    assert "r=64: it trains 1,203,845 parameters, 203,845 over the cap" in demo.text
    assert "num_train_epochs: 4" in demo.text
    assert "git_revision" not in demo.text


def test_the_page_asks_nothing_of_a_network_and_runs_its_own_script_alone(demo: Page) -> None:
    policy = next(each["content"] for each in demo.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256("".join(demo.scripts).encode()).digest()).decode()
    assert policy.startswith(
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
    )
    assert [each for each in demo.all("script") if each] == []
    assert len(demo.all("script")) == 1
    assert not {"link", "iframe", "object", "embed", "img", "base"} & {n for n, _ in demo.elements}
    for _, attributes in demo.elements:
        for name in ("src", "href", "action"):
            assert "//" not in (attributes.get(name) or "")
    assert "url(" not in "".join(demo.styles)
    assert "@import" not in "".join(demo.styles)


def test_the_script_makes_no_markup_of_text(demo: Page) -> None:
    script = "".join(demo.scripts)
    assert "textContent" in script
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc", script
    )


def test_links_lead_to_files_that_were_written_or_to_ids(demo: Page, demo_run: Path) -> None:
    ids = {attributes["id"] for _, attributes in demo.elements if "id" in attributes}
    for link in demo.all("a"):
        target = link["href"] or ""
        assert target[1:] in ids if target.startswith("#") else (demo_run / "report" / target).is_file()


def test_ids_are_unique_and_references_have_their_target(demo: Page) -> None:
    ids = [attributes["id"] for _, attributes in demo.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for tag, attributes in demo.elements:
        names = (attributes.get("aria-labelledby") or "").split()
        names += re.findall(r"url\(#([^)]+)\)", attributes.get("clip-path") or "")
        if tag == "use":
            names.append((attributes.get("href") or "").removeprefix("#"))
        assert set(names) <= set(ids)


def test_tables_have_captions_and_scopes_and_pictures_have_names(demo: Page) -> None:
    assert len(demo.all("caption")) == len(demo.all("table"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in demo.all("th"))
    plots = [svg for svg in demo.all("svg") if svg.get("class") == "plot"]
    assert len(demo.all("figcaption")) == len(demo.all("figure")) == len(plots) == 7
    named = [svg for svg in demo.all("svg") if svg.get("aria-hidden") != "true"]
    assert all(svg.get("role") == "img" and svg.get("aria-labelledby") for svg in named)


def test_pictures_take_the_colours_of_the_page(demo: Page) -> None:
    styles = [attributes.get("style") or "" for _, attributes in demo.elements]
    assert any("var(--ink)" in style for style in styles)
    assert any("var(--series-1)" in style for style in styles)
    assert not [style for style in styles if re.search(r"#[0-9a-fA-F]{6}|#000\b|black", style)]


def test_hostile_text_makes_no_element_and_no_handler(hostile: tuple[Path, Page]) -> None:
    page = hostile[1]
    assert not {"img", "b onmouseover=alert(3)"} & {name for name, _ in page.elements}
    assert len(page.all("script")) == 1
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text.count(SHOWN) > 30
    assert "{{ 7*7 }}" in page.text
    assert "<b onmouseover=alert(3)>run" in page.text


def test_control_characters_are_made_visible(hostile: tuple[Path, Page]) -> None:
    content = (hostile[0] / "report" / "index.html").read_bytes()
    assert b"\x00" not in content
    assert "\ufffd" in content.decode("utf-8")


def test_text_of_unknown_direction_is_isolated(hostile: tuple[Path, Page]) -> None:
    assert {quote.get("dir") for quote in hostile[1].all("blockquote")} == {"auto"}


def test_mathematics_in_a_label_is_text(tmp_path: Path) -> None:
    labels = ("$x$", "$\\frac{", "$$", "_hidden", "a")
    recipe = make_recipe(backbone={"model": ["$x$", "$\\frac{"]}, lora={}, train={})
    records = [make_record(recipe, n, point, 0.9, labels=labels) for n, point in enumerate(recipe.grid())]
    best = make_record(recipe, 0, records[0].point, 0.9, labels=labels, test=make_score(432 / 445, TEST_ROWS))
    run = write_run(tmp_path / "r", recipe, records, best=best, predictions=make_predictions(labels))
    assert "$\\frac{" in read(run).text


def test_two_renders_are_equal_byte_for_byte(demo_run: Path) -> None:
    first = {path.name: path.read_bytes() for path in (demo_run / "report").iterdir()}
    write_report(demo_run)
    assert {path.name: path.read_bytes() for path in (demo_run / "report").iterdir()} == first


def test_without_matplotlib_there_are_tables_and_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run = whole_run(tmp_path / "demo")
    page = read(run)
    assert "pip install 'loraloom[report]'" in page.text
    assert not [svg for svg in page.all("svg") if svg.get("class") == "plot"]
    assert not list((run / "report").glob("*.png"))
    assert "0.971" in page.text


def test_pictures_that_would_come_too_late_are_left_out_all_together(tmp_path: Path) -> None:
    answers = iter([True, True, False])
    path = write_report(whole_run(tmp_path / "run"), may_draw=lambda: next(answers))
    page = Page(path.read_text(encoding="utf-8"))
    notice = f"there was no time left to draw them. This draws them: loraloom report {tmp_path / 'run'}"
    assert page.text.index(notice) < page.text.index("The best of 6 configurations reaches")
    assert not page.all("figure")
    assert not [each for each in page.all("ul") if (each.get("class") or "").startswith("legend")]
    assert not list(path.parent.glob("*.png"))
    assert (path.parent / "leaderboard.csv").is_file()


def test_a_calibration_error_above_what_is_usual_does_not_look_like_it(tmp_path: Path) -> None:
    found = findings(read_run(whole_run(tmp_path / "run")))
    assert found.failures is not None
    just_above = replace(found.failures.calibrated, error=0.0304, ceiling=0.03)
    page = undrawn(replace(found, failures=replace(found.failures, calibrated=just_above)))
    assert re.search(r"0\.0304\s*above the 0\.0300 that 95 % of well-calibrated models stay below", page.text)


def test_the_page_is_there_before_its_pictures_are_drawn_where_time_is_limited(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "run")
    seen: list[bool] = []

    def may_draw() -> bool:
        seen.append("there was no time left to draw them" in (run / "report" / "index.html").read_text("utf-8"))
        return True

    page = Page(write_report(run, may_draw=may_draw).read_text(encoding="utf-8"))
    assert all(seen)
    assert page.all("figure")
    assert {path.name for path in (run / "report").glob("rows_*.png")} == {"rows_curves.png"}


def test_pictures_of_opened_rows_are_the_last_and_the_page_does_without_them(tmp_path: Path) -> None:
    asked = itertools.count()
    write_report(run := whole_run(tmp_path / "run"), may_draw=lambda: next(asked) >= 0)
    answers = iter([True] * (next(asked) - 2) + [False])  # all but the rows' one
    page = Page(write_report(run, may_draw=lambda: next(answers)).read_text(encoding="utf-8"))
    assert page.all("figure")
    assert not list((run / "report").glob("rows_*.png"))


def test_an_empty_run_gives_a_page(tmp_path: Path) -> None:
    page = read(write_run(tmp_path / "empty", make_recipe(), []))
    assert "No trial has finished yet" in page.text
    assert "loraloom resume" in page.text


def test_a_run_under_way_says_that_nothing_was_tested(tmp_path: Path) -> None:
    recipe = make_recipe()
    records = [make_record(recipe, n, point, 0.9 + n / 100) for n, point in zip(range(3), recipe.grid(), strict=False)]
    page = read(write_run(tmp_path / "going", recipe, records, unfinished=[3, 4]))
    assert "The best of 3 configurations so far reaches a validation accuracy of 0.92" in page.text
    assert "nothing was tested" in page.text
    assert "2 trials had not ended when this page was written" in page.text
    assert "loraloom resume" in page.text


@pytest.mark.usefixtures("no_pictures")
def test_a_winner_without_test_rows_is_no_longer_a_best_so_far(tmp_path: Path) -> None:
    recipe = make_recipe()
    records = [make_record(recipe, n, point, 0.9 + n / 100) for n, point in zip(range(3), recipe.grid(), strict=False)]
    page = read(write_run(tmp_path / "untested", recipe, records, best=records[2]))
    assert "The best of 3 configurations reaches a validation accuracy of 0.92" in page.text
    assert "There are no test rows" in page.text


def test_a_run_in_which_all_failed_has_no_winner(tmp_path: Path) -> None:
    recipe = make_recipe()
    records = [
        make_record(recipe, n, point, None, state="failed", reason="out of memory")
        for n, point in enumerate(recipe.grid())
    ]
    page = read(write_run(tmp_path / "failed", recipe, records))
    assert "No trial is complete, so there is no winner: 6 failed, 0 pruned" in page.text
    assert "No configuration has a result. Those that were pruned or failed stand below" in page.text
    assert "best first" not in page.text
    assert "the winner's interval" not in page.text
    assert "out of memory" in page.text


def test_provenance_of_any_shape_gives_a_page(tmp_path: Path) -> None:
    odd = {"data": [1], "packages": "none", "machine": None, "command": ["a", 1], "dropped_points": {"a": 1}}
    assert "How it was made" in read(write_run(tmp_path / "odd", make_recipe(odd), [])).text
    rows = {"data": {"rows": {"train": True}, "findings": ["a sentence", None, {"count": "x"}]}}
    assert "a sentence" in read(write_run(tmp_path / "rows", make_recipe(rows), [])).text


def test_many_classes_give_the_confused_pairs_instead_of_a_matrix(tmp_path: Path) -> None:
    labels = tuple(f"intent {number}" for number in range(1_077))
    recipe = make_recipe(lora={}, train={})
    record = make_record(recipe, 0, {}, 0.97, labels=labels)
    best = make_record(recipe, 0, {}, 0.97, labels=labels, test=make_score(432 / 445, TEST_ROWS))
    run = write_run(tmp_path / "many", recipe, [record], best=best, predictions=make_predictions(labels))
    page = read(run)
    assert "The classes that were taken for each other most often; all 1,077 stand in confusion.csv." in page.text
    assert not (run / "report" / "confusion.png").exists()
    with (run / "report" / "confusion.csv").open(encoding="utf-8", newline="") as file:
        entries = list(csv.DictReader(file))
    assert len(entries) <= TEST_ROWS  # and not 1,077 by 1,077 cells
    assert sum(int(entry["rows"]) for entry in entries) == TEST_ROWS
    assert sum(int(entry["rows"]) for entry in entries if entry["true"] == entry["predicted"]) == 432


def test_many_classes_of_which_none_is_taken_for_another_have_no_table_of_pairs(tmp_path: Path) -> None:
    labels = tuple(f"intent {number}" for number in range(60))
    recipe = make_recipe(lora={}, train={})
    record = make_record(recipe, 0, {}, 0.97, labels=labels)
    best = make_record(recipe, 0, {}, 0.97, labels=labels, test=make_score(1.0, TEST_ROWS))
    right = make_predictions(labels, wrong=0)
    page = read(write_run(tmp_path / "many", recipe, [record], best=best, predictions=right))
    assert f"0 of {TEST_ROWS} test rows were wrong." in page.text
    assert "The classes that were taken for each other most often" not in page.text


@pytest.mark.parametrize(("winner", "low"), [(3, 0.9), (15, 0.3)])
def test_small_intervals_are_drawn_on_the_scale_of_the_better_half_and_of_the_winner(
    tmp_path: Path, winner: int, low: float
) -> None:
    recipe = make_recipe(lora={"r": list(range(1, 19))}, train={})
    accuracies = [0.97] * 9 + [0.35] * 9
    records = [make_record(recipe, n, p, a) for n, (p, a) in enumerate(zip(recipe.grid(), accuracies, strict=True))]
    run = write_run(tmp_path / "run", recipe, records, best=records[winner])
    board = leaderboard(read_run(run))
    scale = Scale.of(board)
    assert low - 0.1 < scale.low < low + 0.05
    assert board.winner is not None
    assert board.winner.interval is not None
    assert scale.percent(board.winner.interval[1]) > scale.percent(board.winner.interval[0])


@pytest.mark.usefixtures("no_pictures")
def test_labels_that_begin_alike_are_told_apart_wherever_they_stand(tmp_path: Path) -> None:
    shelf = "Clothing, Shoes and Jewelry > Women > Shoes > Sandals and Slippers > For the House and the Garden > "
    labels = tuple(f"{shelf}{'a long way down, ' * 3}{number}" for number in range(30))
    data = {**PROVENANCE["data"], "class_rows": {"train": dict.fromkeys(labels, 50)}}
    recipe = make_recipe({**PROVENANCE, "data": data}, lora={}, train={})
    record = make_record(recipe, 0, {}, 0.97, labels=labels)
    best = make_record(recipe, 0, {}, 0.97, labels=labels, test=make_score(432 / 445, TEST_ROWS))
    run = write_run(tmp_path / "alike", recipe, [record], best=best, predictions=make_predictions(labels))
    page, made = read(run).text, markdown(findings(read_run(run)))
    for said, least in ((page, 3), (made, 1)):  # each in the table of classes, in that of shares, and in PEFT's code
        for length in (60, 120):
            assert f"{labels[0][: length - 1].rstrip()}…" not in said
        assert all(len(re.findall(rf"down, {number}\b", said)) >= least for number in range(30))


@pytest.mark.usefixtures("no_pictures")
def test_heads_and_rows_of_the_confusion_call_a_class_alike(tmp_path: Path) -> None:
    """So many signs as a row has would do to tell them apart, but not those of a head."""
    labels = tuple(f"messages of customers on {name} in the shop of our town" for name in "ABCD")
    recipe = make_recipe(lora={}, train={})
    best = make_record(recipe, 0, {}, labels=labels, test=make_score(432 / TEST_ROWS, TEST_ROWS))
    run = write_run(tmp_path / "r", recipe, [best], best=best, predictions=make_predictions(labels))
    page = write_report(run).read_text(encoding="utf-8")
    for number, label in enumerate(labels, start=1):
        assert f'<th scope="col" class="number"><bdi>{number} messages of customers…</bdi></th>' in page
        assert f'<th scope="row" class="cell"><bdi>{number} {label}</bdi></th>' in page


@pytest.mark.usefixtures("no_pictures")
def test_a_long_leaderboard_is_folded(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": list(range(1, 41))}, train={})
    records = [make_record(recipe, n, point, 0.5 + n / 100) for n, point in enumerate(recipe.grid())]
    page = read(write_run(tmp_path / "long", recipe, records))
    assert "Rows 26 to 40" in page.text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no recipe\.yaml"):
        write_report(tmp_path)


def test_class_shares_come_from_the_training_rows_where_they_are_known(tmp_path: Path) -> None:
    data = {**PROVENANCE["data"], "class_rows": {"train": dict(zip(LABELS, (4, 3, 2, 1, 0), strict=True))}}
    page = read(write_run(tmp_path / "shares", make_recipe({"data": data}), []))
    assert "business 4 0.400" in page.text
    assert "Whether that matters for the errors can't be told before a trial has left predictions." in page.text


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Page:
    run = tmp_path_factory.mktemp("kept") / "kept"
    return read(keep(whole_run(run, data=FACTS, predictions=kept_predictions())))


@pytest.mark.parametrize(
    "sentence",
    [
        "Not enough rows to tell whether accuracy differs by length",
        "texts cut off less that of whole texts",
        "Cut texts are the longest, too: to know what their ends would bring, try a larger",
        "Not enough rows to tell whether sources differ",
        "validation rows are wrong in all 4 trials",
        "Fitted on 222 validation rows, the temperature is",
        "on test these are",
        "have a label that looks wrong",
        "Training rows were not judged: the winner has learnt their labels",
        "The classes are not equally common (p < 0.001)",
        "4.7 times as often",
        "9.9 % of 1,558 training rows that were measured have more than data.max_length = 256 tokens",
        "were dropped before training (11 in validation and 10 in test)",
        "1 validation row is in test too, or nearly",
        "Recall changes",
    ],
)
def test_what_rows_tell_is_said_in_words(kept: Page, sentence: str) -> None:
    assert sentence.lower() in kept.text.lower()


def test_commands_within_sentences_are_code(kept: Page) -> None:
    assert "loraloom report RUN" in kept.codes
    assert "`" not in kept.text


def test_every_picture_of_kept_rows_is_in_the_page_and_beside_it_as_png_and_csv(kept: Page) -> None:
    drawn = {str(svg["aria-labelledby"]).partition("-")[0] for svg in kept.all("svg") if svg.get("class") == "plot"}
    assert {"reliability", "coverage", "accuracy_by_length", "class_shares"} <= drawn
    linked = {link.get("href") for link in kept.all("a")}
    assert {f"{name}.{kind}" for name in drawn for kind in ("png",)} <= linked
    assert {"reliability.csv", "coverage.csv", "accuracy_by_length.csv", "class_shares.csv"} <= linked


def test_hostile_rows_sources_and_labels_of_kept_rows_stay_text(tmp_path: Path) -> None:
    data = json.loads(json.dumps(FACTS).replace("business", json.dumps(HOSTILE)[1:-1]))
    data["tokens"]["model"] = HOSTILE
    lines = kept_predictions(source=HOSTILE, text=HOSTILE)
    page = read(keep(whole_run(tmp_path / "r", data=data, predictions=lines), text=HOSTILE, source=HOSTILE))
    assert len(page.all("script")) == 1  # the page's own
    assert page.all("img") == []
    assert page.text.count(SHOWN) > 20


def test_texts_with_several_labels_are_listed_with_their_rows(tmp_path: Path) -> None:
    conflict = {
        "kind": "conflict",
        "severity": "warning",
        "count": 1,
        "sentence": "Training has 1 text with more than one label: kept.",
        "examples": ["row 12 praise, row 47 refund: so happy with it"],
    }
    run = keep(whole_run(tmp_path / "r", data={**FACTS, "findings": [conflict]}, predictions=kept_predictions()))
    found = findings(read_run(run))
    page, listed = undrawn(found), "row 12 praise, row 47 refund: so happy with it"
    assert "beside them 1 text with several labels" in page.text
    assert "Texts with several labels 1 Training has 1 text" in page.text  # not "conflict"
    assert page.text.count(listed) == 2
    assert "Of several labels of one text, one at most is right" in page.text
    assert listed in markdown(found)


@pytest.mark.usefixtures("no_pictures")
def test_where_no_training_row_is_cut_none_is_said_to_lose_its_end(tmp_path: Path) -> None:
    tokens = {**FACTS["tokens"], "splits": {"train": {**FACTS["tokens"]["splits"]["train"], "cut": 0}}}
    page = read(whole_run(tmp_path / "r", data={**FACTS, "tokens": tokens}))
    assert "None of 1,558 training rows that were measured has more than data.max_length = 256 tokens" in page.text


@pytest.mark.parametrize(
    "changes",
    [
        {
            "tokens": "many",
            "overlaps": [{"splits": ["train"]}, 3, {"splits": ["a", "b"], "equal": -1, "near": True}],
            "class_rows": {"train": {"a": -4, "b": None}, "other": {"a": 4}},
        },
        {
            "tokens": {"at": [0, 50], "splits": {"train": {"measured": 0, "quantiles": [1, 2], "cut": 0}}},
            "class_rows": {"train": {"a": 10**400}},
        },
        {
            "tokens": {"at": [0], "splits": {"train": {"measured": 4, "quantiles": [1, "x"], "cut": 9}}},
            "class_rows": [],
            "findings": [{"kind": "duplicate", "count": "x", "splits": ["train"]}],
        },
    ],
)
def test_facts_that_make_no_sense_are_left_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    found = findings(read_run(whole_run(tmp_path / "r", data={**FACTS, **changes})))
    with mpl.rc_context(STYLE):
        assert len(list(draw_dataset(found.dataset))) <= 1
    page = undrawn(found)
    assert "Where it fails" in page.text
    assert "The run's recipe does not say how many rows its classes have." in page.text
