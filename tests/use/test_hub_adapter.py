"""An adapter goes to the hub and comes back, by huggingface_hub's own client against a stand-in of its API."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from typer.testing import CliRunner

import loraloom
from bench.random_adapters import save_random_adapter
from loraloom.cli import app
from loraloom.data import default_cache
from loraloom.errors import AdapterError
from loraloom.study.durable import write_manifest
from loraloom.use import hub_adapter
from loraloom.use.serve import server
from tests.commands import Commands
from tests.use.hostile import blend_of
from tests.use.hub_server import Hub, Repository, hub_server, speak_to
from tests.use.tested_adapters import add_test_result

NAME = "someone/words"
TEXTS = ["the cat near a dog", "old bread and cheese", "a saw"]
OWN_MODEL = "ignore:the backbone of this adapter is a folder of this machine"


@pytest.fixture(scope="module")
def best(untaught: Path) -> Path:
    return untaught


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_server() as hub:
        speak_to(hub, monkeypatch, tmp_path)
        yield hub


def files_of(hub: Hub) -> dict[str, bytes]:
    return hub.repositories[NAME].commits[-1][1]


@pytest.mark.filterwarnings(OWN_MODEL)
def test_what_is_pushed_is_loaded_as_the_same_classifier(best: Path, hub: Hub) -> None:
    own = loraloom.load(best)
    url = own.push_to_hub(NAME)
    assert url == f"{hub.address}/{NAME}/commit/{hub.repositories[NAME].commits[-1][0]}"
    fetched = loraloom.load(NAME)
    assert (fetched.labels, fetched.card) == (own.labels, own.card)
    assert fetched.predict_proba(TEXTS).tolist() == own.predict_proba(TEXTS).tolist()


@pytest.mark.filterwarnings(OWN_MODEL)
def test_a_blend_is_pushed_whole_and_an_adapter_after_it_leaves_nothing_of_tfidf(
    best: Path, hub: Hub, tmp_path: Path
) -> None:
    blend = blend_of(best, tmp_path / "blend")
    with pytest.warns(UserWarning, match=r"tfidf\.json is pushed, too: words of the training texts"):
        loraloom.load(blend).push_to_hub(NAME)
    assert loraloom.load(NAME).predict_proba(TEXTS).tolist() == loraloom.load(blend).predict_proba(TEXTS).tolist()
    loraloom.load(best).push_to_hub(NAME)
    assert not any("tfidf" in name for name in files_of(hub))
    assert loraloom.load(NAME).predict_proba(TEXTS).tolist() == loraloom.load(best).predict_proba(TEXTS).tolist()


@pytest.mark.filterwarnings(OWN_MODEL)
def test_a_copy_that_was_damaged_here_is_made_again(best: Path, hub: Hub) -> None:
    loraloom.load(best).push_to_hub(NAME)
    loraloom.load(NAME)
    commit = hub.repositories[NAME].commits[-1][0]
    (kept,) = default_cache().glob(f"adapters/*/{commit}/adapter_model.safetensors")
    kept.write_bytes(kept.read_bytes()[:100])
    assert loraloom.load(NAME).predict(TEXTS) == loraloom.load(best).predict(TEXTS)


@pytest.mark.filterwarnings(OWN_MODEL)
def test_what_is_pushed_can_be_served_by_its_name(best: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    loraloom.load(best).push_to_hub(NAME)
    served = []
    monkeypatch.setattr(server, "serve", lambda registry, *_: served.extend(registry.all()))
    done = CliRunner().invoke(app, ["serve", f"news={NAME}", "--port", "0"])
    assert done.exit_code == 0, done.output
    assert [(one.name, one.classifier.labels) for one in served] == [("news", loraloom.load(best).labels)]


@pytest.mark.filterwarnings(OWN_MODEL)
def test_pushed_are_weights_record_and_card_in_one_commit_without_texts_or_paths(best: Path, hub: Hub) -> None:
    loraloom.load(best).push_to_hub(NAME, private=True)
    files = files_of(hub)
    assert set(files) == {
        *(".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors"),
        *("class_shares.json", "manifest.json", "trial.json"),
    }
    assert len(hub.repositories[NAME].commits) == 2  # the hub's own, and one
    assert hub.repositories[NAME].private
    assert json.loads(files["trial.json"])["configuration"]["data"]["train_file"] is None


@pytest.mark.filterwarnings(OWN_MODEL)
def test_the_place_of_the_model_on_this_machine_is_not_pushed_in_the_place_of_its_name(
    best: Path, hub: Hub, tmp_path: Path
) -> None:
    """Of `demo` it is a folder among the installed packages."""
    copy = Path(shutil.copytree(best, tmp_path / "copy"))
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "/here/packages/model"}))
    write_manifest(copy)
    classifier = loraloom.load(copy)
    classifier.push_to_hub(NAME)
    pushed = json.loads(files_of(hub)["adapter_config.json"])
    assert pushed["base_model_name_or_path"] == classifier.record.configuration.backbone.model


@pytest.mark.filterwarnings(OWN_MODEL)
def test_what_shall_be_private_is_not_pushed_where_all_can_read_it(best: Path, hub: Hub) -> None:
    own = loraloom.load(best)
    own.push_to_hub(NAME)
    with pytest.raises(AdapterError, match="is there already, and public; nothing was pushed"):
        own.push_to_hub(NAME, private=True)
    assert len(hub.repositories[NAME].commits) == 2


@pytest.mark.filterwarnings(OWN_MODEL)
def test_a_push_leaves_no_card_and_no_classes_of_what_was_there_before(best: Path, hub: Hub, tmp_path: Path) -> None:
    loraloom.load(best).push_to_hub(NAME)
    hub.repositories[NAME].commit({"estimator.json": b"{}", ".gitattributes": b"theirs"})
    plain = Path(shutil.copytree(best, tmp_path / "plain"))
    (plain / "README.md").unlink()
    loraloom.load(plain).push_to_hub(NAME)
    assert set(files_of(hub)) == {
        *(".gitattributes", "adapter_config.json", "adapter_model.safetensors"),
        *("class_shares.json", "manifest.json", "trial.json"),
    }
    assert len(hub.repositories[NAME].commits) == 4
    assert loraloom.load(NAME).card == ""


@pytest.mark.filterwarnings(OWN_MODEL)
def test_files_of_others_stay_where_an_adapter_is_pushed_beside_them(best: Path, hub: Hub) -> None:
    hub.repositories[NAME] = Repository()
    hub.repositories[NAME].commit(
        {"README.md": b"theirs", "config.json": b"{}", "data/rows.jsonl": b"1", "model.h5": b"2"}
    )
    loraloom.load(best).push_to_hub(NAME)
    files = files_of(hub)
    assert (files["config.json"], files["data/rows.jsonl"]) == (b"{}", b"1")
    assert files["README.md"] == (best / "README.md").read_bytes()
    assert loraloom.load(NAME).predict(TEXTS) == loraloom.load(best).predict(TEXTS)
    assert not any(request.endswith("model.h5") for request in hub.requests)


@pytest.mark.filterwarnings(OWN_MODEL)
def test_nothing_is_pushed_beside_what_can_hold_code_since_nobody_could_load_it(best: Path, hub: Hub) -> None:
    hub.repositories[NAME] = Repository()
    hub.repositories[NAME].commit({"pytorch_model.bin": b"x"})
    with pytest.raises(
        AdapterError, match=rf"{NAME}: pytorch_model\.bin: can hold code, .*; nothing was pushed: delete"
    ):
        loraloom.load(best).push_to_hub(NAME)
    assert len(hub.repositories[NAME].commits) == 1


@pytest.mark.filterwarnings(OWN_MODEL)
def test_a_push_that_broke_off_leaves_nothing_to_load_and_is_made_again(best: Path, hub: Hub) -> None:
    own, hub.cut_off = loraloom.load(best), True
    with pytest.raises(AdapterError, match=f"{NAME}: the hub's answer can't be used"):
        own.push_to_hub(NAME, private=True)
    with pytest.raises(AdapterError, match=r"has no trial\.json: it is not an adapter"):
        loraloom.load(NAME)
    hub.cut_off = False
    own.push_to_hub(NAME, private=True)
    assert loraloom.load(NAME).predict(TEXTS) == own.predict(TEXTS)


@pytest.mark.filterwarnings(OWN_MODEL)
def test_a_name_in_another_case_is_the_repository_that_is_there(best: Path, hub: Hub) -> None:
    own = loraloom.load(best)
    own.push_to_hub(NAME, private=True)
    url = own.push_to_hub("Someone/WORDS", private=True, commit_message="In another case")
    assert hub.messages == ["Add the adapter", "In another case"]
    assert list(hub.repositories) == [NAME]
    assert url == f"{hub.address}/{NAME}/commit/{hub.repositories[NAME].commits[-1][0]}"
    assert loraloom.load("Someone/Words").predict(TEXTS) == own.predict(TEXTS)


@pytest.mark.filterwarnings(OWN_MODEL)
def test_what_others_made_public_meanwhile_is_not_pushed_to(
    best: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = HfApi.model_info

    def raced(api: HfApi, name: str, **options: Any) -> Any:
        try:
            return asked(api, name, **options)
        finally:
            hub.repositories.setdefault(name, Repository())

    monkeypatch.setattr(HfApi, "model_info", raced)
    with pytest.raises(AdapterError, match="409 Conflict"):
        loraloom.load(best).push_to_hub(NAME, private=True)
    assert not hub.repositories[NAME].commits


def test_a_backbone_that_nobody_else_has_is_warned_of(best: Path, hub: Hub) -> None:
    with pytest.warns(UserWarning, match="is a folder of this machine"):
        loraloom.load(best).push_to_hub(NAME)


def test_what_replaced_a_classifiers_folder_is_not_pushed_in_its_name(
    tiny_model: Path, hub: Hub, tmp_path: Path
) -> None:
    classifier = loraloom.load(save_random_adapter(tmp_path / "one", tiny_model))
    shutil.rmtree(tmp_path / "one")
    save_random_adapter(tmp_path / "one", tiny_model, labels=("c", "b", "a"), seed=1)
    with pytest.raises(AdapterError, match="holds another adapter than when it was loaded"):
        classifier.push_to_hub(NAME)
    assert NAME not in hub.repositories


@pytest.mark.filterwarnings(OWN_MODEL)
def test_an_adapter_that_was_tested_since_it_was_loaded_is_pushed_with_its_result(
    tiny_model: Path, hub: Hub, tmp_path: Path
) -> None:
    folder = save_random_adapter(tmp_path / "one", tiny_model)
    classifier = loraloom.load(folder)
    add_test_result(folder)
    classifier.push_to_hub(NAME)
    result = loraloom.load(NAME).record.result
    assert result is not None
    assert result.test is not None


@pytest.mark.filterwarnings(OWN_MODEL)
def test_a_branch_is_taken_at_the_commit_that_it_stands_for(best: Path, hub: Hub) -> None:
    classifier = loraloom.load(best)
    classifier.push_to_hub(NAME)
    first = hub.repositories[NAME].commits[-1][0]
    hub.repositories[NAME].commit({"README.md": b"a later card"})
    hub.requests.clear()
    assert loraloom.load(NAME).card == "a later card"
    later = hub.repositories[NAME].commits[-1][0]
    downloads = [request for request in hub.requests if "/resolve/" in request]
    assert downloads
    assert all(f"/resolve/{later}/" in request for request in downloads)
    assert loraloom.load(NAME, revision=first).card == classifier.card


@pytest.mark.filterwarnings(OWN_MODEL)
def test_a_commit_that_the_hub_names_is_no_path(best: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged folder of the cache is removed, to be made anew; and one that is whole is this adapter's."""
    loraloom.load(best).push_to_hub(NAME)
    other = default_cache() / "adapters" / "other--adapter"
    shutil.copytree(best, other / "theirs")
    hub.repositories[NAME].commits.append(("../other--adapter", files_of(hub)))
    with pytest.raises(AdapterError, match=r"the hub's answer can't be used: '\.\./other--adapter' is no commit"):
        loraloom.load(NAME)
    assert (other / "theirs").is_dir()
    monkeypatch.setattr("loraloom.hub.reachable", lambda: False)
    with pytest.raises(AdapterError, match="the hub can't be reached"):
        loraloom.load(NAME, revision="../other--adapter/theirs")


