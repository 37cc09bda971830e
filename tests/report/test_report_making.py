"""How a run was made: its commands, its time, its plan beside what happened, its sources."""

from __future__ import annotations

from html import unescape
from pathlib import Path
from typing import Any

import pytest

from loraloom.report.findings import findings
from loraloom.report.making import Making
from loraloom.report.making.commands import as_typed, moment
from loraloom.report.markdown import markdown
from loraloom.report.page import page
from loraloom.report.reading import read_run
from loraloom.report.writing import write_report
from loraloom.study.commands import Command
from loraloom.study.sealed import write_sealed
from tests.report.report_runs import PROVENANCE, SEARCH, make_recipe, make_record, whole_run, write_commands, write_run


def made(run: Path) -> Making:
    return findings(read_run(run)).making


def test_a_run_without_a_log_has_the_command_of_its_provenance(tmp_path: Path) -> None:
    found = findings(read_run(whole_run(tmp_path / "r")))
    (command,) = found.making.commands
    assert command.text == PROVENANCE["command"]
    assert (command.ended, found.answer.time) == ("", None)


def test_every_command_stands_as_typed_with_its_end(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    later = Command(
        command=("loraloom", "resume", "r"), started="x", ended="stopped", why="stopped by SIGTERM", seconds=3
    )
    write_commands(run, SEARCH, later)
    first, second = made(run).commands
    assert (first.text, first.started) == ("loraloom search 'my recipe.yaml' --out r", "2026-11-25 10:00 UTC")
    assert (first.used, first.allowed, first.ended, first.tested) == (118.2, 120, "done", (3,))
    assert (second.text, second.ended, second.why) == ("loraloom resume r", "stopped", "stopped by SIGTERM")


def test_a_resume_on_another_machine_or_version_is_named(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    other = Command(started="x", python="3.13.0", packages={"torch": "2.9.1", "peft": "0.22"}, machine={"cores": 64})
    write_commands(run, SEARCH, other)
    assert made(run).commands[1].differs == (
        "python 3.13.0, not 3.12.3",
        "cores 64, not 2",
        "peft 0.22, not 0.21.0",
    )
    assert made(run).commands[0].differs == ()


def test_the_gpu_is_told_and_that_of_a_later_command_where_it_was_another(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", make_recipe({**PROVENANCE, "machine": {"gpu": "Tesla T4"}}), [])
    write_commands(run, SEARCH, Command(started="x", machine={"gpu": "NVIDIA A100"}))
    assert ("GPU", "Tesla T4") in made(run).facts
    assert [command.differs for command in made(run).commands] == [(), ("GPU NVIDIA A100, not Tesla T4",)]


@pytest.mark.parametrize(
    ("commands", "sentence", "percent"),
    [
        ((SEARCH,), "1 min 58 s of 2 min 00 s used", 98.5),
        ((SEARCH, SEARCH), "3 min 56 s of 4 min 00 s used, in 2 commands", 98.5),
        ((SEARCH.model_copy(update={"allowed_seconds": None}),), "1 min 58 s used; no limit was set", None),
        (
            (SEARCH.model_copy(update={"allowed_seconds": None}), SEARCH),
            "3 min 56 s used, in 2 commands; 1 command had a limit",
            None,
        ),
        ((SEARCH.model_copy(update={"seconds": None, "ended": None}),), "2 min 00 s allowed; not ended", None),
        (
            (SEARCH, SEARCH.model_copy(update={"seconds": None})),
            "at least 1 min 58 s of 4 min 00 s used, in 2 commands; 1 command without a noted end not counted",
            None,
        ),
    ],
)
def test_time_used_stands_against_time_allowed(
    tmp_path: Path, commands: tuple[Command, ...], sentence: str, percent: float | None
) -> None:
    run = whole_run(tmp_path / "r")
    write_commands(run, *commands)
    time = findings(read_run(run)).answer.time
    assert time is not None
    assert time.sentence == sentence
    assert time.beside_used == sentence.removeprefix("1 min 58 s used; ").removeprefix("3 min 56 s used, ")
    assert time.percent == (None if percent is None else pytest.approx(percent))


def test_a_damaged_log_and_a_damaged_plan_are_named_and_cost_no_more(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    (run / "commands.json").write_text("{")
    (run / "plan.json").write_text('{"first": {"rungs": 3}}')
    found = findings(read_run(run))
    assert [problem for problem in found.problems if "commands.json: is damaged" in problem]
    assert [problem for problem in found.problems if "plan.json: can't be read" in problem]
    assert (found.making.plan, found.answer.time) == (None, None)
    assert found.answer.winner is not None


def test_another_number_in_the_plan_is_damage(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    write_sealed(run / "plan.json", {"first": PLAN})
    text = (run / "plan.json").read_text()
    (run / "plan.json").write_text(text.replace('"trials": 13', '"trials": 12'))
    found = findings(read_run(run))
    assert found.making.plan is None
    assert [
        problem for problem in found.problems if "plan.json: can't be read: it is not as the run wrote it" in problem
    ]


PLAN = {
    "rungs": [{"trials": 13, "rows": 439}],
    "finals": {"trials": 6, "rows": 1558},
    "finalists": 3,
    "seeds": 2,
    "train_rows": 1558,
}


def test_the_plan_stands_beside_what_happened(tmp_path: Path) -> None:
    recipe = make_recipe()
    points = list(recipe.grid())
    rows = {0: 439, 1: 439, 2: 439, 3: 1558, 4: 1558, 5: 700}
    records = [
        make_record(recipe, n, points[n if n < 3 else 0], state="failed" if n == 2 else "complete", seed=42 + (n == 4))
        for n in rows
    ]
    records = [record.model_copy(update={"train_rows": rows[record.number]}) for record in records]
    run = write_run(tmp_path / "r", recipe, records)
    write_sealed(run / "plan.json", {"first": PLAN})
    plan = made(run).plan
    assert plan is not None
    assert [(step.rows, step.whole, step.planned, step.done, step.failed) for step in plan.steps] == [
        (439, False, 13, 3, 1),
        (700, False, 0, 1, 0),
        (1558, True, 6, 2, 0),
    ]
    assert plan.sentence == (
        "Planned when the search began: 3 finalists on all 1,558 rows, with 2 seeds each. "
        "Complete on all 1,558 rows: 1 configuration with 2 seeds."
    )
    assert made(run).seeds == (42, 43)
    short = [record.model_copy(update={"epochs": 0.5}) if record.number == 3 else record for record in records]
    write_sealed(write_run(tmp_path / "short", recipe, short) / "plan.json", {"first": PLAN})
    plan = made(tmp_path / "short").plan
    assert plan is not None
    assert plan.sentence.endswith("1 configuration with 2 seeds; the clock cut 1 trial of these short.")


def test_the_plan_is_a_table_in_markdown_too(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    write_sealed(run / "plan.json", {"first": PLAN})
    told = markdown(findings(read_run(run)))
    assert "| Training rows | Planned | Done | Complete | Pruned | Failed | Their time |" in told
    assert "| 439 | 13 | 0 | 0 | 0 | 0 | 0.0 s |" in told
    assert "| all 1,558 | 6 | 6 | 4 | 1 | 1 | 6 min 37 s |" in told


def test_of_a_plan_of_which_no_trial_has_ended_that_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", make_recipe(), [], unfinished=[0])
    write_sealed(run / "plan.json", {"first": PLAN})
    plan = made(run).plan
    assert plan is not None
    assert plan.sentence.endswith("with 2 seeds each. No trial has ended.")


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        (1, "began: 5 configurations on all 1,558 rows, with 1 seed each."),
        (3, "began: 5 configurations on all 1,558 rows, with 1 seed each, and 3 finalists of them with 3 seeds."),
    ],
)
def test_finalists_that_are_found_on_all_rows_are_among_the_configurations_that_are_counted(
    tmp_path: Path, seeds: int, says: str
) -> None:
    run = whole_run(tmp_path / "run")
    finals = {"trials": 3 * (seeds - 1), "rows": 1558}
    plan = {**PLAN, "rungs": [{"trials": 5, "rows": 1558}], "finals": finals, "seeds": seeds}
    write_sealed(run / "plan.json", {"first": plan})
    kept = made(run).plan
    assert kept is not None
    assert says in kept.sentence
    assert kept.steps[-1].planned == 5 + finals["trials"]


@pytest.mark.parametrize("rungs", [[], [{"trials": 1, "rows": 1558}]])
def test_one_alone_is_not_said_to_have_each(tmp_path: Path, rungs: list[dict[str, int]]) -> None:
    run = whole_run(tmp_path / "r")
    write_sealed(run / "plan.json", {"first": {**PLAN, "rungs": rungs, "finalists": 1, "seeds": 1}})
    kept = made(run).plan
    assert kept is not None
    what = "1 configuration" if rungs else "1 finalist"
    assert f"began: {what} on all 1,558 rows, with 1 seed. " in kept.sentence


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({"epochs": [], "configurations": None}, True),
        ({"epochs": [], "configurations": 2}, True),
        ({"epochs": [], "configurations": 1}, False),
        ({"epochs": None, "configurations": None}, False),
        ({"epochs": [], "configurations": None, "rungs": [519, None]}, False),
    ],
)
def test_it_is_said_why_one_configuration_had_all_the_time(tmp_path: Path, kept: dict[str, Any], *, said: bool) -> None:
    run = whole_run(tmp_path / "r")
    alone = {**PLAN, "rungs": [{"trials": 1, "rows": 1558}], "finals": {"trials": 0, "rows": 1558}, "finalists": 1}
    write_sealed(run / "plan.json", {"first": {**alone, "seeds": 1}, "rungs": [None], **kept})
    plan = made(run).plan
    assert plan is not None
    assert (" One configuration was to have all the time: " in plan.sentence) is said


def test_a_plan_that_only_the_time_ends_says_so(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "r")
    plan = {**PLAN, "rungs": [], "finals": {"trials": 100_000, "rows": 1558}, "finalists": None}
    write_sealed(run / "plan.json", {"first": plan})
    kept = made(run).plan
    assert kept is not None
    (step,) = kept.steps
    assert (step.planned, step.done, step.whole) == (None, 6, True)
    assert (
        "every configuration on all 1,558 rows, with 2 seeds. Complete on all 1,558 rows: 4 configurations with 1 seed"
        in kept.sentence
    )


KEPT = (
    "The lowest layers, which are frozen, were computed once and kept for 2 trials: of 1,780 rows in this run, which "
    "took 4.5 s beside the trials' own times."
)
READ = "The lowest layers, which are frozen, were computed before and read again for 1 trial."
DROPPED = (
    "For 1 trial of which the lowest layers are frozen these were computed anew at each step: they are kept where "
    "the backbone drops nothing (`backbone.dropout: off`), and disk and time allow."
)


@pytest.mark.parametrize(
    ("dropouts", "fields", "said"),
    [
        (["off", "off"], {}, KEPT),
        (["off", "off", "keep"], {}, f"{KEPT} {DROPPED}"),
        (["keep"], {}, DROPPED),
        (["keep"], {"layers_to_transform": [2, 5]}, DROPPED),
        (["keep"], {"layers_to_transform": [0, 5]}, None),
        (["keep"], {"layers_to_transform": None}, None),
        (["keep"], {"bias": "all"}, None),
    ],
)
def test_it_is_said_whether_frozen_layers_were_kept_and_that_dropout_forbids_it(
    tmp_path: Path, dropouts: list[str], fields: dict[str, Any], said: str | None
) -> None:
    recipe = make_recipe(lora={"layers_to_transform": "top-half", **fields})
    records = []
    for number, dropout in enumerate(dropouts):
        record = make_record(recipe, number, {})
        assert record.timings is not None
        rows = 1_780 * (number == 0) if dropout == "off" else None  # the first computes, the others read
        states = {"prefix_rows": rows, "prefix_seconds": 4.0 if rows else 0.0 if rows is None else 0.5}
        changed = record.configuration.with_fields(backbone={"dropout": dropout})
        timings = record.timings.model_copy(update=states)
        records.append(record.model_copy(update={"configuration": changed, "timings": timings}))
    run = write_run(tmp_path / "r", recipe, records)
    assert made(run).frozen == said
    found = findings(read_run(run))
    html, text = unescape(page(found, {}, ())).replace("<code>", "`").replace("</code>", "`"), markdown(found)
    assert ("lowest layers" in html, (said or "") in html) == (said is not None, True)
    assert ("lowest layers" in text, (said or "") in text) == (said is not None, True)


def test_frozen_layers_that_an_earlier_command_computed_are_said_to_have_been_read(tmp_path: Path) -> None:
    recipe = make_recipe(lora={"layers_to_transform": "top-half"})
    record = make_record(recipe, 0, {})
    assert record.timings is not None
    record = record.model_copy(update={"timings": record.timings.model_copy(update={"prefix_rows": 0})})
    assert made(write_run(tmp_path / "r", recipe, [record])).frozen == READ


def test_licences_are_those_that_were_stated(tmp_path: Path) -> None:
    cards = {
        "data": {"package": "corpus 1.0", "package_license": "MIT"},
        "models": {"demo": {"name": "owner/model", "license": "apache-2.0", "card": "https://hub/owner/model"}},
    }
    recipe = make_recipe({**PROVENANCE, "cards": cards}, backbone={"model": ["demo", "./other"]})
    data, demo, other = made(write_run(tmp_path / "r", recipe, [])).sources
    assert (data.name, data.license, data.card) == ("demo (BBC News)", "MIT (of the package corpus 1.0)", "not stated")
    assert (demo.name, demo.license, demo.card) == ("demo (owner/model)", "apache-2.0", "https://hub/owner/model")
    assert (other.license, other.card) == ("not stated", "not stated")


def test_points_that_are_counted_but_not_named_count(tmp_path: Path) -> None:
    recipe = make_recipe(
        {**PROVENANCE, "dropped_points": ["r=64: too large", "r=65: too large"], "more_dropped_points": 4_319}
    )
    run = write_run(tmp_path / "r", recipe, [])
    assert made(run).dropped_count == 4_321
    page = write_report(run).read_text(encoding="utf-8")
    assert "4,321 points of the recipe did not fit" in page
    assert "<summary>The first 2 points and why</summary>" in page


@pytest.mark.parametrize(
    "provenance", [{}, {"cards": 3, "machine": [], "packages": "x", "dropped_points": "y", "data": 1}]
)
def test_a_provenance_of_any_shape_is_borne(tmp_path: Path, provenance: dict[str, Any]) -> None:
    found = made(write_run(tmp_path / "r", make_recipe(provenance), []))
    assert (found.facts, found.packages, found.dropped, found.commands) == ((), (), (), ())
    assert [source.license for source in found.sources] == ["not stated", "not stated"]


def test_commands_and_moments_are_written_for_people() -> None:
    assert as_typed(["x/cli.py", "search", "a b"]) == "loraloom search 'a b'"
    assert (as_typed([]), as_typed(None), as_typed("loraloom x")) == (None, None, "loraloom x")
    assert as_typed(["loraloom.search"]) is None  # a function that a program called
    assert (moment("2026-11-25T10:00:00Z"), moment("yesterday")) == ("2026-11-25 10:00 UTC", "yesterday")
