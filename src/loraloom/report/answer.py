"""What a run was started for: which configuration is best, how good, how large, and how to use it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from loraloom.errors import shell_path
from loraloom.intervals import Interval
from loraloom.report import wording
from loraloom.report.leaderboard import ROWS, Leaderboard, as_written, field, winning
from loraloom.report.making.timing import TimeUse, time_use
from loraloom.report.reading import RunRead
from loraloom.study.choice import chosen
from loraloom.study.commands import Command as Logged
from loraloom.study.commands import go_on_command
from loraloom.study.record import Score, TrialRecord
from loraloom.study.run import BEST

TELLING_FIELDS = (
    "backbone.model",
    "lora.r",
    "lora.lora_alpha",
    "lora.bias",
    "train.optim",
    "train.learning_rate",
    "train.num_train_epochs",
)
"""What names a configuration where a recipe varies nothing."""
MANY_SETTINGS = 8
"""Of more axes than these, those that stand at the recipe's default are named apart."""


@dataclass(frozen=True, slots=True)
class Command:
    """Something to copy: what it does, and its text in a shell's or Python's words."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the trainable parameters; `percent` of the cap, or of the whole where there is no cap."""

    name: str
    parameters: int
    percent: float


@dataclass(frozen=True, slots=True)
class Tally:
    """How many trials ended how, and the seconds that they took together."""

    complete: int
    pruned: int
    failed: int
    under_way: int
    seconds: float | None

    @property
    def finished(self) -> int:
        return self.complete + self.pruned + self.failed


@dataclass(frozen=True, slots=True)
class Winner:
    """The best configuration, by the `record` of its trial; `split` says which rows `score` is of.

    `chosen` says whether it is best/'s. `rank` is its configuration's in the leaderboard, None where that has no row of
    it; `since` says why it was chosen where that is not the first. `settings` are its values along the axes,
    `as_default` those that are left out of them: many, at their defaults.
    """

    record: TrialRecord
    chosen: bool
    rank: int | None
    since: str
    settings: tuple[tuple[str, str], ...]
    as_default: tuple[tuple[str, str], ...]
    split: str
    score: Score
    validation: Score
    parts: tuple[Part, ...]
    cap: int | None

    @property
    def interval(self) -> Interval | None:
        return self.score.interval

    @property
    def of_cap(self) -> float | None:
        """The share of the cap that it takes."""
        return self.record.counts.trainable / self.cap if self.cap else None


@dataclass(frozen=True, slots=True)
class Answer:
    """`winner` is None where no trial is complete, `time` where the run has kept no commands."""

    winner: Winner | None
    tally: Tally
    configurations: int
    commands: tuple[Command, ...]
    time: TimeUse | None

    @property
    def had_choice(self) -> bool:
        """Whether results chose the winner, among configurations or seeds: a single trial's do not flatter it."""
        return self.tally.complete + self.tally.pruned > 1

    @property
    def on_validation(self) -> str:
        """What is to be known of figures by which configurations are ordered; nothing where none was chosen."""
        return "Validation chose the order, so its best figures flatter." if self.had_choice else ""

    @property
    def subject(self) -> str:
        """What the headline is about: the best of so many, or else the one that was chosen, and why."""
        if self.configurations <= 1 or self.winner is None:
            return "The configuration"
        if self.winner.rank != 1:
            since = f", {self.winner.since}," if self.winner.since else ""
            return f"The one chosen of {self.configurations:,} configurations{since}"
        return f"The best of {self.configurations:,} configurations{'' if self.winner.chosen else ' so far'}"


def answer(run: RunRead, board: Leaderboard, logged: tuple[Logged, ...] = ()) -> Answer:
    """The winner as tested where there is a best/, else the best so far by validation."""
    record = winning(run, board)
    winner = _winner(run, board, record) if record is not None else None
    configurations = len({record.point_key for record in run.records})  # on however many rows
    return Answer(winner, _tally(run), configurations, _commands(run, winner), time_use(logged))


