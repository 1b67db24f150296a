"""The pages of the methods: what stands below the mark is written from code and results, and every example runs."""

import math
import re

import pytest
import yaml

from benchmarks import method_pages, pages
from benchmarks.settings import MODELS, SETTINGS, key, settings
from laconic import answers, effects, layers, methods
from laconic.recipe import Recipe
from tests.workshop import work

PAGES = list(method_pages.written())
FAMILY = {"rotate": "llama", "smoothquant": "llama"}  # where the function can stay; bert for the others


def recipe(name):
    """The page's example."""
    (body,) = re.findall(r"^```yaml\n(.*?)^```", pages.prose(method_pages.page(name)), re.MULTILINE | re.DOTALL)
    return yaml.safe_load(body)


def test_every_method_has_a_page_and_every_page_a_method():
    assert sorted(path.stem for path in (pages.DOCS / "methods").glob("*.md")) == methods.names()


@pytest.mark.parametrize("path", [path for path, _ in PAGES], ids=lambda path: path.stem)
def test_a_page_says_what_code_and_results_say(path):
    assert path.read_text(encoding="utf-8") == dict(PAGES)[path], f"run `{pages.command('methods')}`"


@pytest.mark.parametrize("name", methods.names())
def test_what_an_option_takes_is_what_it_takes(name):
    """Its default is of the kind, and a number's range stands there: no option takes any number there is."""
    for option, default in methods.options(name).items():
        said = method_pages.takes(name, option)
        assert said not in ("", "a number", "a whole number", "a word"), f"{name}: {option} takes {said}"
        assert default is not None or "null" in said
        assert not isinstance(default, bool) or said == "true or false"


@pytest.mark.parametrize("name", methods.names())
def test_the_example_runs(name, tmp_path):
    example = Recipe.parse(recipe(name))
    assert name in {step.method for step in example.steps}
    one = work(FAMILY.get(name, "bert"), tmp_path)
    for number, method in enumerate(example.check()):
        one.folder = tmp_path / str(number)
        before = effects.measure(one.model)
        method.apply(one)
        after = effects.measure(one.model)
        assert all(effects.grew(before, after, made) for made in method.makes)
    layers.freeze(one.model)
    figures = answers.evaluate(one.model, one.tokenizer, one.task, one.data.validation)
    assert math.isfinite(figures["bits"])


def test_every_method_is_measured_on_both_models_unless_it_is_for_one():
    rows = pages.measured("methods")
    assert [key(row) for row in rows] == [key(row) for row in settings()]
    assert {row["method"] for row in rows} == {"none", *methods.names()}
    for name in methods.names():
        models = {row["model"] for row in rows if row["method"] == name and "refused" not in row}
        assert models == {SETTINGS["only"].get(name)} or models == set(MODELS)
    for row in rows:
        assert row["method"] == "none" or row["method"] in row["setting"]
