"""Options and arguments that several commands have, each with its one name and its one description."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loraloom.cli.completion import complete_adapter, complete_recipe, complete_run
from loraloom.machine import with_home


def from_home(path: Path | None) -> Path | None:
    """A path to write to, with the home folder for a first `~`, which a shell leaves alone in --out=~/here."""
    return None if path is None else with_home(path)


RecipePath = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE",
        help="The recipe: a YAML file, or the name of one that comes with loraloom.",
        show_default=False,
        autocompletion=complete_recipe,
    ),
]
Out = Annotated[Path, typer.Option("--out", help="The run folder to make.", show_default=False, callback=from_home)]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Override a field (lora.r=4), or vary it (lora.r=2,4,8); may be given several times.",
    ),
]
TrainOverrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Override a field (lora.r=4); search varies one (lora.r=2,4,8). May be given several times.",
    ),
]
ClassShares = Annotated[
    list[str],
    typer.Option(
        "--class_shares",
        metavar="LABEL=SHARE",
        help="How common classes are in these texts, where that is not as in training: balanced, or LABEL=SHARE once "
        "for each label, in any unit.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Deadline = Annotated[
    str | None,
    typer.Option(
        "--deadline",
        metavar="TIME",
        help="End by then, report and all: 2026-11-25T18:00, or 18:00. budget.max_seconds and SLURM's end hold too.",
        show_default=False,
    ),
]
Grace = Annotated[
    float,
    typer.Option(
        "--grace",
        min=0,
        metavar="SECONDS",
        help="Time that is left after SIGTERM: a winner is tested and reported if that fits into it.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the result.")]
AllowLeak = Annotated[
    bool,
    typer.Option(
        "--allow_leak",
        help="Keep training rows that are also in validation or test; the report says so.",
    ),
]
Profile = Annotated[
    bool,
    typer.Option(
        "--profile",
        help="Write where a step's time goes to each trial's profile.json, and print it (engine loom alone).",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Train in this many worker processes, each with its share of cores; with --ray, in as many at most.",
    ),
]
RayAddress = Annotated[
    str | None, typer.Option("--ray", metavar="ADDRESS", help="Train on a Ray cluster: host:port of its head, or auto.")
]
GpusPerPack = Annotated[
    float | None,
    typer.Option("--gpus_per_pack", help="With --ray: the share of a GPU that each worker takes, such as 0.5."),
]
RunPath = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run folder.", show_default=False, autocompletion=complete_run),
]
AdapterPath = Annotated[
    Path,
    typer.Argument(
        metavar="ADAPTER",
        help="A trial's folder, such as RUN/best, or owner/name on the hub.",
        show_default=False,
        autocompletion=complete_adapter,
    ),
]
AdapterPaths = Annotated[
    list[Path],
    typer.Argument(
        metavar="ADAPTER",
        help="Trials' folders, such as RUN/best, or owner/name on the hub; several are an ensemble.",
        show_default=False,
        autocompletion=complete_adapter,
    ),
]
TextColumns = Annotated[
    list[str],
    typer.Option(
        "--text_column",
        metavar="COLUMN",
        help="Column of the text (may be given several times); the recipe's by default.",
    ),
]
LabelColumn = Annotated[
    str | None, typer.Option("--label_column", help="Column of the label; the recipe's by default.")
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes any that is free.")]
