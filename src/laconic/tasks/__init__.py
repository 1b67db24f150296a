"""What a model is for: one task, one file.

No paper: discovery.
"""

import sys
from dataclasses import asdict, fields
from typing import Any, cast

from laconic import units
from laconic.contracts import Task
from laconic.errors import RecipeError


def names() -> list[str]:
    """Every task Laconic knows."""
    return units.names(sys.modules[__name__])


def build(name: str, **options: Any) -> Task:
    """The task called `name` with its options; raises RecipeError for an unknown name or option."""
    kind = units.find(sys.modules[__name__], name, RecipeError)
    known = [f.name for f in fields(kind)]
    for option in options:
        if option not in known:
            raise RecipeError(f"the task {name!r} has no option {option!r}; it has: {', '.join(known)}")
    return cast(Task, kind(**{**options, "labels": tuple(options["labels"])}))


def describe(task: Task) -> dict[str, Any]:
    """The task as JSON; `build(**describe(task))` is the same task."""
    return {"name": task.name, **asdict(cast(Any, task)), "labels": list(task.labels)}
