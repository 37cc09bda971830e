"""The card of best/: metadata that the hub's own reader understands, measured numbers, nothing of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load

from loraloom.report.model_card import model_card
from loraloom.report.wording import clean
from loraloom.study.record import BLENDED, TrialRecord
from tests.report.report_runs import (
    LABELS,
    PROVENANCE,
    SEARCH,
    TEST_ROWS,
    VALIDATION_ROWS,
    make_recipe,
    make_record,
    make_score,
    write_commands,
    write_run,
)
from tests.report.test_report_markdown import PAYLOADS, hostile_run, nodes

CARDS = {"data": {}, "models": {"demo": {"name": "owner/model", "license": "apache-2.0", "card": "/home/me/README.md"}}}


def run_of(folder: Path, about: dict[str, Any] | None = None, **sections: Any) -> tuple[Path, TrialRecord]:
    recipe = make_recipe({**PROVENANCE, "cards": CARDS, **(about or {})}, lora={"r": [2, 4]}, train={}, **sections)
    records = [make_record(recipe, n, point, 0.95 + n / 100) for n, point in enumerate(recipe.grid())]
    tested = make_record(recipe, 1, records[1].point, 0.96, test=make_score(0.97, TEST_ROWS))
    return write_run(folder, recipe, records), tested


def read(text: str, folder: Path) -> Any:
    (folder / "README.md").write_text(text, encoding="utf-8")
    return ModelCard.load(folder / "README.md")


def test_what_the_winner_was_chosen_by_is_named(tmp_path: Path) -> None:
    assert "chosen by its validation accuracy" in model_card(*run_of(tmp_path / "one"))
    by_f1 = model_card(*run_of(tmp_path / "two", search={"metric": "macro_f1"}))
    assert "chosen by its validation macro-F1" in by_f1
    run, record = run_of(tmp_path / "three")
    of_blend = model_card(run, record.model_copy(update={"marks": (BLENDED,)}))
    assert "The adapter in it was chosen by its validation accuracy, which flatters it there" in of_blend


def test_a_trial_that_the_search_did_not_choose_is_said_to_be_so(tmp_path: Path) -> None:
    card = model_card(*run_of(tmp_path / "run"), chosen=False)
    assert "It is trial 1 of a search, and not the one that the search chose." in card
    assert "chosen by its validation" not in card


def test_a_single_trial_is_not_said_to_be_chosen(tmp_path: Path) -> None:
    recipe = make_recipe(lora={}, train={})
    tested = make_record(recipe, 0, {}, 0.95, test=make_score(0.94, TEST_ROWS))
    assert "flatters" not in model_card(write_run(tmp_path / "tested", recipe, [tested]), tested)
    untested = make_record(recipe, 0, {}, 0.95)
    card = model_card(write_run(tmp_path / "untested", recipe, [untested]), untested)
    assert "There are no test rows: the accuracy is of the validation rows.\n" in card
    assert "flatters" not in card


def test_of_a_search_without_test_rows_none_is_spoken_of_in_the_results(tmp_path: Path) -> None:
    run, tested = run_of(tmp_path / "run")
    assert "; the test rows had no part in the choice." in model_card(run, tested)
    record = make_record(make_recipe(lora={"r": [2, 4]}, train={}), 1, tested.point, 0.96)
    card = model_card(run, record)
    assert "It was chosen by its validation accuracy, which flatters it there.\n" in card
    assert "rows by which this configuration was chosen, and flatters it." in card


def test_of_test_rows_that_are_validation_rows_too_it_is_not_said_that_they_had_no_part_in_the_choice(
    tmp_path: Path,
) -> None:
    kept = [{"kind": kind, "splits": ["validation", "test"], "count": 20} for kind in ("leak", "near_copy")]
    card = model_card(*run_of(tmp_path / "run", {"data": {**PROVENANCE["data"], "findings": kept}}))
    shared = "40 validation rows that are in test too, or nearly"
    assert f"; the test rows had no part in the choice, but for {shared}." in card
    assert f"40 of {VALIDATION_ROWS} validation rows are in test too, or nearly: it was chosen by rows" in card


@pytest.mark.parametrize("split", ["test", "validation"])
def test_that_a_constant_answer_does_as_well_is_said_by_the_shares_of_the_classes(tmp_path: Path, split: str) -> None:
    """The card has no predictions of single rows, nor has the page of a search that goes on."""
    rows = {name: dict(zip(LABELS, (1, 2, common, 3, 4), strict=True)) for name, common in ((split, 200), ("train", 2))}
    run, tested = run_of(tmp_path / "run", {"data": {**PROVENANCE["data"], "class_rows": rows}})
    record = (
        tested if split == "test" else make_record(make_recipe(lora={"r": [2, 4]}, train={}), 1, tested.point, 0.96)
    )
    said = (
        f"It is not shown to beat a constant answer: “politics” for every {split} row would reach an accuracy of 0.952."
    )
    assert said in model_card(run, record)
    other = "validation" if split == "test" else "test"
    run, _ = run_of(tmp_path / "other", {"data": {**PROVENANCE["data"], "class_rows": {other: rows[split]}}})
    assert "constant answer" not in model_card(run, record)


def test_a_result_names_the_file_that_its_rows_are_from(tmp_path: Path) -> None:
    files = {"train_file": "/home/me/train.csv", "test_file": "/home/me/test.csv"}
    about = {"data": {**PROVENANCE["data"], "name": "train.csv"}}
    card = read(model_card(*run_of(tmp_path / "run", about, data=files)), tmp_path)
    assert card.data.eval_results is not None
    assert {(one.dataset_split, one.dataset_name) for one in card.data.eval_results} == {
        ("test", "test.csv"), ("validation", "train.csv"),
    }  # fmt: skip
    assert "/home/me" not in (tmp_path / "README.md").read_text()


def test_the_hubs_reader_finds_what_the_run_knows(tmp_path: Path) -> None:
    card = read(model_card(*run_of(tmp_path / "run")), tmp_path)
    data = card.data
    assert (data.base_model, data.library_name, data.pipeline_tag) == ("owner/model", "peft", "text-classification")
    assert (data.license, data.datasets) == ("apache-2.0", None)
    assert {"lora", "peft"} <= set(data.tags)
    assert data.eval_results is not None
    found = {(one.dataset_split, one.metric_type): one.metric_value for one in data.eval_results}
    test, validation = make_score(0.97, TEST_ROWS), make_score(0.96, VALIDATION_ROWS)
    assert found == {
        ("test", "accuracy"): round(test.accuracy, 6),
        ("test", "f1"): round(test.macro_f1, 6),
        ("validation", "accuracy"): round(validation.accuracy, 6),
        ("validation", "f1"): round(validation.macro_f1, 6),
    }
    assert {one.dataset_name for one in data.eval_results} == {"demo (BBC News)"}
    assert metadata_load(tmp_path / "README.md") == data.to_dict()


def test_a_data_set_of_the_hub_is_linked_and_another_is_not(tmp_path: Path) -> None:
    hub = read(model_card(*run_of(tmp_path / "a", data={"dataset": "fancyzhx/ag_news:default"})), tmp_path).data
    assert hub.datasets == ["fancyzhx/ag_news"]
    assert hub.eval_results is not None
    assert hub.eval_results[0].dataset_type == "fancyzhx/ag_news"
    own = read(model_card(*run_of(tmp_path / "b", data={"train_file": "/home/me/rows.csv"})), tmp_path).data
    assert own.datasets is None


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ({"revision": "abc", "fingerprint": "def"}, "abc"),
        ({"revision": None, "fingerprint": "def"}, "def"),
        ({"revision": {"a": 1}, "fingerprint": [3]}, None),
        (3, None),
    ],
)
def test_a_revision_of_the_data_that_is_no_text_is_as_if_it_were_not_stated(
    tmp_path: Path, stated: Any, kept: str | None
) -> None:
    card = read(model_card(*run_of(tmp_path / "run", {"data": stated})), tmp_path)
    assert {one.dataset_revision for one in card.data.eval_results or ()} == {kept}


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        (None, (None, None)),
        ("MIT", ("mit", None)),
        ("The Own Licence, v1!", ("other", "the-own-licence-v1")),
    ],
)
def test_a_licence_that_the_hub_has_no_name_for_is_another(
    tmp_path: Path, stated: str | None, kept: tuple[str | None, str | None]
) -> None:
    about = {"cards": {"models": {"demo": {"license": stated} if stated else {}}}}
    data = read(model_card(*run_of(tmp_path / "r", about)), tmp_path).data
    assert (data.license, data.to_dict().get("license_name")) == kept
    assert data.base_model is None


def test_the_text_has_labels_results_limits_and_the_recipe(tmp_path: Path) -> None:
    run, tested = run_of(tmp_path / "run")
    text = read(model_card(run, tested), tmp_path).text
    assert "test accuracy of **0.971** (95 % interval 0.951–0.983, 445 rows)" in text
    assert "| 0 | `business` | `0` |" in text
    assert "trained with one seed" in text
    assert "AutoPeftModelForSequenceClassification" in text
    assert "(`MISSING`); the adapter brings its own" in text
    recipe = yaml.safe_load(text.rpartition("```yaml\n")[2].partition("```")[0])
    assert recipe["lora"] == tested.configuration.model_dump(mode="json")["lora"]


def test_nothing_of_this_machine_or_this_hour_is_in_it(tmp_path: Path) -> None:
    """So that it can be published, and that a run which was broken off has the same."""
    texts = []
    for name, started in (("one", "2026-01-01"), ("two", "2026-02-02")):
        data = {"train_file": "/home/me/rows.csv"}
        about = {"command": ["loraloom", f"/home/me/{name}"], "started": started}
        run, tested = run_of(tmp_path / name, about, data=data, backbone={"model": "demo"})
        write_commands(run, SEARCH.model_copy(update={"tested": (1,), "started": started}))
        slow = (
            tested.timings.model_copy(update={"seconds": 1e6}) if tested.timings and name == "two" else tested.timings
        )
        texts.append(model_card(run, tested.model_copy(update={"timings": slow})))
    assert texts[0] == texts[1]
    assert "/home/me" not in texts[0]
    assert str(tmp_path) not in texts[0]


def test_a_winner_tested_after_another_says_so(tmp_path: Path) -> None:
    run, tested = run_of(tmp_path / "run")
    write_commands(run, SEARCH.model_copy(update={"tested": (0,)}))
    assert "The test rows were looked at before: trial 0" in model_card(run, tested)


def test_a_head_of_our_own_is_not_promised_to_peft(tmp_path: Path) -> None:
    text = model_card(*run_of(tmp_path / "r", head={"kind": "linear"}))
    assert "AutoPeft" not in text
    assert "PEFT alone can't load it" in text


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    run = hostile_run(tmp_path_factory.mktemp("ours"), "ours")
    return nodes(_body(model_card(run, _best(run))))


@pytest.mark.parametrize("payload", [each for each in PAYLOADS if "\ud800" not in each])
def test_hostile_text_is_text_in_the_metadata_and_below(tmp_path: Path, ours: dict[str, int], payload: str) -> None:
    run = hostile_run(tmp_path / "run", payload)
    text = model_card(run, _best(run))
    data = read(text, tmp_path).data
    assert data.eval_results is not None
    assert data.eval_results[0].dataset_name == clean(payload)
    assert nodes(_body(text)) == ours
    assert ours["link_open"] == ours["image"] == 0


def _best(run: Path) -> TrialRecord:
    from loraloom.study.record import read_record

    return read_record(run / "best")


def _body(text: str) -> str:
    return text.partition("\n---\n")[2]


def test_a_card_has_a_row_for_each_label(tmp_path: Path) -> None:
    text = model_card(*run_of(tmp_path / "r"))
    assert [label for label in LABELS if f"`{label}`" not in text] == []
