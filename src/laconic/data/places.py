"""Places in a text: the two entities of a relation, the answers to a question, and what can be wrong with them.

Hendrickx et al. 2010, S10-1006 (entities); Rajpurkar et al. 2016, arXiv:1606.05250 (answers). Offsets count characters
from 0; an entity's end is the first character after it.
"""

from collections.abc import Iterator
from typing import Any

from laconic.errors import DataError

ENTITY, ANSWERS = ("text", "start", "end"), ("text", "answer_start")
Wrong = tuple[str, str, str, str]  # level, check, field, message


def entity(value: Any, where: str) -> dict[str, Any]:
    """{"text", "start", "end"} and nothing else of it; raises DataError for anything that is not such a record."""
    if not isinstance(value, dict) or not all(key in value for key in ENTITY):
        raise DataError(f"{where} is {str(value)[:40]!r}, not an entity; give {{'text': ..., 'start': 0, 'end': 3}}")
    made = {key: value[key] for key in ENTITY}
    if not isinstance(made["text"], str) or not all(type(made[key]) is int for key in ENTITY[1:]):
        raise DataError(f"{where} is {str(made)[:60]}; its text is text, its start and end are whole numbers")
    return made


def answers(value: Any, where: str) -> dict[str, list[Any]]:
    """{"text": [...], "answer_start": [...]}, of equal lengths; raises DataError for anything else."""
    if not isinstance(value, dict) or not all(isinstance(value.get(key), list) for key in ANSWERS):
        raise DataError(
            f"{where} is {str(value)[:40]!r}, not answers; give {{'text': ['...'], 'answer_start': [0]}}, empty lists "
            "where there is no answer"
        )
    texts, starts = (list(value[key]) for key in ANSWERS)
    if not all(isinstance(text, str) for text in texts) or not all(type(start) is int for start in starts):
        raise DataError(f"{where} is {str(value)[:60]}; text holds text, answer_start whole numbers")
    if len(texts) != len(starts):
        raise DataError(f"{where} has {len(texts)} texts but {len(starts)} starts; give one start to each text")
    return {"text": texts, "answer_start": starts}


def misplaced(record: dict[str, Any]) -> Iterator[Wrong]:
    """What is wrong with the entities of a record."""
    for field in ("e1", "e2"):
        start, end, text = (record[field][key] for key in ("start", "end", "text"))
        there, length = record["text"][max(start, 0) : max(end, 0)], len(record["text"])
        if end > length:
            wrong = f"ends at {end}, but the text has {length} characters"
        elif not text.strip() or start < 0 or there != text:
            wrong = f"is not at {start} to {end} of the text, where {there[:40]!r} stands"
        else:
            continue
        yield "error", "bad offsets", field, f"{text[:40]!r} {wrong}; mend the offsets"


def unlabelled(record: dict[str, Any]) -> Iterator[Wrong]:
    """What is wrong with the label of a record."""
    if isinstance(record["label"], list):
        yield "error", "several labels", "label", "the label is a list; give the one relation of the two entities"
    elif not record["label"]:
        yield "error", "empty label", "label", "the label is empty; give the record a label or remove it"


def unasked(record: dict[str, Any]) -> Iterator[Wrong]:
    """What is wrong with a question and its context."""
    for field in ("context", "question"):
        if not record[field].strip():
            yield "error", "empty text", field, f"the {field} is empty; remove the record"


def unanswered(record: dict[str, Any]) -> Iterator[Wrong]:
    """What is wrong with the answers to a question."""
    given = record["answers"]
    if not given["text"]:
        yield (
            "warning",
            "no answer",
            "answers",
            "there is no answer; the task always gives one, so this counts as wrong",
        )
    for text, start in zip(given["text"], given["answer_start"], strict=True):
        if not text or start < 0 or record["context"][start : start + len(text)] != text:
            there = record["context"][max(start, 0) : max(start, 0) + len(text)][:40]
            message = f"{text[:40]!r} is not at {start} of the context, where {there!r} stands; mend the offset"
            yield "error", "bad offsets", "answers", message
