"""Span corruption: how many bits an encoder-decoder needs to write the words that are hidden from a text.

Raffel et al. 2019, arXiv:1910.10683, section 3.1.4: neighbouring hidden words give way to one sentinel, and behind each
sentinel the model writes what stood there. Differs from the paper: hidden words are drawn one by one, as
`writing.hidden` has it, not in spans of three tokens.

Bits are the sum of -log2 p of all that is written, sentinels and the end too: given the rest of the text, hidden words
can be written down in so many. A piece of them that the tokenizer has no token for costs its bytes, 8 bits each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from transformers import AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from laconic.contracts import Example, Feature
from laconic.errors import RecipeError
from laconic.writing import encode
from laconic.writing.hidden import Hides, Span, sentinels
from laconic.writing.task import MARKS


@dataclass(frozen=True)
class SpanCorruption(Hides):
    """Hidden words give way to sentinels. `start` is the token that the model begins to write with."""

    start: str | None = None

    name: ClassVar[str] = "span_corruption"
    auto: ClassVar[type] = AutoModelForSeq2SeqLM

    def encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, answers: bool
    ) -> list[Feature]:
        """Windows of every text; `said` are sentinels and hidden words, `slots` the places that say them.

        A window without hidden words is left out, unless the text has none.
        """
        marks, most = sentinels(tokenizer), min(self.context or tokenizer.model_max_length, tokenizer.model_max_length)
        of: list[int] = []
        sides: list[tuple[str, str]] = []  # what is read, what is written
        for i, text in enumerate(e["text"] for e in examples):
            runs = together(text, self.hidden(text))
            for part in _parts(text, tokenizer, most - MARKS):
                within = [(max(a, part[0]), min(b, part[1])) for a, b in runs if a < part[1] and b > part[0]]
                if within or not runs:
                    of.append(i)
                    sides.append(corrupted(text, part, within, marks))
        sources, targets = [source for source, _ in sides], [target for _, target in sides]
        made = encode.features(sources, targets, tokenizer, start=self.start, tokens=most, labels=answers)
        for i, feature in zip(of, made, strict=True):
            feature["example"] = [i]
        return made


def together(text: str, hidden: Sequence[Span]) -> list[Span]:
    """Hidden words as runs, in which only white space stands between one and the next."""
    runs: list[Span] = []
    for start, end in hidden:
        if runs and not text[runs[-1][1] : start].strip():
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return runs


def corrupted(text: str, part: Span, runs: Sequence[Span], marks: Sequence[str]) -> tuple[str, str]:
    """What is read of a part of the text, and what is to be written."""
    if len(runs) > len(marks):
        raise RecipeError(
            f"{len(runs)} spans are hidden from one window, and the tokenizer has {len(marks)} sentinels; give less "
            "mask, or less context"
        )
    source, place, target = "", part[0], []
    for mark, (start, end) in zip(marks, runs, strict=False):
        source, place = f"{source}{text[place:start]}{mark}", end
        target.append(f"{mark} {text[start:end]}")
    return source + text[place : part[1]], " ".join(target)


def _parts(text: str, tokenizer: PreTrainedTokenizerFast, most: int) -> list[Span]:
    """The text in parts of at most `most` tokens."""
    (encoding,) = tokenizer([text], add_special_tokens=False, truncation=False, verbose=False).encodings or []
    begins = [encoding.offsets[i][0] for i in range(most, len(encoding.ids), most)]
    return list(zip([0, *begins], [*begins, len(text)], strict=True))
