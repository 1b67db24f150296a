"""Interleaved range ANS: exact, near the entropy, one lane is the paper's formula, strict about its words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.artifact import lanes
from laconic.artifact.damage import DamageError


def coded(weights: np.ndarray, steps: list[tuple[np.ndarray, np.ndarray]]) -> tuple[lanes.Tables, np.ndarray]:
    tables, writer = lanes.Tables(weights), lanes.Writer()
    for contexts, symbols in steps:
        writer.put(tables, contexts, symbols)
    return tables, writer.words()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 40), st.integers(1, 30), st.integers(1, 5))
def test_any_symbols_come_back(seed, width, steps, count, contexts):
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 1000, (contexts, width)) ** rng.integers(0, 3)
    plan = []
    for _ in range(steps):
        used = int(rng.integers(1, count + 1))
        plan.append((rng.integers(0, contexts, used), rng.integers(0, width, used).astype(np.uint8)))
    tables, words = coded(weights, plan)
    reader = lanes.Reader(words, max(len(c) for c, _ in plan))
    for used, symbols in plan:
        assert np.array_equal(reader.take(tables, used), symbols)
    reader.close()


def test_one_lane_is_range_ans_as_the_paper_writes_it():
    shares, symbols = [1000, 3000, 96], np.random.default_rng(0).choice(3, 500, p=[0.25, 0.7, 0.05])
    tables, words = coded(np.array([shares]) - 1, [(np.zeros(1, int), np.array([s])) for s in symbols])
    assert tables.shares.tolist() == shares
    state, out, starts = 1 << 16, [], [0, 1000, 4000]
    for symbol in symbols[::-1].tolist():
        if state >= shares[symbol] << 20:
            out.append(state & 0xFFFF)
            state >>= 16
        state = (state // shares[symbol] << 12) + state % shares[symbol] + starts[symbol]
    assert words.tolist() == [state & 0xFFFF, state >> 16, *out[::-1]]


def test_independent_symbols_cost_their_entropy():
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    symbols = np.random.default_rng(1).choice(4, (1000, 64), p=shares)
    _, words = coded(np.rint(shares * 1e6).astype(np.int64)[None], [(np.zeros(64, int), row) for row in symbols])
    bound = -(np.bincount(symbols.reshape(-1)) * np.log2(shares)).sum()
    assert bound < words.size * 16 < bound * 1.002 + 64 * 24


def test_words_too_few_or_left_over_are_refused():
    tables, words = coded(np.ones((1, 4), int), [(np.zeros(3, int), np.array([0, 1, 3]))] * 40)

    def read(held):
        reader = lanes.Reader(held.astype(np.uint16), 3)
        for _ in range(40):
            reader.take(tables, np.zeros(3, int))
        reader.close()

    read(words)
    for bad, says in ((words[:5], "than lanes"), (words[:-1], "than symbols"), (np.append(words, 1), "left over")):
        with pytest.raises(DamageError, match=says):
            read(bad)
