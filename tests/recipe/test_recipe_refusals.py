"""What the reader refuses, and what it says: file and line, field, value, rule; all of it at once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from loraloom.errors import RecipeError
from loraloom.recipe import read_recipe
from loraloom.recipe.fields import Search
from loraloom.recipe.reading import MAX_RECIPE_BYTES, MOST_PROBLEMS, MOST_VALUES
from tests.recipe.refused import problem_of, problems_of

# Files


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml: no such recipe; those that come with loraloom"):
        read_recipe(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "override"),
    [
        ("search: {n_trials: '5, 9'}", None),
        ("train: {seed: '5, 9'}", None),
        ("budget: {max_seconds: '5, 9'}", None),
        ("lora: {r: 4}", "search.seeds=5, 9"),
    ],
)
def test_several_numbers_for_a_field_that_takes_one_are_not_advised_to_be_a_list(
    tmp_path: Path, text: str, override: str | None
) -> None:
    problem = problem_of(tmp_path, f"{text}\n", *([override] if override else []))
    assert problem.endswith(("is not a whole number; it takes one", "is not a number; it takes one"))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is a folder; a recipe is a YAML file"):
        read_recipe(tmp_path)


def test_rows_in_the_place_of_a_recipe_are_told_how_one_is_written_for_them(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\nTea: hot,drink\n")
    (tmp_path / "rows").mkdir()
    for name in ("rows.csv", "rows"):
        with pytest.raises(RecipeError) as refused:
            read_recipe(tmp_path / name)
        assert str(refused.value).endswith(f": loraloom new mine.yaml --train_file {tmp_path / name}")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "null"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    assert problem_of(tmp_path, text).startswith("recipe.yaml: the recipe is empty; name at least its data")


@pytest.mark.parametrize("text", ["- lora\n- train\n", "a sentence", "42"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert "a recipe is a mapping of sections, not" in problem_of(tmp_path, text)


def test_what_is_not_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    assert problem_of(tmp_path, "lora:\n  r: 4\n  bias: [none\n").startswith("recipe.yaml:4: not YAML: ")


def test_two_documents_are_refused(tmp_path: Path) -> None:
    assert "not YAML" in problem_of(tmp_path, "lora: {r: 4}\n---\nlora: {r: 8}\n")


@pytest.mark.parametrize("value", ["!!python/object/apply:os.getpid []", "!!int x", "!!bool maybe", "!!str 4", "! 4"])
def test_a_tag_is_refused(tmp_path: Path, value: str) -> None:
    problem = problem_of(tmp_path, f"lora:\n  r: {value}\n")
    assert problem == "recipe.yaml:2: not YAML: a recipe has no tags (!!name); write the value alone, a text in quotes"
    assert "is not a value; write it as YAML" in problem_of(tmp_path, "lora: {r: 4}\n", f"lora.r={value}")


def test_bytes_that_are_not_utf_8_are_refused_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"data: {train_file: caf\xe9.csv}\n")
    with pytest.raises(RecipeError, match="not UTF-8 at byte 22"):
        read_recipe(path)


def test_a_file_far_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"#" * (MAX_RECIPE_BYTES + 1))
    with pytest.raises(RecipeError, match="8,000,001 bytes is too large"):
        read_recipe(path)


def test_an_alias_is_refused(tmp_path: Path) -> None:
    assert "has no aliases" in problem_of(tmp_path, "lora: &a {r: 4}\ntrain: *a\n")


def test_a_tab_is_named_as_what_can_not_begin_a_value(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "lora:\n\tr: 4\n")
    assert problem == r"recipe.yaml:2: not YAML: found character '\t' that cannot start any token"


def test_more_values_than_any_recipe_has_are_refused_before_they_are_built(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("lora:\n  r: [" + "1," * MOST_VALUES + "]\n")
    tracemalloc.start()
    try:
        with pytest.raises(RecipeError, match=r"recipe\.yaml:2: not YAML: it holds more than 500,000 values"):
            read_recipe(path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", ["[\n" * 1500 + "]" * 1500, "9" * 5000])
def test_a_value_that_python_can_not_build_is_refused(tmp_path: Path, value: str) -> None:
    assert "not YAML" in problem_of(tmp_path, f"lora: {{r: {value}}}\n")
    assert "is not a value; write it as YAML" in problem_of(tmp_path, "lora: {r: 4}\n", f"lora.r={value}")


# Fields

_BAD_FIELDS = [
    ("rank 0", "r: 0", "lora.r: 0 is too small; it must be 1 or more"),
    ("rank -1", "r: -1", "lora.r: -1 is too small; it must be 1 or more"),
    ("a rank that no machine's integer holds", f"r: [4, {10**400}]", "is too large; it must be 1000000 or less"),
    ("part of a rank", "r: 4.5", "lora.r: 4.5 is not a whole number"),
    ("whole rank as float", "r: 4.0", "lora.r: 4.0 is not a whole number; write it as 4"),
    ("a rank with an exponent", "r: 1e3", "lora.r: 1000.0 is not a whole number; write it as 1000"),
    ("a rank with digits apart", "r: 1_000", "lora.r: '1_000' is not a whole number; write it as 1000"),
    ("rank as text", "r: four", "lora.r: 'four' is not a whole number"),
    ("ranks without brackets", "r: 2, 4", "lora.r: '2, 4' is not a whole number; several values are a list: [2, 4]"),
    ("rank as a quoted number", "r: '4'", "lora.r: '4' is not a whole number"),
    ("rank as truth", "r: true", "lora.r: true is not a whole number"),
    ("alpha 0", "lora_alpha: 0", "lora.lora_alpha: 0 is too small; it must be above 0"),
    ("dropout 1", "lora_dropout: 1.0", "lora.lora_dropout: 1.0 is too large; it must be below 1"),
    ("yes", "use_rslora: yes", "lora.use_rslora: 'yes' is not allowed; it must be true or false"),
    (
        "the layers' word",
        "target_modules: top-half",
        "lora.target_modules: 'top-half' is not allowed; it must be all-linear, or a list of names",
    ),
    (
        "the modules' word",
        "layers_to_transform: all-linear",
        "lora.layers_to_transform: 'all-linear' is not allowed; it must be top-half, or a list of numbers",
    ),
    ("a word", "bias: some", "lora.bias: 'some' is not allowed; it must be none or all or lora_only"),
    ("no layers", "layers_to_transform: []", "is empty"),
    ("an empty name", "target_modules: ['']", "is empty"),
    ("layer -1", "layers_to_transform: [-1]", "-1 is too small; it must be 0 or more"),
    ("layers as a word", "layers_to_transform: upper", "'upper' is not a whole number"),
    ("a number for a name", "target_modules: 0", "0 is not text; put it in quotes"),
    ("near name", "alpha: 16", "lora.alpha: 16 is not a field; did you mean lora.lora_alpha?"),
    ("another name", "rank: 4", "lora.rank: 4 is not a field; did you mean lora.r?"),
    ("other section", "learning_rate: 1", "is not a field of lora; it is train.learning_rate"),
    ("the recipe's", "report_to: mlflow", "is not a field of lora; report_to is a field of the recipe itself"),
    ("an empty axis", "r: []", "lora.r: [] is an empty axis; list at least one value"),
    ("axis with a bad value", "r: [4, 0]", "lora.r: 0 is too small; it must be 1 or more"),
    ("axis with a twin", "r: [4, 4]", "lora.r: [4, 4] holds 4 twice; list each once"),
    ("axis with a twin in another type", "lora_alpha: [16, 16.0]", "[16, 16.0] holds 16 twice; list each once"),
    ("min above max", "r: {min: 8, max: 2}", "has min 8 not below max 2; min must be below max"),
    ("half a range", "r: {min: 8}", "is not a range; a range is {min: 1, max: 16, log: true}"),
    ("a mapping of a word", "bias: {a: 1, b: 10}", "lora.bias: {'a': 1, 'b': 10} is not allowed; it must be none or "),
    ("a mapping of a number", "r: {low: 1}", "lora.r: {'low': 1} is not a range; a range is {min: 1, max: 16, log: "),
    ("unknown range key", "r: {min: 1, max: 2, step: 1}", "'step' is not one of min, max, log"),
    ("log as a number", "r: {min: 1, max: 8, log: 2}", "log is true or false"),
    ("range of words", "bias: {min: all, max: none}", "is a range of a field that takes no numbers"),
    ("log from 0", "lora_dropout: {min: 0, max: 0.5, log: true}", "is logarithmic from 0 or below"),
]


@pytest.mark.parametrize(
    ("field", "message"), [case[1:] for case in _BAD_FIELDS], ids=[case[0] for case in _BAD_FIELDS]
)
def test_a_bad_field_is_refused_with_line_field_value_and_rule(tmp_path: Path, field: str, message: str) -> None:
    problem = problem_of(tmp_path, f"search: {{sampler: random}}\nlora:\n  {field}\n")
    assert problem.startswith("recipe.yaml:3: lora.")
    assert message in problem


def test_columns_that_are_numbers_are_to_be_quoted(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "data:\n  text_column: [0, 1]\n")
    assert problem == "recipe.yaml:2: data.text_column: 1 is not text; put it in quotes"


@pytest.mark.parametrize("mapping", ["bias: {a: 1, b: 10}", "r: {low: 1, high: 8}"])
def test_a_mapping_that_is_no_axis_is_refused_once(tmp_path: Path, mapping: str) -> None:
    assert len(problems_of(tmp_path, f"lora:\n  {mapping}\n")) == 1


def test_keys_of_any_kind_are_refused_by_their_names(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "lora:\n  r: {min: 1, max: 8, 3: x, step: 1}\n")
    assert [problem.partition(" is not a range: ")[2].split()[0] for problem in problems] == ["3", "'step'"]
    problem = problem_of(tmp_path, "lora:\n  1: 4\n")
    assert problem.startswith("recipe.yaml:2: lora.1: ")


@pytest.mark.parametrize("rate", [".nan", ".inf", "-.inf", "1e999"])
def test_a_rate_that_is_no_finite_number_is_refused(tmp_path: Path, rate: str) -> None:
    problem = problem_of(tmp_path, f"train:\n  learning_rate: {rate}\n")
    assert problem.startswith("recipe.yaml:2: train.learning_rate: ")
    assert problem.endswith(("is not a finite number", "is too small; it must be above 0"))


def test_an_unknown_field_with_no_neighbour_names_those_there_are(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "head: {zzz: 1}\n")
    assert problem == "recipe.yaml:1: head.zzz: 1 is not a field; head has kind, pooling"


def test_an_unknown_section_names_its_neighbour(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "lora: {r: 4}\ntrian: {seed: 1}\n")
    assert problem.startswith("recipe.yaml:2: trian: ")
    assert problem.endswith("is not a field; did you mean train?")


def test_a_field_outside_its_section_names_the_section(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "learning_rate: 0.1\n")
    assert "is not a field of the recipe itself; write train.learning_rate" in problem


def test_a_section_that_is_a_value_is_refused(tmp_path: Path) -> None:
    assert "lora: 4 is not a section" in problem_of(tmp_path, "lora: 4\n")


def test_a_doubled_key_is_refused_at_the_second(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "lora:\n  r: 4\n  r: 8\n")
    assert problem == "recipe.yaml:3: lora.r: stands twice; a field stands once"


def test_a_grid_with_a_range_is_refused(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "lora: {r: {min: 1, max: 8}}\nsearch:\n  sampler: grid\n")
    assert problem.startswith("recipe.yaml:3: search.sampler: 'grid' ")
    assert "lora.r" in problem


@pytest.mark.parametrize("field", ["train_file: [a.csv, b.csv]", "validation_share: [0.1, 0.2]"])
def test_a_field_that_fixes_the_data_can_not_vary(tmp_path: Path, field: str) -> None:
    assert "can't vary within a search; give one value" in problem_of(tmp_path, f"data:\n  {field}\n")


def test_a_seed_can_not_vary_and_what_repeats_seeds_is_named(tmp_path: Path) -> None:
    assert "; search.seeds has each" in problem_of(tmp_path, "train:\n  seed: [1, 2]\n")


def test_two_sources_of_data_are_refused(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "data:\n  dataset: demo\n  train_file: a.csv\n")
    assert problem.startswith("recipe.yaml:3: data.train_file: 'a.csv' stands beside data.dataset")


def test_a_column_of_the_text_is_named_once_but_by_a_run_that_was_begun(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "data:\n  text_column: [title, body, title]\n")
    assert problem.startswith("recipe.yaml:2: data.text_column: ")
    assert problem.endswith(" names a column twice; name each once")
    begun = {"data": {"text_column": ["title", "title"]}, "provenance": {"loraloom": "0.1.0"}}
    assert read_recipe(begun).data.text_column == ("title", "title")


def test_a_trial_is_computed_in_one_type(tmp_path: Path) -> None:
    """The trainer would take bf16, and loom fp16."""
    problem = problem_of(tmp_path, "train:\n  bf16: true\n  fp16: true\n")
    rule = "train.fp16: true stands beside train.bf16: true; a trial is computed in one of the two"
    assert problem == f"recipe.yaml:3: {rule}"
    assert problem_of(tmp_path, "train: {bf16: [false, true]}\n", "train.fp16=true") == f"--set: {rule}"
    with pytest.raises(RecipeError, match=r"^recipe: train\.fp16: true stands beside"):
        read_recipe({"train": {"bf16": True, "fp16": [False, True]}})


@pytest.mark.parametrize(
    "train",
    [
        {"bf16": True},
        {"bf16": True, "fp16": False},
        {"bf16": [False, True], "fp16": "auto"},
        {"bf16": [False, True], "fp16": {"values": [True], "when": {"train.bf16": False}, "otherwise": False}},
    ],
    ids=str,
)
def test_types_of_which_each_trial_has_one_are_no_two(train: dict[str, Any]) -> None:
    assert read_recipe({"train": train}).train.fp16 is not True


def test_seeds_are_a_thousand_at_most_but_in_a_run_that_was_begun(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "search:\n  seeds: 2026\n")
    assert problem == "recipe.yaml:2: search.seeds: 2026 is too large; it must be 1000 or less"
    begun = {"search": {"seeds": 2026}, "provenance": {"loraloom": "0.1.0"}}
    assert read_recipe(begun).search.seeds == 2026
    assert Search.model_json_schema()["properties"]["seeds"]["maximum"] == 1000


def test_passes_that_a_clock_would_not_heed_are_not_put_over_a_recipe(tmp_path: Path) -> None:
    clocked = "search: {sampler: auto, epochs: clock}\n"
    problem = problem_of(tmp_path, clocked, "train.num_train_epochs=4")
    assert problem.startswith("--set: train.num_train_epochs: 4 would not be heeded: search.epochs is clock, ")
    assert problem.endswith("; give search.epochs: recipe too")
    assert problem_of(tmp_path, clocked, "train={num_train_epochs: 4}") == problem
    assert read_recipe(tmp_path / "recipe.yaml", ["train={seed: 4}"]).train.seed == 4
    own = read_recipe(tmp_path / "recipe.yaml", ["train.num_train_epochs=4", "search.epochs=recipe"])
    assert (own.train.num_train_epochs, own.search.epochs) == (4, "recipe")
    # as a run's recipe has both
    begun = {"train": {"num_train_epochs": 2}, "search": {"epochs": "clock"}}
    assert read_recipe(begun, ["lora.r=4"]).search.epochs == "clock"
    with pytest.raises(RecipeError, match=r"^recipe: train\.num_train_epochs: 2 would not be heeded"):
        read_recipe(begun, over={"train.num_train_epochs"})


def test_a_test_file_without_a_train_file_is_refused(tmp_path: Path) -> None:
    assert "needs data.train_file or data.dataset beside it" in problem_of(tmp_path, "data: {test_file: a.csv}\n")


@pytest.mark.parametrize("name", ["budget.max_trainable_parameters", "budget.max_seconds"])
def test_an_override_without_a_value_takes_no_limit_away(tmp_path: Path, name: str) -> None:
    assert "write it as section.field=value" in problem_of(tmp_path, "data: {dataset: demo}\n", f"{name}=")


def test_a_test_file_may_stand_beside_a_data_set(tmp_path: Path) -> None:
    assert read_recipe({"data": {"dataset": "demo", "test_file": "mine.csv"}}).data.test_file == "mine.csv"


def test_axes_can_not_be_written_by_name(tmp_path: Path) -> None:
    assert "write a list or a range in the field itself" in problem_of(tmp_path, "axes: {lora.r: [1, 2]}\n")


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("data.max_length=1,024", "'1,024' is not a value"),
        ("train.learning_rate=0,001", "'0,001' is not a value"),
        (
            "budget.max_trainable_parameters=1,000,000",
            "'1,000,000' is not a whole number; write it without commas: 1000000",
        ),
        ("budget.max_seconds=1,800", "'1,800' is not a number; write it without commas: 1800"),
    ],
)
def test_a_number_with_commas_is_not_taken_for_several(override: str, rule: str) -> None:
    with pytest.raises(RecipeError) as refused:
        read_recipe({}, [override])
    assert rule in str(refused.value)


def test_a_number_with_commas_is_told_where_yaml_makes_names_of_its_parts(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "budget: {max_trainable_parameters: 1,000,000}\n")
    assert problem.endswith("budget.0: 0 is no field's name; a number is written without commas, as in 1000000")
    assert "stands twice" not in problem


@pytest.mark.parametrize("override", ["lora.target_modules=query,", "lora.r=2,,4", "lora.layers_to_transform=,3"])
def test_a_value_that_is_missing_beside_a_comma_makes_no_axis(override: str) -> None:
    with pytest.raises(RecipeError, match="is not a value"):
        read_recipe({}, [override])


def test_every_broken_rule_is_named_at_once(tmp_path: Path) -> None:
    text = "lora:\n  r: 0\n  bias: [none, some]\ntrain:\n  learning_rate: .nan\n  lr: 1\nhead: 3\n"
    problems = problems_of(tmp_path, text, "budget.max_seconds=-1", "nonsense")
    assert sorted(problem.split(": ")[0] + " " + problem.split(": ")[1] for problem in problems) == [
        "--set budget.max_seconds",
        "--set nonsense write it as section.field=value, as in --set lora.r=4",
        "recipe.yaml:2 lora.r",
        "recipe.yaml:3 lora.bias",
        "recipe.yaml:5 train.learning_rate",
        "recipe.yaml:6 train.lr",
        "recipe.yaml:7 head",
    ]


def test_values_that_are_wrong_alike_are_named_once_and_of_very_many_the_first(tmp_path: Path) -> None:
    assert "'x' is not a whole number" in problem_of(tmp_path, f"lora: {{r: [{'x, ' * 3_000}]}}\n")
    problems = problems_of(tmp_path, f"lora: {{r: [{', '.join(f'x{value}' for value in range(3_000))}]}}\n")
    assert len(problems) == MOST_PROBLEMS + 1
    assert problems[-1] == "and 2,950 more problems"


def test_a_name_that_a_terminal_would_obey_is_escaped(tmp_path: Path) -> None:
    name = '"\\e[31mr\\u202e"'
    text = f"lora: {{{name}: 1, {name}: 2, r: {{values: [1, 2], when: {{{name}: 3}}}}}}\n{name}: 4\n"
    problems = problems_of(tmp_path, text)
    assert len(problems) == 4
    assert all(problem.isprintable() and r"\x1b[31mr\u202e" in problem for problem in problems)


def test_a_value_of_any_length_makes_a_short_message(tmp_path: Path) -> None:
    assert len(problem_of(tmp_path, f"lora: {{bias: {'x' * 5000}}}\n")) < 250


def test_a_mapping_is_refused_by_the_same_rules() -> None:
    with pytest.raises(RecipeError, match=r"^recipe: lora\.r: 0 is too small; it must be 1 or more$"):
        read_recipe({"lora": {"r": 0}})


def test_overrides_that_are_one_text_are_told_to_be_a_list() -> None:
    with pytest.raises(RecipeError, match=r"^overrides: 'lora\.r=4' is one text; give a list .*\['lora\.r=4'\]$"):
        read_recipe({}, "lora.r=4")
