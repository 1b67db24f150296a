"""Turn one row of a CSV or TSV file into a record, and a cell into what the field that is read from it holds.

No paper: a cell is text, so a list (["a", "b"]) or an object (an entity, answers) is written as JSON, and a list of
words also with spaces between. Only of the fields that can hold more than text is a cell anything but its text.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from laconic.errors import DataError

WORDS = frozenset({"tokens", "tags"})  # lists of words
PLACES = frozenset({"choice.label"})  # whole numbers, of one task
PLACE = re.compile(r"\s*[0-9]{1,9}\s*")
BRACKETED = re.compile(r"""\s*\[[^\W\d_][^"',\]]*\][^"',]*""")  # such as [NEG]; lists have quotes, commas or numbers
OPENS = {
    "label": "[", "choices": "[", "references": "[", "turns": "[", "e1": "{", "e2": "{", "answers": "{",
}  # fmt: skip
"""What a cell begins with that is JSON, for each field that can hold such."""


class Cell(str):
    """A value as it stands in a table."""


def header(cells: Sequence[str], where: str) -> list[str]:
    """Column names; raises DataError when two are the same."""
    names = [cell.strip() for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{where}: the column {twice!r} is there twice; the first line names every column once")
    return names


def record(names: Sequence[str], cells: Sequence[str], where: str) -> dict[str, Any]:
    """One row under its column names; raises DataError when it has more or fewer cells than there are columns."""
    if len(cells) != len(names):
        raise DataError(
            f"{where}: {len(cells)} cells but {len(names)} columns ({', '.join(names)}); "
            "quote a cell that holds the separator or a line end"
        )
    return {name: Cell(cell) for name, cell in zip(names, cells, strict=True)}


def blank(value: Any) -> bool:
    """Whether it is a cell with nothing in it, which is how a row leaves out what it need not have."""
    return isinstance(value, Cell) and not value


def value(cell: Cell, kind: str, field: str, where: str) -> Any:
    """What a cell holds for a field of the task called `kind`; raises DataError for JSON that is broken."""
    text = str(cell)
    if field in WORDS:
        return _words(text)
    if f"{kind}.{field}" in PLACES:
        return int(text) if PLACE.fullmatch(text) else text
    opens = OPENS.get(field)
    if opens is None or not text.lstrip().startswith(opens):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if field == "label" and BRACKETED.fullmatch(text):
            return text
        raise DataError(
            f"{where} begins with {opens} but is not JSON ({error}); mend it, or give text that begins so in JSON Lines"
        ) from error


def _words(text: str) -> list[Any]:
    """A JSON list, or words with spaces between, which may begin and end with brackets too, as [ 5 ] does.

    What in a list is no text is left for who reads the field to refuse.
    """
    words = text.split()
    if not (words and words[0].startswith("[") and words[-1].endswith("]")):
        return words
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        return words
    return words if words[0] == "[" and len(words) == 3 and not isinstance(listed[0], str) else list(listed)
