"""One value of a record as text, label, choices; DataError says where another one stands.

No paper: types, and what can be wrong with choices.
"""

import re
from collections.abc import Iterator
from typing import Any

from laconic.errors import DataError

LONE = re.compile("[\ud800-\udfff]")  # half a character: JSON can spell it, UTF-8 and tokenizers cannot

Wrong = tuple[str, str, str, str]  # level, check, field, message


def string(value: Any, where: str) -> str:
    """A text that can be written down; nothing else."""
    if not isinstance(value, str):
        raise DataError(f"{where} is {short(value)}, not text; give it in quotes")
    if not value.isascii() and LONE.search(value):
        raise DataError(f"{where} holds half a character (a lone surrogate), which no UTF-8 can say; mend the text")
    return value


def strings(value: Any, where: str) -> list[str]:
    """A list of texts."""
    if not isinstance(value, list):
        raise DataError(f"{where} is {short(value)}, not a list; give one text for each word")
    for i, item in enumerate(value):
        if not isinstance(item, str):
            raise DataError(f"{where} holds {short(item)} as item {i + 1}; every item is text, such as 'B-PER'")
        string(item, where)
    return value


def choices(value: Any, where: str) -> list[str]:
    """Texts to choose from, or the only one."""
    return [string(value, where)] if isinstance(value, str) else strings(value, where)


def place(value: Any, where: str) -> int:
    """A whole number; which of them stand for a choice is not known here."""
    if type(value) is not int:
        raise DataError(f"{where} is {short(value)}, not a place among the choices; count from 0")
    return value


def unasked(record: dict[str, Any]) -> Iterator[Wrong]:
    """What is wrong with a question and its choices."""
    if not record["question"].strip():
        yield "error", "empty text", "question", "the question is empty; remove the record"
    if not record["choices"] or not all(choice.strip() for choice in record["choices"]):
        yield "error", "empty text", "choices", "there is no choice, or an empty one; mend or remove the record"


def undecided(record: dict[str, Any]) -> Iterator[Wrong]:
    """What is wrong with the place of the right choice."""
    number = len(record["choices"])
    if record.get("label", 0 if number == 1 else -1) not in range(max(number, 1)):
        message = f"the label is {record.get('label')}; give the place of one of the {number} choices, from 0"
        yield "error", "no such choice", "label", message


def label(value: Any, where: str) -> str | list[str]:
    """One label, or a list of those of one text."""
    if isinstance(value, list):
        return [_class(item, where) for item in value]
    return _class(value, where)


def only_label(value: Any, where: str) -> str:
    """One label, of a task that takes no more."""
    if isinstance(value, list):
        raise DataError(
            f"{where} is {short(value)}, a list; give one label, and a record for each where a text has more"
        )
    return _class(value, where)


def _class(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else string(value, where)


def short(value: Any) -> str:
    """A value in an error message."""
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def name(value: Any, where: str) -> str:
    """What a record is called: text, or a number as text."""
    return str(value) if isinstance(value, int) else string(value, where)
