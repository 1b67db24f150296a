"""WordPiece: the longest piece that fits, again and again, from a word's start to its end.

Schuster & Nakajima 2012, "Japanese and Korean voice search", ICASSP; Devlin et al. 2018, arXiv:1810.04805. A subset
cuts a word as before wherever the pieces it was cut into are kept: the longest match among fewer is still the longest.
"""

from collections.abc import Iterable, Sequence, Set
from typing import Any

from tokenizers import normalizers, pre_tokenizers


class WordPiece:
    """The pieces of a WordPiece `tokenizer.json`."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.model: dict[str, Any] = data["model"]
        self.prefix: str = self.model["continuing_subword_prefix"]
        self.unknown: str | None = self.model["unk_token"]
        self.pieces: dict[str, int] = dict(self.model["vocab"])
        rules, words = data["normalizer"], data["pre_tokenizer"]
        kinds = (rules and rules["type"], words and words["type"])
        self._bert = kinds in ((None, "BertPreTokenizer"), ("BertNormalizer", "BertPreTokenizer")) and bool(self.prefix)
        settings = {key: value for key, value in (rules or {}).items() if key != "type"}
        self._cleaner = normalizers.BertNormalizer(**settings) if self._bert and rules else None

    def symbols(self, piece: str) -> list[str]:
        """The single-character pieces that spell a piece: `##ab` is `##a`, `##b`; `ab` is `a`, `##b`."""
        inner = piece.startswith(self.prefix) and piece != self.prefix
        letters = piece[len(self.prefix) :] if inner else piece
        return [(self.prefix if inner or i else "") + letter for i, letter in enumerate(letters)]

    def characters(self, piece: str) -> set[str]:
        """The characters of the text that a piece stands for."""
        return {symbol[-1] for symbol in self.symbols(piece)}

    def spelling(self, characters: Set[str] | None) -> set[str]:
        """Single characters, and the pieces that single characters can't spell; of `characters` only, where given.

        A word that could be cut stays so when each of its characters is a piece, at the start (`c`) and inside (`##c`).
        Where a vocabulary lacks some of these, a word that holds them may still become unknown.
        """
        found = set()
        for piece in self.pieces:
            symbols = self.symbols(piece)
            wanted = characters is None or self.characters(piece) <= characters
            spelled = len(symbols) > 1 and all(symbol in self.pieces for symbol in symbols)
            if wanted and not spelled and self.reachable(piece):
                found.add(piece)
        return found

    def reachable(self, piece: str) -> bool:
        """Whether some word may hold this piece: not where BERT's rules, which look at single characters, part it."""
        if not self._bert:
            return True
        inner = piece.startswith(self.prefix) and piece != self.prefix
        text = "a" + piece[len(self.prefix) :] if inner else piece
        cleaned = self._cleaner.normalize_str(text) if self._cleaner else text
        return [word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(cleaned)] == [text]

    def parts(self, piece: str) -> Iterable[str]:
        """What must be kept for a piece to be made: itself."""
        return (piece,)

    def cut(self, kept: Sequence[str]) -> dict[str, Any]:
        """The model section with these pieces only, numbered in this order."""
        return {**self.model, "vocab": {piece: i for i, piece in enumerate(kept)}}
