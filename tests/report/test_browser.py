"""The page in a real browser, opened from its file: what a reader does with it, on any screen, with any text in it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from safetensors.numpy import save_file

from loraloom.recipe import read_recipe
from loraloom.report.writing import write_report
from loraloom.study.durable import write_manifest
from loraloom.study.evidence import VALIDATION
from tests.report.browser import opened, serious_violations
from tests.report.kept_runs import keep, kept_predictions
from tests.report.report_runs import (
    LABELS,
    PROVENANCE,
    TEST_ROWS,
    VALIDATION_ROWS,
    make_evaluations,
    make_predictions,
    make_recipe,
    make_record,
    make_score,
    whole_run,
    with_confusion,
    write_run,
)
from tests.report.similarity.embedded_runs import embed, second_set

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
PAYLOADS = (
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=2</script>",
    "<img src=x onerror=window.pwned=3>",
    '"><svg onload=window.pwned=4>',
    "' onmouseover='window.pwned=5",
    "</style><script>window.pwned=6</script>",
    "</title></textarea></pre><iframe srcdoc='<script>parent.pwned=7</script>'>",
    "javascript:window.pwned=8",
    "<a href=javascript:window.pwned=9>x</a>",
    "</td></tr></table><form action=//evil.example><input autofocus onfocus=window.pwned=10>",
    "<!--<img src=--><img src=x onerror=window.pwned=11//>",
    "]]><svg/onload=window.pwned=12>",
    "{{ 7*7 }}${window.pwned=13}<%= 1 %>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.pwned=14>",
    "<base href=//evil.example><link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "\u202e<b>txt</b>\u2066\x00\x1b[31m\u2028",
    '\\"; window.pwned=15; //\\u003cscript\\u003e',
    "<details open ontoggle=window.pwned=16>",
    "<style>body{display:none}</style>",
    "*/} body{display:none} /*",
    "&lt;script&gt;window.pwned=17&lt;/script&gt;",
)


NUMBERS = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
SEEN = """parts => parts.map(part => {
  for (const each of part.querySelectorAll('title')) each.id = 'title';
  for (const each of part.querySelectorAll('td[style]')) each.textContent += each.style.cssText;
  part.removeAttribute('aria-labelledby');
  return part.outerHTML.replaceAll(/style="[^"]*"/g, '').replaceAll(/\\s+/g, ' ').replaceAll(/ ?([<>]) ?/g, '$1');
})"""
"""What is drawn, as text: names for ids, and a style's values, are left aside."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a finished search; trial 3 left its validation predictions."""
    run = whole_run(tmp_path_factory.mktemp("run") / "demo")
    leave_predictions(run / "trials" / "0003")
    return write_report(run)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a search of 130 configurations, of thirteen axes, without pictures."""
    recipe = make_recipe(
        lora={
            "r": list(range(1, 66)),
            "lora_alpha": [16, 32],
            "lora_dropout": [0.0, 0.1],
            "bias": ["none", "lora_only"],
            "target_modules": [["query"], ["query", "value"]],
        },
        head={"kind": ["native", "linear"], "pooling": ["native", "mean"]},
        train={
            "optim": ["adam", "muon"],
            "learning_rate": [1e-5, 0.001],
            "per_device_train_batch_size": [8, 16],
            "num_train_epochs": [1, 4],
            "weight_decay": [0.0, 0.1],
            "lr_scheduler_type": ["linear", "cosine"],
        },
    )
    point: dict[str, Any] = {name: axis.first for name, axis in recipe.axes.items()}
    records = []
    for number in range(130):
        here = {**point, "lora.r": 1 + number % 65, "lora.lora_alpha": 16 * (1 + number // 65)}
        records.append(with_confusion(make_record(recipe, number, here, 0.6 + number / 400)))
    return write_report(write_run(tmp_path_factory.mktemp("run") / "long", recipe, records), may_draw=lambda: False)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with all that it can have beside: kept rows, other texts, another run, an interaction."""
    folder = tmp_path_factory.mktemp("run")
    recipe = make_recipe(
        lora={"r": [2, 4], "lora_alpha": [8, 16, 32, 64]}, train={"optim": ["adam", "muon"], "num_train_epochs": 4}
    )
    records = []
    for number, point in enumerate(recipe.grid()):
        agree = (point["lora.r"] == 4) == (point["train.optim"] == "muon")
        accuracy = 0.85 + 0.1 * agree + 0.001 * (7 * number % 5)
        records.append(make_record(recipe, number, point, accuracy))
    best = make_record(recipe, 3, records[3].point, 0.95, test=make_score((TEST_ROWS - 13) / TEST_ROWS, TEST_ROWS))
    runs = [
        write_run(folder / name, recipe, records, best=best, predictions=kept_predictions(wrong=wrong))
        for name, wrong in (("full", 13), ("other", 33))
    ]
    embed(keep(runs[0]), second_set())
    return write_report(runs[0], against=runs[1], second=True)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run in which all that can come from outside is one payload or another."""
    many = " ".join(PAYLOADS)
    provenance: dict[str, Any] = {
        **dict.fromkeys(("loraloom", "python", "git_revision", "command", "started"), many),
        "packages": {payload: payload for payload in PAYLOADS},
        "machine": {"cores": many, "memory_gb": many, "processor": many, "gpu": many},
        "model_revisions": {payload: payload for payload in PAYLOADS},
        "dropped_points": list(PAYLOADS),
        "data": {
            **dict.fromkeys(("name", "fingerprint", "revision"), many),
            "rows": {**PROVENANCE["data"]["rows"], many: 3},
            "class_rows": {"train": dict.fromkeys(PAYLOADS, 3)},
            "findings": [
                {"kind": each, "severity": each, "count": 1, "sentence": each, "examples": [each]} for each in PAYLOADS
            ],
        },
    }
    names = [payload.replace("\x00", "").replace("\x1b", "") for payload in PAYLOADS]
    recipe = make_recipe(
        provenance,
        data={"train_file": names[2], "text_column": names[:3], "label_column": names[4]},
        backbone={"model": ["demo", *names]},
        lora={"target_modules": [["query"], names[:4]]},
        train={},
    )
    labels = tuple(f"{payload} {number}" for number, payload in enumerate(PAYLOADS[:9]))
    records = []
    for number, point in enumerate(recipe.grid()):
        state: Literal["complete", "failed"] = "failed" if number % 4 == 3 else "complete"
        accuracy = None if state == "failed" else 0.8 + number / 1000
        reason = PAYLOADS[number % len(PAYLOADS)] if state == "failed" else None
        records.append(
            make_record(recipe, number, point, accuracy, labels=labels, marks=PAYLOADS[:3], state=state, reason=reason)
        )
    best = make_record(recipe, 0, records[0].point, 0.9, labels=labels, marks=PAYLOADS, test=make_score(0.9, TEST_ROWS))
    texts = make_predictions(labels, text=many)
    folder = tmp_path_factory.mktemp("run") / "<img src=x onerror=window.pwned=18>"
    return write_report(write_run(folder, recipe, records, best=best, predictions=texts))


def leave_predictions(trial: Path) -> None:
    """As an engine leaves them: 13 of the rows are wrong."""
    labels = np.arange(VALIDATION_ROWS) % len(LABELS)
    predicted = np.where(np.arange(VALIDATION_ROWS) < 13, (labels + 1) % len(LABELS), labels)
    shares = np.full((VALIDATION_ROWS, len(LABELS)), 0.05, dtype=np.float32)
    shares[np.arange(VALIDATION_ROWS), predicted] = 0.8
    rows = np.arange(VALIDATION_ROWS, dtype=np.int32)
    save_file({"probabilities": shares, "labels": labels.astype(np.int32), "rows": rows}, trial / VALIDATION)
    write_manifest(trial)


def column(page: Page, number: int) -> list[str]:
    """The texts of a column of the leaderboard, as the rows stand."""
    cells = page.locator(f"#board > tbody > tr.row > :nth-child({number})").all_text_contents()
    return [" ".join(cell.split()) for cell in cells]


def overflow(page: Page) -> int:
    """How much wider than the window the page is."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def test_the_page_opens_from_its_file_without_an_error_or_a_request(browser: Browser, demo: Path) -> None:
    with opened(browser, demo) as found:
        found.page.mouse.wheel(0, 4000)
        assert found.page.locator("h1").inner_text() == "demo"
        assert found.said == []
        assert found.asked == [demo.as_uri()]


