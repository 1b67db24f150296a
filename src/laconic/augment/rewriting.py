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
from transformers import AutoModelForMaskedLM

from laconic import checkpoint
from laconic.contracts import Example
from laconic.data.batching import batches, model_inputs
from laconic.errors import ArtifactError

BATCH = 32
FRONT = "{}: "  # the label before its text


class Rewriting:
    """So many texts of a label: its training texts in turn, a share `mask` of their tokens drawn anew."""

    def __init__(
        self, source: str | Path, examples: Sequence[Example], temperature: float, mask: float, seed: int
    ) -> None:
        self.model = checkpoint.whole(AutoModelForMaskedLM, source, "give a masked language model, or one of control")
        self.tokenizer = checkpoint.tokenizer(source)
        if self.tokenizer.mask_token_id is None:
            raise ArtifactError(f"{source}: its tokenizer has no mask; give a masked language model, or one of control")
        self.temperature, self.mask = temperature, mask
        self.rng = np.random.default_rng(seed)
        self.own = {
            label: self._turns([e["text"] for e in examples if e["label"] == label]) for label in _labels(examples)
        }

    def __call__(self, label: str, count: int) -> list[str]:
        """Texts whose other words stay as they are."""
        return self._rewritten(label, list(itertools.islice(self.own[label], count)))

    def _turns(self, texts: Sequence[str]) -> Iterator[str]:
        """The texts again and again, in another order each time."""
        while True:
            yield from (texts[i] for i in self.rng.permutation(len(texts)))

    def _rewritten(self, label: str, texts: Sequence[str]) -> list[str]:
        front = FRONT.format(label)
        encoded = self.tokenizer([front + text for text in texts], truncation=True, return_offsets_mapping=True)
        chosen = [self._chosen(offsets, len(front)) for offsets in encoded["offset_mapping"]]
        features = []
        for ids, places in zip(encoded["input_ids"], chosen, strict=True):
            held = [self.tokenizer.mask_token_id if i in places else id_ for i, id_ in enumerate(ids)]
            features.append({"input_ids": held, "attention_mask": [1] * len(ids)})
        found = list(texts)
        for rows, batch in batches(features, BATCH, self.tokenizer.pad_token_id or 0):
            for said, row in zip(self._drawn(batch, [chosen[row] for row in rows]), rows, strict=True):
                spots = [[at - len(front) for at in encoded["offset_mapping"][row][place]] for place in chosen[row]]
                found[row] = self._put(texts[row], spots, said)
        return found

    def _chosen(self, offsets: Sequence[tuple[int, int]], front: int) -> list[int]:
        """Places of tokens of the text itself, ascending, one at least."""
        own = [i for i, (begin, end) in enumerate(offsets) if begin >= front and end > begin]
        count = min(len(own), max(1, round(self.mask * len(own))))
        return sorted(self.rng.choice(own, count, replace=False).tolist()) if own else []

    @torch.no_grad()
    def _drawn(self, batch: dict[str, torch.Tensor], places: Sequence[Sequence[int]]) -> list[list[int]]:
        """Ids for the masked places of each row of a batch."""
        logits = self.model(**model_inputs(batch, self.model.device)).logits.float()  # (batch, longest, vocabulary)
        logits[..., self.tokenizer.all_special_ids] = -torch.inf
        found = []
        for row, some in enumerate(places):
            shares = (
                (logits[row, list(some)] / self.temperature).softmax(-1).double().cpu().numpy()
            )  # (places, vocabulary)
            found.append([int(self.rng.choice(len(p), p=p / p.sum())) for p in shares])
        return found

    def _put(self, text: str, spots: Sequence[Sequence[int]], ids: Sequence[int]) -> str:
        """The text with what each id spells in place of the letters that stood there."""
        for (begin, end), said in reversed(list(zip(spots, ids, strict=True))):
            word = str(self.tokenizer.decode([said])).strip().removeprefix("##")
            text = text[:begin] + word + text[end:]
        return text


def _labels(examples: Sequence[Example]) -> set[str]:
    return {example["label"] for example in examples}
