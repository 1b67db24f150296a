"""Turn one row of a CSV or TSV file into a record.

No paper: a cell is text, so a list is written as JSON (["a", "b"]) or, for tokens and tags, with spaces between, and an
object (an entity, answers) as JSON.
"""

import json
from collections.abc import Sequence
from typing import Any

from laconic.data.records import FIELDS, Raw
from laconic.errors import DataError

LISTS = frozenset(FIELDS["ner"]["tokens"] + FIELDS["ner"]["tags"])  # columns whose cells are always lists
MAYBE_LISTS = frozenset({"labels"})  # columns whose cells are lists when they are written as one
OBJECTS = frozenset({"e1", "e2", "answers"})  # columns whose cells are objects, as JSON


def header(cells: Sequence[str], where: str) -> list[str]:
    """Column names; raises DataError when two are the same."""
    names = [cell.strip() for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{where}: the column {twice!r} is there twice; the first line names every column once")
    return names


def record(names: Sequence[str], cells: Sequence[str], where: str) -> Raw:
    """One row under its column names; raises DataError when it has more or fewer cells than there are columns."""
    if len(cells) != len(names):
        raise DataError(
            f"{where}: {len(cells)} cells but {len(names)} columns ({', '.join(names)}); "
            "quote a cell that holds the separator or a line end"
        )
    return {name: _value(name, cell) for name, cell in zip(names, cells, strict=True)}


def _value(name: str, cell: str) -> Any:
    if name in OBJECTS:
        return _object(cell)
    if name not in LISTS and name not in MAYBE_LISTS:
        return cell
    listed = _listed(cell)
    if listed is not None:
        return listed
    return cell.split() if name in LISTS else cell


def _object(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell  # the record says what stands there in place of an object


def _listed(cell: str) -> list[str] | None:
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return None  # words may begin and end with brackets too
    return value if all(isinstance(item, str) for item in value) else None
