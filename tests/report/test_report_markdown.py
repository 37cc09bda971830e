"""The findings as Markdown, read by a Markdown parser: what came from outside makes no node."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from loraloom.report.effects.interactions import Cell, Interaction, Interactions
from loraloom.report.findings import findings
from loraloom.report.markdown import markdown
from loraloom.report.markdown.text import bullets, code, fenced, table, text, told
from loraloom.report.reading import read_run
from tests.report.kept_runs import FACTS, keep, kept_predictions
from tests.report.report_runs import (
    LABELS,
    PROVENANCE,
    TEST_ROWS,
    VALIDATION_ROWS,
    make_predictions,
    make_recipe,
    make_record,
    make_score,
    whole_run,
    write_run,
)

PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "![a](https://evil.example/x.png)",
    "<https://evil.example>",
    "https://evil.example and www.evil.example and evil.example",
    "a@evil.example",
    "a | b || c",
    "`code` ``more`` ```most",
    "\\` \\| \\\\",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "---",
    "===",
    "***bold*** _it_ ~~no~~",
    "&lt;b&gt; &#60;i&#62;",
    "a\n\n<b>b</b>\r\n# c",
    "```\nx",
    "[x]: https://evil.example",
    "</details><script>",
    "\x00\ud800\u2028",
    "    indented",
    "\u202eoverridden \u2067isolated",
)
HARMFUL = {"html_inline", "html_block", "link_open", "image", "em_open", "strong_open", "s_open", "code_block"}
PARSER = MarkdownIt("gfm-like", {"html": True, "linkify": True})


def tokens(given: str) -> Iterator[Token]:
    for token in PARSER.parse(given):
        yield token
        yield from token.children or ()


def shown(given: str) -> str:
    """The text that a reader sees, without the zero-width spaces that keep it from being linked."""
    kinds = ("text", "code_inline", "text_special")
    words = (token.content for token in tokens(given) if token.type in kinds and not token.children)
    return "".join(words).replace("\u200b", "")


def plain(given: str) -> str:
    from loraloom.report.wording import clean

    return " ".join(clean(given).split()).replace("\u200b", "")


def test_the_parser_makes_every_kind_of_node_of_text_that_is_not_escaped() -> None:
    assert {token.type for payload in PAYLOADS for token in tokens(payload)} >= HARMFUL


@given(st.one_of(st.sampled_from(PAYLOADS), st.text(), st.text("\\`*_[]()<>#|~$&!-+=.:@/ \nwhtp1")))
@example("a.b`|\\")
@example("0\u200b.")
def test_any_text_is_one_paragraph_of_itself(given_text: str) -> None:
    made = list(tokens(text(given_text)))
    assert not {token.type for token in made} - {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}
    assert shown(text(given_text)) == plain(given_text)


@given(st.one_of(st.sampled_from(PAYLOADS), st.text(), st.text("\\`| ab")))
def test_any_value_is_one_code_span_of_itself(given_text: str) -> None:
    made = code(given_text)
    assert {token.type for token in tokens(made)} <= {"paragraph_open", "paragraph_close", "inline", "code_inline"}
    assert shown(made).strip() == plain(given_text)


@given(st.lists(st.one_of(st.sampled_from(PAYLOADS), st.text()), min_size=2, max_size=2), st.booleans())
def test_a_table_keeps_its_columns(cells: list[str], as_code: bool) -> None:
    write = code if as_code else text
    made = [token.type for token in PARSER.parse(table(("a", "b"), [[write(cell) for cell in cells], ["1", "2"]]))]
    assert (made.count("tr_open"), made.count("td_open"), made.count("th_open")) == (3, 4, 2)


@given(st.one_of(st.sampled_from(PAYLOADS), st.text()))
def test_a_block_of_code_holds_whatever_it_is_given(given_text: str) -> None:
    (block,) = PARSER.parse(fenced(given_text, "yaml"))
    assert (block.type, block.info) == ("fence", "yaml")


def test_commands_within_a_sentence_are_code() -> None:
    assert told("`loraloom report RUN` makes *it*  anew.") == r"`loraloom report RUN` makes \*it\* anew."


@given(st.one_of(st.sampled_from(PAYLOADS), st.text(), st.text("\\`*_[]()<>#|~$&!-+=.:@/ \nwhtp1")))
def test_any_sentence_is_text_and_code(given_text: str) -> None:
    made = {token.type for token in tokens(told(given_text))}
    assert made <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special", "code_inline"}


def test_items_stay_items() -> None:
    made = [token.type for token in PARSER.parse(bullets(map(text, PAYLOADS)))]
    assert made.count("list_item_open") == len(PAYLOADS)
    assert (made.count("bullet_list_open"), made.count("heading_open")) == (1, 0)


def hostile_run(folder: Path, payload: str) -> Path:
    provenance: dict[str, Any] = {
        **dict.fromkeys(("loraloom", "python", "git_revision", "started"), payload),
        "command": ["x", payload],
        "packages": {payload: payload},
        "machine": {"cores": payload, "processor": payload, "gpu": payload},
        "model_revisions": {payload: payload},
        "dropped_points": [payload],
        "cards": {"data": {"license": payload}, "models": {"demo": {"license": payload, "card": payload}}},
        "data": {
            **dict.fromkeys(("name", "fingerprint", "revision"), payload),
            "rows": {payload: 3},
            "findings": [{"kind": payload, "severity": payload, "count": 1, "sentence": payload}],
        },
    }
    labels = (payload, *LABELS[1:])
    recipe = make_recipe(
        provenance, lora={"target_modules": [["query"], ["a" + payload.replace("\ud800", "")]]}, train={}
    )
    points = list(recipe.grid())
    best = make_record(recipe, 1, points[1], 0.9, labels=labels, marks=(payload,), test=make_score(0.9, TEST_ROWS))
    return write_run(folder, recipe, [best], best=best, predictions=make_predictions(labels))


def nodes(made: str) -> dict[str, int]:
    """How many nodes there are of each kind that a text from outside may not add to."""
    found = Counter(token.type for token in tokens(made))
    return {kind: found[kind] for kind in (*HARMFUL, "tr_open", "heading_open")}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    return nodes(markdown(findings(read_run(hostile_run(tmp_path_factory.mktemp("ours"), "ours")))))


@pytest.mark.parametrize("payload", [each for each in PAYLOADS if "\ud800" not in each])
def test_hostile_text_makes_no_node_in_the_whole(tmp_path: Path, ours: dict[str, int], payload: str) -> None:
    assert nodes(markdown(findings(read_run(hostile_run(tmp_path / "run", payload))))) == ours
    assert ours["link_open"] == ours["image"] == 0


def test_it_says_what_the_page_says(tmp_path: Path) -> None:
    made = markdown(findings(read_run(whole_run(tmp_path / "demo"))))
    assert re.findall("^# .*|^## .*", made, re.MULTILINE) == [
        "# demo",
        "## Answer",
        "## What this can't claim",
        "## Leaderboard",
        "## Size and time",
        "## Effects",
        "## Training",
        "## Test",
        "## Where it fails",
        "## Data",
        "## Similarity",
        "## What to try next",
        "## How it was made",
    ]
    assert "test accuracy of **0.971** (95 % interval 0.951–0.983, 445 test rows)" in made
    assert "184,864 trainable parameters, 18 % of the cap of 1,000,000" in made
    assert "| 1 **winner** | `4` |" in made
    assert PROVENANCE["command"] in made
    assert "- 0004: " in made  # why a trial has no result
    assert "Not shown" not in made
    assert "Validation chose the order, so its best figures flatter." in made
    assert "What follows is of" not in made  # it is of the test rows


def test_an_interval_of_seeds_is_marked_and_explained_as_on_the_page(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 2]}, train={})
    trials = ((1, 0.94, 42), (1, 0.96, 43), (2, 0.9, 42))
    records = [make_record(recipe, n, {"lora.r": r}, a, seed=seed) for n, (r, a, seed) in enumerate(trials)]
    found = findings(read_run(write_run(tmp_path / "run", recipe, records)))
    made = markdown(found)
    first, second = (line for line in made.splitlines() if line.startswith(("| 1 ", "| 2 ")))
    assert re.search(r"\| [\d.]+–[\d.]+ seeds \| 2 \|", first)
    assert re.search(r"\| [\d.]+–[\d.]+ \| 1 \|", second)
    assert found.board.intervals in made
    alone = findings(read_run(write_run(tmp_path / "alone", recipe, records[2:])))
    assert alone.board.intervals not in markdown(alone)


def test_a_small_part_of_the_cap_is_not_rounded_to_nothing(tmp_path: Path) -> None:
    found = findings(read_run(whole_run(tmp_path / "demo")))
    assert found.answer.winner is not None
    small = replace(found.answer.winner, cap=10**9)
    made = markdown(replace(found, answer=replace(found.answer, winner=small)))
    assert "184,864 trainable parameters, <0.1 % of the cap of 1,000,000,000" in made.replace("&lt;", "<")


def test_of_many_classes_those_of_the_lowest_f1_are_listed(tmp_path: Path) -> None:
    labels = tuple(f"intent {number}" for number in range(60))
    recipe = make_recipe(lora={}, train={})
    best = make_record(recipe, 0, {}, 0.97, labels=labels, test=make_score((TEST_ROWS - 13) / TEST_ROWS, TEST_ROWS))
    run = write_run(tmp_path / "many", recipe, [best], best=best, predictions=make_predictions(labels))
    found = findings(read_run(run))
    made = markdown(found)
    assert "Of 60 classes the 40 of the lowest F1:" in made
    listed = re.findall(r"^\| `intent (\d+)` \|", made, re.MULTILINE)
    assert len(listed) == 40
    assert found.test is not None
    lowest = sorted((one.f1 or 0, at) for at, one in enumerate(found.test.classes))[:40]
    assert list(map(int, listed)) == sorted(at for _, at in lowest)


def test_curves_errors_and_rows_that_all_miss_are_told(tmp_path: Path) -> None:
    made = markdown(findings(read_run(keep(whole_run(tmp_path / "demo")))))
    assert "- The validation loss of trial 0003 is lowest at epoch 4" in made
    assert made.count("; test row ") == 5
    assert made.count("a row's number is its place in its split, from 0, and not that in your file") == 1
    assert made.count("A validation row. Number ") == 4
    assert "mostly taken for `entertainment` (validation row 0)" in made


def test_where_the_test_rows_are_not_read_yet_it_says_which_rows_it_is_of(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4]}, train={})
    records = [make_record(recipe, n, point, 0.9) for n, point in enumerate(recipe.grid())]
    several, one = (
        markdown(findings(read_run(keep(write_run(tmp_path / f"of-{len(some)}", recipe, some)))))
        for some in (records, records[:1])
    )
    said = f"## Where it fails\n\nWhat follows is of the {VALIDATION_ROWS} validation rows"
    assert f"{said} by which it was chosen.\n" in several
    assert f"{said}.\n" in one
    assert "Validation chose the order" not in one


def test_axes_that_few_trials_tell_of_are_one_line_and_questions_have_their_names(tmp_path: Path) -> None:
    made = markdown(findings(read_run(keep(whole_run(tmp_path / "demo", data=FACTS, predictions=kept_predictions())))))
    assert made.count("- **not enough trials**: ") == 1
    assert re.search("^- Length: ", made, re.MULTILINE)
    assert re.search("^- Truncation: ", made, re.MULTILINE)


def test_text_that_turns_the_direction_does_not_turn_the_words_after_it(tmp_path: Path) -> None:
    turning = "\u202e\u2067Turned \u202a\u2066{label}."
    run = whole_run(tmp_path / "demo", predictions=make_predictions(text=turning))
    made = markdown(findings(read_run(keep(run, text=turning, source="\u202dpaper"))))
    assert "“\ufffd\ufffdTurned \ufffd\ufffdpolitics. Number 2.” labelled `politics`, taken for `business`" in made
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", made)


def test_interactions_are_tables_and_importances_a_line(tmp_path: Path) -> None:
    found = findings(read_run(whole_run(tmp_path / "demo")))
    assert found.effects.analysis is not None
    cells = ((Cell(0.9, 3), Cell(None, 0)), (Cell(0.8, 2), Cell(0.95, 1)))
    pairs = [Interaction("lora.r", PAYLOADS[7], ("2", "4"), PAYLOADS[:2], 0.001, cells, 0.01)] * 6
    analysis = replace(found.effects.analysis, interactions=Interactions(9, 9, tuple(pairs)))
    made = markdown(
        replace(
            found,
            effects=replace(found.effects, analysis=analysis, importances={"lora.r": 0.9996, "train.optim": 0.0004}),
        )
    )
    assert "| `4` | 0.800 (2) | 0.950 (1) |" in made
    assert "Not shown: 2 other interactions." in made
    assert "without sign or certainty): `lora.r` >99.9 %, `train.optim` <0.1 %." in made
    assert not {token.type for token in tokens(made)} & {"html_inline", "image"}


def test_the_leaderboard_says_by_what_it_is_ordered_and_how_many_it_leaves_out(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": list(range(1, 13))}, train={}, search={"metric": "macro_f1"})
    records = [make_record(recipe, n, point, 0.9 + n / 1000) for n, point in enumerate(recipe.grid())]
    made = markdown(findings(read_run(write_run(tmp_path / "r", recipe, records))))
    assert "By validation macro-F1.\n\n| Rank | `r` | Macro-F1 | Validation accuracy |" in made
    assert "Not shown: 2 more with a result, 0 more that were pruned or failed." in made


def test_of_a_search_by_macro_f1_the_answer_says_what_the_winner_has_of_it(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [2, 4]}, train={}, search={"metric": "macro_f1"})
    records = [make_record(recipe, n, point, 0.9 + n / 100) for n, point in enumerate(recipe.grid())]
    best = make_record(recipe, 1, records[1].point, 0.91, test=make_score(0.9, TEST_ROWS))
    made = markdown(findings(read_run(write_run(tmp_path / "r", recipe, records, best=best))))
    assert "\n- Macro-F1, by which configurations are compared: 0.898 on test, 0.908 on validation.\n" in made
    so_far = markdown(findings(read_run(write_run(tmp_path / "so far", recipe, records))))
    assert "\n- Macro-F1, by which configurations are compared: 0.91 on validation.\n" in so_far


def test_a_run_without_a_winner_says_so(tmp_path: Path) -> None:
    made = markdown(findings(read_run(write_run(tmp_path / "r", make_recipe({}), []))))
    assert "No trial has finished yet, so there is no winner." in made
    assert "## Test" not in made

    recipe = make_recipe({})
    failed = [make_record(recipe, number, {}, None, state="failed", reason="out of memory") for number in (0, 1)]
    made = markdown(findings(read_run(write_run(tmp_path / "failed", recipe, failed))))
    assert "No trial is complete, so there is no winner: 2 failed, 0 pruned. The leaderboard has the reasons." in made
