"""The recipe parser: what it takes, what it refuses, and the words it refuses with."""

import contextlib
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from laconic import methods
from laconic.errors import RecipeError
from laconic.recipe import Recipe, built_in, meet

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_anything_parses_or_is_refused_in_our_words(value):
    for record in (value, {"steps": value}, {"steps": [value]}, {"steps": [{"rtn": value}]}):
        with contextlib.suppress(RecipeError):  # any other error is a failure
            recipe = Recipe.parse(record)
            assert Recipe.parse(recipe.record()) == recipe


real_options = st.sampled_from([(name, option) for name in methods.names() for option in methods.options(name)])
real_values = json_values | st.sampled_from([0, -1, 0.5, 1, 8, float("nan"), float("inf"), 10**400, "all", "2:4"])


@given(real_options, real_values)
def test_any_value_of_a_real_option_is_taken_or_refused_in_our_words(option, value):
    with contextlib.suppress(RecipeError):
        recipe = Recipe.parse({"steps": [{option[0]: {option[1]: value}}]})
        assert Recipe.parse(recipe.record()) == recipe


targets = (
    st.sampled_from(["name", "seed", "steps", "1", "2", "1.bits", "2.epochs", "3.keep", "1.nothing", "."]) | st.text()
)
values = json_values.map(lambda value: yaml.safe_dump(value)) | st.text() | st.text("[]{}:-&*!|>'\"#,0123456789")


@given(targets, values)
def test_any_setting_is_put_in_or_refused_in_one_line(target, value):
    recipe = Recipe.parse({"steps": [{"rtn": {"bits": 4}}, "distill", "half"]})
    try:
        changed, said = recipe.override([f"{target}={value}"]), ""
    except RecipeError as error:
        changed, said = recipe, str(error)
    assert "\n" not in said
    assert Recipe.parse(changed.record()) == changed


@given(st.lists(st.integers(2, 8), min_size=1, max_size=1), st.integers(0, 2**31 - 1))
def test_a_recipe_survives_its_record(bits, seed):
    recipe = Recipe.parse({"name": "x", "seed": seed, "steps": [{"rtn": {"bits": b}} for b in bits]})
    assert Recipe.parse(yaml.safe_load(yaml.safe_dump(recipe.record()))) == recipe


@pytest.mark.parametrize("name", built_in())
def test_built_in_recipes_are_sound(name):
    recipe = Recipe.read(name)
    assert recipe.name == name
    assert len(recipe.check()) == len(recipe.steps)


