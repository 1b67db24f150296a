"""Further examples for a teacher to answer: the training texts with some words swapped for others written alike.

Jiao et al. 2020, arXiv:1909.10351, section 4.1 (augmentation for distillation).
Differs from the paper: a word is swapped for one drawn from the training text in proportion to its use there and with
the same capitals, not for what a language model proposes; no second model is needed, and the teacher says what the new
text means, so it need not mean the same. Some come from a list of words that the student has no piece for any more, so
that it learns from the teacher what they mean when they are spelled out.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from laconic.contracts import Example
from laconic.data.words import spans

SHARE = 0.2  # of words swapped
FIELDS = ("text", "question", "context", "source", "document")  # of running text that is read, not written
LOST = 0.3  # of swapped words: how many are of those the student has no piece for

Pools = dict[tuple[bool, bool], list[str]]  # words by how they are written


def variants(examples: Sequence[Example], copies: int, seed: int, lost: Sequence[str] = ()) -> list[Example]:
    """`copies` variants of each example, in order, copy after copy; their labels are the old ones and mean nothing."""
    rng = np.random.default_rng(seed)
    used, rare = _pools(w for example in examples for w in _words(example)), _pools(lost)
    return [_swap(example, used, rare, rng) for _ in range(copies) for example in examples]


def _pools(words: Iterable[str]) -> Pools:
    pools: Pools = defaultdict(list)
    for word in words:
        pools[_written(word)].append(word)
    return pools


def _words(example: Example) -> Iterator[str]:
    yield from example.get("tokens", ())
    for text in [example.get(field, "") for field in FIELDS] + [turn["text"] for turn in example.get("turns", ())]:
        yield from (text[start:end] for start, end in spans(text))


def _written(word: str) -> tuple[bool, bool]:
    """Whether the first letter is a capital, and whether any other is."""
    return word[:1].isupper(), word[1:] != word[1:].lower()


def _swap(example: Example, used: Pools, rare: Pools, rng: np.random.Generator) -> Example:
    """The example with some words swapped; entities move along with the text they stand in."""

    def others(words: list[str]) -> list[str]:
        for i in np.flatnonzero(rng.random(len(words)) < SHARE):
            written = _written(words[i])
            pool = rare[written] if rare[written] and rng.random() < LOST else used[written]
            words[i] = pool[rng.integers(len(pool))]
        return words

    made = dict(example)
    if "tokens" in example:
        made["tokens"] = others(list(example["tokens"]))
    if "turns" in example:
        made["turns"] = [{**turn, "text": _rewritten(turn["text"], (), others)[0]} for turn in example["turns"]]
    for field in FIELDS:
        if field in example:
            entities = [e for e in ("e1", "e2") if e in example and field == "text"]
            cuts = [example[e][end] for e in entities for end in ("start", "end")]
            made[field], moved = _rewritten(example[field], cuts, others)
            for e in entities:
                start, end = moved[example[e]["start"]], moved[example[e]["end"]]
                made[e] = {"text": made[field][start:end], "start": start, "end": end}
    return made


def _rewritten(text: str, cuts: Sequence[int], others: Callable[[list[str]], list[str]]) -> tuple[str, dict[int, int]]:
    """The text with other words, white space as it was, and where each cut, at which words end, has come to stand."""
    ends = sorted({0, *cuts, len(text)})
    made, moved = "", {}
    for begin, stop in pairwise(ends):
        moved[begin] = len(made)
        places = [(begin + start, begin + end) for start, end in spans(text[begin:stop])]
        for (start, end), word in zip(places, others([text[a:b] for a, b in places]), strict=True):
            made, begin = made + text[begin:start] + word, end
        made += text[begin:stop]
    return made, {**moved, ends[-1]: len(made)}
