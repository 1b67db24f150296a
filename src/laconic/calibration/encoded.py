"""Texts as the tokens they are read and said in.

No paper: what a vocabulary and positions are needed for.
"""

from collections import Counter
from collections.abc import Iterator
from functools import reduce
from itertools import groupby
from operator import or_

from transformers import PreTrainedTokenizerFast

from laconic.contracts import Example, Feature, Work

CHUNK = 1024  # examples encoded at a time where nothing but counts is kept of them


def encoded(work: Work, examples: list[Example], tokenizer: PreTrainedTokenizerFast) -> Iterator[list[int]]:
    """Token ids of each text that is read or said, some at a time, so that memory does not grow with the data.

    A hidden token counts as if it stood in its place; of a choice that is hidden token by token, as of one text.
    """
    for start in range(0, len(examples), CHUNK):
        features = work.task.encode(examples[start : start + CHUNK], tokenizer, answers=False)
        for _, rows in groupby(enumerate(features), lambda pair: _text(*pair)):
            said = (_said(feature, tokenizer.mask_token_id) for _, feature in rows)
            yield list(reduce(or_, said).elements())


def _text(number: int, feature: Feature) -> tuple[int, ...]:
    """What features of one text have in common."""
    return (*feature["example"], *feature["choice"]) if "choice" in feature else (number,)


def _said(feature: Feature, mask: int | None) -> Counter[int]:
    """The tokens that are read or said."""
    read, said = [*feature["input_ids"], *feature.get("decoder_input_ids", ())], feature.get("said", [])
    for place, token in zip(feature["slots"] if said else (), said, strict=True):
        if "decoder_input_ids" not in feature and read[place] == mask:
            read[place] = token
    found: Counter[int] = Counter(read)
    return found | Counter(said)
