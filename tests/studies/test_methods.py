"""Methods beside LoRA: each begins as the encoder is, what is kept is not trained again, the log has the table."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, set_seed

from loraloom.data import Split
from loraloom.errors import RunError
from study import methods, plain_peft
from study.method_results import Case, Kept, Training
from study.methods import (
    AGAINST,
    AT_ITS_RATE,
    CASES,
    CLEANED,
    LONGER,
    LORA,
    METHODS,
    NOISY,
    RATES,
    RESULT,
    SELF_TRAINED,
    SOUP,
    SOUP_OF_RATES,
    STUDENT,
    TOGETHER,
)
from study.plain_peft import RANK, Classifier, Halves, Method, Rows, attended, begin, probabilities, steps
from study.robustness.rows import with_noise
from study.sets import Rows as SetRows
from study.soups import factors, soup
from tests.conftest import make_rows

LOG = Path(__file__).parent.parent.parent / "docs" / "log.md"
TEXTS = tuple(text for text, _ in make_rows(40, seed=1))


@pytest.fixture(scope="module")
def halves(tiny_model: Path) -> Halves:
    return Halves(str(tiny_model), 16)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_begins_as_the_whole_encoder_is(name: str, halves: Halves, tiny_model: Path) -> None:
    whole = AutoModel.from_pretrained(tiny_model, add_pooling_layer=False).eval()
    adapted = halves.adapted(METHODS[name]).eval()
    states = halves.states(TEXTS[:3])
    given, mask = plain_peft._padded(states)
    with torch.no_grad():
        found = adapted(inputs_embeds=given, attention_mask=mask).last_hidden_state
        for row, text in enumerate(TEXTS[:3]):
            ids = halves._tokenizer(text, return_tensors="pt", truncation=True, max_length=16)
            expected = whole(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]).last_hidden_state[0]
            torch.testing.assert_close(found[row, : len(expected)], expected, rtol=1e-4, atol=1e-5)


def test_two_passes_without_dropout_cost_what_one_costs_and_with_it_how_far_they_are_apart_too(
    halves: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, labels = halves.states(TEXTS[:8]), torch.arange(8) % 2
    set_seed(0)
    model = Classifier(halves.adapted(METHODS[LORA]), 2).train()
    plain = plain_peft._loss(model, states, labels, METHODS[LORA])
    torch.testing.assert_close(plain_peft._loss(model, states, labels, Method(consistency=1.0)), plain)
    logits = torch.randn(16, 2)
    monkeypatch.setattr(model, "forward", lambda *_: logits)
    one, other = logits.softmax(dim=1).double().chunk(2)
    both = torch.nn.functional.kl_div(one.log(), other, reduction="batchmean") + torch.nn.functional.kl_div(
        other.log(), one, reduction="batchmean"
    )
    without = torch.nn.functional.cross_entropy(logits, torch.cat([labels, labels]), label_smoothing=0.1)
    found = plain_peft._loss(model, states, labels, Method(consistency=2.0))
    torch.testing.assert_close(found.double(), without.double() + both / 2)


def test_a_student_is_drawn_to_what_its_teachers_give_and_half_as_much_to_the_labels(
    halves: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_seed(0)
    model, labels = Classifier(halves.adapted(METHODS[LORA]), 3), torch.arange(8) % 3
    logits = torch.randn(8, 3, requires_grad=True)
    monkeypatch.setattr(model, "forward", lambda *_: logits)
    soft, states = (logits.detach() / 2 + torch.randn(8, 3)).softmax(dim=1), halves.states(TEXTS[:8])
    towards = torch.nn.functional.kl_div((logits / 2).log_softmax(dim=1), soft, reduction="batchmean")
    hard = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    expected, found = 4 * towards + hard / 2, plain_peft._loss(model, states, labels, METHODS[LORA], soft)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (expected / 1.5, found)]
    torch.testing.assert_close(*gradients)


def test_labels_of_its_own_are_believed_where_a_classifier_is_as_right_as_it_is_sure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def given(_: object, states: list[torch.Tensor]) -> NDArray[np.float64]:
        one = np.array([float(state) for state in states])
        return np.stack([1 - one, one], axis=1)

    monkeypatch.setattr(methods, "probabilities", given)
    monkeypatch.setattr(methods, "_states", lambda texts: [torch.tensor(0.99)] * len(texts))
    rows, unlabelled = Rows([torch.tensor(0.5)], np.array([0])), [torch.tensor(one) for one in (0.01, 0.6, 0.97)]
    model = cast(Classifier, None)
    for wrong, expected in ((1, [0.5, 0.01, 0.97]), (20, [0.5])):
        validation = Split(("",) * 100, (np.arange(100) >= wrong).astype(np.int64))
        found = methods._with_own(rows, model, unlabelled, validation)
        assert [float(state) for state in found.states] == pytest.approx(expected)
        assert found.labels.tolist() == [0, 0, 1][: len(expected)]


def test_a_query_of_zeros_pools_by_the_mean_and_any_query_pools_real_tokens_alone(halves: Halves) -> None:
    rows = halves.states(TEXTS[:6])
    models = [begin(halves, METHODS[name], 2, 0).eval() for name in (LORA, "attention pooling")]
    plain, pooled = (probabilities(model, rows) for model in models)
    np.testing.assert_allclose(pooled, plain, rtol=1e-5)
    set_seed(0)
    states, query = torch.randn(2, 5, 8), torch.randn(8)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    both, alone = attended(states, mask, query), attended(states[1:, :3], mask[1:, :3], query)
    torch.testing.assert_close(both[1:], alone)
    weights = (states[1, :3] @ query).exp()
    torch.testing.assert_close(alone[0], weights / weights.sum() @ states[1, :3])


def test_a_soup_is_the_nearest_adapter_of_lora_s_rank_to_the_mean_update(halves: Halves) -> None:
    rows = Rows(halves.states(TEXTS), np.array([0, 1] * 20))
    models = [begin(halves, METHODS[LORA], 2, seed) for seed in range(3)]
    for seed, model in enumerate(models):
        assert max(steps(model, METHODS[LORA], rows, 2, 1e-2, seed)) == 6
    given = [probabilities(model, rows.states) for model in models]
    np.testing.assert_allclose(probabilities(soup(models[:1] * 3), rows.states), given[0], rtol=1e-4)
    mixed = soup(models)
    assert sum(each.numel() for each in mixed.trained) == sum(each.numel() for each in models[0].trained)
    weights = torch.stack([model.head.weight for model in models])
    torch.testing.assert_close(mixed.head.weight, weights.mean(dim=0))
    assert len(factors(mixed)) == 6
    for (first, second), *others in zip(*map(factors, (mixed, *models)), strict=True):
        update, mean = second @ first, torch.stack([b @ a for a, b in others]).mean(dim=0)
        assert torch.linalg.matrix_rank(update) == RANK < torch.linalg.matrix_rank(mean)
        left_out = torch.linalg.svdvals(mean)[RANK:].norm()
        torch.testing.assert_close((update - mean).norm(), left_out, rtol=1e-3, atol=1e-6)
    for model, before in zip(models, given, strict=True):  # what is averaged stays as it is
        np.testing.assert_array_equal(probabilities(model, rows.states), before)


def test_each_method_trains_as_many_parameters_but_for_dora_s_magnitudes_and_the_query(halves: Halves) -> None:
    rows = Rows(halves.states(TEXTS), np.array([0, 1] * 20))
    models = {name: begin(halves, method, 2, 0) for name, method in METHODS.items()}
    counts = {name: sum(each.numel() for each in model.trained) for name, model in models.items()}
    magnitudes = 5 * 32 + 64  # of query, key, value, output and down 32 each; of up 64
    more = {"DoRA": magnitudes, "attention pooling": 32}
    assert counts == {name: counts[LORA] + more.get(name, 0) for name in METHODS}
    for name, model in models.items():
        before = [parameter.clone() for parameter in model.parameters()]
        assert list(steps(model, METHODS[name], rows, 1, 1e-3, 0)) == [1, 2, 3]
        changed = [not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True)]
        assert changed == [parameter.requires_grad for parameter in model.parameters()]
    again = begin(halves, METHODS["PiSSA"], 2, 0)  # a start that is kept is not trained
    fresh = Classifier(halves._begun(METHODS["PiSSA"]), 2)
    for one, other in zip(again.encoder.parameters(), fresh.encoder.parameters(), strict=True):
        assert torch.equal(one, other)


def test_rows_whose_label_was_turned_are_left_out_where_the_judge_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = dict(make_rows(200, seed=1))
    names = sorted({*pairs.values()})
    labels = np.array([names.index(label) for label in pairs.values()])
    noisy = with_noise(labels, methods.NOISE, len(names), seed=0)
    clear = {text: np.eye(len(names), dtype=np.float32)[label] for text, label in zip(pairs, labels, strict=True)}
    embedder = SimpleNamespace(embed=lambda texts: np.stack([clear[text] for text in texts]))
    monkeypatch.setattr(methods, "Embedder", lambda *_: embedder)
    states = [torch.tensor([number]) for number in range(len(labels))]
    kept = methods._cleaned(Rows(states, noisy), tuple(pairs), len(names), seed=0)
    assert (noisy != labels).sum() == round(len(labels) / 10)
    assert torch.cat(list(kept.states)).tolist() == np.flatnonzero(noisy == labels).tolist()
    assert kept.labels.tolist() == labels[noisy == labels].tolist()


def test_a_rate_at_the_end_of_the_grid_has_a_further_one_tried_and_what_is_kept_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, float, int]] = []

    def measured(case: Case, name: str, rate: float, seed: int) -> Training:
        del case
        asked.append((name, rate, seed))
        best = {"OLoRA": 1e-4}.get(name, 1e-3)
        valid = 100 - round(abs(np.log(rate / best)))
        right = 90 + (name == "PiSSA") * (1 + seed % 2) - (name == NOISY) * 3
        if len(asked) == 20:
            raise RunError("broken off")
        return Training((valid, 100), (right, 100), 500, 10, 1_000)

    monkeypatch.setattr(methods, "measure", measured)
    monkeypatch.setattr(methods, "times", lambda _, names: {**dict.fromkeys(names, 1.0), "DoRA": 2.0})
    monkeypatch.setattr(methods, "SEEDS", 2)
    monkeypatch.setattr(sys, "argv", ["methods", "--results", str(tmp_path / "methods.json")])
    with pytest.raises(SystemExit):
        methods.main()
    methods.main()
    assert len(asked) == 1 + len({*asked}) * len(CASES)  # the one that was broken off, again
    kept = Kept(tmp_path / "methods.json")
    assert [methods.rate_of(kept, name) for name in (*METHODS, *AT_ITS_RATE)] == [1e-3, 1e-3, 1e-4] + 11 * [1e-3]
    assert {rate for name, rate, _ in asked if name == "OLoRA"} == {*RATES, 1e-4}
    assert {rate for name, rate, _ in asked if name == "PiSSA"} == {*RATES}
    assert not list(methods.missing(kept))
    printed = capsys.readouterr().out.split("\n\n")
    assert re.search(r"^\| sst2 +\| OLoRA +\| 1.000 \| 0.990 \|", printed[0], re.MULTILINE)
    shown = {line.split(" | ")[0].strip("| "): line for line in printed[1].splitlines()}
    assert set(AGAINST) <= set(shown)
    assert re.search(r"\| \+1\.50 \| \+0\.9 … \+2\.1 \| 6 \| .* \| better \|$", shown["PiSSA"])
    assert shown["DoRA"].endswith("| 2.00 | not distinguishable with 6 pairs |")
    assert shown[NOISY].endswith("|   | worse |")
    assert "| +3.00 |" in shown[CLEANED]


def test_all_of_one_training_is_counted(
    halves: Halves, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = make_rows(140, seed=2)
    names = sorted({label for _, label in pairs})
    split = Split(tuple(text for text, _ in pairs), np.array([names.index(label) for _, label in pairs]))
    rows = SetRows("made", tuple(names), split.take(range(100)), {"test": split.take(range(100, 140))}, 0)
    monkeypatch.setattr(methods, "load_once", lambda _: rows)
    monkeypatch.setattr(methods, "_halves", lambda: halves)
    monkeypatch.setattr(methods, "ENCODER", str(tiny_model))
    monkeypatch.setattr(methods, "VALIDATION_ROWS", 20)
    monkeypatch.setattr(methods, "SURE", 0.0)
    case, kept = Case("made", 60, 2), Kept(tmp_path / "methods.json")
    drawn, validation = methods._drawn(case, 0)
    texts = (*drawn.texts, *validation.texts, *methods._unlabelled(case, 0))
    assert sorted(map(id, texts)) == sorted(map(id, rows.train.texts))
    asked = LORA, CLEANED, TOGETHER, STUDENT, SELF_TRAINED, LONGER, SOUP, SOUP_OF_RATES
    found = {name: methods.measure(case, name, 1e-3, 0) for name in asked}
    for name, training in found.items():
        assert (training.validation[1], training.test[1]) == (20, 40)
        kept.add(case, name, 1e-3, 0, training)
        assert Kept(tmp_path / "methods.json").get(case, name, 1e-3, 0) == training
    cleaned, plain = found[CLEANED].rows, found[LORA].parameters
    assert cleaned < 60
    assert {name: (each.rows, each.steps, each.parameters) for name, each in found.items()} == {
        LORA: (60, 2 * 4, plain),
        CLEANED: (cleaned, 2 * -(-cleaned // plain_peft.BATCH), plain),
        TOGETHER: (60, 3 * 8, 3 * plain),
        STUDENT: (60, 3 * 8 + 8, plain),
        SELF_TRAINED: (80, 8 + 2 * 5, plain),
        LONGER: (60, 3 * 8, plain),
        SOUP: (60, 3 * 8, plain),
        SOUP_OF_RATES: (60, 3 * 8, plain),
    }
    teachers = [methods._teacher(case, 1e-3, 0, number)[0] for number in range(3)]
    students = methods._rows(case, STUDENT, 0, teachers)
    given = [plain_peft.probabilities(teacher, students.states) for teacher in teachers]
    roots = np.sqrt(sum(given))
    assert students.soft is not None
    np.testing.assert_allclose(students.soft, roots / roots.sum(axis=1, keepdims=True))
    assert not np.allclose(given[0], given[1])
    assert students.labels.tolist() == drawn.labels.tolist()
    both = [
        methods._trained(case, METHODS[LORA], each, 1e-3, 0)[0] for each in (students, replace(students, soft=None))
    ]
    soft, hard = (plain_peft.probabilities(model, students.states) for model in both)
    assert not np.allclose(soft, hard)
    taught: list[tuple[float, int]] = []

    def teacher(_: Case, rate: float, seed: int, number: int) -> tuple[Classifier, int]:
        taught.append((rate, number + seed))
        return both[0], 8

    monkeypatch.setattr(methods, "_teacher", teacher)
    for name in (SOUP, SOUP_OF_RATES):
        methods.measure(case, name, 3e-3, 0)
    root = 3**0.5
    assert taught == [(3e-3, 0), (3e-3, 1), (3e-3, 2), (3e-3, 0), (pytest.approx(3e-3 / root), 0), (3e-3 * root, 0)]
    monkeypatch.setattr(methods, "TIMED", 2)
    times = methods.times(case, ["R-Drop"])
    assert (set(times), times[LORA]) == ({LORA, "R-Drop"}, 1)


def test_the_log_has_the_table_of_the_results() -> None:
    assert json.loads(RESULT.read_text(encoding="utf-8"))["trainings"]
    kept = Kept(RESULT)
    table = [line for part in (*methods.tuning_lines(kept), *methods.lines(kept)) for line in part.splitlines() if line]
    said = [line.strip() for line in LOG.read_text(encoding="utf-8").splitlines()]
    assert [line for line in said if line in table] == table
