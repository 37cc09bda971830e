"""The licence and the card of a backbone, as its folder, its package or the hub has them; what is not stated stays so.

A card is the README.md beside the weights, whose head is YAML (huggingface_hub's ModelCard). Of the hub it is asked
once, with a time limit, and nothing depends on the answer.
"""

from __future__ import annotations

from pathlib import Path

from loraloom import hub
from loraloom.backbone.sources import DEMO_PACKAGE, Source

DEMO_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""What the demo's package carries, by its name on the hub."""
_SECONDS = 10


def card_facts(source: Source) -> dict[str, str]:
    """Plain facts, where known: `license`, `card` (its place), `name` on the hub, `package`, `package_license`."""
    facts = _of_folder(Path(source.location)) if source.local else _of_hub(source)
    if source.model == "demo":
        found = {"card": "README.md in the package"} if "card" in facts else {}
        facts |= {"name": DEMO_MODEL, **hub.package_facts(DEMO_PACKAGE), **found}
    return facts


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
        return _of_folder(Path(cached).parent) | facts
    if not hub.reachable():
        return facts
    from huggingface_hub import HfApi

    try:
        card = HfApi().model_info(source.model, revision=source.revision, timeout=_SECONDS).card_data
    except Exception:  # what a network can do to a request is no closed list
        return facts
    return facts | hub.stated_license(card)


def _stated(text: str) -> dict[str, str]:
    """The licence in the head of a card; none where the head is not YAML."""
    from huggingface_hub import ModelCard

    try:
        return hub.stated_license(ModelCard(text, ignore_metadata_errors=True).data)
    except Exception:  # people write cards by hand, and the parser raises what YAML does
        return {}
