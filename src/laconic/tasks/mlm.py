"""Masked language modelling: how many bits an encoder needs for words that are hidden, given those around them.

Devlin et al. 2018, arXiv:1810.04805, section 3.1, by whole words as in its authors' later models. Differs from the
paper: a hidden word always looks hidden, and which words are is drawn once: see `writing.hidden`.

Bits are the sum of -log2 p of the hidden words' tokens, all hidden at once; they are no length of a code for the text.
What no token says of a hidden word costs its bytes, 8 bits each. A token of several words, as Chinese ones of some
tokenizers, is hidden with one of them, and then costs more than the bytes that are counted.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerFast

from laconic.contracts import Example, Feature
from laconic.errors import RecipeError
from laconic.writing.hidden import Hides

TEXTS = 256  # split into tokens at once


@dataclass(frozen=True)
class MLM(Hides):
    """Hidden words give way to masks, one for each of their tokens."""

    name: ClassVar[str] = "mlm"
    auto: ClassVar[type] = AutoModelForMaskedLM

    def encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, answers: bool
    ) -> list[Feature]:
        """Windows of every text; `slots` are the places whose token is hidden, `said` those tokens.

        `uncoded` are the bytes of hidden text that no token says, in a text's last window.
        """
        mask, unknown = tokenizer.mask_token_id, tokenizer.unk_token_id
        if mask is None:
            raise RecipeError("the tokenizer has no mask, by which a word is hidden; give one that has")
        silent = [{at for span in self.hidden(e["text"]) for at in range(*span)} for e in examples]  # and not said yet
        hidden = [frozenset(places) for places in silent]
        features: list[Feature] = []
        for i, encoding in self._windows(examples, tokenizer):
            slots = _places(encoding, hidden[i])
            shown = np.array(encoding.ids, np.int64)
            said = shown[slots].tolist()
            silent[i].difference_update(*(range(*encoding.offsets[p]) for p in slots if encoding.ids[p] != unknown))
            shown[slots] = mask
            features.append({"example": [i], "input_ids": shown.tolist(), "attention_mask": [1] * len(shown)})
            features[-1] |= {"slots": slots, "said": said, "uncoded": [0], **({"labels": said} if answers else {})}
        for i, feature in {feature["example"][0]: feature for feature in features}.items():  # the last of each text
            feature["uncoded"] = [sum(len(examples[i]["text"][at].encode()) for at in silent[i])]
        return features

    def _windows(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[int, Any]]:
        """(number of the text, encoding) of every window."""
        most = min(self.context or tokenizer.model_max_length, tokenizer.model_max_length)
        for start in range(0, len(examples), TEXTS):
            some = [e["text"] for e in examples[start : start + TEXTS]]
            encoded = tokenizer(some, truncation=True, max_length=most, return_overflowing_tokens=True)
            for i, encoding in zip(encoded["overflow_to_sample_mapping"], encoded.encodings or [], strict=True):
                yield start + i, encoding


def _places(encoding: Any, hidden: Set[int]) -> list[int]:
    """Places of the tokens that say a hidden character."""
    pairs = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
    return [place for place, (span, special) in enumerate(pairs) if not special and not hidden.isdisjoint(range(*span))]
