"""Byte-pair encoding: of all neighbours that may merge, merge those of the earliest rule, until none may.

Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2019 (bytes as the alphabet). A subset encodes a text as before
when every rule that was applied to it is kept, in order: a rule that was never applied was never the earliest.
"""

import json
import re
from collections.abc import Iterable, Sequence, Set
from itertools import pairwise
from typing import Any

BYTE = re.compile("<0x[0-9A-F]{2}>")  # a byte that stands in where a character is no piece


class BPE:
    """The pieces and rules of a BPE `tokenizer.json`."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.model: dict[str, Any] = data["model"]
        self.prefix: str = self.model["continuing_subword_prefix"] or ""
        self.suffix: str = self.model["end_of_word_suffix"] or ""
        self.unknown: str | None = self.model["unk_token"]
        self.pieces: dict[str, int] = dict(self.model["vocab"])
        pairs = (rule.split(" ") if isinstance(rule, str) else rule for rule in self.model["merges"])
        self.merges: list[tuple[str, str]] = [(left, right) for left, right in pairs]
        self.ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._byte_level = '"type": "ByteLevel"' in json.dumps([data["normalizer"], data["pre_tokenizer"]])
        self._bytes = {p for p in self.pieces if self.model["byte_fallback"] and BYTE.fullmatch(p)}

    def merged(self, left: str, right: str) -> str:
        """The piece that a rule makes."""
        return left + right[len(self.prefix) :]

    def symbols(self, piece: str) -> list[str]:
        """What a piece is before any merge: `abc</w>` is `a`, `b`, `c</w>`; `##ab` is `##a`, `##b`."""
        start = self.prefix if piece.startswith(self.prefix) and piece != self.prefix else ""
        end = self.suffix if piece.endswith(self.suffix) and piece != self.suffix else ""
        letters = list(piece[len(start) : len(piece) - len(end)]) or [""]
        symbols = [(self.prefix if i else start) + letter for i, letter in enumerate(letters)]
        return [*symbols[:-1], symbols[-1] + end]

    def characters(self, piece: str) -> set[str]:
        """The characters that a piece stands for; where the alphabet is bytes, their signs."""
        return set(piece.removeprefix(self.prefix).removesuffix(self.suffix) or piece)

    def spelling(self, characters: Set[str] | None) -> set[str]:
        """The alphabet: all bytes, and single characters; of `characters` only, where given.

        With `ignore_merges` a word that is a piece needs no alphabet, so pieces that have none stay too.
        """
        found = set(self._bytes)
        whole = self.model["ignore_merges"] and len(self._bytes) < 256
        for piece in self.pieces:
            symbols = self.symbols(piece)
            wanted = self._byte_level or characters is None or self.characters(piece) <= characters
            bare = whole and any(symbol not in self.pieces for symbol in symbols)
            if wanted and (len(symbols) == 1 or bare):
                found.add(piece)
        return found

    def reachable(self, piece: str) -> bool:
        """Whether some text holds this piece: one that rules lead to, or any where whole words need no rules."""
        return bool(self.model["ignore_merges"]) or len(self.symbols(piece)) == 1 or self.parts(piece) != (piece,)

    def parts(self, piece: str) -> Iterable[str]:
        """Every piece on the way from a piece's characters to itself; itself alone where no rules lead to it."""
        symbols = self.symbols(piece)
        made = set(symbols)
        while len(symbols) > 1:
            ranks = [self.ranks.get(pair, len(self.merges)) for pair in pairwise(symbols)]
            first = min(ranks)
            if first == len(self.merges):
                return (piece,)
            at = ranks.index(first)
            symbols[at : at + 2] = [self.merged(*self.merges[first])]
            made.add(symbols[at])
        return made if symbols == [piece] and made <= self.pieces.keys() else (piece,)

    def cut(self, kept: Sequence[str]) -> dict[str, Any]:
        """The model section with these pieces only, numbered in this order, and the rules that join and make them."""
        numbered = {piece: i for i, piece in enumerate(kept)}
        rules = [[a, b] for a, b in self.merges if a in numbered and b in numbered and self.merged(a, b) in numbered]
        return {**self.model, "vocab": numbered, "merges": rules}
