"""The model card of best/ and of exports: the hub's metadata with the evaluation, then what one must know to use it.

It is a function of the recipe and the records alone, so that a run that was broken off and one that was not have the
same: no times, no places on this machine. The metadata are huggingface_hub's own classes (0.2 s to import, no torch).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from loraloom.report.answer import answer, peft_code
from loraloom.report.cautions import cautions
from loraloom.report.leaderboard import leaderboard
from loraloom.report.making.sources import NOT_STATED, model_facts, source_card, source_cards
from loraloom.report.markdown.text import bullets, code, fenced, table, text
from loraloom.report.reading import Best, read_run
from loraloom.report.rounding import rounded, rounded_span
from loraloom.report.test_rows import shared_rows
from loraloom.report.wording import clean, count, value
from loraloom.study.commands import known_commands
from loraloom.study.leaderboard import metric_name
from loraloom.study.provenance import as_mapping, data_stated
from loraloom.study.record import Score, TrialRecord
from loraloom.wording import plural

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")
SHOWN = ("backbone.revision", "backbone.dropout", "data.max_length", "data.text_column", "data.label_column")
"""Fields of the configuration that are shown beside all of lora, head and train; the others may name places here."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a card says of the form that a model has; `use`, `measured` and `limits` are blocks of Markdown.

    Without `use` it is loraloom's and PEFT's. `measured` follows the results, `limits` are the first of the limits.
    """

    opening: str = "A LoRA adapter and its head, which sort texts into"
    library: str = "peft"
    tags: tuple[str, ...] = ()
    use: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


ADAPTER = Form()


@dataclass(frozen=True, slots=True)
class _Subject:
    """What the card is of; `chosen` among other trials by `metric`, or None where that is not known.

    `shared` are validation rows that are in test too, or nearly.
    """

    record: TrialRecord
    chosen: bool | None
    metric: str
    shared: int
    cautions: tuple[str, ...]
    base: str
    hub_base: str | None
    base_license: Any
    data: str
    data_revision: str | None
    from_python: tuple[str, ...]
    licenses: tuple[str, str]  # as prose: the base model's, the data's
    packages: Mapping[str, Any]

    @property
    def split(self) -> str:
        assert self.record.result is not None
        return self.record.result.split

    @property
    def score(self) -> Score:
        assert self.record.result is not None
        return self.record.result.score


def model_card(path: Path, tested: TrialRecord, form: Form = ADAPTER, *, chosen: bool = True) -> str:
    """The text of best/README.md for the winner `tested` of the run in `path`, which need not have a best/ yet.

    With `chosen` false, `tested` is another complete trial of that run.

    Raises:
        RunError: there is no run.
    """
    return _card(_of_run(path, tested, chosen), form)


def card_without_run(record: TrialRecord, base: Mapping[str, Any], form: Form) -> str:
    """The card of an adapter whose run is not at hand; `base` has the facts of its base model's own card."""
    data = record.configuration.data
    return _card(
        _Subject(
            record=record,
            chosen=None,
            metric="",
            shared=0,
            cautions=(
                "The run that it comes from was not at hand, or had not ended, when this was written: its report may "
                "have doubts.",
            ),
            **_base(record, base),
            data=value(data.dataset or (Path(data.train_file).name if data.train_file else "unnamed data")),
            data_revision=None,
            from_python=(),
            licenses=(source_card("model", record.configuration.backbone.model, base).license, NOT_STATED),
            packages={},
        ),
        form,
    )


def _card(subject: _Subject, form: Form) -> str:
    return "\n\n".join((f"---\n{_metadata(subject, form).rstrip()}\n---", *_blocks(subject, form))) + "\n"


def _of_run(path: Path, tested: TrialRecord, chosen: bool) -> _Subject:
    run = replace(read_run(path), best=Best(tested, ()))
    board = leaderboard(run)
    model = tested.configuration.backbone.model
    found, given = answer(run, board), data_stated(run.recipe)
    of_data, *of_models = source_cards(run)
    of_base = of_models[run.recipe.values("backbone.model").index(model)]
    if chosen:
        known = tuple(command for command in known_commands(path) if command.started)
        doubts = cautions(run, board, found, None, known)
    elif tested.is_soup:
        doubts = ("It is the mean of trials of a search, and not of those that the search chose.",)
    else:
        doubts = (f"It is trial {tested.number} of a search, and not the one that the search chose.",)
    return _Subject(
        record=tested,
        chosen=chosen and found.had_choice,
        metric=metric_name(run.recipe.search.metric),
        shared=shared_rows(run),
        cautions=doubts,
        **_base(tested, model_facts(run, model)),
        data=value(given.get("name") or "unnamed data"),
        data_revision=next((one for one in map(given.get, ("revision", "fingerprint")) if isinstance(one, str)), None),
        from_python=run.recipe.from_python,
        licenses=(of_base.license, of_data.license),
        packages=as_mapping(run.recipe.provenance.get("packages")),
    )


