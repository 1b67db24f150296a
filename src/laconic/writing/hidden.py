"""What tasks share that hide words of a text and ask for them: which words, their bits, the figures.

Devlin et al. 2018, arXiv:1810.04805, section 3.1 (a share of a text is hidden). Differs from the paper: whole words are
hidden, drawn once from the text and the seed, so that models with other tokenizers are asked for the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from laconic import losses, options
from laconic.contracts import Example, Feature
from laconic.data import words
from laconic.errors import RecipeError
from laconic.writing.said import BYTE, Said, cost, saved

LEAST = 8  # tokens of a window

Span = tuple[int, int]  # start and end in a text, in characters
Figures = dict[str, float]  # of a text's hidden words: bits, tokens, those of them that are right, lost bytes


@dataclass(frozen=True)
class Hides:
    """A share `mask` of each text's words is hidden, drawn by `seed`. A window holds `context` tokens.

    Without `context` it holds all that the model can read; a longer text is read in windows side by side.
    """

    labels: tuple[str, ...] = ()
    context: int | None = None
    mask: float = 0.15
    seed: int = 0

    multiple: ClassVar[bool] = False
    main: ClassVar[str] = "saved"
    token_types: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.labels:
            raise RecipeError(f"labels are {', '.join(self.labels)}; a language model has none, its answer is the text")
        if self.context is not None:
            options.whole("context", self.context, least=LEAST)
        if not 0 < self.mask <= 0.5:
            raise RecipeError(f"mask is {self.mask}; give a share of the words, above 0 and at most 0.5")
        options.seed(self.seed)

    def parse(self, text: str) -> Example:
        """A line is a text."""
        return {"text": text}

    def hidden(self, text: str) -> list[Span]:
        """The words that are hidden, in order, at least one where there are any."""
        found = words.spans(text)
        drawn = np.random.default_rng([self.seed, crc32(text.encode())]).permutation(len(found))
        return [found[i] for i in sorted(drawn[: max(1, round(self.mask * len(found)))])]

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over what is asked for in a batch, in nats; logits (slots, vocabulary), labels (slots,)."""
        return losses.loss("cross_entropy", logits, labels) if len(labels) else 0 * logits.sum()

    def reduce(self, logits: np.ndarray, feature: Feature) -> np.ndarray:
        """Bits of each token asked for, and whether it is the likeliest: (slots, 2), of logits (slots, vocabulary)."""
        return np.stack([losses.bits(logits, feature["said"]), logits.argmax(-1) == feature["said"]], axis=1)

    def predict(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]
    ) -> list[Figures]:
        """What each text's hidden words cost, how many tokens say them, and how many of those the model would say."""
        rows: list[Figures] = [{"bits": 0.0, "tokens": 0, "right": 0, "lost": 0} for _ in examples]
        for output, feature in zip(outputs, features, strict=True):
            row, (lost,) = rows[feature["example"][0]], feature["uncoded"]
            row["bits"] += float(output[:, 0].sum()) + BYTE * lost
            row["tokens"] += len(output)
            row["right"] += int(output[:, 1].sum())
            row["lost"] += lost
        return rows

    def score(self, predictions: Sequence[Figures], examples: Sequence[Example]) -> dict[str, Any]:
        """Share of the hidden words' bits that is saved, bits per byte of them; perplexity, accuracy of a token."""
        said = [Said((), p["bits"], int(p["tokens"]), int(p["lost"])) for p in predictions]
        accuracy = sum(p["right"] for p in predictions) / max(sum(p["tokens"] for p in predictions), 1)
        return {**cost(said, [self.answers(e) for e in examples]), "accuracy": accuracy}

    def counts(self, predictions: Sequence[Figures], examples: Sequence[Example]) -> np.ndarray:
        """Bits under the model, and UTF-8 bytes, of each text's hidden words: (examples, 2)."""
        return np.array([(p["bits"], self.answers(e)) for p, e in zip(predictions, examples, strict=True)])

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """1 - bits per byte / 8, from summed counts (..., 2): 0 saves nothing, 1 everything."""
        return saved(summed)

    def bits(self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]) -> float:
        """Bits of all hidden words."""
        return sum(p["bits"] for p in self.predict(outputs, features, examples))

    def answers(self, example: Example) -> int:
        """Hidden words are answered byte by byte."""
        return sum(size(example["text"], span) for span in self.hidden(example["text"]))

    def unit(self, example: Example) -> str:
        """Bytes are counted."""
        return "byte"

    def show(self, prediction: Figures, example: Example) -> dict[str, Any]:
        """The text, its hidden words, their bits under the model, and how many of their tokens it would say."""
        text = example["text"]
        shown = {name: prediction[name] for name in ("bits", "tokens", "right")}
        return {"text": text, "hidden": [text[start:end] for start, end in self.hidden(text)], **shown}


def sentinels(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The tokens that stand for hidden words, in order."""
    known = tokenizer.get_vocab()
    found = [piece for piece in (f"<extra_id_{i}>" for i in range(len(known))) if piece in known]
    if not found:
        raise RecipeError("span corruption needs sentinels <extra_id_0>, ...; this tokenizer has none")
    return found


def size(text: str, span: Span) -> int:
    """UTF-8 bytes of a part of the text."""
    return len(text[slice(*span)].encode())
