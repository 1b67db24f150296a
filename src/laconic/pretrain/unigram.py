"""Train the pieces of a Unigram tokenizer: many candidates, then EM and pruning in turn until few enough are left.

Kudo 2018, arXiv:1804.10959, section 3.2; candidates, sparse prior and thresholds as SentencePiece has them. The trainer
of `tokenizers` sums in the order of a hash map, another in each process, and so ends with other pieces. Here all orders
are fixed, and what decides is compared as float32, where the last digits of a sum are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from laconic.errors import DataError

MOST = 16  # characters of a piece
SPAN = 24  # characters of a word that are read together: floats hold the probability of so many
ROOM = 1 << 23  # characters of different words that are learned from
SEEDS = 1_000_000
KEPT = 0.75  # share of the pieces that a round of pruning leaves
NEAR = 1.1  # times the pieces wanted, to which is pruned; the likeliest of these stay
LEAST = 0.5  # a piece that is expected less often goes
AT_ONCE = 1 << 22  # numbers of a table


@dataclass(frozen=True)
class Words:
    """Different words in a row, how often each occurs, and which candidates for a piece stand where in them."""

    begins: np.ndarray  # (words,): of characters
    lengths: np.ndarray  # (words,)
    counts: np.ndarray  # (words,)
    ids: np.ndarray  # (characters, MOST): the candidate that begins here and ends so far on, or the number of them
    places: np.ndarray  # (candidates,): where each occurs first
    sizes: np.ndarray  # (candidates,): its characters
    often: np.ndarray  # (candidates,)


def train(counts: Mapping[str, int], wanted: int) -> list[tuple[str, float]]:
    """At most `wanted` pieces with their log probabilities, the likeliest first, of words and how often they occur.

    Words beyond ROOM characters, in the order given, are left out. Single characters are pieces before all others.
    """
    text, begins, lengths, often = _laid(counts)
    words = Words(begins, lengths, often, *_candidates(text, begins, lengths, often))
    alive = np.arange(len(words.places))
    shares = words.often * words.sizes  # (candidates,)
    logs = _logs(words, alive, np.log(shares / shares.sum()))
    near = max(int(NEAR * wanted), wanted + 1)
    while True:
        for _ in range(2):
            alive, logs = _likelier(words, alive, logs)
        if len(alive) <= near:
            break
        alive = _pruned(words, alive, logs, max(near, int(KEPT * len(alive))))
        logs = _logs(words, alive, logs[alive])
    known = logs[alive].astype(np.float32)  # (alive,)
    order = np.lexsort((alive, -known, words.sizes[alive] > 1))[:wanted]
    found = [(_spelling(text, words, alive[i]), float(known[i])) for i in order]
    return sorted(found, key=lambda one: (-one[1], one[0]))


def _laid(counts: Mapping[str, int]) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """The words in a row, long ones cut, and of each where it begins, its length, and how often it occurs."""
    held: list[str] = []
    often: list[int] = []
    room = ROOM
    for word, count in counts.items():
        parts = [word[at : at + SPAN] for at in range(0, len(word), SPAN)]
        held += parts
        often += [count] * len(parts)
        room -= len(word)
        if room <= 0:
            break
    if not held:
        raise DataError("there is no text to train a tokenizer on; give texts that hold more than nothing")
    lengths = np.array([len(word) for word in held])  # (words,)
    return "".join(held), np.cumsum(lengths) - lengths, lengths, np.array(often, np.float64)


def _spelling(text: str, words: Words, piece: int) -> str:
    return text[words.places[piece] : words.places[piece] + words.sizes[piece]]


def _candidates(
    text: str, begins: np.ndarray, lengths: np.ndarray, often: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ids, places, sizes and counts of `Words`: characters, and what occurs twice and more often than all longer text.

    What occurs only as a part of one longer text says nothing that the longer one does not.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)  # (characters,)
    ends, counts = np.repeat(begins + lengths, lengths), np.repeat(often, lengths)  # (characters,)
    ids = np.full((len(text), MOST), -1, np.int32)
    values, places, letters = np.unique(codes, return_index=True, return_inverse=True)
    ids[:, 0] = letters
    found = [(places, np.bincount(letters, counts))]
    redundant = [np.zeros(len(values), bool)]
    first = 0  # id of the first candidate that is one shorter
    for size in range(2, MOST + 1):
        here = np.flatnonzero(ids[:, size - 2] >= 0)
        here = here[here + size <= ends[here]]
        keys = ids[here, size - 2].astype(np.int64) * len(values) + letters[here + size - 1]  # (here,)
        _, at, which = np.unique(keys, return_index=True, return_inverse=True)
        sums = np.bincount(which, counts[here], len(at))
        twice = sums > 1
        base = first + len(found[-1][0])
        numbers = np.where(twice, np.cumsum(twice) - 1 + base, -1)  # in the order of the text they spell
        ids[here, size - 1] = numbers[which]
        places, sums = here[at[twice]], sums[twice]
        for shorter in (ids[places, size - 2], ids[places + 1, size - 2]):
            same = sums == found[-1][1][shorter - first]
            redundant[-1][shorter[same] - first] = size > 2
        found, first = [*found, (places, sums)], base
        redundant.append(np.zeros(len(places), bool))
    return _seeded(ids, found, np.concatenate(redundant))


def _seeded(
    ids: np.ndarray, found: list[tuple[np.ndarray, np.ndarray]], redundant: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ids, places, sizes and counts of all characters and of the candidates that cover most of the text."""
    places, often = (np.concatenate(column) for column in zip(*found, strict=True))  # (found,)
    sizes = np.concatenate([np.full(len(at), size) for size, (at, _) in enumerate(found, 1)])  # (found,)
    order = np.lexsort((np.arange(len(sizes)), -often * sizes, sizes > 1))
    chosen = np.sort(order[~redundant[order]][: max(SEEDS, int((sizes == 1).sum()))])
    renamed = np.full(len(sizes) + 1, len(chosen), np.int32)  # the last for -1
    renamed[chosen] = np.arange(len(chosen))
    for column in range(MOST):
        ids[:, column] = renamed[ids[:, column]]
    return ids, places[chosen], sizes[chosen], often[chosen]


