"""What models state of themselves: in their folder, in their package, on the hub."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loraloom.backbone.cards import DEMO_MODEL, card_facts
from loraloom.backbone.sources import Source
from loraloom.hub import package_facts


def folder(path: Path, card: str | bytes) -> Source:
    path.mkdir()
    (path / "README.md").write_bytes(card if isinstance(card, bytes) else card.encode())
    return Source("m", str(path), None, local=True)


def test_the_demo_states_its_own_licence_and_its_packages() -> None:
    from loraloom.backbone.sources import find

    facts = card_facts(find("demo"))
    assert (facts["license"], facts["package_license"], facts["name"]) == ("apache-2.0", "MIT", DEMO_MODEL)
    assert facts["card"] == "README.md in the package"


@pytest.mark.parametrize(
    ("card", "stated"),
    [
        ("---\nlicense: mit\n---\n# x", "mit"),
        ("---\nlicense: other\nlicense_name: our-own\n---\n", "our-own"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("---\nlanguage: en\n---\n", None),
        ("# no head", None),
        ("---\nlicense: 'a\n---\n", None),
        ("---\n- a\n---\n", None),
        ("---\nmodel-index: 3\nlicense: mit\n---\n", "mit"),
        (b"\xff\xfe---", None),
    ],
)
def test_a_card_is_read_as_far_as_it_can_be(tmp_path: Path, card: str | bytes, stated: str | None) -> None:
    assert card_facts(folder(tmp_path / "m", card)).get("license") == stated


def test_a_folder_without_a_card_states_nothing(tmp_path: Path) -> None:
    assert card_facts(Source("m", str(tmp_path), None, local=True)) == {}
    assert package_facts("no-such-package-is-installed") == {}


def test_a_hub_model_is_asked_for_once_and_nothing_depends_on_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("owner/model", "owner/model", "abc", local=False)
    asked: list[Any] = []

    def info(self: Any, model: str, **options: Any) -> Any:
        asked.append((model, options["revision"]))
        return SimpleNamespace(card_data=SimpleNamespace(license="apache-2.0"))

    monkeypatch.setattr("loraloom.hub.reachable", lambda: True)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", info)
    facts = {"name": "owner/model", "card": "https://huggingface.co/owner/model"}
    assert card_facts(source) == {**facts, "license": "apache-2.0"}
    assert asked == [("owner/model", "abc")]

    def unreachable(*_: Any, **__: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    assert card_facts(source) == facts
    monkeypatch.setattr("loraloom.hub.reachable", lambda: False)
    assert card_facts(source) == facts


def test_a_package_may_state_its_licence_as_an_expression(monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"Name": "texts", "Version": "2", "License-Expression": "MIT", "License": None}
    monkeypatch.setattr("loraloom.hub.metadata", {"texts": about}.get)
    assert package_facts("texts") == {"package": "texts 2", "package_license": "MIT"}
