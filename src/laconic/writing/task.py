"""What tasks share whose answer is a text that a model writes: prompts, features, loss, bits.

No paper: teacher forcing for the loss and the bits, `laconic.writing` for the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from laconic import losses, options
from laconic.contracts import Example, Feature, Writing, Written
from laconic.errors import RecipeError
from laconic.writing import encode
from laconic.writing.said import BYTE

BETWEEN = "\t"  # the parts of a typed line: a question and its choices, the turns of a dialogue
MARKS = 4  # tokens kept free for those that begin and end a text, and for a cut that falls between pieces


@dataclass(frozen=True)
class Writes:
    """An answer of at most `length` tokens, the likeliest of `beams`.

    `start` is the token that an encoder-decoder begins to write with; a decoder has None.
    """

    labels: tuple[str, ...] = ()
    start: str | None = None
    length: int = 128
    beams: int = 1
    loss_name: str = "cross_entropy"

    multiple: ClassVar[bool] = False
    token_types: ClassVar[int] = 1

    @property
    def auto(self) -> type:
        """The head of an encoder-decoder or of a decoder."""
        return AutoModelForCausalLM if self.start is None else AutoModelForSeq2SeqLM

    @property
    def writing(self) -> Writing:
        """Greedy, or by beam search."""
        return Writing(self.length, beams=self.beams, start=self.start)

    def __post_init__(self) -> None:
        if self.labels:
            raise RecipeError(f"labels are {', '.join(self.labels)}; an answer that is written has none")
        options.whole("length", self.length, least=2)
        options.whole("beams", self.beams)
        losses.check(self.loss_name, several=False)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over the tokens of a batch, in nats; logits (slots, vocabulary), labels (slots,)."""
        return losses.loss(self.loss_name, logits, labels)

    def reduce(self, logits: np.ndarray, feature: Feature) -> np.ndarray:
        """Bits of each token of the right answer, (slots,), of logits (slots, vocabulary)."""
        return losses.bits(logits, feature["said"])

    def bits(self, outputs: Sequence[Any], features: Sequence[Feature], examples: Sequence[Example]) -> float:
        """Bits of the right answers, with what has no token at 8 bits a byte; outputs as `reduce` has them or whole."""
        rows = [output.bits if isinstance(output, Written) else output for output in outputs]
        return sum(float(b.sum()) + BYTE * f["uncoded"][0] for b, f in zip(rows, features, strict=True))

    def unit(self, example: Example) -> str:
        """A text that is written is counted by its bytes."""
        return "byte"

    def room(self, tokenizer: PreTrainedTokenizerFast) -> int:
        """Tokens that a question can have, beside the answer where that stands behind it."""
        behind = 0 if self.start is not None else self.length
        return tokenizer.model_max_length - behind - MARKS


@dataclass(frozen=True)
class Asks(Writes):
    """One answer to one question, which stands in place of {} in a `prompt`."""

    prompt: str = encode.PLACE

    question: ClassVar[str]  # the field of an example that is read
    answer: ClassVar[str]  # the field that is written
    end: ClassVar[bool] = False  # whether of a question that is too long the end is read

    def __post_init__(self) -> None:
        super().__post_init__()
        encode.check(self.prompt)

    def parse(self, text: str) -> Example:
        """A line is a question."""
        return {self.question: text}

    def encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, answers: bool
    ) -> list[Feature]:
        """Prompt and answer of each example; a question that is too long loses its end, or its beginning."""
        most = self.room(tokenizer) - len(encode.ids(self.prompt.replace(encode.PLACE, ""), tokenizer))
        asked = encode.fitted([e[self.question] for e in examples], tokenizer, most, end=self.end)
        prompts = [self.prompt.replace(encode.PLACE, text) for text in asked]
        made = encode.features(
            prompts, [e.get(self.answer) for e in examples], tokenizer,
            start=self.start, tokens=self.length, labels=answers,
        )  # fmt: skip
        return [
            feature | {"cut": [int(text != e[self.question])]}
            for feature, text, e in zip(made, asked, examples, strict=True)
        ]

    def predict(
        self, outputs: Sequence[Written], features: Sequence[Feature], examples: Sequence[Example]
    ) -> list[Any]:
        """The text that was written, without white space around it."""
        return [output.texts[0].strip() for output in outputs]

    def answers(self, example: Example) -> int:
        """An answer is written byte by byte."""
        return len(example[self.answer].encode())


@dataclass(frozen=True)
class Draws(Asks):
    """`samples` answers, drawn at a `temperature` by `seed`, or the likeliest one where that is 0."""

    samples: int = 1
    temperature: float = 0.0
    seed: int = 0

    stops: ClassVar[tuple[str, ...]] = ()  # what an answer ends before

    def __post_init__(self) -> None:
        super().__post_init__()
        options.whole("samples", self.samples)
        options.seed(self.seed)
        if self.temperature != 0:
            options.temperature(self.temperature)
        if self.samples > 1 and not self.temperature:
            raise RecipeError(
                f"samples is {self.samples}, but without a temperature all are the same; give one, as 0.8"
            )
        if self.beams > 1 and self.temperature:
            raise RecipeError(f"beams is {self.beams}, but with a temperature texts are drawn; give beams 1")

    @property
    def writing(self) -> Writing:
        """Drawn, or the likeliest."""
        return Writing(
            self.length, beams=self.beams, samples=self.samples, temperature=self.temperature, start=self.start,
            stops=self.stops, seed=self.seed,
        )  # fmt: skip
