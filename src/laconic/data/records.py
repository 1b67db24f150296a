"""What a record is: the fields of each task, under which names they are read, and what can be wrong with one.

No paper: a record is a dict, {"tokens": [...], "tags": [...]} for `ner`, {"text": "...", "label": "..."} for
`classify`, where `label` is a list when a text may have several labels, {"text": "..."} for `lm`, and so on: `FIELDS`.
A `relation` is {"text", "e1", "e2", "label"}, and a `qa` record is {"context", "question", "answers"}, with places as
in `places`; turns are read in `turns`, the fields of the others in `values`.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from laconic.contracts import Example
from laconic.data import iob, places, tables, turns, values
from laconic.errors import DataError

Raw = dict[str, Any]  # a record as a file holds it, under the file's own field names

FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "ner": {"tokens": ("tokens", "words"), "tags": ("tags", "ner_tags")},
    "classify": {"text": ("text", "sentence"), "label": ("label", "labels", "intent")},
    "control": {"label": ("label", "labels", "intent"), "text": ("text", "sentence")},
    "lm": {"text": ("text", "sentence")},
    "mlm": {"text": ("text", "sentence")},
    "span_corruption": {"text": ("text", "sentence")},
    "relation": {"text": ("text", "sentence"), "e1": ("e1",), "e2": ("e2",), "label": ("label", "relation")},
    "qa": {"context": ("context",), "question": ("question",), "answers": ("answers",)},
    "translate": {"source": ("source",), "target": ("target",)},
    "dialogue": {"turns": ("turns", "messages")},
    "code": {
        "prompt": ("prompt",),
        "test": ("test",),
        "entry": ("entry", "entry_point"),
        "solution": ("solution", "canonical_solution"),
    },
    "choice": {"question": ("question", "prefix"), "choices": ("choices", "target")},
    "summarize": {"document": ("document", "article"), "summary": ("summary", "highlights")},
}
"""For each task its fields, and the names under which a field is looked for, the first found being taken."""

NAMED = {
    "qa": "id",
    "summarize": "references",
    "choice": "label",
}  # a field that records of a task may have beside, and keep
LABELLED = ("ner", "classify", "relation")  # tasks whose answers are of a known set
PLAIN = ("lm", "mlm", "span_corruption")  # tasks whose answer is the text itself
LONE_TEXTS = (*LABELLED, "qa", *PLAIN)  # tasks that can learn from texts without answers
ASKED = {
    "relation": ("text", "e1", "e2"), "qa": ("context", "question"), "translate": ("source",),
    "summarize": ("document",), "dialogue": ("turns",), "choice": ("question", "choices"),
    "code": ("prompt",), "control": ("label",),
}  # fmt: skip
"""The fields that ask, where that is not the text or the words alone; of several, the first is a text."""

ANSWERED = {
    "ner": ("tags",), "classify": ("label",), "relation": ("label",), "qa": ("answers",), "translate": ("target",),
    "summarize": ("summary",), "choice": ("label",), "code": ("test", "solution"), "control": ("text",),
}  # fmt: skip
"""The fields that answer; none where that is the text or the turns themselves."""

WHOLE = ("control",)  # tasks that ask the same of many records, which differ by what answers it
DEALT = {"control": "classify"}  # tasks whose records are those of another, and are dealt out as there
UNREAD = ("test", "entry")  # fields that no model reads or writes
ENDS = ("start", "end")  # what a model says of each place in a context


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
    """Whether the answers of the task called `kind` are of a known set, of which training must have seen each."""
    fields(kind)
    return kind in LABELLED


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
        made[field] = _converted(kind, field, raw[name], f"{where}: field {name!r}")
    named = NAMED.get(kind)
    if named is not None and named in raw and not tables.blank(raw[named]):
        made = {named: _converted(kind, named, raw[named], f"{where}: field {named!r}"), **made}
    return made


def _converted(kind: str, field: str, value: Any, where: str) -> Any:
    if isinstance(value, tables.Cell):
        value = tables.value(value, kind, field, where)
    convert: Callable[[Any, str], Any] = CONVERT.get(f"{kind}.{field}", CONVERT.get(field, values.string))
    return convert(value, where)


def question(raw: Raw, where: str, kind: str) -> Example:
    """The words or the text of a record, without an answer; raises DataError where it has neither.

    Of a task that asks with several fields, all of these.
    """
    if kind in ASKED:
        there = {field: next((n for n in FIELDS[kind][field] if n in raw), None) for field in ASKED[kind]}
        lacking = next((field for field, name in there.items() if name is None), None)
        if lacking is not None:
            wanted = " or ".join(repr(n) for n in FIELDS[kind][lacking])
            raise DataError(f"{where}: no field {wanted}; a text for {kind} has: {', '.join(ASKED[kind])}")
        return {f: _converted(kind, f, raw[str(name)], f"{where}: field {name!r}") for f, name in there.items()}
    for field, names in (("tokens", FIELDS["ner"]["tokens"]), ("text", FIELDS["classify"]["text"])):
        name = next((n for n in names if n in raw), None)
        if name is not None:
            return {field: _converted(kind, field, raw[name], f"{where}: field {name!r}")}
    has = ", ".join(repr(str(n)) for n in raw) or "none"
    raise DataError(f"{where}: no field 'text' or 'tokens'; it has: {has}; rename the field that holds the text")


def awaited(record: Example, kind: str) -> Example:
    """The record as it is asked: of a dialogue that ends with who asks, the turn that is to be answered is that one."""
    return {**record, "turns": turns.awaited(record["turns"])} if kind == "dialogue" else record


CONVERT: dict[str, Callable[[Any, str], Any]] = {
    "tokens": values.strings,
    "tags": values.strings,
    "label": values.label,
    "e1": places.entity,
    "e2": places.entity,
    "answers": places.answers,
    "id": values.name,
    "references": values.strings,
    "turns": turns.read,
    "choices": values.choices,
    "choice.label": values.place,
    "control.label": values.only_label,
}
"""How a field is read, where it is not as text; one task's own comes first."""


