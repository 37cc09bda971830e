"""What `data` and `backbone` both ask: whether the hub can be reached, where the demo's packages are, stated licences.

Whether it can be reached is told in a moment: the hub's client takes half a minute of retries to say no. Where a name
server does not answer it takes some seconds, and it is not asked again soon.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loraloom.errors import MissingExtraError

_SHOWN = 60
_KEPT = 20
"""An answer is taken for so many times as long as it took: look-ups take a twentieth of the time at most."""
_LOOKED_UP: dict[str, tuple[float, bool]] = {}
"""By host until when an answer is taken, and the answer."""


def reachable() -> bool:
    """False where the user asked to stay offline, or the hub's name can't be resolved and no proxy is set."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    host = urlsplit(constants.ENDPOINT).hostname
    return host is not None and _resolves(host)  # HF_ENDPOINT without https:// has none, and none is this machine


def _resolves(host: str) -> bool:
    start = time.monotonic()
    until, found = _LOOKED_UP.get(host, (start, False))
    if start < until:
        return found
    try:
        socket.getaddrinfo(host, 443)
    except (OSError, UnicodeError):  # the latter of what is no name
        found = False
    else:
        found = True
    end = time.monotonic()
    _LOOKED_UP[host] = end + _KEPT * (end - start), found
    return found


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