def _winner(run: RunRead, board: Leaderboard, record: TrialRecord) -> Winner | None:
    if record.result is None:
        return None
    cap = run.recipe.budget.max_trainable_parameters
    whole = max(record.counts.trainable, cap or 0, 1)
    names = tuple(name for name in board.axes if name != ROWS) or TELLING_FIELDS  # rungs choose rows, not the search
    values = tuple((name, wording.value(as_written(record, name))) for name in names)
    apart = {name for name in names if _is_default(record, name)} if len(names) > MANY_SETTINGS else set()
    rank = board.winner.rank if board.winner else None
    parts = (("LoRA", record.counts.lora), ("biases", record.counts.bias), ("head", record.counts.head))
    return Winner(
        record=record,
        chosen=run.best is not None,
        rank=rank,
        since="" if rank == 1 else _since(run, record),
        settings=tuple(setting for setting in values if setting[0] not in apart),
        as_default=tuple(setting for setting in values if setting[0] in apart),
        split=record.result.split,
        score=record.result.score,
        validation=record.result.validation,
        parts=tuple(Part(name, number, 100 * number / whole) for name, number in parts if number),
        cap=cap,
    )


def _since(run: RunRead, record: TrialRecord) -> str:
    """Why a configuration that does not lead was chosen; empty where it leads, or that is not known."""
    choice = chosen(run.records, run.recipe.search.metric)
    if choice is None or not choice.sentence or record.number not in {one.number for one in choice.winner.trials}:
        return ""
    if choice.preferred == "done":
        return "within the noise of the leader, which the clock cut short"
    return f"within the noise of the leader and with {choice.preferred}"


def _is_default(record: TrialRecord, name: str) -> bool:
    section, _, leaf = name.partition(".")
    fields = type(getattr(record.configuration, section)).model_fields
    return leaf in fields and field(record, name) == fields[leaf].get_default(call_default_factory=True)


def _tally(run: RunRead) -> Tally:
    states = Counter(record.state for record in run.records)
    return Tally(
        complete=states["complete"],
        pruned=states["pruned"],
        failed=states["failed"],
        under_way=run.under_way,
        seconds=run.seconds,
    )


def _commands(run: RunRead, winner: Winner | None) -> tuple[Command, ...]:
    if run.best is None or winner is None:
        return (Command("Go on with the search", go_on_command(run.place, run.recipe)),)
    folder, best = str(run.path / BEST), shell_path(run.place / BEST)
    commands = [
        Command("Classify a text", f'loraloom predict {best} --text "…"'),
        Command("Test it on other rows", f"loraloom evaluate {best} --test_file OTHER_ROWS.csv"),
    ]
    head = winner.record.configuration.head
    if (head.kind, head.pooling) == ("native", "native"):
        commands.append(Command("Load it with PEFT alone", peft_code(winner.record, folder)))
    else:
        commands.append(Command("Load it in Python", _loaded(folder)))
    return tuple(commands)


def _loaded(best: str) -> str:
    return f'import loraloom\n\nprint(loraloom.load({best!r}).predict(["…"]))'


def peft_code(record: TrialRecord, folder: str) -> str:
    """Python that classifies a text by the adapter in `folder`, which has a native head, without loraloom."""
    cut = f"truncation=True, max_length={record.configuration.data.max_length}"
    return (
        "from peft import AutoPeftModelForSequenceClassification, PeftConfig\n"
        "from transformers import AutoTokenizer\n\n"
        f"folder = {folder!r}\n"
        f"labels = {list(record.labels)!r}\n"
        "base = PeftConfig.from_pretrained(folder)\n"
        "model = AutoPeftModelForSequenceClassification.from_pretrained(\n"
        '    folder, num_labels=len(labels), ignore_mismatched_sizes=True, dtype="float32"\n'
        ").eval()\n"
        "tokenizer = AutoTokenizer.from_pretrained(base.base_model_name_or_path, revision=base.revision)\n"
        f'batch = tokenizer(["…"], {cut}, return_tensors="pt")\n'
        "print(labels[int(model(**batch).logits.argmax())])"
    )
