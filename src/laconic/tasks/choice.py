"""Multiple choice by likelihood: which of several texts a model would sooner write behind a question.

Brown et al. 2020, arXiv:2005.14165, section 2.4 (the likeliest choice, and the likeliest for its length); Gao et al.
2024, doi:10.5281/zenodo.12608602 (how prompt and choice are cut into tokens). A question with one choice, such as the
last word of a passage (Paperno et al. 2016, arXiv:1606.06031), is answered when each of its tokens is the likeliest.
Differs from Gao et al.: lengths are UTF-8 bytes, not characters.

A masked encoder weighs a choice by its pseudo-log-likelihood (Salazar et al. 2020, arXiv:1910.14659), each token given
all that stands around it: see `writing.masked`. The bits of an only choice are then no length of a code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from laconic import losses
from laconic.contracts import Example, Feature
from laconic.errors import DataError, RecipeError
from laconic.maths import counts
from laconic.writing import encode, masked
from laconic.writing.said import BYTE
from laconic.writing.task import BETWEEN, MARKS

NONE = -1  # the place of no choice
UNKNOWN = -100  # the label of a token that is not learned


@dataclass(frozen=True)
class Chosen:
    """Places of the likeliest choice and of the likeliest for its length; of one, 0 where it would be written.

    `costs` are the bits of each choice.
    """

    likeliest: int
    by_length: int
    costs: tuple[float, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Choice:
    """The likeliest of `choices` behind a `prompt`, in which {} is the question; the right one is learned.

    `start` is the token that an encoder-decoder begins to write with; a decoder has None. An encoder is `masked`.
    """

    labels: tuple[str, ...] = ()
    prompt: str = encode.PLACE
    start: str | None = None
    masked: bool = field(default=False, metadata={"rare": True, "fixed": True})  # the model says what it is

    name: ClassVar[str] = "choice"
    main: ClassVar[str] = "accuracy"
    multiple: ClassVar[bool] = False
    token_types: ClassVar[int] = 1

    @property
    def auto(self) -> type:
        """The head of an encoder, an encoder-decoder or a decoder."""
        if self.masked:
            return AutoModelForMaskedLM
        return AutoModelForCausalLM if self.start is None else AutoModelForSeq2SeqLM

    def __post_init__(self) -> None:
        if self.labels:
            raise RecipeError(f"labels are {', '.join(self.labels)}; each question has choices of its own")
        if self.masked and self.start is not None:
            raise RecipeError(f"start is {self.start!r}, but a masked model writes nothing; leave one of them out")
        encode.check(self.prompt)

    def parse(self, text: str) -> Example:
        """A line with a question and its choices, with tabs between."""
        question, *choices = [part.strip() for part in text.split(BETWEEN)]
        if not choices or not all([question, *choices]):
            raise DataError(f"{text[:40]!r} holds no question with choices; give them in a line, with tabs between")
        return {"question": question, "choices": choices}

    def encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, answers: bool
    ) -> list[Feature]:
        """One feature for each choice, or for each of its tokens where those are masked.

        Of a question that is too long, the beginning is `cut` off.
        """
        choices = [choice for e in examples for choice in e["choices"]]
        said = iter([len(ids) for ids in encode.tokens(choices, tokenizer)])
        longest = [max(next(said) for _ in e["choices"]) for e in examples]
        frame = len(encode.ids(self.prompt.replace(encode.PLACE, ""), tokenizer))
        rooms = [tokenizer.model_max_length - MARKS - frame - (n if self.start is None else 0) for n in longest]
        asked = encode.fitted([e["question"] for e in examples], tokenizer, rooms, end=True)
        prompts = [
            self.prompt.replace(encode.PLACE, q) for q, e in zip(asked, examples, strict=True) for _ in e["choices"]
        ]
        if self.masked:
            made = masked.features(prompts, choices, tokenizer, labels=answers)
        else:
            tokens = max(longest, default=0) + MARKS
            written = encode.features(
                prompts, choices, tokenizer, start=self.start, tokens=tokens, labels=answers, ended=False
            )
            made = [[feature] for feature in written]
        of = [(i, place) for i, e in enumerate(examples) for place in range(len(e["choices"]))]
        for rows, (i, place) in zip(made, of, strict=True):
            held = {"example": [i], "choice": [place], "cut": [int(asked[i] != examples[i]["question"])]}
            for feature in rows:
                feature |= held
                if answers and place != _right(examples[i]):
                    feature["labels"] = [UNKNOWN] * len(feature["labels"])
        return [feature for rows in made for feature in rows]

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over the tokens of right choices, in nats; logits (slots, vocabulary), labels (slots,)."""
        known = labels != UNKNOWN
        return losses.loss("cross_entropy", logits[known], labels[known]) if known.any() else 0 * logits.sum()

    def reduce(self, logits: np.ndarray, feature: Feature) -> np.ndarray:
        """Bits of each token of a choice, and whether it comes first: (slots, 2), of logits (slots, vocabulary)."""
        first = logits.argmax(-1) == feature["said"]
        return np.stack([losses.bits(logits, feature["said"]), first], axis=1)

    def predict(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]
    ) -> list[Chosen]:
        """The places of the choices with the fewest bits, and with the fewest bits a byte."""
        found = []
        for held, example in zip(_costs(outputs, features, examples), examples, strict=True):
            sizes = np.array([len(choice.encode()) for choice in example["choices"]])
            costs = np.array([bits for bits, _ in held])
            likeliest, by_length = int(costs.argmin()), int((costs / sizes).argmin())
            if len(held) == 1:
                likeliest = by_length = 0 if held[0][1] else NONE
            found.append(Chosen(likeliest, by_length, tuple(costs.tolist())))
        return found

    def score(self, predictions: Sequence[Chosen], examples: Sequence[Example]) -> dict[str, Any]:
        """Shares of questions that are answered right: by the likeliest choice, and by the likeliest for its length.

        And, of a model that writes, bits per byte of the right choices; an encoder's bits are no length of a code.
        """
        right, normalized, questions = self._right(predictions, examples).sum(0)
        shares = {"accuracy": right, "normalized_accuracy": normalized}
        figures = {name: float(count / max(questions, 1)) for name, count in shares.items()}
        if not self.masked:
            bits = sum(p.costs[_right(e)] for p, e in zip(predictions, examples, strict=True))
            size = sum(len(e["choices"][_right(e)].encode()) for e in examples)
            figures["bits_per_byte"] = float(bits / max(size, 1))
        return figures

    def counts(self, predictions: Sequence[Chosen], examples: Sequence[Example]) -> np.ndarray:
        """Whether the likeliest choice is right, and 1, of each question: (examples, 2)."""
        return self._right(predictions, examples)[:, [0, 2]]

    def _right(self, predictions: Sequence[Chosen], examples: Sequence[Example]) -> np.ndarray:
        rows = [
            (p.likeliest == _right(e), p.by_length == _right(e), 1) for p, e in zip(predictions, examples, strict=True)
        ]
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """Accuracy from summed counts (..., 2)."""
        return counts.mean(summed)

    def bits(self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]) -> float:
        """Bits to say which choice is right, given what they are; of one choice, those of its text."""
        total = 0.0
        for held, example in zip(_costs(outputs, features, examples), examples, strict=True):
            costs = np.array([bits for bits, _ in held])
            total += costs[0] if len(costs) == 1 else costs[_right(example)] + np.logaddexp2.reduce(-costs)
        return float(total)

    def answers(self, example: Example) -> int:
        """A question has one answer; the bytes of the text, where there is one choice."""
        return 1 if len(example["choices"]) > 1 else len(example["choices"][0].encode())

    def unit(self, example: Example) -> str:
        """A choice among several is one answer; an only one is counted by its bytes."""
        return "answer" if len(example["choices"]) > 1 else "byte"

    def show(self, prediction: Chosen, example: Example) -> dict[str, Any]:
        """The question and the choices taken; None where the only one would not be written."""
        likeliest, by_length = (
            None if place == NONE else example["choices"][place]
            for place in (prediction.likeliest, prediction.by_length)
        )
        return {"question": example["question"], "choice": likeliest, "by_length": by_length}


def _right(example: Example) -> int:
    """The place of the right choice; the only one has no label."""
    return int(example.get("label", 0))


def _costs(
    outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]
) -> list[list[tuple[float, bool]]]:
    """(bits, whether every token is the likeliest) of each choice of each example."""
    found = [[(0.0, True)] * len(example["choices"]) for example in examples]
    for output, feature in zip(outputs, features, strict=True):
        (i,), (place,), (lost,) = feature["example"], feature["choice"], feature["uncoded"]
        bits, first = found[i][place]
        found[i][place] = (
            bits + float(output[:, 0].sum()) + BYTE * lost,
            first and bool(output[:, 1].all()) and not lost,
        )
    return found
