"""Summarization: what a document says in short, by an encoder-decoder or a decoder.

Lin 2004 (W04-1013), ROUGE-1, ROUGE-2 and ROUGE-L as F1 with stemming, by the rouge-score package. Of several references
the one counts that is nearest, for each figure by itself (Cachola et al. 2020, arXiv:2004.15011). Chinese, Japanese and
Korean are counted by character (Hu et al. 2015, arXiv:1506.05865), and so are Thai, Lao, Burmese and Khmer, which have
no spaces between words either: a letter with the marks on it. Differs from the package, which takes all but a to z and
digits for white space: letters of any script spell words, unstemmed where one is not of a to z.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer

from laconic.contracts import Example
from laconic.data.words import HAN
from laconic.maths import counts
from laconic.writing.task import Asks

FIGURES = {"rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rouge_l"}  # the package's name -> ours
CHARACTER = re.compile(  # letters that are counted by themselves: kana in both widths, Hangul, and from Thai to Khmer
    f"[{HAN}\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f\uac00-\ud7af\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"
)
UNSEEN = re.compile(  # what changes how its neighbours look or break, not what they spell: joiners, hyphens, variants
    "[\u00ad\u200c-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]"
)


class _Words(Tokenizer):  # type: ignore[misc]
    """The package's own words, stemmed; and words and characters of scripts that it does not know."""

    def __init__(self) -> None:
        self.plain = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        return list(self._words(unicodedata.normalize("NFC", UNSEEN.sub("", text))))

    def _words(self, text: str) -> Iterator[str]:
        for word in "".join(_spelt(text)).split():
            yield from self.plain.tokenize(word) if word.isascii() else [word.lower()]


def _spelt(text: str) -> Iterator[str]:
    """Letters and digits, with the marks that belong to them (the vowels of Hindi); else a space.

    Spaces also stand around a letter of CHARACTER.
    """
    before = " "  # what the last character was that is no mark: part of a word, alone, or neither
    for character in text:
        kind = unicodedata.category(character)
        if before != " " and kind.startswith("M"):
            yield character
            continue
        alone = kind.startswith("L") and CHARACTER.match(character)
        yield " " if before == "alone" or alone else ""
        before = "alone" if alone else "word" if character.isalnum() else " "
        yield " " if before == " " else character


@dataclass(frozen=True)
class Summarize(Asks):
    """A `summary` for each `document`; `references`, where an example has them, are all that count as right."""

    name: ClassVar[str] = "summarize"
    main: ClassVar[str] = "rouge_l"
    question: ClassVar[str] = "document"
    answer: ClassVar[str] = "summary"

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, Any]:
        """Mean F1 of each ROUGE over the documents."""
        means = self._figures(predictions, examples).mean(0)  # (figures,)
        return dict(zip(FIGURES.values(), means.tolist(), strict=True))

    def counts(self, predictions: Sequence[str], examples: Sequence[Example]) -> np.ndarray:
        """ROUGE-L and 1 for each document: (examples, 2)."""
        figures = self._figures(predictions, examples)[:, list(FIGURES.values()).index(self.main)]
        return np.stack([figures, np.ones(len(figures))], axis=1)

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """Mean ROUGE-L from summed counts (..., 2)."""
        return counts.mean(summed)

    def _figures(self, predictions: Sequence[str], examples: Sequence[Example]) -> np.ndarray:
        """F1 of each document by each figure, against the nearest of its references: (examples, figures)."""
        scorer = RougeScorer(list(FIGURES), tokenizer=_Words())
        rows = []
        for said, example in zip(predictions, examples, strict=True):
            found = scorer.score_multi(example.get("references") or [example["summary"]], said)
            rows.append([found[name].fmeasure for name in FIGURES])
        return np.array(rows).reshape(-1, len(FIGURES))

    def show(self, prediction: str, example: Example) -> dict[str, Any]:
        """The document and its summary."""
        return {"document": example["document"], "summary": prediction}
