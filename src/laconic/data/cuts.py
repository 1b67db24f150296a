"""Texts of which a model reads a part only: marked where they are encoded, said where they are answered.

No paper: bookkeeping.
"""

from collections.abc import Sequence

from transformers import BatchEncoding, PreTrainedTokenizerFast

from laconic.contracts import Feature
from laconic.data.batching import by_example


def cut(encoded: BatchEncoding, i: int) -> list[int]:
    """What a feature holds as `cut`: 1 where the tokenizer cut a text, else 0."""
    return [int(bool((encoded.encodings or [])[i].overflowing))]


def said(features: Sequence[Feature], tokenizer: PreTrainedTokenizerFast) -> str:
    """How many texts were cut, in words; nothing where none was. A text is cut where any of its features says so."""
    texts = by_example(features).values()
    number = sum(any(feature.get("cut", [0])[0] for feature in some) for some in texts)
    if not number:
        return ""
    those, room = f"{number} of {len(texts)} texts", tokenizer.model_max_length
    return f"{those} do not fit in the {room} tokens that the model reads; what did not fit was cut off"
