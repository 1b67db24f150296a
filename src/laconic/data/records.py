"""What a record is: the fields of each task, under which names they are read, and what can be wrong with one.

No paper: a record is a dict, {"tokens": [...], "tags": [...]} for `ner`, {"text": "...", "label": "..."} for
`classify`, where `label` is a list when a text may have several labels, {"text": "..."} for `lm`, and so on: `FIELDS`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from laconic.contracts import Example
from laconic.data import iob
from laconic.errors import DataError

Raw = dict[str, Any]  # a record as a file holds it, under the file's own field names

FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "ner": {"tokens": ("tokens", "words"), "tags": ("tags", "ner_tags")},
    "classify": {"text": ("text", "sentence"), "label": ("label", "labels", "intent")},
    "lm": {"text": ("text", "sentence")},
    "translate": {"source": ("source",), "target": ("target",)},
    "summarize": {"document": ("document", "article"), "summary": ("summary", "highlights")},
    "dialogue": {"turns": ("turns",)},
    "choice": {"question": ("question", "prefix"), "choices": ("choices", "target")},
    "code": {"prompt": ("prompt",), "solution": ("canonical_solution",), "test": ("test",), "entry": ("entry_point",)},
}
"""For each task its fields, and the names under which a field is looked for, the first found being taken."""

OPTIONAL: dict[str, dict[str, tuple[str, ...]]] = {
    "summarize": {"references": ("references",)},
    "choice": {"label": ("label",)},
}
"""For each task the fields that a record may lack."""

CLOSED = frozenset({"ner", "classify"})  # tasks whose answers are labels of a set that training knows
QUESTIONS = {"choice": "question", "code": "prompt", "summarize": "document", "translate": "source"}  # else "text"

LONE = re.compile("[\ud800-\udfff]")  # half a character: JSON can spell it, UTF-8 and tokenizers cannot


class Fault(NamedTuple):
    """Something wrong with one record; an `error` cannot be trained or measured on."""

    level: str  # error | warning
    check: str
    field: str
    message: str


def fields(kind: str) -> dict[str, tuple[str, ...]]:
    """Fields of the task called `kind` and the names they are read under."""
    if kind not in FIELDS:
        raise DataError(f"no data is read for a task {kind!r}; known: {', '.join(sorted(FIELDS))}")
    return FIELDS[kind]


def labelled(kind: str) -> bool:
    """Whether the answers of the task called `kind` are labels, of which training knows all."""
    fields(kind)
    return kind in CLOSED


def example(raw: Raw, kind: str, where: str) -> Example:
    """The record under the task's own field names.

    Raises DataError naming `where`, and the fields that are there where one is missing.
    """
    made: Example = {}
    for field, names in fields(kind).items():
        name = next((n for n in names if n in raw), None)
        if name is None:
            there = ", ".join(repr(str(n)) for n in raw) or "none"
            wanted = " or ".join(repr(n) for n in names)
            raise DataError(f"{where}: no field {wanted}; it has: {there}; rename the field that holds the {field}")
        made[field] = _converted(kind, field, raw, name, where)
    for field, names in OPTIONAL.get(kind, {}).items():
        name = next((n for n in names if n in raw), None)
        if name is not None:
            made[field] = _converted(kind, field, raw, name, where)
    return made


def _converted(kind: str, field: str, raw: Raw, name: str, where: str) -> Any:
    convert = CONVERT.get(f"{kind}.{field}") or CONVERT.get(field, _string)
    return convert(raw[name], f"{where}: field {name!r}")


def question(raw: Raw, where: str) -> Example:
    """The words or the text of a record, without an answer; raises DataError where it has neither."""
    for kind, field in (("ner", "tokens"), ("classify", "text")):
        name = next((n for n in FIELDS[kind][field] if n in raw), None)
        if name is not None:
            return {field: _converted(kind, field, raw, name, where)}
    there = ", ".join(repr(str(n)) for n in raw) or "none"
    raise DataError(f"{where}: no field 'text' or 'tokens'; it has: {there}; rename the field that holds the text")


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where} is {_short(value)}, not text; give it in quotes")
    if not value.isascii() and LONE.search(value):
        raise DataError(f"{where} holds half a character (a lone surrogate), which no UTF-8 can say; mend the text")
    return value


def _strings(value: Any, where: str) -> list[str]:
    if not isinstance(value, list):
        raise DataError(f"{where} is {_short(value)}, not a list; give one text for each word")
    for i, item in enumerate(value):
        if not isinstance(item, str):
            raise DataError(f"{where} holds {_short(item)} as item {i + 1}; every item is text, such as 'B-PER'")
        _string(item, where)
    return value


def _label(value: Any, where: str) -> str | list[str]:
    if isinstance(value, list):
        return [_class(item, where) for item in value]
    return _class(value, where)


def _class(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _string(value, where)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def _choices(value: Any, where: str) -> list[str]:
    return [_string(value, where)] if isinstance(value, str) else _strings(value, where)


def _index(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{where} is {_short(value)}, not a place among the choices; count from 0")
    return value


def _turns(value: Any, where: str) -> list[dict[str, str]]:
    if not isinstance(value, list) or not all(isinstance(t, dict) and {"speaker", "text"} <= set(t) for t in value):
        raise DataError(f"{where} is {_short(value)}, not turns; give a list of {{'speaker': ..., 'text': ...}}")
    return [
        {key: _string(turn[key], f"{where}, turn {i}") for key in ("speaker", "text")}
        for i, turn in enumerate(value, 1)
    ]


CONVERT: dict[str, Callable[[Any, str], Any]] = {
    "tokens": _strings,
    "tags": _strings,
    "label": _label,
    "choices": _choices,
    "references": _strings,
    "turns": _turns,
    "choice.label": _index,
}
"""How a field is read, where it is not as text; one task's own comes first."""