def _logs(words: Words, alive: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Log probabilities of all candidates and one more, which stands for none: (candidates + 1,)."""
    found = np.full(len(words.places) + 1, -np.inf)
    found[alive] = values
    return found


def _tables(words: Words, begins: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some texts of one length at a time: which they are, (texts,), and their candidates, (texts, length, MOST)."""
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        step = max(1, AT_ONCE // (int(length) * MOST))
        for at in range(0, len(same), step):
            some = same[at : at + step]
            yield some, words.ids[begins[some, None] + np.arange(length)]


def _likelier(words: Words, alive: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One round of EM: pieces that are expected at least LEAST times, and their log probabilities.

    Under a sparse prior, as Liang and Klein 2007 have it: digamma in place of log.
    """
    chances = np.exp(logs)
    expected = np.zeros(len(logs))
    for some, ids in _tables(words, words.begins, words.lengths):
        length = ids.shape[1]
        chance = chances[ids]  # (words, length, MOST)
        before = np.zeros((len(some), length + MOST))
        after = np.zeros((len(some), length + MOST))
        before[:, 0] = after[:, length] = 1
        for at in range(length):
            before[:, at + 1 : at + 1 + MOST] += before[:, at : at + 1] * chance[:, at]
        for at in reversed(range(length)):
            after[:, at] = (chance[:, at] * after[:, at + 1 : at + 1 + MOST]).sum(1)
        scale = words.counts[some] / before[:, length]  # (words,)
        for at in range(length):
            chance[:, at] *= (scale * before[:, at])[:, None] * after[:, at + 1 : at + 1 + MOST]
        expected += np.bincount(ids.ravel(), chance.ravel(), len(logs))
    often = expected[alive]
    stays = (often.astype(np.float32) >= LEAST) | (words.sizes[alive] == 1)
    alive, often = alive[stays], np.maximum(often[stays], LEAST)
    values = torch.digamma(torch.from_numpy(np.append(often, often.sum()))).numpy()
    return alive, _logs(words, alive, values[:-1] - values[-1])


def _best(ids: np.ndarray, logs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The likeliest pieces of texts, from the last on: which texts have one more, and its id."""
    count, length, _ = ids.shape
    best = np.full((count, length + MOST), -np.inf)
    best[:, 0] = 0
    step = np.zeros((count, length + MOST), np.int64)  # characters of the piece that ends here, less one
    for at in range(length):
        reached = best[:, at : at + 1] + logs[ids[:, at]]  # (texts, MOST)
        further, steps = best[:, at + 1 : at + 1 + MOST], step[:, at + 1 : at + 1 + MOST]
        better = reached > further
        further[better] = reached[better]
        steps[better] = np.broadcast_to(np.arange(MOST), better.shape)[better]
    rows, ends = np.arange(count), np.full(count, length)
    while len(rows):
        last = step[rows, ends]
        ends = ends - last - 1
        yield rows, ids[rows, ends, last]
        rows, ends = rows[ends > 0], ends[ends > 0]


def _pruned(words: Words, alive: np.ndarray, logs: np.ndarray, left: int) -> np.ndarray:
    """All characters, and of the other pieces those without which the text would lose most likelihood, `left` in all.

    What stood for a piece then is supposed to be its own likeliest pieces.
    """
    often = np.zeros(len(logs))
    for some, ids in _tables(words, words.begins, words.lengths):
        for rows, pieces in _best(ids, logs):
            often += np.bincount(pieces, words.counts[some[rows]], len(logs))
    total = often.sum()
    longer = alive[(words.sizes[alive] > 1) & (often[alive] > 0)]
    instead, parts = np.zeros(len(longer)), np.zeros(len(longer))
    for some, ids in _tables(words, words.places[longer], words.sizes[longer]):
        mine = longer[some]
        ids[:, 0][np.arange(len(some)), ids.shape[1] - 1] = len(words.places)  # itself is no way to say it
        for rows, pieces in _best(ids, logs):
            instead[some[rows]] += np.log(often[pieces] + often[mine[rows]])
            parts[some[rows]] += 1
    here = often[longer]
    instead -= parts * np.log(total + here * (parts - 1))
    loss = (here * (np.log(here / total) - instead)).astype(np.float32)
    single = alive[words.sizes[alive] == 1]
    chosen = longer[np.lexsort((longer, -loss))][: max(left - len(single), 0)]
    return np.sort(np.concatenate([single, chosen]))
