"""Adapters come and go while it serves: with a token, from below one folder, and hostile ones never."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from bench.random_adapters import save_random_adapter
from loraloom.use.adapter import Classifier
from loraloom.use.class_shares import ClassShares
from loraloom.use.serve.batching import Batcher
from loraloom.use.serve.limits import Access, Settings
from loraloom.use.serve.registry import Served, TakenNameError
from tests.use.serve.servers import client_of, load_registry
from tests.use.test_hostile_adapters import KINDS, changed

TOKEN, KEY = "t" * 20, "k" * 20
ADMIN = {"authorization": f"Bearer {TOKEN}"}
TRAVERSALS = (
    "../secret", "..", ".", "/etc", "//etc", "a/../../secret", "..\\secret", "%2e%2e/secret", "..%2fsecret",
    "..%252fsecret", "\u2025/secret", "\uff0e\uff0e/secret", "..;/secret", "a\x00b", "link", "link/inner", "~", "~root",
    "C:\\", "file:///etc", "", "a/" * 500, "....//secret", "..%c0%afsecret", "\u202e..", "\xff\xfe\x00\xd8",
)  # fmt: skip


NO_NAMES = [name for name in TRAVERSALS if name != "link"]
NO_NAMES += ["A", "-a", "_a", "a.b", "a b", "a" * 65, "\u00e4", "a\n", "animals/x"]


def make_root(place: Path, adapter_folders: dict[str, Path]) -> Path:
    """A folder of adapters, a secret one beside it, and a link that leads there."""
    folder = place / "adapters"
    shutil.copytree(adapter_folders["food"], folder / "food")
    shutil.copytree(adapter_folders["food"], place / "secret")
    (folder / "link").symlink_to(place / "secret")
    (folder / "~").mkdir()
    return folder


@contextmanager
def serving(root: Path, adapter_folders: dict[str, Path]) -> Iterator[TestClient]:
    """One adapter is served, and those below `root` may be added."""
    settings = Settings(access=Access(keys=(KEY,), admin_token=TOKEN, adapters_dir=root))
    with client_of(load_registry({"animals": adapter_folders["animals"]}), settings) as made:
        yield made


@pytest.fixture
def root(tmp_path: Path, adapter_folders: dict[str, Path]) -> Path:
    return make_root(tmp_path, adapter_folders)


@pytest.fixture
def client(root: Path, adapter_folders: dict[str, Path]) -> Iterator[TestClient]:
    with serving(root, adapter_folders) as made:
        yield made


@pytest.fixture(scope="module")
def refusing(adapter_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The same, of which all that is asked is refused."""
    with serving(make_root(tmp_path_factory.mktemp("refusing"), adapter_folders), adapter_folders) as made:
        yield made
        adapters = made.get("/v1/adapters", headers=ADMIN).json()["adapters"]
        assert [card["name"] for card in adapters] == ["animals"]


def test_an_adapter_comes_and_goes(client: TestClient) -> None:
    ask = {"adapter": "new", "texts": ["a"]}
    key = {"authorization": f"Bearer {KEY}"}
    assert client.post("/v1/classify", json=ask, headers=key).status_code == 404
    added = client.post("/v1/adapters", json={"name": "new", "folder": "food"}, headers=ADMIN)
    assert added.status_code == 201
    assert added.json()["labels"] == ["sweet", "salty"]
    assert client.post("/v1/classify", json=ask, headers=key).status_code == 200
    again = client.post("/v1/adapters", json={"name": "new", "folder": "food"}, headers=ADMIN)
    assert again.status_code == 409
    assert client.delete("/v1/adapters/new", headers=ADMIN).status_code == 204
    assert client.delete("/v1/adapters/new", headers=ADMIN).status_code == 404
    assert client.post("/v1/classify", json=ask, headers=key).status_code == 404


