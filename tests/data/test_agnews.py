"""AG News itself, where it is at hand ($LORALOOM_AGNEWS)."""

from __future__ import annotations

import pytest

from loraloom.data import TextData
from study.agnews_files import agnews_folder
from tests.data.files import load

FOLDER = agnews_folder()

pytestmark = pytest.mark.skipif(
    not (FOLDER / "train.csv").is_file(), reason=f"AG News is not at {FOLDER}: set LORALOOM_AGNEWS"
)


@pytest.fixture(scope="module")
def data() -> TextData:
    return load(train_file=str(FOLDER / "train.csv"), test_file=str(FOLDER / "test.csv"))


def test_official_rows_load_without_a_leak_into_test(data: TextData) -> None:
    assert data.labels == ("Business", "Sci/Tech", "Sports", "World")
    assert len(data.test) == 7600
    assert [finding.sentence for finding in data.findings if "of test" in finding.sentence] == []
    near = sum(finding.count for finding in data.findings if finding.kind == "near_copy")
    assert len(data.train) + len(data.validation) + near == 76969


def test_the_repeated_text_of_the_official_test_set_is_found(data: TextData) -> None:
    assert [finding.count for finding in data.findings if finding.kind == "duplicate"] == [1]
