"""What `loraloom serve` makes of its options: names that it answers to, origins, keys, limits.

The image's health check asks 127.0.0.1, whatever names are given.
"""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loraloom.cli.commands import app
from loraloom.use.serve.limits import MIB, Limits, Settings

LOCAL = {"127.0.0.1", "localhost", "[::1]"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], LOCAL),
        (["--allowed_host", "A.org"], LOCAL | {"a.org"}),
        (["--allowed_host", "example.com:8443"], LOCAL | {"example.com"}),
        (
            ["--allowed_host", "2001:DB8::1", "--allowed_host", "[2001:db8::2]:80"],
            LOCAL | {"[2001:db8::1]", "[2001:db8::2]"},
        ),
        (["--host", "::1"], LOCAL),
        (["--host", "192.0.2.1"], set()),  # any
        (
            ["--host", "192.0.2.1", "--allowed_host", "A.org"],
            LOCAL | {"a.org"},
        ),
    ],
)
def test_local_names_stay_allowed_beside_those_given(
    options: list[str], names: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, output = served(options, monkeypatch)
    assert settings is not None, output
    assert set(settings.access.hosts) == names


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://a.org", "https://a.org"),
        ("HTTPS://A.org:443", "https://a.org"),
        ("http://a.org:8080", "http://a.org:8080"),
        ("http://[::1]:80", "http://[::1]"),
        ("*", "*"),
        ("null", "null"),
    ],
)
def test_an_origin_is_compared_as_browsers_send_it(written: str, sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, output = served(["--cors_origin", written], monkeypatch)
    assert settings is not None, output
    assert settings.access.origins == (sent,)


@pytest.mark.parametrize(
    "options",
    [
        ["--cors_origin", "https://a.org/"],
        ["--cors_origin", "https://a.org/page"],
        ["--cors_origin", "a.org"],
        ["--cors_origin", "https://"],
        ["--allowed_host", "https://a.org"],
        ["--allowed_host", "*.a.org"],
        ["--allowed_host", " "],
    ],
    ids=" ".join,
)
def test_what_no_request_can_say_is_refused(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings, output = served(options, monkeypatch)
    assert settings is None
    assert f"{options[0]}: {options[1]!r} is no " in output


@pytest.mark.parametrize(
    ("options", "place", "called"),
    [
        ([], "http://127.0.0.1:8000/", []),
        (["--host", "::1", "--allowed_host", "a.org"], "http://[::1]:8000/", []),
        (["--host", "192.0.2.1"], "http://192.0.2.1:8000/", []),  # it answers to any name
        (["--host", "192.0.2.1", "--allowed_host", "192.0.2.1"], "http://192.0.2.1:8000/", []),
        (["--host", "192.0.2.1", "--allowed_host", "A.org"], "http://192.0.2.1:8000/", ["host: a.org"]),
        (["--host", "0", "--allowed_host", "a.org"], "http://0.0.0.0:8000/", ["host: a.org"]),
    ],
)
def test_the_request_to_copy_calls_the_server_by_a_name_that_it_answers_to(
    options: list[str], place: str, called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, output = served(options, monkeypatch, place)
    (line,) = [line for line in output.splitlines() if line.startswith("try: ")]
    words = shlex.split(line)
    assert words[1:4] == ["curl", "-s", f"{place}v1/classify"]
    assert [word for word in words if word.startswith("host: ")] == called


def test_the_request_to_copy_has_a_text_that_is_not_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    _, output = served(["--max_characters", "4"], monkeypatch)
    (line,) = [line for line in output.splitlines() if line.startswith("try: ")]
    assert json.loads(shlex.split(line)[-1])["texts"] == ["a te"]


def test_keys_and_a_folder_of_adapters_may_be_named_from_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "adapters").mkdir()
    for name in ("keys", "token"):
        (tmp_path / name).write_text(f"{name * 4}\n")
    options = ["--adapters_dir=~/adapters", "--admin_token_file=~/token", "--api_keys_file=~/keys"]
    settings, output = served(options, monkeypatch)  # as a shell leaves them
    assert settings is not None, output
    access = settings.access
    assert (access.adapters_dir, access.admin_token, access.keys) == (tmp_path / "adapters", "token" * 4, ("keys" * 4,))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--adapters_dir"], "--adapters_dir and --admin_token_file: give both, or neither"),
        (["--admin_token_file"], "--adapters_dir and --admin_token_file: give both, or neither"),
        (["--admin_token_file", "--adapters_dir"], "is not a folder"),
    ],
    ids=" ".join,
)
def test_adapters_are_added_by_who_has_a_token_from_a_folder_that_is_there(
    given: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "token").write_text(16 * "t")
    settings, output = served([*chain.from_iterable((option, str(file)) for option in given)], monkeypatch)
    assert settings is None
    assert said in output


