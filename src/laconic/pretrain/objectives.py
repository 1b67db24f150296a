"""What a model is pretrained to say of a stretch of text: the next token, hidden tokens, or hidden spans.

Radford et al. 2019 (clm); Devlin et al. 2018, arXiv:1810.04805, with masks drawn anew each time as Liu et al. 2019,
arXiv:1907.11692 (mlm); Raffel et al. 2019, arXiv:1910.10683, section 3.1.4 (span-corruption).
What is hidden follows from the seed and the batch's place in the run alone, so a run that goes on hides the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from laconic.answers import Batch
from laconic.errors import RecipeError
from laconic.writing.hidden import sentinels

IGNORED = -100  # target of a place that is not asked for
REPLACED, KEPT = 0.8, 0.1  # of hidden tokens: a mask stands there, or the token itself; else a random token


class Pretext(Protocol):
    """An objective: the head it trains, the special tokens that are made for it, and the task that goes on with it."""

    auto: ClassVar[type]
    special: ClassVar[str]  # of `tokenizer.SPECIAL`
    task: ClassVar[str]
    unread: ClassVar[tuple[str, ...]]  # options of training that are of other objectives

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, block: int, mask: float, span: float) -> Pretext:
        """The objective with a tokenizer; raises RecipeError where that lacks a token that is needed."""
        ...

    @staticmethod
    def around(tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
        """Ids before and after each document in the packed text."""
        ...

    @property
    def taken(self) -> int:
        """Tokens of text a stretch begins after the last one's begin."""
        ...

    @property
    def width(self) -> int:
        """Tokens of text in a stretch."""
        ...

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Model inputs and labels of stretches (batch, width)."""
        ...


@dataclass(frozen=True)
class CLM:
    """Every token is predicted from those before it in its block."""

    block: int
    auto: ClassVar[type] = AutoModelForCausalLM
    special: ClassVar[str] = "causal"
    task: ClassVar[str] = "lm"
    unread: ClassVar[tuple[str, ...]] = ("mask", "span")

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, block: int, mask: float, span: float) -> CLM:
        """Nothing but the block counts."""
        return cls(block)

    @staticmethod
    def around(tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
        """The marks of both ends that there are, one of them where they are the same."""
        begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        marks = [begin] if begin is not None else []
        return marks, [end] if end is not None and (end != begin or not marks) else []

    @property
    def taken(self) -> int:
        """A block's last target leads the next block."""
        return self.block

    @property
    def width(self) -> int:
        """A block and the token after it."""
        return self.block + 1

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Inputs and what follows each of them: (batch, block)."""
        tokens = torch.from_numpy(rows.astype(np.int64))
        return {"input_ids": tokens[:, :-1], "labels": tokens[:, 1:]}


@dataclass(frozen=True)
class MLM:
    """`mask` of the tokens are hidden and asked for; nine in ten look hidden, and one in ten as it is."""

    block: int
    mask: float
    begin: int
    end: int
    hidden: int  # the mask token
    words: np.ndarray  # ids that may stand for a hidden token
    auto: ClassVar[type] = AutoModelForMaskedLM
    special: ClassVar[str] = "masked"
    task: ClassVar[str] = "mlm"
    unread: ClassVar[tuple[str, ...]] = ("span",)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, block: int, mask: float, span: float) -> MLM:
        """Special tokens are never hidden."""
        begin, end = _first(tokenizer, "cls", "bos"), _first(tokenizer, "sep", "eos")
        special = set(tokenizer.all_special_ids)
        words = np.array([i for i in range(len(tokenizer)) if i not in special])
        return cls(block, mask, begin, end, _first(tokenizer, "mask"), words)

    @staticmethod
    def around(tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
        """What parts two texts, behind each."""
        return [], [_first(tokenizer, "sep", "eos")]

    @property
    def taken(self) -> int:
        """Room for the two marks around it."""
        return self.block - 2

    @property
    def width(self) -> int:
        """As many as are taken."""
        return self.taken

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Inputs with hidden tokens and the tokens themselves as labels: (batch, block)."""
        rows = rows.astype(np.int64)
        asked = (rng.random(rows.shape) < self.mask) & np.isin(rows, self.words)  # (batch, width)
        how = rng.random(rows.shape)  # (batch, width)
        labels = np.where(asked, rows, IGNORED)
        other = self.words[rng.integers(0, len(self.words), rows.shape)]  # (batch, width)
        shown = np.where(asked & (how < REPLACED), self.hidden, rows)
        shown = np.where(asked & (how >= REPLACED + KEPT), other, shown)
        ends = [(0, 0), (1, 1)]
        shown = np.pad(shown, ends, constant_values=((0, 0), (self.begin, self.end)))
        labels = np.pad(labels, ends, constant_values=IGNORED)
        return {"input_ids": torch.from_numpy(shown), "labels": torch.from_numpy(labels)}


