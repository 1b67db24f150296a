"""Options as they are given: read as YAML, held to their types, and the checks that many share, refused all alike.

No paper: wording.
"""

import sys
import types
import typing
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import yaml

from laconic.errors import RecipeError

SEEDS = 2**31  # what every generator of random numbers takes


def fraction(name: str, value: float) -> None:
    """Raise RecipeError unless 0 < value <= 1."""
    if not 0 < value <= 1:
        raise RecipeError(f"{name} is {value}; give a fraction above 0 and at most 1")


def choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise RecipeError unless the value is one of those allowed."""
    if value not in allowed:
        raise RecipeError(f"{name} is {value!r}; choose one of {', '.join(allowed)}")


def positive(name: str, value: float) -> None:
    """Raise RecipeError unless the value is finite and above 0."""
    if not 0 < value <= sys.float_info.max:
        raise RecipeError(f"{name} is {value}; give a finite number above 0")


def unread(method: Any, by: str, *names: str) -> None:
    """Raise RecipeError where one of these options is not its default: what the option `by` is leaves them unread."""
    partner = getattr(method, by)
    shown = "null" if partner is None else repr(partner)
    default(method, names, f"which nothing reads where {by} is {shown}", f", or change {by}")


def default(held: Any, names: Sequence[str], why: str, mend: str = "") -> None:
    """Raise RecipeError, with `why`, where one of these options of a dataclass is not its default."""
    for option in fields(held):
        value = getattr(held, option.name)
        if option.name in names and value != option.default:
            raise RecipeError(f"{option.name} is {value!r}, {why}; leave {option.name} out{mend}")


def rank(method: Any) -> None:
    """Raise RecipeError unless `keep` is a fraction, or `rank` is given in its place, a whole number of at least 1."""
    fraction("keep", method.keep)
    if method.rank is not None:
        whole("rank", method.rank)
        unread(method, "rank", "keep")


def seed(value: object) -> None:
    """Raise RecipeError unless the value can be a seed."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < SEEDS:
        raise RecipeError(f"seed is {value!r}; give a whole number from 0 to {SEEDS - 1}")


def whole(name: str, value: int, least: int = 1) -> None:
    """Raise RecipeError unless the value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RecipeError(f"{name} is {value}; give a whole number of at least {least}")


def temperature(value: object, least: float = 0.01) -> None:
    """Raise RecipeError unless tokens can be drawn at that temperature: from `least` to 10."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 10:
        raise RecipeError(f"temperature is {value!r}; give a number from {least} to 10")


def parsed(text: str | bytes, where: str) -> Any:
    """What YAML text holds; the RecipeError for what is none begins with `where`."""
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise RecipeError(f"{where} is nested too deep; give a value, or a recipe's list of steps") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML lets a date that is none through as it is
        raise RecipeError(f"{where} is not YAML: {' '.join(str(error).split())}") from None


def fits(value: Any, hint: Any) -> bool:
    """Whether a YAML value is of an option's type; a whole number is also a fraction."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, h) for h in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is list:
        return isinstance(value, list) and all(fits(each, *typing.get_args(hint)) for each in value)
    return isinstance(value, origin or hint)


def say(hint: Any) -> str:
    """An option's type in words."""
    words = {float: "a number", int: "a whole number", str: "a word", bool: "true or false", type(None): "null"}
    if hint in words:
        return words[hint]
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is list:
        return f"a list ({say(parts[0])} each)"
    return " or ".join(say(part) for part in parts) if parts else str(hint)