def test_there_are_at_least_three():
    assert {"fast", "balanced", "tiny"} <= set(built_in())


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ([], "a recipe is a mapping"),
        ({"stepz": []}, "did you mean 'steps'"),
        ({"steps": []}, "at least one method"),
        ({"steps": [{"rtnn": {}}]}, "did you mean 'rtn'"),
        ({"steps": [{"rtn": {"bitz": 4}}]}, "did you mean 'bits'"),
        ({"steps": [{"rtn": {"bits": "four"}}]}, "it takes a whole number"),
        ({"steps": [{"rtn": {"bits": True}}]}, "it takes a whole number"),
        ({"steps": [{"blocks": {"blocks": 3}}]}, "it takes a list (a whole number each) or null"),
        ({"steps": [{"blocks": {"blocks": ["a"]}}]}, "it takes a list (a whole number each) or null"),
        ({"steps": [{"blocks": {"blocks": [0, True]}}]}, "it takes a list (a whole number each) or null"),
        ({"steps": [{"gradual": {"epochs": -1}}]}, "epochs is -1; give a finite number, 0 or above"),
        ({"steps": [{"finetune": {"batch": 0}}]}, "batch is 0; give a whole number of at least 1"),
        ({"steps": [{"rtn": {"bits": 40}}]}, "40"),
        ({"steps": [{"distill": {"epochs": float("inf")}}]}, "epochs is inf; it takes a number"),
        ({"steps": [{"distill": {"temperature": float("nan")}}]}, "temperature is nan; it takes a number"),
        ({"steps": [{"distill": {"epochs": 10**400}}]}, "it takes a number"),
        ({"steps": [{"finetune": {"weight_decay": -5}}]}, "weight_decay is -5"),
        ({"steps": [{"finetune": {"accumulate": 0}}]}, "accumulate is 0"),
        ({"steps": [{"neurons": {"keep": 1.5}}]}, "1.5"),
        ({"steps": [{"rtn": {}, "half": {}}]}, "write one method"),
        ({"seed": -1, "steps": [{"rtn": {}}]}, "seed is -1"),
        ({"steps": [{"rtn": {}}, {"neurons": {"keep": 0.5}}]}, "would undo what step 1 (rtn) made low_bit"),
        (
            {"steps": [{"rtn": {}}, {"neurons": {"keep": 0.5}}]},
            "step 2 (neurons) would undo what step 1 (rtn) made low_bit; move it before step 1",
        ),
        (
            {"steps": [{"magnitude": {}}, {"hqq": {}}]},
            "what step 1 (magnitude) made sparse, and it can't come before step 1 either; leave one of the two out",
        ),
        (
            {"steps": ["magnitude", "activations", "tie"]},
            "what step 1 (magnitude) made sparse, and before step 1 it would be undone by another; leave it out",
        ),
        (
            {"steps": ["finetune", {"tie": {"where": "attention"}}, {"tie": {"where": "linears"}}]},
            "step 3 (tie) would undo what step 2 (tie) made tied, and it can't come before step 2 either",
        ),
    ],
)
def test_refusals(record, words):
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(record)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_override_changes_one_option():
    recipe = Recipe.parse({"steps": [{"neurons": {"keep": 0.5}}, {"rtn": {"bits": 4}}]})
    changed = recipe.override(["2.bits=3", "seed=7"])
    assert changed.steps[1].options == {"bits": 3}
    assert changed.seed == 7
    assert changed.steps[0] == recipe.steps[0]


def test_override_leaves_a_step_out_and_the_others_keep_their_numbers():
    recipe = Recipe.parse({"steps": ["positions", {"neurons": {"keep": 0.5}}, {"rtn": {"bits": 4}}]})
    for settings in (["2=null", "3.bits=3"], ["3.bits=3", "2=null"], ["2=null", "2.keep=0.1", "3.bits=3"]):
        assert recipe.override(settings).record()["steps"] == [{"positions": {}}, {"rtn": {"bits": 3}}]
    with pytest.raises(RecipeError, match="--set leaves every step out"):
        recipe.override(["1=null", "2=null", "3=null"])


def test_a_recipe_without_a_step_calls_the_others_what_they_were_called():
    recipe = Recipe.parse({"steps": ["positions", {"neurons": {"keep": 0.5}}, {"rtn": {"bits": 4}}, "half"]})
    left = recipe.override(["2=null"])
    assert (recipe.numbers, left.numbers) == ([1, 2, 3, 4], [1, 3, 4])
    assert recipe.override(["2=null", f"{left.numbers[1]}.bits=3"]).steps[1].options == {"bits": 3}
    first, second, third = left.steps
    with pytest.raises(RecipeError, match=r"^step 3 \(rtn\): bits is 99"):
        replace(left, steps=(first, replace(second, options={"bits": 99}), third)).check()


def test_what_is_wrong_beside_a_step_left_out_is_said_by_the_numbers_that_were_given():
    recipe = Recipe.parse({"steps": ["positions", {"neurons": {"keep": 0.5}}, {"rtn": {"bits": 4}}]})
    with pytest.raises(RecipeError, match=r"step 3 \(rtn\)"):
        recipe.override(["2=null", "3.bits=99"])
    with pytest.raises(RecipeError, match=r"step 2 \(neurons\) has no option 'nothing'"):
        recipe.override(["2=null", "2.nothing=1"])
    with pytest.raises(RecipeError, match="name is null"):
        recipe.override(["name=null"])


@pytest.mark.parametrize(
    "setting",
    [
        "1=4", "1=off", "1= ", "1=#x",
        "1=~", "1.=null", "9=null", "1=", "x=null", "bits", "9.bits=3", "0.bits=3", "x.bits=3", "2.bits=",
        "steps=3", "seedz=3", "1.bits=[", "1.bits=2001-99-99", "².bits=3", "=3", ".bits=3",
    ],
)  # fmt: skip
def test_override_refuses_what_it_cannot_read(setting):
    with pytest.raises(RecipeError, match="--set"):
        Recipe.parse({"steps": [{"rtn": {"bits": 4}}]}).override([setting])


