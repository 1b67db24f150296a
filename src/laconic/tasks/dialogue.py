"""Dialogue: what the one who is spoken to says next, turn by turn, by a decoder or an encoder-decoder.

Perplexity, bits per byte and BLEU (Papineni et al. 2002, P02-1040) of the replies; distinct-1 and distinct-2, different
words and pairs of words over all words that were said (Li et al. 2016, arXiv:1510.03055). Turns become text by a chat
template, as transformers renders it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from laconic import options
from laconic.contracts import Example, Feature, Written
from laconic.data import turns as chat
from laconic.data.turns import ASSISTANT, SYSTEM, USER
from laconic.errors import DataError, RecipeError
from laconic.writing import bleu, encode, said
from laconic.writing.said import Said
from laconic.writing.task import BETWEEN, Writes

PLAIN = (
    "{% for turn in messages %}{{ turn['role'] }}: {{ turn['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
PROBE = ("You are brief.", "Is there a table?")  # of a system, and of who asks it

Message = dict[str, str]


@dataclass(frozen=True)
class Dialogue(Writes):
    """The replies of who answers, each after at most `turns` turns before it, put into words by a `template`.

    Of a history that is too long, the oldest turns are left out; a first turn of `system` stays before the others.
    """

    template: str = PLAIN
    turns: int = 6
    tokenize: str = "13a"

    name: ClassVar[str] = "dialogue"
    main: ClassVar[str] = "saved"

    def __post_init__(self) -> None:
        super().__post_init__()
        options.whole("turns", self.turns)
        bleu.check(self.tokenize)
        if not isinstance(self.template, str) or "messages" not in self.template:
            raise RecipeError(f"template is {str(self.template)[:40]!r}; give a chat template, which reads 'messages'")

    def parse(self, text: str) -> Example:
        """A line holds the turns so far, with tabs between, the first of them the other's; the reply is not known."""
        parts = [part.strip() for part in text.split(BETWEEN)]
        if len(parts) % 2 == 0 or not all(parts):
            raise DataError(
                f"{text[:40]!r} holds {len(parts)} turns; give an odd number, with tabs between and none empty, "
                "the last one what is to be answered"
            )
        turns: list[dict[str, Any]] = [
            {"speaker": (USER, ASSISTANT)[i % 2], "text": part} for i, part in enumerate(parts)
        ]
        return {"turns": [*turns, {"speaker": ASSISTANT, "text": None}]}

    def encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, answers: bool
    ) -> list[Feature]:
        """One feature for each reply, with the `example` it is of; `cut` where there is no room for all its turns."""
        asked = [(i, place) for i, e in enumerate(examples) for place in chat.replies(e["turns"])]
        apart = any(SYSTEM in chat.roles(e["turns"]) for e in examples) and self._apart(tokenizer)
        prompts = [self._prompt(_messages(examples[i]["turns"], place), tokenizer, apart) for i, place in asked]
        right = [examples[i]["turns"][place]["text"] for i, place in asked]
        texts = [text for text, _ in prompts]
        made = encode.features(texts, right, tokenizer, start=self.start, tokens=self.length, labels=answers)
        rows = zip(made, asked, prompts, strict=True)
        return [feature | {"example": [i], "cut": [int(cut)]} for feature, (i, _), (_, cut) in rows]

    def _apart(self, tokenizer: PreTrainedTokenizerFast) -> bool:
        """Whether the template tells a system's message, and otherwise than one of who asks or who answers."""

        def said(role: str) -> str:
            try:
                return self._text([_message(role, PROBE[0]), _message(USER, PROBE[1])], tokenizer)
            except TemplateError:  # how templates say that they have no such role, or not in this place
                return ""

        text = said(SYSTEM)
        return PROBE[0] in text and text not in (said(USER), said(ASSISTANT))

    def _prompt(self, messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast, apart: bool) -> tuple[str, bool]:
        """As many of the `turns` before a reply as there is room for, as text; of a single one too long, its end.

        And whether there was no room for all. A system's message is before them as long as there is room for any.
        """
        room, short = self.room(tokenizer), False
        head = [message for message in messages[:1] if message["role"] == SYSTEM]
        for begin in range(max(len(head), len(messages) - self.turns), len(messages)):
            if messages[begin]["role"] == USER:
                text = self._text(_led(head, messages[begin:], apart), tokenizer)
                if len(encode.ids(text, tokenizer)) <= room:
                    return text, short
                short = True
        last = messages[-1]

        def ended(head: Sequence[Message], content: str) -> str:
            return self._text(_led(head, [{**last, "content": content}], apart), tokenizer)

        frame = len(encode.ids(ended(head, ""), tokenizer))
        if head and frame >= room:
            head, short = [], True
            frame = len(encode.ids(ended(head, ""), tokenizer))
        (cut,) = encode.fitted([last["content"]], tokenizer, room - frame, end=True)
        return ended(head, cut), short or cut != last["content"]

    def _text(self, messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast) -> str:
        text = tokenizer.apply_chat_template(
            list(messages), chat_template=self.template, tokenize=False, add_generation_prompt=True
        )
        return str(text).removeprefix(tokenizer.bos_token or "")  # which the tokenizer puts before a text itself

    def predict(
        self, outputs: Sequence[Written], features: Sequence[Feature], examples: Sequence[Example]
    ) -> list[Said]:
        """The replies of each dialogue."""
        found: list[list[tuple[Written, Feature]]] = [[] for _ in examples]
        for output, feature in zip(outputs, features, strict=True):
            found[feature["example"][0]].append((output, feature))
        return [said.gather(some) for some in found]

    def score(self, predictions: Sequence[Said], examples: Sequence[Example]) -> dict[str, Any]:
        """The share of the replies' bits that is saved; bits per byte, perplexity of a token; BLEU, distinct-n."""
        pairs = [
            pair for p, e in zip(predictions, examples, strict=True) for pair in zip(p.texts, replies(e), strict=True)
        ]
        texts = [text for text, _ in pairs]
        return {
            **said.cost(predictions, [self.answers(e) for e in examples]),
            "bleu": float(bleu.share(bleu.statistics(texts, [true for _, true in pairs], self.tokenize).sum(0))),
            "distinct_1": said.distinct(texts, 1),
            "distinct_2": said.distinct(texts, 2),
        }

    def counts(self, predictions: Sequence[Said], examples: Sequence[Example]) -> np.ndarray:
        """Bits of the right replies, and their UTF-8 bytes, of each dialogue: (examples, 2)."""
        return np.array([(p.bits, self.answers(e)) for p, e in zip(predictions, examples, strict=True)])

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """1 - bits per byte / 8, from summed counts (..., 2)."""
        return said.saved(summed)

    def answers(self, example: Example) -> int:
        """Replies are written byte by byte."""
        return sum(len(text.encode()) for text in replies(example))

    def show(self, prediction: Said, example: Example) -> dict[str, Any]:
        """What was said, and the reply to it; of a whole dialogue, those in all its places."""
        turns = [turn["text"] for turn in example["turns"] if turn["text"] is not None]
        return {"turns": turns, "replies": list(prediction.texts)}


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _messages(turns: Sequence[dict[str, str]], place: int) -> list[Message]:
    """Turns before a reply as messages, those that one speaker says one after another as one."""
    found: list[Message] = []
    for turn, role in zip(turns[:place], chat.roles(turns), strict=False):
        if found and found[-1]["role"] == role:
            found[-1]["content"] += f" {turn['text']}"
        else:
            found.append(_message(role, turn["text"]))
    return found


def _led(head: Sequence[Message], messages: Sequence[Message], apart: bool) -> list[Message]:
    """Messages behind a system's; where that cannot stand `apart`, its text begins the first of them."""
    if apart or not head:
        return [*head, *messages]
    first, *others = messages
    return [{**first, "content": f"{head[0]['content']} {first['content']}"}, *others]


def replies(example: Example) -> list[str]:
    """What the one who answers says, in order."""
    return [example["turns"][place]["text"] for place in chat.replies(example["turns"])]