def test_the_navigation_leads_to_every_section(browser: Browser, demo: Path) -> None:
    with opened(browser, demo) as found:
        links = found.page.locator("nav a")
        titles = links.all_text_contents()
        assert titles[:3] == ["Answer", "Leaderboard", "Size and time"]
        for at in range(len(titles)):
            links.nth(at).click()
            target = found.page.evaluate("document.querySelector(location.hash).getBoundingClientRect().top")
            end = found.page.evaluate("document.documentElement.scrollHeight - innerHeight - scrollY")
            assert abs(target) < 60 or end < 2


def test_on_a_phone_the_link_of_the_section_that_is_read_is_in_sight(browser: Browser, demo: Path) -> None:
    with opened(browser, demo, width=360) as found:
        page = found.page
        current = page.locator("nav a[aria-current]")
        for name in ("making", "answer"):
            page.evaluate(f"document.getElementById('{name}').scrollIntoView()")
            page.wait_for_selector(f"nav a[href='#{name}'][aria-current]")
            box = current.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360


def test_back_at_the_top_no_section_is_marked_as_the_one_that_is_read(browser: Browser, demo: Path) -> None:
    with opened(browser, demo, width=360) as found:
        page = found.page
        page.evaluate("document.getElementById('data').scrollIntoView()")
        page.wait_for_selector("nav a[href='#data'][aria-current]")
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_selector("nav a[aria-current]", state="detached", timeout=5_000)
        assert page.evaluate("document.querySelector('nav ol').scrollLeft") == 0