def test_each_limit_is_set_by_the_option_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"--max_body_bytes": 100 * MIB, "--max_texts": 2, "--max_characters": 3, "--max_waiting": 4}
    given = {**sizes, "--timeout": 5.5}
    settings, output = served(["--log_texts", *map(str, chain.from_iterable(given.items()))], monkeypatch)
    assert settings is not None, output
    limits = settings.limits
    bounds = limits.body_bytes, limits.texts, limits.characters, limits.waiting_texts, limits.seconds
    assert bounds == tuple(given.values())
    assert limits.bodies_bytes == limits.body_bytes  # else none so large would be taken
    assert settings.log_texts
    default, _ = served([], monkeypatch)
    assert default is not None
    assert (default.limits, default.log_texts) == (Limits(), False)


@pytest.mark.parametrize(
    ("option", "held", "why"),
    [
        ("--api_keys_file", "\n \n", "is empty"),
        ("--api_keys_file", f"{16 * 'k'}\n{15 * 'k'}\n", "a key has 16 printable ASCII characters or more"),
        ("--api_keys_file", 16 * "é", "a key has 16 printable ASCII characters or more"),
        ("--admin_token_file", f"{16 * 't'}\n{16 * 'u'}\n", "holds more than one line"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused(
    option: str, held: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secrets"
    file.write_text(held, encoding="utf-8")
    beside = ["--adapters_dir", str(tmp_path)] if option == "--admin_token_file" else []
    settings, output = served([option, str(file), *beside], monkeypatch)
    assert settings is None
    assert f"{option}: {file}" in output
    assert why in output


def test_keys_are_read_as_an_editor_of_windows_leaves_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a mark of the byte order, which nobody sees, and carriage returns."""
    (tmp_path / "keys").write_bytes(f"\ufeff{16 * 'k'}\r\n{16 * 'l'}\r\n".encode())
    settings, output = served(["--api_keys_file", str(tmp_path / "keys")], monkeypatch)
    assert settings is not None, output
    assert settings.access.keys == (16 * "k", 16 * "l")


def test_that_whoever_reaches_a_server_may_ask_it_is_said_where_others_can_and_no_key_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text(f"  {16 * 'k'}  \n\n")
    keys = ["--api_keys_file", str(tmp_path / "keys")]
    for options, said in (([], False), (["--host", "0.0.0.0"], True), (["--host", "0.0.0.0", *keys], False)):  # noqa: S104
        settings, output = served(options, monkeypatch)
        assert ("whoever reaches this address may send requests" in output) is said
        assert settings is not None, output
        assert settings.access.keys == ((16 * "k",) if keys[1] in options else ())


def served(
    options: list[str], monkeypatch: pytest.MonkeyPatch, place: str = "http://127.0.0.1:8000/"
) -> tuple[Settings | None, str]:
    """What the server is told that `loraloom serve` starts at `place` with these options, or None; what it says."""
    found: list[Settings] = []

    def serve(registry: Any, settings: Any, listening: Any, say: Callable[[str], None]) -> None:
        found.append(settings)
        say(place)

    monkeypatch.setattr("loraloom.use.serve.registry.named_adapters", lambda adapters: [])
    monkeypatch.setattr("loraloom.use.serve.server.listen", lambda *_: io.BytesIO())
    monkeypatch.setattr("loraloom.use.serve.server.serve", serve)
    result = CliRunner().invoke(app, ["serve", "none", *options])
    return (found[0] if found else None), f"{result.output}{result.exception or ''}"
