"""What a server takes: every number that keeps one client from harming the others, and the server from growing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Defaults suit a server with 2 cores and a base-size encoder."""

    body_bytes: int = MIB
    """Of one request, counted as they come."""
    bodies_bytes: int = 64 * MIB
    """Of all bodies that are being read at one time."""
    texts: int = 256
    """Of one request."""
    characters: int = 50_000
    """Of one text; it is cut at the adapter's `max_length` tokens anyway."""
    waiting_texts: int = 1024
    """Of all requests: beyond it they are answered 503 at once."""
    seconds: float = 30.0
    """From a request's arrival to its answer; its texts are then dropped where they wait."""
    receive_seconds: float = 10.0
    """Between two pieces of a body, for the whole head of a request, and for a client to read what it is answered."""
    connections: int = 1024
    drain_seconds: float = 30.0
    """That requests under way have after SIGTERM."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask for what; keys and tokens are compared in constant time."""

    keys: tuple[str, ...] = ()
    """API keys; empty: everybody who reaches the port may ask."""
    admin_token: str | None = None
    adapters_dir: Path | None = None
    """Adapters are added from below this folder, and nowhere else; None: none are added."""
    hosts: tuple[str, ...] = ()
    """Names by which requests may call this server; empty: any."""
    origins: tuple[str, ...] = ()
    """Origins of other pages that may ask (CORS); none unless given."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a server is told beside its adapters."""

    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)
    log_texts: bool = False
