"""All that the report says, as one frozen value computed from a run; how it looks is `page.py`'s business."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from loraloom.errors import shell_path
from loraloom.report.against import Against, against
from loraloom.report.answer import Answer, answer
from loraloom.report.beside import beside
from loraloom.report.cautions import cautions
from loraloom.report.curves import Curves, curves, trials_to_draw
from loraloom.report.dataset import Dataset, dataset
from loraloom.report.details import Detail, details
from loraloom.report.effects.observations import observe
from loraloom.report.effects.section import Effects, effects
from loraloom.report.failures import Failures, failures
from loraloom.report.gap import Gap, gap
from loraloom.report.leaderboard import Leaderboard, describe, leaderboard
from loraloom.report.making import Making, making
from loraloom.report.making.commands import commands_of
from loraloom.report.making.sources import model_facts
from loraloom.report.next_steps import Step, next_steps
from loraloom.report.packed_rows import packed_rows
from loraloom.report.reading import RunRead, read_evaluations
from loraloom.report.row_recipes import RowRecipes, row_recipes
from loraloom.report.similarity import Similarity, similarity
from loraloom.report.testset import Tested, tested
from loraloom.report.tradeoffs import Tradeoffs, tradeoffs
from loraloom.report.wording import listed, value
from loraloom.study.provenance import data_stated
from loraloom.study.run import TRIALS
from loraloom.wording import percent, plural

MOST_NAMED = 20
"""Files of trials that can't be read; a report of all that a copy left out would be of little else."""
LEFT_OUT = (
    "Not on this page: how alike test and training rows are, and which labels of training rows look wrong. This tells "
    "both, as far as the rows allow:"
)


@dataclass(frozen=True, slots=True)
class Findings:
    """The report's sections in their order; `problems` are files that can't be read or do not agree.

    `rewrite` is the command that writes the report again; `left_out` says what else it then has.
    """

    name: str
    subject: str
    on_size: str
    rewrite: str
    left_out: str
    answer: Answer
    cautions: tuple[str, ...]
    beside: tuple[str, ...]
    next_steps: tuple[Step, ...]
    board: Leaderboard
    effects: Effects
    recipes: RowRecipes
    details: tuple[Detail, ...]
    packed: str | None
    tradeoffs: Tradeoffs | None
    curves: Curves | None
    gap: Gap | None
    test: Tested | None
    failures: Failures | None
    dataset: Dataset
    similarity: Similarity | str
    against: Against | None
    making: Making
    problems: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The winner's classes, where it left predictions of single rows."""
        if self.test is not None:
            return self.test.labels
        return tuple(each.label for each in self.failures.classes) if self.failures else ()

    @property
    def on_judged(self) -> str:
        """Of which rows it is said where the winner fails; nothing of test rows, which are expected."""
        if self.failures is None or self.failures.split == "test":
            return ""
        chose = " by which it was chosen" if self.answer.had_choice else ""
        return f"What follows is of the {plural(self.failures.rows, f'{self.failures.split} row')}{chose}."


def findings(
    run: RunRead,
    against_run: Path | None = None,
    why_not_similar: str | None = None,
    *,
    similar: bool = True,
    second: bool = False,
) -> Findings:
    """Everything the report says.

    `second` says whether the file that was embedded last, `--compare_file`, is to be compared.

    Raises:
        RunError: `against_run` can't be compared with the run.
    """
    problems = list(run.problems)
    compared = against(run, against_run) if against_run else None
    board = leaderboard(run)
    recipes = row_recipes(run, board)
    drawn = curves(board, read_evaluations(run, trials_to_draw(board), problems))
    test = tested(run.best, problems) if run.best else None
    seen = observe(run, problems)
    failed = failures(run, board, problems)
    commands = commands_of(run, problems)
    found = answer(run, board, commands)
    on_effects = effects(run, seen)
    made = making(run, commands, problems)
    return Findings(
        name=run.path.resolve().name,
        subject=_subject(run),
        on_size=_on_size(board),
        rewrite=f"loraloom report {shell_path(run.place)}",
        left_out="" if similar else _left_out(run, failed),
        answer=found,
        cautions=cautions(run, board, found, test, commands),
        board=board,
        beside=beside(run, problems),
        next_steps=next_steps(run, board, found, on_effects.advice),
        effects=on_effects,
        recipes=recipes,
        details=details(run, board, recipes, problems),
        packed=packed_rows(run, board, problems),
        tradeoffs=tradeoffs(run, board),
        curves=drawn,
        gap=gap(run, seen, problems),
        test=test,
        failures=failed,
        similarity=similarity(run, problems, why_not_similar, computed=similar, second=second),
        against=compared,
        dataset=dataset(run, failed),
        making=made,
        problems=_told(run, problems),
    )


def _left_out(run: RunRead, failed: Failures | None) -> str:
    """What a search had no time for, where `loraloom report` on its run tells it."""
    judged = failed is None or failed.training.suspects is not None
    return "" if run.best is None or run.recipe.from_python or judged else LEFT_OUT


def _told(run: RunRead, problems: Iterable[str]) -> tuple[str, ...]:
    """Each once; of trials the first, since there may be thousands of them."""
    once = tuple(dict.fromkeys(problems))
    of_trials = [problem for problem in once if problem.startswith(f"{run.path / TRIALS}/")]
    left_out = set(of_trials[MOST_NAMED:])
    more = (f"{plural(len(left_out), 'more file')} of {run.path / TRIALS} can't be read.",) if left_out else ()
    return *(problem for problem in once if problem not in left_out), *more


def _subject(run: RunRead) -> str:
    """What was trained on what, models by their names on the hub: `roberta-base on reviews.csv`."""
    name = data_stated(run.recipe).get("name")
    models = listed(
        [value(model_facts(run, model).get("name") or model) for model in run.recipe.values("backbone.model")]
    )
    data_name = name or run.recipe.data.dataset or run.recipe.data.train_file or "unnamed data"
    return f"{models} on {value(data_name)}"


def _on_size(board: Leaderboard) -> str:
    """Whether a smaller configuration would do as well, of those that were trained on as many rows as the winner."""
    winner, smaller = board.winner, board.smallest_in_noise
    if winner is None:
        return ""
    if all(row.trainable >= winner.trainable for row in board.rows):
        return "No smaller configuration was tried."
    if all(row.trainable >= winner.trainable for row in board.ranked):
        return "No smaller configuration was trained to its end."
    if all(row.trainable >= winner.trainable for row in board.compared):
        return "No smaller configuration was trained on as many rows as the best, and to its end."
    if board.metric != "accuracy":
        return ""
    if smaller is None:
        return "No smaller configuration that was trained on as many rows comes within the noise of the best."
    return (
        "The smallest configuration on as many rows within the noise of the best is "
        f"{describe(board.axes, smaller.values)}, "
        f"with {percent(smaller.trainable / winner.trainable)} of its parameters."
    )
