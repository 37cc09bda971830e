"""A search of few rows, whose best/ is the mean of its winner's seeds where that is as good, and the best seed else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from loraloom import souping
from loraloom.errors import UnmixableError
from loraloom.pipeline import resume, search
from loraloom.recipe import read_recipe
from loraloom.report.findings import findings
from loraloom.report.markdown import markdown
from loraloom.report.reading import read_run
from loraloom.search.clock import Clock
from loraloom.study import choice
from loraloom.study.commands import known_commands
from loraloom.study.durable import verify_manifest
from loraloom.study.embeddings import read_embeddings
from loraloom.study.record import CARD
from loraloom.study.run import Run
from loraloom.terminal.live import closing_lines
from loraloom.use.export.exporting import export
from loraloom.use.similarity import collect
from tests.commands import Commands
from tests.conftest import make_recipe, make_rows, without_pictures
from tests.ears import Ear

OF_SEEDS = {"search": {"seeds": 3}}
MEAN = "the mean of those of trials 0, 1 and 2"
pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def run_of_soup(tiny_model: Path, rows_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search whose winner's seeds were mixed, with its report."""
    run = tmp_path_factory.mktemp("souped") / "run"
    with without_pictures():
        search(read_recipe(make_recipe(tiny_model, rows_file) | OF_SEEDS), run)
    assert Run(run).winner().is_soup
    return run


@pytest.fixture
def souped(run_of_soup: Path, tmp_path: Path) -> Path:
    """The same, for a test to change."""
    return shutil.copytree(run_of_soup, tmp_path / "run")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_best_is_the_soup_which_alone_is_tested(run_of_soup: Path) -> None:
    run = Run(run_of_soup)
    winner, seeds = run.winner(), run.records()
    best, soup = (files_of(run_of_soup / name) for name in ("best", "soup"))
    card = best.pop(CARD).decode()
    del best["manifest.json"], best["test_predictions.jsonl"], soup["manifest.json"]
    assert best == soup
    for name in ("best", "soup"):
        verify_manifest(run_of_soup / name)
    assert winner.marks == (f"its weights are {MEAN}",)
    assert winner.result is not None
    assert winner.result.test is not None
    assert all(seed.result is not None and seed.result.test is None for seed in seeds)
    assert [command.tested for command in known_commands(run_of_soup)] == [(winner.number,)]
    assert MEAN in card
    assert winner.timings is not None
    assert winner.timings.seconds == pytest.approx(sum(seed.timings.seconds for seed in seeds if seed.timings))


def test_a_resume_keeps_it_and_one_that_lost_it_makes_the_same(souped: Path) -> None:
    before = files_of(souped / "best")
    ear = Ear()
    resume(souped, watcher=ear)
    assert not any("mixing" in sentence or "testing" in sentence for sentence in ear.notes)
    assert files_of(souped / "best") == before
    shutil.rmtree(souped / "best")
    resume(souped)
    assert files_of(souped / "best") == before