def test_the_leaderboard_is_sorted_by_any_column_with_the_keyboard(browser: Browser, demo: Path) -> None:
    with opened(browser, demo) as found:
        page = found.page
        ranks = ["1", "2", "3", "4"]
        assert [rank.split()[0] for rank in column(page, 1)][:4] == ranks
        button = page.get_by_role("button", name="learning_rate")
        head = page.locator("#board th", has=page.locator("button", has_text="learning_rate"))
        button.focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        assert column(page, 4) == ["0.001"] * 3 + ["0.003"] * 3
        page.keyboard.press("Space")
        assert head.get_attribute("aria-sort") == "descending"
        assert column(page, 4) == ["0.003"] * 3 + ["0.001"] * 3
        assert page.locator("#board th[aria-sort]").count() == 1


def test_numbers_are_sorted_as_numbers_and_what_is_missing_last(browser: Browser, long: Path) -> None:
    with opened(browser, long) as found:
        page = found.page
        heads = [" ".join(text.split()) for text in page.locator("#board thead th").all_text_contents()]
        for name in ("Accuracy", "Parameters", "Time", "Loss"):
            at = next(place for place, text in enumerate(heads, start=1) if text.endswith(name))
            page.locator(f"#board thead th:nth-child({at}) button").click()
            first = column(page, at)
            page.locator(f"#board thead th:nth-child({at}) button").click()
            last = column(page, at)
            figures = [[float(text.split()[0].replace(",", "")) for text in texts] for texts in (first, last)]
            if name != "Time":  # whose texts have units
                assert sorted(figures[0]) in (figures[0], figures[0][::-1])
                assert sorted(figures[1]) in (figures[1], figures[1][::-1])
            assert first != last


def test_rows_of_several_trials_are_sorted_by_the_first_of_them(browser: Browser, tmp_path: Path) -> None:
    recipe = make_recipe(lora={"r": [1, 2, 4]}, train={}, search={"seeds": 2})
    trials = ((0, 1, 42), (1, 2, 42), (2, 4, 42), (3, 1, 43), (4, 4, 43))
    records = [make_record(recipe, n, {"lora.r": r}, 0.9 + n / 100, seed=seed) for n, r, seed in trials]
    page_of = write_report(write_run(tmp_path / "seeds", recipe, records), may_draw=lambda: False)
    with opened(browser, page_of) as found:
        found.page.get_by_role("button", name="Trials").click()
        heads = [" ".join(text.split()) for text in found.page.locator("#board thead th").all_text_contents()]
        assert column(found.page, heads.index("Trials") + 1) == ["0000, 0003", "0001", "0002, 0004"]


