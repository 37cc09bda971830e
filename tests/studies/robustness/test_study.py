"""The study: what it compares, what it keeps, and that its page says what the trials say."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraloom import intervals
from loraloom.errors import DataError
from loraloom.machine import read_machine
from loraloom.study.durable import write_json
from study.robustness import __main__ as command
from study.robustness import comparing, plan, trials
from study.robustness.conditions import CLEAN, OTHER_SOURCE, TRAININGS, TrainingRows, sets_of
from study.robustness.contenders import FullFineTuning, Lora, Predict, Svm, epochs_for
from study.robustness.page import draw, page
from tests.conftest import WORDS, make_rows

MACHINE = {
    "started": "2026-01-02T03:04:05+00:00",
    "git_revision": "0123456789abcdef",
    "machine": {"processor": "A processor", "cores": 2},
}


@dataclass
class Counting:
    """A contender that says class 1 of every text, and counts how often it is trained."""

    fitted: list[int] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=lambda: {"says": 1})

    def fit(self, rows: TrainingRows, classes: int, seed: int) -> Predict:
        del classes
        self.fitted.append(len(rows.labels))
        return lambda texts: np.full(len(texts), 1, dtype=np.int64)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, count, seed in (("train", 240, 1), ("test", 60, 2), ("robust", 12, 3)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("label", "text"), *((label, text) for text, label in make_rows(count, seed))])
    return folder


def test_a_folder_that_was_named_and_lacks_a_file_is_not_to_be_named_by_the_variable(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "train.csv").unlink()
    for folder, says in ((data / "other", "name"), (data, "set LORALOOM_AGNEWS to")):
        monkeypatch.setenv("LORALOOM_AGNEWS", str(folder))
        with pytest.raises(DataError, match=rf"train\.csv: is missing; {says} a folder of train\.csv, test\.csv"):
            trials.read_rows(data, 30)


def test_a_trial_is_trained_once_and_refused_under_other_settings_or_of_other_data(data: Path, tmp_path: Path) -> None:
    rows, contender = trials.read_rows(data, 30), Counting()
    asked = trials.AskedTrial("one", contender, "noise 10 %", (CLEAN, OTHER_SOURCE), 120, 30, 0, rows.data)
    assert trials.done(asked, tmp_path) is None
    trial = trials.run(asked, trials.drawn(rows, asked), rows, tmp_path)
    assert trials.done(asked, tmp_path) == trial
    assert contender.fitted == [120]
    assert trial.predictions == {CLEAN: "1" * 30, OTHER_SOURCE: "1" * 12}
    assert list(read_machine().instructions) == trial.machine["machine"]["instructions"]
    with pytest.raises(ValueError, match=r"one-noise-10-0\.json: is of another data; name another folder by --out"):
        trials.done(replace(asked, data="other rows"), tmp_path)
    with pytest.raises(ValueError, match="is of another train_rows"):
        trials.done(replace(asked, rows=60), tmp_path)
    contender.settings["says"] = 2
    with pytest.raises(ValueError, match="is of another says"):
        trials.done(asked, tmp_path)


def test_a_trial_from_before_there_were_fingerprints_is_kept(data: Path, tmp_path: Path) -> None:
    rows = trials.read_rows(data, 30)
    asked = trials.AskedTrial("one", Counting(), CLEAN, (CLEAN,), 120, 30, 0, rows.data)
    trial = trials.run(asked, trials.drawn(rows, asked), rows, tmp_path)
    without = {name: value for name, value in trial.settings.items() if name != "data"}
    write_json(asked.path(tmp_path), asdict(replace(trial, settings=without)))
    assert trials.done(asked, tmp_path) is not None


def test_training_rows_that_are_nearly_test_rows_are_left_out(data: Path) -> None:
    before = trials.read_rows(data, 30)
    with (data / "train.csv").open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow((before.labels[0], before.sets[CLEAN][0].upper() + "!"))
    after = trials.read_rows(data, 30)
    assert after.train.texts == before.train.texts
    assert after.data == before.data
    with (data / "train.csv").open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow((before.labels[0], "words that no other row has"))
    assert trials.read_rows(data, 30).data != before.data


def test_contenders_of_a_seed_train_on_the_same_rows_and_seeds_on_others(data: Path) -> None:
    rows = trials.read_rows(data, 30)
    one, other, later = (
        trials.AskedTrial(name, Counting(), CLEAN, (CLEAN,), 60, 30, seed, rows.data)
        for name, seed in (("one", 0), ("other", 0), ("one", 1))
    )
    assert trials.drawn(rows, one).texts == trials.drawn(rows, other).texts
    assert trials.drawn(rows, one).texts != trials.drawn(rows, later).texts
    assert np.bincount(trials.drawn(rows, one).labels).tolist() == [20, 20, 20]


def test_labels_that_training_has_not_are_refused(data: Path) -> None:
    (data / "robust.csv").write_text("label,text\nWeather,It rains\n")
    with pytest.raises(ValueError, match=r"labels \['Weather'\] are none of training's"):
        trials.read_rows(data, 30)


def test_the_plan_asks_for_every_training_of_every_contender_and_remedies_by_seed() -> None:
    all_asked = list(plan.Plan({}, 100, 50, (0, 1), "data").asked((CLEAN, "typos 5 %", OTHER_SOURCE)))
    assert len({asked.path(Path()) for asked in all_asked}) == len(all_asked)
    for name in (plan.LORA, plan.SVM, plan.FULL):
        assert [asked.condition for asked in all_asked if asked.name == name and asked.seed == 1] == list(TRAININGS)
    smoothed = next(asked for asked in all_asked if asked.name == "loraloom-smoothed")
    assert smoothed.settings["recipe"]["train"] == {"label_smoothing_factor": 0.1}
    assert {asked.sets for asked in all_asked if asked.name == plan.SVM and asked.condition != CLEAN} == {
        (CLEAN, OTHER_SOURCE)
    }
    assert [asked.seed for asked in all_asked] == sorted(asked.seed for asked in all_asked)


def test_few_rows_are_read_more_often() -> None:
    assert epochs_for(4000, 2, 16) == 2
    assert epochs_for(64, 2, 16) == 50


def test_contenders_learn_and_a_lora_trial_has_its_remedy(tiny_model: Path) -> None:
    given = make_rows(240, seed=1)
    labels = {label: number for number, label in enumerate(sorted(WORDS))}
    rows = TrainingRows(tuple(text for text, _ in given), np.array([labels[label] for _, label in given]))
    recipe = {
        "data": {"max_length": 16},
        "backbone": {"model": str(tiny_model), "dropout": "off"},
        "lora": {"r": 2},
        "train": {"learning_rate": 0.02, "num_train_epochs": 3, "bf16": False},
    }
    asked = make_rows(60, seed=5)
    true = np.array([labels[label] for _, label in asked])
    lora = Lora(recipe, train={"class_weight": "balanced"}, typo_copies=0.05)
    assert lora.settings["recipe"]["train"]["class_weight"] == "balanced"
    assert len(Svm().settings["C"]) > 1
    for contender in (Svm(), lora, FullFineTuning(str(tiny_model), 16, learning_rate=3e-3)):
        found = contender.fit(rows, 3, seed=0)([text for text, _ in asked])
        assert (found == true).mean() > 0.6, contender  # a third of them by chance, as by predictions out of order
    told = Lora(recipe, class_shares=("0=1", "1=0", "2=1"))
    found = told.fit(rows, 3, seed=0)([text for text, _ in asked])
    assert set(found.tolist()) == {0, 2}
    assert (found == true)[true != 1].mean() > 0.8


# Comparing and the page


def flags(right: int, of: int = 400) -> Any:
    return np.arange(of) < right


def test_an_accuracys_interval_is_of_one_seeds_rows() -> None:
    found = comparing.accuracy([flags(380), flags(360), flags(370)])
    assert found.mean == pytest.approx(0.925)
    assert found.interval == pytest.approx(intervals.wilson_interval(370, 400))


def test_a_difference_holds_where_it_holds_for_every_seed() -> None:
    ours = [flags(380), flags(385), flags(390)]
    everywhere = comparing.difference(ours, [flags(340)] * 3)
    once = comparing.difference(ours, [flags(340), flags(340), flags(389)])
    other_way = comparing.difference(ours, [flags(340), flags(340), flags(400)])
    judged = comparing.judged([everywhere, once, other_way])
    assert [each.holds for each in judged] == [True, False, False]
    assert not other_way.one_way
    assert everywhere.mean == pytest.approx(45 / 400)
    assert everywhere.interval is not None
    assert everywhere.interval[0] < 45 / 400 < everywhere.interval[1]


def test_an_interval_is_of_the_mean_over_seeds() -> None:
    ours, theirs = [flags(380), flags(360)], [flags(340), flags(355)]
    found = comparing.difference(ours, theirs)
    assert found.interval is not None
    low, high = found.interval
    assert found.mean == pytest.approx(45 / 2 / len(ours[0]))
    assert low < found.mean < high
    assert comparing.difference([flags(380)], [flags(372)]).interval is None


def test_holms_correction_is_made() -> None:
    pair = comparing.difference([flags(380)], [flags(372)])  # 8 rows, all one way: p = 0.0078
    assert comparing.judged([pair])[0].holds
    assert not any(each.holds for each in comparing.judged([pair] * 10))


def made_up(folder: Path, seeds: Sequence[int] = (0, 1)) -> None:
    """Trials on 200 test rows: loraloom errs on 10 of them, twice as often under typos and after worse trainings.

    A remedy errs on 10 whatever the training; the peers err more than loraloom.
    """
    truth = {CLEAN: "0123" * 50, OTHER_SOURCE: "0" * 20}
    write_json(folder / "truth.json", {"labels": ["a", "b", "c", "d"], "true": truth})
    (folder / "trials").mkdir()
    wrong = {plan.LORA: 10, plan.SVM: 60, plan.FULL: 12}
    for seed in seeds:
        for asked in plan.Plan({"lora": {"r": 7}}, 400, 200, (seed,), "data").asked((CLEAN, "typos 5 %", OTHER_SOURCE)):
            errors = wrong.get(asked.name, 5) * (1 if asked.condition == CLEAN and asked.name in wrong else 2)
            predictions = {}
            for name in asked.sets:
                true = truth[OTHER_SOURCE if name == OTHER_SOURCE else CLEAN]
                count = min(len(true), errors * (2 if "typos" in name else 1))
                if asked.name == "loraloom-typos" and "typos" in name:
                    count = 2
                predictions[name] = "".join(str((int(sign) + 1) % 4) for sign in true[:count]) + true[count:]
            trial = trials.Trial(asked.name, asked.condition, seed, asked.settings, 400, 1.0, predictions, MACHINE)
            write_json(asked.path(folder), asdict(trial))


def test_the_page_says_what_the_trials_say(tmp_path: Path) -> None:
    made_up(tmp_path)
    text = page(tmp_path)
    assert "400 training rows\nof each of 2 seeds" in text
    assert "`python -m study.robustness --rows 400 --test_rows 200 --seeds\n2` repeats all of it where" in text
    assert "2026-01-02 on A processor, 2 cores; loraloom at 012345678.\n\n- **loraloom**: `r: 7`." in text
    assert '"loraloom" is that one recipe (`study/robustness/recipe.yaml`), no default search:' in text
    lines = {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for line in text.splitlines()
             if len(cells := line.split("|")) == 8}  # fmt: skip
    assert [cell[:4] for cell in lines["clean"]] == ["95.0", "70.0", "94.0", "**+2", "+1.0"]
    assert re.fullmatch(r"\*\*\+25\.0 \(\+1\d\.\d … \+3\d\.\d\)\*\*", lines["clean"][3])
    assert [cell[:4] for cell in lines["typos 5 %"][:3]] == ["90.0", "40.0", "88.0"]
    assert [cell[:4] for cell in lines["skew 1:100"][:3]] == ["90.0", "40.0", "88.0"]
    assert "- typos 5 %: loraloom -5.0, TF-IDF + SVM -30.0, full fine-tuning -6.0" in text
    assert "- each training row once more, with typos in 5 % of its characters helps in 1 of 3 lines and harms" in text
    assert "- `class_weight: balanced` helps in 4 of 4 lines and harms in none." in text  # 10 wrong in place of 20
    assert "nan" not in text
    assert "or as many as make 200 steps (`LEAST_STEPS`). loraloom holds\n10 % of its rows out" in text
    assert "| 16 a class | 360, 9 | 400, 8 |" in text  # the made-up trials have 400 rows: 23 and 25 steps an epoch


def test_a_study_that_is_half_done_compares_what_both_have(tmp_path: Path) -> None:
    made_up(tmp_path)
    for path in (tmp_path / "trials").glob("full-*-1.json"):
        path.unlink()
    for path in (tmp_path / "trials").glob("full-noise*.json"):
        path.unlink()
    assert "| noise 5 % | 90.0" in (text := page(tmp_path))
    assert "not run" in text


def test_trials_of_two_studies_make_no_page(tmp_path: Path) -> None:
    made_up(tmp_path)
    path = next((tmp_path / "trials").glob("svm-*.json"))
    trial = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, trial | {"settings": trial["settings"] | {"train_rows": 4000}})
    with pytest.raises(ValueError, match=r"trials of different train_rows \(400, 4000\)"):
        page(tmp_path)


def test_predictions_for_other_rows_are_refused(tmp_path: Path) -> None:
    made_up(tmp_path)
    write_json(tmp_path / "truth.json", {"labels": ["a"], "true": {CLEAN: "0" * 100, OTHER_SOURCE: "0" * 20}})
    with pytest.raises(ValueError, match="200 predictions for 100 rows; run the study anew"):
        page(tmp_path)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    made_up(tmp_path)
    draw(tmp_path, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_is_that_of_the_kept_trials() -> None:
    assert page(command.RESULTS) == command.PAGE.read_text(encoding="utf-8")


def test_the_kept_trials_are_those_that_the_command_asks_for() -> None:
    """Else it ends at the first that is of another setting; trials from before fingerprints were kept have no data."""
    given, kept = command._parser().parse_args([]), trials.read_trials(command.RESULTS)
    (data,) = {trial.settings["data"] for trial in kept if "data" in trial.settings}
    recipe = command._recipe(given.recipe, given.model)
    asked = plan.Plan(recipe, given.rows, given.test_rows, tuple(range(given.seeds)), data)
    found = [trials.done(each, given.out) for each in asked.asked(tuple(sets_of(["a text"], ["another"])))]
    place = {(trial.contender, trial.condition, trial.seed) for trial in kept}
    assert {(trial.contender, trial.condition, trial.seed) for trial in found if trial is not None} == place
    assert len(found) == len(place)
    assert all(set(trial.predictions) == set(trial.settings["sets"]) for trial in kept)
