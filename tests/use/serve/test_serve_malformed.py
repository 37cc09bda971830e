"""A few hundred malformed requests; `make hostile` sends twenty thousand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from loraloom.use.serve.protocol import PatientProtocol
from tests.use.serve.malformed import by_bytes, by_description, faults_logged, is_well, settings_of
from tests.use.serve.servers import Running, load_registry, running


@pytest.fixture(scope="module")
def server(adapter_folders: dict[str, Path]) -> Iterator[Running]:
    """A server of its own: requests may add and remove adapters."""
    with running(load_registry(adapter_folders), settings_of(next(iter(adapter_folders.values())).parent)) as made:
        yield made


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_requests_made_of_the_description_get_answers_that_it_names(server: Running) -> None:
    sent: Counter[str] = Counter()
    with faults_logged() as faults:
        assert by_description(server, 30, first=0, sent=sent) == []
        assert sent["negative"] == 30
        assert sent["positive"] > 30
        assert is_well(server) is None
    assert faults == []


def test_changed_bytes_get_no_500_and_no_traceback(server: Running) -> None:
    with faults_logged() as faults:
        assert by_bytes(server, 150, first=0) == []
        assert is_well(server) is None
    assert faults == []


def test_a_fault_that_leaves_a_request_without_an_answer_is_found(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = PatientProtocol.data_received

    def broken(protocol: PatientProtocol, data: bytes) -> None:
        if data.startswith(b"PUT "):
            raise ValueError("no such verb")
        received(protocol, data)

    monkeypatch.setattr(PatientProtocol, "data_received", broken)
    with faults_logged() as faults:
        assert by_bytes(server, 20, first=0) == []
        assert is_well(server) is None
    assert faults
    assert all("Fatal error" in fault and "no such verb" in fault for fault in faults)
