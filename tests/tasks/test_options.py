"""Every option of every task can be typed, and what is typed wrongly is one line."""

from dataclasses import MISSING

import pytest
import yaml

from laconic import tasks
from laconic.data import records
from laconic.errors import RecipeError

LABELS = {"ner": ("O", "B-A"), "classify": ("a", "b"), "relation": ("r(e1,e2)", "Other"), "qa": ("start", "end")}
OTHER = {
    "out_of_scope": "b",
    "other": "r(e1,e2)",
    "prompt": "{} so:",
    "start": "<s>",
    "loss_name": "focal",
    "tokenize": "zh",
}
BESIDE = {("code", "samples"): {"temperature": 0.8}}  # what it needs
OPTIONS = [(name, f) for name in tasks.names() for f in tasks.offered(name)]
BY_NAME = pytest.mark.parametrize(("task", "option"), OPTIONS, ids=lambda given: getattr(given, "name", given))
ODD = ("2024-13-45", "2024-11-12", "[[1]]", "{a: 1}", "[", "!!python/name:os.system", ".nan", "", "\u0000")


def another(option):
    """A value that is not the default."""
    if option.name in OTHER:
        return OTHER[option.name]
    value = option.default
    assert value is not MISSING
    if isinstance(value, bool):
        return not value
    return (
        value + "x" if isinstance(value, str) else 32 if value is None or isinstance(value, int) else value / 2 or 0.5
    )


@BY_NAME
def test_every_option_can_be_typed(task, option):
    value = another(option)
    given = tasks.named([f"{option.name}={yaml.safe_dump(value, default_style=None).removesuffix('...' + chr(10))}"])
    built = tasks.build(task, labels=LABELS.get(task, ()), **given, **BESIDE.get((task, option.name), {}))
    assert getattr(built, option.name) == value != option.default


def test_what_is_fixed_is_not_offered_and_kept_where_it_is_written_down():
    """Texts of `control` are drawn, so there are no beams; what a run folder says of them is still read."""
    assert "beams" in {f.name for f in tasks.offered("code")}
    assert "beams" not in {f.name for f in tasks.offered("control")}
    assert "masked" not in {f.name for f in tasks.offered("choice")}  # which follows from the model
    with pytest.raises(RecipeError) as refused:
        tasks.build("control", labels=(), beam=1)
    assert "beams" not in str(refused.value)
    built = tasks.build("control", labels=(), beams=1)
    assert tasks.build(**tasks.describe(built)) == built


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_that_needs_labels_says_so_and_others_need_none(name):
    if records.labelled(name):
        for given, said in (({}, "not given"), ({"labels": None}, "None"), ({"labels": "ab"}, "'ab'")):
            with pytest.raises(RecipeError, match=f"the labels of the task '{name}' are {said}; give a list of them"):
                tasks.build(name, **given)
    else:
        assert tasks.build(name) == tasks.kind(name)()


def test_a_value_that_is_nested_too_deep_is_one_line():
    with pytest.raises(RecipeError, match="nested too deep"):
        tasks.named([f"beams={'[' * 500}{']' * 500}"])


def refusal(task, option, value):
    """What is said against a value; only the name of an option that takes it."""
    try:
        tasks.build(task, labels=LABELS.get(task, ()), **tasks.named([f"{option.name}={value}"]))
    except RecipeError as error:
        return str(error)
    return option.name


@BY_NAME
@pytest.mark.parametrize("value", ODD)
def test_a_value_that_is_none_is_one_line(task, option, value):
    said = refusal(task, option, value)
    assert option.name in said
    assert "\n" not in said
