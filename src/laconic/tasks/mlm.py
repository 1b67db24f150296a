"""Masked language modelling: how many bits an encoder needs for words that are hidden, given those around them.

Devlin et al. 2018, arXiv:1810.04805, section 3.1 (a share of a text is hidden and asked for), by whole words as in its
authors' later models. Differs from the paper: a hidden word always looks hidden, and which words are is drawn once,
from the text and the seed, so that models with other tokenizers are asked for the same ones.

Bits are the sum of -log2 p of the hidden words' tokens, all hidden at once; they are no length of a code for the text.
A hidden piece of text that the tokenizer has no token for costs its bytes, 8 bits each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
import torch
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerFast

from laconic import losses, options
from laconic.contracts import Example, Feature
from laconic.data import words
from laconic.errors import RecipeError
from laconic.writing.said import BYTE, Said, cost, saved

TEXTS = 256  # split into tokens at once
LEAST = 8  # tokens of a window

Span = tuple[int, int]  # start and end in a text, in characters


@dataclass(frozen=True)
class Filled(Said):
    """What a text's hidden words cost, and how many of their tokens the model would say."""

    right: int = 0


@dataclass(frozen=True)
class MLM:
    """A share `mask` of each text's words is hidden, drawn by `seed`. A window holds `context` tokens.

    Without `context` it holds all that the model can read; a longer text is read in windows side by side.
    """

    labels: tuple[str, ...] = ()
    context: int | None = None
    mask: float = 0.15
    seed: int = 0

    multiple: ClassVar[bool] = False
    name: ClassVar[str] = "mlm"
    main: ClassVar[str] = "saved"
    auto: ClassVar[type] = AutoModelForMaskedLM
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

    def encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, answers: bool
    ) -> list[Feature]:
        """Windows of every text; `slots` are the places whose token is hidden, `said` those tokens.

        `uncoded` are the bytes of hidden text that no token says; those without a place stand in a text's last window.
        """
        mask, unknown = tokenizer.mask_token_id, tokenizer.unk_token_id
        if mask is None:
            raise RecipeError("the tokenizer has no mask, by which a word is hidden; give one that has")
        chosen = [self.hidden(e["text"]) for e in examples]
        met: list[set[int]] = [set() for _ in examples]
        features: list[Feature] = []
        for i, encoding in self._windows(examples, tokenizer):
            text, ids = examples[i]["text"], list(encoding.ids)
            places = _places(encoding, chosen[i])
            met[i].update(word for _, word in places)
            slots = [place for place, _ in places]
            said = [ids[place] for place in slots]
            lost = sum(_size(text, encoding.offsets[p]) for p in slots if ids[p] == unknown)
            shown = np.array(ids, np.int64)
            shown[slots] = mask
            features.append({"example": [i], "input_ids": shown.tolist(), "attention_mask": [1] * len(ids)})
            features[-1] |= {"slots": slots, "said": said, "uncoded": [lost], **({"labels": said} if answers else {})}
        for feature in {feature["example"][0]: feature for feature in features}.values():  # the last of each text
            i = feature["example"][0]
            dropped = (span for word, span in enumerate(chosen[i]) if word not in met[i])
            feature["uncoded"] = [feature["uncoded"][0] + sum(_size(examples[i]["text"], span) for span in dropped)]
        return features

    def hidden(self, text: str) -> list[Span]:
        """The words that are hidden, at least one where there are any."""
        found = words.spans(text)
        drawn = np.random.default_rng([self.seed, crc32(text.encode())]).permutation(len(found))
        return [found[i] for i in sorted(drawn[: max(1, round(self.mask * len(found)))])]

    def _windows(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[int, Any]]:
        """(number of the text, encoding) of every window."""
        size = min(self.context or tokenizer.model_max_length, tokenizer.model_max_length)
        for start in range(0, len(examples), TEXTS):
            some = [e["text"] for e in examples[start : start + TEXTS]]
            encoded = tokenizer(some, truncation=True, max_length=size, return_overflowing_tokens=True)
            for i, encoding in zip(encoded["overflow_to_sample_mapping"], encoded.encodings or [], strict=True):
                yield start + i, encoding

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over the hidden tokens of a batch, in nats; logits (slots, vocabulary), labels (slots,)."""
        return losses.loss("cross_entropy", logits, labels) if len(labels) else 0 * logits.sum()

    def reduce(self, logits: np.ndarray, feature: Feature) -> np.ndarray:
        """Bits of each hidden token, and whether it is the likeliest: (slots, 2), of logits (slots, vocabulary)."""
        return np.stack([losses.bits(logits, feature["said"]), logits.argmax(-1) == feature["said"]], axis=1)

    def predict(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]
    ) -> list[Filled]:
        """What each text's hidden words cost, and what of them is right."""
        summed = np.zeros((len(examples), 4))  # bits, tokens, right ones, lost bytes
        for output, feature in zip(outputs, features, strict=True):
            (i,), (lost,) = feature["example"], feature["uncoded"]
            summed[i] += [output[:, 0].sum() + BYTE * lost, len(output), output[:, 1].sum(), lost]
        return [Filled((), float(b), int(tokens), int(lost), int(right)) for b, tokens, right, lost in summed]

    def score(self, predictions: Sequence[Filled], examples: Sequence[Example]) -> dict[str, Any]:
        """Share of the hidden words' bits that is saved, bits per byte of them; perplexity, accuracy of a token."""
        tokens, right = (sum(getattr(p, name) for p in predictions) for name in ("tokens", "right"))
        found = cost(predictions, [self.answers(e) for e in examples])
        return {**found, "accuracy": right / max(tokens, 1)}

    def counts(self, predictions: Sequence[Filled], examples: Sequence[Example]) -> np.ndarray:
        """Bits under the model, and UTF-8 bytes, of each text's hidden words: (examples, 2)."""
        return np.array([(p.bits, self.answers(e)) for p, e in zip(predictions, examples, strict=True)])

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """1 - bits per byte / 8, from summed counts (..., 2): 0 saves nothing, 1 everything."""
        return saved(summed)

    def bits(self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]) -> float:
        """Bits of all hidden words."""
        return sum(p.bits for p in self.predict(outputs, features, examples))

    def answers(self, example: Example) -> int:
        """Hidden words are answered byte by byte."""
        return sum(_size(example["text"], span) for span in self.hidden(example["text"]))

    def unit(self, example: Example) -> str:
        """Bytes are counted."""
        return "byte"

    def show(self, prediction: Filled, example: Example) -> dict[str, Any]:
        """The text, its hidden words, their bits under the model, and how many of their tokens it would say."""
        text = example["text"]
        hidden = [text[start:end] for start, end in self.hidden(text)]
        return {
            "text": text,
            "hidden": hidden,
            "bits": prediction.bits,
            "tokens": prediction.tokens,
            "right": prediction.right,
        }


def _places(encoding: Any, hidden: Sequence[Span]) -> list[tuple[int, int]]:
    """(place, number of the hidden word) of every token that says some of one."""
    found, word = [], 0
    pairs = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
    for place, ((start, end), special) in enumerate(pairs):
        while word < len(hidden) and hidden[word][1] <= start:
            word += 1
        if not special and word < len(hidden) and start < end and end > hidden[word][0]:
            found.append((place, word))
    return found


def _size(text: str, span: Span) -> int:
    """UTF-8 bytes of a part of the text."""
    return len(text[slice(*span)].encode())
