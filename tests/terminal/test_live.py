"""What the terminal keeps of a search: what it shows."""

from __future__ import annotations

import gc
import io
import math
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from loraloom.recipe import Recipe, read_recipe
from loraloom.search.next_search import search_command
from loraloom.search.outlook import Outlook, Step
from loraloom.search.proposals import Proposal
from loraloom.search.watcher import Watchers
from loraloom.study.commands import COMMANDS
from loraloom.study.leaderboard import standings
from loraloom.study.record import CONFUSED_CLASSES, Evaluation, Result, Score, Timings, TrialRecord
from loraloom.study.run import PLAN
from loraloom.study.sealed import write_sealed
from loraloom.terminal import live
from loraloom.terminal.live import SHOWN_TRIALS, Terminal, closing_lines
from loraloom.terminal.wording import trial_in_words, with_interval
from tests.study.study_records import record, score
from tests.terminal.plans import make_plan


def _following(finished: int = 0, metric: str = "accuracy") -> Terminal:
    terminal = Terminal(Console(file=io.StringIO(), width=120), quiet=False)
    recipe = read_recipe({"search": {"metric": metric}})
    terminal.planned(make_plan(_outlook(1000), recipe=recipe, configurations=1000, finished=finished))
    return terminal


def _outlook(trials: int) -> Outlook:
    return Outlook((), Step(trials, 100), None, 1, 100, None, None, None)


def _end(terminal: Terminal, one: TrialRecord) -> None:
    terminal.trial_ended(one, standings([one], "accuracy"), _outlook(900))


def _tested(trial: TrialRecord, test: Score | None = None) -> TrialRecord:
    return trial.model_copy(update={"result": Result(validation=score(0.9), test=test or score(0.9))})