def test_the_metrics_have_no_line_of_an_adapter_that_went(
    adapter_folders: dict[str, Path], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = load_registry({name: adapter_folders[name] for name in ("animals", "food")})
    settings = Settings(access=Access(admin_token=TOKEN, adapters_dir=root))
    computed = Batcher.logits

    async def gone_meanwhile(batcher: Batcher, served: Served, *arguments: Any) -> Any:
        logits = await computed(batcher, served, *arguments)
        registry.remove(served.name)
        return logits

    with client_of(registry, settings) as client:
        for name in ("animals", "food"):
            assert client.post("/v1/classify", json={"adapter": name, "texts": ["a", "b"]}).status_code == 200
        assert client.delete("/v1/adapters/food", headers=ADMIN).status_code == 204
        said = client.get("/metrics").text
        assert 'loraloom_texts_total{adapter="animals"} 2.0' in said
        assert 'adapter="food"' not in said
        registry.add("food", root / "food")
        monkeypatch.setattr(Batcher, "logits", gone_meanwhile)
        assert client.post("/v1/classify", json={"adapter": "food", "texts": ["a"]}).status_code == 200
        assert 'adapter="food"' not in client.get("/metrics").text


def test_the_last_adapter_of_a_backbone_may_be_replaced(client: TestClient) -> None:
    assert client.delete("/v1/adapters/animals", headers=ADMIN).status_code == 204
    added = client.post("/v1/adapters", json={"name": "animals", "folder": "food"}, headers=ADMIN)
    assert (added.status_code, added.json().get("labels")) == (201, ["sweet", "salty"])


@pytest.mark.parametrize("authorization", ["", f"Bearer {KEY}", "Bearer " + "x" * 20, f"Basic {TOKEN}"])
def test_only_with_the_token(refusing: TestClient, authorization: str) -> None:
    headers = {"authorization": authorization}
    assert refusing.post("/v1/adapters", json={"name": "new", "folder": "food"}, headers=headers).status_code == 401
    assert refusing.delete("/v1/adapters/animals", headers=headers).status_code == 401


def test_not_at_all_unless_the_server_was_started_so(adapter_folders: dict[str, Path]) -> None:
    with client_of(load_registry({"animals": adapter_folders["animals"]})) as client:
        body = {"name": "new", "folder": "food"}
        assert client.post("/v1/adapters", json=body, headers=ADMIN).status_code == 403
        assert client.delete("/v1/adapters/animals").status_code == 403


def test_who_has_no_key_is_not_told_that_nothing_can_be_changed(adapter_folders: dict[str, Path]) -> None:
    with client_of(load_registry({"animals": adapter_folders["animals"]}), Settings(access=Access((KEY,)))) as client:
        assert client.post("/v1/adapters", json={"name": "new", "folder": "food"}).status_code == 401
        assert client.delete("/v1/adapters/animals").status_code == 401


@pytest.mark.parametrize("folder", TRAVERSALS)
def test_no_folder_leads_out(refusing: TestClient, folder: str) -> None:
    answer = refusing.post("/v1/adapters", json={"name": "new", "folder": folder}, headers=ADMIN)
    assert answer.status_code == 422, answer.text
    assert "secret" not in [card["name"] for card in refusing.get("/v1/adapters", headers=ADMIN).json()["adapters"]]


@pytest.mark.parametrize("name", NO_NAMES)
def test_no_name_is_a_path(refusing: TestClient, name: str) -> None:
    answer = refusing.post("/v1/adapters", json={"name": name, "folder": "food"}, headers=ADMIN)
    assert answer.status_code == 422
    asked = refusing.post("/v1/classify", json={"adapter": name, "texts": ["a"]}, headers=ADMIN)
    assert asked.status_code in (404, 422)
    for written in (quote(name, safe=""), quote(quote(name, safe=""), safe="")):
        if written not in ("", ".", ".."):  # clients take these out of a path themselves
            assert refusing.delete(f"/v1/adapters/{written}", headers=ADMIN).status_code in (404, 405)
            assert refusing.post(f"/models/{written}", json={"inputs": "a"}, headers=ADMIN).status_code in (404, 405)


def test_an_adapter_of_a_backbone_that_is_not_in_memory_is_refused(
    client: TestClient, root: Path, tmp_path: Path
) -> None:
    from tests.conftest import write_model

    other = write_model(tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "note": "another"}))
    save_random_adapter(root / "other", other)
    answer = client.post("/v1/adapters", json={"name": "new", "folder": "other"}, headers=ADMIN)
    assert answer.status_code == 422
    assert "not in memory" in answer.json()["error"]


@pytest.mark.parametrize(("change", "says"), KINDS)
def test_a_hostile_adapter_is_refused_and_the_server_goes_on(
    client: TestClient, root: Path, change: Callable[[Path], object], says: str
) -> None:
    changed(root / "food", change)
    answer = client.post("/v1/adapters", json={"name": "new", "folder": "food"}, headers=ADMIN)
    assert answer.status_code == 422
    assert re.search(says, answer.json()["error"])
    assert "\n" not in answer.json()["error"]
    assert client.post("/v1/classify", json={"texts": ["a"]}, headers=ADMIN).status_code == 200


def test_an_adapter_that_takes_long_to_be_read_keeps_no_other_from_coming_and_going(
    validated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = load_registry({"animals": validated}, "balanced")
    reading, go_on = threading.Event(), threading.Event()
    for_class_shares = Classifier.for_class_shares

    def slow(classifier: Classifier, class_shares: ClassShares) -> Classifier:
        reading.set()
        assert go_on.wait(20)
        return for_class_shares(classifier, class_shares)

    with ThreadPoolExecutor(1) as pool, monkeypatch.context() as patched:
        patched.setattr(Classifier, "for_class_shares", slow)
        coming = pool.submit(registry.add, "slow", validated)
        assert reading.wait(20)
        patched.undo()
        registry.remove("animals")
        registry.add("slow", validated)  # which is there first
        go_on.set()
        with pytest.raises(TakenNameError, match="'slow' is served already"):
            coming.result()
    assert [served.name for served in registry.all()] == ["slow"]
