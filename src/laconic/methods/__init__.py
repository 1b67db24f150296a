"""Methods of compression and recovery: one method, one file.

No paper: discovery.
"""

import sys
from dataclasses import fields
from typing import Any, cast

from laconic import units
from laconic.contracts import Method
from laconic.errors import RecipeError


def names() -> list[str]:
    """Every method Laconic knows."""
    return units.names(sys.modules[__name__])


def kind(name: str) -> type[Method]:
    """The class of method `name`; raises RecipeError naming the nearest known one."""
    return cast(type[Method], units.find(sys.modules[__name__], name, RecipeError))


def options(name: str) -> dict[str, Any]:
    """Options of method `name` with their defaults."""
    return {f.name: f.default for f in fields(cast(Any, kind(name)))}