def test_the_filter_keeps_rows_by_words_and_by_exact_values_and_says_how_many(browser: Browser, demo: Path) -> None:
    with opened(browser, demo) as found:
        page = found.page
        box, status = page.get_by_role("searchbox"), page.locator("#leaderboard [role=status]")
        assert status.inner_text() == "6 rows"
        box.fill("r=8")
        page.wait_for_function("document.querySelector('#leaderboard [role=status]').textContent.startsWith('2 of 6')")
        assert column(page, 3) == ["8", "8"]
        box.fill("lora.r=4")  # as the page names it elsewhere
        page.wait_for_function("document.querySelector('#leaderboard [role=status]').textContent.startsWith('2 of 6')")
        assert column(page, 3) == ["4", "4"]
        box.fill("FAILED finite")
        page.wait_for_function("document.querySelector('#leaderboard [role=status]').textContent.startsWith('1 of 6')")
        assert "its loss is not finite at step 12" in column(page, 10)[0]
        box.fill("nothing of the kind")
        page.wait_for_function("document.querySelector('#leaderboard [role=status]').textContent.startsWith('0 of 6')")
        assert column(page, 1) == []


def test_what_is_the_same_in_all_rows_is_named_once_and_can_be_filtered_by(browser: Browser, long: Path) -> None:
    with opened(browser, long) as found:
        page = found.page
        heads = " ".join(page.locator("#board thead").inner_text().split())
        assert "lora_alpha" in heads
        assert "pooling" not in heads
        assert "head.pooling native, train.optim adam" in page.locator("#leaderboard").inner_text()
        for typed, rows in (
            ("pooling=native muon", "0 of"),
            ("head.pooling=native lora.r=65", "2 of"),
            ("pooling=mean", "0 of"),
        ):
            page.get_by_role("searchbox").fill(typed)
            begins = f"document.querySelector('#leaderboard [role=status]').textContent.startsWith('{rows} 130')"
            page.wait_for_function(begins)


def test_rank_and_accuracy_stay_in_sight_and_an_edge_says_that_there_is_more(browser: Browser, long: Path) -> None:
    with opened(browser, long, width=900) as found:
        page = found.page
        region = page.locator(".broad")
        region.evaluate("region => { region.style.width = '660px'; }")
        page.wait_for_selector(".broad.more")
        first = page.locator("#board > * > tr > :nth-child(-n+2)")
        left = "cells => cells.slice(0, 4).map(cell => cell.getBoundingClientRect().x)"
        before = first.evaluate_all(left)
        region.evaluate("region => { region.scrollLeft = 9999; }")
        page.wait_for_selector(".broad:not(.more)")
        assert [place - before[0] for place in first.evaluate_all(left)] == [0, 120, 0, 120]


def test_a_row_opens_to_its_curves_its_confusion_and_a_recipe(browser: Browser, demo: Path, tmp_path: Path) -> None:
    with opened(browser, demo) as found:
        page = found.page
        button = page.locator("tr.winner button.open")
        assert button.get_attribute("aria-expanded") == "false"
        button.press("Enter")
        assert button.get_attribute("aria-expanded") == "true"
        detail = page.locator(f"#{button.get_attribute('aria-controls')}")
        assert detail.locator("svg.sketch").count() == 2
        assert "13 of 222 validation rows wrong" in detail.inner_text()
        path = tmp_path / "recipe.yaml"
        path.write_text(detail.locator("pre").inner_text(), encoding="utf-8")
        recipe = read_recipe(path)
        assert not recipe.axes
        assert (recipe.lora.r, recipe.train.learning_rate, recipe.train.num_train_epochs) == (4, 0.003, 4)
        button.press("Enter")
        assert detail.count() == 0


def test_a_recipe_is_copied(browser: Browser, demo: Path) -> None:
    with opened(browser, demo) as found:
        page = found.page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.locator("tr.winner button.open").click()
        page.locator("tr.detail .copy-button").click()
        page.wait_for_function("document.querySelector('tr.detail .copy-button').textContent.startsWith('Copied')")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == page.locator("tr.detail pre").text_content()
        assert copied.startswith("data:\n")


