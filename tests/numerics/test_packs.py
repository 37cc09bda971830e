"""Packs: each trial comes out as it would alone, whatever its neighbours are and whatever becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from loraloom.engine import Job, Outcome
from loraloom.engine.loom import LoomEngine
from loraloom.engine.loom.engine import EMPTY
from loraloom.engine.loom.pack import Batch, Pack
from loraloom.engine.loom.tokens import lay_out
from loraloom.recipe import Lora, Train
from loraloom.study.record import Evaluation
from tests.engine.broken_off import Contents, contents
from tests.numerics.architectures import CONFIGS, make_job
from tests.numerics.both import DEVICE, Base, add_lora, assert_near, gradients_of, key_bias, pack_of, rows_for
from tests.numerics.conftest import Bases, Folders
from tests.numerics.tolerances import TOLERANCES

ENCODED, ROWS = rows_for("bert", [4, 9, 1, 6, 12, 3, 7, 2, 5, 8, 3, 10])
LABELS = np.arange(len(ROWS.rows)) % 3


@dataclass(frozen=True)
class Plan:
    """A trial: its recipe, and its rows, step by step and batch by batch."""

    lora: Lora
    train: Train
    steps: tuple[tuple[tuple[int, ...], ...], ...]
    weights: Tensor | None = None

    def batches(self, step: int) -> list[Batch]:
        return [Batch(np.array(rows), LABELS[list(rows)]) for rows in self.steps[step]]

    def rate(self, step: int) -> float:
        return self.train.learning_rate / (1 + step)


def plan(
    steps: tuple[tuple[tuple[int, ...], ...], ...],
    train: dict[str, Any],
    lora: dict[str, Any],
    weights: Tensor | None = None,
) -> Plan:
    common = {"bias": "all", "target_modules": "all-linear", "lora_dropout": 0.25}
    return Plan(Lora.model_validate(common | lora), Train.model_validate(train), steps, weights)


PLANS = (
    plan((((0, 1, 2),), ((3, 4, 5),), ((6, 7),)), {"optim": "adam", "seed": 1, "weight_decay": 0.1}, {"r": 2}),
    plan(
        (((4,), (5, 6)), ((11, 10, 9, 8), (0,)), ((1, 2),)),
        {"optim": "sgd", "learning_rate": 0.1, "seed": 2, "max_grad_norm": 0.3, "label_smoothing_factor": 0.2},
        {"r": 5, "lora_alpha": 3, "use_rslora": True},
    ),
    plan(
        (((7, 8, 9, 10, 11),), ((0,), (1,), (2,)), ((3, 4),)),
        {"optim": "adamw", "seed": 3, "max_grad_norm": 0, "weight_decay": 0.3},
        {"r": 1},
        torch.tensor([0.5, 1.5, 1.0]),
    ),
    plan((((2, 4),), ((6, 8),), ((10, 0),)), {"optim": "muon", "seed": 4, "max_grad_norm": 0.1}, {"r": 3}),
)


def pack(base: Base, plans: Sequence[Plan], ops_dtype: torch.dtype = torch.float64) -> Pack:
    models = [add_lora(base, own.lora, seed=own.train.seed, dtype=ops_dtype) for own in plans]
    return pack_of(
        base, models, [own.lora for own in plans], [own.train for own in plans], [own.weights for own in plans]
    )


def step(running: Pack, plans: Sequence[Plan], number: int) -> list[list[tuple[float, int]]]:
    """An optimizer step, with as many passes as its trials need; the losses of each pass."""
    steps = [own.batches(number) for own in plans]
    normalisers = [float(sum(len(batch.rows) for batch in batches)) for batches in steps]
    passes = []
    for turn in range(max(map(len, steps))):
        now = [batches[turn] if turn < len(batches) else EMPTY for batches in steps]
        passes.append(running.run([ENCODED] * len(plans), now, normalisers).read())
    running.step([own.rate(number) for own in plans])
    return passes


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The key's bias is left out: its gradient is rounding alone, and Adam makes steps of that."""
    found, expected = ({name: v for name, v in own.items() if not key_bias(name)} for own in (found, expected))
    assert_near(found, expected, tolerance=TOLERANCES.pack, floor=TOLERANCES.pack)


@pytest.fixture
def orthogonalised_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Muon without its rounding to bf16, which turns a difference of 1e-16 into one of 2^-8 of a step."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.double)


@dataclass(frozen=True)
class Alone:
    """What three steps of a trial by itself left: the losses of their passes, and its weights."""

    losses: list[list[list[tuple[float, int]]]]
    trained: dict[str, Tensor]


AloneOf = Callable[[str], list[Alone]]


@pytest.fixture(scope="module")
def alone_of(base_of: Bases) -> AloneOf:
    """Each of `PLANS` by itself, in fp64 and with all dropout on, over an architecture's model."""

    @cache
    def alone(architecture: str) -> list[Alone]:
        found = []
        for own in PLANS:
            running = pack(base_of(architecture, dropout="keep"), [own])
            found.append(Alone([step(running, [own], number) for number in range(3)], running.trained(0)))
        return found

    return alone


