"""Texts of a label, made of those there are: a masked language model says some of their tokens anew.

Wu et al. 2018, arXiv:1812.06705; Kumar et al. 2020, arXiv:2003.02245, section 3.1: the label stands in front of the
text, so that a model which was pretrained on "label: text" says what goes with it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoModelForMaskedLM

from laconic import answers, checkpoint
from laconic.contracts import Example, Feature
from laconic.data.batching import batches, model_inputs
from laconic.errors import ArtifactError

BATCH = 32
FRONT = "{}: "  # the label before its text
MARKS = ("##", "\u0120", "\u2581")  # how a piece begins that goes on a word (WordPiece), or begins one (BPE, Unigram)
UNUSED = re.compile(r"[\[<]unused_?\d+[\]>]|madeupword\d+")  # rows that a vocabulary holds in reserve
BROKEN = "\ufffd"  # what stands for bytes that are no letter
OTHER = "give a masked language model, or one of control"

Places = list[int]  # of tokens in a row of ids
Span = tuple[int, int]  # where a token begins and ends in the text


class Rewriting:
    """So many texts of a label: its training texts in turn, a share `mask` of their tokens drawn anew."""

    def __init__(
        self, source: str | Path, examples: Sequence[Example], temperature: float, mask: float, seed: int
    ) -> None:
        if type(checkpoint.config(source)) not in MODEL_FOR_MASKED_LM_MAPPING:
            raise ArtifactError(f"{source} is no masked language model; {OTHER}")
        self.model = checkpoint.whole(AutoModelForMaskedLM, source, OTHER)
        self.tokenizer = checkpoint.tokenizer(source)
        self.tokenizer.model_max_length = checkpoint.limit(self.model, self.tokenizer)
        if self.tokenizer.mask_token_id is None:
            raise ArtifactError(f"{source}: its tokenizer has no mask; {OTHER}")
        self.temperature, self.mask = temperature, mask
        self.rng = np.random.default_rng(seed)
        self.mark, self.kinds = self._kinds(self.model.get_output_embeddings().weight.shape[0])
        texts: dict[str, list[str]] = {}
        for example in examples:
            texts.setdefault(example["label"], []).append(example["text"])
        self.turns = {label: self._turns(some) for label, some in texts.items()}

    def __call__(self, label: str, count: int) -> list[str]:
        """Texts whose other tokens stand as in the data; of long ones the beginning, which is what the model reads."""
        return self.rewritten(label, list(itertools.islice(self.turns[label], count)))

    def rewritten(self, label: str, texts: Sequence[str]) -> list[str]:
        """Each text with a share of its tokens drawn anew, of those that the tokenizer knows.

        "" for one without tokens, of broken letters, or with a name such as [SEP], which tokenizers take for a mark.
        """
        front = FRONT.format(label)
        texts = [front + text for text in texts]
        encoded = self.tokenizer(texts, truncation=True, return_offsets_mapping=True)
        rows, spans = encoded["input_ids"], encoded["offset_mapping"]
        own = [[i for i, (b, e) in enumerate(o) if e > max(b, len(front))] for o in spans]
        known = [[i for i in places if self.kinds[ids[i]] >= 0] for ids, places in zip(rows, own, strict=True)]
        chosen = [self._chosen(places) for places in known]
        drawn = [list(ids) for ids in rows]
        features: list[Feature] = []
        for ids, places in zip(rows, chosen, strict=True):
            held = [self.tokenizer.mask_token_id if i in places else id_ for i, id_ in enumerate(ids)]
            features.append({"input_ids": held, "attention_mask": [1] * len(ids)})
        size = answers.room(self.model, features, BATCH)
        for some, batch in batches(features, size, self.tokenizer.pad_token_id or 0):
            self._draw(batch, [drawn[i] for i in some], [chosen[i] for i in some])
        made = []
        for text, places, span, before, ids in zip(texts, own, spans, rows, drawn, strict=True):
            changed = {i for i in places if ids[i] != before[i]}
            made.append(self._spelt(text, len(front), ids, _letters(places, span, len(front)), changed))
        return made

    def _turns(self, texts: Sequence[str]) -> Iterator[str]:
        """The texts again and again, in another order each time."""
        while True:
            yield from (texts[i] for i in self.rng.permutation(len(texts)))

    def _chosen(self, own: Sequence[int]) -> Places:
        """Some of the places, ascending, one at least."""
        count = min(len(own), max(1, round(self.mask * len(own))))
        return sorted(self.rng.choice(own, count, replace=False).tolist()) if own else []

    def _kinds(self, rows: int) -> tuple[str, torch.Tensor]:
        """The tokenizer's own mark, and of each row of its vocabulary whether the piece begins with that: (rows,).

        -1 for what is no piece of text.
        """
        pieces = self.tokenizer.get_vocab()
        added = self.tokenizer.added_tokens_decoder
        special = {*self.tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}
        mark = max(MARKS, key=lambda mark: sum(piece.startswith(mark) for piece in pieces))
        kinds = torch.full((rows,), -1)
        for piece, i in pieces.items():
            if i < rows and i not in special and not UNUSED.fullmatch(piece):
                kinds[i] = piece.startswith(mark)
        return mark, kinds

    @torch.no_grad()
    def _draw(self, batch: dict[str, torch.Tensor], rows: Sequence[list[int]], places: Sequence[Places]) -> None:
        """Put new ids into the places of each row of a batch: pieces that begin as those that stand there."""
        logits = self.model(**model_inputs(batch, self.model.device)).logits  # (batch, longest, vocabulary)
        for row, ids, some in zip(logits, rows, places, strict=True):
            for place in some:
                here = row[place].float().cpu() / self.temperature  # (vocabulary,)
                shares = here.masked_fill(self.kinds != self.kinds[ids[place]], -torch.inf).double().softmax(0).numpy()
                ids[place] = int(self.rng.choice(len(shares), p=shares / shares.sum()))

    def _spelt(
        self, text: str, start: int, ids: Sequence[int], letters: Sequence[tuple[Span, Places]], changed: set[int]
    ) -> str:
        """The text from `start` on as it stands there, but for the tokens that changed."""
        made, at = "", start
        for (begin, end), places in letters:
            old, between = text[begin:end], text[at:begin]
            new = old if changed.isdisjoint(places) else _white(old) + self._said([ids[i] for i in places])
            anew = self.mark == MARKS[0] and not self.kinds[ids[places[0]]]  # a piece that doesn't go on a word
            if anew and not between and _meet(made, new) and not _meet(text[:begin], old):
                between = " "
            made, at = made + between + new, end
        named = any(token in made for token in self.tokenizer.all_special_tokens)
        return "" if named or BROKEN in made else made.strip()

    def _said(self, ids: Sequence[int]) -> str:
        """Pieces that are one letter, or one piece, without the mark of how a piece begins."""
        said = str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))
        return said.removeprefix(self.mark) if self.mark == MARKS[0] else said.removeprefix(" ")


def _letters(places: Places, spans: Sequence[Span], start: int) -> list[tuple[Span, Places]]:
    """Spans that don't overlap, behind `start`, and which tokens are theirs: several where a letter has several."""
    found: list[tuple[Span, Places]] = []
    for i in places:
        begin, end = max(spans[i][0], start), spans[i][1]
        if found and begin < found[-1][0][1]:
            (before, until), others = found.pop()
            found.append(((before, max(end, until)), [*others, i]))
        else:
            found.append(((begin, end), [i]))
    return found


def _white(text: str) -> str:
    """The white space that a text begins with."""
    return text[: len(text) - len(text.lstrip())]


def _meet(left: str, right: str) -> bool:
    """Whether letters or digits would stand side by side."""
    return left[-1:].isalnum() and right[:1].isalnum()
