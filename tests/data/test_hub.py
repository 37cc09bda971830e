"""Data sets of the hub, without a network: what is asked of `datasets`, and what is said where it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import datasets.load
import huggingface_hub
import pytest
from datasets.arrow_dataset import Dataset
from datasets.builder import BuilderConfig, GeneratorBasedBuilder
from huggingface_hub.errors import RepositoryNotFoundError

from loraloom.data import load_data
from loraloom.recipe import Data
from tests.data.files import load, refusal, rows, write_csv
from tests.pages import text_of

CLASS_LABEL = datasets.ClassLabel(names=["World", "Sports"])


def _dataset(count: int, start: int = 0, label: int | None = None) -> Dataset:
    texts = [text for text, _ in rows(count, start=start)]
    labels = [number % 2 if label is None else label for number in range(count)]
    dataset = Dataset.from_dict({"text": texts, "label": labels})
    labelled: Dataset = dataset.cast_column("label", CLASS_LABEL)
    return labelled


class Hub:
    """A hub that has one commit and these splits, and remembers what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, splits: dict[str, Any], sha: str | None = "abc123") -> None:
        self.splits, self.sha, self.asked = splits, sha, list[Any]()
        self.card_data = huggingface_hub.DatasetCardData(license="mit")
        monkeypatch.setattr("loraloom.hub.reachable", lambda: True)
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(datasets.load, "load_dataset", self.load_dataset)

    def dataset_info(self, path: str, timeout: float) -> Any:
        if self.sha is None:
            raise ConnectionError("no network")
        return self

    def load_dataset(self, path: str, name: str | None, *, revision: str | None) -> Any:
        self.asked.append((path, name, revision, datasets.config.HF_HUB_OFFLINE))
        if not self.splits:
            raise ConnectionError("Couldn't reach the hub\nat all")
        return dict(self.splits)


def test_a_commit_that_is_named_is_taken_though_there_is_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, {"train": _dataset(60)}, sha="newer")
    data = load_data(Data(dataset="news"), seed=1, revision="abc123")
    assert data.revision == "abc123"
    assert hub.asked == [("news", None, "abc123", False)]


