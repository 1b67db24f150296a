"""The turns of a dialogue: how they are read, which speaker asks and which answers, and what can be wrong with them.

No paper: roles are those of transformers' chat templates, in which a first turn of `system` says how to answer.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from laconic.data import values
from laconic.errors import DataError

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
NAMES = (("speaker", "text"), ("role", "content"))  # what a turn holds, and the same as chats are stored

Turns = Sequence[dict[str, Any]]


def read(value: Any, where: str) -> list[dict[str, str]]:
    """What was said one after another: speaker and text of each turn, and nothing else of it."""
    if not isinstance(value, list) or not all(isinstance(turn, dict) and _names(turn) for turn in value):
        raise DataError(
            f"{where} is {values.short(value)}, not turns; give a list of {{'speaker': ..., 'text': ...}}, or of "
            "{'role': ..., 'content': ...}"
        )
    return [
        {key: values.string(turn[name], f"{where}, turn {i}") for key, name in zip(NAMES[0], _names(turn), strict=True)}
        for i, turn in enumerate(value, 1)
    ]


def _names(turn: dict[str, Any]) -> tuple[str, ...]:
    """Under which names the turn holds speaker and text; none where it lacks one."""
    return next((names for names in NAMES if set(names) <= set(turn)), ())


def roles(turns: Turns) -> list[str]:
    """SYSTEM, USER, who asks, or ASSISTANT, who answers, for each turn.

    A speaker called as a role has it; else who speaks first asks. The first turns are SYSTEM where `system` says them
    and nothing later, as one who speaks again takes part.
    """
    led = _led(turns)
    speakers = _speakers(turns[led:])
    asks = next((s for s in speakers if s.lower() == USER), None)
    if asks is None:
        asks = next((s for s in speakers if s.lower() != ASSISTANT), None)
    return [SYSTEM] * led + [USER if turn["speaker"] == asks else ASSISTANT for turn in turns[led:]]


def replies(turns: Turns) -> list[int]:
    """Which turns are replies: those of who answers, once somebody asked; or the one that is not known."""
    unknown = [i for i, turn in enumerate(turns) if turn["text"] is None]
    if unknown:
        return unknown
    told = roles(turns)
    return [i for i, role in enumerate(told) if role == ASSISTANT and USER in told[:i]]


def awaited(turns: Turns) -> Turns:
    """The turns, and behind a last one of who asks the reply that is to be written: it alone is answered."""
    if turns and turns[-1]["text"] is not None and roles(turns)[-1] == USER:
        return [*turns, {"speaker": ASSISTANT, "text": None}]
    return turns


def _led(turns: Turns) -> int:
    """How many turns at the beginning say how to answer."""
    own = [turn["speaker"].lower() == SYSTEM for turn in turns]
    first = own.index(False) if False in own else len(own)
    return 0 if any(own[first:]) else first


def _speakers(turns: Turns) -> list[str]:
    return list(dict.fromkeys(turn["speaker"] for turn in turns))


def faults(record: dict[str, Any]) -> Iterator[values.Wrong]:
    """What is wrong with the turns of a dialogue."""
    turns = [turn for turn in record["turns"] if turn["text"] is not None]
    awaits = len(turns) < len(record["turns"])  # a reply is to be written, and who writes it need not have spoken
    speakers = _speakers(turns[_led(turns) :])
    if len(speakers) > 2:
        message = (
            f"{len(speakers)} speak ({values.short(', '.join(speakers))}); give turns of two speakers, before them at "
            "most one of 'system', or remove the record"
        )
        yield "error", "many speakers", "turns", message
    elif len(speakers) < 2 and not awaits:
        message = "only one speaks, so nobody answers; give turns of two speakers or remove the record"
        yield "error", "no reply", "turns", message
    elif not replies(record["turns"]):
        message = f"{turns[-1]['speaker']!r} asks last, and nobody answers; add the reply or remove the record"
        yield "error", "no reply", "turns", message
    empty = next((i for i, turn in enumerate(turns, 1) if not turn["text"].strip()), None)
    if empty is not None:
        yield "error", "empty text", "turns", f"turn {empty} is empty; mend or remove the record"
