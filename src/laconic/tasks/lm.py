"""Causal language modelling: how many bits a model needs to write a text down.

Shannon 1951, Prediction and entropy of printed English; Delétang et al. 2024, arXiv:2309.10668, for bits per byte,
which can be compared whatever the tokenizer. A text longer than the context is read in windows that overlap, so that
every token is predicted once and has tokens before it (Press et al. 2021, arXiv:2012.15832, section 2).

The bits of a text are the sum of -log2 p of its tokens, the first one after the token that begins (or else ends) texts;
where a tokenizer has neither, the first token costs as much as any. A piece of text that the tokenizer has no token for
costs its bytes, 8 bits each, on top of the unknown token. The end of a text is not charged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from laconic import losses, options
from laconic.contracts import Example, Feature
from laconic.data.subwords import uncoded
from laconic.errors import RecipeError
from laconic.writing.said import BYTE, Said, cost, saved

TEXTS = 256  # split into tokens at once


@dataclass(frozen=True)
class LM:
    """Next-token prediction. A window holds `context` tokens (all the model can read, without it).

    `overlap` is the share of a window that is only read, as it was predicted in the window before.
    """

    labels: tuple[str, ...] = ()
    context: int | None = None
    overlap: float = 0.25

    multiple: ClassVar[bool] = False
    name: ClassVar[str] = "lm"
    main: ClassVar[str] = "saved"
    auto: ClassVar[type] = AutoModelForCausalLM
    token_types: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.labels:
            raise RecipeError(f"labels are {', '.join(self.labels)}; a language model has none, its answer is the text")
        if self.context is not None:
            options.whole("context", self.context, least=2)
        if not 0 <= self.overlap <= 0.9:
            raise RecipeError(f"overlap is {self.overlap}; give a share of a window, 0 to 0.9")

    def parse(self, text: str) -> Example:
        """A line is a text."""
        return {"text": text}

    def encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, answers: bool
    ) -> list[Feature]:
        """Windows of every text; `slots` are the places whose next token is predicted, `labels` those tokens.

        `example` is the text a window is of. `uncoded` bytes and a first token of `choices` are charged beside.
        """
        features = []
        for i, (ids, lost) in enumerate(_pieces([e["text"] for e in examples], tokenizer)):
            for feature in self.windowed(i, ids, tokenizer, uncoded=lost):
                if answers:
                    feature["labels"] = [feature["input_ids"][place + 1] for place in feature["slots"]]
                features.append(feature)
        return features

    def windowed(
        self, example: int, ids: list[int], tokenizer: PreTrainedTokenizerFast, *, uncoded: int = 0
    ) -> Iterator[Feature]:
        """The windows of one text whose tokens are `ids`, without labels."""
        first, size = beginning(tokenizer), self.size(tokenizer)
        choices = len(tokenizer) if first is None and ids else 1
        ids = ids if first is None else [first, *ids]
        feature = {"uncoded": [uncoded], "choices": [choices]}
        for begin, slots in windows(len(ids), size, int(self.overlap * size)):
            feature |= {"example": [example], "input_ids": ids[begin : begin + size] or [0], "slots": slots}
            feature["attention_mask"] = [1] * len(feature["input_ids"])
            yield feature
            feature = {"uncoded": [0], "choices": [1]}

    def size(self, tokenizer: PreTrainedTokenizerFast) -> int:
        """Tokens of a window."""
        return min(self.context or tokenizer.model_max_length, tokenizer.model_max_length)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over the tokens of a batch, in nats; logits (slots, vocabulary), labels (slots,)."""
        return losses.loss("cross_entropy", logits, labels) if len(labels) else logits.sum()

    def reduce(self, logits: np.ndarray, feature: Feature) -> np.ndarray:
        """Bits of each token that was to be predicted, (slots,), of logits (slots, vocabulary)."""
        return losses.bits(logits, [feature["input_ids"][slot + 1] for slot in feature["slots"]])

    def predict(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]
    ) -> list[dict[str, float]]:
        """Bits and tokens of each text, and its lost bytes, which no token says; their bits are among the bits."""
        rows = [{"bits": 0.0, "tokens": 0, "lost": 0} for _ in examples]
        for output, feature in zip(outputs, features, strict=True):
            row = rows[feature["example"][0]]
            (lost,), (choices,) = feature["uncoded"], feature["choices"]
            row["bits"] += float(output.sum()) + BYTE * lost + float(np.log2(choices))
            row["tokens"] += len(output) + (choices > 1)
            row["lost"] += lost
        return rows

    def score(self, predictions: Sequence[dict[str, float]], examples: Sequence[Example]) -> dict[str, Any]:
        """The share of the texts' bits that is saved, higher is better; bits per byte; perplexity of a token."""
        said = [Said((), p["bits"], int(p["tokens"]), int(p["lost"])) for p in predictions]
        return cost(said, [self.answers(e) for e in examples])

    def counts(self, predictions: Sequence[dict[str, float]], examples: Sequence[Example]) -> np.ndarray:
        """Bits under the model, and UTF-8 bytes, of each text: (examples, 2)."""
        return np.array([(p["bits"], self.answers(e)) for p, e in zip(predictions, examples, strict=True)])

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """1 - bits per byte / 8, from summed counts (..., 2): 0 saves nothing, 1 everything."""
        return saved(summed)

    def bits(self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]) -> float:
        """Bits of all texts."""
        return sum(row["bits"] for row in self.predict(outputs, features, examples))

    def answers(self, example: Example) -> int:
        """A text is answered byte by byte."""
        return len(example["text"].encode())

    def unit(self, example: Example) -> str:
        """Bytes are counted."""
        return "byte"

    def show(self, prediction: dict[str, float], example: Example) -> dict[str, Any]:
        """The text, its bits under the model, its bytes, and the one over the other."""
        amount = self.answers(example)
        per_byte = prediction["bits"] / amount if amount else 0.0
        bits, tokens = prediction["bits"], prediction["tokens"]
        return {"text": example["text"], "bits": bits, "tokens": tokens, "bytes": amount, "bits_per_byte": per_byte}


def beginning(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """The token that stands before a text, where the tokenizer has one: what begins texts, or else ends them."""
    first: int | None = tokenizer.bos_token_id
    return tokenizer.eos_token_id if first is None else first


def windows(tokens: int, size: int, overlap: int) -> Iterator[tuple[int, list[int]]]:
    """(where it begins, places in it whose next token is predicted) of each window of at most `size` tokens.

    Every token but the first is predicted once. A window begins `overlap` tokens before the first it predicts, and at
    least one.
    """
    begin, done = 0, 1  # `done` tokens are predicted, or the first
    while True:
        end = min(begin + size, tokens)
        yield begin, list(range(done - 1 - begin, end - 1 - begin))
        if end >= tokens:
            return
        begin, done = end - max(overlap, 1), end


def _pieces(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[list[int], int]]:
    """Tokens of each text, and how many of its bytes have none."""
    for start in range(0, len(texts), TEXTS):
        some = list(texts[start : start + TEXTS])
        encoded = tokenizer(some, add_special_tokens=False, truncation=False, verbose=False)
        for text, encoding in zip(some, encoded.encodings or [], strict=True):
            yield encoding.ids, uncoded(text, encoding, tokenizer.unk_token_id)