@dataclass(frozen=True)
class SpanCorruption:
    """Spans of `span` tokens on average, `mask` of all, give way to one sentinel each and are asked for in turn."""

    block: int
    mask: float
    span: float
    end: int
    start: int  # what the decoder begins with
    sentinels: list[int]
    auto: ClassVar[type] = AutoModelForSeq2SeqLM
    special: ClassVar[str] = "sentinels"
    task: ClassVar[str] = "span_corruption"
    unread: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, block: int, mask: float, span: float) -> SpanCorruption:
        """The decoder begins with the padding token, as T5's does."""
        known = tokenizer.get_vocab()
        marks = [known[piece] for piece in sentinels(tokenizer)]
        return cls(block, mask, span, _first(tokenizer, "eos"), _first(tokenizer, "pad"), marks)

    @staticmethod
    def around(tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
        """What parts two texts, behind each."""
        return [], [_first(tokenizer, "sep", "eos")]

    def _sizes(self, tokens: int) -> tuple[int, int]:
        """Hidden tokens and spans of a stretch of so many tokens."""
        hidden = min(max(round(tokens * self.mask), 1), tokens - 1)
        spans = min(max(round(hidden / self.span), 1), hidden, tokens - hidden, len(self.sentinels))
        return hidden, spans

    @property
    def taken(self) -> int:
        """The most tokens whose inputs, a sentinel for each span and an end, fit the block."""
        tokens = self.block
        while tokens - self._sizes(tokens)[0] + self._sizes(tokens)[1] + 1 <= self.block:
            tokens += 1
        return tokens - 1

    @property
    def width(self) -> int:
        """As many as are taken."""
        return self.taken

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Inputs and labels, each with sentinels and an end; all rows are as long, so nothing is padding."""
        inputs, labels = zip(*(self._one(row.astype(np.int64), rng) for row in rows), strict=True)
        target = torch.from_numpy(np.stack(labels))  # (batch, hidden + spans + 1)
        begun = torch.cat([torch.full((len(target), 1), self.start), target[:, :-1]], 1)
        return {"input_ids": torch.from_numpy(np.stack(inputs)), "decoder_input_ids": begun, "labels": target}

    def _one(self, row: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        hidden, spans = self._sizes(len(row))
        shown, gone = _parts(len(row) - hidden, spans, rng), _parts(hidden, spans, rng)  # (spans,)
        inputs, labels, place = [], [], 0
        for sentinel, stay, go in zip(self.sentinels, shown, gone, strict=False):
            inputs += [row[place : place + stay], [sentinel]]
            labels += [[sentinel], row[place + stay : place + stay + go]]
            place += stay + go
        return np.concatenate([*inputs, [self.end]]), np.concatenate([*labels, [self.end]])


def _parts(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """`total` cut into that many parts of at least 1, all such cuts alike: (parts,)."""
    cuts = np.sort(rng.permutation(total - 1)[: parts - 1]) + 1
    return np.diff([0, *cuts, total])


PRETEXTS: dict[str, type[Pretext]] = {"clm": CLM, "mlm": MLM, "span-corruption": SpanCorruption}


def targets(batch: Batch) -> torch.Tensor:
    """How many tokens are asked for: none, where nothing happens to be hidden."""
    return (batch["labels"] != IGNORED).sum()


def asked(batch: Batch) -> torch.Tensor:
    """What a loss is divided by: the tokens that are asked for, at least 1."""
    return targets(batch).clamp(min=1)


def loss(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Mean -log p of what is asked for, in nats.

    The mean of a share of a batch is over `asked`, the tokens asked for of a share on average: so the mean over the
    shares is that of the batch, however unevenly they hide.
    """
    inputs = {key: value.to(model.device) for key, value in {"asked": asked(batch), **batch}.items()}
    labels, number = inputs.pop("labels"), inputs.pop("asked")  # (batch, tokens), ()
    logits = model(**inputs).logits.float()  # (batch, tokens, vocabulary)
    flat = logits.flatten(0, 1), labels.flatten()
    return torch.nn.functional.cross_entropy(*flat, ignore_index=IGNORED, reduction="sum") / number


def _first(tokenizer: PreTrainedTokenizerFast, *names: str) -> int:
    for name in names:
        found = getattr(tokenizer, f"{name}_token_id")
        if found is not None:
            return int(found)
    raise RecipeError(f"the tokenizer has no {' or '.join(names)} token, which this objective needs")