def by_template_and_script(
    browser: Browser, run: Path, monkeypatch: pytest.MonkeyPatch, awaited: str
) -> Iterator[Page]:
    """The page with its second row opened: as the template draws it, then as the script does of what is packed."""
    for drawn_first in (100, 1):
        monkeypatch.setattr("loraloom.report.details.MOST_ROWS", drawn_first)
        monkeypatch.setattr("loraloom.report.packed_rows.MOST_ROWS", drawn_first)
        with opened(browser, write_report(run, may_draw=lambda: False)) as found:
            found.page.locator("#board > tbody > tr.row button.open").nth(1).click()
            found.page.wait_for_selector(f"tr.detail {awaited}")
            yield found.page


def test_a_row_of_one_evaluation_draws_both_points_and_one_epoch(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe()
    records = [make_record(recipe, number, point, 0.9) for number, point in enumerate(recipe.grid())]
    run = write_run(tmp_path / "once", recipe, records, evaluations=list(make_evaluations(1)))
    for page in by_template_and_script(browser, run, monkeypatch, ".sketch"):
        sketch = page.locator("tr.detail .sketch").first
        assert sketch.locator("circle").evaluate_all("all => all.map(one => one.getAttribute('cx'))") == ["71.0"] * 2
        written = sketch.locator("text").all_text_contents()
        assert [text for text in written if "poch" in text or text == "1"] == ["epoch 1"]


def test_a_row_beyond_the_first_draws_what_they_draw(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the script of what is packed, as the template draws the same row: but for what rounding takes."""
    run = tmp_path / "packed"
    recipe = make_recipe()
    labels = ("business & <b>", "a rather long name of a class", *LABELS[2:])
    records = [
        with_confusion(make_record(recipe, number, point, 0.9 + number / 100, labels=labels))
        for number, point in enumerate(recipe.grid())
    ]
    awkward = {"epoch": 1.23456, "train_loss": 123456.789, "train_accuracy": 0.99996, "validation_accuracy": 0.8125}
    first, last = make_evaluations(2, quality=0.95446 + 0.1 * math.exp(-1))
    evaluations = [first.model_copy(update={"train_accuracy": 0.0004}), last.model_copy(update=awkward)]
    write_run(run, recipe, records, evaluations=evaluations)
    drawn, written = [], []
    for page in by_template_and_script(browser, run, monkeypatch, ".matrix"):
        drawn.append("".join(page.locator("tr.detail :is(.sketch, .scroll)").evaluate_all(SEEN)))
        written.append(page.locator("tr.detail :is(.sketch :is(title, text), pre)").all_text_contents())
    assert written[0] == written[1]
    assert {"epoch 1", "1.23", "123456.789", ">0.999", "<0.001"} < set(written[0])
    assert "on validation highest at epoch 1 (0.954), 0.812 at the end" in " ".join(written[0])
    told = [NUMBERS.split(text) for text in drawn]
    assert told[0] == told[1]
    figures = [[float(number) for number in NUMBERS.findall(text)] for text in drawn]
    assert len(figures[0]) > 100
    assert figures[0] == pytest.approx(figures[1], abs=0.11)


@pytest.mark.parametrize(("first", "last", "said"), [(1.125, 10.125, "10.12"), (0.3125, 10.12549, "10.13")])
def test_what_lies_between_two_figures_is_rounded_alike_by_the_template_and_by_the_script(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: float, last: float, said: str
) -> None:
    recipe = make_recipe()
    records = [make_record(recipe, number, point, 0.9) for number, point in enumerate(recipe.grid())]
    lines = [
        line.model_copy(update={"epoch": epoch}) for line, epoch in zip(make_evaluations(2), (first, last), strict=True)
    ]
    run = write_run(tmp_path / "ties", recipe, records, evaluations=lines)
    pages = by_template_and_script(browser, run, monkeypatch, ".sketch")
    written = [page.locator("tr.detail .sketch :is(title, text)").all_text_contents() for page in pages]
    assert written[0] == written[1]
    assert f"epoch {first:.3g}" in written[0]
    assert f"highest at epoch {said} (" in " ".join(written[0])


def test_a_page_that_is_loaded_anew_has_its_board_as_it_was_left(browser: Browser, long: Path) -> None:
    with opened(browser, long) as found:
        page = found.page
        page.locator("#board button.sort", has_text="Loss").click()
        page.locator("#board button.sort", has_text="Loss").click()
        page.get_by_role("searchbox").fill("lora_alpha=16")
        page.wait_for_function("document.querySelectorAll('#board > tbody > tr.row').length === 65")
        for place in (0, 3):
            page.locator("#board > tbody > tr.row button.open").nth(place).click()
        page.reload()
        page.wait_for_selector("#detail-0003 .matrix")
        ids = page.locator("tr.detail").evaluate_all("rows => rows.map(row => row.id)")
        assert ids == ["detail-0000", "detail-0003"]
        assert page.locator("#board > tbody > tr.row").count() == 65
        assert page.locator("#board th[aria-sort=descending]").inner_text() == "Loss"
        assert page.get_by_role("searchbox").input_value() == "lora_alpha=16"
        assert found.said == []


def test_a_row_without_curves_of_its_own_opens_to_a_recipe_too(browser: Browser, long: Path, tmp_path: Path) -> None:
    with opened(browser, long) as found:
        page = found.page
        row = page.locator("#board > tbody > tr.row").nth(60)
        values = [" ".join(text.split()) for text in row.locator("td").all_text_contents()]
        row.locator("button.open").click()
        path = tmp_path / "recipe.yaml"
        path.write_text(page.locator("tr.detail pre").inner_text(), encoding="utf-8")
        recipe = read_recipe(path)
        assert not recipe.axes
        assert [str(recipe.lora.r), str(recipe.lora.lora_alpha)] == values[1:3]
        assert recipe.train.learning_rate == 1e-5
        assert recipe.train.seed == 42
        assert recipe.lora.target_modules == ("query",)


def test_a_long_leaderboard_is_turned_over_by_the_hundred(browser: Browser, long: Path) -> None:
    with opened(browser, long) as found:
        page = found.page
        status = page.locator("#leaderboard [role=status]")
        assert len(column(page, 1)) == 100
        assert status.inner_text() == "130 rows, 1 to 100 shown"
        page.get_by_role("button", name="Next 100").click()
        assert column(page, 1) == [str(rank) for rank in range(101, 131)]
        assert status.inner_text() == "130 rows, 101 to 130 shown"
        assert page.get_by_role("button", name="Next 100").is_disabled()
        page.get_by_role("button", name="Previous 100").click()
        assert column(page, 1)[0] == "1"


def test_one_row_is_one_row_and_the_smallest_part_of_the_cap_is_seen(browser: Browser, tmp_path: Path) -> None:
    recipe = make_recipe(budget={"max_trainable_parameters": 900_000_000})
    run = write_run(tmp_path / "one", recipe, [make_record(recipe, 0, next(iter(recipe.grid())), 0.9)])
    with opened(browser, write_report(run, may_draw=lambda: False)) as found:
        assert found.page.locator("#leaderboard [role=status]").inner_text() == "1 row"
        parts = found.page.locator(".bar i").evaluate_all("parts => parts.map(part => part.clientWidth)")
        assert len(parts) == 3
        assert min(parts) > 0


def test_an_interval_is_drawn_beside_its_figure_where_a_reason_takes_several_lines(
    browser: Browser, tmp_path: Path
) -> None:
    recipe = make_recipe(train={"num_train_epochs": 16})
    record = make_record(recipe, 0, next(iter(recipe.grid())), 0.9).model_copy(update={"epochs": 10.2})
    with opened(browser, write_report(write_run(tmp_path / "one", recipe, [record]), may_draw=lambda: False)) as found:
        cell = found.page.locator("#board tbody td").first
        middles = cell.evaluate(
            """cell => [...cell.querySelectorAll("small, .whisker")].map(part => {
                const place = part.getBoundingClientRect(); return place.top + place.height / 2; })"""
        )
        assert cell.evaluate("cell => cell.offsetHeight") > 50
        assert abs(middles[0] - middles[1]) < 3


def test_pointing_at_a_picture_says_which_trial_it_is(browser: Browser, demo: Path) -> None:
    with opened(browser, demo) as found:
        page = found.page
        mark = page.locator("#tradeoffs svg").first.locator("[data-trial='0003']")
        mark.scroll_into_view_if_needed()
        mark.hover()
        tip = page.locator(".tip")
        assert tip.is_visible()
        assert tip.inner_text().startswith("Rank 1, trial 0003 (r 4, learning_rate 0.003): accuracy 0.968")
        page.mouse.move(5, 5)
        assert not tip.is_visible()


def test_the_points_of_a_picture_are_gone_through_by_keyboard(browser: Browser, demo: Path) -> None:
    with opened(browser, demo) as found:
        page = found.page
        svg = page.locator("#tradeoffs svg").first
        assert svg.locator("[tabindex='0']").count() == 1
        svg.locator("[tabindex='0']").focus()
        said = {page.locator(".tip").inner_text()}
        for _ in range(3):
            page.keyboard.press("ArrowRight")
            said.add(page.locator(".tip").inner_text())
        assert len(said) == svg.locator(".mark").count() == 4
        page.keyboard.press("Enter")
        assert page.locator("tr.detail").count() == 1
        assert page.evaluate("document.activeElement.classList.contains('open')")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_follows_the_system_and_can_be_told_otherwise(browser: Browser, demo: Path, scheme: Scheme) -> None:
    brightness = "getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)"
    with opened(browser, demo, scheme=scheme) as found:
        page = found.page
        before = sum(page.evaluate(brightness))
        assert before > 600 if scheme == "light" else before < 150
        assert page.locator("#tradeoffs svg text").first.evaluate("e => getComputedStyle(e).fill") != "rgb(0, 0, 0)"
        page.get_by_role("button", name="colours").click()
        after = sum(page.evaluate(brightness))
        assert after < 150 if scheme == "light" else after > 600


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_serious(browser: Browser, demo: Path, scheme: Scheme, width: int) -> None:
    with opened(browser, demo, width=width, scheme=scheme) as found:
        found.page.locator("button.open").first.click()
        assert serious_violations(found.page) == []


def test_axe_finds_nothing_serious_in_what_a_run_can_have_beside(browser: Browser, full: Path) -> None:
    for scheme, width in zip(SCHEMES, (1280, 390), strict=True):
        with opened(browser, full, width=width, scheme=scheme) as found:
            for part in ("#against", "#similarity .plot", "#effects .matrix", "#failures .errors"):
                assert found.page.locator(part).count() > 0, part
            assert serious_violations(found.page) == []
            assert overflow(found.page) <= 0


@pytest.mark.parametrize("which", ["demo", "long", "hostile"])
def test_a_phone_needs_no_scrolling_sideways(browser: Browser, which: str, request: pytest.FixtureRequest) -> None:
    with opened(browser, request.getfixturevalue(which), width=390) as found:
        found.page.locator("button.open").first.click()
        assert overflow(found.page) <= 0


def test_on_a_phone_the_command_of_an_opened_row_is_whole(browser: Browser, demo: Path) -> None:
    with opened(browser, demo, width=360) as found:
        found.page.locator("button.open").first.click()
        box = found.page.locator("#board .detail p code").first.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] < 344  # where the table ends


def test_the_picture_of_all_comparisons_can_be_read_on_a_phone(browser: Browser, full: Path) -> None:
    with opened(browser, full, width=360) as found:
        text = found.page.locator("#effects .plot text").first
        assert text.evaluate("text => text.getBoundingClientRect().height") > 9
        assert overflow(found.page) <= 0


def test_a_confusion_of_twenty_classes_fits_the_page_and_names_its_rows_on_a_phone(
    browser: Browser, tmp_path: Path
) -> None:
    labels = tuple(f"alt.discussion.{number}" for number in range(20))
    recipe = make_recipe(lora={}, train={})
    best = make_record(recipe, 0, {}, 0.97, labels=labels, test=make_score(432 / 445, TEST_ROWS))
    run = write_run(tmp_path / "twenty", recipe, [best], best=best, predictions=make_predictions(labels))
    path = write_report(run, may_draw=lambda: False)
    beyond = "region => region.scrollWidth - region.clientWidth"
    for width in (1280, 360):
        with opened(browser, path, width=width) as found:
            region = found.page.locator("#failures .scroll", has=found.page.locator(".matrix")).first
            assert (region.evaluate(beyond) <= 0) is (width == 1280)
            region.evaluate("region => { region.scrollLeft = 9999; }")
            box = region.locator("tbody th").last.bounding_box()
            assert box is not None
            assert box["x"] >= 0


def test_without_javascript_text_tables_and_pictures_are_there(browser: Browser, demo: Path) -> None:
    with opened(browser, demo, script=False) as found:
        page = found.page
        assert page.locator("#board > tbody > tr").count() == 6
        assert page.locator("svg.plot").count() == 7
        assert all(page.locator("svg.plot").nth(at).is_visible() for at in range(7))
        page.locator("#board > tbody > tr a").first.click()
        page.locator("#row-0003 > summary").click()
        assert page.locator("#row-0003 pre").is_visible()
        assert page.locator("#row-0003 svg.sketch").first.is_visible()
        assert page.locator("#tradeoffs .mark title").first.text_content()
        assert page.locator("button").count() == 0


def test_without_javascript_the_rest_of_a_long_leaderboard_is_folded(browser: Browser, long: Path) -> None:
    with opened(browser, long, script=False) as found:
        found.page.get_by_text("Rows 26 to 130").click()
        assert found.page.locator("#board-rest > tbody > tr").last.is_visible()


@pytest.mark.parametrize("which", ["demo", "long"])
def test_on_paper_no_table_is_cut_off(browser: Browser, which: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(which)
    across = {"demo": 182, "long": 273}[which]  # of a page of A4 without its margins, in mm: long tables lie across
    with opened(browser, path, width=int(across / 25.4 * 96)) as found:
        page = found.page
        page.emulate_media(media="print")
        assert (
            page.evaluate(
                "[...document.querySelectorAll('table, pre, svg.plot')].filter(e => e.checkVisibility()"
                " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90))"
            )
            == []
        )
        assert not page.locator("nav").is_visible()
        assert not any(each.is_visible() for each in page.locator("details:not([open])").all())
        pdf = page.pdf(prefer_css_page_size=True)
        assert pdf.startswith(b"%PDF")
        assert 1 < pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page/") <= 15


def test_hostile_text_injects_no_element_and_runs_nothing(browser: Browser, hostile: Path) -> None:
    with opened(browser, hostile) as found:
        page = found.page
        for button in page.locator("button.open").all()[:30]:
            button.click()
        page.get_by_role("searchbox").fill(PAYLOADS[2])
        for mark in page.locator(".mark").all()[:5]:
            mark.dispatch_event("focusin")
        assert page.evaluate("window.pwned") is None
        assert found.said == []
        assert found.asked == [hostile.as_uri()]
        wrong = "img, iframe, object, embed, link, base, form, math, mglyph, textarea, marquee, a[href^='javascript' i]"
        assert page.locator(wrong).count() == 0
        assert page.locator("script").count() == page.locator("style").count() == 1
        assert page.locator("title:not(svg title)").count() == 1
        attributes = page.evaluate("[...document.querySelectorAll('*')].flatMap(each => each.getAttributeNames())")
        assert not [name for name in attributes if name.startswith("on")]
        assert page.locator("body").is_visible()
        assert page.locator("section").count() == page.locator("nav a").count()


def test_hostile_text_is_shown_as_it_is(browser: Browser, hostile: Path) -> None:
    with opened(browser, hostile) as found:
        text = found.page.locator("body").inner_text()
        for payload in (PAYLOADS[0], PAYLOADS[2], PAYLOADS[12], PAYLOADS[21]):
            assert payload in text


def test_hostile_values_come_back_from_a_row_s_recipe(browser: Browser, hostile: Path, tmp_path: Path) -> None:
    with opened(browser, hostile) as found:
        page = found.page
        models = set()
        for button in page.locator("button.open").all()[-12:]:
            button.click()
            path = tmp_path / "recipe.yaml"
            path.write_text(page.locator("tr.detail pre").text_content() or "", encoding="utf-8")
            recipe = read_recipe(path)
            models.add(recipe.backbone.model)
            assert recipe.data.train_file == PAYLOADS[2]
            button.click()
        assert len(models & {payload.replace("\x00", "").replace("\x1b", "") for payload in PAYLOADS}) > 3


def test_axe_finds_nothing_serious_with_hostile_text(browser: Browser, hostile: Path) -> None:
    with opened(browser, hostile) as found:
        assert serious_violations(found.page) == []