def test_the_order_rule_holds_for_every_pair():
    for first in methods.names():
        for second in methods.names():
            a, b = methods.kind(first), methods.kind(second)
            try:
                Recipe.parse({"steps": [first, second]})
                allowed = True
            except RecipeError as error:
                allowed = "would undo" not in str(error)
            assert allowed == (a.makes <= b.keeps or not meet(a(), b())), (first, second)


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [("attention", "ffn", False), ("attention", "linears", True), ("linears", "embeddings", False),
     ("all", "ffn", True), ("embeddings", "head", True)],
)  # fmt: skip
def test_steps_on_other_layers_undo_nothing(first, second, meet):
    """A grid of binary weights has no zeros to keep, but those of other layers stay."""
    steps = {"steps": [{"kmeans": {"where": first}}, {"hash": {"where": second}}]}
    if not meet:
        Recipe.parse(steps)
        return
    with pytest.raises(RecipeError, match="would undo"):
        Recipe.parse(steps)


@pytest.mark.parametrize(
    ("first", "second"),
    [({"rtn": {"where": "linears"}}, "positions"), ("gptq", "factorize"), ({"magnitude": {"where": "ffn"}}, "heads"),
     ({"rtn": {"where": "attention"}}, "neurons"), ("gptq", "vocabulary"), ("factorize", "heads"),
     ({"rtn": {"where": "embeddings"}}, "blocks")],
)  # fmt: skip
def test_steps_on_other_parts_undo_nothing_without_a_where(first, second):
    Recipe.parse({"steps": [first, second]})


@pytest.mark.parametrize(
    ("first", "second"),
    [({"rtn": {"where": "embeddings"}}, "positions"), ({"rtn": {"where": "head"}}, "factorize"), ("gptq", "heads"),
     ({"magnitude": {"where": "ffn"}}, "neurons"), ({"rtn": {"where": "embeddings"}}, "vocabulary"),
     ("gptq", "blocks"), ("gptq", "width"), ("half", "positions"), ("factorize", "vocabulary")],
)  # fmt: skip
def test_steps_on_the_same_part_are_refused_without_a_where(first, second):
    with pytest.raises(RecipeError, match="would undo"):
        Recipe.parse({"steps": [first, second]})


def test_a_missing_file_names_the_built_in_recipes(tmp_path):
    with pytest.raises(RecipeError, match=r"did you mean 'balanced'"):
        Recipe.read("balancd")


def test_broken_yaml_is_one_line(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("steps: [")
    with pytest.raises(RecipeError, match=r"broken\.yaml is not YAML") as caught:
        Recipe.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"steps: " + b"[" * 500 + b"]" * 500, b"name: \xff\xfe", b"seed: 2001-99-99"])
def test_a_file_that_yaml_stumbles_over_is_one_line(tmp_path, content):
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"odd\.yaml is (not YAML|nested too deep)") as caught:
        Recipe.read(path)
    assert "\n" not in str(caught.value)


def test_what_takes_gains_out_is_refused_after_what_scales_them():
    with pytest.raises(RecipeError, match=r"^step 3 .rotate. .* step 2 .smoothquant. .* undoes it; move it before"):
        Recipe.parse({"steps": ["positions", "smoothquant", "rotate"]})
    Recipe.parse({"steps": ["rotate", "smoothquant", "rtn"]})


@pytest.mark.parametrize("first", [{"kmeans": {"share": True}}, {"hash": {"keep": 0.5}}])
def test_what_adds_to_weights_is_refused_after_what_leaves_none(first):
    (name,) = first
    with pytest.raises(RecipeError, match=rf"step 3 .lora. adds to weights, and step 2 .{name}. leaves none, only val"):
        Recipe.parse({"steps": ["blocks", first, "lora"]})
    Recipe.parse({"steps": ["lora", first]})
    (asked,) = first.values()
    Recipe.parse({"steps": [{name: {**asked, "where": "ffn"}}, {"lora": {"where": "attention"}}]})