@pytest.mark.usefixtures("orthogonalised_in_full")
@pytest.mark.parametrize(
    ("architecture", "order"),
    [*((name, (3, 2, 1, 0)) for name in CONFIGS), *(("bert", order) for order in [(0, 1, 2, 3), (2, 0, 1), (1, 3)])],
    ids=str,
)
def test_a_trial_in_a_pack_is_the_trial_alone(
    base_of: Bases, alone_of: AloneOf, architecture: str, order: tuple[int, ...]
) -> None:
    """In fp64, with all dropout on: the same losses and weights, of ranks, optimizers and batches of all sorts."""
    plans, alone = [PLANS[index] for index in order], [alone_of(architecture)[index] for index in order]
    together = pack(base_of(architecture, dropout="keep"), plans)
    for number in range(3):
        passes = step(together, plans, number)
        for place, own in enumerate(alone):
            for turn, ((loss_sum, correct),) in enumerate(own.losses[number]):
                assert passes[turn][place][0] == pytest.approx(loss_sum, rel=TOLERANCES.pack)
                assert passes[turn][place][1] == correct
    for place, own in enumerate(alone):
        assert_same(together.trained(place), own.trained)


def test_a_pass_without_rows_changes_nothing_of_a_trial(base_of: Bases) -> None:
    running = pack(base_of("bert", dropout="keep"), PLANS[:2])
    batch = PLANS[0].batches(0)[0]
    assert running.run([ENCODED] * 2, [batch, EMPTY], [3.0, 3.0]).read()[1] == (0.0, 0)
    assert all(bool((gradient == 0).all()) for gradient in gradients_of(running, 1).values())


@pytest.mark.parametrize(
    ("architecture", "value"),
    [*(("bert", value) for value in (float("nan"), float("inf"), 1e38)), ("modernbert", 1e38), ("mpnet", float("inf"))],
)
def test_a_diverged_neighbour_changes_nothing(base_of: Bases, architecture: str, value: float) -> None:
    base = base_of(architecture, dropout="keep")
    plans = [PLANS[0], PLANS[1], PLANS[2]]
    sound, beside = pack(base, plans, torch.float32), pack(base, plans, torch.float32)
    beside.parameters.values[1].fill_(value)
    beside._refresh()
    for number in range(2):
        one, other = step(sound, plans, number), step(beside, plans, number)
        for mine, theirs in zip(one, other, strict=True):
            assert (mine[0], mine[2]) == (theirs[0], theirs[2])
    for place in (0, 2):
        for name, tensor in sound.trained(place).items():
            assert bool(torch.isfinite(tensor).all())
            assert torch.equal(tensor, beside.trained(place)[name])


@pytest.mark.usefixtures("orthogonalised_in_full")
@pytest.mark.parametrize("leaves", range(len(PLANS)))
def test_trials_go_on_as_if_alone_when_a_neighbour_leaves(base_of: Bases, alone_of: AloneOf, leaves: int) -> None:
    """Their optimizers' states and their dropout's counts stay with them."""
    together = pack(base_of("roberta", dropout="keep"), PLANS)
    step(together, PLANS, 0)
    rest, staying = together.without([leaves]), [number for number in range(len(PLANS)) if number != leaves]
    assert rest is not None
    for number in (1, 2):
        step(rest, [PLANS[index] for index in staying], number)
    for place, index in enumerate(staying):
        assert_same(rest.trained(place), alone_of("roberta")[index].trained)


@pytest.mark.usefixtures("orthogonalised_in_full")
@pytest.mark.parametrize("number", range(len(PLANS)))
def test_a_trials_state_fits_a_pack_of_other_mates(base_of: Bases, number: int) -> None:
    """Ranks are padded to the greatest of a pack; a state has each parameter's own shape."""
    base = base_of("roberta", dropout="keep")
    together, single = pack(base, PLANS), pack(base, [PLANS[number]])
    step(together, PLANS, 0)
    single.restore(0, *together.state(number))
    assert_same(single.trained(0), together.trained(number))
    for later in (1, 2):
        step(together, PLANS, later)
        step(single, [PLANS[number]], later)
    assert_same(single.trained(0), together.trained(number))


def test_a_state_is_refused_within_a_step(base_of: Bases) -> None:
    base = base_of("bert")
    found = pack(base, PLANS[:1])
    found.run([ENCODED], [ROWS], [1.0])
    with pytest.raises(RuntimeError, match="within a step"):
        found.state(0)


def test_nothing_is_left_of_a_pack_when_its_last_trial_leaves(base_of: Bases) -> None:
    assert pack(base_of("bert"), PLANS[:1]).without([0]) is None


def test_evaluation_in_a_pack_is_that_of_the_trial_alone(base_of: Bases) -> None:
    base = base_of("electra", dropout="keep")
    together = pack(base, PLANS)
    tokens = lay_out([ENCODED], [ROWS.rows], base.anatomy.embedding, DEVICE)
    for place, own in enumerate(PLANS):
        found, expected = together.evaluator(place)(tokens, None), pack(base, [own]).evaluator(0)(tokens, None)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