Checks = dict[str, Callable[[Example], Iterator[tuple[str, str, str, str]]]]

ASKING: Checks = {
    "qa": places.unasked, "relation": places.misplaced, "dialogue": turns.faults, "choice": values.unasked,
}  # fmt: skip
ANSWERING: Checks = {"qa": places.unanswered, "relation": places.unlabelled, "choice": values.undecided}
"""What is wrong with what asks and with what answers, where that is more than an empty text."""


def faults(record: Example, kind: str) -> Iterator[Fault]:
    """What is wrong with one record by itself."""
    if kind == "ner":
        yield from _tagging_faults(record["tokens"], record["tags"])
        return
    if kind in PLAIN:
        if not record["text"]:
            yield Fault("error", "empty text", "text", "the text is empty; remove the record")
        return
    if kind in ASKED:
        yield from asking_faults(record, kind)
        yield from _of(ANSWERING, record, kind, [field for field in fields(kind) if field not in ASKED[kind]])
        return
    if not record["text"].strip():
        yield Fault("warning", "empty text", "text", "the text is empty; remove the record or give it a text")
    if "" in answers(record, kind):
        yield Fault("error", "empty label", "label", "the label is empty; give the record a label or remove it")


def asking_faults(record: Example, kind: str) -> Iterator[Fault]:
    """What is wrong with the fields that ask, of a record that may have no answer."""
    yield from _of(ASKING, record, kind, ASKED.get(kind, ()))


def _of(checks: Checks, record: Example, kind: str, others: Sequence[str]) -> Iterator[Fault]:
    """What a task's own check finds; where it has none, which of the `others` are empty."""
    if kind in checks:
        yield from (Fault(*wrong) for wrong in checks[kind](record))
        return
    for field in others:
        if not record[field].strip():
            yield Fault("error", "empty text", field, f"the {field} is empty; remove the record")


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
    if kind in ("ner", "dialogue"):
        return " ".join(texts(record, kind))
    return str(record[ASKED.get(kind, ("text",))[0]])


def texts(record: Example, kind: str) -> list[str]:
    """Every text that a model reads or writes of the record, its labels left out."""
    if kind == "dialogue":
        return [turn["text"] for turn in record["turns"]]
    if kind in LONE_TEXTS:
        return [str(record[field]) for field in ("text", "context", "question") if field in record] or record["tokens"]
    held = [record[field] for field in fields(kind) if field not in UNREAD]
    return [text for value in held for text in ([value] if isinstance(value, str) else value)]


def key(record: Example, kind: str) -> tuple[str, ...]:
    """What two records must share to be the same question."""
    if kind in WHOLE:
        return tuple(record[field] for field in fields(kind))
    if kind in ASKED:
        return tuple(str(record[field]) for field in ASKED[kind])
    return tuple(record["tokens"]) if kind == "ner" else (record["text"],)


def origin(record: Example, kind: str) -> tuple[str, ...]:
    """What no two splits should share: the text, whatever is asked of it."""
    kind = DEALT.get(kind, kind)
    return (text(record, kind),) if kind in ASKED else key(record, kind)


def answers(record: Example, kind: str) -> list[str]:
    """The tags or labels of one record; none where answers are not labels."""
    if kind == "ner":
        return list(record["tags"])
    if kind not in LABELLED:
        return []
    label = record.get("label", [])
    return list(label) if isinstance(label, list) else [label]


def labels(examples: Iterable[Example], kind: str) -> tuple[str, ...]:
    """Every label, sorted. O, the tag of what is no entity, is always there and first; of a type, B-X precedes I-X."""
    fields(kind)
    if kind == "qa":
        return ENDS
    seen = {answer for record in examples for answer in answers(record, kind)}
    if kind == "ner":
        return ("O", *sorted(seen - {"O"}, key=lambda tag: (tag[2:], tag)))
    return tuple(sorted(seen))


def digest(examples: Sequence[Example]) -> str:
    """sha256 of the records in their order, as hexadecimal; the order of a record's fields does not matter."""
    encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
    return hashlib.sha256("\n".join(map(encode, examples)).encode()).hexdigest()
