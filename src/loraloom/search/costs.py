"""What a trial takes: seconds a training row, a validated row, and to begin and end, learnt from what was timed.

Nothing is known of a machine or of texts before something was trained, so a search under a clock begins with a warm-up
of seconds. What loads a machine changes, so only the newest measurements count, and estimates lean to the slow side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from loraloom.recipe import Configuration
from loraloom.study.record import Timings

NEWEST = 4
"""Measurements of a kind that count."""
CAUTION = 1.1
"""Estimates are raised by this: a trial that is begun shall end in time."""
DISTURBED = 1.5
"""Times as slow as a longer training of its kind that came after it: it was disturbed, and counts no longer. Threads
that wait for each other are many times slower while other programs take a core, which may pass in a moment."""
TextKey = tuple[str, int]
"""What the tokens of a text depend on: the model, and how many of them it is cut at (`data.max_length`)."""


class Key(NamedTuple):
    """What a row's seconds depend on."""

    model: str
    adapted: str
    """What is trained of it, and how."""
    max_length: int
    batch: int


class Shared(NamedTuple):
    """What trials on the same rows have in common: token ids, or the states below the `layers` that are adapted."""

    model: str
    max_length: int
    train_rows: int
    layers: str = ""


_LIKENESSES = (
    attrgetter("model", "adapted", "max_length"),
    attrgetter("model", "max_length"),
    attrgetter("model", "adapted"),
    attrgetter("model"),
)
"""What kinds that are like each other have in common, most first."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One trial as timed: seconds a training row and pass, seconds a validated row, and seconds beside both.

    `prefix_row_seconds` is what the states of frozen layers took for a row that had none yet, 0 where all had.
    `layers` are those that were adapted and `dropout` the encoder's, where states of those below are kept.
    """

    model: str
    max_length: int
    batch: int
    train_row_seconds: float
    eval_row_seconds: float
    beside_seconds: float
    prefix_row_seconds: float = 0.0
    train_rows: int = 0
    examples: int = 0
    """Rows that were trained on in all passes."""
    adapted: str = ""
    """Which layers and modules, since what lies below them costs no gradient; and whether muon trains them."""
    layers: str = ""
    dropout: str = ""
    encode_row_seconds: float = 0.0
    """What the token ids of a text took, 0 where that was not timed."""

    @property
    def key(self) -> Key:
        """What it is a measurement of."""
        return Key(self.model, self.adapted, self.max_length, self.batch)


class Costs:
    """Measurements, and what they say of trials to come."""

    def __init__(self, measured: Iterable[Measured] = ()) -> None:
        self._newest: dict[Key, deque[Measured]] = {}
        self._prefix: dict[TextKey, Measured] = {}
        self._encoding: dict[TextKey, Measured] = {}
        self._keeping: set[tuple[str, str]] = set()  # models, with the dropout under which states are kept
        self._made: set[Shared] = set()
        for one in measured:
            self.note(one)

    def note(self, one: Measured) -> None:
        """Takes note of a trial that was timed, by which others of its kind may turn out to have been disturbed."""
        before = (other for other in self._newest.get(one.key, ()) if not _was_disturbed(other, one))
        self._newest[one.key] = deque((*before, one), maxlen=NEWEST)
        if one.layers:
            self._keeping.add((one.model, one.dropout))
            self._made.add(Shared(one.model, one.max_length, one.train_rows, one.layers))
        if one.prefix_row_seconds:
            self._prefix[one.model, one.max_length] = one
        if one.encode_row_seconds:
            self._encoding[one.model, one.max_length] = one
        self._made.add(Shared(one.model, one.max_length, one.train_rows))

    @property
    def known(self) -> bool:
        """Whether anything was timed."""
        return bool(self._newest)

    @property
    def row_seconds(self) -> dict[Key, float]:
        """Seconds for a row and pass of each kind that was timed."""
        return {key: _late(one.train_row_seconds for one in found) for key, found in self._newest.items()}

    def has_timed(self, configuration: Configuration) -> bool:
        """Whether a trial that is as dear was timed, and not merely one that is like it."""
        return cost_key(configuration) in self._newest

    def seconds(self, configuration: Configuration, train_rows: int, eval_rows: int) -> float:
        """What a trial would take, from its beginning to its record."""
        train = configuration.train
        trained = train_rows * train.num_train_epochs * self.train_row_seconds(configuration)
        validated = train.evaluations * eval_rows * self.eval_row_seconds(configuration)
        return CAUTION * (trained + validated) + self.beside_seconds(configuration)

    def train_row_seconds(self, configuration: Configuration) -> float:
        """Seconds for a row and pass."""
        return _late(one.train_row_seconds for one in self._like(configuration))

    def eval_row_seconds(self, configuration: Configuration) -> float:
        """Seconds for a row without gradients."""
        return _late(one.eval_row_seconds for one in self._like(configuration))

    def beside_seconds(self, configuration: Configuration) -> float:
        """Seconds of a trial beside its steps and evaluations."""
        return max(one.beside_seconds for one in self._like(configuration))

    def shared_seconds(self, configuration: Configuration, train_rows: int, eval_rows: int) -> float:
        """Seconds for all that the first trial on these rows makes for all others."""
        return sum(self.shared(configuration, train_rows, eval_rows).values())

    def shared(self, configuration: Configuration, train_rows: int, eval_rows: int) -> dict[Shared, float]:
        """Seconds for what the first trial on these rows makes for all others: token ids, and states of frozen layers.

        What was made, and states where none are kept, are left out.
        """
        ids = Shared(*text_key(configuration), train_rows)
        states = ids._replace(layers=_layers(configuration))
        each = {}
        if ids not in self._made:
            each[ids] = self._encode_row_seconds(configuration)
        if states.layers and states not in self._made:
            each[states] = self._prefix_row_seconds(configuration)
        return {made: CAUTION * (train_rows + eval_rows) * row for made, row in each.items()}

    def text_seconds(self, configuration: Configuration) -> float:
        """Seconds from a text of which nothing is known to its answer, as in a test.

        It takes no longer than training by it: of an evaluation of few rows, what is beside them would count for more.
        """
        answered = min(self.eval_row_seconds(configuration), self.train_row_seconds(configuration))
        return self._encode_row_seconds(configuration) + self._prefix_row_seconds(configuration) + answered

    def _encode_row_seconds(self, configuration: Configuration) -> float:
        timed = self._encoding.get(text_key(configuration))
        return 0.0 if timed is None else timed.encode_row_seconds

    def _prefix_row_seconds(self, configuration: Configuration) -> float:
        """What a row's states of frozen layers take; 0 where none are kept.

        Where none were computed yet, since earlier runs had, a row is taken to cost what a validated one does.
        """
        backbone = configuration.backbone
        if not _layers(configuration) or (backbone.model, backbone.dropout) not in self._keeping:
            return 0.0
        timed = self._prefix.get(text_key(configuration))
        return self.eval_row_seconds(configuration) if timed is None else timed.prefix_row_seconds

    def _like(self, configuration: Configuration) -> list[Measured]:
        """The newest measurements of trials like this one, or the slowest of those that are most like it."""
        alike = (self._newest[key] for key in most_like(cost_key(configuration), self._newest))
        return list(max(alike, key=lambda found: _late(one.train_row_seconds for one in found)))

    def as_json(self) -> list[dict[str, Any]]:
        """Plain values, for `plan.json`."""
        newest = [one for found in self._newest.values() for one in found]
        return [asdict(one) for one in dict.fromkeys([*self._prefix.values(), *self._encoding.values(), *newest])]