def _base(record: TrialRecord, facts: Mapping[str, Any]) -> dict[str, Any]:
    name = facts.get("name")
    hub_base = str(name) if name else None
    return {
        "base": hub_base or Path(record.configuration.backbone.model).name,
        "hub_base": hub_base if hub_base and _HUB_NAME.fullmatch(hub_base) else None,
        "base_license": facts.get("license"),
    }


def _metadata(subject: _Subject, form: Form) -> str:
    from huggingface_hub import ModelCardData

    dataset = subject.record.configuration.data.dataset
    hub_data = dataset.partition(":")[0] if dataset and dataset != "demo" else None
    license_id, named = _license(subject.base_license)
    name = _slug(f"{subject.base.rpartition('/')[2]}-lora-{subject.data}")
    card = ModelCardData(
        base_model=subject.hub_base,
        library_name=form.library,
        pipeline_tag="text-classification",
        tags=list(dict.fromkeys(("lora", form.library, *form.tags, "text-classification", "loraloom"))),
        datasets=[hub_data] if hub_data else None,
        metrics=["accuracy", "f1"],
        model_name=name,
        eval_results=list(_results(subject, hub_data)),
        license=license_id,
        **named,
    )
    values: dict[str, Any] = _plain(card.to_dict())  # type: ignore[no-untyped-call]
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _license(stated: Any) -> tuple[str | None, dict[str, Any]]:
    """The base model's, under which its adapter is least likely to be wrong; a name that the hub has not is `other`."""
    if not stated:
        return None, {}
    name = str(stated).lower()
    return (name, {}) if _LICENSE.fullmatch(name) else ("other", {"license_name": _slug(name)})


def _results(subject: _Subject, hub_data: str | None) -> Iterator[EvalResult]:
    from huggingface_hub import EvalResult

    assert subject.record.result is not None
    for split, score in (("test", subject.record.result.test), ("validation", subject.record.result.validation)):
        if score is None or (split == "validation" and subject.record.is_refitted):
            continue
        dataset = _dataset(subject, split)
        of_hub = hub_data is not None and dataset == subject.data
        for kind, name, number in (
            ("accuracy", f"{split.capitalize()} accuracy", score.accuracy),
            ("f1", f"{split.capitalize()} macro-F1", score.macro_f1),
        ):
            yield EvalResult(
                task_type="text-classification",
                task_name="Text classification",
                dataset_type=hub_data if hub_data and of_hub else _slug(dataset),
                dataset_name=clean(dataset),
                dataset_split=split,
                dataset_revision=subject.data_revision if of_hub or not hub_data else None,
                metric_type=kind,
                metric_name=name,
                metric_value=round(number, 6),
            )


def _dataset(subject: _Subject, split: str) -> str:
    """Where the rows of a split come from: their own file, or a program, where they do; else as all data."""
    if split in subject.from_python:
        return "rows in memory"
    file = getattr(subject.record.configuration.data, f"{split}_file")
    return Path(file).name if file else subject.data


def _blocks(subject: _Subject, form: Form) -> Iterator[str]:
    record, interval = subject.record, subject.score.interval
    yield f"# {text(subject.base.rpartition('/')[2])}, adapted by LoRA to {text(subject.data)}"
    yield (
        f"{form.opening} {plural(len(record.labels), 'class')}. It reaches a "
        f"{subject.split} accuracy of **{text(rounded(subject.score.accuracy, interval))}** (95 % interval "
        f"{rounded_span(interval)}, {plural(subject.score.examples, 'row')}) with {count(record.counts.trainable)} "
        f"trainable parameters beside {count(record.counts.frozen)} frozen ones. It was found by loraloom."
    )
    yield "## Labels"
    rows = [
        [str(number), code(label), code(coded)]
        for number, (label, coded) in enumerate(zip(record.labels, record.label_codes, strict=True))
    ]
    yield table(("Class", "Label", "In the source"), rows, numbers=(0,))
    yield "## How to use it"
    yield from form.use or _use(record)
    yield "## Results"
    yield from _measured(subject)
    yield from form.measured
    yield "## Limits"
    yield bullets(
        [
            *form.limits,
            *map(text, subject.cautions),
            "It knows no other classes than these, and gives one of them to any text, in any language.",
            "Nothing is known of texts unlike those that it was trained and tested on.",
        ]
    )
    yield "## How it was trained"
    yield from _training(subject)


