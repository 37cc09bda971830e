"""Whether the hub can be reached, asked as often as that costs little."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from loraloom import hub


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock, and a name server that takes `seconds` for its answer; `asked` are the times at which it was."""
    server = SimpleNamespace(now=0.0, seconds=0.0, answers=True, asked=[], error=OSError)

    def look_up(*_: object) -> None:
        server.asked.append(server.now)
        server.now += server.seconds
        if not server.answers:
            raise server.error

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    monkeypatch.setattr(hub, "_LOOKED_UP", {})
    monkeypatch.setattr(hub, "time", SimpleNamespace(monotonic=lambda: server.now))
    monkeypatch.setattr(hub, "socket", SimpleNamespace(getaddrinfo=look_up))
    return server


def test_a_name_server_that_does_not_answer_is_asked_again_once_that_costs_little(look_ups: SimpleNamespace) -> None:
    look_ups.seconds, look_ups.answers = 10.0, False
    for second in range(10, 210, 5):
        assert not hub.reachable()
        look_ups.now = float(second)
    assert look_ups.asked == [0.0]
    look_ups.now, look_ups.answers = 210.0, True
    assert hub.reachable()
    assert look_ups.asked == [0.0, 210.0]


@pytest.mark.parametrize("endpoint", ["hf-mirror.com", "https://"])
def test_an_address_without_a_host_leads_nowhere(
    look_ups: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    assert not hub.reachable()
    assert look_ups.asked == []


def test_what_is_no_name_of_a_host_leads_nowhere(look_ups: SimpleNamespace) -> None:
    """As `https://a..b`, of which Python can't make what a name server is asked."""
    look_ups.answers, look_ups.error = False, UnicodeError
    assert not hub.reachable()


def test_a_network_that_comes_back_is_seen_at_once_where_asking_takes_a_moment(look_ups: SimpleNamespace) -> None:
    look_ups.seconds, look_ups.answers = 0.01, False
    assert not hub.reachable()
    look_ups.now, look_ups.answers = 1.0, True
    assert hub.reachable()
