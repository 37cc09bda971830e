"""The licence and the card of a backbone, as its folder, its package or the hub has them; what is not stated stays so.

A card is the README.md beside the weights, whose head is YAML (huggingface_hub's ModelCard). Of the hub it is asked
once, with a time limit, and nothing depends on the answer.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from loraloom import hub
from loraloom.backbone.sources import DEMO_PACKAGE, Source

DEMO_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""What the demo's package carries, by its name on the hub."""
_SECONDS = 10
_SHOWN = 60


def card_facts(source: Source) -> dict[str, str]:
    """Plain facts, where known: `license`, `card` (its place), `name` on the hub, `package`, `package_license`."""
    facts = _of_folder(Path(source.location)) if source.local else _of_hub(source)
    if source.model == "demo":
        found = {"card": "README.md in the package"} if "card" in facts else {}
        facts |= {"name": DEMO_MODEL, **package_facts(DEMO_PACKAGE), **found}
    return facts


def package_facts(package: str) -> dict[str, str]:
    """The name, version and licence of an installed package."""
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return {}
    stated = next((str(about[name]) for name in ("License-Expression", "License") if about[name]), "")
    facts = {"package": f"{about['Name']} {about['Version']}"}
    return facts | ({"package_license": _line(stated)} if stated else {})


def _of_folder(folder: Path) -> dict[str, str]:
    path = folder / "README.md"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    return {"card": str(path), **_stated(text)}


def _of_hub(source: Source) -> dict[str, str]:
    from huggingface_hub import try_to_load_from_cache

    facts = {"name": source.model, "card": f"https://huggingface.co/{source.model}"}
    cached = try_to_load_from_cache(source.model, "README.md", revision=source.revision)
    if isinstance(cached, str):
        return facts | _of_folder(Path(cached).parent) | facts
    if not hub.reachable():
        return facts
    from huggingface_hub import HfApi

    try:
        card = HfApi().model_info(source.model, revision=source.revision, timeout=_SECONDS).card_data
    except Exception:  # what a network can do to a request is no closed list
        return facts
    return facts | _license(card)


def _stated(text: str) -> dict[str, str]:
    """The licence in the head of a card; none where the head is not YAML."""
    from huggingface_hub import ModelCard

    try:
        return _license(ModelCard(text, ignore_metadata_errors=True).data)
    except Exception:  # people write cards by hand, and the parser raises what YAML does
        return {}


def _license(card: Any) -> dict[str, str]:
    """What the metadata of a card state, of which None has none."""
    given = getattr(card, "license", None)
    if given == "other":
        given = getattr(card, "license_name", None) or given
    if isinstance(given, list):
        given = ", ".join(map(str, given))
    return {"license": _line(given)} if isinstance(given, str) and given.strip() else {}


def _line(text: str) -> str:
    """One short line: a package may give its licence's whole text."""
    return " ".join(text.split())[:_SHOWN]