@pytest.mark.filterwarnings(OWN_MODEL)
def test_without_the_hub_what_was_fetched_before_is_used(best: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    loraloom.load(best).push_to_hub(NAME)
    first = hub.repositories[NAME].commits[-1][0]
    loraloom.load(NAME)
    loraloom.load(NAME, revision=first)
    monkeypatch.setattr("loraloom.hub.reachable", lambda: False)
    with pytest.raises(AdapterError, match="the hub can't be reached"):
        loraloom.load("someone/else")
    for revision in (None, first):
        assert loraloom.load(NAME, revision=revision).predict(TEXTS) == loraloom.load(best).predict(TEXTS)


@pytest.mark.filterwarnings(OWN_MODEL)
def test_where_the_hub_does_not_answer_what_was_fetched_before_is_used(
    best: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is known, or a proxy is set, and yet no request comes through."""
    loraloom.load(best).push_to_hub(NAME)
    loraloom.load(NAME)

    def unanswered(*_: object, **__: object) -> None:
        raise ConnectionError("Connection refused")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unanswered)
    assert loraloom.load(NAME).predict(TEXTS) == loraloom.load(best).predict(TEXTS)
    with pytest.raises(AdapterError, match="Connection refused"):
        loraloom.load("someone/else")


@pytest.mark.filterwarnings(OWN_MODEL)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_where_the_hub_is_out_of_order_what_was_fetched_before_is_used(best: Path, hub: Hub, status: int) -> None:
    loraloom.load(best).push_to_hub(NAME)
    loraloom.load(NAME)
    hub.out_of_order = status
    assert loraloom.load(NAME).predict(TEXTS) == loraloom.load(best).predict(TEXTS)
    with pytest.raises(AdapterError, match=str(status)):
        loraloom.load("someone/else")


@pytest.mark.filterwarnings(OWN_MODEL)
def test_what_the_hub_has_no_more_is_not_taken_from_what_was_fetched_before(best: Path, hub: Hub) -> None:
    loraloom.load(best).push_to_hub(NAME)
    loraloom.load(NAME)
    del hub.repositories[NAME]
    with pytest.raises(AdapterError, match="no such repository on the hub"):
        loraloom.load(NAME)


@pytest.mark.filterwarnings(OWN_MODEL)
def test_a_full_disk_is_not_said_to_be_the_hubs_answer(best: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    loraloom.load(best).push_to_hub(NAME)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(AdapterError, match="the disk is full"):
        loraloom.load(NAME)


def test_what_a_kill_leaves_of_a_copy_goes_with_the_next_one(best: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapters" / "abc"
    killed = (
        "import os, shutil, sys; from pathlib import Path; from loraloom.use import hub_adapter\n"
        "shutil.copytree = lambda source, target, **_: os._exit(9)\n"
        "hub_adapter._plain(*map(Path, sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", killed, str(best), str(folder)]
    assert subprocess.run(command, check=False).returncode == 9
    left = [path for path in folder.parent.iterdir() if path != folder]
    (left[0] / "half").touch()
    assert hub_adapter._plain(best, folder) == folder
    assert [*folder.parent.iterdir()] == [folder]
    assert {path.name for path in folder.iterdir()} == {path.name for path in best.iterdir()}


@pytest.mark.filterwarnings(OWN_MODEL)
@pytest.mark.parametrize("file", ["pytorch_model.bin", "code.py", "deep/state.pkl"])
def test_a_repository_with_what_can_hold_code_is_refused_and_nothing_of_it_fetched(
    best: Path, hub: Hub, file: str
) -> None:
    loraloom.load(best).push_to_hub(NAME)
    hub.repositories[NAME].commit({file: b"x"})
    hub.requests.clear()
    with pytest.raises(AdapterError, match=f"{NAME}/{file}: can hold code"):
        loraloom.load(NAME)
    assert not any("/resolve/" in request for request in hub.requests)


@pytest.mark.filterwarnings(OWN_MODEL)
def test_what_was_changed_on_the_hub_is_refused(best: Path, hub: Hub) -> None:
    loraloom.load(best).push_to_hub(NAME)
    weights = bytearray(files_of(hub)["adapter_model.safetensors"])
    weights[-1] ^= 1
    hub.repositories[NAME].commit({"adapter_model.safetensors": bytes(weights)})
    with pytest.raises(AdapterError, match="is damaged"):
        loraloom.load(NAME)


def test_refusals_are_a_sentence(best: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["someone/other"] = Repository()
    hub.repositories["someone/other"].commit({"model.safetensors": b"x"})
    hub.repositories["someone/secret"] = Repository(private=True)
    with pytest.raises(AdapterError, match=r"someone/other: has no trial\.json: it is not an adapter"):
        loraloom.load("someone/other")
    with pytest.raises(AdapterError, match="no such folder, and no such repository on the hub"):
        loraloom.load("someone/nothing")
    with pytest.raises(AdapterError, match="has no such revision"):
        loraloom.load("someone/other", revision="v9")
    with pytest.raises(AdapterError, match="is a folder, which has no revisions"):
        loraloom.load(best, revision="main")
    with pytest.raises(AdapterError, match="must be owner/name"):
        loraloom.load(best).push_to_hub("words")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(AdapterError, match="no such repository on the hub"):
        loraloom.load("someone/secret")
    hub.repositories["someone/gated"] = Repository(gated=True)
    with pytest.raises(AdapterError, match="someone/gated: is gated on the hub; ask for access there, and log in by"):
        loraloom.load("someone/gated")
    with pytest.warns(UserWarning, match="folder"), pytest.raises(AdapterError, match="hf auth login"):
        loraloom.load(best).push_to_hub(NAME)


def test_what_the_hub_forbids_is_said_to_be_forbidden(best: Path, hub: Hub) -> None:
    hub.out_of_order = 403
    with pytest.raises(AdapterError, match="the hub does not allow it; log in as its owner by: hf auth login"):
        loraloom.load(NAME)


def test_a_folder_of_this_machine_is_taken_before_a_name_on_the_hub(
    best: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(best, tmp_path / NAME)
    monkeypatch.chdir(tmp_path)
    assert loraloom.load(NAME).predict(TEXTS) == loraloom.load(best).predict(TEXTS)
    assert not hub.requests


@pytest.mark.parametrize("name", ["a/b--c", "a/b..c", "a/b.git", "a/b.", "a-/b", f"a/{'b' * 97}"])
def test_what_the_hub_takes_for_no_name_is_no_answer_of_the_hubs(best: Path, hub: Hub, name: str) -> None:
    with pytest.raises(AdapterError, match=r"is no name on the hub; it must be owner/name, each of at most 96 ASCII"):
        loraloom.load(best).push_to_hub(name)
    with pytest.raises(AdapterError, match="no such folder; give a trial's folder"):
        loraloom.load(name)
    assert not hub.requests


@pytest.mark.filterwarnings(OWN_MODEL)
def test_commands_take_a_name_on_the_hub(
    commands: Commands, best: Path, hub: Hub, tmp_path: Path, rows_file: Path
) -> None:
    loraloom.load(best).push_to_hub(NAME)
    settings = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}

    def run(*arguments: str) -> str:
        ended = commands.start(*arguments, environment=settings, before=["tests.use.hub_server"]).wait()
        assert ended.code == 0, ended.err
        return ended.out

    predicted = json.loads(run("predict", NAME, "--text", TEXTS[0]))
    assert predicted["prediction"] == loraloom.load(best).predict(TEXTS[:1])[0]
    assert json.loads(run("evaluate", NAME, "--test_file", str(rows_file), "--json"))["adapter"] == NAME
    run("export", NAME, "--format", "peft", "--out", str(tmp_path / "peft"), "--rows", str(rows_file))
    assert (tmp_path / "peft" / "adapter_config.json").is_file()
