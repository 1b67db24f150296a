"""Further examples for a teacher to answer: the training texts with some words swapped for others written alike.

Jiao et al. 2020, arXiv:1909.10351, section 4.1 (augmentation for distillation).
Differs from the paper: a word is swapped for one drawn from the training text in proportion to its use there and with
the same capitals, not for what a language model proposes; no second model is needed, and the teacher says what the new
text means, so it need not mean the same.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from laconic.contracts import Example

SHARE = 0.2  # of words swapped


def variants(examples: Sequence[Example], copies: int, seed: int) -> list[Example]:
    """`copies` variants of each example, in order, copy after copy; their labels are the old ones and mean nothing."""
    rng = np.random.default_rng(seed)
    pools: dict[tuple[bool, bool], list[str]] = defaultdict(list)
    for example in examples:
        for word in _words(example):
            pools[_written(word)].append(word)
    return [_swap(example, pools, rng) for _ in range(copies) for example in examples]


def _words(example: Example) -> list[str]:
    return list(example["tokens"]) if "tokens" in example else str(example["text"]).split()


def _written(word: str) -> tuple[bool, bool]:
    """Whether the first letter is a capital, and whether any other is."""
    return word[:1].isupper(), word[1:] != word[1:].lower()


def _swap(example: Example, pools: dict[tuple[bool, bool], list[str]], rng: np.random.Generator) -> Example:
    words = _words(example)
    for i in np.flatnonzero(rng.random(len(words)) < SHARE):
        pool = pools[_written(words[i])]
        words[i] = pool[rng.integers(len(pool))]
    return {**example, "tokens": words} if "tokens" in example else {**example, "text": " ".join(words)}
