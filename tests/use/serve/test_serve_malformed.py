"""A few hundred malformed requests; `make hostile` sends twenty thousand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.use.serve.malformed import by_bytes, by_description, is_well, settings_of
from tests.use.serve.servers import Running, load_registry, running


@pytest.fixture(scope="module")
def server(adapter_folders: dict[str, Path]) -> Iterator[Running]:
    """A server of its own: requests may add and remove adapters."""
    with running(load_registry(adapter_folders), settings_of(next(iter(adapter_folders.values())).parent)) as made:
        yield made


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_requests_made_of_the_description_get_answers_that_it_names(server: Running) -> None:
    sent: Counter[str] = Counter()
    assert by_description(server, 50, first=0, sent=sent) == []
    assert sent["negative"] == 50
    assert sent["positive"] > 50
    assert is_well(server) is None


def test_changed_bytes_get_no_500_and_no_traceback(server: Running) -> None:
    assert by_bytes(server, 300, first=0) == []
    assert is_well(server) is None
