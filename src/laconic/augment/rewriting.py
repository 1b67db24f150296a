"""Texts of a label, made of those there are: a masked language model says some of their tokens anew.

Wu et al. 2018, arXiv:1812.06705; Kumar et al. 2020, arXiv:2003.02245, section 3.1: the label stands in front of the
text, so that a model which was pretrained on "label: text" says what goes with it.
"""

from __future__ import annotations

import itertools
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
KINDS = ("##", "\u0120", "\u2581")  # how a piece begins that goes on a word (WordPiece), or begins one (BPE, Unigram)
BROKEN = "\ufffd"  # what stands for bytes that are no letter
OTHER = "give a masked language model, or one of control"

Places = list[int]  # of tokens in a row of ids


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
        self.kinds = self._kinds(self.model.get_output_embeddings().weight.shape[0])
        texts: dict[str, list[str]] = {}
        for example in examples:
            texts.setdefault(example["label"], []).append(example["text"])
        self.turns = {label: self._turns(some) for label, some in texts.items()}

    def __call__(self, label: str, count: int) -> list[str]:
        """Texts as the tokenizer spells them; of long ones the beginning, which is what the model can read."""
        return self.rewritten(label, list(itertools.islice(self.turns[label], count)))

    def rewritten(self, label: str, texts: Sequence[str]) -> list[str]:
        """Each text with a share of its tokens drawn anew; "" for one without tokens, or of broken letters."""
        front = FRONT.format(label)
        encoded = self.tokenizer([front + text for text in texts], truncation=True, return_offsets_mapping=True)
        own = [[i for i, (b, e) in enumerate(o) if e > max(b, len(front))] for o in encoded["offset_mapping"]]
        chosen = [self._chosen(places) for places in own]
        rows = [list(ids) for ids in encoded["input_ids"]]
        features: list[Feature] = []
        for ids, places in zip(rows, chosen, strict=True):
            held = [self.tokenizer.mask_token_id if i in places else id_ for i, id_ in enumerate(ids)]
            features.append({"input_ids": held, "attention_mask": [1] * len(ids)})
        size = answers.room(self.model, features, BATCH)
        for some, batch in batches(features, size, self.tokenizer.pad_token_id or 0):
            self._draw(batch, [rows[i] for i in some], [chosen[i] for i in some])
        return [self._spelt([ids[i] for i in places]) for ids, places in zip(rows, own, strict=True)]

    def _turns(self, texts: Sequence[str]) -> Iterator[str]:
        """The texts again and again, in another order each time."""
        while True:
            yield from (texts[i] for i in self.rng.permutation(len(texts)))

    def _chosen(self, own: Sequence[int]) -> Places:
        """Some of the places, ascending, one at least."""
        count = min(len(own), max(1, round(self.mask * len(own))))
        return sorted(self.rng.choice(own, count, replace=False).tolist()) if own else []

    def _kinds(self, rows: int) -> torch.Tensor:
        """Of each row of the vocabulary, how its piece begins; -1 for what is no piece of text: (rows,)."""
        kinds = torch.full((rows,), -1)
        for piece, i in self.tokenizer.get_vocab().items():
            if i < rows and i not in self.tokenizer.all_special_ids:
                kinds[i] = next((k for k, start in enumerate(KINDS) if piece.startswith(start)), len(KINDS))
        return kinds

    @torch.no_grad()
    def _draw(self, batch: dict[str, torch.Tensor], rows: Sequence[list[int]], places: Sequence[Places]) -> None:
        """Put new ids into the places of each row of a batch: pieces that begin as those that stand there."""
        logits = self.model(**model_inputs(batch, self.model.device)).logits  # (batch, longest, vocabulary)
        for row, ids, some in zip(logits, rows, places, strict=True):
            for place in some:
                here = row[place].float().cpu() / self.temperature  # (vocabulary,)
                shares = here.masked_fill(self.kinds != self.kinds[ids[place]], -torch.inf).double().softmax(0).numpy()
                ids[place] = int(self.rng.choice(len(shares), p=shares / shares.sum()))

    def _spelt(self, ids: Sequence[int]) -> str:
        text = str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=True)).strip()
        return "" if BROKEN in text else text