def test_without_a_network_a_commit_that_is_named_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache gives what it has, which may be of another commit."""
    hub = Hub(monkeypatch, {"train": _dataset(60)}, sha=None)
    assert load_data(Data(dataset="news"), seed=1, revision="abc123").revision is None
    assert hub.asked == [("news", None, None, True)]


def test_a_split_is_without_labels_by_the_column_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def part(count: int, start: int, topic: str | None, stars: int | None = None) -> Dataset:
        texts = [text for text, _ in rows(count, start=start)]
        labels = [number % 2 for number in range(count)]
        given = [number % 3 if stars is None else stars for number in range(count)]
        return Dataset.from_dict({"text": texts, "label": labels, "topic": [topic] * count, "stars": given})

    Hub(monkeypatch, {"train": part(60, 0, "a"), "test": part(10, 100, None, -1)})
    for column, held in (("label", 10), ("stars", 6)):
        data = load(dataset="news", text_column="text", label_column=column)
        assert len(data.test) == held
        assert ("has no labels" in str(data.findings)) == (column == "stars")


def test_a_data_set_is_pinned_and_its_own_splits_and_names_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, {"train": _dataset(60), "test": _dataset(10, start=100)})
    data = load(dataset="owner/news:plain")
    assert hub.asked == [("owner/news", "plain", "abc123", False)]
    assert data.revision == "abc123"
    assert data.card["license"] == "mit"
    assert data.labels == ("World", "Sports")
    assert data.label_codes == ("0", "1")
    assert (len(data.train), len(data.validation), len(data.test)) == (54, 6, 10)


def test_a_file_comes_before_the_split_of_the_data_set_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Hub(monkeypatch, {"train": _dataset(60), "test": _dataset(10, start=100)})
    path = write_csv(tmp_path / "test.csv", rows(4, ("World", "Sports"), start=200))
    data = load(dataset="news", test_file=path)
    assert len(data.test) == 4
    assert data.findings[0].sentence == "news (test) is not used: other rows are given for it."


def test_without_a_network_the_cache_alone_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, {"train": _dataset(60)}, sha=None)
    assert load(dataset="news").revision is None
    assert hub.asked == [("news", None, None, True)]
    assert not datasets.config.HF_HUB_OFFLINE


def test_a_hub_that_is_out_of_reach_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, {"train": _dataset(60)})
    monkeypatch.setattr("loraloom.hub.reachable", lambda: False)
    assert load(dataset="news").revision is None
    assert hub.asked == [("news", None, None, True)]


def test_a_test_split_without_labels_is_not_used_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, {"train": _dataset(60), "test": _dataset(10, start=100, label=-1)})
    data = load(dataset="news")
    assert "split_unused" in {finding.kind for finding in data.findings}
    assert len(data.test) == 6
    assert "Splits of other names, or without labels, are not used, and it names them." in text_of("docs/data.md")


@pytest.mark.parametrize("name", ["dev", "valid", "val"])
def test_a_lone_other_name_of_validation_is_taken_as_such_and_said(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    Hub(monkeypatch, {"train": _dataset(60), name: _dataset(10, start=100)})
    data = load(dataset="news")
    assert len(data.validation) == 10
    assert (data.findings[0].kind, data.findings[0].count) == ("split_guessed", 10)
    assert data.findings[0].sentence == f"{name} of news is taken as validation: there is no split of that name."


@pytest.mark.parametrize(
    "names",
    [["dev", "valid"], ["validation", "dev"], ["validation_matched", "validation_mismatched"], ["unsupervised"]],
)
def test_splits_that_are_not_used_are_named(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    others = {name: _dataset(10, start=100 * number) for number, name in enumerate(names, start=1)}
    Hub(monkeypatch, {"train": _dataset(60), **others})
    data = load(dataset="news")
    told = [finding.sentence for finding in data.findings if finding.kind == "split_unused"]
    ending = "of news is not used: its name is none of train, validation and test."
    assert told == [f"{name} {ending}" for name in names if name != "validation"]
    assert len(data.validation) == (10 if "validation" in names else 6)


def test_a_split_without_labels_is_called_as_the_data_set_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, {"train": _dataset(60), "dev": _dataset(10, start=100, label=-1)})
    data = load(dataset="news")
    assert "dev of news has no labels: not used." in {finding.sentence for finding in data.findings}
    assert len(data.validation) == 6


def test_labels_that_are_kept_secret_may_be_plain_numbers_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for secret in (-1, None):
        texts = [text for text, _ in rows(10, start=100)]
        test = Dataset.from_dict({"text": texts, "label": [secret] * 10})
        Hub(monkeypatch, {"train": _dataset(60), "test": test})
        assert "split_unused" in {finding.kind for finding in load(dataset="news").findings}


def test_without_network_and_cache_another_source_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, {}, sha=None)
    said = "data.dataset: 'owner/news' could not be had (no network?); give data.train_file, or dataset: demo"
    assert refusal(dataset="owner/news") == said


def test_a_data_set_that_fails_to_load_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, {})
    assert "'owner/news' could not be loaded (Couldn't reach the hub)" in refusal(dataset="owner/news")


def test_of_a_data_set_of_several_configurations_their_names_are_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configurations = [BuilderConfig(name="cola"), BuilderConfig(name="sst2")]
    several: Any = type("Several", (GeneratorBasedBuilder,), {"BUILDER_CONFIGS": configurations})
    Hub(monkeypatch, {})
    monkeypatch.setattr(datasets.load, "load_dataset", lambda *_, **__: several(cache_dir=str(tmp_path)))
    said = refusal(dataset="glue")
    assert said.startswith("data.dataset: 'glue' has several configurations; write glue:NAME. ")
    assert said.endswith("['cola', 'sst2']")


def test_a_data_set_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, {"train": _dataset(60)})

    def refuse(path: str, timeout: float) -> Any:
        raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)

    monkeypatch.setattr(hub, "dataset_info", refuse)
    assert "there is no data set 'owner/none' on the hub" in refusal(dataset="owner/none")


def test_a_data_set_without_training_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, {"test": _dataset(60)})
    assert "has no split 'train'; its splits are 'test'" in refusal(dataset="owner/news")


@pytest.mark.parametrize("name", ["../news", "a/b/c", "https://hub/x", "-x", "a b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    assert "is no name on the hub" in refusal(dataset=name)


@pytest.mark.parametrize("name", ["csv", "text", "json", "webdataset"])
def test_kinds_of_files_are_no_data_sets(name: str) -> None:
    assert "is a kind of file" in refusal(dataset=name)


def test_a_folder_here_is_no_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "news").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "give it as data.train_file" in refusal(dataset="news")
