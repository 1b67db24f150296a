"""Entropy-code many symbols a step, each under its own table: interleaved range ANS in whole numbers.

Duda 2009, arXiv:0902.0271; Giesen 2014, arXiv:1402.3392 (interleaved states share one stream of words).

A table gives each symbol a share of 4096. Tables may change with everything decoded before, which a library that takes
a model per call would pay for at every symbol; here a step is a few array operations over all lanes, and nothing but
whole numbers is computed, so every machine decodes the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from laconic.artifact.damage import DamageError

PRECISION = 12  # bits of a share
TOTAL = 1 << PRECISION
LOWEST = 1 << 16  # of a state; below it a word is read
Whole = NDArray[np.int64]
Words = NDArray[np.uint16]


class Tables:
    """Shares of `span` symbols in each context, ready to look up."""

    def __init__(self, weights: Whole) -> None:
        """`weights` (contexts, span) say how often each symbol is expected; every symbol stays possible."""
        self.span = weights.shape[1]
        shares = 1 + weights * (TOTAL - self.span) // np.maximum(weights.sum(axis=1, keepdims=True), 1)
        shares[np.arange(len(shares)), weights.argmax(axis=1)] += TOTAL - shares.sum(axis=1)
        self.shares = shares.reshape(-1)  # (contexts * span,)
        self.starts = (np.cumsum(shares, axis=1) - shares).reshape(-1)  # (contexts * span,)
        names = np.tile(np.arange(self.span, dtype=np.uint8), len(shares))
        self.symbols = np.repeat(names, self.shares)  # (contexts * TOTAL,)


class Writer:
    """Collects what is coded, step by step; `words` codes it back to front, since ANS is a stack."""

    def __init__(self) -> None:
        self.steps: list[tuple[NDArray[np.uint16], NDArray[np.uint16]]] = []

    def put(self, tables: Tables, contexts: Whole, symbols: NDArray[Any]) -> None:
        """One symbol for each of the first len(contexts) lanes."""
        cells = contexts * tables.span + symbols
        self.steps.append((tables.starts[cells].astype(np.uint16), tables.shares[cells].astype(np.uint16)))

    def words(self) -> Words:
        """Final states, low half first, then the words in the order in which they are read."""
        states = np.full(max(len(starts) for starts, _ in self.steps), LOWEST, np.int64)  # (lanes,)
        out: list[Words] = []
        for starts, shares in reversed(self.steps):
            mine, share = states[: len(starts)], shares.astype(np.int64)
            full = np.flatnonzero(mine >= share << (32 - PRECISION))
            out.append((mine[full] & 0xFFFF).astype(np.uint16))
            mine[full] >>= 16
            whole = mine // share
            mine[:] = (whole << PRECISION) + mine - whole * share + starts
        return np.concatenate([states.astype("<u4").view("<u2"), *reversed(out)])


class Reader:
    """Decodes what a `Writer` coded, given the same tables and contexts; DamageError when words run out or are left."""

    def __init__(self, words: Words, lanes: int) -> None:
        if len(words) < 2 * lanes:
            raise DamageError("there are fewer words than lanes")
        self.read = words.astype(np.int64)
        self.states = self.read[: 2 * lanes : 2] + (self.read[1 : 2 * lanes : 2] << 16)
        self.next = 2 * lanes

    def take(self, tables: Tables, contexts: Whole) -> NDArray[np.uint8]:
        """One symbol for each of the first len(contexts) lanes."""
        mine = self.states[: len(contexts)]
        slots = mine & (TOTAL - 1)
        symbols = tables.symbols[(contexts << PRECISION) + slots]
        cells = contexts * tables.span + symbols
        mine >>= PRECISION
        mine *= tables.shares[cells]
        mine += slots
        mine -= tables.starts[cells]
        low = np.flatnonzero(mine < LOWEST)
        end = self.next + len(low)
        if end > len(self.read):
            raise DamageError("there are fewer words than symbols")
        mine[low] = (mine[low] << 16) | self.read[self.next : end]
        self.next = end
        return symbols

    def close(self) -> None:
        """Everything was read, and every lane is where its writer began."""
        if self.next != len(self.read) or (self.states != LOWEST).any():
            raise DamageError("words are left over after the last symbol")