def _drawn(terminal: Terminal, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_latest_trials_are_shown_and_all_are_counted() -> None:
    terminal = _following(finished=7)
    for number in range(100):
        _end(terminal, record(number, point={"lora.r": 5000 + number}))
    drawn = _drawn(terminal)
    assert [str(5000 + n) in drawn for n in range(100)] == [n >= 100 - SHOWN_TRIALS for n in range(100)]
    assert "107 of 1007 trials" in drawn


def test_what_is_newest_stays_on_a_small_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, console = _following(), Console(file=io.StringIO(), width=80, height=24)
    for number in range(SHOWN_TRIALS):
        _end(terminal, record(number, point={"lora.r": 5000 + number}))
    of_point = trial_in_words
    monkeypatch.setattr(live, "trial_in_words", lambda *about: f"{of_point(*about)} {'and=another ' * 30}")
    terminal._live = cast(Any, "as on a screen")
    lines = console.render_lines(terminal, console.options, pad=False)
    drawn = "".join(segment.text for line in lines for segment in line)
    assert len(lines) <= 24
    assert "best: trial" in drawn
    assert [str(5000 + n) in drawn for n in range(SHOWN_TRIALS)][-2:] == [False, True]


def test_in_80_columns_figures_and_settings_are_whole_and_why_a_trial_ended_stands_below_it() -> None:
    terminal, point = _following(), {"lora.r": 2, "train.learning_rate": 0.001, "lora.bias": "none"}
    _end(terminal, record(0, state="failed", reason="its loss is not finite at step 12", point=point))
    head, first, second, *_ = [line.split() for line in _drawn(terminal, 80).splitlines()]
    assert head == ["trial", "configuration", "parameters", "accuracy", "macro-F1", "time"]
    assert first == ["0", "r=2", "learning_rate=0.001", "bias=none", "1,000", "0.900", "0.500", "12", "s"]
    assert " ".join(second) == "failed: its loss is not finite at"


@pytest.mark.parametrize("drawn", [False, True])
def test_each_trial_is_told_in_a_line_where_no_table_can_be_drawn(monkeypatch: pytest.MonkeyPatch, drawn: bool) -> None:
    monkeypatch.setattr(live, "is_drawn_on", lambda console: drawn)
    terminal = _following()
    _end(terminal, record(0))
    terminal.closed()
    said = terminal._console.file
    assert isinstance(said, io.StringIO)
    assert ("trial 0: validation accuracy" in said.getvalue()) is not drawn


@pytest.mark.parametrize("quiet", [False, True])
def test_what_failed_beside_a_run_is_said_however_quiet(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    said, sentence = io.StringIO(), "mlflow is no longer told of this run: [Errno 28]"
    terminal = Terminal(Console(file=said, width=120), quiet=quiet)
    terminal.note("testing the winner")
    Watchers(terminal).warned(sentence)
    assert said.getvalue() == ("" if quiet else f"… testing the winner\n… {sentence}\n")
    assert capsys.readouterr().err == (f"loraloom: {sentence}\n" if quiet else "")


@pytest.mark.parametrize("seconds_left", [None, 60.0])
def test_where_nothing_is_to_come_nothing_is_said_of_it(seconds_left: float | None) -> None:
    terminal = _following()
    one, nothing = record(0), replace(_outlook(0), finalists=3, seconds_left=seconds_left)
    terminal.trial_ended(one, standings([one], "accuracy"), nothing)
    drawn = _drawn(terminal)
    assert "to come" not in drawn
    assert (", about" in drawn, "1 of 1 trials" in drawn) == (False, seconds_left is None)


def test_the_rows_of_each_split_are_said_by_its_name() -> None:
    said = io.StringIO()
    Terminal(Console(file=said, width=120), quiet=False).planned(make_plan(_outlook(1), rows=(1_200, 300, 1)))
    assert said.getvalue().startswith("data    rows: 1,200 training, 300 validation, 1 test row\n")


def test_the_time_to_come_is_reckoned_by_the_trials_that_were_trained_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that a run had when it was gone on with took none of it."""
    now = 1_000.0
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: now))
    terminal = _following(finished=7)
    for number in (7, 8):
        now += 30
        terminal.trial_ended(record(number), (), _outlook(10))
    assert "9 of 19 trials, 60 s so far, about 5 min left" in _drawn(terminal)


def test_the_time_that_is_left_goes_by_while_a_trial_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: now))
    terminal = _following()
    now += 120
    terminal.trial_ended(record(0), (), replace(_outlook(3), seconds_left=480.0))
    now += 60
    assert "1 trial done; 7 min of 10 min left\n" in _drawn(terminal)


@pytest.mark.parametrize(("named", "more", "said"), [(7, 4_320, "4,322 more points"), (6, 0, "1 more point")])
def test_points_that_are_counted_but_not_named_are_said(named: int, more: int, said: str) -> None:
    printed = io.StringIO()
    dropped = tuple(f"lora.r={r}: is too large" for r in range(90, 90 + named))
    plan = make_plan(_outlook(1000), configurations=1000, dropped=dropped, more_dropped=more)
    Terminal(Console(file=printed, width=120), quiet=False).planned(plan)
    assert printed.getvalue().count("is too large") == 5
    assert f"dropped {said} over the budget" in printed.getvalue()


def test_a_view_draws_as_many_rows_however_many_trials_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _following()
    for number in range(200):
        _end(terminal, record(number))
    written: list[object] = []

    def words(recipe: object, point: object, *_: object) -> str:
        written.append(point)
        return "a point"

    monkeypatch.setattr(live, "trial_in_words", words)
    _drawn(terminal)
    assert len(written) % SHOWN_TRIALS == 0  # rich may ask for the view more than once
    assert len(written) <= 3 * SHOWN_TRIALS


def _proposal(number: int) -> Proposal:
    point = {"lora.r": 5000 + number}
    return Proposal(number, point, read_recipe({}).configuration(point))


def _row(terminal: Terminal, number: int) -> str | None:
    return next((line for line in _drawn(terminal).splitlines() if f"r={5000 + number}" in line), None)


def test_each_trial_under_way_has_a_row_with_what_was_heard_of_it() -> None:
    terminal = _following()
    for number in (0, 1):
        terminal.trial_started(_proposal(number), 10 + number)
    evaluation = Evaluation(
        step=1,
        epoch=0.5,
        seconds=1.0,
        learning_rate=0.1,
        train_loss=1.0,
        train_accuracy=0.5,
        validation_loss=1.0,
        validation_accuracy=0.111,
        validation_macro_f1=0.123,
    )
    terminal.evaluated(0, evaluation)
    first, second = _row(terminal, 0), _row(terminal, 1)
    assert first is not None
    assert second is not None
    assert {"0.111", "0.123", "10"} <= {*first.split()}
    assert ("…" in second, "11" in second.split()) == (True, True)
    _end(terminal, record(1, point={"lora.r": 5001}))
    assert "0.111" in str(_row(terminal, 0))
    terminal.trial_started(_proposal(0), 10)  # it is begun again
    assert "0.111" not in str(_row(terminal, 0))
    _end(terminal, record(0, point={"lora.r": 5000}))
    assert "training" not in _drawn(terminal)


def test_of_many_trials_under_way_some_are_shown_and_all_are_counted() -> None:
    terminal = _following()
    for number in range(SHOWN_TRIALS + 3):
        terminal.trial_started(_proposal(number), 10)
    assert [_row(terminal, number) is not None for number in (0, SHOWN_TRIALS - 1, SHOWN_TRIALS)] == [True, True, False]
    assert "3 more" in _drawn(terminal)


def test_a_trial_that_is_no_longer_shown_is_not_kept() -> None:
    terminal, first = _following(), record(0)
    kept = weakref.ref(first)
    _end(terminal, first)
    del first
    for number in range(1, SHOWN_TRIALS + 1):
        _end(terminal, record(number))
    gc.collect()
    assert kept() is None


def test_trials_of_one_point_are_told_apart_by_their_rows_and_seeds() -> None:
    recipe = read_recipe({"search": {"seeds": 2}})
    part = recipe.configuration({"lora.r": 4, "data.max_train_samples": 439, "train.seed": 43})
    assert trial_in_words(recipe, {"lora.r": 4}, part) == "r=4  439 rows  seed 43"
    one = read_recipe({})
    assert trial_in_words(one, {"lora.r": 4}, one.configuration({})) == "r=4"
    assert trial_in_words(one, {"lora.r": 4}, one.configuration({"train.seed": 43})) == "r=4  seed 43"
    assert trial_in_words(one, {"lora.r": 4}, one.configuration({}), 3) == "r=4  seed 42"  # by the clock


@pytest.mark.parametrize(("seeds", "said"), [(1, "(r=8)"), (3, "(r=8  seed 42)")])
def test_where_a_clock_has_time_for_several_seeds_the_first_is_named_too(seeds: int, said: str) -> None:
    out = io.StringIO()
    terminal = Terminal(Console(file=out, width=120), quiet=False)
    terminal.planned(make_plan(replace(_outlook(2), seeds=seeds)))
    _end(terminal, record(0, point={"lora.r": 8}, seed=42))
    assert out.getvalue().splitlines()[-1].endswith(said)


def test_a_share_of_the_peak_is_told_where_it_is_known() -> None:
    timed = Timings(seconds=1.0, train_seconds=1.0, examples_per_second=100.0, tokens_per_second=900.0, peak_share=0.62)
    assert live._speed(timed) == ", 100 examples/s, 900 tokens/s, 62 % of peak"
    unknown = timed.model_copy(update={"peak_share": None})
    assert live._speed(unknown) == ", 100 examples/s, 900 tokens/s"


def test_a_trial_with_errors_is_not_told_as_one_without() -> None:
    terminal = _following()
    _end(terminal, record(0, accuracy=0.9996, macro_f1=0.9997))
    line = next(line for line in _drawn(terminal).splitlines() if line.split()[:2] == ["0", "r=0"])
    assert line.split()[3:5] == [">0.999", ">0.999"]


def test_of_very_many_rows_an_accuracy_is_told_as_precisely_as_it_is_known() -> None:
    many = Score(examples=100_000, accuracy=0.9999, macro_f1=0.9, loss=0.1)
    assert with_interval(many, "accuracy") == "0.99990 (95 % interval 0.99982–0.99995)"


def test_what_is_maximised_is_told_by_its_name_beside_the_accuracy() -> None:
    terminal, one = _following(metric="macro_f1"), record(0, accuracy=0.9, macro_f1=0.612)
    _end(terminal, one)
    assert isinstance(terminal._console.file, io.StringIO)
    reached = "accuracy 0.900 (95 % interval 0.826–0.945), macro-F1 0.612"
    assert f"trial 0: validation {reached}, 1,000 parameters" in terminal._console.file.getvalue()
    assert f"best: trial 0, {reached} on validation" in _drawn(terminal)


@pytest.mark.parametrize(
    ("metric", "mean", "tested"),
    [
        ("accuracy", "accuracy 0.900 over 2 seeds (95 % interval 0.770–1.000", ""),
        ("macro_f1", "macro-F1 0.600 over 2 seeds (95 % interval 0.470–0.730", ", macro-F1 0.612"),
    ],
)
def test_the_result_names_its_metric(metric: str, mean: str, tested: str) -> None:
    records = [
        record(n, accuracy=0.89 + 0.02 * n, macro_f1=0.59 + 0.02 * n, point={"lora.r": 4}, seed=n) for n in (0, 1)
    ]
    winner = records[0].model_copy(update={"result": Result(validation=score(0.89), test=score(0.9, 0.612))})
    lines = closing_lines(winner, Path("runs/x"), _recipe(search={"metric": metric}), records)
    assert lines[1] == f"validation  mean {mean}, of the seeds alone)"
    assert lines[2] == f"accuracy    0.900 (95 % interval 0.826–0.945){tested} on 100 test rows"
    another = record(2, accuracy=0.5, macro_f1=0.5, point={"lora.r": 8})
    lines = closing_lines(winner, Path("runs/x"), _recipe(search={"metric": metric}), [*records, another])
    assert lines[1].endswith(", of the seeds alone), by which it was chosen")
    assert lines[2].startswith("accuracy ")


def test_a_winner_that_others_are_level_with_is_said_to_be_so() -> None:
    records = [
        record(n, accuracy=0.9, point={"lora.r": rank}, seed=n % 2, trainable=100 * rank)
        for n, rank in enumerate((4, 4, 8, 8, 16, 16))
    ]
    winner = records[0].model_copy(update={"result": Result(validation=score(0.9), test=score(0.9))})
    lines = closing_lines(winner, Path("runs/x"), _recipe(), records)
    level = "level with 2 other configurations within the noise of seeds: repeated seeds, then fewer parameters, decide"
    assert lines[2].strip() == level


@pytest.mark.parametrize(
    ("confusion", "said"),
    [
        (
            ((90, 0), (10, 0)),
            "constant    “a” for every test row would reach an accuracy of 0.900: it is not shown to beat that",
        ),
        (
            ((3, 7), (3, 87)),
            "constant    “b” for every test row would reach an accuracy of 0.900: it is not shown to beat that",
        ),
        (((70, 5), (5, 20)), None),
    ],
)
def test_a_result_that_a_constant_answer_may_reach_is_told_so(
    confusion: tuple[tuple[int, ...], ...], said: str | None
) -> None:
    one = Score(examples=100, accuracy=0.9, macro_f1=0.5, loss=0.25, confusion=confusion)
    winner = _tested(record(0), one)
    lines = closing_lines(winner, Path("runs/x"), _recipe(), [winner])
    assert [line for line in lines if line.startswith("constant")] == ([said] if said else [])


@pytest.mark.parametrize(("common", "told"), [(88, True), (52, False)])
def test_of_many_classes_a_constant_answer_is_told_by_how_often_the_test_rows_have_each(
    common: int, told: bool
) -> None:
    names = tuple(f"class {number:02}" for number in range(CONFUSED_CLASSES + 1))
    tested = Result(validation=score(0.9), test=Score(examples=100, accuracy=0.9, macro_f1=0.5, loss=0.25))
    winner = record(0).model_copy(update={"labels": names, "label_codes": names, "result": tested})
    rows = dict.fromkeys(names, (100 - common) // CONFUSED_CLASSES) | {names[3]: common}
    recipe = _recipe(provenance={"data": {"class_rows": {"test": rows}}})
    said = "constant    “class 03” for every test row would reach an accuracy of 0.880: it is not shown to beat that"
    lines = closing_lines(winner, Path("runs/x"), recipe, [winner])
    assert [line for line in lines if line.startswith("constant")] == ([said] if told else [])


def test_of_a_trial_that_the_clock_cut_short_it_is_said_since_it_counts_in_no_mean() -> None:
    lines = _following()
    for epochs, said in ((0.96, True), (1.0, False)):
        one = record(0).model_copy(update={"epochs": epochs})
        assert lines._outcome(one).endswith(", cut short by the clock after 0.96 of 1 pass") == said
        table = _following()
        _end(table, one)
        assert ("cut short by the clock after 0.96 of 1 pass" in _drawn(table)) == said


@pytest.mark.parametrize(("right", "passes"), [(40, True), (96, False)])
def test_few_passes_over_few_rows_that_taught_nothing_are_to_be_more(right: int, passes: bool) -> None:
    confusion = ((right // 2, 50 - right // 2), (50 - right // 2, right // 2))
    one = Score(examples=100, accuracy=right / 100, macro_f1=0.5, loss=0.25, confusion=confusion)
    winner = _tested(record(0, train_rows=96), one)
    more = "--set train.num_train_epochs=16   (over 96 rows a search under a clock makes up to 16)"
    last = closing_lines(winner, Path("runs/x"), _recipe(budget={}), [winner])[-1]
    assert last.endswith(f"/x-passes {more}") == passes
    clocked = closing_lines(winner, Path("runs/x"), _recipe(), [winner])[-1]  # by which it had time for more
    assert clocked.endswith(f"/x-passes {more.replace('train.num_train_epochs=16', 'search.epochs=clock')}") == passes


def test_a_single_test_row_is_one_row() -> None:
    one = score(0.9).model_copy(update={"correct": 1, "examples": 1})
    winner = _tested(record(0), one)
    assert any(line.endswith(" on 1 test row") for line in closing_lines(winner, Path("x"), _recipe(), [winner]))


def test_a_report_is_named_once_it_is_there(tmp_path: Path) -> None:
    winner = _tested(record(0))
    page = tmp_path / "report" / "index.html"
    without = closing_lines(winner, tmp_path, _recipe(), [winner])
    page.parent.mkdir()
    page.touch()
    assert f"report      loraloom report {tmp_path}   (there is none yet)" in without
    assert f"report      {page}" in closing_lines(winner, tmp_path, _recipe(), [winner])


@pytest.mark.parametrize(("cap", "said"), [(1_000_400, ">99.9 %"), (1_000_000, "100 %")])
def test_all_of_the_cap_is_used_only_where_nothing_is_left_of_it(cap: int, said: str) -> None:
    trial = record(0, accuracy=0.9)
    winner = _tested(trial.model_copy(update={"counts": trial.counts.model_copy(update={"trainable": 1_000_000})}))
    recipe = _recipe(budget={"max_trainable_parameters": cap, "max_seconds": 60})
    lines = closing_lines(winner, Path("runs/x"), recipe, [winner])
    assert f"parameters  1,000,000 trainable, {said} of the cap of {cap:,}" in lines


def test_a_winner_is_told_with_the_rows_and_the_warm_up_that_it_had() -> None:
    winner = _tested(record(0, point={"train.warmup_steps": 12}, train_rows=100))
    every = _tested(record(0, train_rows=400))
    lines = closing_lines(winner, Path("runs/x"), _recipe(), [winner])
    assert lines[:2] == ("winner      trial 0: warmup_steps=0", "trained on  100 of 400 training rows")
    assert not any(line.startswith("trained on") for line in closing_lines(every, Path("runs/x"), _recipe(), [every]))


def test_a_trial_is_told_with_the_warm_up_that_it_had() -> None:
    trial = record(0, point={"train.warmup_steps": 12})
    assert trial_in_words(_recipe(), trial.point, trial.configuration) == "warmup_steps=0"


def _recipe(**sections: Any) -> Recipe:
    about = {"data": {"rows": {"train": 400}}}
    given = {"data": {"dataset": "demo"}, "lora": {"r": [2, 4]}, "budget": {"max_seconds": 60}}
    return read_recipe({**given, "provenance": about, **sections})


def _next(
    recipe: Recipe,
    tried: int,
    train_rows: int | None = None,
    run: Path = Path("runs/x"),
    others: Sequence[TrialRecord] = (),
) -> str:
    records = [record(number, point={"lora.r": number}, train_rows=train_rows) for number in range(tried)]
    return closing_lines(_tested(records[0]), run, recipe, [*records, *others])[-1].removeprefix("next        ")


def test_more_time_is_advised_only_where_it_would_try_more() -> None:
    seeds = "loraloom search runs/x/recipe.yaml --out runs/x-seeds --set search.seeds=3"
    assert _next(_recipe(), 1).startswith("loraloom resume runs/x   (1 min 00 s more;")
    assert "   (1 min 30 s more;" in _next(_recipe(budget={"max_seconds": 90}), 1)
    assert _next(_recipe(), 2) == f"{seeds} --set budget.max_seconds=180"
    assert _next(_recipe(search={"n_trials": 1}), 1) == seeds
    assert _next(_recipe(search={"seeds": 2}), 2) == "use         loraloom predict runs/x/best --text …"


def test_of_few_rows_more_seeds_are_advised_for_their_mean() -> None:
    few, many = (_next(_recipe(), 2, train_rows=rows) for rows in (999, 1_000))
    assert few == f"{many}   (of so few rows the mean of seeds tends to be better)"
    assert many.endswith("--set search.seeds=3 --set budget.max_seconds=180")


def test_more_seeds_have_more_time_where_what_they_had_does_not_suffice() -> None:
    took = 2 * (record(0).timings or pytest.fail("it was timed")).seconds
    for limit, more in ((3 * took, ""), (3 * took - 1, f" --set budget.max_seconds={math.ceil(9 * took - 3)}")):
        assert _next(_recipe(budget={"max_seconds": limit}), 2).endswith(f"--set search.seeds=3{more}")


def test_trials_that_were_trained_side_by_side_took_no_longer_than_their_search(tmp_path: Path) -> None:
    for seconds, more in ((15, ""), (21, " --set budget.max_seconds=180")):
        command = {"started": "", "allowed_seconds": 60, "seconds": seconds, "ended": "done"}
        write_sealed(tmp_path / COMMANDS, {"commands": [command]})
        assert _next(_recipe(), 2, run=tmp_path).endswith(f"--set search.seeds=3{more}")


@pytest.mark.parametrize(
    ("fields", "tried", "seconds", "setting"),
    [
        ({"search": {"seeds": 2}}, 2, 30, "seeds=4"),
        ({"search": {"seeds": 2}}, 2, 31, None),
        ({"search": {"seeds": 2, "n_trials": 1}}, 1, 30, "n_trials=2"),
        ({"search": {"seeds": 2, "n_trials": 9}}, 2, 30, "seeds=4"),  # there are two
        ({"search": {"seeds": 2, "sampler": "random"}, "lora": {"r": {"min": 1, "max": 9}}}, 1, 30, None),
        ({"search": {"seeds": 2}, "budget": {}}, 2, 30, "seeds=4"),  # it had --deadline
        ({"search": {"seeds": 600}}, 2, 30, "seeds=1000"),  # as many as a recipe may have
        ({"search": {"seeds": 1000}}, 2, 30, None),
    ],
)
def test_where_half_of_the_time_was_not_used_there_is_a_command_that_uses_it(
    tmp_path: Path, fields: dict[str, Any], tried: int, seconds: float, setting: str | None
) -> None:
    command = {"started": "", "allowed_seconds": 60, "seconds": seconds, "ended": "done"}
    write_sealed(tmp_path / COMMANDS, {"commands": [command]})
    last = _next(_recipe(**fields), tried, run=tmp_path)
    more = f"loraloom search {tmp_path}/recipe.yaml --out {tmp_path}-more --set search."
    assert last.startswith(more) is (setting is not None)
    assert setting is None or last == f"{more}{setting}   (half of the time or more was not used)"


def test_the_rows_of_a_program_are_given_again_by_it() -> None:
    assert _next(_recipe(data={}), 1).startswith("loraloom.resume('runs/x', train=…)   (1 min 00 s more;")
    settings = "overrides=['search.seeds=3', 'budget.max_seconds=180']"
    assert _next(_recipe(data={}), 2) == f"loraloom.search('runs/x/recipe.yaml', 'runs/x-seeds', {settings}, train=…)"


def test_what_made_less_than_a_pass_was_not_trained_on_all_rows() -> None:
    winner = _tested(record(0, point={"lora.r": 0}, train_rows=400).model_copy(update={"epochs": 0.15}))
    lines = closing_lines(winner, Path("runs/x"), _recipe(), [winner])
    assert "trained on  60 of 400 training rows" in lines


def test_more_time_is_reckoned_by_what_the_commands_took(tmp_path: Path) -> None:
    write_sealed(tmp_path / COMMANDS, {"commands": [{"started": "", "allowed_seconds": 60, "seconds": 45}]})
    assert _next(_recipe(), 2, train_rows=100, run=tmp_path).endswith("=130   (all 400 rows, in about 2 min)")
    again = _next(_recipe(budget={}), 1, run=tmp_path)  # it had --deadline
    assert again.startswith(f"loraloom resume {tmp_path} --max_seconds 45   (45 s more;")


def test_a_search_that_was_done_had_the_time_that_it_was_allowed_whatever_its_report_took(tmp_path: Path) -> None:
    for seconds in (40, 50):  # as its report is written, and afterwards
        command = {"started": "", "allowed_seconds": 60, "seconds": seconds, "ended": "done"}
        write_sealed(tmp_path / COMMANDS, {"commands": [command]})
        assert _next(_recipe(), 2, train_rows=100, run=tmp_path).endswith("=150   (all 400 rows, in about 2 min)")


def test_a_search_that_has_tried_all_that_it_would_is_not_to_go_on(tmp_path: Path) -> None:
    ranges = {"lora": {"r": {"min": 1, "max": 9}, "lora_alpha": [8, 16]}, "search": {"sampler": "auto"}}
    assert "loraloom resume" in _next(_recipe(**ranges), 2, run=tmp_path)
    write_sealed(tmp_path / PLAN, {"configurations": 2})
    assert "loraloom resume" not in _next(_recipe(**ranges), 2, run=tmp_path)


def test_few_rows_seeds_of_the_winner_are_to_be_mixed() -> None:
    seeds = [record(number, point={"lora.r": 1}, train_rows=400) for number in range(3)]
    winner, recipe = _tested(seeds[0]), _recipe(search={"seeds": 3})
    said = "next        loraloom soup runs/x   (the winner's 3 seeds in one adapter: tends to be better)"
    assert said in closing_lines(winner, Path("runs/x"), recipe, seeds)
    assert not any("soup" in line for line in closing_lines(winner, Path("runs/x"), recipe, seeds[:1]))


def test_more_seeds_are_advised_where_the_winner_has_one() -> None:
    recipe = _recipe(lora={"r": 1})
    seeds = [record(number, point={"lora.r": 1}, train_rows=4_000) for number in range(3)]
    for trials, advised in ((seeds[:1], True), (seeds, False)):  # a clock has time for more than are asked for
        lines = closing_lines(_tested(seeds[0]), Path("runs/x"), recipe, trials)
        assert any("search.seeds=3" in line for line in lines) == advised


def test_a_winner_of_a_part_of_the_rows_is_to_see_all() -> None:
    longer = "loraloom search runs/x/recipe.yaml --out runs/x-longer --set budget.max_seconds=150"
    assert _next(_recipe(), 2, train_rows=100) == f"{longer}   (all 400 rows, in about 2 min)"
    collapsed = record(2, point={"lora.r": 1}, train_rows=400)
    assert "x-longer" not in _next(_recipe(), 2, train_rows=100, others=[collapsed])  # they had time for all


def test_a_search_by_the_clock_that_is_to_be_run_next_has_as_much_time_as_the_deadline_gave(tmp_path: Path) -> None:
    commands = [{"started": "", "allowed_seconds": allowed} for allowed in (599.2, 60)]
    write_sealed(tmp_path / COMMANDS, {"commands": commands})
    clocked = _recipe(budget={}, search={"epochs": "clock"})
    seeds = f"loraloom search {tmp_path}/recipe.yaml --out {tmp_path}-seeds --set search.seeds=3"
    assert _next(clocked, 2, run=tmp_path) == f"{seeds} --set budget.max_seconds=600"
    assert _next(_recipe(budget={}), 2, run=tmp_path) == seeds
    assert _next(_recipe(search={"epochs": "clock"}), 2, run=tmp_path) == f"{seeds} --set budget.max_seconds=180"
    assert search_command(tmp_path, clocked, "seeds", "search.seeds=3", "search.epochs=recipe").endswith("=recipe")


def test_a_command_that_is_to_be_run_next_keeps_leaked_rows_where_the_run_kept_them() -> None:
    assert _next(_recipe(provenance={"allow_leak": True}), 2).endswith(" --set budget.max_seconds=180 --allow_leak")
