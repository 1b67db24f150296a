"""Unigram training against all ways to cut short words, and pieces that are hidden in a text."""

import math
import random
from itertools import combinations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, trainers

from laconic.errors import DataError
from laconic.pretrain import unigram

COUNTS = {"abab": 3, "aba": 2, "bcab": 4, "c": 1, "abcabc": 2}


def made(counts):
    """The text, its words, and the spelling of each candidate."""
    text, begins, lengths, often = unigram._laid(counts)
    words = unigram.Words(begins, lengths, often, *unigram._candidates(text, begins, lengths, often))
    return words, [unigram._spelling(text, words, i) for i in range(len(words.places))]


def cuts(word):
    """All ways to cut a word."""
    for count in range(len(word)):
        for places in combinations(range(1, len(word)), count):
            yield [word[a:b] for a, b in zip((0, *places), (*places, len(word)), strict=True)]


def drawn(words):
    """Some log probability for each candidate."""
    rng = np.random.default_rng(0)
    return unigram._logs(words, np.arange(len(words.places)), np.log(rng.random(len(words.places))))


def test_candidates_are_characters_and_what_no_longer_text_always_holds():
    """Counted by hand over all substrings."""
    words, pieces = made(COUNTS)
    often = {}
    for word, count in COUNTS.items():
        for a in range(len(word)):
            for b in range(a + 1, len(word) + 1):
                often[word[a:b]] = often.get(word[a:b], 0) + count
    longer = {p: {n for q, n in often.items() if len(q) == len(p) + 1 and p in (q[1:], q[:-1])} for p in often}
    sought = {p: n for p, n in often.items() if len(p) == 1 or (n > 1 and n not in longer[p])}
    assert dict(zip(pieces, words.often, strict=True)) == sought
    for begin, word in zip(words.begins, COUNTS, strict=True):
        for a in range(len(word)):
            for size in range(1, unigram.MOST + 1):
                found = words.ids[begin + a, size - 1]
                there = word[a : a + size] if a + size <= len(word) else None
                assert (pieces[found] if found < len(pieces) else None) == (there if there in sought else None)


def test_one_round_of_em_over_all_cuts():
    words, pieces = made(COUNTS)
    logs = drawn(words)
    score = dict(zip(pieces, logs, strict=False))
    expected = dict.fromkeys(pieces, 0.0)
    for word, count in COUNTS.items():
        ways = [way for way in cuts(word) if all(p in score for p in way)]
        chances = [math.exp(sum(score[p] for p in way)) for way in ways]
        for way, chance in zip(ways, chances, strict=True):
            for piece in way:
                expected[piece] += count * chance / sum(chances)
    left = {p: max(n, 0.5) for p, n in expected.items() if n >= 0.5 or len(p) == 1}
    total = torch.digamma(torch.tensor(sum(left.values()), dtype=torch.float64))
    alive, found = unigram._likelier(words, np.arange(len(pieces)), logs)
    assert [pieces[i] for i in alive] == list(left)
    for i in alive:
        sought = torch.digamma(torch.tensor(left[pieces[i]], dtype=torch.float64)) - total
        assert found[i] == pytest.approx(sought.item(), abs=1e-5)  # PyTorch's digamma is another for one number


def test_the_likeliest_cut_of_all():
    words, pieces = made(COUNTS)
    logs = drawn(words)
    score = dict(zip(pieces, logs, strict=False))
    found = {word: [] for word in COUNTS}
    for some, ids in unigram._tables(words, words.begins, words.lengths):
        for rows, ended in unigram._best(ids, logs):
            for row, piece in zip(rows, ended, strict=True):
                found[list(COUNTS)[some[row]]].insert(0, pieces[piece])
    for word, way in found.items():
        ways = [way for way in cuts(word) if all(p in score for p in way)]
        assert way == max(ways, key=lambda way: sum(score[p] for p in way))


def hidden(seed=0):
    """Words of two or three of a few syllables."""
    draw = random.Random(seed)
    syllables = ["kilo", "meta", "phon", "gram", "tele", "micro", "scope", "bio"]
    said = ["".join(draw.choices(syllables, k=draw.randint(2, 3))) for _ in range(400)]
    return syllables, {word: said.count(word) for word in dict.fromkeys(said)}


def test_pieces_that_were_hidden_are_found():
    syllables, counts = hidden()
    letters = {letter for word in counts for letter in word}
    pieces = unigram.train(counts, len(letters) + 12)
    assert set(syllables) | letters <= {piece for piece, _ in pieces}
    assert len(pieces) <= len(letters) + 12
    assert [score for _, score in pieces] == sorted((score for _, score in pieces), reverse=True)


def test_it_cuts_text_into_about_as_many_tokens_as_the_trainer_of_tokenizers():
    _, counts = hidden(1)
    counts = {f"▁{word}": count for word, count in counts.items()}
    words = [word for word, count in counts.items() for _ in range(count)]
    theirs = Tokenizer(models.Unigram())
    trainer = trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", show_progress=False)
    theirs.train_from_iterator(words, trainer)
    mine = Tokenizer(models.Unigram([("<unk>", 0.0), *unigram.train(counts, 59)], 0))
    length = [sum(len(each.encode(word).ids) for word in words) for each in (mine, theirs)]
    assert length[0] <= 1.05 * length[1]


def test_characters_come_first_and_the_rarest_of_too_many_are_left():
    pieces = dict(unigram.train({"aaa": 9, "aab": 5, "aac": 1}, 2))
    assert set(pieces) == {"a", "b"}


@pytest.mark.parametrize("counts", [{"a": 1}, {"a": 2, "b": 1}, {"x" * 1000: 1}])
def test_little_text_will_do(counts):
    pieces = dict(unigram.train(counts, 40))
    assert {letter for word in counts for letter in word} <= set(pieces)
    assert all(score <= 0 for score in pieces.values())


def test_no_text_is_refused():
    with pytest.raises(DataError, match="there is no text to train a tokenizer on"):
        unigram.train({}, 40)