def _use(record: TrialRecord) -> Iterator[str]:
    yield fenced(
        'import loraloom\n\nclassifier = loraloom.load("this/folder")\nprint(classifier.predict(["…"]))', "python"
    )
    if record.is_blend:
        yield (
            "TF-IDF's part in its answers is loraloom's own: PEFT, where it can load this, has the adapter alone. "
            "`tfidf.json` holds words of the training texts, and pairs of neighbours."
        )
        return
    head = record.configuration.head
    if (head.kind, head.pooling) != ("native", "native"):
        yield "Its head is loraloom's own, so PEFT alone can't load it."
        return
    yield from peft_use(record)


def peft_use(record: TrialRecord) -> Iterator[str]:
    """How an adapter with a native head is used by PEFT, without loraloom."""
    yield "By PEFT alone, where `base_model_name_or_path` in adapter_config.json is the base model's place:"
    yield fenced(peft_code(record, "this/folder"), "python")
    yield "transformers may say that the base model's head is missing (`MISSING`); the adapter brings its own."


def _measured(subject: _Subject) -> Iterator[str]:
    result = subject.record.result
    assert result is not None

    def row(split: str, score: Score) -> list[str]:
        interval = score.interval
        accuracy = [text(rounded(score.accuracy, interval)), rounded_span(interval)]
        return [split, count(score.examples), *accuracy, rounded(score.macro_f1, interval), f"{score.loss:.3f}"]

    again = subject.record.is_refitted
    rows = [row("test", result.test)] if result.test else []
    rows.append(row("validation, before it was trained on them" if again else "validation", result.validation))
    head = ("Split", "Rows", "Accuracy", "95 % interval (Wilson)", "Macro-F1", "Loss")
    yield table(head, rows, numbers=range(1, 6))
    if subject.chosen:
        it = "the adapter in it" if subject.record.is_blend else "it"
        what = f"The trials that {it} is the mean of were" if subject.record.is_soup else f"{it.capitalize()} was"
        whose = "their" if subject.record.is_soup else "its"
        flattered = f"{what} chosen by {whose} validation {subject.metric}, which flatters it there"
        tested = "; the test rows had no part in the choice" if result.test else ""
        if tested and subject.shared:
            are = "is" if subject.shared == 1 else "are"
            tested += f", but for {plural(subject.shared, 'validation row')} that {are} in test too, or nearly"
        yield f"{flattered}{tested}."


def _training(subject: _Subject) -> Iterator[str]:
    record = subject.record
    facts = []
    if record.train_rows is not None:
        facts.append(f"{plural(record.train_rows, 'training row')} of {code(subject.data)}")
    if record.is_soup:
        facts.append(f"Weights: the mean of those of trials {record.soup_of}, seeds of one configuration")
    seed = "" if record.is_soup else f", seed {record.seed}"
    facts.append(f"Engine {text(record.engine)}, {record.dtype}{seed}")
    if subject.packages:
        named = (f"{text(str(name))} {text(value(version))}" for name, version in subject.packages.items())
        facts.append("Packages: " + ", ".join(named))
    revision = record.backbone_revision
    if revision:
        facts.append(f"Base model {code(subject.base)}, revision {code(revision)}")
    base, data = map(text, subject.licenses)
    facts += [f"Licence of the base model: {base}", f"Licence of the data: {data}"]
    yield bullets(facts)
    yield fenced(yaml.safe_dump(_configuration(record), sort_keys=False, allow_unicode=True), "yaml")


def _configuration(record: TrialRecord) -> dict[str, Any]:
    values = record.configuration.model_dump(mode="json", exclude={"train": {"seed"}} if record.is_soup else None)
    kept: dict[str, Any] = {}
    for name in SHOWN:
        section, _, field = name.partition(".")
        if (given := values[section].get(field)) is not None:
            kept.setdefault(section, {})[field] = given
    return kept | {section: values[section] for section in ("lora", "head", "train")}


def _slug(given: str) -> str:
    """What the hub takes as a name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", given).strip("-")[:90] or "unnamed"


def _plain(given: Any) -> Any:
    """Values that safe YAML can hold, without characters that it refuses."""
    if isinstance(given, dict):
        return {clean(str(key)): _plain(inner) for key, inner in given.items() if inner is not None}
    if isinstance(given, list | tuple):
        return [_plain(inner) for inner in given]
    return given if isinstance(given, int | float) else clean(str(given))
