"""Reading a recipe: YAML 1.2 words, lists and ranges as axes, overrides, and the way back to YAML."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloom.errors import RecipeError
from loraloom.recipe import Choices, Range, Recipe, dump_recipe, read_recipe, reading
from loraloom.shipped import shipped_names


def _read(folder: Path, text: str, *overrides: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path, overrides)


# YAML 1.2


def test_an_exponent_without_a_dot_is_a_number(tmp_path: Path) -> None:
    assert _read(tmp_path, "train: {learning_rate: 1e-3}").train.learning_rate == 0.001


def test_off_is_a_word(tmp_path: Path) -> None:
    assert _read(tmp_path, "backbone: {dropout: off}").backbone.dropout == "off"


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "y", "n", "12:30", "2026-11-25", "1_000", "0o17"])
def test_a_word_of_yaml_1_1_is_text(tmp_path: Path, word: str) -> None:
    assert _read(tmp_path, f"data: {{train_file: a.csv, label_column: {word}}}").data.label_column == word


def test_true_is_a_truth_value(tmp_path: Path) -> None:
    assert _read(tmp_path, "lora: {use_rslora: true}").lora.use_rslora is True


def test_a_leading_zero_does_not_make_a_number_octal(tmp_path: Path) -> None:
    assert _read(tmp_path, "lora: {r: 010}").lora.r == 10


@pytest.mark.parametrize("name", [name for name in Recipe.model_fields if name != "axes"])
@pytest.mark.parametrize("word", ["null", ""])
def test_what_is_left_empty_has_its_default(tmp_path: Path, name: str, word: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{name}: {word}\ntrain: {{seed: 7}}\n" if name != "train" else f"train: {word}\n")
    assert getattr(read_recipe(path), name) == getattr(read_recipe({}), name)
    if word:
        assert getattr(read_recipe({}, [f"{name}={word}"]), name) == getattr(read_recipe({}), name)


@pytest.mark.parametrize("word", ["null", "~", ""])
def test_null_takes_a_limit_away(tmp_path: Path, word: str) -> None:
    recipe = _read(tmp_path, f"budget:\n  max_trainable_parameters: {word}\n")
    assert recipe.budget.max_trainable_parameters is None


def test_a_section_with_nothing_below_it_keeps_its_defaults(tmp_path: Path) -> None:
    assert _read(tmp_path, "lora:\ntrain: {seed: 1}").lora == Recipe().lora


# Axes


def test_a_list_where_one_value_is_expected_becomes_an_axis(tmp_path: Path) -> None:
    recipe = _read(tmp_path, "lora: {r: [2, 4, 8]}")
    assert recipe.axes == {"lora.r": Choices((2, 4, 8))}


def test_the_base_of_an_axis_is_its_first_value(tmp_path: Path) -> None:
    assert _read(tmp_path, "lora: {r: [2, 4, 8]}").lora.r == 2


def test_min_and_max_become_a_range(tmp_path: Path) -> None:
    text = "train: {learning_rate: {min: 1e-4, max: 1e-2, log: true}}\nsearch: {sampler: tpe}"
    assert _read(tmp_path, text).axes == {"train.learning_rate": Range(1e-4, 1e-2, True)}


def test_a_range_is_linear_unless_it_says_log(tmp_path: Path) -> None:
    recipe = _read(tmp_path, "lora: {r: {min: 1, max: 8}}\nsearch: {sampler: random}")
    assert recipe.axes == {"lora.r": Range(1, 8, False)}


def test_the_model_may_be_an_axis(tmp_path: Path) -> None:
    recipe = _read(tmp_path, "backbone: {model: [demo, roberta-base]}")
    assert recipe.axes == {"backbone.model": Choices(("demo", "roberta-base"))}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("data.text_column", ("title", "description")),
        ("lora.target_modules", ("query", "value")),
        ("lora.layers_to_transform", (9, 10, 11)),
    ],
)
def test_a_list_is_one_value_of_a_field_that_holds_lists(field: str, values: tuple[Any, ...]) -> None:
    section, leaf = field.split(".")
    recipe = read_recipe({section: {leaf: list(values)}})
    assert getattr(getattr(recipe, section), leaf) == values
    assert recipe.axes == {}


def test_a_list_of_lists_is_an_axis_of_a_field_that_holds_lists() -> None:
    recipe = read_recipe({"lora": {"layers_to_transform": [[11], [10, 11]]}})
    assert recipe.axes == {"lora.layers_to_transform": Choices(((11,), (10, 11)))}


def test_all_linear_beside_a_list_is_an_axis() -> None:
    recipe = read_recipe({"lora": {"target_modules": ["all-linear", ["query", "value"]]}})
    assert recipe.axes == {"lora.target_modules": Choices(("all-linear", ("query", "value")))}


def test_a_lone_word_stands_for_a_list_of_one() -> None:
    assert read_recipe({"lora": {"target_modules": "query"}}).lora.target_modules == ("query",)


# Overrides


@pytest.mark.parametrize(
    ("override", "axes"),
    [
        ("lora.r=2,4,8", {"lora.r": Choices((2, 4, 8))}),
        ("lora.r=[2, 4]", {"lora.r": Choices((2, 4))}),
        ("train.learning_rate=1e-4,1e-3", {"train.learning_rate": Choices((1e-4, 1e-3))}),
        ("backbone.dropout=keep,off", {"backbone.dropout": Choices(("keep", "off"))}),
        ("lora.target_modules=[[query],[value]]", {"lora.target_modules": Choices((("query",), ("value",)))}),
        ("lora.r=7", {}),
    ],
)
def test_an_override_sets_an_axis_as_the_file_would(override: str, axes: dict[str, Any]) -> None:
    assert read_recipe({}, [override]).axes == axes


def test_an_override_sets_a_range() -> None:
    recipe = read_recipe({}, ["lora.r={min: 1, max: 8, log: true}", "search.sampler=random"])
    assert recipe.axes == {"lora.r": Range(1, 8, True)}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("lora.target_modules=query,value", ("query", "value")),
        ("lora.target_modules=query", ("query",)),
        ("lora.target_modules=all-linear", "all-linear"),
        ("lora.target_modules=null", None),
        ("lora.target_modules=~", None),
        ("lora.layers_to_transform=10,11", (10, 11)),
        ("lora.layers_to_transform=[11]", (11,)),
    ],
)
def test_commas_make_one_value_of_a_field_that_holds_lists(override: str, expected: Any) -> None:
    recipe = read_recipe({}, [override])
    leaf = override.split("=", maxsplit=1)[0].removeprefix("lora.")
    assert getattr(recipe.lora, leaf) == expected
    assert recipe.axes == {}


@pytest.mark.parametrize(
    ("override", "section", "leaf", "expected"),
    [
        ("data.label_column=label #2", "data", "label_column", "label #2"),
        ("data.label_column=#label", "data", "label_column", "#label"),
        ("data.text_column=text #1", "data", "text_column", ("text #1",)),
        ("data.label_column=a#b", "data", "label_column", "a#b"),
        ("data.label_column='label #2'", "data", "label_column", "label #2"),
    ],
)
def test_an_override_has_no_comments(override: str, section: str, leaf: str, expected: Any) -> None:
    assert getattr(getattr(read_recipe({}, [override]), section), leaf) == expected
    with pytest.raises(RecipeError):
        read_recipe({}, ["budget.max_seconds=#600"])


@pytest.mark.parametrize(
    ("leaf", "named"), [("train_file", "news, 2025.csv"), ("dataset", "a,b"), ("label_column", "cause, or reason")]
)
def test_a_comma_is_a_part_of_what_names_one_file_or_column(leaf: str, named: str) -> None:
    assert getattr(read_recipe({}, [f"data.{leaf}={named}"]).data, leaf) == named


@pytest.mark.parametrize(
    ("override", "section", "leaf", "expected"),
    [
        ("data.label_column=1", "data", "label_column", "1"),
        ("data.text_column= 0 ", "data", "text_column", ("0",)),
        ("data.text_column=title,2.50", "data", "text_column", ("title", "2.50")),
        ("backbone.revision=12e4567", "backbone", "revision", "12e4567"),
        ("data.train_file=true", "data", "train_file", "true"),
        ("data.label_column=null", "data", "label_column", None),
    ],
)
def test_an_override_of_a_text_may_look_like_a_number(override: str, section: str, leaf: str, expected: Any) -> None:
    assert getattr(getattr(read_recipe({}, [override]), section), leaf) == expected


def test_an_override_replaces_the_axis_of_the_file(tmp_path: Path) -> None:
    recipe = _read(tmp_path, "lora: {r: [2, 4]}", "lora.r=16")
    assert recipe.lora.r == 16
    assert recipe.axes == {}


def test_an_override_keeps_the_other_fields_of_its_section(tmp_path: Path) -> None:
    assert _read(tmp_path, "lora: {lora_alpha: 32}", "lora.r=16").lora.lora_alpha == 32


def test_the_last_of_two_overrides_holds() -> None:
    assert read_recipe({}, ["lora.r=2", "lora.r=3"]).lora.r == 3


def test_a_mapping_may_hold_paths_and_numpys_numbers() -> None:
    train, lora = {"seed": np.int64(3)}, {"r": np.array([2, 4]), "target_modules": ("query", "value")}
    recipe = read_recipe({"data": {"train_file": Path("rows.csv")}, "lora": lora, "train": train})
    assert (recipe.data.train_file, recipe.train.seed) == ("rows.csv", 3)
    assert recipe.lora.target_modules == ("query", "value")
    assert recipe.axes == {"lora.r": Choices((2, 4))}


def test_a_recipe_in_the_home_folder_may_be_named_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("lora: {r: 2}")
    assert [read_recipe(path).lora.r for path in ("~/mine.yaml", Path("~/mine.yaml"))] == [2, 2]
    with pytest.raises(RecipeError, match=r"^~of-nobody/mine\.yaml: no such recipe"):
        read_recipe("~of-nobody/mine.yaml")


def test_a_field_of_the_recipe_itself_can_be_overridden() -> None:
    assert read_recipe({}, ["engine=trainer"]).engine == "trainer"


@pytest.mark.parametrize("override", ["lora.r", "=4", "lora.=4", ".r=4"])
def test_an_override_without_a_field_or_value_is_refused(override: str) -> None:
    with pytest.raises(RecipeError, match=r"write it as section\.field=value"):
        read_recipe({}, [override])


def test_an_override_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"--set lora\.r=\[2: '\[2' is not a value"):
        read_recipe({}, ["lora.r=[2"])


@pytest.mark.parametrize("override", ["lora.r=0", "lora={r: 0}"])
def test_an_override_out_of_range_is_refused_by_its_own_name(tmp_path: Path, override: str) -> None:
    with pytest.raises(RecipeError) as caught:
        _read(tmp_path, "lora: {r: 4}", override)
    assert caught.value.problems == ("--set: lora.r: 0 is too small; it must be 1 or more",)


# Back to YAML

_AXES: dict[str, st.SearchStrategy[Any]] = {
    "lora.r": st.integers(1, 512),
    "lora.lora_alpha": st.one_of(st.integers(1, 99), st.floats(1e-3, 1e3)),
    "lora.bias": st.sampled_from(["none", "all", "lora_only"]),
    "lora.target_modules": st.one_of(
        st.just("all-linear"), st.lists(st.sampled_from(["query", "value", "off", "10:30"]), min_size=1)
    ),
    "lora.layers_to_transform": st.lists(st.integers(0, 11), min_size=1),
    "train.learning_rate": st.floats(1e-8, 1.0),
    "train.bf16": st.sampled_from(["auto", True, False]),
    "backbone.model": st.sampled_from(["demo", "off", "a/b", "null", "12", "ünïcode", "- x: #"]),
}


@st.composite
def _recipes(draw: st.DrawFn) -> dict[str, Any]:
    values: dict[str, Any] = {"search": {"sampler": "random"}}
    for field in draw(st.lists(st.sampled_from(sorted(_AXES)), unique=True, max_size=4)):
        section, leaf = field.split(".")
        options = draw(st.lists(_AXES[field], min_size=1, max_size=3, unique_by=repr))
        values.setdefault(section, {})[leaf] = options if draw(st.booleans()) else options[0]
    if draw(st.booleans()):
        low = draw(st.floats(1e-6, 1e-2))
        values.setdefault("train", {})["weight_decay"] = {
            "min": low,
            "max": draw(st.floats(0.02, 1)),
            "log": draw(st.booleans()),
        }
    if draw(st.booleans()):
        values.setdefault("train", {})["warmup_steps"] = draw(_conditional_axes())
        values["train"]["optim"] = ["adam", "adamw", "muon"]
    return values


@st.composite
def _conditional_axes(draw: st.DrawFn) -> dict[str, Any]:
    ends = {"min": 0, "max": draw(st.integers(1, 99))}
    wanted = draw(st.lists(st.sampled_from(["adam", "adamw", "muon"]), min_size=1, unique=True))
    axis: dict[str, Any] = {"when": {"train.optim": wanted}, **(ends if draw(st.booleans()) else {"values": [1, 2]})}
    if draw(st.booleans()):
        axis["otherwise"] = draw(st.integers(0, 9))
    return axis


@settings(max_examples=60, deadline=None)
@given(values=_recipes())
def test_a_recipe_survives_the_way_to_yaml_and_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    recipe = read_recipe(values)
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    again = read_recipe(path)
    assert again == recipe
    assert again.axes == recipe.axes


def test_the_recipe_of_a_run_of_thousands_of_classes_is_read_as_any_other(tmp_path: Path) -> None:
    classes = "".join(f"    - class {number} {'of a long name ' * 20}\n" for number in range(4_000))
    assert len(classes) > 1_000_000
    assert _read(tmp_path, f"lora: {{r: [2, 4]}}\nprovenance:\n  classes:\n{classes}", "lora.r=3").lora.r == 3


@pytest.mark.parametrize("word", ["1e-3", "1e3", "08"])
def test_text_that_looks_like_a_number_survives_the_way_to_yaml_and_back(tmp_path: Path, word: str) -> None:
    recipe = read_recipe({"data": {"train_file": "a.csv", "label_column": word}})
    assert _read(tmp_path, dump_recipe(recipe)) == recipe


def test_provenance_survives_the_way_to_yaml_and_back(tmp_path: Path) -> None:
    recipe = Recipe().model_copy(update={"provenance": {"packages": {"torch": "2.9.1"}, "cores": 2}})
    assert _read(tmp_path, dump_recipe(recipe)).provenance == recipe.provenance


@settings(max_examples=100, deadline=None)
@given(labels=st.lists(st.text(), unique=True))
def test_any_text_survives_the_way_to_yaml_and_back(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str]
) -> None:
    recipe = Recipe().model_copy(update={"provenance": {"labels": labels, "rows": dict.fromkeys(labels, 7)}})
    folder = tmp_path_factory.getbasetemp()
    assert _read(folder, dump_recipe(recipe)).provenance == recipe.provenance


def test_a_path_that_is_not_utf_8_is_written_escaped(tmp_path: Path) -> None:
    recipe = Recipe().model_copy(update={"provenance": {"command": ["search", "caf\udce9.yaml"]}})
    assert _read(tmp_path, dump_recipe(recipe)).provenance == {"command": ["search", r"caf\udce9.yaml"]}


def test_libyaml_reads_where_there_is_one_and_python_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert issubclass(reading._Yaml12Loader, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    spec = importlib.util.spec_from_file_location("reading_by_python", reading.__file__)
    assert spec is not None
    assert spec.loader is not None
    by_python = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(by_python)
    assert issubclass(by_python._Yaml12Loader, yaml.SafeLoader)
    for shipped in shipped_names():
        assert by_python.read_recipe(shipped) == read_recipe(shipped)
    for refused in ("lora.r=[2", "lora.r=!!int 4", "lora.r=*a", "lora.r=" + "[" * 60 + "]" * 60):
        with pytest.raises(RecipeError, match="is not a value"):
            by_python.read_recipe({}, [refused])


def test_a_bare_recipe_is_written_without_provenance() -> None:
    assert "provenance" not in dump_recipe(Recipe())


def test_seeds_that_are_counted_from_the_largest_one_are_refused() -> None:
    with pytest.raises(RecipeError, match="seed: 4294967295 is too large: each configuration may be trained"):
        read_recipe({"data": {"dataset": "demo"}, "train": {"seed": 2**32 - 1}})
    assert read_recipe({"data": {"dataset": "demo"}, "train": {"seed": 2**32 - 3}}).train.seed == 2**32 - 3