@pytest.mark.parametrize("lost", [False, True])
def test_seeds_that_do_not_mix_leave_the_best_one(
    lost: bool, tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not one of the three has collapsed."""

    def refuse(*_: object) -> None:
        raise UnmixableError("they know nothing together")

    monkeypatch.setattr(souping, "_refuse_less", refuse)
    monkeypatch.setattr(choice, "_has_collapsed", lambda one, best: lost and one.number == (best.number + 1) % 3)
    ear = Ear()
    search(read_recipe(tiny_recipe | OF_SEEDS), tmp_path / "run", watcher=ear, report=False)
    winner = Run(tmp_path / "run").winner()
    assert not winner.is_soup
    assert "the winner's seeds are not mixed: they know nothing together" in ear.notes
    assert not (tmp_path / "run" / "soup").exists()
    lines = closing_lines(winner, tmp_path / "run", Run(tmp_path / "run").recipe, Run(tmp_path / "run").records())
    assert not any("loraloom soup" in line for line in lines)
    tested = files_of(tmp_path / "run" / "best")
    resume(tmp_path / "run")
    assert files_of(tmp_path / "run" / "best") == tested
    assert [command.tested for command in known_commands(tmp_path / "run")] == [(winner.number,), ()]


def test_what_the_time_did_not_suffice_for_is_advised_and_made_by_a_resume(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, ear = tmp_path / "run", Ear()
    with monkeypatch.context() as patched:
        patched.setattr(Clock, "allows_mixing", False)
        search(read_recipe(tiny_recipe | OF_SEEDS), out, watcher=ear)
    run = Run(out)
    first = run.winner()
    assert not first.is_soup
    assert any("are not mixed into one adapter: the time left is for the test" in sentence for sentence in ear.notes)
    lines = closing_lines(first, out, run.recipe, run.records())
    assert any(f"loraloom soup {out}" in line for line in lines)
    resume(out)
    assert run.winner().is_soup
    said = " ".join(findings(read_run(out)).cautions)
    assert f"The test rows were looked at before: trial {first.number} (" in said


def test_where_the_time_does_not_suffice_for_another_mean_that_of_some_of_the_seeds_stays(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, ear, records = tmp_path / "run", Ear(), Run.records
    with monkeypatch.context() as patched:  # as where the time did not suffice for the third seed
        patched.setattr(Run, "records", lambda self: records(self)[:2])
        search(read_recipe(tiny_recipe | OF_SEEDS), out, report=False)
    before = files_of(out / "best")
    with monkeypatch.context() as patched:
        patched.setattr(Clock, "allows_mixing", False)
        resume(out, watcher=ear)
    assert files_of(out / "best") == before
    assert any(
        "all of the winner's seeds: best/ stays the mean of trials 0 and 1" in sentence for sentence in ear.notes
    )
    assert not any("testing the winner" in sentence for sentence in ear.notes)
    assert findings(read_run(out)).problems == ()


def test_a_mean_of_other_seeds_with_the_same_best_one_is_an_earlier_look_at_the_test_rows(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    records = Run.records
    with monkeypatch.context() as patched:  # as where the time did not suffice for the third seed
        patched.setattr(Run, "records", lambda self: records(self)[:2])
        search(read_recipe(tiny_recipe | OF_SEEDS), out)
    first = Run(out).winner()
    assert first.soup_of == "0 and 1"
    assert "looked at before" not in " ".join(findings(read_run(out)).cautions)
    resume(out)
    assert (Run(out).winner().number, Run(out).winner().soup_of) == (first.number, "0, 1 and 2")
    said = " ".join(findings(read_run(out)).cautions)
    assert f"The test rows were looked at before: trial {first.number} was tested on them" in said


def test_one_of_the_seeds_is_no_mean_of_some_of_them(run_of_soup: Path) -> None:
    run = Run(run_of_soup)
    seeds = souping.standing_of(run, run.winner())
    assert souping.is_soup_of_some(run.winner(), seeds)
    assert not any(souping.is_soup_of_some(trial, seeds) for trial in seeds.trials)


def test_seeds_of_many_rows_are_not_mixed(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "SOUP_ROWS", 50)
    search(read_recipe(tiny_recipe | OF_SEEDS), tmp_path / "run", report=False)
    assert (Run(tmp_path / "run").winner().train_rows or 0) >= 50
    assert not (tmp_path / "run" / "soup").exists()


@pytest.mark.parametrize(
    ("rows", "seeds", "better"), [(999, 2, True), (1_000, 3, False), (None, 3, False), (9, 1, False)]
)
def test_few_rows_are_fewer_than_a_thousand(run_of_soup: Path, rows: int | None, seeds: int, better: bool) -> None:
    winner = Run(run_of_soup).winner().model_copy(update={"train_rows": rows})
    assert choice.is_better_mixed(winner, seeds) is better


def test_people_are_told_of_what_best_is(run_of_soup: Path) -> None:
    run = Run(run_of_soup)
    winner = run.winner()
    lines = closing_lines(winner, run.path, run.recipe, run.records())
    reached = winner.validation.accuracy
    seeds = "adapter     the averaged weights of its seeds, trials 0, 1 and 2"
    assert f"{seeds}: validation accuracy {reached:.3f}" in lines
    assert not any("loraloom soup" in line or "its weights are" in line for line in lines)
    page = (run_of_soup / "report" / "index.html").read_text(encoding="utf-8")
    assert "Its weights are the mean of those of trials 0, 1 and 2, seeds of one configuration." in page
    assert "trials 0, 1 and 2</dd>" in page
    assert "Its weights are the mean of those of trials 0, 1 and 2." in markdown(findings(read_run(run_of_soup)))


def test_the_report_judges_the_rows_by_what_best_says_of_them(run_of_soup: Path) -> None:
    read = read_run(run_of_soup)
    found = findings(read)
    assert found.problems == ()
    assert not any("Its record says" in sentence for sentence in found.cautions)
    assert read.best is not None
    assert found.answer.winner is not None
    assert found.answer.winner.validation == read.best.record.validation


def test_a_second_set_is_judged_by_the_soup_anew(souped: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.csv"
    second.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in make_rows(30, seed=9)))
    seed, best = Run(souped).trial_folder(Run(souped).winner().number), souped / "best"
    for winner, soup_of in ((seed, None), (souped / "soup", "0, 1 and 2")):
        shutil.rmtree(best)
        shutil.copytree(winner, best)
        assert collect(souped, compare_file=second) is None
        kept = read_embeddings(souped)
        assert kept is not None
        assert kept.second is not None
        assert kept.second.about.soup_of == soup_of


def test_its_profile_is_of_its_best_seed(tiny_recipe: dict[str, Any], commands: Commands, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(tiny_recipe), encoding="utf-8")
    ended = commands.run("search", recipe, "--out", tmp_path / "run", "--profile", "--set", "search.seeds=2")
    assert ended.code == 0
    assert "\nadapter     the averaged weights of its seeds, trials 0 and 1: validation accuracy " in ended.out
    winner = Run(tmp_path / "run").winner().number
    assert f"\nprofile     {tmp_path}/run/trials/{winner:04d}/profile.json: " in ended.out


def test_an_export_of_one_of_its_seeds_is_not_of_what_the_search_chose(run_of_soup: Path, tmp_path: Path) -> None:
    seed = run_of_soup / "trials" / f"{Run(run_of_soup).winner().number:04d}"
    said = "not the one that the search chose"
    for adapter, chosen in ((seed, False), (run_of_soup / "soup", True), (run_of_soup / "best", True)):
        target = tmp_path / adapter.name
        export(adapter, "peft", target)
        card = (target / CARD).read_text(encoding="utf-8")
        assert (said not in card) is chosen
        assert (MEAN in card) is chosen