FIELDS: tuple[dict[str, Any], ...] = (
    {"lora": {"r": 2}, "train": {"seed": 1}},
    {"lora": {"r": 4}, "train": {"seed": 2, "optim": "muon", "gradient_accumulation_steps": 2}},
    {"lora": {"r": 2}, "train": {"seed": 3, "optim": "sgd", "learning_rate": 0.1, "per_device_train_batch_size": 7}},
)


def job(folder: Path, out: Path, fields: dict[str, Any], number: int, *, top: bool = False) -> Job:
    """A trial; with `top` of the upper layer alone, without the backbone's dropout, so that states below are kept."""
    common: dict[str, Any] = {
        "lora": {"bias": "all", "lora_dropout": 0.2},
        "train": {"bf16": False, "num_train_epochs": 2, "per_device_train_batch_size": 4},
    }
    if top:
        common["lora"] |= {"bias": "none", "layers_to_transform": [1]}
    recipe = {section: values | fields.get(section, {}) for section, values in common.items()}
    return make_job(folder, out / str(number), recipe, number=number, dropout="off" if top else "keep")


def train(jobs: list[Job], *, pruned: int | None = None) -> tuple[Outcome, ...]:
    def listener(job: Job, evaluation: Evaluation) -> bool:
        return job.number != pruned

    return LoomEngine().train_pack(jobs, listener)


@pytest.fixture(scope="module")
def alone(folder_of: Folders, tmp_path_factory: pytest.TempPathFactory) -> list[Contents]:
    """The files of each trial, trained by itself."""
    out = tmp_path_factory.mktemp("alone")
    jobs = [job(folder_of("bert"), out, fields, number) for number, fields in enumerate(FIELDS)]
    for own in jobs:
        assert train([own])[0].state == "complete"
    return [contents(own.folder) for own in jobs]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)], ids=str)
def test_a_trials_files_are_bit_for_bit_the_same_at_each_place_of_a_pack(
    folder_of: Folders, tmp_path: Path, alone: list[Contents], order: tuple[int, ...]
) -> None:
    jobs = [job(folder_of("bert"), tmp_path, FIELDS[number], number) for number in order]
    assert [outcome.state for outcome in train(jobs)] == ["complete"] * 3
    assert [contents(own.folder) for own in jobs] == [alone[number] for number in order]


@pytest.mark.parametrize(
    ("architecture", "top"),
    [*((name, False) for name in CONFIGS if name != "bert"), ("bert", True), ("mpnet", True), ("modernbert", True)],
)
def test_so_they_are_of_each_architecture_and_where_states_are_kept(
    folder_of: Folders, tmp_path: Path, architecture: str, top: bool
) -> None:
    folder = folder_of(architecture)
    by_themselves, together = (
        [job(folder, tmp_path / where, fields, number, top=top) for number, fields in enumerate(FIELDS[1:])]
        for where in ("alone", "together")
    )
    for own in by_themselves:
        (outcome,) = train([own])
        assert outcome.timings is not None
        assert (outcome.timings.prefix_rows is not None) == top
    assert [outcome.state for outcome in train(together)] == ["complete"] * 2
    assert list(map(contents, [own.folder for own in together])) == [contents(own.folder) for own in by_themselves]


def test_a_trials_files_are_the_same_beside_one_that_diverges(
    folder_of: Folders, tmp_path: Path, alone: list[Contents]
) -> None:
    jobs = [job(folder_of("bert"), tmp_path, fields, number) for number, fields in enumerate([*FIELDS, {}])]
    far = {"learning_rate": 1e30}  # beyond what a recipe may say
    settings = jobs[3].configuration.with_fields(train=far)
    outcomes = train([replace(jobs[3], configuration=settings), *jobs[:3]])
    assert [outcome.state for outcome in outcomes] == ["failed", "complete", "complete", "complete"]
    assert "lower train.learning_rate" in str(outcomes[0].reason)
    assert [contents(own.folder) for own in jobs[:3]] == alone


def test_a_trials_files_are_the_same_beside_one_that_is_pruned(
    folder_of: Folders, tmp_path: Path, alone: list[Contents]
) -> None:
    jobs = [job(folder_of("bert"), tmp_path, fields, number) for number, fields in enumerate(FIELDS)]
    outcomes = train(jobs, pruned=1)
    assert [outcome.state for outcome in outcomes] == ["complete", "pruned", "complete"]
    assert [contents(jobs[number].folder) for number in (0, 2)] == [alone[0], alone[2]]
    assert len(contents(jobs[1].folder)[2]) == 1


def test_an_engine_that_trained_another_model_before_gives_the_same_files(
    folder_of: Folders, tmp_path: Path, alone: list[Contents]
) -> None:
    engine = LoomEngine()
    engine.train_pack([job(folder_of("roberta"), tmp_path, FIELDS[2], 9)], lambda *_: True)
    jobs = [job(folder_of("bert"), tmp_path, fields, number) for number, fields in enumerate(FIELDS)]
    for own in jobs:
        engine.train_pack([own], lambda *_: True)
    assert [contents(own.folder) for own in jobs] == alone
