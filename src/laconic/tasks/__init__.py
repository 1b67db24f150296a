"""What a model is for: one task, one file.

No paper: discovery.
"""

import sys
from collections.abc import Sequence
from dataclasses import MISSING, Field, asdict, fields
from typing import Any, cast, get_type_hints

from laconic import options as checks
from laconic import units
from laconic.contracts import Task
from laconic.errors import RecipeError


def names() -> list[str]:
    """Every task Laconic knows."""
    return units.names(sys.modules[__name__])


def kind(name: str) -> type[Task]:
    """The class of task `name`; raises RecipeError naming the nearest known one."""
    return cast(type[Task], units.find(sys.modules[__name__], name, RecipeError))


def offered(name: str) -> list[Field[Any]]:
    """The options that task `name` leaves to choose: without the labels, and what its field says is `fixed`."""
    return [f for f in fields(cast(Any, kind(name))) if f.name != "labels" and not f.metadata.get("fixed")]


def build(name: str, **options: Any) -> Task:
    """The task called `name` with its options, `labels` among them where it has a known set of answers.

    Raises RecipeError for an unknown name or option, a wrong type, and where labels are needed and not given.
    """
    made = kind(name)
    known, hints = [f.name for f in fields(cast(Any, made))], get_type_hints(made)
    for option, value in options.items():
        if option not in known:
            choices = ", ".join(f.name for f in offered(name))
            raise RecipeError(f"the task {name!r} has no option {option!r}; it has: {choices}")
        if option != "labels" and not checks.fits(value, hints[option]):
            raise RecipeError(f"{option} is {value!r}; in the task {name!r} it takes {checks.say(hints[option])}")
    usual = next(f.default for f in fields(cast(Any, made)) if f.name == "labels")
    labels = options.get("labels", usual)
    if not isinstance(labels, list | tuple):
        given = "not given" if labels is MISSING else repr(labels)
        raise RecipeError(
            f"the labels of the task {name!r} are {given}; give a list of them, such as data.labels(records, {name!r})"
        )
    return cast(Any, made)(**{**options, "labels": tuple(labels)})  # type: ignore[no-any-return]


def has(name: str, option: str) -> bool:
    """Whether the task called `name` has an option of that name."""
    return option in {field.name for field in fields(cast(Any, kind(name)))}


def named(settings: Sequence[str]) -> dict[str, Any]:
    """Options of a task from NAME=VALUE, values as YAML; raises RecipeError for what is none."""
    found = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name.isidentifier() and equals):
            raise RecipeError(f"{setting!r} sets no option; write NAME=VALUE, such as beams=4")
        found[name] = checks.parsed(value, f"--set {setting!r}")
    return found


def describe(task: Task) -> dict[str, Any]:
    """The task as JSON; `build(**describe(task))` is the same task.

    An option that few data need, and whose field says so (`rare`), is left out where it has its default.
    """
    made = cast(Any, task)
    usual = {f.name for f in fields(made) if f.metadata.get("rare") and getattr(made, f.name) == f.default}
    options = {name: value for name, value in asdict(made).items() if name not in usual}
    return {"name": task.name, **options, "labels": list(task.labels)}