def text_key(configuration: Configuration) -> TextKey:
    """What the tokens of this configuration's texts depend on."""
    return configuration.backbone.model, configuration.data.max_length


def cost_key(configuration: Configuration) -> Key:
    """What a row of this configuration is as dear as."""
    return Key(
        configuration.backbone.model,
        _adapted(configuration),
        configuration.data.max_length,
        configuration.train.per_device_train_batch_size,
    )


def most_like(key: Key, known: Collection[Key]) -> list[Key]:
    """Those of the `known` kinds, of which there are some, that are most like one: itself, if it is among them."""
    if key in known:
        return [key]
    for likeness in _LIKENESSES:
        if alike := [other for other in known if likeness(other) == likeness(key)]:
            return alike
    return list(known)


def measured(
    configuration: Configuration,
    timings: Timings,
    seconds: float,
    *,
    train_rows: int,
    eval_rows: int,
    passes: float,
    evaluated: float,
) -> Measured:
    """What a trial says that took `seconds` from its start to its end, `timings` among them.

    `passes` over its rows were done, and it was evaluated `evaluated` times.
    """
    return Measured(
        **cost_key(configuration)._asdict(),
        train_row_seconds=timings.train_seconds / max(1.0, train_rows * passes),
        eval_row_seconds=(timings.seconds - timings.train_seconds) / max(1.0, eval_rows * evaluated),
        beside_seconds=max(0.0, seconds - timings.seconds - timings.prefix_seconds - timings.kernels_seconds),
        prefix_row_seconds=timings.prefix_seconds / timings.prefix_rows if timings.prefix_rows else 0.0,
        train_rows=train_rows,
        examples=round(train_rows * passes),
        layers=_layers(configuration) if timings.prefix_rows is not None else "",
        dropout=configuration.backbone.dropout if timings.prefix_rows is not None else "",
    )


def _layers(configuration: Configuration) -> str:
    """The layers that are trained; empty where those are all, as where every bias is."""
    lora = configuration.lora
    return "" if lora.layers_to_transform is None or lora.bias == "all" else str(lora.layers_to_transform)


def _adapted(configuration: Configuration) -> str:
    lora, layers = configuration.lora, _layers(configuration)
    below = f" {layers} {configuration.backbone.dropout}" if layers else ""
    # Its products are as many for a batch of few rows as for one of many.
    optimizer = " muon" if configuration.train.optim == "muon" else ""
    return f"{lora.target_modules}{below}{optimizer}"


def _was_disturbed(one: Measured, after: Measured) -> bool:
    """Whether a training was much slower than a longer one `after` it."""
    return one.examples < after.examples and one.train_row_seconds > DISTURBED * after.train_row_seconds


def _late(values: Iterable[float]) -> float:
    """The slower half's mean: one slow measurement is a warning, and not the rule."""
    ranked = sorted(values, reverse=True)
    half = ranked[: (len(ranked) + 1) // 2]
    return sum(half) / len(half)
