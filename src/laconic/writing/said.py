"""What a model says in answer, and what the right answers cost under it: bits, and how varied its words are.

Shannon 1948: bits of the right texts. Li et al. 2016, arXiv:1510.03055: distinct-n.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from laconic.contracts import Feature, Written
from laconic.data.words import spans
from laconic.maths import counts

BYTE = 8  # bits of a byte as it is


@dataclass(frozen=True)
class Said:
    """The texts that are written for one example, and what its right ones cost."""

    texts: tuple[str, ...]
    bits: float = field(compare=False)
    tokens: int = field(compare=False)
    lost: int = field(default=0, compare=False)  # bytes of them that no token says; their bits are among the bits


def gather(some: Iterable[tuple[Written, Feature]]) -> Said:
    """Of an example's outputs and features: all texts, without white space around them."""
    pairs = list(some)
    lost = sum(sum(feature.get("uncoded", [])) for _, feature in pairs)
    return Said(
        tuple(text.strip() for written, _ in pairs for text in written.texts),
        sum(float(written.bits.sum()) for written, _ in pairs) + BYTE * lost,
        sum(len(written.bits) for written, _ in pairs),
        lost,
    )


def cost(predictions: Sequence[Said], amounts: Sequence[int]) -> dict[str, float]:
    """The share of the right texts' bits that is saved; bits per byte; perplexity of a token. `amounts` are bytes."""
    bits, amount = sum(p.bits for p in predictions), sum(amounts)
    said = bits - BYTE * sum(p.lost for p in predictions)
    return {
        "saved": float(saved(np.array([bits, amount]))),
        "bits_per_byte": float(bits / max(amount, 1)),
        "perplexity": float(2 ** (said / max(sum(p.tokens for p in predictions), 1))),
    }


def saved(summed: np.ndarray) -> np.ndarray:
    """1 - bits per byte / 8, of bits and bytes (..., 2)."""
    return np.asarray(1 - counts.mean(summed) / BYTE)


def distinct(texts: Sequence[str], size: int) -> float:
    """Different runs of `size` words of the texts, over all their words; 0 where there are none.

    Words are as `data.words` has them, between white space, with their capitals and punctuation: `know.`, `know` and
    `Know` are three. Other tools lower-case or set marks apart, so their figures are others.
    """
    said = [[text[a:b] for a, b in spans(text)] for text in texts]
    runs = {tuple(words[i : i + size]) for words in said for i in range(len(words) - size + 1)}
    return len(runs) / max(sum(map(len, said)), 1)
