"""Unigram: the sequence of pieces with the highest sum of log probabilities.

Kudo 2018, arXiv:1804.10959. A subset encodes a text as before wherever the pieces it was cut into are kept: the best
of all sequences is the best of fewer. An unknown character costs 10 more than the least likely piece, so one such
piece stays.
"""

import re
from collections.abc import Iterable, Sequence, Set
from typing import Any

BYTE = re.compile("<0x[0-9A-F]{2}>")  # a byte that stands in where a character is no piece


class Unigram:
    """The pieces of a Unigram `tokenizer.json` with their log probabilities; an id is a place in the list."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.model: dict[str, Any] = data["model"]
        self.scores: dict[str, float] = dict(self.model["vocab"])
        self.pieces: dict[str, int] = {piece: i for i, (piece, _) in enumerate(self.model["vocab"])}
        at = self.model["unk_id"]
        self.unknown: str | None = None if at is None else self.model["vocab"][at][0]
        self._bytes = {p for p in self.pieces if self.model["byte_fallback"] and BYTE.fullmatch(p)}

    def characters(self, piece: str) -> set[str]:
        """The characters of a piece."""
        return set(piece)

    def spelling(self, characters: Set[str] | None) -> set[str]:
        """Bytes, single characters, pieces that these can't spell, and one least likely piece.

        Of `characters` only, where given. Where single characters are missing from a vocabulary without bytes, a word
        that holds them may still become unknown.
        """
        found = {min(self.scores, key=lambda piece: self.scores[piece])} | self._bytes
        for piece in self.pieces:
            wanted = characters is None or self.characters(piece) <= characters
            bare = len(self._bytes) < 256 and any(letter not in self.pieces for letter in piece)
            if wanted and (len(piece) == 1 or bare):
                found.add(piece)
        return found

    def reachable(self, piece: str) -> bool:
        """Whether some text holds this piece: any may be the best somewhere."""
        return piece in self.pieces

    def parts(self, piece: str) -> Iterable[str]:
        """What must be kept for a piece to be made: itself."""
        return (piece,)

    def cut(self, kept: Sequence[str]) -> dict[str, Any]:
        """The model section with these pieces only, in this order."""
        at = None if self.unknown is None else list(kept).index(self.unknown)
        return {**self.model, "vocab": [[piece, self.scores[piece]] for piece in kept], "unk_id": at}
