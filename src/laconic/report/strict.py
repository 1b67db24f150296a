"""Read JSON into dataclasses, refusing whatever does not fit and naming the field.

No paper: validation by type hints, so that a schema is written once, as dataclasses.
"""

import json
import math
import types
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from laconic.errors import LaconicError

LARGEST = 1e300  # an int of JSON can exceed every float


def parse(text: str, source: str) -> Any:
    """JSON text as plain values; raises LaconicError when it is none or holds a number that is not finite."""
    try:
        plain = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise LaconicError(f"{source} is not JSON ({error}); write the report again") from error
    finite(plain, source)
    return plain


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def finite(value: Any, where: str) -> None:
    """Raise LaconicError naming a figure that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise LaconicError(f"{where} is {value}; a report holds finite figures only, None where one is missing")
    if isinstance(value, dict):
        for key, inner in value.items():
            finite(inner, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            finite(inner, f"{where}[{i}]")


def read(kind: Any, value: Any, where: str) -> Any:
    """`value` as JSON gives it, as type `kind`; raises LaconicError naming the field that does not fit."""
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        inner = [k for k in get_args(kind) if k is not types.NoneType]
        return None if value is None else read(inner[0], value, where)
    if is_dataclass(kind):
        return _read_record(kind, value, where)
    if origin is dict:
        inner_kind = get_args(kind)[1]
        _expect(isinstance(value, dict), "an object", value, where)
        return {key: read(inner_kind, v, f"{where}: {key}") for key, v in value.items()}
    if origin is list:
        inner_kind = get_args(kind)[0]
        _expect(isinstance(value, list), "a list", value, where)
        return [read(inner_kind, v, f"{where}[{i}]") for i, v in enumerate(value)]
    if origin is tuple:
        kinds = get_args(kind)
        _expect(isinstance(value, list) and len(value) == len(kinds), f"{len(kinds)} values", value, where)
        return tuple(read(k, v, where) for k, v in zip(kinds, value, strict=True))
    if kind is float:
        _expect(isinstance(value, int | float) and not isinstance(value, bool), "a number", value, where)
        _expect(abs(value) < LARGEST, "a number", value, where)
        return float(value)
    _expect(isinstance(value, kind) and not (kind is int and isinstance(value, bool)), kind.__name__, value, where)
    return value


def _read_record(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), "an object", value, where)
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    unknown, missing = sorted(set(value) - set(known)), [name for name in known if name not in value]
    if unknown or missing:
        what = f"does not know {unknown[0]!r}" if unknown else f"lacks {missing[0]!r}"
        raise LaconicError(f"{where} {what}; the report is damaged or of another version: write it again")
    return kind(**{name: read(hints[name], value[name], f"{where}: {name}") for name in known})


def _expect(holds: bool, wanted: str, value: Any, where: str) -> None:
    if not holds:
        raise LaconicError(f"{where} is {str(value)[:40]!r} and should be {wanted}; write the report again")
