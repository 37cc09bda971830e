"""The section on similarity: what it says of a run, of a second set, and where it can't say anything."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from loraloom.report.findings import findings
from loraloom.report.markdown import markdown
from loraloom.report.pictures.drawing import STYLE
from loraloom.report.pictures.similarity import draw_similarity
from loraloom.report.reading import read_run
from loraloom.report.similarity import similarity
from loraloom.report.similarity.second import Answered, on_second
from loraloom.report.tables import similarity_tables
from loraloom.report.writing import write_report
from loraloom.study.embeddings import read_embeddings, write_embeddings
from tests.report.report_runs import PROVENANCE, make_recipe, whole_run
from tests.report.similarity.embedded_runs import WRONG, embed, found_in, second_set, similar_run


def test_test_rows_of_one_distribution_are_not_found_to_differ(tmp_path: Path) -> None:
    found = found_in(similar_run(tmp_path / "run"))
    (comparison,) = found.comparisons
    assert comparison.names == ("training", "test")
    assert comparison.verdict.head == "No difference found"
    assert "500 and 445 rows" in comparison.verdict.figures
    (trend,) = found.trends
    assert (trend.trend.rows, trend.trend.wrong) == (445, WRONG)
    assert trend.verdict.head == "No dependence on distance found"


@pytest.mark.parametrize("marked", [True, False])
def test_copies_of_training_texts_are_no_difference_from_test(tmp_path: Path, *, marked: bool) -> None:
    """Of one distribution, each training text ten times: taken for 500 texts, they would be found to differ."""
    run = similar_run(tmp_path / "run")
    kept = read_embeddings(run)
    assert kept is not None
    train = replace(kept.train, vectors=np.repeat(kept.train.vectors[:50], 10, axis=0))
    write_embeddings(run, replace(kept, train=replace(train, again=np.arange(500) % 10 > 0) if marked else train))
    (comparison,) = found_in(run).comparisons
    assert (comparison.verdict.head == "No difference found") is marked
    assert f"{50 if marked else 500} and 445 rows" in comparison.verdict.figures


@pytest.mark.parametrize("marked", [True, False])
def test_copies_make_no_accuracy_and_no_trend_of_a_second_set_surer(tmp_path: Path, *, marked: bool) -> None:
    once = second_set(60)
    assert once.correct is not None
    part = replace(
        once.embedded,
        rows=300,
        numbers=np.arange(300),
        vectors=np.repeat(once.embedded.vectors, 5, axis=0),
        again=np.arange(300) % 5 > 0 if marked else None,
    )
    copied = replace(
        once,
        about=replace(once.about, rows=300),
        embedded=part,
        labels=np.zeros(300, np.int64),
        correct=np.repeat(once.correct, 5),
    )
    alone, found = (found_in(similar_run(tmp_path / name, second=it)) for name, it in (("a", once), ("b", copied)))
    counted = [(each.trends[1].trend.rows, each.trends[1].trend.wrong) for each in (found, alone)]
    assert (counted[0] == counted[1]) is marked
    assert alone.on_second is not None
    said = alone.on_second.replace("60 rows", "60 rows without 240 copies of their texts")
    assert (found.on_second == said) is marked
    assert len(found.distances[2].numbers) == 300  # all are drawn


@pytest.mark.usefixtures("no_pictures")
def test_that_copies_are_compared_once_is_not_said_of_embeddings_that_an_earlier_version_kept(tmp_path: Path) -> None:
    run = similar_run(tmp_path / "run")
    said = "of texts that a set has several times, one counts"
    assert said not in write_report(run).read_text()
    kept = read_embeddings(run)
    assert kept is not None
    train, test = (replace(one, again=np.zeros(len(one), dtype=bool)) for one in (kept.train, kept.test))
    write_embeddings(run, replace(kept, train=train, test=test))
    assert said in write_report(run).read_text()


def test_the_rank_is_set_against_distance_over_the_trials_that_kept_their_rows(tmp_path: Path) -> None:
    found = found_in(similar_run(tmp_path / "run"))
    assert found.rank is not None
    assert (found.rank.trials, found.rank.ranks, found.rank.rows) == (10, (2, 4, 8, 16, 32), 222)
    assert found.on_rank.head == "That a higher rank helps more, or less, far from the training rows was not found"
    assert "; 10 trials of rank 2, 4, 8, 16, 32 on 1,558 training and 222 validation rows)." in found.on_rank.figures


@pytest.mark.parametrize(("rates", "configurations"), [([0.001, 0.003], 10), ([0.001], None)])
def test_seeds_are_trials_of_their_own_where_nothing_but_the_rank_differs(
    tmp_path: Path, rates: list[float], configurations: int | None
) -> None:
    recipe = make_recipe(PROVENANCE, lora={"r": [2, 4, 8, 16, 32]}, train={"learning_rate": rates})
    rank = found_in(similar_run(tmp_path / "run", recipe=recipe, seeds=2)).rank
    assert rank is not None
    assert (rank.trials, rank.configurations) == (10 * len(rates), configurations)


def test_trials_that_kept_no_rows_leave_the_rank_unmeasured(tmp_path: Path) -> None:
    found = found_in(similar_run(tmp_path / "run", evidence=False))
    assert found.rank is None
    assert str(found.on_rank) == "Not measured. The trials kept no predictions of single validation rows."


def test_a_damaged_trial_is_left_out_of_the_rank(tmp_path: Path) -> None:
    run = similar_run(tmp_path / "run")
    (run / "trials" / "0004" / "validation.safetensors").write_bytes(b"damaged")
    rank = found_in(run).rank
    assert rank is not None
    assert rank.trials == 9


def test_a_second_set_is_compared_and_its_accuracy_put_beside_tests(tmp_path: Path) -> None:
    found = found_in(similar_run(tmp_path / "run", second=second_set()))
    assert [each.names for each in found.comparisons] == [
        ("training", "test"), ("training", "machine.csv"), ("test", "machine.csv"),
    ]  # fmt: skip
    assert [each.verdict.head for each in found.comparisons[1:]] == ["Texts of another kind"] * 2
    assert found.tests == 6
    assert found.on_second is not None
    assert "less than on test" in found.on_second
    assert "distance does not explain all of it" in found.on_second


def _answered(low: float, high: float, steepness: float, rows: int) -> Answered:
    """Distances from `low` to `high`, and right answers that grow rarer with them, by chance."""
    generator = np.random.default_rng(3)
    distances = generator.uniform(low, high, rows)
    return distances, generator.random(rows) < 1 / (1 + np.exp(steepness * distances - 4))


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (_answered(0.2, 0.8, 8, 1_000), "distance may explain all of that."),
        (_answered(0.2, 0.8, 5, 1_000), "distance would explain more than that."),
        (_answered(0.2, 0.8, 16, 1_000), "distance does not explain all of it."),
        (_answered(0.6, 0.8, 8, 1_000), ""),  # at no distance are there rows of both
    ],
)
def test_whether_distance_explains_what_a_second_set_costs(second: Answered, said: str) -> None:
    about = second_set().about
    sentence = on_second(about, _answered(0, 0.5, 8, 4_000), second)
    assert ("At equal distance" in sentence) == bool(said)
    assert sentence.endswith(said)


def test_a_second_set_with_a_wrong_row_is_not_told_as_one_that_is_all_right() -> None:
    distances, correct = np.linspace(0, 1, 2_000), np.arange(2_000) > 0
    sentence = on_second(second_set().about, (distances, None), (distances, correct))
    assert sentence == "The winner is right on 0.9995 of machine.csv (95 % 0.9972–0.9999, 2,000 rows)."


def test_how_the_labels_of_a_second_set_were_read_is_said_beside_its_accuracy(tmp_path: Path) -> None:
    second = second_set()
    note = "labels 0 to 4 are read as 1 to 5"
    run = similar_run(tmp_path / "run", second=replace(second, about=replace(second.about, note=note)))
    said = found_in(run).on_second
    assert said is not None
    assert f"300 rows; {note})" in said


def test_a_second_set_without_labels_has_distances_alone(tmp_path: Path) -> None:
    found = found_in(similar_run(tmp_path / "run", second=second_set(accuracy=None)))
    assert found.on_second == "Accuracy on machine.csv is not measured: it has no column of labels."
    assert [each.trend.name for each in found.trends] == ["test"]
    assert len(found.comparisons) == 3


@pytest.mark.parametrize("other", [{"winner": 1}, {"soup_of": "trials 3 and 4"}])
def test_labels_predicted_by_another_winner_are_not_used(tmp_path: Path, other: dict[str, Any]) -> None:
    """The best of the seeds is another than their mean."""
    second = second_set()
    found = found_in(similar_run(tmp_path / "run", second=replace(second, about=replace(second.about, **other))))
    assert found.on_second is not None
    assert "predicted by another winner" in found.on_second


def test_numbers_in_the_tables_have_no_digits_that_change_with_the_number_of_threads(tmp_path: Path) -> None:
    found = found_in(similar_run(tmp_path / "run", second=second_set()))
    for name, text in similarity_tables(found).items():
        for row in csv.DictReader(text.splitlines()):
            numbers = [cell for column, cell in row.items() if column not in ("first", "second", "set", "verdict")]
            assert all(len(cell.partition(".")[2]) <= 5 for cell in numbers), f"{name}: {row}"


def test_a_second_set_of_a_few_rows_is_not_compared(tmp_path: Path) -> None:
    found = found_in(similar_run(tmp_path / "run", second=second_set(5)))
    assert [each.verdict.head for each in found.comparisons[1:]] == ["Not measured", "Not measured"]


def test_a_run_without_embeddings_says_how_to_make_them(tmp_path: Path) -> None:
    found = similarity(read_run(whole_run(tmp_path / "run")), [])
    assert isinstance(found, str)
    assert "`loraloom report RUN` makes them" in found


@pytest.mark.usefixtures("no_pictures")
def test_why_they_could_not_be_made_is_said_in_place(tmp_path: Path) -> None:
    page = write_report(whole_run(tmp_path / "run"), why_not_similar="the data 'x' have changed since the run")
    assert "was not measured: <bdi>the data &#39;x&#39; have changed since the run</bdi>." in page.read_text()


@pytest.mark.usefixtures("no_pictures")
def test_where_time_is_short_what_was_kept_is_not_looked_at(tmp_path: Path) -> None:
    run = similar_run(tmp_path / "run")
    page = write_report(run, similar=False, why_not_similar="the deadline left no time for it")
    assert "was not measured: <bdi>the deadline left no time for it</bdi>." in page.read_text()
    assert not page.with_name("similarity.csv").exists()


@pytest.mark.usefixtures("no_pictures")
def test_what_a_search_had_no_time_for_is_named_at_the_top_with_the_command_that_tells_it(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "run")
    said = "Not on this page: how alike test and training rows are, and which labels of training rows look wrong."
    of_search = write_report(run, similar=False, why_not_similar="the deadline left no time for it").read_text()
    top = of_search[: of_search.index('id="answer"')]
    assert said in top
    assert f"<span>report</span> <span>{run}</span>" in top
    assert said not in write_report(run).read_text()


@pytest.mark.usefixtures("no_pictures")
def test_a_second_set_that_could_not_be_embedded_is_said_beside_what_was_kept(tmp_path: Path) -> None:
    page = write_report(similar_run(tmp_path / "run"), why_not_similar="the model 'demo' is not the run's")
    assert "could not be embedded: <bdi>the model &#39;demo&#39; is not the run&#39;s</bdi>." in page.read_text()
    assert "Training and <bdi>test</bdi>" in page.read_text()
    printed = markdown(findings(read_run(tmp_path / "run"), why_not_similar="the model 'demo' is not the run's"))
    told = "What was asked for last could not be embedded: the model 'demo' is not the run's. This is what was kept"
    assert told in printed


def test_stale_embeddings_are_not_used(tmp_path: Path) -> None:
    run = similar_run(tmp_path / "run")
    embed(run, data="other data")
    found = similarity(read_run(run), [])
    assert isinstance(found, str)
    assert "of another winner" in found


def test_a_second_set_of_one_row_is_not_judged(tmp_path: Path) -> None:
    found = found_in(similar_run(tmp_path / "run", second=second_set(1)))
    assert all(each.verdict.head == "Not measured" for each in found.comparisons[1:])
    assert "Too few texts" in found.comparisons[1].verdict.figures
    assert found.on_second == "Accuracy on machine.csv is not measured: it has 1 row, and it takes 20."


def test_a_second_set_is_compared_where_it_is_asked_for(tmp_path: Path) -> None:
    """The page has what this command names, whatever an earlier one has left embeddings of."""
    run = similar_run(tmp_path / "run", second=second_set())
    assert "machine.csv" not in write_report(run, may_draw=lambda: False).read_text()
    assert "machine.csv" in write_report(run, may_draw=lambda: False, second=True).read_text()


@pytest.mark.usefixtures("no_pictures")
def test_damaged_embeddings_are_named_and_the_report_goes_on(tmp_path: Path) -> None:
    run = similar_run(tmp_path / "run")
    file = run / "similarity" / "embeddings.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    found = findings(read_run(run))
    assert isinstance(found.similarity, str)
    assert any("embeddings.safetensors" in problem for problem in found.problems)
    assert "Similarity" in write_report(run).read_text()


def test_the_page_has_pictures_tables_and_hostile_names_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloom.report.pictures._sections", lambda found: draw_similarity(found.similarity))
    name = "<script>alert(1)</script>=x.csv"
    page = write_report(similar_run(tmp_path / "run", second=second_set(file=name, empty=2)), second=True)
    text = page.read_text()
    assert text.count("<script") == 1  # the page's own
    assert "2 rows without a text were left out" in text
    for file in ("similarity_distances.png", "similarity_accuracy.png"):
        assert page.with_name(file).read_bytes().startswith(b"\x89PNG")
    with page.with_name("similarity_distances.csv").open(encoding="utf-8", newline="") as rows:
        lines = list(csv.DictReader(rows))
    assert len(lines) == 500 + 445 + 300
    with page.with_name("accuracy_by_distance.csv").open(encoding="utf-8", newline="") as rows:
        bins = list(csv.DictReader(rows))
    assert sum(int(one["rows"]) for one in bins) == 445 + 300


def test_a_file_whose_name_begins_with_an_underscore_is_in_the_legends(tmp_path: Path) -> None:
    with mpl.rc_context(STYLE):
        drawn = list(draw_similarity(found_in(similar_run(tmp_path / "run", second=second_set(file="_machine.csv")))))
    assert [picture.svg.count(">_machine.csv</text>") for picture in drawn] == [1, 1]


def test_a_single_row_of_a_set_is_said_as_one(tmp_path: Path) -> None:
    run = similar_run(tmp_path / "run", second=second_set(1))
    assert found_in(run).how.endswith("and 1 machine.csv row")
