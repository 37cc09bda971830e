"""The temperature that `predict` divides by: fitted on a trial's validation rows, kept by copies that go without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import loraloom
from loraloom import LoraClassifier, cli, metrics
from loraloom.calibration import at_temperature
from loraloom.errors import AdapterError
from loraloom.study.durable import write_manifest
from loraloom.study.evidence import read_predicted
from loraloom.study.record import Result, Score, read_record
from loraloom.use.ensemble import load_ensemble
from loraloom.use.evaluate import evaluate
from loraloom.use.temperature import fitted_temperature
from tests.use.hub_server import hub_server, speak_to
from tests.use.validated import LABELS, TEXTS, keep_validation

KEPT = {"value": 2.5, "interval": [2.0, 3.0], "rows": 400}


@pytest.mark.parametrize(("sharpness", "needed"), [(2.5, True), (1.0, False)])
def test_a_temperature_is_applied_where_validation_rows_show_that_it_is_needed(
    folder: Path, sharpness: float, needed: bool
) -> None:
    keep_validation(folder, sharpness)
    raw = loraloom.load(folder).predict_proba(TEXTS)
    ensemble = load_ensemble([folder])
    classifier = ensemble.members[0].classifier
    (found,) = ensemble.probabilities(ensemble.encoded(TEXTS))
    assert (found.argmax(axis=1) == raw.argmax(axis=1)).all()
    assert classifier.predict_proba(TEXTS).tolist() == found.tolist()  # it knows of its temperature, and nobody else
    if needed:
        assert classifier.temperature is not None
        assert classifier.temperature.value == pytest.approx(sharpness, rel=0.25)
        assert np.allclose(found, at_temperature(raw, classifier.temperature.value), atol=1e-6)
    else:
        assert classifier.temperature is None
        assert np.allclose(found, raw, atol=1e-6)
    (without,) = load_ensemble([folder], temperature=False).members
    assert without.classifier.temperature is None


@pytest.mark.parametrize("of_another", [False, True])
def test_validation_predictions_of_another_trial_give_no_temperature(folder: Path, *, of_another: bool) -> None:
    keep_validation(folder, 2.5)
    predicted = read_predicted(folder, len(LABELS))
    assert predicted is not None
    right = int(predicted.right.sum()) - of_another
    score = Score(examples=400, accuracy=right / 400, macro_f1=0.5, loss=0.7)
    record = read_record(folder).model_copy(update={"result": Result(validation=score)})
    (folder / "trial.json").write_text(record.model_dump_json())
    write_manifest(folder)
    assert (load_ensemble([folder]).members[0].classifier.temperature is None) == of_another


def test_the_temperature_of_single_texts_is_said_on_standard_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_validation(folder, 2.5)
    for options, said in (([], True), (["--no_temperature"], False)):
        cli.app(["predict", str(folder), "--text", "the cat", *options], standalone_mode=False)
        out, err = capsys.readouterr()
        assert (len(out.splitlines()), "temperature" in err) == (1, said)


@pytest.mark.parametrize(("rows", "needed"), [(15, False), (60, True)])
def test_a_model_that_is_right_in_a_few_rows_gets_no_temperature(folder: Path, rows: int, *, needed: bool) -> None:
    from safetensors.numpy import save

    labels = np.arange(rows, dtype=np.int32) % 3
    shares = np.full((rows, 3), 0.1, dtype=np.float32)
    shares[np.arange(rows), labels] = 0.8
    tensors: dict[str, Any] = {"probabilities": shares, "labels": labels, "rows": np.arange(rows, dtype=np.int32)}
    (folder / "validation.safetensors").write_bytes(save(tensors))
    write_manifest(folder)
    found = fitted_temperature(folder, read_record(folder))
    assert (found is not None) == needed
    if found is not None:  # in 60 of 60 rows, where 48 were to be expected
        assert 0.3 < found.value < 0.6


def of_predict(adapter: Path | str) -> list[list[float]]:
    """Probabilities as `predict` gives them."""
    ensemble = load_ensemble([Path(adapter)])
    found: list[list[float]] = ensemble.probabilities(ensemble.encoded(TEXTS))[0].tolist()
    return found


@pytest.mark.parametrize(("sharpness", "needed"), [(2.5, True), (1.0, False)])
def test_a_saved_adapter_keeps_its_temperature_and_no_validation_row(
    tmp_path: Path, folder: Path, sharpness: float, needed: bool
) -> None:
    keep_validation(folder, sharpness)
    once = LoraClassifier.load(folder).save(tmp_path / "once")
    for copy in (once, LoraClassifier.load(once).save(tmp_path / "twice")):
        assert of_predict(copy) == of_predict(folder)
        assert (copy / "temperature.json").exists() == needed
        assert not (copy / "validation.safetensors").exists()


@pytest.mark.filterwarnings("ignore:the backbone of this adapter is a folder of this machine")
def test_a_pushed_adapter_keeps_its_temperature_and_no_validation_row(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "someone/words"
    with hub_server() as hub:
        speak_to(hub, monkeypatch, tmp_path)
        for sharpness, needed in ((2.5, True), (1.0, False)):
            keep_validation(folder, sharpness)
            loraloom.load(folder).push_to_hub(name)
            files = hub.repositories[name].commits[-1][1]
            assert ("temperature.json" in files, "validation.safetensors" in files) == (needed, False)
            assert of_predict(name) == of_predict(folder)


@pytest.mark.parametrize(("sharpness", "needed"), [(2.5, True), (1.0, False)])
def test_evaluate_scores_the_confidences_of_predict_beside_the_models_own(
    tmp_path: Path, folder: Path, sharpness: float, needed: bool
) -> None:
    file = tmp_path / "rows.csv"
    keep_validation(folder, sharpness)
    file.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in zip(TEXTS, LABELS, strict=True)))
    found = evaluate(folder, file).as_json()
    own, shares = loraloom.load(folder).predict_proba(TEXTS), of_predict(folder)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(range(3), own), rel=1e-5)
    if not needed:
        assert found["predict"] is None
        return
    fitted = fitted_temperature(folder, read_record(folder))
    assert fitted is not None
    expected = {
        "temperature": fitted.value,
        "rows": fitted.rows,
        "log_loss": metrics.log_loss(range(3), shares),
        "expected_calibration_error": metrics.expected_calibration_error(range(3), shares),
    }
    assert found["predict"] == pytest.approx(expected, rel=1e-5)
    assert found["predict"]["log_loss"] != pytest.approx(found["log_loss"], rel=1e-3)


def test_a_kept_temperature_is_applied(folder: Path) -> None:
    raw = of_predict(folder)
    (folder / "temperature.json").write_text(json.dumps(KEPT))
    write_manifest(folder)
    assert np.allclose(of_predict(folder), at_temperature(raw, 2.5), atol=1e-6)


@pytest.mark.parametrize(
    "changed",
    [
        {"value": 0},
        {"value": float("nan")},
        {"value": 1e300},
        {"value": "hot"},
        {"rows": 0},
        {"interval": [0.5, 9]},
        {"interval": [3, 4]},
        {"interval": [2.0, float("inf")]},
        {"value": 0.5, "interval": [-1, 0.8]},
        {"interval": None},
    ],
)
def test_a_kept_temperature_that_no_rows_can_have_shown_is_refused(
    tmp_path: Path, folder: Path, changed: dict[str, Any]
) -> None:
    (folder / "temperature.json").write_text(json.dumps(KEPT | changed))
    write_manifest(folder)
    says = r"temperature\.json: (can't be read|holds no temperature)"
    with pytest.raises(AdapterError, match=says):
        load_ensemble([folder])
    with pytest.raises(AdapterError, match=says):  # before the rows are read
        evaluate(folder, tmp_path / "none.csv")
