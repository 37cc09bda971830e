"""Verdicts on planted effects and on none: what is there is found, and what is not is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from study.claims import judging
from study.claims.crossed import crossed, of_seeds_alone
from study.claims.design import Design, read_design
from study.claims.judging import ClaimFound, Judged, answer_to, corrected, judge, verdict_on
from study.claims.moderated import NO_PRIOR
from study.claims.page import claims_section
from study.claims.results import judge_all
from study.outcomes import Kept, Trained, packed

ROWS = 2_000
CLASSES = ["Business", "Sci/Tech", "Sports", "World"]


def test_intervals_hold_what_they_say_and_are_wider_than_either_source_alone() -> None:
    generator = np.random.default_rng(0)
    found = []
    for _ in range(400):
        truth = 0.02
        seeds = generator.normal(0, 0.02, (3, 1))
        rows = generator.choice([-1.0, 0.0, 1.0], (1, 400), p=[0.04, 0.92, 0.04])
        left = generator.choice([-1.0, 0.0, 1.0], (3, 400), p=[0.04, 0.92, 0.04])
        found.append(crossed(truth + seeds + rows + left))
    covered = np.mean([one.interval[0] <= 0.02 <= one.interval[1] for one in found])
    by_rows = np.mean([one.over_rows is not None and one.over_rows[0] <= 0.02 <= one.over_rows[1] for one in found])
    assert 0.92 <= covered <= 0.99
    assert by_rows < covered


def test_seeds_that_agree_to_the_row_leave_an_interval() -> None:
    same = crossed(np.zeros((3, 100)))
    assert same.mean == 0
    assert same.interval[0] < 0 < same.interval[1]
    assert same.p == 1.0


def test_a_gap_is_compared_over_seeds_alone() -> None:
    found = of_seeds_alone(np.array([0.04, 0.05, 0.06]))
    assert found.interval == pytest.approx((0.05 - 4.3027 * 0.01 / 3**0.5, 0.05 + 4.3027 * 0.01 / 3**0.5), abs=1e-4)


def kept_with(path: Path, design: Design, shares: dict[str, float]) -> Kept:
    """Trials of the claim on rank: rows are right by their difficulty, less where a level is said to cost accuracy."""
    labels = np.arange(ROWS) % 4
    header: dict[str, Any] = {
        "encoder": "e",
        "revision": "",
        "data": "",
        "classes": CLASSES,
        "labels": "".join(map(str, labels)),
    }
    machine = {"cores": 2, "processor": "P"}
    header |= {"table": "six_layers", "machine": machine, "rows": {"all": 9}, "started": "2026-11-26T04:00"}
    kept = Kept(path, header)
    difficulty = np.random.default_rng(5).random(ROWS)
    claim = next(claim for claim in design.table.claims if claim.name == "rank")
    for level in claim.points:
        for seed in design.table.seeds:
            trial = design.trial(claim, level, seed)
            noise = np.random.default_rng([seed, int(level)]).normal(0, 0.002, ROWS)
            correct = difficulty + noise < 0.9 - shares.get(level, 0.0)
            kept.add(
                Trained(
                    trial.key,
                    seed,
                    "complete",
                    accuracy=float(correct.mean()),
                    train_accuracy=0.95,
                    correct=packed(correct),
                )
            )
    return kept


def contrasts(path: Path, shares: dict[str, float]) -> dict[str, Judged]:
    design = read_design("six_layers", "demo")
    found = corrected([judge(design, kept_with(path / "e.jsonl", design, shares))])[0]
    assert [claim.name for claim in found] == ["rank"]  # others have a level of it, and nothing to compare it with
    return {one.name: one for claim in found for one in claim.contrasts}


def test_a_planted_loss_is_found_and_the_claim_holds(tmp_path: Path) -> None:
    found = contrasts(tmp_path, {"8": 0.03, "16": 0.03, "32": 0.03})
    above = found["rank 8 to 32 against 4"]
    assert (above.verdict, above.answer, above.pairs) == ("lower", "holds", 9)
    assert above.estimate.interval[0] < -0.03 < above.estimate.interval[1]
    assert "lower (" in above.sentence
    assert "9 pairs)" in above.sentence


def test_no_difference_is_said_to_be_none_and_the_claim_does_not_hold(tmp_path: Path) -> None:
    for one in contrasts(tmp_path, {}).values():
        assert (one.verdict, one.answer) == ("equal", "does not hold")
        assert "no difference beyond 0.5 pp" in one.sentence


def test_what_contrasts_share_is_told_to_the_prior(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prior_of = Mock(return_value=NO_PRIOR)
    monkeypatch.setattr(judging, "prior_of", prior_of)
    contrasts(tmp_path, {})
    _, degrees, weights = prior_of.call_args.args
    above, below = [-1, 1 / 3, 1 / 3, 1 / 3, 0, 0], [-1, 0, 0, 0, 1 / 2, 1 / 2]
    assert degrees == [2, 2]  # of ranks above 4 and below; the gap is another measure
    assert [sorted(row) for row in weights.tolist()] == [sorted(above), sorted(below)]
    assert weights[0] @ weights[1] == pytest.approx(1)  # by rank 4 alone


def test_trials_that_have_not_read_the_test_rows_are_named_beside_the_results_table(tmp_path: Path) -> None:
    design = read_design("six_layers", "demo")
    kept = kept_with(tmp_path / "e.jsonl", design, {"4": 0.02, "8": 0.02, "16": 0.02, "32": 0.02})
    tested = Kept(tmp_path / "e-test.jsonl", kept.header)
    preset = kept.get("contest", design.table.seeds[0])
    assert preset is not None
    tested.add(preset)
    (found,) = judge_all(tmp_path)
    assert [line.key for line in found.results] == ["contest"]
    assert found.untested in (("lora.r=1",), ("lora.r=2",))
    assert f"Not tested yet (`--test`), so in no table: `{found.untested[0]}`." in claims_section([found], [], "")


@pytest.mark.parametrize(
    ("said", "verdict", "interval", "answer"),
    [
        ("lower", "undecided", (-0.03, 0.01), "undecided"),
        ("lower", "lower", (-0.03, -0.01), "holds"),
        ("lower", "higher", (0.01, 0.03), "does not hold"),
        ("lower", "undecided", (-0.001, 0.03), "does not hold"),
        ("higher", "undecided", (-0.03, 0.004), "does not hold"),
        ("higher", "undecided", (-0.03, 0.006), "undecided"),
        ("equal", "equal", (-0.001, 0.001), "holds"),
        ("equal", "lower", (-0.03, -0.01), "does not hold"),
        ("equal", "undecided", (-0.03, 0.001), "undecided"),
        ("not higher", "equal", (-0.001, 0.001), "holds"),
        ("not higher", "lower", (-0.03, -0.01), "holds"),
        ("not higher", "undecided", (-0.03, -0.002), "holds"),
        ("not higher", "undecided", (-0.03, 0.02), "undecided"),
        ("not higher", "higher", (0.01, 0.03), "does not hold"),
        (None, "higher", (0.01, 0.03), "not claimed"),
    ],
)
def test_a_claim_is_answered_by_what_its_interval_leaves_out(
    said: Any, verdict: Any, interval: tuple[float, float], answer: str
) -> None:
    assert answer_to(said, verdict, interval) == answer


def test_a_wide_interval_is_undecided_and_the_family_makes_verdicts_harder() -> None:
    generator = np.random.default_rng(1)
    wide = crossed(generator.choice([-1.0, 0.0, 1.0], (3, 200)))
    assert verdict_on(wide, 0.4) == "undecided"
    one = crossed(np.full((3, 200), 0.02) + generator.normal(0, 0.1, (3, 200)))
    judged = Judged("a", "accuracy", ("1",), ("2",), one, 3, one.p, "higher", None, "not claimed")
    claim = ClaimFound("c", "", "", "", (), (judged,) * 20, ())
    assert corrected([(claim,), (claim,)])[1][0].contrasts[0].p == pytest.approx(min(1.0, 40 * one.p))