def faults(record: Example, kind: str) -> Iterator[Fault]:
    """What is wrong with one record by itself."""
    if kind == "ner":
        yield from _tagging_faults(record["tokens"], record["tags"])
        return
    if kind == "lm":
        if not record["text"]:
            yield Fault("error", "empty text", "text", "the text is empty; remove the record")
        return
    if kind not in CLOSED:
        yield from _open_faults(record, kind)
        return
    if not record["text"].strip():
        yield Fault("warning", "empty text", "text", "the text is empty; remove the record or give it a text")
    if "" in answers(record, kind):
        yield Fault("error", "empty label", "label", "the label is empty; give the record a label or remove it")


def _open_faults(record: Example, kind: str) -> Iterator[Fault]:
    """What is wrong with a record whose answer is a text, or a place among texts."""
    for field in fields(kind):
        if isinstance(record[field], str) and not record[field].strip():
            yield Fault("error", "empty text", field, f"the {field} is empty; remove the record")
    if kind == "choice" and not all(choice.strip() for choice in record["choices"]):
        yield Fault("error", "empty text", "choices", "a choice is empty; remove the record")
    if kind == "choice" and not 0 <= record.get("label", 0 if len(record["choices"]) == 1 else -1) < len(
        record["choices"]
    ):
        message = f"the label is {record.get('label')}; give the place of one of the {len(record['choices'])} choices"
        yield Fault("error", "no such choice", "label", f"{message}, from 0")
    if kind == "dialogue" and (len(record["turns"]) < 2 or not all(turn["text"].strip() for turn in record["turns"])):
        yield Fault("error", "empty text", "turns", "fewer than two turns, or an empty one; mend or remove the record")


def _tagging_faults(tokens: list[str], tags: list[str]) -> Iterator[Fault]:
    if not tokens:
        yield Fault("error", "empty text", "tokens", "there are no tokens; remove the record")
    blank = next((i for i, token in enumerate(tokens) if not token.strip()), None)
    if blank is not None:
        yield Fault("warning", "empty text", "tokens", f"token {blank + 1} is empty; remove it and its tag")
    if len(tokens) != len(tags):
        message = f"{len(tokens)} tokens but {len(tags)} tags; give one tag to each token"
        yield Fault("error", "length mismatch", "tags", message)
    broken = iob.fault(tags)
    if broken is not None:
        yield Fault("error", "bad IOB2", "tags", broken[1])


def text(record: Example, kind: str) -> str:
    """The record without its answer, as one line of text."""
    if kind == "ner":
        return " ".join(record["tokens"])
    if kind == "dialogue":
        return " ".join(turn["text"] for turn in record["turns"])
    return str(record[QUESTIONS.get(kind, "text")])


def texts(record: Example, kind: str) -> list[str]:
    """Every text that a model reads or writes of the record, its labels left out."""
    if kind in CLOSED:
        return [text(record, kind)]
    if kind == "dialogue":
        return [turn["text"] for turn in record["turns"]]
    held = [record[field] for field in fields(kind) if field not in ("test", "entry")]
    return [one for value in held for one in ([value] if isinstance(value, str) else value)]


def key(record: Example, kind: str) -> tuple[str, ...]:
    """What two records must share to be the same question."""
    if kind == "choice":
        return (record["question"], *record["choices"])
    return tuple(record["tokens"]) if kind == "ner" else (text(record, kind),)


def answers(record: Example, kind: str) -> list[str]:
    """The tags or labels of one record; none where answers are not labels."""
    if kind == "ner":
        return list(record["tags"])
    if kind not in CLOSED:
        return []
    label = record.get("label", [])
    return list(label) if isinstance(label, list) else [label]


def labels(examples: Iterable[Example], kind: str) -> tuple[str, ...]:
    """Every label, sorted. O, the tag of what is no entity, is always there and first; of a type, B-X precedes I-X."""
    fields(kind)
    seen = {answer for record in examples for answer in answers(record, kind)}
    if kind == "ner":
        return ("O", *sorted(seen - {"O"}, key=lambda tag: (tag[2:], tag)))
    return tuple(sorted(seen))


def digest(examples: Sequence[Example]) -> str:
    """sha256 of the records in their order, as hexadecimal; the order of a record's fields does not matter."""
    encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
    return hashlib.sha256("\n".join(map(encode, examples)).encode()).hexdigest()
