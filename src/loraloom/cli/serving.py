"""`loraloom serve`: its options, and what they mean for the server."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from loraloom.cli.completion import complete_served
from loraloom.cli.options import ClassShares, Port
from loraloom.cli.running import TerminatedError, say_line
from loraloom.errors import MissingExtraError, OptionError, is_installed, without_path
from loraloom.machine import with_home
from loraloom.use.serve.limits import Access, Limits, Settings
from loraloom.wording import plural

LEAST_SECRET = 16
"""Characters of a key or a token."""
_NAME = r"(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])"
_HOST, _SCHEME, _PLACE = re.compile(_NAME), re.compile(r"[a-z][a-z0-9+.-]*"), re.compile(rf"{_NAME}(?::\d+)?")
_OWN_PORT = {"http": ":80", "https": ":443"}
"""Which browsers leave out."""
_DEFAULT = Limits()


def serve(
    adapters: Annotated[
        list[str],
        typer.Argument(
            metavar="ADAPTER",
            help="Trials' folders, such as RUN/best, or owner/name on the hub; NAME=ADAPTER names one.",
            autocompletion=complete_served,
        ),
    ],
    port: Port = 8000,
    host: Annotated[str, typer.Option("--host", help="The address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    class_shares: ClassShares = [],  # noqa: B006
    api_keys_file: Annotated[
        Path | None, typer.Option("--api_keys_file", help="API keys, one a line; requests then need one.")
    ] = None,
    adapters_dir: Annotated[
        str | None,
        typer.Option(
            "--adapters_dir",
            metavar="FOLDER",
            help="Adapters may be added from below this folder; needs --admin_token_file.",
        ),
    ] = None,
    admin_token_file: Annotated[
        Path | None, typer.Option("--admin_token_file", help="A file with the token for adding and removing adapters.")
    ] = None,
    allowed_host: Annotated[
        list[str],
        typer.Option("--allowed_host", metavar="HOST", help="Another name that the server answers to."),
    ] = [],  # noqa: B006
    cors_origin: Annotated[
        list[str],
        typer.Option(
            "--cors_origin", metavar="ORIGIN", help="Another site whose pages may send requests, such as https://a.org."
        ),
    ] = [],  # noqa: B006
    max_body_bytes: Annotated[
        int, typer.Option("--max_body_bytes", min=1, help="Most bytes in a request.")
    ] = _DEFAULT.body_bytes,
    max_texts: Annotated[int, typer.Option("--max_texts", min=1, help="Most texts in a request.")] = _DEFAULT.texts,
    max_characters: Annotated[
        int, typer.Option("--max_characters", min=1, help="Most characters in a text.")
    ] = _DEFAULT.characters,
    max_waiting: Annotated[
        int, typer.Option("--max_waiting", min=1, help="Most texts that wait, of all requests; beyond that, 503.")
    ] = _DEFAULT.waiting_texts,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.001, help="Seconds that a request may take.")
    ] = _DEFAULT.seconds,
    log_texts: Annotated[bool, typer.Option("--log_texts", help="Write the texts to the log as well.")] = False,
) -> None:
    """Serve adapters over HTTP: one backbone in memory for all of its adapters, with a demo page at /.

    POST /v1/classify {"adapter": …, "texts": […]}; clients of the hub send to /models/NAME. With --class_shares
    all adapters answer as predict does with them. At SIGTERM and Ctrl-C it answers what is under way, and exits 0.
    Needs the extra 'serve'.

    Example: loraloom serve runs/demo/best news=runs/news/best --port 8000
    """
    for package in ("fastapi", "uvicorn", "prometheus_client"):
        if not is_installed(package):
            raise MissingExtraError("serve", "serve")
    access = _access(host, allowed_host, cors_origin, api_keys_file, adapters_dir, admin_token_file)
    limits = _limits(max_body_bytes, max_texts, max_characters, max_waiting, timeout)
    _serve(adapters, class_shares, host, port, Settings(limits, access, log_texts))


def _serve(adapters: Sequence[str], class_shares: Sequence[str], host: str, port: int, settings: Settings) -> None:
    """Loads the adapters, and answers until SIGTERM or Ctrl-C."""
    count = plural(len(adapters), "adapter")
    typer.echo(f"loading {count}", err=True)  # to a log as well, which is else empty for the seconds that it takes
    from loraloom.use.adapter import adapter_folder
    from loraloom.use.origin import earlier_winner
    from loraloom.use.serve import server
    from loraloom.use.serve.registry import Registry, named_adapters

    named = named_adapters(adapters)
    with (
        contextlib.closing(server.listen(host, port)) as listening,
        contextlib.suppress(KeyboardInterrupt, TerminatedError),
    ):
        registry = Registry(class_shares or None)
        for name, given in named:
            folder = adapter_folder(given)
            served = registry.add(name, folder).classifier
            say_line(f"{name}: {given}" + (f", for class shares: {served.shift}" if served.shift else ""), err=True)
            if said := earlier_winner(folder, served.record):
                say_line(said, err=True)
        if not _is_local(host) and not settings.access.keys:
            typer.echo("whoever reaches this address may send requests; with --api_keys_file they need a key", err=True)

        def announce(place: str) -> None:
            typer.echo(f"{count} at {place}; Ctrl-C ends it")
            first = named[0][0] if len(named) > 1 else None
            typer.echo(f"try: {_request(place, first, settings)}", err=True)

        server.serve(registry, settings, listening, announce)


def _request(place: str, adapter: str | None, settings: Settings) -> str:
    """A request to the server at `place`, for a shell; `adapter` is named where it must be.

    So is a name that the server answers to, where its address is none, as 0.0.0.0 is beside --allowed_host.
    """
    from loraloom.hosts import without_port

    access, text = settings.access, "a text of yours"[: settings.limits.characters]
    body = {**({"adapter": adapter} if adapter else {}), "texts": [text]}
    answers = not access.hosts or without_port(place.split("/")[2]) in access.hosts
    named = [] if answers else ["-H", f"host: {access.hosts[-1]}"]
    key = ["-H", "authorization: Bearer KEY"] if access.keys else []
    sent = ["-H", "content-type: application/json", *named, *key, "-d", json.dumps(body, ensure_ascii=False)]
    return shlex.join(["curl", "-s", f"{place}v1/classify", *sent])


def _limits(body_bytes: int, texts: int, characters: int, waiting_texts: int, seconds: float) -> Limits:
    if not math.isfinite(seconds):
        raise OptionError(f"--timeout {seconds}: must be a number of seconds")
    return Limits(
        body_bytes=body_bytes,
        bodies_bytes=max(_DEFAULT.bodies_bytes, body_bytes),
        texts=texts,
        characters=characters,
        waiting_texts=waiting_texts,
        seconds=seconds,
    )


def _access(
    host: str,
    allowed_hosts: Sequence[str],
    cors_origins: Sequence[str],
    api_keys_file: Path | None,
    adapters_dir: str | None,
    admin_token_file: Path | None,
) -> Access:
    """Who may send requests, under which names and from which pages."""
    if (adapters_dir is None) != (admin_token_file is None):
        raise OptionError("--adapters_dir and --admin_token_file: give both, or neither")
    below = None if adapters_dir is None else with_home(adapters_dir)
    if below is not None and not below.is_dir():
        raise OptionError(f"--adapters_dir: {adapters_dir!r} is not a folder")
    keys = () if api_keys_file is None else _secrets(api_keys_file, "--api_keys_file")
    tokens = () if admin_token_file is None else _secrets(admin_token_file, "--admin_token_file")
    if len(tokens) > 1:
        raise OptionError(f"--admin_token_file: {admin_token_file} holds more than one line")
    named, local = tuple(map(_host, allowed_hosts)), _is_local(host)
    own = "127.0.0.1", "localhost", "[::1]", *((_bracketed(host.lower()),) if local else ())
    hosts = (*own, *named) if local or named else ()  # none: any name will do
    return Access(keys, tokens[0] if tokens else None, below, hosts, tuple(map(_origin, cors_origins)))


def _secrets(path: Path, option: str) -> tuple[str, ...]:
    """The lines of a file of keys."""
    try:
        lines = tuple(filter(None, map(str.strip, with_home(path).read_text(encoding="utf-8-sig").splitlines())))
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{option}: {path} can't be read: {without_path(error)}") from None
    if not lines:
        raise OptionError(f"{option}: {path} is empty")
    if min(map(len, lines)) < LEAST_SECRET or not all(line.isascii() and line.isprintable() for line in lines):
        raise OptionError(f"{option}: {path}: a key has {LEAST_SECRET} printable ASCII characters or more")
    return lines


def _host(written: str) -> str:
    """A name of --allowed_host as it is compared with requests' names: in lower case, without a port.

    Raises:
        OptionError: no request can name the server so.
    """
    from loraloom.hosts import without_port

    host = without_port(_bracketed(written))
    if _HOST.fullmatch(host) is None:
        raise OptionError(f"--allowed_host: {written!r} is no name of a host; write it as example.com")
    return host


def _origin(written: str) -> str:
    """An origin of --cors_origin as browsers send it: in lower case, and without the port that its scheme has anyway.

    Raises:
        OptionError: no browser sends such an origin.
    """
    if written in ("*", "null"):  # every page; pages of files
        return written
    scheme, _, place = written.lower().partition("://")
    if _SCHEME.fullmatch(scheme) is None or _PLACE.fullmatch(place) is None:
        raise OptionError(
            f"--cors_origin: {written!r} is no origin; write it as https://a.org or http://a.org:8080, without a path"
        )
    return f"{scheme}://{place.removesuffix(_OWN_PORT.get(scheme, ''))}"


def _bracketed(host: str) -> str:
    """An address of IPv6 as requests write it: in brackets."""
    try:
        return f"[{ipaddress.IPv6Address(host)}]"
    except ValueError:
        return host


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
