"""Commands that make a run or go on with one: `search`, `train`, `resume`, `refit`, `soup`, `blend`.

Those that show one are in `showing.py`.

Imports of the library are inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.beginning import process_start
from loraloom.cli.options import (
    AllowLeak,
    AsJson,
    Deadline,
    GpusPerPack,
    Grace,
    Out,
    Overrides,
    Profile,
    Quiet,
    RayAddress,
    RecipePath,
    RunPath,
    TrainOverrides,
    Workers,
)
from loraloom.cli.running import (
    follow,
    make_terminal,
    print_json,
    run_search,
    say_line,
    stoppable,
)
from loraloom.cli.watchdog import ended_in_time
from loraloom.errors import RecipeError

if TYPE_CHECKING:
    from loraloom.search.watcher import Watcher
    from loraloom.study.record import TrialRecord


def search(
    recipe: RecipePath,
    out: Out,
    overrides: Overrides = [],  # noqa: B006
    deadline: Deadline = None,
    grace: Grace = 0,
    allow_leak: AllowLeak = False,
    profile: Profile = False,
    workers: Workers = None,
    ray: RayAddress = None,
    gpus_per_pack: GpusPerPack = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search a recipe's space under its budget: the main job.

    Trains what the budget allows, tests the winner once, and leaves RUN/best, RUN/leaderboard.csv and
    RUN/report/index.html.

    Example: loraloom search demo --out runs/demo --set search.n_trials=12
    """
    from loraloom.execute.placement import Placement
    from loraloom.recipe import read_recipe

    run_search(
        read_recipe(recipe, overrides),
        out,
        Placement(workers, ray, gpus_per_pack),
        deadline=deadline,
        grace=grace,
        allow_leak=allow_leak,
        profile=profile,
        quiet=quiet,
        as_json=as_json,
    )


def train(
    recipe: RecipePath,
    out: Out,
    overrides: TrainOverrides = [],  # noqa: B006
    deadline: Deadline = None,
    grace: Grace = 0,
    allow_leak: AllowLeak = False,
    profile: Profile = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train one configuration: a search of one, with the same run folder and report.

    Several seeds (search.seeds) are trained in this process, on a CPU in turn; search takes --workers and --ray.

    Example: loraloom train agnews-roberta-base --out runs/one --set search.seeds=3
    """
    from loraloom.execute.placement import IN_PROCESS
    from loraloom.recipe import read_recipe

    read = read_recipe(recipe, overrides)
    if varying := [name for name in read.axes if len(read.values(name)) > 1]:
        raise RecipeError(
            f"{recipe}: {', '.join(varying)} would vary; train takes one value each, search takes several"
        )
    run_search(
        read.with_fields(search={"sampler": "grid"}),  # the others would look for more than there is
        out,
        IN_PROCESS,
        deadline=deadline,
        grace=grace,
        allow_leak=allow_leak,
        profile=profile,
        quiet=quiet,
        as_json=as_json,
    )


def resume(
    run: RunPath,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--max_seconds",
            min=1,
            help="Seconds for this command; the recipe's by default, inf for no limit.",
            show_default=False,
        ),
    ] = None,
    deadline: Deadline = None,
    grace: Grace = 0,
    workers: Workers = None,
    ray: RayAddress = None,
    gpus_per_pack: GpusPerPack = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run after a kill, a deadline or a crash.

    Finished trials are kept, and a trial under way goes on from its last checkpoint, to the same result. A run
    with budget.max_seconds is given as much time again.

    Example: loraloom resume runs/demo --max_seconds 600
    """
    with stoppable(run, grace) as stop:
        from loraloom.study.run import Run

        def work(watcher: Watcher) -> TrialRecord:
            from loraloom import pipeline
            from loraloom.execute.placement import Placement

            return pipeline.resume(
                run,
                watcher=watcher,
                command=sys.argv,
                stop=stop,
                max_seconds=max_seconds,
                deadline=deadline,
                started=process_start(),
                placement=Placement(workers, ray, gpus_per_pack),
            )

        limit = Run(run).recipe.budget.max_seconds if max_seconds is None else max_seconds
        with ended_in_time(run, limit, deadline, option="--max_seconds"):
            follow(run, work, quiet=quiet, as_json=as_json)


def refit(run: RunPath, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Train a run's winner once more, on its training rows and those that were held out to choose it: RUN/refit.

    Configuration, seed and passes are the winner's (of a mean of seeds, each of them is trained again); the test rows
    stay held out, and it is tested on them. A training that was stopped is gone on with by the same command.

    Example: loraloom refit runs/demo
    """
    watcher = make_terminal(quiet=quiet, as_json=as_json)
    from loraloom.refitting import refit as run_refit
    from loraloom.study.commands import command_on
    from loraloom.study.run import Run
    from loraloom.terminal.refitted import refitted_lines

    opened = Run(run)
    with stoppable(run, 0, command_on("refit", run, opened.recipe)) as stop:
        record = run_refit(run, watcher=watcher, stop=stop)
    if as_json:
        print_json({"run": str(run), "refit": record.model_dump(mode="json")})
        return
    for line in refitted_lines(record, opened):
        say_line(line)


def soup(run: RunPath, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Mix the winner's seeds into one adapter, as small as each of them: RUN/soup.

    Its weights are the mean of theirs. It costs no training, is judged by the validation rows, and is tested as the
    winner was. Of few rows it tends to be better than one seed, of thousands it seldom is. A search has several seeds
    of its winner by search.seeds, or, under a clock, where time is left.

    Example: loraloom soup runs/demo
    """
    watcher = make_terminal(quiet=quiet, as_json=as_json)
    from loraloom.souping import soup as mix_seeds
    from loraloom.study.commands import command_on
    from loraloom.study.run import Run
    from loraloom.terminal.souped import souped_lines

    opened = Run(run)
    with stoppable(run, 0, command_on("soup", run, opened.recipe)):
        made = mix_seeds(run, watcher=watcher)
    if as_json:
        trials = sorted(trial.number for trial in made.trials)
        told = {"trials": trials, "kept": made.kept, "is_advised": made.is_advised}
        print_json({"run": str(run), **told, "soup": made.record.model_dump(mode="json")})
        return
    for line in souped_lines(made, opened):
        say_line(line)


def blend(run: RunPath, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Blend TF-IDF's scores into the winner's answers, outside the cap: RUN/blend.

    TF-IDF is a linear classifier of words and pairs of words, fitted to the training rows in seconds, of many in
    minutes. One part in three of what RUN/blend answers is its: that may be a little better than the winner alone, and
    is tested as the winner was. predict, submit, evaluate and serve take RUN/blend as any adapter; an export holds
    no TF-IDF. No cap of trainable parameters counts its weights: in a contest ask whether they are allowed.

    Example: loraloom blend runs/demo
    """
    watcher = make_terminal(quiet=quiet, as_json=as_json)
    from dataclasses import asdict

    from loraloom.blending import blend as blend_into
    from loraloom.study.commands import command_on
    from loraloom.study.run import Run
    from loraloom.terminal.blended import blended_lines

    opened = Run(run)
    with stoppable(run, 0, command_on("blend", run, opened.recipe)):
        made = blend_into(run, watcher=watcher)
    if as_json:
        tfidf = {"terms": len(made.tfidf.terms), "weights": made.tfidf.parameters, **made.apart.model_dump(mode="json")}
        told = {"blend": made.record.model_dump(mode="json"), "tfidf": tfidf, "gain": made.gain and asdict(made.gain)}
        print_json({"run": str(run), **told})
        return
    for line in blended_lines(made, opened):
        say_line(line)
