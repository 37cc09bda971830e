"""What `data` and `backbone` both ask: whether the hub can be reached, where the demo's packages are, stated licences.

Whether it can be reached is told in a moment: the hub's client takes half a minute of retries to say no.
"""

from __future__ import annotations

import importlib.util
import os
import socket
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loraloom.errors import MissingExtraError

_SHOWN = 60


def reachable() -> bool:
    """False where the user asked to stay offline, or the hub's name can't be resolved and no proxy is set."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def stated_license(card: Any) -> dict[str, str]:
    """`license`, where the metadata of a card (None has none) state one."""
    given = getattr(card, "license", None)
    if given == "other":
        given = getattr(card, "license_name", None) or given
    if isinstance(given, list):
        given = ", ".join(map(str, given))
    return {"license": _line(given)} if isinstance(given, str) and given.strip() else {}


def package_folder(package: str, what: str) -> Path:
    """The folder of a package of the extra `demo`, found without importing it: its import runs code that is not needed.

    Raises:
        MissingExtraError: it is not installed, for `what`.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(what, "demo")
    return Path(spec.submodule_search_locations[0])


def package_facts(package: str) -> dict[str, str]:
    """The name and version of an installed package, and `package_license`, where it states one."""
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return {}
    stated = next(filter(None, (about[name] for name in ("License-Expression", "License") if name in about)), "")
    facts = {"package": f"{about['Name']} {about['Version']}"}
    return facts | ({"package_license": _line(stated)} if stated else {})


def _line(text: str) -> str:
    """One short line: a package may give its licence's whole text."""
    return " ".join(text.split())[:_SHOWN]
