"""Embeddings of a run's rows: made once, made anew where they are stale, and given up in a sentence."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import loraloom
from loraloom.data import Split, load_again, load_data
from loraloom.data.sampling import part_rows
from loraloom.errors import DataError, StoppedError
from loraloom.recipe import read_recipe
from loraloom.report.writing import write_report
from loraloom.search.clock import Clock
from loraloom.study.cross_fitted import read_cross_fitted
from loraloom.study.embeddings import Key, read_embeddings
from loraloom.study.integrity import RECIPE, write_recipe
from loraloom.study.run import Run
from loraloom.use import evaluate, similarity
from loraloom.use.second_set import SecondRows, read_second
from loraloom.use.similarity import collect, collect_in_time
from study.agnews_files import agnews_folder
from tests.conftest import make_rows, write_csv
from tests.report.similarity.embedded_runs import found_in
from tests.study.study_records import record as make_record


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run of one trial, with the files that it was made from beside it."""
    folder = tmp_path_factory.mktemp("similar")
    rows = write_csv(folder / "rows.csv", make_rows(150, seed=1))
    recipe: dict[str, Any] = {
        "data": {"train_file": str(rows), "validation_share": 0.2, "max_length": 16},
        "backbone": {"model": str(shutil.copytree(tiny_model, folder / "model"))},
        "train": {"learning_rate": 0.02, "bf16": False},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loraloom.conclusion.write_report", lambda *_, **__: None)
        loraloom.search(recipe, folder / "run")
    return folder


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    """A copy of it, as the search left it."""
    return Path(shutil.copytree(searched / "run", tmp_path / "run"))


def counting() -> tuple[list[int], Callable[[int, int], None]]:
    heard: list[int] = []
    return heard, lambda done, _: heard.append(done)


def test_a_search_without_a_deadline_leaves_embeddings_of_its_rows(run: Path) -> None:
    kept = read_embeddings(run)
    assert kept is not None
    data = load_data(Run(run).recipe.data, seed=42)
    assert [len(part) for part in (kept.train, kept.validation, kept.test)] == [
        len(data.train), len(data.validation), len(data.test),
    ]  # fmt: skip
    assert kept.train.vectors.shape[1] == 32
    assert found_in(run).comparisons[0].names == ("training", "test")


def test_of_many_test_rows_those_are_embedded_that_a_part_of_them_is_tested_on(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(run / "similarity")
    monkeypatch.setitem(similarity.MOST, "test", 5)
    assert collect(run) is None
    kept, test = read_embeddings(run), load_data(Run(run).recipe.data, seed=42).test
    assert kept is not None
    assert kept.test.numbers.tolist() == evaluate.tested_part(test, 5).tolist()
    assert set(kept.test.numbers.tolist()) < set(evaluate.tested_part(test, 9).tolist())


def test_a_search_without_a_deadline_judges_its_training_rows(run: Path) -> None:
    kept, fitted = read_embeddings(run), read_cross_fitted(run, 3)
    assert kept is not None
    assert fitted is not None
    assert fitted.key == kept.key
    assert fitted.predicted.labels.tolist() == load_data(Run(run).recipe.data, seed=42).train.labels.tolist()


def test_training_rows_are_judged_anew_where_only_that_is_lacking(run: Path) -> None:
    shutil.rmtree(run / "cross_fitted")
    heard, progress = counting()
    assert collect(run, progress=progress) is None
    assert heard == []
    assert read_cross_fitted(run, 3) is not None


def test_without_the_data_embeddings_stand_and_training_rows_are_not_judged(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(run / "cross_fitted")
    recipe = Run(run).recipe
    monkeypatch.setattr("loraloom.use.similarity.load_again", lambda *_, **__: load_data(recipe.data, seed=7))
    assert collect(run) is None
    assert not (run / "cross_fitted").exists()


def test_vectors_are_the_masked_mean_of_the_last_hidden_states(run: Path, searched: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    kept = read_embeddings(run)
    assert kept is not None
    text = load_data(Run(run).recipe.data, seed=42).test.texts[3]
    batch = AutoTokenizer.from_pretrained(searched / "model")([text], return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        mean = AutoModel.from_pretrained(searched / "model").eval()(**batch).last_hidden_state[0].mean(dim=0).numpy()
    assert np.allclose(kept.test.vectors[3], mean / np.linalg.norm(mean), atol=2e-3)


def test_what_is_kept_is_not_made_again(run: Path) -> None:
    heard, progress = counting()
    assert collect(run, progress=progress) is None
    assert heard == []


def test_progress_is_told_up_to_the_last_text(run: Path) -> None:
    shutil.rmtree(run / "similarity")
    heard, progress = counting()
    assert collect(run, progress=progress) is None
    kept = read_embeddings(run)
    assert kept is not None
    assert heard[0] == 0
    assert heard[-1] == len(kept.train) + len(kept.validation) + len(kept.test)


def test_what_takes_long_before_and_after_is_told(run: Path) -> None:
    heard: list[str] = []
    assert collect(run, note=heard.append) is None
    assert heard == []
    shutil.rmtree(run / "similarity")
    shutil.rmtree(run / "cross_fitted")
    assert collect(run, note=heard.append) is None
    assert heard == ["reading and checking the data", "judging the labels of training rows"]


def test_damaged_embeddings_are_made_anew(run: Path) -> None:
    (run / "similarity" / "embeddings.safetensors").write_bytes(b"x")
    assert collect(run) is None
    assert read_embeddings(run) is not None


@pytest.mark.usefixtures("no_pictures")
def test_without_the_data_it_is_a_sentence_and_the_report_stands(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(run / "similarity")
    recipe = Run(run).recipe
    monkeypatch.setattr("loraloom.use.similarity.load_again", lambda *_, **__: load_data(recipe.data, seed=7))
    why = collect(run)
    assert why == "the data 'rows.csv' have changed since the run"
    assert "was not measured: <bdi>the data" in write_report(run, why_not_similar=why).read_text()


def test_without_the_model_it_is_a_sentence(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(run / "similarity")
    monkeypatch.setattr("loraloom.backbone.sources.pin", lambda _: "sha256:another")
    why = collect(run)
    assert why is not None
    assert why.endswith("on this machine is not the run's")
    assert not (run / "similarity").exists()


def test_an_unfinished_run_is_not_embedded(run: Path) -> None:
    shutil.rmtree(run / "best")
    assert collect(run) == "the search has no tested winner yet"


def perturbed(path: Path, labels: bool = True) -> Path:
    """Machine-like texts: the same classes in words that the model does not know, and two rows without a text."""
    rows = [
        (" ".join([f"x{n % 7}", *text.split()[:2]]), label) for n, (text, label) in enumerate(make_rows(90, seed=5))
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"] if labels else ["text"])
        writer.writerows([("", "food"), ("  ", "tools"), *rows] if labels else [[text] for text, _ in rows])
    return path


def test_a_second_file_is_embedded_predicted_and_kept(run: Path, tmp_path: Path) -> None:
    heard, progress = counting()
    assert collect(run, compare_file=perturbed(tmp_path / "machine.csv"), progress=progress) is None
    assert heard[-1] == 90
    kept = read_embeddings(run)
    assert kept is not None
    assert kept.second is not None
    assert (kept.second.about.file, kept.second.about.rows, kept.second.about.empty) == ("machine.csv", 90, 2)
    assert kept.second.embedded.numbers.tolist() == list(range(2, 92))  # as the file has them
    assert found_in(run).how.endswith(" and 90 machine.csv rows")
    right = loraloom.load(run / "best").predict([text for text, _ in _rows(tmp_path / "machine.csv")])
    truth = [label for _, label in _rows(tmp_path / "machine.csv")]
    assert kept.second.about.trained_on == 0
    assert kept.second.correct is not None
    assert int(kept.second.correct.sum()) == sum(one == other for one, other in zip(right, truth, strict=True))
    heard.clear()
    assert collect(run, compare_file=tmp_path / "machine.csv", progress=progress) is None
    assert heard == []
    assert found_in(run).second is not None


def _rows(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file) if row["text"].strip()]


def test_of_a_second_file_the_texts_that_the_winner_was_trained_on_are_told(run: Path, tmp_path: Path) -> None:
    split = load_again(Run(run).recipe).train
    names = loraloom.load(run / "best").labels
    learnt = [(f"{split.texts[row].upper()}!", names[split.labels[row]]) for row in range(30)]
    others = _rows(perturbed(tmp_path / "others.csv"))
    assert collect(run, compare_file=write_csv(tmp_path / "known.csv", [*learnt, learnt[0], *others])) is None
    kept, said = read_embeddings(run), found_in(run).on_second
    assert kept is not None
    assert kept.second is not None
    assert kept.second.about.trained_on == len({text for text, _ in learnt})
    assert said is not None
    assert said.endswith(
        f" {kept.second.about.trained_on} of these rows were for training in its run: they say nothing about new "
        "texts, and raise the figures."
    )


def test_a_second_file_without_labels_is_compared_by_its_texts(run: Path, tmp_path: Path) -> None:
    assert collect(run, compare_file=perturbed(tmp_path / "texts.csv", labels=False)) is None
    assert found_in(run).on_second == "Accuracy on texts.csv is not measured: it has no column of labels."


def test_texts_that_stand_again_in_a_file_are_compared_once(run: Path, tmp_path: Path) -> None:
    rows = make_rows(40, seed=6)
    shouted = [(f"{text.upper()}!", label) for text, label in rows[:10]]
    assert collect(run, compare_file=write_csv(tmp_path / "other.csv", [*rows, *shouted])) is None
    kept, found = read_embeddings(run), found_in(run)
    assert kept is not None
    assert kept.second is not None
    assert kept.second.embedded.again is not None
    assert np.flatnonzero(kept.second.embedded.again).tolist() == list(range(40, 50))
    assert kept.train.again is not None
    assert not kept.train.again.any()
    assert found.comparisons[1].result is not None
    assert found.comparisons[1].result.second == 40
    assert "40 rows without 10 copies of their texts)" in str(found.on_second)


def test_rare_classes_have_no_more_than_their_share_of_the_rows_that_are_embedded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 200 of these rows 100 would be of classes that have one row in twenty."""
    labels = np.concatenate([np.zeros(19_000, np.int64), np.repeat(np.arange(1, 101), 10)])
    texts = tuple(map(str, range(len(labels))))
    for name in similarity.MOST:
        monkeypatch.setitem(similarity.MOST, name, 200)
    data: Any = SimpleNamespace(**dict.fromkeys(("train", "validation", "test"), Split(texts, labels)))
    second = SecondRows(Path("f.csv"), np.arange(len(labels)), texts, labels, 0, None, "", None)
    recipe = read_recipe({"data": {"dataset": "demo"}})
    chosen = similarity._own_texts(data, Key("data", "model", "revision", 64, len(labels)), recipe)
    parts = {name: rows for name, (_, rows) in chosen.items()} | {"second": similarity._second_numbers(second, recipe)}
    assert {name: len(rows) for name, rows in parts.items()} == dict.fromkeys(similarity.MOST, 200)
    assert all(np.mean(labels[rows] > 0) < 0.12 for rows in parts.values())
    few = similarity._own_texts(data, Key("data", "model", "revision", 64, 300), recipe)["train"][1]
    assert set(few.tolist()) < set(part_rows(labels, 300, recipe.train.seed).tolist())  # that it was trained on


def test_a_second_file_may_have_any_name_and_cells_that_look_like_a_header(run: Path, tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"t\xe9xts.csv")
    file.write_text("text,note\n" + "".join(f"{text},note\n" for text, _ in make_rows(40, seed=6)))
    assert collect(run, compare_file=file) is None
    assert found_in(run).on_second == "Accuracy on t?xts.csv is not measured: it has no column of labels."


@pytest.mark.parametrize(
    ("first", "said"), [("a text of a hundred letters " * 4, "looks like data"), ("text\tlabel", "separated by tabs")]
)
def test_a_second_file_without_a_header_is_refused(run: Path, tmp_path: Path, first: str, said: str) -> None:
    (tmp_path / "texts.csv").write_text(f"{first}\n" + "the cat near a dog;animals\n" * 9)
    with pytest.raises(DataError, match=said):
        collect(run, compare_file=tmp_path / "texts.csv")


def test_rows_without_a_text_take_their_labels_with_them(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "rows.csv", [("", "b"), ("cat", "a"), (" ", "a"), ("dog", "b"), ("cow", "b")])
    found = read_second(file, make_record(0))
    assert (found.texts, found.numbers.tolist(), found.empty) == (("cat", "dog", "cow"), [1, 3, 4], 2)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1]


def test_of_very_many_columns_of_a_second_file_the_first_are_named(tmp_path: Path) -> None:
    file, numbers = tmp_path / "numbers.csv", range(200)
    file.write_text("\n".join([",".join(f"n{number}" for number in numbers), ",".join(map(str, numbers))]))
    with pytest.raises(DataError, match=r"its columns are 'n0', .*, 'n99' and 100 more; in the file's header, name it"):
        read_second(file, make_record(0))


def test_labels_that_the_run_does_not_know_are_said(run: Path, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "other.csv", [(text, f"class of {label}") for text, label in make_rows(40, seed=6)])
    assert collect(run, compare_file=file) is None
    said = found_in(run).on_second
    assert said is not None
    assert "not measured: unknown labels 'class of animals'" in said


def test_another_name_of_the_texts_column_is_found(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "odd.jsonl"
    lines = [{"Body": text, "n": n} for n, (text, _) in enumerate(make_rows(30, seed=7))]
    file.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"Body": float("nan"), "n": 9}]))
    assert collect(run, compare_file=file) is None
    kept = read_embeddings(run)
    assert kept is not None
    assert kept.second is not None
    assert (kept.second.about.rows, kept.second.about.empty) == (30, 1)


def test_a_second_file_that_the_winner_s_tokenizer_reads_nothing_of_names_its_model(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = Run(run).best()
    assert winner is not None
    model = winner.configuration.backbone.model
    recipe = read_recipe({**Run(run).recipe.model_dump(), "backbone": {"model": ["another", model]}})
    write_recipe(run / RECIPE, recipe)
    monkeypatch.setattr("loraloom.use.similarity._Embedding.readable", lambda _, texts: np.zeros(len(texts), bool))
    why = collect(run, compare_file=perturbed(tmp_path / "machine.csv"))
    assert why == f"the model {model!r} can read no text in {tmp_path / 'machine.csv'}"


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("a,b\n1,2\n", "its columns are 'a', 'b'; in the file's header, name it 'text', as in the run"),
        ("text,label\n,food\n", "no row has a text"),
        ("text,label\n", "has a header but no rows"),
        ("text,label\nx\n", "row 1"),
    ],
    ids=["odd columns", "empty texts", "no rows", "a ragged row"],
)
def test_a_second_file_that_can_not_be_read_is_an_error_of_its_own(
    run: Path, tmp_path: Path, content: str, rule: str
) -> None:
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(DataError, match=rule):
        collect(run, compare_file=tmp_path / "bad.csv")
    assert read_embeddings(run) is not None


def clock_with(left: float) -> Clock:
    """A clock whose command has `left` seconds, and took a second to load."""
    clock = Clock(max_seconds=left, now=lambda: 0.0)
    clock.loading_seconds = 1.0
    return clock


@pytest.mark.parametrize(("left", "made"), [(5.0, False), (3600.0, True)])
def test_before_a_deadline_rows_are_embedded_only_where_the_time_is_sure_to_suffice(
    run: Path, left: float, made: bool
) -> None:
    shutil.rmtree(run / "similarity")
    winner = Run(run).best()
    assert winner is not None
    data = load_data(Run(run).recipe.data, seed=42)
    heard: list[str] = []
    why = collect_in_time(run, winner, data, clock_with(left), heard.append)
    assert (why is None) is made
    assert (run / "similarity").is_dir() is made
    assert bool(heard) is made


def test_what_an_earlier_command_embedded_is_not_embedded_nor_said_to_be(run: Path, tmp_path: Path) -> None:
    assert collect(run, compare_file=perturbed(tmp_path / "machine.csv")) is None
    before = {path.name: path.stat().st_ino for path in (run / "similarity").iterdir()}
    winner, heard = Run(run).winner(), list[str]()
    data = load_data(Run(run).recipe.data, seed=42)
    assert collect_in_time(run, winner, data, Clock(None), heard.append) is None
    assert heard == []
    assert {path.name: path.stat().st_ino for path in (run / "similarity").iterdir()} == before


def test_it_gives_up_in_the_middle_where_the_machine_has_become_slow(run: Path) -> None:
    shutil.rmtree(run / "similarity")
    heard, progress = counting()
    why = collect(run, progress=progress, seconds_left=lambda: 0.0)
    assert why is not None
    assert "leaves it out" in why
    assert len(heard) == 2
    assert not (run / "similarity").exists()


def test_it_gives_up_in_the_middle_where_the_run_is_asked_to_stop(run: Path) -> None:
    shutil.rmtree(run / "similarity")
    winner, wishes = Run(run).best(), iter([False, False])
    assert winner is not None
    data = load_data(Run(run).recipe.data, seed=42)
    why = collect_in_time(run, winner, data, Clock(None), lambda _: None, lambda: next(wishes, True))
    assert why == "the run was asked to stop"
    assert not (run / "similarity").exists()


def test_a_signal_in_the_middle_of_it_stops_the_command(run: Path) -> None:
    shutil.rmtree(run / "similarity")

    def stopping(done: int, _: int) -> None:
        if done:
            raise StoppedError(run, "stopped by SIGTERM")

    with pytest.raises(StoppedError):
        collect(run, progress=stopping)
    assert not (run / "similarity").exists()


def test_agnews_is_far_from_the_demo_texts(run: Path, tmp_path: Path) -> None:
    file = agnews_folder() / "test.csv"
    if not file.is_file():
        pytest.skip("no AG News files; set LORALOOM_AGNEWS")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [(row["text"], row["label"]) for _, row in zip(range(200), csv.DictReader(lines), strict=False)]
    assert collect(run, compare_file=write_csv(tmp_path / "agnews.csv", rows)) is None
    found = found_in(run)
    assert [each.verdict.head for each in found.comparisons[1:]] == ["Texts of another kind"] * 2
    assert found.on_second is not None
    assert "unknown label" in found.on_second
